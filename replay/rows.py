"""What comes out of a trace: rows as they are read, requests as they are mapped, and what was dropped, with why."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple


class TraceRow(NamedTuple):
    """One request as its trace tells it; what a format does not have is 0 or empty.

    A tuple, because a day holds hundreds of thousands: cheap to make, frozen, and sortable by its first field.
    """

    time_s: float
    input_tokens: int
    output_tokens: int
    images: int = 0
    file: str = ""
    model: str = ""
    log_type: str = ""


class Request(NamedTuple):
    """One request of a known query type: what is replayed and what is simulated."""

    time_s: float
    query_type: str
    input_tokens: int
    output_tokens: int


class DropReason(StrEnum):
    """Why a row is not a request. Every row is a request or is counted under exactly one of these."""

    SHORT = "short"
    """It has fewer fields than the header, or lacks one that is needed."""
    MALFORMED = "malformed"
    """It has more fields than the header, broken quotes, or is no JSON object."""
    BAD_TIME = "bad_time"
    """Its time is no time, or lies outside the years 2000 to 2099."""
    NOT_A_NUMBER = "not_a_number"
    """A count is not written as a number, or has a fraction (``12.0`` is 12; ``12.5`` tokens do not exist)."""
    NEGATIVE = "negative"
    """A count is below zero."""
    TOO_LARGE = "too_large"
    """A count is above 10**15, which no message may carry."""
    FAILED = "failed"
    """BurstGPT writes zero response tokens for a request that failed."""
    UNMAPPED = "unmapped"
    """No rule of the type map matches, and the map has no default."""
    TOO_LONG = "too_long"
    """The line is longer than 1 MiB; it is not read into memory."""
    CORRUPT = "corrupt"
    """The compressed data ends early or is damaged; counted once, for all that is lost behind that point."""


class BadRowError(Exception):
    """A row cannot be read. Raised by parsers, counted by the reader; it never leaves this package."""

    def __init__(self, reason: DropReason) -> None:
        super().__init__(reason.value)
        self.reason = reason


_LONGEST_EXAMPLE = 160


@dataclass(slots=True)
class DropCounts:
    """Rows that were dropped, by reason, with the first of each for people to look at.

    Examples
    --------
    >>> drops = DropCounts()
    >>> drops.add(DropReason.NEGATIVE, "conv.csv line 7: '-4'")
    >>> drops.as_dict(), drops.total
    ({'negative': 1}, 1)
    """

    counts: dict[DropReason, int] = field(default_factory=dict)
    examples: dict[DropReason, str] = field(default_factory=dict)

    def add(self, reason: DropReason, example: str = "") -> None:
        """Count one row; the first ``example`` of a reason is kept, shortened."""
        if reason not in self.counts:
            self.counts[reason] = 0
            self.examples[reason] = (
                example if len(example) <= _LONGEST_EXAMPLE else example[:_LONGEST_EXAMPLE] + "…"
            )
        self.counts[reason] += 1

    @property
    def total(self) -> int:
        """Rows dropped, whatever the reason."""
        return sum(self.counts.values())

    def as_dict(self) -> dict[str, int]:
        """Return the counts by the reasons' names, in the order of :class:`DropReason`."""
        return {reason.value: self.counts[reason] for reason in DropReason if reason in self.counts}
