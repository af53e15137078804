"""A planner that finds a newer claim than its own: it holds its tongue, and plans again only if nobody else does."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import pytest

from schemas import PlannerClaim

pytestmark = pytest.mark.stream


async def test_a_worker_publishes_nothing_beside_a_newer_claim_and_claims_anew_when_nobody_plans(
    make_world: Any, harness: ModuleType
) -> None:
    async with make_world() as world:
        worker, feed, traffic = await world.start_planner(), world.feed, harness.Traffic(1)
        while not feed.plans:
            await world.play(traffic, 100)
            await world.all_but(0)
        other = PlannerClaim(fleet=feed.plans[0]["fleet"], worker="another", claimed_at=None)
        sent = await world.producer.send_and_wait(harness.CLAIMS, other.encode(), partition=0)
        assert sent.offset == 1
        while not worker.events("planner_stands_down"):
            await world.play(traffic, 100)
            await world.all_but(0)
        while [plan["epoch"] for plan in feed.plans][-2:] != [2, 2]:
            await world.play(traffic, 100)
            await world.all_but(0)

        (line,) = worker.events("planner_stands_down")
        assert (line["epoch"], line["newest_claim"]) == (0, 1)
        withheld = int(line["withheld"].rpartition("-")[2])
        before = [plan for plan in feed.plans if plan["epoch"] == 0]
        assert [plan["sequence"] for plan in before] == list(range(1, withheld))
        assert {plan["epoch"] for plan in feed.plans[len(before) :]} == {2}
        again = worker.events("planner_took_over")[-1]
        assert (again["epoch"], again["plan_in_force"]) == (2, before[-1]["plan_id"])
        assert await worker.terminate() == 0
