"""A worker that stands still ends by itself, and its supervisor's new start goes on where it stood."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

pytestmark = [pytest.mark.kafka, pytest.mark.slow]


async def test_a_worker_whose_lag_stands_still_ends_with_an_error_that_says_where(
    make_kafka_world: Any, harness: ModuleType, oracle: ModuleType, checks: ModuleType
) -> None:
    async with make_kafka_world(1, kafka={"stall_timeout_s": 4.0, "request_timeout_s": 2.0}) as world:
        worker = await world.start_planner()
        await world.set_clock(harness.T0)
        await world.send([(0, harness.event(0.0))])
        await world.all_but(0)
        # Without a topic for dead letters, what is refused cannot be buried, and nothing behind it is counted.
        admin = AIOKafkaAdminClient(bootstrap_servers=world.bootstrap)
        await admin.start()
        try:
            await admin.delete_topics([harness.DEAD_LETTERS])
            await harness.until_topics_are_gone(admin, [harness.DEAD_LETTERS])
            await world.send([(0, b"{"), (0, harness.event(1.0))])
            await harness.until(lambda: not worker.is_running, "the worker to end")
            await admin.create_topics([NewTopic(harness.DEAD_LETTERS, 1, 1)])
        finally:
            await admin.close()
        assert worker.process.returncode == 1
        (failed,) = worker.events("worker_failed")
        assert "llm.request-rate.v1/0 stands still at offset 1, with more to read, for 4 s" in failed["error"]

        again = world.start_worker()
        await harness.until(lambda: bool(again.owned()), "the new start", alive=[again])
        await world.send([(0, harness.event(2.0))])
        await world.all_but(0)
        assert await again.terminate() == 0
        checks.assert_counts_are_exact(world.feed, await checks.recount(world, harness, oracle))


async def test_a_worker_with_nothing_to_read_goes_on_for_ever(
    make_kafka_world: Any, harness: ModuleType
) -> None:
    async with make_kafka_world(2, kafka={"stall_timeout_s": 2.0}) as world:
        worker, standby = await world.start_planner(), None
        await world.set_clock(harness.T0)
        await world.send([(0, harness.event(0.0)), (1, b"{")])
        await world.all_but(0)
        before = len(world.feed.messages(harness.DEMAND))
        # Four refreshes of all totals take longer than the time in which a worker may stand still.
        await harness.until(
            lambda: len(world.feed.messages(harness.DEMAND)) >= before + 20, "refreshes", alive=[worker]
        )
        standby = world.start_worker()
        await harness.until(lambda: bool(standby.events("partitions_ready")), "the standby", alive=[standby])
        after = len(world.feed.messages(harness.DEMAND))
        await harness.until(
            lambda: len(world.feed.messages(harness.DEMAND)) >= after + 20,
            "refreshes",
            alive=[worker, standby],
        )
        assert await standby.terminate() == 0
        assert await worker.terminate() == 0
