"""``python -m tests.benchmarks.ablation``: what AGH's plans cost without each of its mechanisms beyond the paper's own.

Every row leaves one of them out and solves the same instances again: cold; *warm*, rates have moved by a tenth since
the last solve; and *back*, by half, and then to where they were. A mechanism that changes nothing should go. Gaps are
to the cheapest plan that is known or that any row has found. Beside each stands by how much it is above the row that
leaves nothing out, and the standard error of that: what is within two of them is noise. The last column is the time
that one restricted MILP of each instance takes, the geometric mean of its ratios to that of the first row.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from operator import attrgetter
from pathlib import Path
from types import MappingProxyType
from typing import Any
from unittest.mock import patch

import click
import numpy as np

from controller.domain.arrays import Floats, Ints
from controller.domain.instance import Instance
from controller.domain.instance_file import load_instance
from controller.optimizer import space as spaces
from controller.optimizer.guided import branch_and_bound, guided, neighbourhoods, restricted
from controller.optimizer.guided.branch_and_bound import BranchAndBound
from controller.optimizer.guided.openings import Openings
from controller.optimizer.guided.reach import Reach
from controller.optimizer.guided.restricted import RestrictedMilp
from controller.optimizer.linear_program import Basis, LinearProgram
from controller.optimizer.memory import SolverMemory
from controller.optimizer.relaxation import Relaxation
from controller.optimizer.result import Result
from controller.optimizer.rows import Rows
from controller.optimizer.space import SearchSpace
from tests.benchmarks.families import instance_of
from tests.benchmarks.measure import moved, of_a_tick, timed
from tests.benchmarks.milp_effort import posed_of

DATA = Path(__file__).parents[1] / "data"
_OTHERS = tuple(
    [f"paper-s{seed}-x{rate}" for seed, rate in ((1300, 10), (1307, 100))]
    + ["paper-s1301-x30-tight60", "paper-s1302-x100-a64", "paper-s1303-x10-tight80", "paper-s1304-x30-avg"]
    + ["paper-s1306-x10-unmet", "paper-s1308-x3-tight70", "paper-s1401-x30-tight60"]
    + ["paper-s1405-x10-tight80", "synth-8x8x8-s1310-x3", "synth-10x10x10-s1311"]
    + ["synth-10x10x10-s1312-x10", "synth-10x10x10-s1313-x3-tight80", "synth-12x12x12-s1314-x3"]
    + ["synth-12x12x12-s1315-x10-a96", "synth-15x15x15-s1316", "synth-15x15x15-s1317-x10"]
    + ["synth-15x15x15-s1318-x3-tight70", "synth-20x20x20-s1319", "synth-20x20x20-s1320-x3"]
    + ["synth-20x20x20-s1321-x10", "synth-20x20x20-s1322-x3-a96", "synth-20x20x20-s1323-x3-tight80"]
)
"""Instances of the same families beside the shared ones; budgets are tight in more of them."""
_FAR = 0.05
"""Gaps are cut off here: one plan that sheds what should be served would outweigh all others."""
_WARM_S, _WARM_SPREAD, _AWAY_SPREAD, _BACK_SPREAD = 0.1, 0.1, 0.5, 0.02
_WARM, _BACK = (f"{title} {_WARM_S:g} s" for title in ("warm", "back"))
_MILP_REPEATS = 3

Change = tuple[object, str, Any]


def _all_live(relaxation: Relaxation, best_usd: float) -> np.ndarray:
    return np.ones(len(relaxation.reduced_usd), dtype=bool)


def _no_turn(self: guided.Hunt) -> None:
    self.search.iterations += 1


def _not_fixed(reduced: Floats, room: float, lower: Floats, upper: Floats) -> tuple[Floats, Floats]:
    return lower, upper


def _only_count(reach: Reach, took_s: float, *, solved: bool, improved: bool) -> None:
    reach._misses = 0 if improved else reach._misses + 1


def _with_flags_of_counts(milp: RestrictedMilp, rows: Rows) -> None:
    add_capacity(milp, rows)
    rows.add_pairs(milp._w[milp._flagged], milp._r[milp._flagged], -1.0)


def _to_the_end(
    program: LinearProgram, lower: Floats, upper: Floats, _: float = math.inf, basis: Basis | None = None
) -> float:
    return solve(program, lower, upper, basis=basis)


def _from_the_last(
    program: LinearProgram, lower: Floats, upper: Floats, cutoff: float = math.inf, _: Basis | None = None
) -> float:
    return solve(program, lower, upper, cutoff)


def _few(reach: Reach, space: SearchSpace, live: Ints, left_s: float) -> bool:
    return len(live) <= reach.size


add_capacity = RestrictedMilp._add_capacity
solve = LinearProgram.solve
WITHOUT: Mapping[str, tuple[Change, ...]] = MappingProxyType(
    {
        "nothing": (),
        "set programs": ((guided.Hunt, "_price", lambda *_: None),),
        "restricted MILPs": ((guided.Hunt, "decide", _no_turn),),
        "ranking by what is served": ((Relaxation, "distance", property(attrgetter("reduced_usd"))),),
        "others at random in MILPs": ((neighbourhoods, "draw", lambda order, size, _: order[:size]),),
        "sizes of MILPs that adapt": ((Reach, "learn_of_some", _only_count),),
        "smaller ones first where limits bind": (
            (neighbourhoods, "_FIRST_SIZE_LIMITED", neighbourhoods._FIRST_SIZE),
        ),
        "elimination": ((neighbourhoods, "not_eliminated", _all_live),),
        "opening left to branch and bound": (
            (RestrictedMilp, "_asks_for_w", lambda milp: np.ones(len(milp._at), dtype=bool)),
            (
                RestrictedMilp,
                "_openings",
                lambda milp: Openings(np.zeros(len(milp._at) + len(milp._flagged))),
            ),
            (RestrictedMilp, "_add_capacity", _with_flags_of_counts),
        ),
        "looks at both sides": ((restricted, "_LOOKS", 0),),
        "bases of the node above": ((LinearProgram, "solve", _from_the_last),),
        "open nodes by likely cost": ((branch_and_bound, "_estimates", lambda bound, *_: [bound, bound]),),
        "programs that stop when too dear": ((LinearProgram, "solve", _to_the_end),),
        "fixing by reduced cost": ((BranchAndBound, "_fixed", staticmethod(_not_fixed)),),
        "greedy plan where limits bind": ((guided, "_GREEDY_SHARE", 0.0),),
        "dominance": ((spaces, "dominated", lambda arrays: np.zeros(arrays.num_deployments, dtype=bool)),),
        "past prices": ((SolverMemory, "prices_for", lambda *_: None),),
        "past sets": ((SolverMemory, "nearest_sets", lambda *_: []),),
        "MILPs over all that matters": ((Reach, "has_all", _few),),
    }
)


@dataclass(frozen=True, slots=True)
class Task:
    """An instance and the time that there is; the solve before it and by how much rates move then, if it is warm."""

    title: str
    instance: Instance
    limit_s: float
    before: Result | None = None
    spread: float = 0.0


Key = tuple[str, str, int]
"""What was asked: the title of a task, the instance, and the seed."""


@dataclass(frozen=True, slots=True)
class Row:
    """What became of all tasks without some mechanism: cost and whether it was proved, and CPU seconds of MILPs."""

    name: str
    usd: dict[Key, float] = field(default_factory=dict)
    proved: dict[Key, bool] = field(default_factory=dict)
    milp_s: dict[str, float] = field(default_factory=dict)

    def add(self, more: Row) -> None:
        """Take up what became of more tasks."""
        self.usd.update(more.usd)
        self.proved.update(more.proved)
        self.milp_s.update(more.milp_s)


def instances() -> dict[str, tuple[Instance, float]]:
    """Return the shared instances and the others, with the cheapest cost that is known (inf where none is)."""
    best_known = json.loads((DATA / "best_known.json").read_text())
    shared = {
        path.stem: (load_instance(path), float(best_known[path.stem]["best_usd"]))
        for path in sorted((DATA / "instances").glob("*.json"))
        if "best_usd" in best_known[path.stem]
    }
    return shared | {name: (instance_of(name), math.inf) for name in _OTHERS}


def tasks(name: str, limits_s: Sequence[float]) -> list[Task]:
    """Return an instance cold, with each limit, and warm."""
    instance, _ = instances()[name]
    short = of_a_tick(instance)
    before = timed(short, 1.0).result
    away = timed(moved(short, before, _AWAY_SPREAD, 0), _WARM_S, after=before).result
    return [
        *(Task(f"{limit_s:g} s", instance, limit_s) for limit_s in limits_s),
        Task(_WARM, short, _WARM_S, before, _WARM_SPREAD),
        Task(_BACK, short, _WARM_S, away, _BACK_SPREAD),
    ]


@contextmanager
def left_out(mechanism: str) -> Iterator[None]:
    """Leave a mechanism out of the optimizer for a while."""
    with ExitStack() as stack:
        for owner, attribute, value in WITHOUT[mechanism]:
            stack.enter_context(patch.object(owner, attribute, value))
        yield


def solved(name: str, mechanisms: Sequence[str], limits_s: Sequence[float], seeds: int) -> list[Row]:
    """Solve the tasks of an instance without each mechanism, one straight after the other.

    Machines are faster in one minute than in the next: rows that were solved apart would differ by that.
    """
    rows = [Row(mechanism) for mechanism in mechanisms]
    for task in tasks(name, limits_s):
        for seed in range(seeds):
            instance = task.instance
            if task.before is not None:
                instance = moved(instance, task.before, task.spread, seed)
            first = seed * len(rows) // seeds  # the one that comes first also derives the instance's arrays
            for row in (*rows[first:], *rows[:first]):
                with left_out(row.name):
                    result = timed(instance, task.limit_s, seed=seed, after=task.before).result
                key = (task.title, instance.name, seed)
                row.usd[key] = math.inf if result.objective_usd is None else result.objective_usd
                row.proved[key] = result.status == "optimal"
    posed = posed_of(instances()[name][0])
    for _ in range(_MILP_REPEATS):
        for row in rows:
            with left_out(row.name):
                row.milp_s[name] = min(row.milp_s.get(name, math.inf), posed.took_s())
    return rows


def cells(row: Row, everything: Row, cheapest: Mapping[Key, float], title: str) -> str:
    """Return a row's mean gap, by how much that is above the one of ``everything``, and what was proved."""
    keys = [key for key in row.usd if key[0] == title]
    gaps, others = (
        np.minimum([of.usd[key] / cheapest[key] - 1.0 for key in keys], _FAR) for of in (row, everything)
    )
    more, error = gaps - others, 0.0
    if len(keys) > 1:
        error = float(more.std(ddof=1)) / math.sqrt(len(keys))
    proved = sum(row.proved[key] for key in keys)
    return f"{gaps.mean():>13.2%} {100 * more.mean():>+6.2f} ±{100 * error:4.2f} {proved:>7}"


