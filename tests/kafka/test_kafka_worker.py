"""Workers on a real Kafka: kills and rebalances under load cost no count, double none, and leave one planner."""

from __future__ import annotations

from collections.abc import AsyncIterator
from types import ModuleType
from typing import Any

import pytest

pytestmark = [pytest.mark.kafka, pytest.mark.slow]
PARTITIONS = 4


@pytest.fixture
async def world(make_kafka_world: Any) -> AsyncIterator[Any]:
    """A world on our own node."""
    async with make_kafka_world(PARTITIONS) as made:
        yield made


async def _load(world: Any, traffic: Any, steps: int) -> None:
    """Play on, whatever becomes of the workers."""
    for _ in range(steps):
        await world.play(traffic, 100)


async def _plan_on(world: Any, traffic: Any, harness: ModuleType, plans: int) -> None:
    """Play on until so many more plans have come."""
    wanted = len(world.feed.plans) + plans
    while len(world.feed.plans) < wanted:
        await world.play(traffic, 100)
        await world.all_but(300)


async def _assert_exact(world: Any, harness: ModuleType, oracle: ModuleType, checks: ModuleType) -> None:
    recounted = await checks.recount(world, harness, oracle)
    checks.assert_counts_are_exact(world.feed, recounted)
    checks.assert_every_snapshot_is_exact(world.feed, recounted)
    checks.assert_refusals_are_all_in_dead_letters(world.feed, recounted)
    checks.assert_plans_are_of_the_recounted_demand(world.feed.plans, recounted, oracle)
    checks.assert_one_planner_at_a_time(world.feed.plans)
    for worker in world.workers:
        checks.assert_no_noise(worker)


async def test_two_kills_cost_no_count_and_double_none(
    world: Any, harness: ModuleType, oracle: ModuleType, checks: ModuleType
) -> None:
    worker, traffic = await world.start_planner(), harness.Traffic(PARTITIONS)
    for kill in (1, 2):
        await _plan_on(world, traffic, harness, 3)
        await world.play(traffic, 100)
        worker.kill()
        worker = world.start_worker()
        await _load(world, traffic, 10)
        claims = kill + 1
        await harness.until(lambda at=claims: world.feed.claims == at, "the next claim", alive=[worker])
    await _plan_on(world, traffic, harness, 2)
    await world.all_but(0)
    assert await worker.terminate() == 0
    await _assert_exact(world, harness, oracle, checks)
    assert sorted({plan["epoch"] for plan in world.feed.plans}) == [0, 1, 2]


async def test_workers_that_come_go_and_die_share_the_counting_and_one_of_them_plans(
    world: Any, harness: ModuleType, oracle: ModuleType, checks: ModuleType
) -> None:
    traffic = harness.Traffic(PARTITIONS)
    first = await world.start_planner()
    await _plan_on(world, traffic, harness, 2)

    second = world.start_worker()
    while not second.owned():
        await world.play(traffic, 100)
        await world.all_but(2000)
    await _plan_on(world, traffic, harness, 2)
    await harness.until(
        lambda: (
            len(first.owned() | second.owned()) == len(first.owned()) + len(second.owned()) == PARTITIONS + 1
        ),
        "the partitions to be shared",
        alive=[first, second],
    )

    before = world.feed.claims
    await _load(world, traffic, 5)
    assert await first.terminate() == 0
    await _load(world, traffic, 5)
    await harness.until(lambda: world.feed.claims > before, "the second worker to plan", alive=[second])
    await _plan_on(world, traffic, harness, 2)

    third = world.start_worker()
    while not third.owned():
        await world.play(traffic, 100)
        await world.all_but(2000)
    await _load(world, traffic, 5)
    second.kill()
    await _load(world, traffic, 5)
    await harness.until(lambda: len(third.owned()) == PARTITIONS + 1, "the third to own all", alive=[third])
    await _plan_on(world, traffic, harness, 2)
    await world.all_but(0)
    assert await third.terminate() == 0
    await _assert_exact(world, harness, oracle, checks)
