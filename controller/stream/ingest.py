"""Ingest: chunks of raw records become absolute totals, one ledger for each source partition.

The ledger and the offset that it includes are one record of one table; nothing else is state. Whoever takes a
partition over reads that record, goes on at its offset, and arrives at the same totals.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, MutableMapping
from dataclasses import dataclass
from typing import cast

from pydantic import ValidationError

from controller.clock import Clock
from controller.demand.counting import PartitionLedger, Record, Windowing, event_time_s
from controller.errors import MessageError
from controller.logs import get_logger
from controller.settings import Settings
from controller.stream.codec import ledger_of
from controller.stream.event_decoder import DecodedEvents, EventDecoder
from controller.stream.recent_ids import RecentIds
from controller.stream.snapshot_bytes import SnapshotWriter
from controller.stream.transport import Chunk
from schemas import DeadLetter, DemandSnapshot, Topic

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Decoded:
    """A chunk, and what its records say."""

    chunk: Chunk
    events: DecodedEvents


@dataclass(slots=True)
class _Partition:
    ledger: PartitionLedger
    writer: SnapshotWriter
    recent_ids: RecentIds
    reached: int
    is_at_end: bool = False
    is_dirty: bool = True


class Ingest:
    """The ledgers of the source partitions that this worker owns.

    Parameters
    ----------
    table : partition (as text) -> ledger, as the bytes of a :class:`schemas.DemandSnapshot`.
    clock : judges what is too far ahead.
    query_types : the names that are known at first.
    """

    def __init__(
        self,
        table: MutableMapping[str, bytes],
        clock: Clock,
        settings: Settings,
        query_types: frozenset[str],
    ) -> None:
        self._table = table
        self._clock = clock
        self._settings = settings
        self.know(query_types)
        self._windowing = windowing_of(settings)
        self._partitions: dict[int, _Partition] = {}

    def know(self, query_types: frozenset[str]) -> None:
        """Count these query types from now on, and no others; what was counted stays."""
        self._decoder = EventDecoder(
            max_bytes=self._settings.ingest.max_event_bytes,
            bucket_s=self._settings.horizon.bucket_s,
            query_types=query_types,
        )

    def resume(self, partition: int) -> int:
        """Load a partition's ledger from the table; return the offset to read from.

        That is ahead of the ledger's own by the window of duplicates: those records are read once more for their
        ids, and counted no second time.
        """
        ledger = self._load(partition)
        window = self._settings.ingest.duplicate_window_records
        start = max(0, ledger.next_offset - window)
        self._partitions[partition] = _Partition(ledger, SnapshotWriter(ledger), RecentIds(window), start)
        return start

    def _load(self, partition: int) -> PartitionLedger:
        stored = self._table.get(str(partition))
        if stored is not None:
            try:
                return ledger_of(DemandSnapshot.model_validate_json(stored), self._windowing)
            except (ValidationError, MessageError) as error:
                # A count that cannot be trusted is made anew from the source, never guessed.
                log.warning(
                    "ledger_refused", partition=partition, error=str(error), action="recount from the start"
                )
        return PartitionLedger(self._windowing, partition)

    def release(self, partition: int) -> None:
        """Forget a partition that is another worker's now."""
        self._partitions.pop(partition, None)

    def decode(self, chunk: Chunk) -> Decoded:
        """Parse and check the records of a chunk, each on its own."""
        return Decoded(chunk, self._decoder.decode(chunk.values))

    def missing_from(self, partition: int, start: int) -> int | None:
        """Return the offset to read again from, where what came before a chunk that begins at ``start`` is missing."""
        held = self._partitions.get(partition)
        return None if held is None or start <= held.reached else held.reached

    def count(self, partition: int, decoded: Decoded) -> list[DeadLetter]:
        """Count a chunk's records; return those that are refused. The ledger is stored by :meth:`store`.

        A chunk that begins beyond what was read is not counted; its records come again.
        """
        chunk, events = decoded.chunk, decoded.events
        held = self._partitions.get(partition)
        if held is None or chunk.start > held.reached:
            return []  # taken away while the chunk waited; whoever has the partition now reads it anew
        ledger, now_s = held.ledger, self._clock.now()
        horizon_s = now_s + self._settings.horizon.max_skew_s
        refused = events.refused
        if events.latest_s > horizon_s:
            refused = refused | _too_far_ahead(events, horizon_s)
        # What was counted already comes first, since offsets ascend; of it, only the ids are news.
        first = bisect_left(chunk.offsets, ledger.next_offset)
        repeats = {
            place
            for place, event_id in events.event_ids.items()
            if place not in refused
            and held.recent_ids.seen(event_id, chunk.offsets[place])
            and place >= first
        }
        end = max(ledger.next_offset, chunk.offsets[-1] + 1)
        ledger.skipped += end - ledger.next_offset - (len(chunk.offsets) - first)
        letters = [
            DeadLetter.of(
                refused[place].reason,
                str(refused[place]),
                Topic.REQUEST_RATE,
                partition,
                chunk.offsets[place],
                chunk.values[place] or b"",
            )
            for place in sorted(refused)
            if place >= first
        ]
        ledger.refused += len(letters)
        ledger.duplicates += len(repeats)
        if first or refused or repeats:
            ledger.add(
                record
                for place, record in enumerate(events.records)
                if record is not None and place >= first and place not in refused and place not in repeats
            )
        else:
            ledger.add(cast(list[Record], events.records))
        ledger.advance(end, now_s if now_s > 0 else None)
        held.reached = max(held.reached, chunk.offsets[-1] + 1)
        held.is_at_end = chunk.is_at_end
        held.is_dirty = True
        return letters

    def store(self, partition: int) -> None:
        """Store the ledger, once the dead letters of what it includes are with the broker.

        Must run within the stream's own event: the table writes to the partition that the event came from.
        """
        held = self._partitions.get(partition)
        if held is not None:
            self._table[str(partition)] = held.writer.write(is_at_end=held.is_at_end)

    def next_offset(self, partition: int) -> int:
        """Return the first offset that is not in a partition's totals; 0 for a partition that is not ours."""
        held = self._partitions.get(partition)
        return 0 if held is None else held.ledger.next_offset

    def watermark_s(self, partition: int) -> float | None:
        """Return a partition's watermark; None before its first record, and for a partition that is not ours."""
        held = self._partitions.get(partition)
        return None if held is None else held.ledger.watermark_s

    def note_end(self, partition: int, *, is_at_end: bool) -> None:
        """Say whether a partition is read to its end, which may change without a record."""
        held = self._partitions.get(partition)
        if held is not None and held.is_at_end != is_at_end:
            held.is_at_end = is_at_end
            held.is_dirty = True

    def snapshots(self, *, everything: bool) -> Iterator[tuple[int, bytes]]:
        """Yield partition and snapshot of those that changed since they were last taken, or of all."""
        for partition, held in self._partitions.items():
            if everything or held.is_dirty:
                held.is_dirty = False
                yield partition, held.writer.write(is_at_end=held.is_at_end)


def _too_far_ahead(events: DecodedEvents, horizon_s: float) -> dict[int, MessageError]:
    return {
        place: MessageError(
            "too_far_ahead", "event_time", f"must be at most {horizon_s:.3f}", event_time_s(record)
        )
        for place, record in enumerate(events.records)
        if record is not None and event_time_s(record) > horizon_s
    }


def windowing_of(settings: Settings) -> Windowing:
    """Return how event time is cut up, by the settings.

    Buckets are kept for as long as a plan may ask for them: the oldest plan that is not past its validity was due
    ``validity_horizons`` ago, from a window one horizon long, and a partition may be ``max_skew_s`` ahead of the clock.
    With less, a partition that catches up faster than the others would forget what the window is to be made of.
    """
    horizon = settings.horizon
    return Windowing(
        horizon.bucket_s,
        horizon.allowed_lateness_s,
        retention_s=(horizon.validity_horizons + 1) * horizon.length_s + horizon.max_skew_s,
    )
