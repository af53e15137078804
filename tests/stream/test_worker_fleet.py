"""A worker that is told of its fleet while it runs: a new catalog, a bad one, fewer GPUs."""

from __future__ import annotations

import json
from types import ModuleType
from typing import Any

import pytest

from controller.domain.catalog import read_catalog
from tests.small_catalog import small_catalog

pytestmark = pytest.mark.stream

CATALOGS, STATES = "llm.catalog.v1", "llm.fleet-state.v1"


def gpus(plan: dict[str, Any]) -> int:
    return sum(deployment["gpus"] for deployment in plan["deployments"])


async def test_a_catalog_and_a_fleet_state_from_their_topics_are_planned_by_at_once_and_bad_ones_change_nothing(
    make_world: Any, harness: ModuleType
) -> None:
    wider = small_catalog((*harness.TYPES, "translation"), tp_degrees=(1, 2))
    digest = read_catalog(wider).digest
    async with make_world() as world:
        worker, feed, at_s = await world.start_planner(), world.feed, 0.0

        async def play(seconds: float, *types: str) -> None:
            nonlocal at_s
            until_s = at_s + seconds
            while at_s < until_s:
                await world.set_clock(harness.T0 + at_s)
                await world.send(
                    (0, harness.event(at_s, name, count=80, input_tokens=8000)) for name in types
                )
                at_s += 2.0
            await world.all_but(0)

        async def tell(topic: str, said: Any, key: bytes = b"main") -> None:
            raw = said if isinstance(said, bytes) else json.dumps(said).encode()
            await world.producer.send_and_wait(topic, raw, key=key, partition=0)

        def planned(trigger: str) -> list[dict[str, Any]]:
            return [plan for plan in feed.plans if plan["trigger"] == trigger]

        def counted(name: str) -> int:
            buckets = feed.ledgers()[0]["buckets"]
            return sum(bucket["totals"].get(name, {}).get("events", 0) for bucket in buckets)

        await play(harness.HORIZON_S + 30.0, "chat")
        await harness.until(lambda: len(feed.plans) == 1, "a plan", alive=[worker])
        (first,) = feed.plans
        assert first["input"]["catalog_hash"] != digest

        # A query type more.
        await tell(CATALOGS, wider)
        await harness.until(lambda: planned("catalog") != [], "a plan of the new catalog", alive=[worker])
        (anew,) = planned("catalog")
        assert anew["input"]["catalog_hash"] == digest
        assert [demand["query_type"] for demand in anew["demand"]] == [*harness.TYPES, "translation"]
        assert first["horizon_start"] <= anew["horizon_start"] < first["horizon_end"] == anew["horizon_end"]
        (line,) = worker.events("catalog_in_force")
        assert (line["digest"], line["query_types_added"]) == (digest, ["translation"])
        await play(10.0, "chat", "translation")
        assert counted("translation") == 5

        # A bad one, and the same one again.
        await tell(CATALOGS, small_catalog(("chat", "chat")))
        await tell(CATALOGS, b"{")
        await tell(STATES, {"schema": "fleet-state/1", "fleet": "main", "gpus": 3})
        await tell(CATALOGS, wider)
        await harness.until(lambda: len(feed.messages(harness.DEAD_LETTERS)) == 3, "dead letters")
        letters = [(letter["topic"], letter["reason"]) for letter in feed.messages(harness.DEAD_LETTERS)]
        assert sorted(letters) == [(CATALOGS, "inconsistent"), (CATALOGS, "invalid"), (STATES, "invalid")]
        await play(harness.HORIZON_S, "chat", "translation")
        assert counted("translation") == 35
        assert {plan["input"]["catalog_hash"] for plan in feed.plans[feed.plans.index(anew) :]} == {digest}
        assert len(planned("catalog")) == 1

        # Fewer GPUs than the plan takes.
        before = feed.plans[-1]
        assert gpus(before) > 2
        state = {"schema": "fleet-state/1", "fleet": "main", "as_of": harness.T0 + at_s, "replicas": []}
        await tell(STATES, state | {"gpus_available": {"gpu": 2}})
        await harness.until(lambda: planned("capacity") != [], "a plan that fits", alive=[worker])
        (fewer,) = planned("capacity")
        assert gpus(fewer) == 2
        assert sum(fewer["unmet"].values()) > 0, "what there is no room for is shed"
        await tell(STATES, state | {"gpus_available": {"gpu": 2}, "as_of": harness.T0 + at_s + 1})
        await play(harness.HORIZON_S, "chat", "translation")
        assert len(planned("capacity")) == 1, "nothing new was said"
        assert gpus(feed.plans[-1]) <= 2
        assert await worker.terminate() == 0

        # Whoever comes next knows it all before it counts and plans.
        worker, plans = world.start_worker(), len(feed.plans)
        await play(harness.HORIZON_S, "chat", "translation")
        assert len(feed.messages(harness.DEAD_LETTERS)) == 3 + 3, (
            "bad records are refused by all who read them"
        )
        assert feed.ledgers()[0]["refused"] == 0
        await harness.until(lambda: len(feed.plans) > plans, "the next plan", alive=[worker])
        assert {plan["trigger"] for plan in feed.plans[plans:]} <= {"horizon", "surge"}
        assert all(gpus(plan) <= 2 for plan in feed.plans[plans:])
        assert feed.plans[-1]["input"]["catalog_hash"] == digest
        assert await worker.terminate() == 0
