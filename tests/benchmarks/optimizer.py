"""``make bench-optimizer``: what each method finds, how far that is from the best that is known, and what it takes.

All rows come from one run on one machine, one solve at a time, and times are of CPU. Costs of methods that run to
their own end do not depend on the machine; where a method is given a time, a faster machine finds cheaper plans.
"""

from __future__ import annotations

import json
import math
import platform
import statistics
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import click
import highspy
import numpy as np
from rich.console import Console
from rich.table import Table

from controller.domain.instance import Instance
from controller.domain.instance_file import load_instance
from controller.optimizer.solve import METHODS
from tests.benchmarks.families import instance_of
from tests.benchmarks.measure import HIGHS_GB, alone, by_stage, moved, of_a_tick, timed, whole_milp

DATA = Path(__file__).parents[1] / "data"
BUDGETS_S = (0.1, 0.3, 1.0)
OTHERS = tuple(name for name in METHODS if name not in ("agh", "milp"))
_SIZES = ("synth-10x10x10-s4001-x3", "synth-20x20x20-s4002-x3", "synth-50x30x30-s4003-x3")
_LARGEST = "synth-100x50x50-s4004-x3"
_NEWS = 1e-4


@click.command()
@click.option("--full", is_flag=True, help="Three seeds, HiGHS for a minute each, sizes to 100x50x50.")
@click.option("--only", default="", help="Instances whose names contain this.")
@click.option(
    "--part", "parts", multiple=True, type=click.Choice(["cold", "warm", "highs", "size", "stages"])
)
@click.option("--json", "as_json", is_flag=True, help="Print numbers instead of tables.")
def main(full: bool, only: str, parts: tuple[str, ...], as_json: bool) -> None:
    """Measure the optimizer on the shared instances, and on generated ones of growing size."""
    best_known = json.loads((DATA / "best_known.json").read_text())
    paths = [path for path in sorted((DATA / "instances").glob("*.json")) if only in path.stem]
    known = {path.stem: load_instance(path) for path in paths if "best_usd" in best_known[path.stem]}
    if not known:
        raise click.ClickException(f"no instance is called *{only}*")
    seeds = (0, 1, 2) if full else (0,)
    wanted = parts or ("cold", "warm", "highs", "size", "stages")
    report: dict[str, Any] = {"on": _machine()}
    if "cold" in wanted:
        report["cold"] = [cold(known[name], best_known[name]["best_usd"], seeds) for name in known]
    if "warm" in wanted:
        long_s = 10.0 if full else 3.0
        report["warm"] = [warm(instance, seeds, long_s) for instance in _some(known, full)]
    if "highs" in wanted:
        large = [] if only or not full else [instance_of(name) for name in _SIZES]
        todo = [*_some(known, full), *large]
        report["highs"] = [against_highs(instance, 60.0 if full else 5.0) for instance in todo]
    if "size" in wanted and not only:
        sizes = (*_SIZES, _LARGEST) if full else _SIZES
        report["size"] = [{"instance": name, **alone(name, 1.0)} for name in sizes]
    if "stages" in wanted:
        report["stages"] = [
            {"instance": instance.name, **dict(list(by_stage(instance, 1.0).items())[:6])}
            for instance in _some(known, full=False)[:3]
        ]
    if as_json:
        click.echo(json.dumps(report, indent=1))
        return
    console = Console(width=160)
    console.print(report.pop("on"))
    for title, rows in report.items():
        _print(console, title, rows)


def cold(instance: Instance, best_usd: float, seeds: Sequence[int]) -> dict[str, Any]:
    """Return how far each method's plans are above the best that is known; of several seeds the mean and the worst."""
    row: dict[str, Any] = {"instance": instance.name, "best known USD": best_usd}
    cheapest = best_usd
    for limit_s in BUDGETS_S:
        runs = [timed(instance, limit_s, seed=seed) for seed in seeds]
        over = [_over(run.result.objective_usd, best_usd) for run in runs]
        cheapest = min([cheapest, *(run.result.objective_usd or cheapest for run in runs)])
        row[f"agh {limit_s:g} s"] = statistics.fmean(over)
        if len(seeds) > 1:
            row[f"worst {limit_s:g} s"] = max(over)
    row["proved gap"], row["took s"] = runs[-1].result.gap, runs[-1].cpu_s
    for method in OTHERS:
        row[method] = _over(timed(instance, 1.0, method).result.objective_usd, best_usd)
    if cheapest < best_usd * (1 - _NEWS):
        row["news USD"] = cheapest
    return row


