"""What a replay ends with: numbers for programs, a table for people."""

from __future__ import annotations

from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from replay.replayer import ReplayReport
from replay.rows import Drops
from replay.source import Tally
from schemas.base import iso_utc


def as_numbers(tally: Tally, drops: Drops, report: ReplayReport | None) -> dict[str, Any]:
    """Return what was read, and under ``replay`` what was sent, where it was.

    ``rows`` are the rows that were seen; each is an event or was dropped: ``rows = events + sum(dropped)``.
    """
    numbers: dict[str, Any] = {
        "rows": tally.events + drops.dropped,
        "events": tally.events,
        "dropped": drops.as_dict(),
        "first": _moment(tally.first_s),
        "last": _moment(tally.last_s),
        "input_tokens": tally.input_tokens,
        "output_tokens": tally.output_tokens,
    }
    if report is not None:
        numbers["replay"] = {
            "is_complete": report.is_complete,
            "sent": report.sent,
            "events": report.events,
            "heartbeats": report.heartbeats,
            "by_type": report.by_type,
            "bytes": report.bytes,
            "wall_s": round(report.wall_s, 3),
        }
    return numbers


def as_table(tally: Tally, drops: Drops, report: ReplayReport | None) -> RenderableType:
    """Return the same for people, each reason for a drop with the first row that was dropped for it."""
    facts = _grid()
    facts.add_row("rows", f"{tally.events + drops.dropped:,}")
    facts.add_row("events", f"{tally.events:,}")
    for query_type, events in tally.by_type.most_common():
        facts.add_row(f"  {query_type}", f"{events:,}")
    facts.add_row("dropped", f"{drops.dropped:,}")
    for reason, rows in drops.as_dict().items():
        facts.add_row(f"  {reason}", f"{rows:,}")
    facts.add_row("input tokens", f"{tally.input_tokens:,}")
    facts.add_row("output tokens", f"{tally.output_tokens:,}")
    parts: list[RenderableType] = [facts]
    if tally.first_s is not None:
        parts.append(Text(f"from {_moment(tally.first_s)} to {_moment(tally.last_s)}"))
    # What a file holds is shown as it is: no markup in it is followed.
    parts += [
        Text(f"first {reason.value}: {example}", style="dim") for reason, example in drops.examples.items()
    ]
    if report is not None:
        parts.append(
            Text(
                f"{'replayed' if report.is_complete else 'stopped after'} {report.events:,} requests and "
                f"{report.heartbeats:,} heartbeats in {report.wall_s:,.1f} s"
            )
        )
    return Group(*parts)


def _grid() -> Table:
    grid = Table.grid(padding=(0, 2))
    grid.add_column()
    grid.add_column(justify="right")
    return grid


def _moment(time_s: float | None) -> str | None:
    return None if time_s is None else iso_utc(time_s)
