"""``python -m tests.benchmarks.ablation``: what AGH's plans cost without each of its mechanisms beyond the paper's own.

Every row leaves one of them out and solves the shared instances again; a mechanism that changes nothing should go.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from types import MappingProxyType
from typing import Any
from unittest.mock import patch

import click
import numpy as np

from controller.domain.arrays import Floats, Ints
from controller.domain.instance import Instance
from controller.domain.instance_file import load_instance
from controller.optimizer.guided import exchange, guided, population, restricted
from controller.optimizer.guided.open_set import OpenSets
from controller.optimizer.guided.population import Members, Population
from controller.optimizer.pricing import Prices
from controller.optimizer.relaxation import Relaxation
from tests.benchmarks.measure import timed

DATA = Path(__file__).parents[1] / "data"
_FAR = 0.2
"""Gaps are cut off here: one plan that sheds what should be served would outweigh all others."""

Change = tuple[object, str, Any]


def _fixed_share(sets: OpenSets, prices: Prices) -> Floats:
    return 0.4 * sets.high


def _not_rounded(self: Population, at: Ints, steps: int) -> None:
    self._is_whole[at] = True


def _not_raised(self: Population, members: Members, usd: float) -> None:
    settle(self, members, -np.inf)


def _all_live(relaxation: Relaxation, best_usd: float) -> np.ndarray:
    return np.ones(len(relaxation.reduced_usd), dtype=bool)


def _no_turn(self: guided.Hunt, *_: object) -> None:
    self.search.iterations += 1


settle = Population.settle
WITHOUT: Mapping[str, tuple[Change, ...]] = MappingProxyType(
    {
        "nothing": (),
        "breeding": ((guided.Hunt, "breed", _no_turn),),
        "strangers": ((population, "_STRANGERS", 0),),
        "likelihood by reduced cost": (
            (guided.Hunt, "_likelihood", lambda hunt: np.ones(len(hunt.candidates))),
        ),
        "leaving out idle members": ((Population, "_has_idle_member", lambda *_: False),),
        "the relaxation's prices of capacity": ((OpenSets, "_capacity_price", _fixed_share),),
        "estimates with whole replicas": ((Population, "_round", _not_rounded),),
        "set programs": ((guided.Hunt, "_price", lambda *_: None),),
        "real costs for estimates": ((Population, "settle", _not_raised),),
        "restricted MILPs": ((guided.Hunt, "milp", _no_turn),),
        "ranking by sets": ((Population, "scores", lambda _, count: np.full(count, np.inf)),),
        "elimination": ((guided, "not_eliminated", _all_live),),
        "exchanges": ((guided.Hunt, "descend", _no_turn),),
        "exchanges from what the relaxation uses": ((guided.Hunt, "_used_fleets", lambda _: []),),
        "exchange bounds at higher prices": ((exchange, "_SURCHARGES", (0.0,)),),
        "rows x <= w": ((restricted, "_ROUNDS", 0),),
        "options for tiny MILPs": ((restricted, "_OPTIONS", {}),),
    }
)


def gap(instance: Instance, best_usd: float, limit_s: float, seed: int) -> float:
    """Return how far a plan is above the best one known."""
    usd = timed(instance, limit_s, seed=seed).result.objective_usd
    return _FAR if usd is None else min(usd / best_usd - 1.0, _FAR)


def row(known: Mapping[str, tuple[Instance, float]], limit_s: float, seeds: int) -> tuple[float, float]:
    """Return the mean and the worst gap."""
    gaps = [gap(instance, usd, limit_s, seed) for instance, usd in known.values() for seed in range(seeds)]
    return statistics.fmean(gaps), max(gaps)


@click.command()
@click.option("--seeds", default=1, show_default=True)
@click.option("--only", default="", help="Mechanisms whose names contain this.")
@click.option("--time-limit", "limits_s", multiple=True, type=float, default=(0.3, 1.0), show_default=True)
def main(seeds: int, only: str, limits_s: tuple[float, ...]) -> None:
    """Solve the shared instances without each mechanism."""
    best_known = json.loads((DATA / "best_known.json").read_text())
    known = {
        path.stem: (load_instance(path), float(best_known[path.stem]["best_usd"]))
        for path in sorted((DATA / "instances").glob("*.json"))
        if "best_usd" in best_known[path.stem]
    }
    click.echo(f"{'without':38}" + "".join(f"{limit_s:>9g} s  worst" for limit_s in limits_s))
    for name, changes in WITHOUT.items():
        if only not in name:
            continue
        with ExitStack() as stack:
            for owner, attribute, value in changes:
                stack.enter_context(patch.object(owner, attribute, value))
            cells = [row(known, limit_s, seeds) for limit_s in limits_s]
        click.echo(f"{name:38}" + "".join(f"{mean:>11.2%} {worst:>6.1%}" for mean, worst in cells))


if __name__ == "__main__":
    main()
