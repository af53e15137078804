"""What is to be replayed: trace files through a type map, or the generated day; counted as it goes by."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from replay.generate import generate_day
from replay.mapping import TypeMap, map_rows
from replay.reader import TraceFile, merge_rows
from replay.rows import Drops, Request

KNOWN_QUERY_TYPES = (
    "summarization",
    "code_generation",
    "translation",
    "math_solving",
    "image_generation",
    "video_generation",
)
"""The six query types of the default catalog, all of which the generated day has."""
GENERATED_START_S = 1_772_582_400.0
"""2026-03-04T00:00:00Z, a Wednesday: where the generated day begins unless it is told otherwise."""
_DAY_H = 24.0
_HOUR_S = 3600.0


@dataclass(slots=True)
class Tally:
    """What has gone by so far. ``first_s`` and ``last_s`` are None before the first request."""

    events: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    first_s: float | None = None
    last_s: float | None = None
    by_type: Counter[str] = field(default_factory=Counter)

    def counted(self, requests: Iterable[Request]) -> Iterator[Request]:
        """Yield the requests, each counted just before."""
        for request in requests:
            time_s, query_type, input_tokens, output_tokens = request
            if self.first_s is None:
                self.first_s = time_s
            self.last_s = time_s
            self.events += 1
            self.input_tokens += input_tokens
            self.output_tokens += output_tokens
            self.by_type[query_type] += 1
            yield request


@dataclass(frozen=True, slots=True)
class Source:
    """Requests in order of time, to be taken once, with what is known before the first of them is.

    Parameters
    ----------
    requests : sorted by time.
    drops : counts the rows that are left out, while ``requests`` are taken.
    query_types : those that heartbeats are to speak for.
    first_s, last_s : where the rows begin and end, s since the epoch; equal where there is none.
    """

    requests: Iterable[Request]
    drops: Drops
    query_types: tuple[str, ...]
    first_s: float
    last_s: float


def trace_source(
    paths: Sequence[Path], type_map: TypeMap, relative_epoch_s: float, idle_types: Sequence[str] = ()
) -> Source:
    """Return files as one trace; each is read once for its span before its rows can be had in order.

    Parameters
    ----------
    paths : one file at least.
    type_map : from rows to query types.
    relative_epoch_s : the moment that stands for 0 where times are relative, s since the epoch.
    idle_types : query types that heartbeats speak for besides those of the map.

    Raises
    ------
    TraceError : a file cannot be read, or is of no known format.
    """
    drops = Drops()
    files = [TraceFile(path, relative_epoch_s=relative_epoch_s) for path in paths]
    surveys = [file.survey for file in files if file.survey.rows]
    return Source(
        requests=map_rows(merge_rows(files, drops), type_map, drops),
        drops=drops,
        query_types=tuple(dict.fromkeys([*type_map.query_types, *idle_types])),
        first_s=min((survey.first_s for survey in surveys), default=0.0),
        last_s=max((survey.last_s for survey in surveys), default=0.0),
    )


def generated_source(seed: int, scale: float, start_s: float) -> Source:
    """Return the generated day of the six query types.

    Raises
    ------
    SettingsError : a parameter is out of range.
    """
    return Source(
        requests=generate_day(start_s=start_s, seed=seed, scale=scale, hours=_DAY_H),
        drops=Drops(),
        query_types=KNOWN_QUERY_TYPES,
        first_s=start_s,
        last_s=start_s + _DAY_H * _HOUR_S,
    )
