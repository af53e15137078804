"""What comes out of a trace: rows as they are read, requests as they are mapped, and what was dropped, with why."""

from __future__ import annotations

from collections import Counter
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
class Drops:
    """Rows that were seen, and those of them that were dropped, by reason; filled while rows are read.

    Attributes
    ----------
    rows : rows seen. Each is given on, or is under one of the reasons.
    by_reason : rows dropped.
    examples : the first row of each reason, shortened, for people to look at.

    Examples
    --------
    >>> drops = Drops(rows=8)
    >>> drops.drop(DropReason.NEGATIVE, "conv.csv line 7: '-4'")
    >>> drops.as_dict(), drops.dropped
    ({'negative': 1}, 1)
    """

    rows: int = 0
    by_reason: Counter[DropReason] = field(default_factory=Counter)
    examples: dict[DropReason, str] = field(default_factory=dict)

    def drop(self, reason: DropReason, example: str) -> None:
        """Count one row as dropped; it must have been counted as seen."""
        if reason not in self.examples:
            is_short = len(example) <= _LONGEST_EXAMPLE
            self.examples[reason] = example if is_short else example[:_LONGEST_EXAMPLE] + "…"
        self.by_reason[reason] += 1

    @property
    def dropped(self) -> int:
        """Rows dropped so far, whatever the reason."""
        return self.by_reason.total()

    def as_dict(self) -> dict[str, int]:
        """Return the rows dropped by the names of the reasons, in the order of :class:`DropReason`."""
        return {reason.value: self.by_reason[reason] for reason in DropReason if self.by_reason[reason]}
