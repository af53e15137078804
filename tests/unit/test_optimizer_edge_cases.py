"""The odd instances: nothing asked, too much asked, nothing there, one of everything."""

from dataclasses import replace
from typing import Any

import pytest

from controller.domain.entities import DeploymentKey, FoundationModel, GpuTier, QueryType, Switching
from controller.domain.instance import Instance
from controller.domain.plan import Plan
from controller.optimizer.result import Result
from controller.optimizer.solve import solve
from controller.optimizer.stop import MaxIterations

CHAT = QueryType("chat", 3.0, 400, 150, 4.0, 0.06, 2e-5, 0.004)
CODE = QueryType("code", 1.0, 900, 300, 9.0, 0.09, 1e-5, 0.008)
SMALL = FoundationModel("small", 3, 6, 1e-4, {"chat": 0.07, "code": 0.08})
LARGE = FoundationModel("large", 8, 16, 2e-4, {"chat": 0.04, "code": 0.05})
CHEAP = GpuTier("cheap", 24, 900, 150, 0.6, (1, 2), (1, 2), tp_efficiency=0.85, pp_hop_s=0.001)
FAST = GpuTier("fast", 80, 3300, 900, 2.5, (1,), (1,))
FLEET = Instance("fleet", 24, (CHAT, CODE), (SMALL, LARGE), (CHEAP, FAST), storage_usd_per_gb_h=1e-4)


def with_types(**changes: Any) -> Instance:
    return replace(FLEET, query_types=tuple(replace(item, **changes) for item in FLEET.query_types))


def everything_unmet(result: Result) -> bool:
    assert result.evaluation is not None
    return all(outcome.unmet == 1.0 for outcome in result.evaluation.outcomes)


@pytest.fixture(params=["agh", "gh", "milp"])
def method(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def run(instance: Instance, method: str) -> Result:
    return solve(instance, MaxIterations(10_000 if method == "milp" else 4), method=method)


def test_no_demand_at_all_needs_nothing(method: str) -> None:
    result = run(with_types(arrival_rate_per_s=0.0, max_unmet=0.0), method)
    assert result.plan == Plan()
    assert result.objective_usd == 0.0


def test_a_type_without_demand_rides_along(method: str) -> None:
    result = run(replace(FLEET, query_types=(CHAT, replace(CODE, arrival_rate_per_s=0.0))), method)
    assert result.plan is not None
    fractions = {route.query_type: route.fraction for route in result.plan.routes}
    assert fractions == pytest.approx({"chat": 1.0, "code": 1.0}, rel=1e-15)


def test_a_million_queries_a_second_are_served_by_as_many_replicas(method: str) -> None:
    result = run(replace(FLEET, query_types=(replace(CHAT, arrival_rate_per_s=1e6), CODE)), method)
    assert result.plan is not None
    assert result.evaluation is not None
    assert result.plan.gpus > 10_000
    assert max(outcome.unmet for outcome in result.evaluation.outcomes) < 1e-6


def test_objectives_that_nothing_meets_leave_all_unmet(method: str) -> None:
    for changes in ({"delay_slo_s": 1e-6}, {"error_slo": 1e-6}):
        result = run(with_types(**changes), method)
        assert everything_unmet(result)
        assert result.plan == Plan()


def test_no_gpus_no_budget_and_no_storage_leave_all_unmet(method: str) -> None:
    no_gpus = tuple(replace(tier, available=0) for tier in FLEET.gpu_tiers)
    for instance in (
        replace(FLEET, gpu_tiers=no_gpus),
        replace(FLEET, budget_usd=0.0),
        replace(FLEET, storage_gb=0.0),
    ):
        assert run(instance, method).plan == Plan()


def test_weights_that_fit_nowhere_leave_all_unmet(method: str) -> None:
    heavy = replace(FLEET, models=tuple(replace(model, weights_gb=10_000) for model in FLEET.models))
    assert run(heavy, method).plan == Plan()


def test_demand_that_is_cheaper_to_shed_is_shed(method: str) -> None:
    assert run(with_types(unmet_penalty_usd=1e-9), method).plan == Plan()


def test_one_type_one_model_one_tier_one_configuration(method: str) -> None:
    one = replace(
        FLEET,
        query_types=(CHAT,),
        models=(replace(LARGE, base_error={"chat": 0.04}),),
        gpu_tiers=(replace(FAST, available=1),),
    )
    result = run(one, method)
    assert result.plan is not None
    assert [(item.id, item.replicas) for item in result.plan.deployments] == [("large/fast/tp1-pp1", 1)]


def test_an_error_above_the_slo_is_mixed_with_one_below() -> None:
    """The cheap model alone is too inexact; beside the exact one it may take the share that the mean allows."""
    dear = replace(
        FLEET,
        query_types=(replace(CHAT, arrival_rate_per_s=400.0, error_slo=0.055, delay_penalty_usd_per_s=0.0),),
        models=(replace(SMALL, base_error={"chat": 0.07}), replace(LARGE, base_error={"chat": 0.04})),
    )
    result = run(dear, "milp")
    assert result.evaluation is not None
    assert 0.04 < result.evaluation.outcomes[0].error <= 0.055 + 1e-6


def test_what_runs_is_kept_where_starting_anew_costs_more_than_it_saves(method: str) -> None:
    free = run(FLEET, "milp")
    other = DeploymentKey("large", "fast", 1, 1)
    assert free.plan is not None
    assert other not in free.plan.replicas
    dear = replace(FLEET, switching=Switching(start_s=10_000_000, load_gb_per_s=1.0), incumbent={other: 1})
    result = run(dear, method)
    assert result.plan is not None
    assert set(result.plan.replicas) == {other}
    assert result.evaluation is not None
    assert result.evaluation.cost.switching_usd == 0.0


def test_an_initial_plan_comes_back_where_nothing_is_better() -> None:
    best = run(FLEET, "milp")
    again = solve(FLEET, MaxIterations(3), initial=best.plan)
    assert again.plan == best.plan


def test_an_initial_plan_follows_the_demand(method: str) -> None:
    before = run(FLEET, "milp")
    more = replace(
        FLEET,
        query_types=tuple(
            replace(item, arrival_rate_per_s=200 * item.arrival_rate_per_s) for item in FLEET.query_types
        ),
    )
    iterations = MaxIterations(10_000 if method == "milp" else 2)
    result = solve(more, iterations, initial=before.plan, method=method)
    cold = run(more, "gh")
    assert result.objective_usd is not None
    assert cold.objective_usd is not None
    assert result.objective_usd <= cold.objective_usd + 1e-9


def test_strangers_in_an_initial_plan_are_left_out() -> None:
    before = run(FLEET, "milp")
    assert before.plan is not None
    only_small = replace(FLEET, models=(SMALL,), query_types=(replace(CHAT, error_slo=0.08), CODE))
    assert solve(only_small, MaxIterations(1), initial=before.plan).is_feasible


def test_a_deep_pipeline_that_runs_is_kept_in_the_space() -> None:
    deep = DeploymentKey("large", "cheap", 2, 2)
    running = replace(FLEET, incumbent={deep: 1}, switching=Switching(10_000_000, 1.0))
    result = run(running, "milp")
    assert result.plan is not None
    assert set(result.plan.replicas) == {deep}
