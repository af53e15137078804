"""Reads a trace file: its rows in order of time, in constant memory where the file is in order itself."""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from heapq import merge
from operator import itemgetter
from pathlib import Path

import numpy as np

from controller.errors import TraceError
from replay.formats import KNOWN_FORMATS, Layout, detect_layout
from replay.lines import read_lines
from replay.rows import BadRowError, Drops, TraceRow

RELATIVE_EPOCH_S = 1_767_225_600.0
"""2026-01-01T00:00:00Z: stands for 0 in formats whose times are relative (BurstGPT, Mooncake)."""
_EXAMPLE_BYTES = 120
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class Survey:
    """What one pass over a file tells: how many rows can be read, from when to when, and whether in order.

    ``first_s`` and ``last_s`` are 0 where there is no row.
    """

    rows: int
    first_s: float
    last_s: float
    is_sorted: bool


class TraceFile:
    """A trace file of a known format (:mod:`replay.formats`).

    Parameters
    ----------
    path : plain or gzip, whatever its name says.
    relative_epoch_s : the moment that stands for 0 where times are relative, s since the epoch.

    Attributes
    ----------
    format_name : ``Azure``, ``BurstGPT`` or ``Mooncake``.

    Raises
    ------
    TraceError : no such file, nothing in it, or columns that no known format has.

    Examples
    --------
    >>> drops = Drops()
    >>> for row in TraceFile(Path("conv.csv")).rows(drops):  # doctest: +SKIP
    ...     row.time_s, row.input_tokens
    """

    def __init__(self, path: Path, *, relative_epoch_s: float = RELATIVE_EPOCH_S) -> None:
        self.path = path
        self._layout = self._detect(relative_epoch_s)
        self.format_name = self._layout.format_name

    @cached_property
    def survey(self) -> Survey:
        """What a first pass over the file tells; it takes about as long as reading it."""
        rows = 0
        first_s, last_s, before_s = math.inf, -math.inf, -math.inf
        is_sorted = True
        for row in self._rows_as_written(Drops()):
            time_s = row.time_s
            if time_s < before_s:
                is_sorted = False
            first_s = min(first_s, time_s)
            last_s = max(last_s, time_s)
            before_s = time_s
            rows += 1
        return Survey(rows, first_s, last_s, is_sorted) if rows else Survey(0, 0.0, 0.0, True)

    def rows(self, drops: Drops) -> Iterator[TraceRow]:
        """Yield the rows in order of time, rows of the same time as they stand; count in ``drops`` the ones left out.

        A row that is out of order can only be known at the end, so the file is surveyed first. One in order is then
        streamed; any other is held, packed, and sorted.
        """
        rows = self._rows_as_written(drops)
        return rows if self.survey.is_sorted else _sorted(rows, self.path.name)

    def _rows_as_written(self, drops: Drops) -> Iterator[TraceRow]:
        parse = self._layout.parse
        is_header_ahead = self._layout.has_header
        for number, line in enumerate(read_lines(self.path, drops), start=1):
            try:
                if is_header_ahead:
                    is_header_ahead = not _without_mark(line, number).strip()
                    continue
                row = parse(line if number > 1 else _without_mark(line, number))
            except BadRowError as bad:
                if line.strip():
                    drops.rows += 1
                    text = repr(line[:_EXAMPLE_BYTES].decode("utf-8", "replace"))
                    drops.drop(bad.reason, f"{self.path.name} line {number}: {text}")
            else:
                drops.rows += 1
                yield row

    def _detect(self, relative_epoch_s: float) -> Layout:
        where = str(self.path)
        drops = Drops()
        for number, line in enumerate(read_lines(self.path, drops), start=1):
            line = _without_mark(line, number)
            if line.strip():
                try:
                    return detect_layout(line, self.path.name, where, relative_epoch_s)
                except BadRowError:
                    raise TraceError(where, f"columns must be readable: {KNOWN_FORMATS}", line) from None
        for example in drops.examples.values():
            raise TraceError(where, f"cannot be read: {example}, before the first line")
        raise TraceError(where, f"must have the columns of a known format, but is empty: {KNOWN_FORMATS}")


def merge_rows(files: Sequence[TraceFile], drops: Drops) -> Iterator[TraceRow]:
    """Yield the rows of several files as one trace in order of time; at the same time, in the order of the files."""
    if len(files) == 1:
        return files[0].rows(drops)
    return merge(*(file.rows(drops) for file in files), key=itemgetter(0))


def read_traces(
    paths: Sequence[Path], drops: Drops, *, relative_epoch_s: float = RELATIVE_EPOCH_S
) -> Iterator[TraceRow]:
    """Open trace files and yield their rows as one trace in order of time.

    Parameters
    ----------
    paths : one file at least.
    drops : filled with what was seen and left out, as rows are taken. Until the last row is taken, it may be ahead of
        them: of several files, one row each is read in advance.
    relative_epoch_s : the moment that stands for 0 where times are relative, s since the epoch.

    Raises
    ------
    TraceError : before the first row; a file is missing or of no known format.
    """
    return merge_rows([TraceFile(path, relative_epoch_s=relative_epoch_s) for path in paths], drops)


def _without_mark(line: bytes, number: int) -> bytes:
    return line.removeprefix(_BYTE_ORDER_MARK) if number == 1 else line


def _sorted(rows: Iterable[TraceRow], file: str) -> Iterator[TraceRow]:
    """Sort rows by time, stably, holding 40 bytes for each: numbers packed, texts by their place in a list."""
    times = array("d")
    numbers = tuple(array("q") for _ in range(3))
    labels = array("q")
    known: dict[tuple[str, str], int] = {}
    for row in rows:
        times.append(row.time_s)
        for column, value in zip(numbers, row[1:4], strict=True):
            column.append(value)
        labels.append(known.setdefault((row.model, row.log_type), len(known)))
    texts = list(known)
    input_tokens, output_tokens, images = numbers
    for at in np.argsort(np.frombuffer(times), kind="stable") if times else ():
        yield TraceRow(times[at], input_tokens[at], output_tokens[at], images[at], file, *texts[labels[at]])
