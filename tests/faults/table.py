"""The one table at the end: what was done, where it landed, what was lost, and how long it took to be whole again."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from rich.table import Table

from tests.faults.trial import Trial

_PLACES = 4


def percentile(values: Sequence[float], share: float) -> float | None:
    """Return the smallest value that at least ``share`` of them do not exceed; None of none."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)] if ordered else None


def rows(trials: Iterable[Trial]) -> list[dict[str, Any]]:
    """Return a row for each fault, and one for each kind; missed trials are counted, and are evidence of nothing."""
    found: list[dict[str, Any]] = []
    by_kind: dict[str, dict[str, list[Trial]]] = {}
    for trial in trials:
        by_kind.setdefault(trial.kind, {}).setdefault(trial.fault, []).append(trial)
    for kind, by_fault in by_kind.items():
        found += [_row(kind, fault, some) for fault, some in sorted(by_fault.items())]
        if len(by_fault) > 1:
            found.append(_row(kind, "all", [trial for some in by_fault.values() for trial in some]))
    return found


def _row(kind: str, fault: str, trials: list[Trial]) -> dict[str, Any]:
    landed = [trial for trial in trials if trial.verdict != "missed"]
    places = Counter(trial.landed or "nowhere" for trial in landed)
    times_s = [trial.recovery_s for trial in landed if trial.recovery_s is not None]
    return {
        "kind": kind,
        "fault": fault,
        "landed": len(landed),
        "missed": len(trials) - len(landed),
        "where": dict(places.most_common()),
        "lost": sum(trial.lost for trial in landed),
        "double": sum(trial.double for trial in landed),
        "stale_applied": sum(trial.stale_applied for trial in landed),
        "recovery_p50_s": percentile(times_s, 0.5),
        "recovery_p95_s": percentile(times_s, 0.95),
        "recovery_max_s": max(times_s, default=None),
        "broken": sum(trial.verdict == "broken" for trial in landed),
    }


def drawn(trials: Iterable[Trial]) -> Table:
    """Return the table as people read it."""
    table = Table(box=None, pad_edge=False)
    for title in (
        "fault",
        "landed",
        "missed",
        "where",
        "lost",
        "double",
        "stale",
        "p50 s",
        "p95 s",
        "max s",
        "",
    ):
        table.add_column(title, justify="left" if title in ("fault", "where") else "right")
    for row in rows(trials):
        places = list(row["where"].items())
        where = ", ".join(f"{place} {count}" for place, count in places[:_PLACES])
        more = sum(count for _, count in places[_PLACES:])
        table.add_row(
            f"{row['kind']}: {row['fault']}",
            str(row["landed"]),
            str(row["missed"]),
            "" if row["fault"] == "all" else where + (f", elsewhere {more}" if more else ""),
            *(str(row[name]) for name in ("lost", "double", "stale_applied")),
            *(_seconds(row[f"recovery_{name}_s"]) for name in ("p50", "p95", "max")),
            "held" if not row["broken"] else f"BROKEN {row['broken']}",
            style=None if not row["broken"] else "bold red",
        )
    return table


def _seconds(value: float | None) -> str:
    return "" if value is None else f"{value:.1f}"
