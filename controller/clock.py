"""Time, passed in: the wall's in production, the replayer's when a trace is played at speed.

Nothing in Coxswain's core reads a clock of its own. Skew, validity and backlog are judged by the
:class:`Clock` of the process, and a clock never moves because of an event's own timestamp: one bad
timestamp must not carry the fleet into the future.
"""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """Tells what time it is, in seconds since the epoch."""

    def now(self) -> float:
        """Return the current time, s since the epoch."""
        ...


class WallClock:
    """The machine's own time."""

    def now(self) -> float:
        """Return the machine's time, s since the epoch."""
        return time.time()


class ReplayClock:
    """A clock that stands where the replayer last set it, and never goes back.

    Parameters
    ----------
    now_s : where it starts; ``-inf`` until the replayer has spoken.
    """

    def __init__(self, now_s: float = float("-inf")) -> None:
        self._now_s = now_s

    def now(self) -> float:
        """Return the replayer's time, s since the epoch."""
        return self._now_s

    def advance(self, now_s: float) -> None:
        """Move on to ``now_s``; an earlier time than the present one is ignored."""
        self._now_s = max(self._now_s, now_s)
