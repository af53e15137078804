"""What a replay shows while it runs: a bar on a terminal, log lines elsewhere."""

from __future__ import annotations

import io

import pytest
from rich.console import Console
from structlog.testing import capture_logs

from replay.display import Display
from replay.replayer import Progress
from replay.rows import Drops
from replay.source import Source, Tally

T0 = 1_772_582_400.0


def hour_long_source() -> Source:
    return Source(requests=(), drops=Drops(), query_types=(), first_s=T0, last_s=T0 + 3600.0)


def progress(trace_s: float, wall_s: float = 0.0) -> Progress:
    return Progress(sent=500, time_s=T0 + trace_s, wall_s=wall_s, rate_per_s=1234.5)


def console(*, is_terminal: bool) -> tuple[Console, io.StringIO]:
    written = io.StringIO()
    return Console(file=written, force_terminal=is_terminal, width=100), written


def test_a_terminal_gets_a_bar_with_the_time_of_the_trace_and_no_log_lines() -> None:
    terminal, written = console(is_terminal=True)
    with capture_logs() as lines, Display(terminal, hour_long_source(), Tally(), None) as display:
        display.show(progress(900.0))
    assert lines == []
    for shown in ("2026-03-04 00:15:00", " 25 %", "1,234 records/s"):
        assert shown in written.getvalue()


def test_elsewhere_there_is_a_log_line_at_the_start_and_every_five_seconds() -> None:
    pipe, written = console(is_terminal=False)
    with capture_logs() as lines, Display(pipe, hour_long_source(), Tally(), None) as display:
        for tenth in range(121):
            display.show(progress(tenth, wall_s=tenth / 10))
    assert [line["now"] for line in lines] == [
        "2026-03-04T00:00:00.000Z",
        "2026-03-04T00:00:50.000Z",
        "2026-03-04T00:01:40.000Z",
    ]
    assert written.getvalue() == ""


@pytest.mark.parametrize(
    ("trace_s", "events", "limit", "done"),
    [
        (1800.0, 10, None, 0.5),
        (1800.0, 10, 1000, 0.5),  # the limit is above what the file holds
        (36.0, 90, 100, 0.9),
        (7200.0, 10, None, 1.0),  # the clock goes on after the last request
    ],
)
def test_how_much_is_done_is_told_by_time_or_by_the_limit_whichever_comes_first(
    trace_s: float, events: int, limit: int | None, done: float
) -> None:
    pipe, _ = console(is_terminal=False)
    with capture_logs() as lines, Display(pipe, hour_long_source(), Tally(events=events), limit) as display:
        display.show(progress(trace_s))
    assert [line["done"] for line in lines] == [done]


def test_a_trace_of_one_moment_is_done_at_once() -> None:
    moment = Source(requests=(), drops=Drops(), query_types=(), first_s=T0, last_s=T0)
    pipe, _ = console(is_terminal=False)
    with capture_logs() as lines, Display(pipe, moment, Tally(), None) as display:
        display.show(progress(0.05))
    assert lines[0]["done"] == 1.0
