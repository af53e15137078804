"""Every method on every shared instance: a plan that the judge accepts, at a price that can be true."""

import json
from functools import cache
from pathlib import Path

import pytest

from controller.domain.evaluate import evaluate
from controller.domain.plan import load_plan
from controller.errors import SettingsError
from controller.optimizer.params import Params
from controller.optimizer.result import Result
from controller.optimizer.solve import solve
from controller.optimizer.stop import MaxGap, MaxIterations
from tests.shared_instances import shared

DATA = Path(__file__).parents[1] / "data"
BEST = json.loads((DATA / "best_known.json").read_text())
FEASIBLE = sorted(name for name, known in BEST.items() if not known.get("infeasible"))


@cache
def solved(name: str, method: str) -> Result:
    return solve(shared(name), MaxIterations(1), method=method)


@pytest.mark.parametrize("method", ["gh", "agh"])
@pytest.mark.parametrize("name", FEASIBLE)
def test_a_plan_is_accepted_and_costs_what_the_judge_says(name: str, method: str) -> None:
    result = solved(name, method)
    assert result.plan is not None
    judged = evaluate(shared(name), result.plan)
    assert judged.is_feasible
    assert result.objective_usd == judged.cost.total_usd
    best = evaluate(shared(name), load_plan(DATA / "plans" / f"{name}.json")).cost
    assert result.objective_usd >= best.total_usd * (1 - 1e-6), (
        "cheaper than the best plan known: look at it, then tell"
    )


@pytest.mark.parametrize("name", FEASIBLE)
def test_agh_is_never_dearer_than_gh_and_its_bound_never_above_the_best_plan(name: str) -> None:
    gh, agh = solved(name, "gh"), solved(name, "agh")
    assert gh.objective_usd is not None
    assert agh.objective_usd is not None
    assert agh.objective_usd <= gh.objective_usd
    assert agh.lower_bound_usd is not None
    assert agh.lower_bound_usd <= BEST[name]["best_usd"] * (1 + 1e-6)
    assert agh.lower_bound_usd >= BEST[name]["lp_usd"] * (1 - 2e-3), "weaker than the plain linear relaxation"
    assert agh.gap == pytest.approx(1 - agh.lower_bound_usd / agh.objective_usd)


def test_the_first_start_of_agh_is_within_a_fifth_of_the_best_on_half_of_the_instances() -> None:
    gaps = sorted(
        (solved(name, "agh").objective_usd or 0.0) / BEST[name]["best_usd"] - 1 for name in FEASIBLE
    )
    assert gaps[len(gaps) // 2] < 0.2


@pytest.mark.parametrize("method", ["gh", "agh", "agh-plain"])
def test_seed_and_iterations_decide_the_plan(method: str) -> None:
    instance = shared("synth-6x6x10-s2-x3")
    first, second = (solve(instance, MaxIterations(12), seed=7, method=method) for _ in range(2))
    assert first.plan == second.plan
    assert first.iterations == second.iterations


def test_more_iterations_never_cost_more() -> None:
    instance = shared("paper-s4-x10-b300")
    costs = [solve(instance, MaxIterations(count)).objective_usd or 0.0 for count in (0, 2, 6, 12)]
    assert costs == sorted(costs, reverse=True)
    assert costs[-1] <= BEST["paper-s4-x10-b300"]["best_usd"] * 1.02


def test_a_gap_that_is_good_enough_ends_the_search() -> None:
    instance = shared("synth-6x6x6-s12-x3-storage")
    result = solve(instance, MaxGap(0.01))
    assert result.gap is not None
    assert result.gap <= 0.01
    assert result.iterations == 0


def test_no_bound_is_sought_where_none_is_wanted() -> None:
    result = solve(
        shared("synth-4x4x4-s1"), MaxIterations(1), params=Params(bound_share=0.0), method="agh-plain"
    )
    assert (result.lower_bound_usd, result.gap, result.status) == (None, None, "feasible")


def test_an_unknown_method_is_refused_by_name() -> None:
    methods = "agh, agh-plain, gh, milp, lpr, dvr, hf, melange"
    with pytest.raises(SettingsError, match=f"must be one of {methods}, got 'magic'"):
        solve(shared("synth-4x4x4-s1"), MaxIterations(1), method="magic")


@pytest.mark.parametrize(
    "name", ["paper-s3-x10", "paper-s7-x30-avg", "paper-s13-x10-unmet", "synth-15x15x15-s8"]
)
def test_the_best_plan_known_comes_back_as_it_is_where_nothing_has_changed(name: str) -> None:
    plan = load_plan(DATA / "plans" / f"{name}.json")
    result = solve(shared(name), MaxIterations(1), initial=plan)
    assert result.plan is not None
    assert result.plan.replicas == plan.replicas
    assert result.objective_usd == pytest.approx(BEST[name]["best_usd"], rel=1e-6)
