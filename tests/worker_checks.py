"""What must hold of everything a fleet of workers said, by the oracle's recount of the log itself."""

from __future__ import annotations

import base64
from types import ModuleType
from typing import Any

import pytest

OUTCOMES = ("counted", "late", "refused", "duplicates")


async def recount(world: Any, harness: ModuleType, oracle: ModuleType) -> list[Any]:
    """Return the oracle's judgement of the whole source topic, one for each partition."""
    rules = oracle.Rules(
        query_types=frozenset(harness.TYPES),
        length_s=harness.HORIZON_S,
        bucket_s=harness.BUCKET_S,
        lateness_s=harness.LATENESS_S,
        retention_s=(harness.VALIDITY_HORIZONS + 1) * harness.HORIZON_S + harness.SKEW_S,
        duplicate_window=harness.DUPLICATE_WINDOW,
        now_s=world.now_s,
        skew_s=harness.SKEW_S,
    )
    return [oracle.PartitionRecount(rules, values) for values in await world.read_source()]


def assert_counts_are_exact(feed: Any, recounted: list[Any]) -> None:
    """The newest ledgers equal the recount: totals, buckets, watermarks and offsets, and nothing was skipped."""
    ledgers = feed.ledgers()
    assert sorted(ledgers) == list(range(len(recounted)))
    for number, partition in enumerate(recounted):
        ledger = ledgers[number]
        assert {name: ledger[name] for name in OUTCOMES} == partition.tallies(), f"partition {number}"
        assert ledger["next_offset"] == len(partition.verdicts)
        assert ledger["skipped"] == 0
        assert ledger["watermark"] == partition.watermark
        assert ledger["since"] == partition.since
        assert {bucket["start"]: bucket["totals"] for bucket in ledger["buckets"]} == partition.buckets()


def assert_every_snapshot_is_exact(feed: Any, recounted: list[Any]) -> None:
    """No snapshot was ever wrong on the way: each has as many of each outcome as the records below its offset."""
    running = []
    for partition in recounted:
        sums, totals = dict.fromkeys(OUTCOMES, 0), [dict.fromkeys(OUTCOMES, 0)]
        for verdict in partition.verdicts:
            sums[verdict.outcome] += 1
            totals.append(dict(sums))
        running.append(totals)
    for snapshot in feed.messages("llm.demand.v1"):
        expected = running[snapshot["partition"]][snapshot["next_offset"]]
        assert {name: snapshot[name] for name in OUTCOMES} == expected


def assert_plans_are_of_the_recounted_demand(
    plans: list[dict[str, Any]], recounted: list[Any], oracle: Any
) -> None:
    """Each plan that was made from demand names the rates that the log holds at the offsets that it names.

    No plan is of a window to which anything was added later.
    """
    judged = [plan for plan in plans if plan["decision"]["name"] in ("planned", "kept")]
    assert judged
    for plan in judged:
        assert oracle.window_of(recounted, plan) == oracle.window_of(recounted, plan, whole=True), (
            f"{plan['plan_id']} was made before all demand of its window was in"
        )
        expected = oracle.observed_rates(recounted, plan)
        found = {
            demand["query_type"]: demand["observed_rate_per_s"]
            for demand in plan["demand"]
            if demand["observed_rate_per_s"] is not None
        }
        assert found == pytest.approx(expected, rel=1e-9), plan["plan_id"]


def assert_one_planner_at_a_time(plans: list[dict[str, Any]]) -> None:
    """In the order of the topic, ``(epoch, sequence)`` ascends strictly and no horizon is planned twice."""
    orders = [(plan["epoch"], plan["sequence"]) for plan in plans]
    assert orders == sorted(set(orders))
    planned = [plan["horizon_start"] for plan in plans if plan["decision"]["name"] in ("planned", "kept")]
    assert planned == sorted(set(planned)), "a horizon was planned twice, or one after a later one"


def assert_refusals_are_all_in_dead_letters(feed: Any, recounted: list[Any]) -> None:
    """Each refused record has a dead letter, at least one, that says where it stood and what it was."""
    letters: dict[tuple[int, int], dict[str, Any]] = {}
    for letter in feed.messages("llm.dead-letter.v1"):
        assert letter["topic"] == "llm.request-rate.v1"
        assert letter["reason"]
        letters[letter["partition"], letter["offset"]] = letter
    refused = {
        (number, offset)
        for number, partition in enumerate(recounted)
        for offset, verdict in enumerate(partition.verdicts)
        if verdict.outcome == "refused"
    }
    assert set(letters) == refused
    for (number, offset), letter in letters.items():
        raw = recounted[number].values[offset]
        assert (base64.b64decode(letter["raw_base64"]), letter["raw_bytes"]) == (raw, len(raw))


def assert_no_noise(worker: Any) -> None:
    """The log of a worker that was told to stop has no traceback, and nothing that asyncio complains of."""
    noise = [record for record in worker.log() if record["logger"] == "asyncio" or "exception" in record]
    assert noise == []