def warm(instance: Instance, seeds: Sequence[int], long_s: float) -> dict[str, Any]:
    """Return how far short solves of the next tick are above a cold one of ``long_s`` seconds.

    Rates are 10 and 30 % away from those of the tick before, the plan, prices and sets of which are known.
    """
    short = of_a_tick(instance)
    before = timed(short, 1.0).result
    row: dict[str, Any] = {"instance": instance.name}
    for spread in (0.1, 0.3):
        ticks = [moved(short, before, spread, seed) for seed in seeds]
        long_usd = [timed(tick, long_s).result.objective_usd for tick in ticks]
        for limit_s in (0.05, 0.1, 0.3):
            over = [
                _over(timed(tick, limit_s, seed=seed, after=before).result.objective_usd, usd)
                for tick, usd, seed in zip(ticks, long_usd, seeds, strict=True)
            ]
            row[f"{spread:.0%}, {limit_s:g} s"] = statistics.fmean(over)
            if len(seeds) > 1:
                row[f"worst {spread:.0%}, {limit_s:g} s"] = max(over)
    return row


def against_highs(instance: Instance, limit_s: float) -> dict[str, Any]:
    """Return what HiGHS finds on the whole model, and how long it takes for a plan as cheap as ours of a second."""
    ours = timed(instance, 1.0)
    usd = ours.result.objective_usd
    if usd is None:
        return {"instance": instance.name}
    milp = whole_milp(instance, limit_s)
    took_s = milp.took_s(usd)
    reached = math.isfinite(took_s)
    unreached = f"> {limit_s:g}" if milp.ended else f"> {HIGHS_GB} GB"
    return {
        "instance": instance.name,
        "agh USD": usd,
        "agh s": ours.cpu_s,
        "HiGHS s": took_s if reached else unreached,
        "times": took_s / ours.cpu_s if reached else f"> {limit_s / ours.cpu_s:.0f}" if milp.ended else "",
        "HiGHS USD": milp.best_usd,
        "dearer": f"{_over(usd, milp.best_usd):+.2%}",
    }


def _some(known: dict[str, Instance], full: bool) -> list[Instance]:
    """Return all instances, or a few of all kinds."""
    names = (
        "paper-s3-x10",
        "paper-s5-x100",
        "paper-s9-x10-tight85",
        "synth-10x10x10-s4",
        "synth-15x15x15-s8",
    )
    few = [instance for name, instance in known.items() if name in names]
    return list(known.values()) if full or not few else few


def _over(usd: float | None, best_usd: float | None) -> float:
    return float("nan") if usd is None or not best_usd else usd / best_usd - 1


def _print(console: Console, title: str, rows: list[dict[str, Any]]) -> None:
    names = list(dict.fromkeys(name for row in rows for name in row))
    table = Table(box=None, pad_edge=False, title=title, title_justify="left")
    for name in names:
        table.add_column(name, justify="left" if name == "instance" else "right")
    for row in rows:
        table.add_row(*(_shown(name, row.get(name)) for name in names))
    if title in ("cold", "warm") and len(rows) > 1:
        for words, summary in (("mean", _mean), ("worst", max)):
            parts = [
                _shown(name, summary([row[name] for row in rows if row.get(name) is not None]))
                if _is_part(name)
                else words * (name == "instance")
                for name in names
            ]
            table.add_row(*parts)
    console.print(table)
    console.print()


def _mean(values: Iterable[float]) -> float:
    return float(np.nanmean(list(values)))


def _is_part(name: str) -> bool:
    return (name.endswith(" s") and not name.startswith(("took", "agh s", "HiGHS"))) or name in OTHERS


def _shown(name: str, value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if (
        _is_part(name)
        or name in ("gap", "proved gap")
        or name.endswith(".py")
        or name in ("HiGHS", "NumPy and the rest")
    ):
        return f"{value:.2%}"
    return f"{value:.0f}" if name in ("deployments", "base_mb", "peak_mb") else f"{value:.2f}"


def _machine() -> str:
    model = next(
        (
            line.partition(":")[2].strip()
            for line in _lines(Path("/proc/cpuinfo"))
            if line.startswith("model name")
        ),
        platform.processor(),
    )
    return (
        f"Python {platform.python_version()}, NumPy {np.__version__}, HiGHS {highspy.Highs().version()}, "
        f"{platform.machine()} {platform.system()}, {model}; CPU seconds, one solve at a time"
    )


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text().splitlines()
    except OSError:
        return []


if __name__ == "__main__":
    main()
