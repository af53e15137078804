"""The chunk consumer: what it makes of fetched records, gaps, repeats and rebalances."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest
from faust.types import TP

from controller.stream import transport as module
from controller.stream.transport import Chunk, ChunkConsumer

SOURCE, CHANGELOG = TP("source", 0), TP("changelog", 0)


@dataclass
class Record:
    offset: int
    key: bytes | None = None

    @property
    def value(self) -> bytes:
        return b"%d" % self.offset


@dataclass
class Owner:
    """Resumes where it is told, and notes what it is told."""

    chunk_topics: frozenset[str] = frozenset({"source"})
    resumes_at: int = 0
    ready: list[dict[TP, int]] = field(default_factory=list)
    revoked: list[set[TP]] = field(default_factory=list)

    def resume_offset(self, _: TP) -> int:
        return self.resumes_at

    def partitions_ready(self, ends: Any) -> None:
        self.ready.append(dict(ends))

    def partitions_revoked(self, partitions: set[TP]) -> None:
        self.revoked.append(partitions)


class Consumer(ChunkConsumer):
    """A chunk consumer over a broker that is a list: what is Faust's own is left out."""

    def __init__(self, offsets: list[int], owner: Owner) -> None:
        self.app = SimpleNamespace(
            owner=owner,
            consumer_generation_id=1,
            monitor=SimpleNamespace(track_tp_end_offset=lambda *_: None),
        )
        self.scheduler = SimpleNamespace(
            iterate=lambda found: [(tp, record) for tp, records in found.items() for record in records]
        )
        self.flow_active = True
        self.offsets = offsets
        self.position = 0
        self.fetches: list[list[int]] = []
        self.earliest = 0
        self._buffered_partitions: set[TP] = set()
        self._read_offset: dict[TP, int | None] = {}
        self._committed_offset: dict[TP, int | None] = {}
        self._acked: dict[TP, list[int]] = {SOURCE: []}
        self._acked_index: dict[TP, set[int]] = {SOURCE: set()}
        self._start, self._next_offset, self._asked_again, self._sought = {}, {}, {}, {}
        self.changelog: list[int] = []
        self.active: set[TP] | None = None
        self.given_back: list[tuple[TP, int, int]] = []
        self._thread = self
        self.can_resume_flow, self.suspend_flow = asyncio.Event(), asyncio.Event()

    @property
    def should_stop(self) -> bool:
        return False

    def assignment(self) -> set[TP]:
        return {SOURCE, CHANGELOG}

    async def seek_to_committed(self) -> dict[TP, int]:
        self.position = len(self.offsets)  # what is committed may be anything
        return {}

    async def earliest_offsets(self, *tps: TP) -> dict[TP, int]:
        return dict.fromkeys(tps, self.earliest)

    async def highwaters(self, *tps: TP) -> dict[TP, int]:
        return dict.fromkeys(tps, self.highwater(SOURCE))

    async def seek(self, _: TP, offset: int) -> None:
        self.position = offset

    def highwater(self, _: TP) -> int:
        return self.offsets[-1] + 1 if self.offsets else 0

    def _to_message(self, _: TP, record: Any) -> Any:
        return SimpleNamespace(offset=record.offset, value=record.value)

    async def _wait_next_records(self, _: float) -> Any:
        offsets = (
            self.fetches.pop(0)
            if self.fetches
            else [offset for offset in self.offsets if offset >= self.position]
        )
        if offsets:
            self.position = offsets[-1] + 1
        records = {SOURCE: [Record(offset) for offset in offsets]} if offsets else {}
        if self.changelog:
            records[CHANGELOG] = [Record(offset) for offset in self.changelog]
        return records, self.active

    async def give_back(self, tp: TP, first: int, last: int) -> None:
        self.given_back.append((tp, first, last))

    async def chunks(self, fetches: int = 3) -> list[Chunk]:
        return [message.value for _ in range(fetches) async for _, message in self.getmany(1.0)]


async def started(offsets: list[int], **owner: Any) -> Consumer:
    consumer = Consumer(offsets, Owner(**owner))
    await consumer.perform_seek()
    consumer.resume_flow()
    return consumer


