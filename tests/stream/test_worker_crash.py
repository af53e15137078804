"""A worker that is killed without warning, again and again: nothing lost, nothing double, one planner, fenced."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from controller.clock import ReplayClock
from controller.kafka import KafkaConnection
from controller.router import PlanSubscriber
from schemas import AllocationPlan

pytestmark = pytest.mark.stream
PARTITIONS = 4


async def test_two_kills_in_a_replay_cost_no_count_and_double_none(
    make_world: Any, harness: ModuleType, oracle: ModuleType, checks: ModuleType, tmp_path: Path
) -> None:
    applied: list[tuple[int, int]] = []

    def note(plan: AllocationPlan) -> None:
        applied.append((plan.epoch, plan.sequence))

    async with make_world(PARTITIONS) as world:
        connection = KafkaConnection(world.bootstrap)
        async with PlanSubscriber(
            connection, "r1", "main", tmp_path / "router", clock=ReplayClock(0.0), on_plan=note, poll_s=0.05
        ) as plans:
            worker = await world.start_planner()
            traffic, feed = harness.Traffic(PARTITIONS), world.feed
            for kill in (1, 2):
                while len({plan["horizon_start"] for plan in feed.plans}) < 3 * kill:
                    await world.play(traffic, 100)
                    await world.all_but(300)
                await world.play(traffic, 100)
                worker.kill()  # with records on their way, and others counted but not committed
                worker = world.start_worker()
                for _ in range(10):  # the world does not wait for it
                    await world.play(traffic, 100)
            while any(len(sent) < 1500 for sent in world.sent):
                await world.play(traffic, 100)
                await world.all_but(300)
            await world.all_but(0)
            await harness.until(lambda: feed.claims == 3, "the third planner's claim", alive=[worker])
            last_start_s = (harness.T0 + traffic.reached_s - 40.0) // harness.HORIZON_S * harness.HORIZON_S
            await harness.until(
                lambda: (
                    any(plan["epoch"] == 2 for plan in feed.plans)
                    and oracle.epoch_s(feed.plans[-1]["horizon_start"]) >= last_start_s
                ),
                "the plan of the last horizon that closed",
                alive=[worker],
            )
            await harness.until(lambda: len(applied) == len(feed.plans), "the router to follow")
            assert await worker.terminate() == 0
            assert plans.counts["applied"] == len(feed.plans), "none stale, none refused"

        recounted = await checks.recount(world, harness, oracle)
        assert all(min(partition.tallies().values()) > 0 for partition in recounted), (
            "the traffic has all kinds"
        )
        checks.assert_counts_are_exact(feed, recounted)
        checks.assert_every_snapshot_is_exact(feed, recounted)
        checks.assert_refusals_are_all_in_dead_letters(feed, recounted)
        checks.assert_one_planner_at_a_time(feed.plans)
        checks.assert_plans_are_of_the_recounted_demand(feed.plans, recounted, oracle)
        assert sorted({plan["epoch"] for plan in feed.plans}) == [0, 1, 2]
        assert applied == sorted(set(applied))
