"""What a demo plays: the generated day, or traces; and how time is cut up for it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from controller.errors import TraceError
from replay.generate import DAY_START_S
from replay.mapping import DEFAULT_MAP
from replay.reader import RELATIVE_EPOCH_S
from replay.rows import Request
from replay.source import Source, generated_source, trace_source

_DAY_PLAY_S = 75.0
_SHORT_PLAY_S = 40.0
"""How long a trace is played, whatever its length."""
_SHORT_TRACE_S = 3 * 3600.0
_WALL_PATIENCE_S = 3.0


@dataclass(frozen=True, slots=True)
class Scenario:
    """A trace, to be taken once; how fast it is played; and the settings that go with it."""

    name: str
    requests: Iterable[Request]
    first_s: float
    last_s: float
    horizon_s: float
    bucket_s: float
    allowed_lateness_s: float
    speed: float

    @property
    def last_horizon_start_s(self) -> float:
        """Start of the horizon that is planned from the window of the last event."""
        return math.ceil(self.last_s / self.horizon_s) * self.horizon_s

    @property
    def drain_s(self) -> float:
        """How long the replayer goes on after the last event, until the last window has closed."""
        return self.last_horizon_start_s - self.last_s + self.allowed_lateness_s + 2 * self.heartbeat_s

    @property
    def heartbeat_s(self) -> float:
        """How often the sources say that they are alive, s of the trace."""
        return self.horizon_s / 5.0

    @property
    def idle_timeout_s(self) -> float:
        """When a partition counts as silent; at speed, a few seconds of this machine's own time."""
        return max(60.0, _WALL_PATIENCE_S * self.speed)

    @property
    def validity_horizons(self) -> float:
        """How long a plan may be followed; at speed, no less than what a busy machine needs to make the next."""
        return max(2.0, math.ceil(_WALL_PATIENCE_S * self.speed / self.horizon_s))


def generated_day(seed: int, scale: float) -> Scenario:
    """Return the generated day of the six query types."""
    return _scenario("the generated day", generated_source(seed, scale, DAY_START_S))


def of_traces(paths: Sequence[Path]) -> Scenario:
    """Return trace files, merged by time, their rows mapped to query types by the built-in map.

    Raises
    ------
    TraceError : a file cannot be read, or there is no row in any.
    """
    source = trace_source(paths, DEFAULT_MAP, RELATIVE_EPOCH_S)
    name = ", ".join(path.name for path in paths)
    if source.last_s <= source.first_s:
        raise TraceError(name, "must hold at least two requests, at different times")
    return _scenario(name, source)


def _scenario(name: str, source: Source) -> Scenario:
    length_s = source.last_s - source.first_s
    is_short = length_s < _SHORT_TRACE_S
    horizon_s = 60.0 if is_short else 300.0
    return Scenario(
        name=name,
        requests=source.requests,
        first_s=source.first_s,
        last_s=source.last_s,
        horizon_s=horizon_s,
        # At speed, ledgers go back many horizons: coarser buckets than the default keep them small.
        bucket_s=horizon_s / 5.0,
        allowed_lateness_s=10.0 if is_short else 30.0,
        speed=max(1.0, length_s / (_SHORT_PLAY_S if is_short else _DAY_PLAY_S)),
    )
