"""What a replay shows while it runs: a bar on a terminal, a log line now and then elsewhere. Always on stderr."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from controller.logs import get_logger
from replay.replayer import Progress as ReplayProgress
from replay.source import Source, Tally
from schemas.base import iso_utc

log = get_logger(__name__)

_LINE_EVERY_S = 5.0


class Display:
    """Shows a replay's progress, as a context manager.

    How much is done is told by the trace's time; with a limit on the number of requests, of which nobody knows before
    when the last one is, by their number.

    Parameters
    ----------
    console : standard error.
    source : what is replayed.
    tally : what of it was taken so far.
    limit : requests to be replayed; None for all.
    """

    def __init__(self, console: Console, source: Source, tally: Tally, limit: int | None) -> None:
        self._first_s = source.first_s
        self._span_s = source.last_s - source.first_s
        self._tally = tally
        self._limit = limit
        self._next_line_s = 0.0
        self._is_live = console.is_terminal
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=None),
            TextColumn("{task.percentage:>3.0f} %"),
            TextColumn("{task.fields[rate]:,.0f} records/s"),
            TimeRemainingColumn(compact=True),
            console=console,
            transient=True,
        )
        self._task = self._bar.add_task("connecting", total=1.0, rate=0.0)

    def __enter__(self) -> Self:
        if self._is_live:
            self._bar.start()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._is_live:
            self._bar.stop()

    def show(self, progress: ReplayProgress) -> None:
        """Show how far the replay is; :class:`~replay.replayer.Replayer` calls it after every step."""
        if self._is_live:
            self._bar.update(
                self._task,
                completed=self._done(progress),
                description=iso_utc(progress.time_s)[:19].replace("T", " "),
                rate=progress.rate_per_s,
            )
        elif progress.wall_s >= self._next_line_s:
            self._next_line_s = progress.wall_s + _LINE_EVERY_S
            log.info(
                "replaying",
                now=iso_utc(progress.time_s),
                done=round(self._done(progress), 3),
                sent=progress.sent,
                rate_per_s=round(progress.rate_per_s, 1),
            )

    def _done(self, progress: ReplayProgress) -> float:
        """Return how much of the replay is done, 0 to 1."""
        by_number = self._tally.events / self._limit if self._limit is not None else 0.0
        by_time = (progress.time_s - self._first_s) / self._span_s if self._span_s > 0 else 1.0
        return min(1.0, max(by_number, by_time))
