"""The chunk transport: one stream event for each fetched chunk of a partition, instead of one for each record.

Faust's path in front of an agent costs hundreds of microseconds a record; that path is taken once per chunk here, and
everything else (groups, tables, rebalances, back-pressure) stays Faust's own. It leans on private methods of one
version, which is pinned; a crash test guards it.

Where reading resumes is never taken from committed offsets: Faust may commit ahead of the changelog that holds
the state. The owner of the partitions says it (:class:`PartitionOwner`), from the state itself, once tables are
recovered. Commits are made all the same, for the tools that show a group's lag.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, cast

import faust
from faust.transport.drivers.aiokafka import AIOKafkaConsumerThread, Consumer, Transport
from faust.types import TP
from faust.types.tuples import ConsumerMessage

from controller.kill_points import passing

MAX_CHUNK_RECORDS = 5000
FETCH_MAX_WAIT_MS = 50
_FETCH_TIMEOUT_S = 0.25
"""A fetch knows only of partitions that were active when it began; this is how long the others wait for the next."""
_POSITION_TIMEOUT_S = 5.0
_FRESH_MS = 5000.0
"""An answer of the broker about a partition's end is news for this long."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """Consecutive records of one partition.

    ``offsets`` ascend but need not be contiguous: a broker leaves gaps where it compacts or ends transactions. A chunk
    is all that the broker has from offset ``start`` up to its last record; one whose ``start`` is beyond what its
    reader has reached follows on one that was thrown away, as happens in a rebalance.

    ``offsets_left`` is how far the partition went beyond it when it was fetched; infinite where that is not known.
    """

    offsets: list[int]
    keys: list[bytes | None]
    values: list[bytes | None]
    offsets_left: float
    start: int = 0

    @property
    def is_at_end(self) -> bool:
        """Whether the partition held nothing more."""
        return self.offsets_left <= 0

    @property
    def is_near_end(self) -> bool:
        """Whether its reader has caught up, but for what comes in while it reads."""
        return self.offsets_left <= MAX_CHUNK_RECORDS


class PartitionOwner(Protocol):
    """Who processes chunk topics, and knows how far they were processed."""

    @property
    def chunk_topics(self) -> frozenset[str]:
        """Topics that arrive as chunks."""
        ...

    def resume_offset(self, tp: TP) -> int:
        """Return the offset to read a partition from; called once tables are recovered."""
        ...

    def partitions_ready(self, ends: Mapping[TP, int]) -> None:
        """Take note of the chunk partitions that this worker owns now, all of them; tables are recovered.

        ``ends`` are the offsets at which they end, as seen since the partitions became ours.
        """
        ...

    def partitions_revoked(self, partitions: set[TP]) -> None:
        """Take note of chunk partitions that are being taken away."""
        ...


_FAUST_LOGGER = logging.getLogger("faust")
"""Faust names a service's logger after its module; ours would pass for Coxswain's own words."""


class _PromptThread(AIOKafkaConsumerThread):
    """Faust's consumer thread, without the second and a half that it lets a broker sit on an empty fetch.

    A broker that has nothing for the first partition asked for may answer for none of them until then.
    """

    logger = _FAUST_LOGGER

    def _create_worker_consumer(self, transport: Transport) -> Any:
        consumer = super()._create_worker_consumer(transport)
        consumer._fetch_max_wait_ms = FETCH_MAX_WAIT_MS
        return consumer

    async def getmany(self, active_partitions: set[TP] | None, timeout: float) -> Any:
        """Fetch from the partitions that are active now.

        Faust hands over the set that it goes on changing: a fetch that was begun before a rebalance would take what
        belongs to the recovery after it, and lose it.
        """
        active = None if active_partitions is None else set(active_partitions)
        return await super().getmany(active, min(timeout, _FETCH_TIMEOUT_S))

    async def give_back(self, tp: TP, first: int, last: int) -> None:
        """Let records that were fetched and not delivered be fetched again, unless someone has sought since."""
        await self.call_thread(self._give_back_in_thread, tp, first, last)

    async def _give_back_in_thread(self, tp: TP, first: int, last: int) -> None:
        consumer = self._ensure_consumer()
        subscription = consumer._subscription.subscription
        state = None if subscription is None else subscription.assignment.state_value(tp)
        if state is not None and state.has_valid_position and state.position > last:
            consumer.seek(tp, first)

    async def seek_here(self, tp: TP, offset: int) -> None:
        """Seek in the thread that fetches; Faust's own :meth:`seek` reaches into it from the outside."""
        await self.call_thread(self._seek_in_thread, tp, offset)

    async def _seek_in_thread(self, tp: TP, offset: int) -> None:
        self._ensure_consumer().seek(tp, offset)

    def why_out_of_group(self) -> str | None:
        """Say why this worker takes no part in its group any more, where that is so: nothing revives it.

        What keeps a member in its group is a task of aiokafka's. It ends at an error that it does not expect, such as
        a broker that has just started and names no brokers, and nobody asks for it.
        """
        coordinator = None if self._consumer is None else self._consumer._coordinator
        task = None if coordinator is None else coordinator._coordination_task
        if task is None or not task.done() or task.cancelled() or task.exception() is None:
            return None
        return str(task.exception())

    def last_fetch_ms(self, tp: TP) -> float | None:
        """Return when the broker last answered a fetch of a partition, ms since the epoch by this machine."""
        asked_ms: float | None = self._ensure_consumer().last_poll_timestamp(tp)
        return asked_ms


