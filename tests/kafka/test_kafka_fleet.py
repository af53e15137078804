"""Two workers on a real Kafka that are told of a new catalog: both count its types, and one of them plans by it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from types import ModuleType
from typing import Any

import pytest

from controller.domain.catalog import read_catalog
from tests.small_catalog import small_catalog

pytestmark = [pytest.mark.kafka, pytest.mark.slow]
PARTITIONS = 4
CATALOGS = "llm.catalog.v1"


@pytest.fixture
async def world(make_kafka_world: Any) -> AsyncIterator[Any]:
    """A world on our own node."""
    async with make_kafka_world(PARTITIONS) as made:
        yield made


async def test_every_worker_counts_the_types_of_the_catalog_that_its_topic_has(
    world: Any, harness: ModuleType
) -> None:
    wider = small_catalog((*harness.TYPES, "translation"), tp_degrees=(1, 2))
    feed, at_s = world.feed, 0.0

    async def play(seconds: float, name: str) -> None:
        nonlocal at_s
        until_s = at_s + seconds
        while at_s < until_s:
            await world.set_clock(harness.T0 + at_s)
            await world.send((partition, harness.event(at_s, name)) for partition in range(PARTITIONS))
            at_s += 2.0
        await world.all_but(0)

    first = await world.start_planner()
    second = world.start_worker()
    workers = [first, second]
    while not (first.owned() and second.owned() and len(first.owned() | second.owned()) == PARTITIONS + 1):
        await play(2.0, "chat")
    while not feed.plans:
        await play(2.0, "chat")

    await world.producer.send_and_wait(CATALOGS, json.dumps(wider).encode(), key=b"main", partition=0)
    for worker in workers:
        await harness.until(
            lambda of=worker: of.events("catalog_in_force") != [], "the new catalog", alive=workers
        )
    await harness.until(
        lambda: any(plan["trigger"] == "catalog" for plan in feed.plans), "a plan of it", alive=workers
    )
    digest = read_catalog(wider).digest
    assert [plan["input"]["catalog_hash"] for plan in feed.plans if plan["trigger"] == "catalog"] == [digest]

    await play(20.0, "translation")
    for partition, ledger in feed.ledgers().items():
        totals = [bucket["totals"].get("translation", {}) for bucket in ledger["buckets"]]
        assert sum(total.get("events", 0) for total in totals) == 10, f"partition {partition}"
        assert ledger["refused"] == 0

    # Withdrawn: the file's catalog is in force again, and the type is unknown.
    await world.producer.send_and_wait(CATALOGS, None, key=b"main", partition=0)
    for worker in workers:
        await harness.until(
            lambda of=worker: len(of.events("catalog_in_force")) == 2, "the file's catalog", alive=workers
        )
        assert worker.events("catalog_in_force")[-1]["source"] == "file"
    await play(4.0, "translation")
    assert [ledger["refused"] for _, ledger in sorted(feed.ledgers().items())] == [2] * PARTITIONS
    for worker in workers:
        assert await worker.terminate() == 0
