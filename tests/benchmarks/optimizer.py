"""``make bench``: what each method finds on the shared instances, and how far that is from the best that is known.

All rows come from one run on one machine, one solve at a time. Costs do not depend on the machine where a method runs
to its own end (``gh``); where it is given a time (``agh``), a faster machine finds cheaper plans.
"""

from __future__ import annotations

import json
import platform
import statistics
from pathlib import Path

import click
import highspy
import numpy as np
from rich.console import Console
from rich.table import Table

from controller.domain.instance_file import load_instance
from controller.optimizer.solve import solve
from controller.optimizer.stop import MaxRuntime

DATA = Path(__file__).parents[1] / "data"


@click.command()
@click.option("--time-limit", "limit_s", default=1.0, show_default=True, help="Seconds for each AGH solve.")
@click.option("--seed", default=0, show_default=True)
@click.option("--only", default="", help="Instances whose names contain this.")
def main(limit_s: float, seed: int, only: str) -> None:
    """Solve every shared instance with GH and AGH; print cost over the best known, proved gap, and time."""
    best_known = json.loads((DATA / "best_known.json").read_text())
    table = Table(box=None, pad_edge=False, title=_machine(limit_s, seed), title_justify="left")
    for title in (
        "instance",
        "best known USD",
        "GH over it",
        "GH ms",
        "AGH over it",
        "AGH proved gap",
        "AGH s",
    ):
        table.add_column(title, justify="left" if title == "instance" else "right")
    over: dict[str, list[float]] = {"gh": [], "agh": []}
    for path in sorted((DATA / "instances").glob("*.json")):
        best_usd = best_known[path.stem].get("best_usd")
        if only not in path.stem or best_usd is None:
            continue
        instance = load_instance(path)
        greedy = solve(instance, MaxRuntime(limit_s), seed=seed, method="gh")
        found = solve(instance, MaxRuntime(limit_s), seed=seed, method="agh")
        if greedy.objective_usd is None or found.objective_usd is None:
            raise click.ClickException(f"{path.stem}: no plan found, though one is known")
        over["gh"].append(greedy.objective_usd / best_usd - 1)
        over["agh"].append(found.objective_usd / best_usd - 1)
        table.add_row(
            path.stem,
            f"{best_usd:.2f}",
            f"{over['gh'][-1]:.2%}",
            f"{greedy.runtime_s * 1000:.0f}",
            f"{over['agh'][-1]:.2%}",
            "none" if found.gap is None else f"{found.gap:.2%}",
            f"{found.runtime_s:.2f}",
        )
    if not over["agh"]:
        raise click.ClickException(f"no instance is called *{only}*")
    for name, summary in (("mean", statistics.fmean), ("worst", max)):
        table.add_row(name, "", f"{summary(over['gh']):.2%}", "", f"{summary(over['agh']):.2%}", "", "")
    Console(width=120).print(table)


def _machine(limit_s: float, seed: int) -> str:
    return (
        f"{limit_s:g} s for AGH, seed {seed}; Python {platform.python_version()}, NumPy {np.__version__}, "
        f"HiGHS {highspy.Highs().version()}, {platform.machine()} {platform.system()}"
    )


if __name__ == "__main__":
    main()
