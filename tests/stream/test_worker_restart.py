"""A worker that comes back: what it remembers, what it does not do twice, and what its log says of each plan."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import pytest

pytestmark = pytest.mark.stream


async def test_a_restart_with_nothing_new_plans_nothing_twice_and_goes_on_from_the_plan_in_force(
    make_world: Any, harness: ModuleType
) -> None:
    async with make_world() as world:
        first, feed, at_s = await world.start_planner(), world.feed, 0.0

        async def play(until_s: float) -> None:
            nonlocal at_s
            while at_s < until_s:
                await world.set_clock(harness.T0 + at_s)
                named = {"event_id": f"{at_s:g}"} if at_s >= until_s - 20 else {}
                await world.send([(0, harness.event(at_s, count=40, input_tokens=4000, **named))])
                at_s += 2.0
            await world.all_but(0)

        await play(2 * harness.HORIZON_S + 30.0)
        await harness.until(lambda: len(feed.plans) == 2, "two plans", alive=[first])
        first.kill()

        # The same events again, by their ids, while nobody is there.
        repeated = list(world.sent[0][-10:])
        await world.send((0, raw) for raw in repeated)
        second = await world.start_planner()
        await world.all_but(0)
        assert feed.ledgers()[0]["duplicates"] == len(repeated)
        (taken_over,) = second.events("planner_took_over")
        assert taken_over["plan_in_force"] == feed.plans[-1]["plan_id"]
        refreshed = len(feed.records[harness.DEMAND]) + 4
        await harness.until(
            lambda: len(feed.records[harness.DEMAND]) >= refreshed, "snapshots", alive=[second]
        )
        assert len(feed.plans) == 2, "nothing was new"

        await play(3 * harness.HORIZON_S + 30.0)
        await harness.until(lambda: len(feed.plans) == 3, "the next horizon's plan", alive=[second])
        before, after = feed.plans[1:]
        assert (after["epoch"], after["sequence"]) == (1, 1)
        assert after["horizon_start"] == before["horizon_end"]
        assert after["decision"]["name"] == "kept", "the demand is the same, and what runs was not forgotten"
        assert after["deployments"] == before["deployments"]
        assert after["changes"] == []
        assert await second.terminate() == 0


async def test_each_plan_has_one_line_in_the_log_that_says_all_of_it_and_a_stop_makes_no_noise(
    make_world: Any, harness: ModuleType
) -> None:
    async with make_world() as world:
        worker, traffic = await world.start_planner(), harness.Traffic(1)
        while len(world.feed.plans) < 4:
            await world.play(traffic, 100)
            await world.all_but(0)
        assert await worker.terminate() == 0
        assert [record for record in worker.log() if record["level"] not in ("info", "debug")] == []
        lines = {line["plan"]: line for line in worker.events("tick")}
        assert len(worker.events("tick")) == len(world.feed.plans)
        for plan in world.feed.plans:
            line = lines[f"{plan['epoch']}-{plan['sequence']}"]
            assert (line["level"], line["fleet"], line["trigger"]) == ("info", plan["fleet"], plan["trigger"])
            assert (line["decision"], line["reason"]) == (
                plan["decision"]["name"],
                plan["decision"]["reason"],
            )
            assert line["horizon_start"] == plan["horizon_start"]
            assert line["demand_per_s"] == pytest.approx(
                {demand["query_type"]: demand["rate_per_s"] for demand in plan["demand"]}, abs=1e-4
            )
            assert line["cost_usd"] == pytest.approx(plan["cost"]["total_usd"], abs=1e-6)
            assert line["gap"] == pytest.approx(plan["solver"]["gap"], abs=1e-5)
            assert line["solve_s"] == pytest.approx(plan["solver"]["runtime_s"], abs=1e-4)
            assert line["changes"] == len(plan["changes"])
            assert line["solver"] == plan["solver"]["status"]


async def test_a_worker_that_is_told_to_stop_while_it_starts_stops(
    make_world: Any, harness: ModuleType
) -> None:
    async with make_world() as world:
        worker = world.start_worker()
        await harness.until(lambda: worker.has_begun(), "the worker's program to run", alive=[worker])
        assert await worker.terminate() == 0
        assert [record for record in worker.log() if record["level"] not in ("info", "debug")] == []
