"""Stop rules, parameters and results: when they speak, and what they refuse."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from controller.domain.instance_file import load_instance
from controller.domain.plan import Plan, load_plan
from controller.errors import SettingsError, SolverRejectedError
from controller.optimizer.params import Params
from controller.optimizer.result import Result
from controller.optimizer.solve import solve
from controller.optimizer.stop import (
    AnyOf,
    MaxGap,
    MaxIterations,
    MaxRuntime,
    NoImprovement,
    Progress,
    StopRule,
    relative_gap,
)

DATA = Path(__file__).parents[1] / "data"


class Ticking:
    """A clock that goes on by ``step_s`` each time it is read."""

    def __init__(self, step_s: float) -> None:
        self.now_s = 0.0
        self.step_s = step_s

    def __call__(self) -> float:
        self.now_s += self.step_s
        return self.now_s


def test_runtime_is_counted_from_each_start() -> None:
    clock = Ticking(0.0)
    rule = MaxRuntime(2.0, clock)
    clock.now_s = 1.5
    assert not rule(Progress())
    assert rule.remaining_s() == 0.5
    clock.now_s = 2.0
    assert rule(Progress())
    rule.start()
    assert not rule(Progress())


def test_iterations_are_counted_and_time_is_not() -> None:
    rule = MaxIterations(3)
    assert [rule(Progress(iterations=n)) for n in (0, 2, 3)] == [False, False, True]
    assert rule.remaining_s() == math.inf
    assert rule.remaining_iterations() == 3


def test_a_gap_needs_a_plan_and_a_bound() -> None:
    rule = MaxGap(0.1)
    assert not rule(Progress(objective_usd=100.0))
    assert not rule(Progress(lower_bound_usd=100.0))
    assert not rule(Progress(objective_usd=100.0, lower_bound_usd=89.0))
    assert rule(Progress(objective_usd=100.0, lower_bound_usd=90.0))


def test_no_improvement_counts_since_the_last_better_plan_and_forgets_at_the_start() -> None:
    rule = NoImprovement(2)
    costs = [9.0, 9.0, 8.0, 8.0, 8.0]
    assert [rule(Progress(n, cost)) for n, cost in enumerate(costs)] == [False, False, False, False, True]
    rule.start()
    assert not rule(Progress(0, 8.0))


def test_any_of_its_rules_may_stop_and_the_least_that_is_left_counts() -> None:
    clock = Ticking(0.0)
    rule = AnyOf(MaxIterations(5), MaxRuntime(3.0, clock), MaxIterations(4))
    assert (rule.remaining_s(), rule.remaining_iterations()) == (3.0, 4)
    assert not rule(Progress(3))
    assert rule(Progress(4))
    clock.now_s = 3.0
    assert rule(Progress(0))
    rule.start()
    assert not rule(Progress(0))


@pytest.mark.parametrize(
    ("objective", "bound", "gap"),
    [
        (100.0, 75.0, 0.25),
        (100.0, None, math.inf),
        (0.0, 0.0, 0.0),
        (100.0, 101.0, 0.0),
        (math.inf, 1.0, math.inf),
    ],
)
def test_the_gap_is_relative_to_the_objective(objective: float, bound: float | None, gap: float) -> None:
    assert relative_gap(objective, bound) == gap


@pytest.mark.parametrize(
    "make",
    [
        lambda: MaxRuntime(-1.0),
        lambda: MaxRuntime(math.nan),
        lambda: MaxIterations(-1),
        lambda: MaxGap(-0.1),
        lambda: NoImprovement(0),
        lambda: AnyOf(),
    ],
)
def test_a_rule_that_makes_no_sense_is_refused(make: Callable[[], StopRule]) -> None:
    with pytest.raises(ValueError, match="at least"):
        make()


@pytest.mark.parametrize(
    "setting",
    [
        {"bound_share": 1.5},
        {"ruin_share": -0.1},
        {"milp_gap": math.nan},
        {"least_saving": -1.0},
        {"bound_rounds": 0},
        {"node_limit": -1},
        {"fallback_s": -1.0},
        {"fallback_nodes": -1},
    ],
)
def test_a_parameter_out_of_range_is_refused_by_name_and_value(setting: dict[str, Any]) -> None:
    ((name, _),) = setting.items()
    with pytest.raises(SettingsError, match=rf"params\.{name}: must .*, got "):
        Params(**setting)


def test_time_that_is_up_at_once_still_gives_a_plan() -> None:
    instance = load_instance(DATA / "instances" / "synth-6x6x10-s2-x3.json")
    for method in ("agh", "gh", "milp"):
        result = solve(instance, MaxRuntime(0.0, clock=lambda: 0.0), method=method)
        assert result.is_feasible
        assert result.iterations == 0


def test_runtime_is_read_from_the_clock_that_is_passed_in() -> None:
    instance = load_instance(DATA / "instances" / "synth-4x4x4-s1.json")
    assert solve(instance, MaxIterations(0), clock=Ticking(0.25)).runtime_s == 0.25


def test_a_plan_that_breaks_a_constraint_is_never_a_result() -> None:
    instance = load_instance(DATA / "instances" / "paper-s3-x10.json")
    plan = load_plan(DATA / "plans" / "paper-s3-x10.json")
    with pytest.raises(SolverRejectedError, match=r"breaks constraints: compute of .*; "):
        Result.of_plan(instance, Plan(_without_replicas(plan), plan.routes), method="broken", runtime_s=0.0)


def _without_replicas(plan: Plan) -> tuple[Any, ...]:
    return tuple(type(item)(item.key, 0, item.id) for item in plan.deployments)


def test_a_result_is_optimal_only_where_that_is_proved() -> None:
    instance = load_instance(DATA / "instances" / "paper-s3-x10.json")
    plan = load_plan(DATA / "plans" / "paper-s3-x10.json")

    def status(**known: Any) -> str:
        return Result.of_plan(instance, plan, method="m", runtime_s=0.0, **known).status

    cost = Result.of_plan(instance, plan, method="m", runtime_s=0.0).objective_usd
    assert cost is not None
    assert status() == "feasible"
    assert status(lower_bound_usd=cost * 0.9999) == "feasible"
    assert status(lower_bound_usd=cost) == "optimal"
    assert status(lower_bound_usd=cost * 0.9999, proved=True) == "optimal"


def test_a_bound_above_the_plans_cost_is_no_bound_and_proves_nothing() -> None:
    instance = load_instance(DATA / "instances" / "paper-s3-x10.json")
    plan = load_plan(DATA / "plans" / "paper-s3-x10.json")
    cost = Result.of_plan(instance, plan, method="m", runtime_s=0.0).objective_usd
    assert cost is not None
    rounded = Result.of_plan(instance, plan, method="m", runtime_s=0.0, lower_bound_usd=cost * (1 + 1e-8))
    assert (rounded.lower_bound_usd, rounded.status) == (cost, "optimal")
    with pytest.warns(RuntimeWarning, match="the bound of method 'm'"):
        wrong = Result.of_plan(
            instance, plan, method="m", runtime_s=0.0, lower_bound_usd=cost * 1.001, proved=True
        )
    assert (wrong.lower_bound_usd, wrong.gap, wrong.status) == (None, None, "feasible")