class ChunkConsumer(Consumer):
    """Faust's consumer, delivering :class:`Chunk` for the owner's ``chunk_topics``."""

    logger = _FAUST_LOGGER

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._next_offset: dict[TP, int] = {}
        self._start: dict[TP, int] = {}
        self._asked_again: dict[TP, int] = {}
        self._sought: dict[TP, int] = {}

    def _new_consumer_thread(self) -> _PromptThread:
        return _PromptThread(self, loop=self.loop, beacon=self.beacon)

    async def _seek(self, partition: TP, offset: int) -> None:
        await cast(_PromptThread, self._thread).seek_here(partition, offset)

    @property
    def _owner(self) -> PartitionOwner:
        return cast("ChunkApp", self.app).owner

    async def perform_seek(self) -> None:
        """Seek after recovery: chunk topics to where their owner's state says, Faust's own to what was committed."""
        passing("before-seek")
        await super().perform_seek()
        chunked = {tp for tp in self.assignment() if tp.topic in self._owner.chunk_topics}
        earliest = await self.earliest_offsets(*chunked) if chunked else {}
        ends = await self.highwaters(*chunked) if chunked else {}
        for tp in chunked:
            start = self._owner.resume_offset(tp)
            wanted = max(start, earliest.get(tp) or 0)
            await self.seek(tp, wanted)
            self._start[tp], self._sought[tp] = start, wanted
            self._asked_again.pop(tp, None)
            # Forget what is committed: it may be ahead of the state, and must not stop lower offsets from being acked.
            self._committed_offset[tp] = None
            self._acked[tp].clear()
            self._acked_index[tp].clear()
        passing("after-seek")
        self._owner.partitions_ready({tp: ends.get(tp) or 0 for tp in chunked})

    def resume_flow(self) -> None:
        """Deliver from now on what was sought: Faust has just emptied its queues, with all that was in them."""
        super().resume_flow()
        self._next_offset.update(self._sought)
        self._sought.clear()

    async def read_again(self, tp: TP, offset: int) -> None:
        """Deliver a chunk topic's partition from ``offset`` on; for a reader that finds a chunk missing."""
        if self._next_offset.get(tp, offset) <= offset:
            return  # under way already, or not ours
        self._start[tp] = self._next_offset[tp] = offset
        self._asked_again.pop(tp, None)
        await self.seek(tp, offset)

    async def on_partitions_revoked(self, revoked: set[TP]) -> None:
        """Tell the app before anyone else may own the partitions."""
        passing("on-revoke")
        for tp in revoked:
            self._next_offset.pop(tp, None)
            self._sought.pop(tp, None)
        self._owner.partitions_revoked({tp for tp in revoked if tp.topic in self._owner.chunk_topics})
        await super().on_partitions_revoked(revoked)

    def verify_event_path(self, now: float, tp: TP) -> None:
        """Leave chunk topics to us: Faust's watch for stalls looks at single events, and asserts what need not hold.

        A position is unknown for as long as aiokafka looks for one that the broker still has.
        """
        if tp.topic not in self._owner.chunk_topics:
            super().verify_event_path(now, tp)

    async def is_behind(self, tp: TP, processed: int | None) -> bool:
        """Whether a chunk topic's partition has records to deliver, or that were delivered and are not processed.

        ``processed`` is the offset after the last chunk that is done with; None before the first. A partition of which
        nothing is known may hold anything. Where the fetch stands is asked of aiokafka, since the last offsets of a
        partition need not be records.
        """
        delivered, highwater = self._next_offset.get(tp), self.highwater(tp)
        if delivered is None or highwater is None:
            return True
        if processed is not None and processed < delivered:
            return True
        try:
            async with asyncio.timeout(_POSITION_TIMEOUT_S):
                position = await self.position(tp)
        except TimeoutError:
            return True
        return position is None or position < highwater

    def why_out_of_group(self) -> str | None:
        """Say why this worker takes no part in its group any more, where that is so."""
        return cast(_PromptThread, self._thread).why_out_of_group()

    def is_at_end(self, tp: TP, next_offset: int) -> bool:
        """Whether a partition holds nothing from ``next_offset`` on, by what the broker said a moment ago.

        A partition that cannot be fetched may hold anything: its silence proves nothing.
        """
        highwater = self.highwater(tp)
        if highwater is None or next_offset < highwater:
            return False
        asked_ms = cast(_PromptThread, self._thread).last_fetch_ms(tp)
        return asked_ms is not None and time.time() * 1000.0 - asked_ms < _FRESH_MS

    async def getmany(self, timeout: float) -> AsyncIterator[tuple[TP, ConsumerMessage]]:
        """Fetch: chunks for chunk topics, single records for the rest (Faust's own changelogs)."""
        records, active = await self._wait_next_records(timeout)
        if records is None or self.should_stop:
            return
        if not self.flow_active:  # a rebalance came while the fetch was under way
            await self._give_back(records)
            return
        generation = self.app.consumer_generation_id

        def is_current() -> bool:
            return bool(self.flow_active) and self.app.consumer_generation_id == generation

        wanted = {
            tp: found
            for tp, found in records.items()
            if active is None or tp in active or tp in self._buffered_partitions
        }
        chunked = {tp: found for tp, found in wanted.items() if tp.topic in self._owner.chunk_topics}
        single = {tp: found for tp, found in wanted.items() if tp not in chunked}
        await self._give_back({tp: found for tp, found in records.items() if tp not in wanted})
        reached: dict[TP, int] = {}
        for tp, record in self.scheduler.iterate(single):
            if not is_current():
                left = {
                    tp: [r for r in found if r.offset > reached.get(tp, -1)] for tp, found in single.items()
                }
                await self._give_back(left)
                return
            self.app.monitor.track_tp_end_offset(tp, self.highwater(tp))
            passing("during-recovery")
            reached[tp] = record.offset
            yield tp, self._to_message(tp, record)
        for tp, found in chunked.items():
            if not await self._follows(tp, found):
                continue
            expected = self._next_offset[tp]
            for part in self._parts(tp, found):
                if not is_current():
                    return
                if self._next_offset.get(tp) != expected:
                    break  # asked to read again since: what is left here comes once more
                expected = part[-1].offset + 1
                yield tp, self._chunk(tp, part)

    async def _give_back(self, records: Mapping[TP, list[Any]]) -> None:
        """Let records be fetched again: Faust takes whatever was fetched for delivered, and would wait for ever."""
        for tp, found in records.items():
            if found:
                await cast(_PromptThread, self._thread).give_back(tp, found[0].offset, found[-1].offset)

    async def _follows(self, tp: TP, records: list[Any]) -> bool:
        """Whether fetched records go on where the last chunk ended, or the broker has nothing in between."""
        expected = self._next_offset.get(tp)
        if expected is None:  # not ready: perform_seek and resume_flow come first
            if tp in self._sought:
                await self.seek(tp, self._sought[tp])
            return False
        if records[0].offset > expected and self._asked_again.get(tp) != expected:
            # A fetch from before a seek slipped through, records were dropped, or the broker has a gap. Ask once more.
            self._asked_again[tp] = expected
            await self.seek(tp, expected)
            return False
        return True

    def _parts(self, tp: TP, records: list[Any]) -> Iterator[list[Any]]:
        """Cut records to chunks' size, without those that were delivered before."""
        if records[0].offset < self._next_offset[tp]:
            records = [record for record in records if record.offset >= self._next_offset[tp]]
        for start in range(0, len(records), MAX_CHUNK_RECORDS):
            yield records[start : start + MAX_CHUNK_RECORDS]

    def _chunk(self, tp: TP, part: list[Any]) -> ConsumerMessage:
        highwater = self.highwater(tp)
        self.app.monitor.track_tp_end_offset(tp, highwater)
        last = part[-1]
        message = self._to_message(tp, last)
        chunk: Any = Chunk(
            [r.offset for r in part],
            [r.key for r in part],
            [r.value for r in part],
            math.inf if highwater is None else highwater - last.offset - 1,
            self._start[tp],
        )
        message.value = chunk
        self._start[tp] = self._next_offset[tp] = last.offset + 1
        # Faust takes the jump from the chunk before for a gap to be acknowledged; there is none.
        self._read_offset[tp] = last.offset - 1 if last.offset else None
        return message

    def _new_offset(self, tp: TP) -> int | None:
        """Return the offset to commit: chunks are processed in order, so the newest one done stands for all before."""
        if tp.topic not in self._owner.chunk_topics:
            offset: int | None = super()._new_offset(tp)
            return offset
        acked = self._acked[tp]
        if not acked:
            return None
        passing("before-commit")
        newest = max(acked)
        self._acked_index[tp].difference_update(acked)
        acked.clear()
        return int(newest) + 1


class ChunkTransport(Transport):
    """Faust's aiokafka transport with the :class:`ChunkConsumer`."""

    Consumer = ChunkConsumer


class ChunkApp(faust.App):
    """A Faust app whose ``owner`` gets chunks, from where its own state says. Set ``owner`` before it starts."""

    logger = _FAUST_LOGGER
    owner: PartitionOwner

    def _new_transport(self) -> ChunkTransport:
        return ChunkTransport(self.conf.broker_consumer, self)
