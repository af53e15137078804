"""The planner's view of demand: the newest totals of every source partition, and what is known of a window of them.

Snapshots are absolute, so the view is rebuilt from any of them in any order; one with a lower offset changes nothing.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from controller.demand.counting import PartitionLedger, Totals


class DemandState(StrEnum):
    """What is known of a query type's demand. Unknown is not zero."""

    OBSERVED = "observed"
    IDLE = "idle"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class PartitionProgress:
    """How far a source partition was read."""

    partition: int
    next_offset: int
    watermark_s: float | None


@dataclass(frozen=True, slots=True)
class TypeWindow:
    """One query type in one window.

    ``bucket_counts`` are the requests of each bucket, oldest first, as doubles that NumPy takes as they are; a bucket
    without a record counts 0. ``heard_share`` is the share of the window up to which the type was heard of: below 1
    where it then fell silent, for longer than its heartbeats and its requests can explain.
    """

    state: DemandState
    totals: Totals
    bucket_counts: array[float]
    heard_share: float = 1.0


@dataclass(frozen=True, slots=True)
class WindowView:
    """All that is known of ``[start_s, end_s)``: ``types`` holds those that were heard of, and no others.

    ``coverage`` is the share of the window that was watched: below 1 where counting began within it. ``is_closed``
    tells whether all demand of the window is in.
    """

    start_s: float
    end_s: float
    coverage: float
    is_closed: bool
    types: Mapping[str, TypeWindow]
    progress: tuple[PartitionProgress, ...]
    missing_partitions: tuple[int, ...]

    @property
    def is_unknown(self) -> bool:
        """Whether nothing can be said of the demand as a whole."""
        is_silent = all(window.state is DemandState.UNKNOWN for window in self.types.values())
        return not self.is_closed or bool(self.missing_partitions) or is_silent


SILENT_TIMEOUTS = 2.0
"""A type that was not heard of for so many idle timeouts at a window's end may have lost its sources."""
SILENT_REQUESTS = 10.0
"""And where so many requests would have been due in that time, no chance explains that there were none."""


class DemandWindow:
    """The newest ledger of each source partition.

    Parameters
    ----------
    num_partitions : of the source topic.
    bucket_s : length of a bucket.
    idle_timeout_s : a partition that is read to its end and was silent for this long holds nothing back.
    """

    def __init__(self, num_partitions: int, bucket_s: float, idle_timeout_s: float) -> None:
        self._num_partitions = num_partitions
        self._bucket_s = bucket_s
        self._idle_timeout_s = idle_timeout_s
        self._ledgers: dict[int, PartitionLedger] = {}
        self._at_end: dict[int, bool] = {}

    def apply(self, ledger: PartitionLedger, is_at_end: bool) -> bool:
        """Take over a snapshot; return False where it is older than what is known."""
        known = self._ledgers.get(ledger.partition)
        if known is not None and ledger.next_offset < known.next_offset:
            return False
        self._ledgers[ledger.partition] = ledger
        self._at_end[ledger.partition] = is_at_end
        return True

    @property
    def missing_partitions(self) -> tuple[int, ...]:
        """Source partitions that nothing was ever heard of."""
        return tuple(p for p in range(self._num_partitions) if p not in self._ledgers)

    @property
    def since_s(self) -> float | None:
        """Start of the first bucket that was ever counted into, s since the epoch; None before it."""
        return min(
            (ledger.since_s for ledger in self._ledgers.values() if ledger.since_s is not None), default=None
        )

    def watermark_s(self, now_s: float) -> float:
        """Return the moment up to which all demand is in, s since the epoch; ``-inf`` while a partition is missing.

        The least watermark of the partitions that still hold it back. Where none does, everything that was sent is
        in, and time itself is the watermark, ``idle_timeout_s`` behind the clock.
        """
        if self.missing_partitions:
            return -math.inf
        holding = [
            -math.inf if ledger.watermark_s is None else ledger.watermark_s
            for partition, ledger in self._ledgers.items()
            if not self._is_silent(partition, now_s)
        ]
        if holding:
            return min(holding)
        known = [ledger.watermark_s for ledger in self._ledgers.values() if ledger.watermark_s is not None]
        return max([now_s - self._idle_timeout_s, *known])

    def _is_silent(self, partition: int, now_s: float) -> bool:
        ledger = self._ledgers[partition]
        if not self._at_end[partition]:
            return False
        return ledger.as_of_s is None or now_s - ledger.as_of_s >= self._idle_timeout_s

    def view(self, start_s: float, end_s: float, now_s: float) -> WindowView:
        """Return what is known at ``now_s`` of the buckets in ``[start_s, end_s)``."""
        first, beyond = round(start_s / self._bucket_s), round(end_s / self._bucket_s)
        counts: dict[str, list[int]] = {}
        totals: dict[str, Totals] = {}
        latest: dict[str, int] = {}
        for ledger in self._ledgers.values():
            for bucket, by_type in ledger.buckets.items():
                if first <= bucket < beyond:
                    for name, part in by_type.items():
                        totals[name] = totals.get(name, Totals()) + part
                        series = counts.setdefault(name, [0] * (beyond - first))
                        series[bucket - first] += part.count
                        latest[name] = max(latest.get(name, first), bucket)
        types = {
            name: self._type_window(total, counts[name], latest[name] + 1 - first)
            for name, total in totals.items()
        }
        watched_s = end_s - max(start_s, self.since_s or start_s)
        coverage = watched_s / (end_s - start_s) if types else 0.0
        is_closed = self.watermark_s(now_s) >= end_s
        return WindowView(
            start_s, end_s, coverage, is_closed, types, tuple(self._progress()), self.missing_partitions
        )

    def _type_window(self, total: Totals, counts: list[int], heard_buckets: int) -> TypeWindow:
        """Tell silence at the end of a window from nobody asking: unknown is not zero."""
        silent_buckets = len(counts) - heard_buckets
        state, heard_share = DemandState.OBSERVED if total.count else DemandState.IDLE, 1.0
        if silent_buckets * self._bucket_s > SILENT_TIMEOUTS * self._idle_timeout_s:
            if not total.count:
                state = DemandState.UNKNOWN
            elif _at_least(total.count) / heard_buckets * silent_buckets >= SILENT_REQUESTS:
                heard_share = heard_buckets / len(counts)
        return TypeWindow(state, total, array("d", counts), heard_share)

    def _progress(self) -> Iterable[PartitionProgress]:
        for partition in sorted(self._ledgers):
            ledger = self._ledgers[partition]
            yield PartitionProgress(partition, ledger.next_offset, ledger.watermark_s)


def _at_least(count: int) -> float:
    """Return what is to be expected of a Poisson process that gave so many, two standard deviations down."""
    return max(0.0, count - 2.0 * math.sqrt(count))