def spans(chunks: list[Chunk]) -> list[tuple[int, list[int]]]:
    return [(chunk.start, chunk.offsets) for chunk in chunks]


async def test_a_fetch_is_cut_to_chunks_that_follow_on_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_CHUNK_RECORDS", 2)
    consumer = await started([0, 1, 2, 3, 4])
    found = await consumer.chunks()
    assert spans(found) == [(0, [0, 1]), (2, [2, 3]), (4, [4])]
    assert [chunk.offsets_left for chunk in found] == [3, 1, 0]
    assert [chunk.is_near_end for chunk in found] == [False, True, True]
    assert [chunk.is_at_end for chunk in found] == [False, False, True]
    assert [value for chunk in found for value in chunk.values] == [b"0", b"1", b"2", b"3", b"4"]


async def test_reading_resumes_where_the_owners_state_says_whatever_was_committed() -> None:
    consumer = await started(list(range(10)), resumes_at=7)
    assert spans(await consumer.chunks()) == [(7, [7, 8, 9])]
    assert consumer._owner.ready == [{SOURCE: 10}]  # type: ignore[attr-defined]


async def test_a_gap_that_the_broker_has_is_delivered_after_it_was_asked_for_once_more() -> None:
    consumer = await started([0, 1, 5, 6])
    consumer.fetches = [[0, 1], [5, 6]]
    assert spans(await consumer.chunks(2)) == [(0, [0, 1])]
    assert consumer.position == 2, "asked once more"
    assert spans(await consumer.chunks(2)) == [(2, [5, 6])]


async def test_records_that_were_dropped_on_the_way_are_fetched_again() -> None:
    consumer = await started(list(range(6)))
    consumer.fetches = [[0, 1], [4, 5]]
    assert spans(await consumer.chunks(4)) == [(0, [0, 1]), (2, [2, 3, 4, 5])]


async def test_what_expired_before_it_was_read_is_a_gap_from_where_the_state_ends() -> None:
    consumer = Consumer([40, 41], Owner(resumes_at=10))
    consumer.earliest = 40
    await consumer.perform_seek()
    consumer.resume_flow()
    assert spans(await consumer.chunks()) == [(10, [40, 41])]


async def test_records_that_come_twice_are_delivered_once() -> None:
    consumer = await started([0, 1, 2, 3])
    consumer.fetches = [[0, 1], [0, 1, 2, 3], [2, 3]]
    assert spans(await consumer.chunks()) == [(0, [0, 1]), (2, [2, 3])]


async def test_nothing_is_delivered_between_a_rebalance_and_the_seek_that_ends_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def flush(*_: Any) -> None: ...

    monkeypatch.setattr(module.Consumer, "on_partitions_revoked", flush)
    consumer = await started([0, 1, 2, 3])
    consumer.fetches = [[0, 1], [2, 3]]
    assert spans(await consumer.chunks(1)) == [(0, [0, 1])]
    await consumer.on_partitions_revoked({SOURCE, CHANGELOG})
    assert consumer.app.owner.revoked == [{SOURCE}]
    assert spans(await consumer.chunks(1)) == []
    consumer.app.owner.resumes_at = 1
    await consumer.perform_seek()
    assert spans(await consumer.chunks(1)) == [], (
        "Faust would throw away what is delivered before the flow resumes"
    )
    consumer.resume_flow()
    assert spans(await consumer.chunks()) == [(1, [1, 2, 3])]


async def test_a_partition_that_is_asked_for_again_is_delivered_from_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "MAX_CHUNK_RECORDS", 2)
    consumer = await started([0, 1, 2, 3, 4, 5])
    fetched: AsyncIterator[Any] = consumer.getmany(1.0)
    assert [(await anext(fetched))[1].value.offsets for _ in range(2)] == [[0, 1], [2, 3]]
    await consumer.read_again(SOURCE, 1)
    assert [message async for _, message in fetched] == [], "the rest of the old fetch follows on nothing"
    assert spans(await consumer.chunks()) == [(1, [1, 2]), (3, [3, 4]), (5, [5])]


