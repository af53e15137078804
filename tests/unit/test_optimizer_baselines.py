"""The baselines: each does what its idea says, and none breaks a limit."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from controller.domain.entities import FoundationModel, GpuTier, QueryType
from controller.domain.evaluate import evaluate
from controller.domain.instance import Instance
from controller.domain.instance_file import load_instance
from controller.domain.plan import Plan
from controller.optimizer.baselines import BASELINES
from controller.optimizer.solve import solve
from controller.optimizer.stop import MaxIterations

INSTANCES = Path(__file__).parents[1] / "data" / "instances"

CHAT = QueryType("chat", 3.0, 400, 150, 4.0, 0.06, 2e-5, 0.004, 1e-7)
CODE = QueryType("code", 1.0, 900, 300, 9.0, 0.09, 1e-5, 0.008, 1e-7)
MODEL = FoundationModel("model", 8, 16, 2e-4, {"chat": 0.04, "code": 0.05})
CHEAP = GpuTier("cheap", 24, 900, 150, 0.6, (1, 2), (1,), tp_efficiency=0.85)
FAST = GpuTier("fast", 80, 3300, 900, 2.5, (1,), (1,))
BEST_KNOWN = json.loads((INSTANCES.parent / "best_known.json").read_text())
FLEET = Instance("fleet", 24, (CHAT, CODE), (MODEL,), (CHEAP, FAST), storage_usd_per_gb_h=1e-4)


def with_rates(instance: Instance, *rates_per_s: float) -> Instance:
    pairs = zip(instance.query_types, rates_per_s, strict=True)
    return replace(
        instance, query_types=tuple(replace(item, arrival_rate_per_s=rate) for item, rate in pairs)
    )


APART = with_rates(
    replace(FLEET, query_types=(replace(CHAT, delay_penalty_usd_per_s=0.0), replace(CODE, delay_slo_s=4.0))),
    2.2,
    11.0,
)


def planned(instance: Instance, method: str) -> Plan:
    plan = solve(instance, MaxIterations(1), method=method).plan
    assert plan is not None
    return plan


def tiers_of(plan: Plan) -> set[str]:
    return {deployment.key.gpu_tier for deployment in plan.deployments}


@pytest.mark.parametrize("method", list(BASELINES))
@pytest.mark.parametrize("path", sorted(INSTANCES.glob("paper-*.json")), ids=lambda path: path.stem)
def test_on_shared_instances_every_baseline_ends_in_a_plan_that_is_no_better_than_any_can_be(
    method: str, path: Path
) -> None:
    result = solve(load_instance(path), MaxIterations(1), method=method)
    if "infeasible" in path.stem:
        assert "budget_usd 5 cannot serve" in result.conflict[0]
        return
    assert result.evaluation is not None
    assert result.evaluation.is_feasible
    assert (result.method, result.status) == (method, "feasible")
    assert result.objective_usd is not None
    assert result.objective_usd >= BEST_KNOWN[path.stem]["bound_usd"] * (1 - 1e-4)


def test_hf_keeps_to_the_one_tier_that_is_best_for_all() -> None:
    # Code needs the fast tier and fills one replica of it; chat is cheaper elsewhere.
    assert tiers_of(planned(APART, "milp")) == {"cheap", "fast"}
    assert tiers_of(planned(APART, "hf")) == {"fast"}


def test_dvr_rents_for_each_type_by_itself_where_one_replica_would_do_for_both() -> None:
    together = with_rates(APART, 6.0, 8.0)
    assert tiers_of(planned(together, "milp")) == {"fast"}
    assert tiers_of(planned(together, "dvr")) == {"cheap", "fast"}


def test_melange_gives_each_type_one_route_and_sees_no_delay_penalty() -> None:
    plan = planned(APART, "melange")
    assert sorted(route.fraction for route in plan.routes) == [1.0, 1.0]
    assert tiers_of(plan) == {"cheap", "fast"}
    chat, code = APART.query_types
    dear = replace(APART, query_types=(replace(chat, delay_penalty_usd_per_s=1e-3), code))
    assert tiers_of(planned(dear, "milp")) == {"fast"}
    assert planned(dear, "melange") == plan


def test_lpr_rounds_the_relaxation_up_and_pays_for_it() -> None:
    tiny = with_rates(FLEET, 0.3, 0.3)
    plan = planned(tiny, "lpr")
    assert all(deployment.replicas == 1 for deployment in plan.deployments)
    evaluation = evaluate(tiny, plan)
    assert evaluation.is_feasible
    assert [outcome.unmet for outcome in evaluation.outcomes] == [pytest.approx(0.0, abs=1e-9)] * 2


@pytest.mark.parametrize("method", list(BASELINES))
def test_what_does_not_fit_is_shed(method: str) -> None:
    limits = {
        "no money": replace(FLEET, budget_usd=0.0),
        "one GPU": replace(
            FLEET,
            gpu_tiers=(replace(CHEAP, available=0), replace(FAST, available=1)),
            query_types=tuple(replace(item, arrival_rate_per_s=40.0) for item in FLEET.query_types),
        ),
        "no storage": replace(FLEET, storage_gb=1.0),
    }
    for words, instance in limits.items():
        result = solve(instance, MaxIterations(1), method=method)
        assert result.evaluation is not None, words
        unmet = np.array([outcome.unmet for outcome in result.evaluation.outcomes])
        assert unmet.any(), words