def milp_cell(row: Row, everything: Row) -> str:
    """Return how many times as long MILPs take, and the standard error of that, as a part of it."""
    ratios = np.log([took_s / everything.milp_s[name] for name, took_s in row.milp_s.items()])
    error = float(ratios.std(ddof=1)) / math.sqrt(len(ratios)) if len(ratios) > 1 else 0.0
    return f"{math.exp(ratios.mean()):>15.2f} ±{math.expm1(error):4.2f}"


def cheapest_of(rows: Sequence[Row]) -> dict[Key, float]:
    """Return the cheapest cost of each task: of its instance, where it is cold, whatever the limit and the seed."""
    known = {name: usd for name, (_, usd) in instances().items()}
    found: dict[tuple[str, ...], float] = {}

    def place(key: Key) -> tuple[str, ...]:
        title, name, seed = key
        return (title, name, str(seed)) if title in (_WARM, _BACK) else (name,)

    for row in rows:
        for key, usd in row.usd.items():
            least = known[key[1]] if len(place(key)) == 1 else math.inf
            found[place(key)] = min(found.get(place(key), least), usd)
    return {key: found[place(key)] for key in rows[0].usd}


@click.command()
@click.option("--seeds", default=3, show_default=True)
@click.option("--only", "mechanisms", multiple=True, help="Mechanisms whose names contain this.")
@click.option("--instances", "names", default="", help="Instances whose names contain this.")
@click.option(
    "--time-limit", "limits_s", multiple=True, type=float, default=(0.1, 0.3, 1.0), show_default=True
)
@click.option("--jobs", default=1, show_default=True, help="Instances at once; CPU time is what counts.")
def main(seeds: int, mechanisms: tuple[str, ...], names: str, limits_s: tuple[float, ...], jobs: int) -> None:
    """Solve the instances without each mechanism."""
    wanted = [name for name in WITHOUT if any(part in name for part in mechanisms or ("",))]
    wanted = list(dict.fromkeys(["nothing", *wanted]))
    rows = [Row(mechanism) for mechanism in wanted]
    todo = [name for name in instances() if names in name]
    with ProcessPoolExecutor(jobs) as pool:
        of_each = pool.map(partial(solved, mechanisms=wanted, limits_s=limits_s, seeds=seeds), todo)
        for number, (name, found) in enumerate(zip(todo, of_each, strict=True), start=1):
            for row, more in zip(rows, found, strict=True):
                row.add(more)
            click.echo(f"{number} of {len(todo)}: {name}", err=True)
    cheapest = cheapest_of(rows)
    titles = list(dict.fromkeys(title for title, _, _ in cheapest))
    click.echo(
        f"{len({key[1] for key in cheapest})} instances, {seeds} seeds; gaps, in points above the first row, proved"
    )
    click.echo(
        f"{'without':40}"
        + "".join(f"{title:>13}{'more':>7}{'error':>6}{'proved':>8}" for title in titles)
        + f"{'time of MILPs':>15}{'error':>6}"
    )
    for row in rows:
        of_titles = (cells(row, rows[0], cheapest, title) for title in titles)
        click.echo(f"{row.name:40}" + "".join(of_titles) + milp_cell(row, rows[0]))


if __name__ == "__main__":
    main()
