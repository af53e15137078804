"""Counts in windows of event time, from trace files: what a backtest plays back."""

from __future__ import annotations

import csv
import io
import math
import re
import tarfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from controller.demand.forecasters import Floats
from controller.errors import TraceError
from replay.mapping import TypeMap, map_rows
from replay.reader import TraceFile
from replay.rows import Drops

WHOLE = 0.9
"""A first or last window counts where the trace covers at least this much of it; one read as whole is a lie."""
_DAY_S = 86_400.0
_RATES_WINDOW_S = 600.0
_GROUPS = {"m-small": 5, "m-large": 4}
"""Into how many groups the clients of a ServeGen archive are put, by their number; one where it is not named."""


@dataclass(frozen=True, slots=True)
class Series:
    """Requests of one query type in windows of ``window_s``, from ``start_s`` on, without a gap."""

    name: str
    start_s: float
    window_s: float
    counts: Floats

    @property
    def windows_per_day(self) -> int:
        """How many windows a day has, at least 1."""
        return max(1, round(_DAY_S / self.window_s))


def read_series(paths: Sequence[Path], window_s: float, type_map: TypeMap | None = None) -> list[Series]:
    """Read trace files, each by itself, as one series or, with a map, as one for each query type.

    A ``.tar.xz`` is an archive of ServeGen's rates in windows of 600 s, and keeps these whatever ``window_s`` is.

    Raises
    ------
    TraceError : a file is missing or of no known format, or holds no whole window.
    """
    found: list[Series] = []
    for path in paths:
        if path.name.endswith((".tar.xz", ".tar.gz", ".tar")):
            found += _read_rates(path)
        else:
            found += _read_rows(path, window_s, type_map)
    return found


def _read_rows(path: Path, window_s: float, type_map: TypeMap | None) -> list[Series]:
    drops = Drops()
    rows = TraceFile(path).rows(drops)
    stem = path.name.split(".")[0]
    times: dict[str, list[float]] = {}
    if type_map is None:
        times[stem] = [row.time_s for row in rows]
    else:
        for request in map_rows(rows, type_map, drops):
            times.setdefault(f"{stem}:{request.query_type}", []).append(request.time_s)
    spans = [(min(moments), max(moments)) for moments in times.values() if moments]
    if not spans:
        raise TraceError(str(path), "must hold requests")
    first_s, last_s = min(span[0] for span in spans), max(span[1] for span in spans)
    begin, beyond = _whole_windows(first_s, last_s, window_s)
    if beyond - begin < 2:
        raise TraceError(str(path), f"must cover two windows of {window_s:g} s at least", last_s - first_s)
    return [
        Series(name, begin * window_s, window_s, _counted(moments, begin, beyond, window_s))
        for name, moments in times.items()
    ]


def _whole_windows(first_s: float, last_s: float, window_s: float) -> tuple[int, int]:
    begin, end = math.floor(first_s / window_s), math.floor(last_s / window_s)
    if (begin + 1) * window_s - first_s < WHOLE * window_s:
        begin += 1
    return begin, end + 1 if last_s - end * window_s >= WHOLE * window_s else end


def _counted(moments: Iterable[float], begin: int, beyond: int, window_s: float) -> Floats:
    windows = np.floor(np.fromiter(moments, dtype=np.float64) / window_s).astype(np.int64) - begin
    inside = windows[(windows >= 0) & (windows < beyond - begin)]
    return np.bincount(inside, minlength=beyond - begin).astype(np.float64)


def _read_rates(path: Path) -> list[Series]:
    """Read an archive of ``MODEL/chunk-N-trace.csv``: window start, rate per s, and three columns of shape."""
    sums: dict[str, Floats] = {}
    try:
        with tarfile.open(path) as archive:
            for member in archive:
                name = re.fullmatch(r"(?:.*/)?([^/]+)/chunk-(\d+)-trace\.csv", member.name)
                stream = archive.extractfile(member) if name else None
                if name is None or stream is None:
                    continue
                table = [
                    (float(row[0]), float(row[1]))
                    for row in csv.reader(io.TextIOWrapper(stream, "utf-8"))
                    if row
                ]
                group = int(name[2]) // (2 if name[1] == "m-large" else 1) % _GROUPS.get(name[1], 1)
                counts = np.array([rate for _, rate in sorted(table)]) * _RATES_WINDOW_S
                key = f"{name[1]}-{group}"
                before = sums.get(key, np.zeros(0))
                total = np.zeros(max(len(before), len(counts)))
                total[: len(before)] += before
                total[: len(counts)] += counts
                sums[key] = total
    except (OSError, tarfile.TarError, ValueError, IndexError) as error:
        raise TraceError(str(path), f"cannot be read as ServeGen's rates: {error}") from None
    if not sums:
        raise TraceError(str(path), "must hold ServeGen's rates, as MODEL/chunk-N-trace.csv")
    return [Series(name, 0.0, _RATES_WINDOW_S, counts) for name, counts in sorted(sums.items())]
