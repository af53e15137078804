"""Ingest: chunks of raw records become absolute totals, one ledger for each source partition.

The ledger and the offset that it includes are one record of one table; nothing else is state. Whoever takes a
partition over reads that record, goes on at its offset, and arrives at the same totals.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, MutableMapping
from dataclasses import dataclass

from pydantic import ValidationError

from controller.clock import Clock
from controller.demand.counting import PartitionLedger, Totals, Windowing
from controller.errors import MessageError
from controller.logs import get_logger
from controller.settings import Settings
from controller.stream.codec import decode_event, ledger_of
from controller.stream.recent_ids import RecentIds
from controller.stream.snapshot_bytes import SnapshotWriter
from controller.stream.transport import Chunk
from schemas import DeadLetter, DemandSnapshot, RequestRateEvent, Topic

log = get_logger(__name__)

Decoded = list[tuple[int, RequestRateEvent | MessageError, bytes]]


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
    query_types : the names that are known.
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
        self._query_types = query_types
        self._windowing = windowing_of(settings)
        self._partitions: dict[int, _Partition] = {}

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
        ingest, bucket_s = self._settings.ingest, self._settings.horizon.bucket_s
        decoded: Decoded = []
        for offset, raw in zip(chunk.offsets, chunk.values, strict=True):
            found: RequestRateEvent | MessageError
            try:
                found = decode_event(
                    raw,
                    max_bytes=ingest.max_event_bytes,
                    bucket_s=bucket_s,
                    query_types=self._query_types,
                )
            except MessageError as error:
                found = error
            decoded.append((offset, found, raw or b""))
        return decoded

    def latest_s(self, decoded: Decoded, before_s: float) -> float:
        """Return a chunk's latest event time that is before ``before_s``, s since the epoch; ``-inf`` without one."""
        times = (event.event_time for _, event, _ in decoded if isinstance(event, RequestRateEvent))
        return max((time_s for time_s in times if time_s < before_s), default=-math.inf)

    def missing_from(self, partition: int, start: int) -> int | None:
        """Return the offset to read again from, where what came before a chunk that begins at ``start`` is missing."""
        held = self._partitions.get(partition)
        return None if held is None or start <= held.reached else held.reached

    def count(self, partition: int, decoded: Decoded, *, is_at_end: bool, start: int = 0) -> list[DeadLetter]:
        """Count a chunk's records; return those that are refused. The ledger is stored by :meth:`store`.

        ``start`` is the chunk's own: one that begins beyond what was read is not counted; its records come again.
        """
        held = self._partitions.get(partition)
        if held is None or start > held.reached:
            return []  # taken away while the chunk waited; whoever has the partition now reads it anew
        ledger, now_s = held.ledger, self._clock.now()
        horizon_s = now_s + self._settings.horizon.max_skew_s
        letters: list[DeadLetter] = []
        for offset, found, raw in decoded:
            held.reached = max(held.reached, offset + 1)
            is_counted_already = offset < ledger.next_offset
            if not is_counted_already:
                ledger.skipped += offset - ledger.next_offset
                ledger.next_offset = offset + 1
            if isinstance(found, RequestRateEvent) and found.event_time > horizon_s:
                found = MessageError(
                    "too_far_ahead", "event_time", f"must be at most {horizon_s:.3f}", found.event_time
                )
            if isinstance(found, MessageError):
                if not is_counted_already:
                    ledger.refused += 1
                    letters.append(
                        DeadLetter.of(found.reason, str(found), Topic.REQUEST_RATE, partition, offset, raw)
                    )
                continue
            is_repeat = found.event_id is not None and held.recent_ids.seen(found.event_id, offset)
            if is_counted_already:
                continue
            if is_repeat:
                ledger.duplicates += 1
            else:
                totals = Totals(1, found.count, found.input_tokens, found.output_tokens)
                ledger.add(found.query_type, found.event_time, totals)
        ledger.advance(ledger.next_offset, now_s if now_s > 0 else None)
        held.is_at_end = is_at_end
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
