"""What ``make bench-stream`` prints."""

from __future__ import annotations

from statistics import median
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

KEEPS_UP_S = 1.0
"""Behind by no more than this when the last event comes, a worker keeps up: totals are published with some delay."""
WORKER = "worker"


def show(results: dict[str, Any], titles: dict[str, str]) -> None:
    """Print tables of ingest, of plans under load, and of memory; whatever was measured."""
    console = Console(width=140)
    title = f"{results['broker']}; {results['machine']}"
    if results["rounds"]:
        console.print(_ingest(results["rounds"], titles, title))
    if results["plans"]:
        console.print(_plans(results["plans"], title))
    if results["soak"] is not None:
        console.print(_memory(results["soak"]))


def _ingest(rounds: list[dict[str, Any]], titles: dict[str, str], title: str) -> Table:
    table = _table(
        f"{title}; medians of {len(rounds)} rounds, ratios within a round",
        ("ingest", "records", "events/s", "ours to it", "events/CPU-s", "ours to it", "peak MB"),
    )
    for name, said in titles.items():
        ran = [(row[WORKER], row[name]) for row in rounds if row[name] is not None]
        if not ran:
            table.add_row(said, "skipped: not installed")
            continue
        table.add_row(
            said,
            f"{median(its['records'] for _, its in ran):,.0f}",
            f"{median(its['per_s'] for _, its in ran):,.0f}",
            f"{median(ours['per_s'] / its['per_s'] for ours, its in ran):.2f}",
            f"{median(its['per_cpu_s'] for _, its in ran):,.0f}",
            f"{median(ours['per_cpu_s'] / its['per_cpu_s'] for ours, its in ran):.2f}",
            f"{median(its['peak_mb'] for _, its in ran):.0f}",
        )
    return table


def _plans(rows: list[dict[str, Any]], title: str) -> Table:
    columns = (
        "horizon closed to plan published, beyond the solve",
        "p50 ms",
        "p99 ms",
        "plans",
        "behind s",
        "keeps up",
    )
    table = _table(title, columns)
    for row in rows:
        beyond_ms = np.array(row["beyond_solver_ms"] or [np.nan])
        table.add_row(
            f"{row['events_per_s']:,.0f} events/s, of {row['asked_per_s']:,.0f} asked for",
            f"{np.percentile(beyond_ms, 50):.0f}",
            f"{np.percentile(beyond_ms, 99):.0f}",
            str(len(row["beyond_solver_ms"])),
            f"{row['behind_s']:.1f}",
            "yes" if row["behind_s"] <= KEEPS_UP_S else "no",
        )
    return table


def _memory(row: dict[str, Any]) -> Table:
    table = _table(
        f"{row['records']:,} events at {row['per_s']:,.0f}/s; peak {row['peak_mb']:.0f} MB",
        ("counted", "worker's resident MB"),
    )
    for counted, resident_mb in row["resident_mb"]:
        table.add_row(f"{counted:,}", f"{resident_mb:.0f}")
    return table


def _table(title: str, columns: tuple[str, ...]) -> Table:
    table = Table(box=None, pad_edge=False, title=title, title_justify="left")
    for column in columns:
        table.add_column(column, justify="left" if column == columns[0] else "right")
    return table
