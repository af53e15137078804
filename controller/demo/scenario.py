"""What a demo plays: the generated day, or traces; and how time is cut up for it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from controller.errors import TraceError
from replay.generate import generate_day
from replay.mapping import DEFAULT_MAP, map_rows
from replay.reader import read_traces
from replay.rows import Drops, Request

DAY_START_S = 1_772_582_400.0
"""2026-03-04T00:00:00Z, where the generated day begins."""
PLAY_S = 75.0
"""How long a trace is played, whatever its length."""
_SHORT_TRACE_S = 3 * 3600.0
_WALL_IDLE_S = 3.0


@dataclass(frozen=True, slots=True)
class Scenario:
    """A trace, how fast it is played, and the settings that go with it.

    ``requests()`` starts from the beginning each time it is called.
    """

    name: str
    requests: Callable[[], Iterable[Request]]
    first_s: float
    last_s: float
    horizon_s: float
    bucket_s: float
    allowed_lateness_s: float
    speed: float

    @property
    def last_horizon_start_s(self) -> float:
        """Start of the horizon that is planned from the window of the last event."""
        return (math.floor(self.last_s / self.horizon_s) + 1) * self.horizon_s

    @property
    def drain_s(self) -> float:
        """How long the replayer goes on after the last event, until the last window has closed."""
        return self.last_horizon_start_s - self.last_s + self.allowed_lateness_s + 2 * self.bucket_s

    @property
    def idle_timeout_s(self) -> float:
        """When a partition counts as silent; at speed, a few seconds of this machine's own time."""
        return max(60.0, _WALL_IDLE_S * self.speed)


def generated_day(seed: int, scale: float, start_s: float = DAY_START_S) -> Scenario:
    """Return the generated day of the six query types."""
    return _scenario(
        "the generated day",
        lambda: generate_day(start_s=start_s, seed=seed, scale=scale),
        start_s,
        start_s + 24 * 3600.0 - 1.0,
    )


def of_traces(paths: Sequence[Path]) -> Scenario:
    """Return trace files, merged by time; they are read once to see how long they are.

    Raises
    ------
    TraceError : a file cannot be read, or there is no request in any.
    """

    def requests() -> Iterable[Request]:
        drops = Drops()
        return map_rows(read_traces(paths, drops), DEFAULT_MAP, drops)

    first_s = last_s = None
    for request in requests():
        first_s = request.time_s if first_s is None else first_s
        last_s = request.time_s
    if first_s is None or last_s is None:
        raise TraceError(", ".join(str(path) for path in paths), "holds no request that can be mapped")
    return _scenario(", ".join(path.name for path in paths), requests, first_s, last_s)


def _scenario(
    name: str, requests: Callable[[], Iterable[Request]], first_s: float, last_s: float
) -> Scenario:
    is_short = last_s - first_s < _SHORT_TRACE_S
    return Scenario(
        name=name,
        requests=requests,
        first_s=first_s,
        last_s=last_s,
        horizon_s=60.0 if is_short else 300.0,
        bucket_s=10.0,
        allowed_lateness_s=10.0 if is_short else 30.0,
        speed=max(1.0, (last_s - first_s) / PLAY_S),
    )
