"""What a worker makes of bad input, of silence, and of heartbeats."""

from __future__ import annotations

import base64
from types import ModuleType
from typing import Any

import pytest

pytestmark = pytest.mark.stream


async def test_poison_among_good_records_goes_to_dead_letters_and_the_next_good_event_counts(
    make_world: Any, harness: ModuleType
) -> None:
    async with make_world() as world:
        worker = await world.start_planner()
        await world.set_clock(harness.T0 + 100)
        records = [harness.event(0)]
        for poison in harness.POISON:
            records += [poison, harness.event(1)]
        records += [b"", harness.event(2, source="s" * 20_000), harness.event(3)]
        await world.send((0, raw) for raw in records)
        await world.all_but(0)
        await harness.until(
            lambda: len(world.feed.messages(harness.DEAD_LETTERS)) >= len(harness.POISON) + 2, "dead letters"
        )
        ledger = world.feed.ledgers()[0]
        assert (ledger["counted"], ledger["refused"]) == (len(harness.POISON) + 2, len(harness.POISON) + 2)

        letters = {letter["offset"]: letter for letter in world.feed.messages(harness.DEAD_LETTERS)}
        assert sorted(letters) == [*range(1, 2 * len(harness.POISON), 2), len(records) - 3, len(records) - 2]
        for offset, letter in letters.items():
            assert (letter["topic"], letter["partition"]) == (harness.SOURCE, 0)
            assert base64.b64decode(letter["raw_base64"]) == records[offset]
            assert letter["raw_bytes"] == len(records[offset])
            assert letter["detail"]
        assert {letter["reason"] for letter in letters.values()} == {
            "empty",
            "too_large",
            "invalid",
            "duplicate_key",
            "window_too_long",
            "unknown_query_type",
            "too_far_ahead",
        }
        assert await worker.terminate() == 0


async def test_silence_holds_the_fleet_as_it_is_and_heartbeats_scale_it_down(
    make_world: Any, harness: ModuleType
) -> None:
    idle_s = 30.0
    async with make_world(horizon={"idle_timeout_s": idle_s}) as world:
        worker = await world.start_planner()
        feed, at_s = world.feed, 0.0

        async def play(until_s: float, *, count: int | None) -> None:
            nonlocal at_s
            while at_s < until_s:
                await world.set_clock(harness.T0 + at_s)
                if count is not None:
                    tokens = {"input_tokens": 100 * count}
                    await world.send(
                        (0, harness.event(at_s, name, count=count, **tokens)) for name in harness.TYPES
                    )
                at_s += 2.0
            await world.all_but(0)

        await play(2 * harness.HORIZON_S + 30.0, count=40)
        await harness.until(lambda: len(feed.plans) == 2, "two plans of a busy fleet", alive=[worker])
        busy = feed.plans[-1]
        assert busy["decision"]["name"] in ("planned", "kept")
        assert sum(deployment["replicas"] for deployment in busy["deployments"]) > 1

        # The third window closes by the silence, with what was heard in it; the two after it had nothing at all.
        for silent_horizon in (3, 4, 5):
            await play(silent_horizon * harness.HORIZON_S + idle_s + 2.0, count=None)
            wanted = silent_horizon
            await harness.until(
                lambda at=wanted: len(feed.plans) == at, "a plan in the silence", alive=[worker]
            )
        heard_last, *silent = feed.plans[2:]
        assert [plan["decision"]["name"] for plan in silent] == ["hold_unknown_demand"] * 2
        for plan in silent:
            assert plan["deployments"] == heard_last["deployments"]
            assert plan["routes"] == heard_last["routes"]
            assert plan["changes"] == []
            assert plan["solver"]["status"] == "not_run"

        await play(8 * harness.HORIZON_S + 30.0, count=0)
        await harness.until(
            lambda: feed.plans[-1]["horizon_start"] == harness.iso(8 * harness.HORIZON_S),
            "heartbeats planned for",
        )
        idle = feed.plans[-1]
        assert {demand["state"] for demand in idle["demand"]} == {"idle"}
        assert sum(deployment["replicas"] for deployment in idle["deployments"]) < sum(
            deployment["replicas"] for deployment in heard_last["deployments"]
        )
        assert await worker.terminate() == 0


async def test_a_plan_waits_for_its_window_to_close_and_not_for_the_next_publication_of_totals(
    make_world: Any, harness: ModuleType
) -> None:
    never_s = 3600.0
    async with make_world(ingest={"snapshot_interval_s": never_s, "refresh_interval_s": never_s}) as world:
        worker = await world.start_planner()
        for at_s in range(0, int(harness.HORIZON_S + harness.LATENESS_S) + 11, 10):
            await world.set_clock(harness.T0 + at_s)
            await world.send([(0, harness.event(at_s, name)) for name in harness.TYPES])
        await harness.until(lambda: len(world.feed.plans) == 1, "a plan", alive=[worker])
        assert world.feed.plans[0]["decision"]["name"] == "planned"
        assert await worker.terminate() == 0