async def test_a_partition_is_not_read_again_from_what_is_still_to_come_nor_while_it_is_not_ours() -> None:
    consumer = await started([0, 1, 2, 3])
    consumer.fetches = [[0, 1]]
    await consumer.chunks(1)
    await consumer.read_again(SOURCE, 2)
    await consumer.read_again(CHANGELOG, 0)
    assert spans(await consumer.chunks()) == [(2, [2, 3])]


async def test_a_rebalance_in_the_middle_of_a_fetch_ends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_CHUNK_RECORDS", 2)
    consumer = await started([0, 1, 2, 3])
    fetched: AsyncIterator[Any] = consumer.getmany(1.0)
    _, first = await anext(fetched)
    assert first.value.offsets == [0, 1]
    consumer.app.consumer_generation_id = 2
    assert [message async for _, message in fetched] == []


async def test_what_a_rebalance_overtook_is_given_back_to_be_fetched_again() -> None:
    consumer = await started([0, 1])
    consumer.flow_active = False
    assert spans(await consumer.chunks(1)) == []
    consumer.flow_active = True
    assert consumer.given_back == [(SOURCE, 0, 1)]
    await consumer.perform_seek()
    consumer.resume_flow()
    assert spans(await consumer.chunks(1)) == [(0, [0, 1])]


async def test_of_a_changelog_what_a_rebalance_left_undelivered_is_given_back() -> None:
    consumer = await started([])
    consumer.changelog = [4, 5, 6]
    fetched: AsyncIterator[Any] = consumer.getmany(1.0)
    assert (await anext(fetched))[1].offset == 4
    consumer.app.consumer_generation_id = 2
    assert [message async for _, message in fetched] == []
    assert consumer.given_back == [(CHANGELOG, 5, 6)]


async def test_what_came_of_a_partition_that_is_paused_is_given_back() -> None:
    consumer = await started([])
    consumer.changelog, consumer.active = [4, 5], {SOURCE}
    assert [message async for _, message in consumer.getmany(1.0)] == []
    assert consumer.given_back == [(CHANGELOG, 4, 5)]


@dataclass
class Position:
    """Where aiokafka stands in a partition."""

    position: int
    has_valid_position: bool = True


@pytest.mark.parametrize(
    ("state", "sought"),
    [
        (Position(7), [(CHANGELOG, 5)]),
        (Position(3), []),
        (Position(0, has_valid_position=False), []),
        (None, []),
    ],
    ids=["nobody-sought-since", "sought-since", "being-reset", "not-ours-now"],
)
async def test_records_are_given_back_unless_someone_has_sought_since(
    state: Position | None, sought: list[tuple[TP, int]]
) -> None:
    found: list[tuple[TP, int]] = []
    assignment = SimpleNamespace(state_value=lambda _: state)
    reader = SimpleNamespace(
        _subscription=SimpleNamespace(subscription=SimpleNamespace(assignment=assignment)),
        seek=lambda tp, offset: found.append((tp, offset)),
    )
    thread: Any = SimpleNamespace(_ensure_consumer=lambda: reader)
    await module._PromptThread._give_back_in_thread(thread, CHANGELOG, 5, 6)
    assert found == sought


async def test_a_fetch_takes_only_from_what_was_active_when_it_began(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[set[TP] | None] = []

    async def fetch(_: Any, active: set[TP] | None, timeout: float) -> None:
        assert timeout < 1.0, "what becomes active meanwhile must not wait for long"
        asked.append(active)

    monkeypatch.setattr(module.AIOKafkaConsumerThread, "getmany", fetch)
    thread, active = object.__new__(module._PromptThread), {SOURCE}
    await thread.getmany(active, 1.0)
    active.add(CHANGELOG)
    assert asked == [{SOURCE}]


async def test_the_newest_chunk_that_is_done_stands_for_all_before_it() -> None:
    consumer = await started([0, 1, 2, 3])
    consumer._acked[SOURCE], consumer._acked_index[SOURCE] = [1, 3], {1, 3}
    assert consumer._new_offset(SOURCE) == 4
    assert (consumer._acked[SOURCE], consumer._acked_index[SOURCE]) == ([], set())
    assert consumer._new_offset(SOURCE) is None
