"""``coxswain solve``: one instance, offline; the plan as JSON on standard output."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from controller.commands.options import EXIT_FAILURE, with_exit_codes
from controller.domain.entities import DeploymentKey
from controller.domain.instance import Instance
from controller.domain.instance_file import load_instance, read_incumbent
from controller.domain.plan import Plan, incumbent_of, read_plan
from controller.domain.reading import Fields, load_json
from controller.errors import InputError, InstanceError
from controller.optimizer.result import Result
from controller.optimizer.solve import METHODS, solve
from controller.optimizer.stop import AnyOf, MaxIterations, MaxRuntime, StopRule

_DEFAULT_TIME_LIMIT_S = 10.0

_EPILOG = """\b
Examples:
  coxswain solve fleet.json
  coxswain solve fleet.json --method milp --time-limit 60 --output plan.json
  coxswain solve fleet.json --incumbent plan.json --time-limit 0.5
  coxswain solve fleet.json --iterations 20 --seed 7    # the same plan on every machine

Exit codes: 0 a plan was found; 1 none exists (what clashes is on standard error) or none was found; 2 the input or
the usage is wrong.
"""


@click.command("solve", epilog=_EPILOG)
@click.argument("instance_path", metavar="INSTANCE.json", type=click.Path(path_type=Path))
@click.option(
    "--method",
    type=click.Choice(list(METHODS)),
    default="agh",
    show_default=True,
    help="agh: adaptive greedy with local search, guided by linear programs; gh: one greedy pass, milliseconds; "
    "milp: exact, by HiGHS. To compare with: agh-plain is agh without the guidance; lpr rounds the linear "
    "relaxation; dvr chooses GPUs before routes; hf keeps to one GPU tier; melange packs types by rent alone.",
)
@click.option(
    "--time-limit",
    "time_limit_s",
    type=click.FloatRange(min=0.0),
    metavar="S",
    help=f"Seconds to search.  [default: {_DEFAULT_TIME_LIMIT_S:g}, or none where --iterations is given]",
)
@click.option(
    "--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Seed of all that is random."
)
@click.option(
    "--iterations",
    type=click.IntRange(min=0),
    metavar="N",
    help="Steps of agh, or branch-and-bound nodes of milp, to stop after: the same plan on every machine.",
)
@click.option(
    "--incumbent",
    "incumbent_path",
    type=click.Path(path_type=Path),
    metavar="PLAN.json",
    help='What runs now: a plan as this command prints it, or an object with an "incumbent" list. Replicas that '
    "it has need no start, and the search begins from it.",
)
@click.option(
    "--output",
    "output_path",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="PLAN.json",
    help="Write the JSON to this file, too.",
)
@with_exit_codes
def solve_command(
    instance_path: Path,
    method: str,
    time_limit_s: float | None,
    seed: int,
    iterations: int | None,
    incumbent_path: Path | None,
    output_path: Path | None,
) -> None:
    """Find the cheapest plan for one allocation instance, and print it as JSON.

    INSTANCE.json is a file in the format allocation-instance/1: query types with their rates and objectives,
    models, GPU tiers, and limits. The plan says which model runs on which GPUs in which parallel configuration,
    with how many replicas, and what share of each query type goes where.

    A plan has the status "optimal" only where that is proved, else "feasible"; "gap" is how far it may be above the
    optimum, relative to its cost.
    """
    instance = load_instance(instance_path)
    initial = None
    if incumbent_path is not None:
        instance, initial = _with_incumbent(instance, incumbent_path)
    result = solve(instance, _stop(time_limit_s, iterations), seed, initial=initial, method=method)
    text = json.dumps(as_json(result), indent=2)
    click.echo(text)
    if output_path is not None:
        _write(output_path, text)
    if not result.is_feasible:
        click.echo(f"infeasible: {'; '.join(result.conflict)}", err=True)
        raise SystemExit(EXIT_FAILURE)


def as_json(result: Result) -> dict[str, Any]:
    """Return what the command prints; ``conflict`` only where there is no plan."""
    plan = Plan() if result.plan is None else result.plan
    printed: dict[str, Any] = {
        **plan.to_json(),
        "objective_usd": result.objective_usd,
        "lower_bound_usd": result.lower_bound_usd,
        "gap": result.gap,
        "runtime_s": result.runtime_s,
        "status": result.status,
        "method": result.method,
    }
    if not result.is_feasible:
        printed["conflict"] = list(result.conflict)
    return printed


def _stop(time_limit_s: float | None, iterations: int | None) -> StopRule:
    if iterations is None:
        return MaxRuntime(_DEFAULT_TIME_LIMIT_S if time_limit_s is None else time_limit_s)
    if time_limit_s is None:
        return MaxIterations(iterations)
    return AnyOf(MaxIterations(iterations), MaxRuntime(time_limit_s))


def _with_incumbent(instance: Instance, path: Path) -> tuple[Instance, Plan | None]:
    """Return the instance with what a file says runs now, and the plan to start from, if it is one.

    Raises
    ------
    InstanceError : the file is no plan, or has a row that matches no deployment of the instance.
    """
    data = load_json(path)
    fields = Fields(data, str(path))
    names = fields.names()
    if "incumbent" in names and "deployments" not in names:
        incumbent: dict[DeploymentKey, int] = read_incumbent(fields)
        return replace(instance, incumbent=incumbent), None
    if "deployments" not in names:
        raise InstanceError(
            str(path), 'must have "deployments", as a plan has, or an "incumbent" list', names
        )
    plan = read_plan(data)
    return replace(instance, incumbent=dict(incumbent_of(plan))), plan


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text + "\n", encoding="utf-8")
    except OSError as problem:
        raise InputError("--output", f"cannot be written: {problem.strerror}", str(path)) from None
