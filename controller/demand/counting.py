"""Exact counting by event time: the ledger of one source partition.

A record is in exactly one of four states: counted in the bucket of its event time, late (its bucket had closed),
refused (a dead letter), or a duplicate. The ledger is a function of the partition's records in their order and of
nothing else, so whoever reads the partition again from the ledger's offset gets the same ledger.

The watermark is ``latest event time - allowed lateness``, cut down to a bucket's edge; a bucket that ends at or before
it is closed. The lateness is what the sources may be out of order by, not a delay of the network.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from operator import itemgetter

Record = tuple[str, float, int, int, int]
"""Query type, event time (s since the epoch), requests, input tokens, output tokens; there are very many of these."""

event_time_s: Callable[[Record], float] = itemgetter(1)


@dataclass(frozen=True, slots=True)
class Totals:
    """Sums over records: ``events`` are records, ``count`` the requests that they tell of."""

    events: int = 0
    count: int = 0
    input_tokens: int = 0
    output_tokens: int = 0

    def __add__(self, other: Totals) -> Totals:
        return Totals(
            self.events + other.events,
            self.count + other.count,
            self.input_tokens + other.input_tokens,
            self.output_tokens + other.output_tokens,
        )


@dataclass(frozen=True, slots=True)
class Windowing:
    """How event time is cut up.

    Parameters
    ----------
    bucket_s : length of a bucket; buckets start at its multiples since the epoch.
    allowed_lateness_s : how far behind the latest event of its partition a record may be.
    retention_s : how long closed buckets are kept, for planners to read.
    """

    bucket_s: float
    allowed_lateness_s: float
    retention_s: float

    def bucket_of(self, event_time_s: float) -> int:
        """Return the number of the bucket that a moment belongs to."""
        return math.floor(event_time_s / self.bucket_s)


@dataclass(slots=True)
class PartitionLedger:
    """What one source partition holds, up to ``next_offset``.

    Attributes
    ----------
    next_offset : the first offset that is not in the totals.
    watermark_s : no record before it is counted any more; None before the first record.
    since_s : start of the first bucket that was ever counted into; None before the first record.
    as_of_s : the clock when the partition last moved; None where no clock was known.
    buckets : bucket number -> query type -> totals; open, or closed within ``retention_s``.
    counted, late, refused, duplicates : records since offset 0. ``skipped`` are offsets that the broker had lost.
    touched : buckets that were counted into since whoever writes the ledger down last cleared this.
    """

    windowing: Windowing
    partition: int
    next_offset: int = 0
    watermark_s: float | None = None
    since_s: float | None = None
    as_of_s: float | None = None
    buckets: dict[int, dict[str, Totals]] = field(default_factory=dict)
    counted: int = 0
    late: int = 0
    refused: int = 0
    duplicates: int = 0
    skipped: int = 0
    touched: set[int] = field(default_factory=set, compare=False, repr=False)

    def add(self, records: Iterable[Record]) -> None:
        """Count records in their order, late ones as late.

        A run of records of one bucket is summed without asking whether they are late: what advances the watermark
        within a bucket does not close it.
        """
        bucket_s, floor = self.windowing.bucket_s, math.floor
        sums: dict[int, dict[str, list[int]]] = {}
        in_bucket: dict[str, list[int]] = {}
        current: int | None = None
        latest_s = -math.inf
        for query_type, event_time_s, count, input_tokens, output_tokens in records:
            bucket = floor(event_time_s / bucket_s)
            if bucket != current:
                self._reach(latest_s)
                if self.watermark_s is not None and (bucket + 1) * bucket_s <= self.watermark_s:
                    self.late += 1
                    continue
                current, in_bucket = bucket, sums.setdefault(bucket, {})
            if event_time_s > latest_s:
                latest_s = event_time_s
            sum_ = in_bucket.get(query_type)
            if sum_ is None:
                in_bucket[query_type] = [1, count, input_tokens, output_tokens]
            else:
                sum_[0] += 1
                sum_[1] += count
                sum_[2] += input_tokens
                sum_[3] += output_tokens
        self._reach(latest_s)
        for bucket, by_type in sums.items():
            self._merge(bucket, {query_type: Totals(*sum_) for query_type, sum_ in by_type.items()})

    def _reach(self, event_time_s: float) -> None:
        """Advance the watermark to what a record of this moment proves; ``-inf`` proves nothing."""
        if event_time_s > -math.inf:
            bucket_s = self.windowing.bucket_s
            reached_s = math.floor((event_time_s - self.windowing.allowed_lateness_s) / bucket_s) * bucket_s
            if self.watermark_s is None or reached_s > self.watermark_s:
                self.watermark_s = reached_s

    def _merge(self, bucket: int, more: dict[str, Totals]) -> None:
        by_type = self.buckets.setdefault(bucket, {})
        for query_type, totals in more.items():
            before = by_type.get(query_type)
            by_type[query_type] = totals if before is None else before + totals
            self.counted += totals.events
        self.touched.add(bucket)
        start_s = bucket * self.windowing.bucket_s
        self.since_s = start_s if self.since_s is None else min(self.since_s, start_s)

    def advance(self, next_offset: int, now_s: float | None) -> None:
        """Say that everything below ``next_offset`` is in the totals, and forget what no planner needs any more."""
        self.next_offset = next_offset
        self.as_of_s = now_s
        if self.watermark_s is not None:
            oldest = self.windowing.bucket_of(self.watermark_s - self.windowing.retention_s)
            for bucket in [bucket for bucket in self.buckets if bucket < oldest]:
                del self.buckets[bucket]
