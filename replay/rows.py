"""What every source of requests gives: rows in order of time, and a count of what was dropped."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple


class TraceRow(NamedTuple):
    """One request of a trace.

    ``time_s`` is its arrival, s since the epoch. ``file`` is the file's name without its folder; ``columns`` are the text
    columns that a map may look at (``Model``, ``Log Type``), by their names.
    """

    time_s: float
    input_tokens: int
    output_tokens: int
    images: int = 0
    file: str = ""
    columns: tuple[tuple[str, str], ...] = ()


class Request(NamedTuple):
    """One request with its query type: what is replayed."""

    time_s: float
    query_type: str
    input_tokens: int
    output_tokens: int


class Drops:
    """Rows that were seen, and those that were dropped, by reason; filled while rows are read."""

    def __init__(self) -> None:
        self.rows = 0
        self.by_reason: Counter[str] = Counter()
        self.examples: dict[str, str] = {}

    def drop(self, reason: str, example: str) -> None:
        """Count one dropped row; keep the first example of each reason, to be shown."""
        self.by_reason[reason] += 1
        self.examples.setdefault(reason, example)

    @property
    def dropped(self) -> int:
        """Rows dropped so far."""
        return sum(self.by_reason.values())


Requests = Iterable[Request]
