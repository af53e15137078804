"""Following the fleet's topics: from the first record on, each once, through failures of the broker."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.errors import KafkaError
from structlog.testing import capture_logs

from controller.kafka import KafkaConnection
from controller.stream import news_follower as module
from controller.stream.fleet_news import NewsRecord
from controller.stream.news_follower import follow_news

CATALOGS, STATES = TopicPartition("llm.catalog.v1", 0), TopicPartition("llm.fleet-state.v1", 0)
PATIENCE_S = 20.0


class Broker:
    """Two logs, of which a compacted one lacks offsets; it fails as often as it is told to."""

    def __init__(self) -> None:
        self.logs: dict[TopicPartition, dict[int, bytes]] = {CATALOGS: {}, STATES: {}}
        self.ends = {CATALOGS: 0, STATES: 0}
        self.failures: dict[str, int] = {"start": 0, "getmany": 0}
        self.swallows = asyncio.Event()

    def fail(self, what: str) -> None:
        if self.failures[what]:
            self.failures[what] -= 1
            raise KafkaError(f"{what}: no answer")


class Consumer:
    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._positions: dict[TopicPartition, int] = {}

    async def start(self) -> None:
        self._broker.fail("start")

    async def stop(self) -> None:
        """End at the cancellation of whoever waits, without a word of it, as aiokafka's consumers do."""
        if self._broker.swallows.is_set():
            self._broker.swallows.clear()
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.Event().wait()

    def assign(self, _: list[TopicPartition]) -> None: ...

    def seek(self, partition: TopicPartition, offset: int) -> None:
        self._positions[partition] = offset

    async def end_offsets(self, _: list[TopicPartition]) -> dict[TopicPartition, int]:
        return dict(self._broker.ends)

    async def position(self, partition: TopicPartition) -> int:
        return self._positions[partition]

    async def getmany(self, timeout_ms: int) -> dict[TopicPartition, list[Any]]:  # noqa: ARG002
        await asyncio.sleep(0)
        self._broker.fail("getmany")
        for partition, log in self._broker.logs.items():
            offset = next((at for at in sorted(log) if at >= self._positions[partition]), None)
            if offset is not None:  # one record at a time
                self._positions[partition] = offset + 1
                record = SimpleNamespace(
                    topic=partition.topic, partition=0, offset=offset, key=b"main", value=log[offset]
                )
                return {partition: [record]}
            self._positions[partition] = self._broker.ends[partition]
        return {}


class Followed:
    def __init__(self) -> None:
        self.broker = Broker()
        self.taken: list[tuple[str, int]] = []
        self.is_known = asyncio.Event()
        self.known_after: int | None = None

    async def take(self, record: NewsRecord) -> None:
        assert not (self.is_known.is_set() and self.known_after is None)
        self.taken.append((record.topic, record.offset))

    async def until(self, count: int) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while len(self.taken) < count or not self.is_known.is_set():
                await asyncio.sleep(0)


@contextlib.asynccontextmanager
async def following(followed: Followed, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[None]:
    monkeypatch.setattr(module, "AIOKafkaConsumer", lambda **_: Consumer(followed.broker))
    monkeypatch.setattr(module, "_RETRY_S", 0)
    task = asyncio.create_task(
        follow_news(KafkaConnection("nowhere:1"), followed.take, followed.is_known), name="follow"
    )
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def test_all_that_is_there_is_handed_over_before_it_is_known_and_what_comes_later_after(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    followed = Followed()
    followed.broker.logs[CATALOGS] |= {3: b"a", 7: b"b"}
    followed.broker.ends[CATALOGS] = 9  # what stood behind the last was compacted away
    followed.broker.logs[STATES] |= {0: b"c"}
    followed.broker.ends[STATES] = 1
    async with following(followed, monkeypatch):
        await followed.until(3)
        assert sorted(followed.taken) == [(CATALOGS.topic, 3), (CATALOGS.topic, 7), (STATES.topic, 0)]
        followed.known_after = 3
        followed.broker.logs[STATES][1] = b"d"
        followed.broker.ends[STATES] = 2
        await followed.until(4)
        assert followed.taken[-1] == (STATES.topic, 1)


async def test_topics_without_a_record_are_known_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    followed = Followed()
    async with following(followed, monkeypatch):
        await followed.until(0)
    assert followed.taken == []


async def test_a_broker_that_fails_is_waited_for_and_no_record_is_handed_over_a_second_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    followed = Followed()
    followed.broker.logs[CATALOGS] |= {0: b"a", 1: b"b"}
    followed.broker.ends[CATALOGS] = 2
    followed.broker.failures["start"] = 2
    with capture_logs() as logs:
        async with following(followed, monkeypatch):
            await followed.until(2)
            followed.known_after = 2
            followed.broker.failures["getmany"] = 3
            followed.broker.logs[CATALOGS][2] = b"c"
            followed.broker.ends[CATALOGS] = 3
            await followed.until(3)
    assert [offset for _, offset in followed.taken] == [0, 1, 2]
    assert [line["event"] for line in logs] == ["fleet_news_wait_for_broker"] * 5


async def test_it_ends_where_a_consumer_that_is_being_stopped_swallows_the_cancellation(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    followed = Followed()
    followed.broker.failures["start"] = 1
    followed.broker.swallows.set()
    async with asyncio.timeout(PATIENCE_S) as limit, following(followed, monkeypatch):
        while followed.broker.swallows.is_set():
            await asyncio.sleep(0)
    assert not limit.expired()
