"""Routing over fixed replicas, and the small simplex method that it rests on."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from controller.domain.arrays import Ints
from controller.domain.cost import price
from controller.domain.evaluate import evaluate_arrays
from controller.domain.instance import Instance
from controller.domain.instance_file import load_instance
from controller.domain.plan import load_plan
from controller.optimizer.highs import run_highs
from controller.optimizer.multi_start import rerouted
from controller.optimizer.program import Program
from controller.optimizer.reroute import reroute
from controller.optimizer.routing import route
from controller.optimizer.simplex import maximize
from controller.optimizer.space import SearchSpace
from controller.optimizer.state import AllocationState
from controller.optimizer.within_limits import within_limits

DATA = Path(__file__).parents[1] / "data"
NAMES = [
    "paper-s3-x10",
    "paper-s7-x30-avg",
    "paper-s10-x30-tight60",
    "paper-s13-x10-unmet",
    "synth-10x10x10-s4",
]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("seed", range(3))
def test_routing_is_as_cheap_as_the_linear_program_with_those_replicas(name: str, seed: int) -> None:
    instance = replace(load_instance(DATA / "instances" / f"{name}.json"), budget_usd=None, storage_gb=None)
    instance = replace(
        instance, query_types=tuple(replace(item, max_unmet=1.0) for item in instance.query_types)
    )
    space = SearchSpace.of(instance)
    random = np.random.default_rng(seed)
    chosen = random.choice(space.num_deployments, size=8, replace=False)
    chosen = chosen[np.unique(space.pair[chosen], return_index=True)[1]]
    replicas = np.zeros(instance.arrays.num_deployments, dtype=np.int64)
    replicas[space.ids[chosen]] = 1
    program = Program.of(space)
    fixed = program.highs(program.cost_usd(), relaxed=True)
    lower, upper = np.zeros(program.num_columns), program.upper.copy()
    for columns in (program.replicas, program.active):
        upper[columns] = 0.0
        lower[columns[chosen]] = upper[columns[chosen]] = 1.0
    fixed.col_lower_, fixed.col_upper_ = lower, upper
    optimum = run_highs(fixed)
    state = AllocationState(space)
    state.replicas[chosen] = 1.0
    hot = np.zeros_like(instance.arrays.compute_load)
    hot[:, space.ids] = rerouted(space, state).shares
    for shares in (route(instance, replicas), hot):
        judged = evaluate_arrays(instance, replicas, shares)
        assert judged.is_feasible
        assert judged.cost.total_usd == pytest.approx(optimum.objective, rel=1e-6)


def test_nothing_is_rerouted_where_nothing_runs() -> None:
    state = AllocationState(SearchSpace.of(load_instance(DATA / "instances" / "paper-s3-x10.json")))
    assert rerouted(state.space, state) is state


def test_a_type_without_demand_goes_to_the_fastest_running_deployment_that_keeps_its_objectives() -> None:
    name = "paper-s3-x10"
    instance = load_instance(DATA / "instances" / f"{name}.json")
    quiet = replace(
        instance,
        query_types=(replace(instance.query_types[0], arrival_rate_per_s=0.0), *instance.query_types[1:]),
    )
    replicas, _ = load_plan(DATA / "plans" / f"{name}.json").arrays(quiet)
    shares = route(quiet, replicas)
    arrays = quiet.arrays
    (place,) = np.flatnonzero(shares[0])
    assert shares[0, place] == 1.0
    assert replicas[place] > 0
    assert arrays.error[0, place] <= arrays.error_slo[0]
    assert arrays.fast_enough[0, place]
    assert not route(quiet, np.zeros_like(replicas)).any()


def test_capacity_that_lacks_sheds_what_costs_least_to_shed() -> None:
    name = "paper-s3-x10"
    instance = load_instance(DATA / "instances" / f"{name}.json")
    first, *others = instance.query_types
    doubled = replace(
        instance,
        query_types=(
            replace(first, unmet_penalty_usd=1e-7),
            *(replace(item, arrival_rate_per_s=item.arrival_rate_per_s * 1.0) for item in others),
        ),
    )
    result = reroute(doubled, load_plan(DATA / "plans" / f"{name}.json"))
    assert result.evaluation is not None
    unmet = {outcome.query_type: outcome.unmet for outcome in result.evaluation.outcomes}
    assert unmet.pop(first.name) == 1.0  # serving it costs more than its penalty
    assert max(unmet.values()) == pytest.approx(0.0, abs=1e-9)


def test_a_plan_in_a_world_that_lost_its_gpus_is_cut_to_what_there_is() -> None:
    name = "paper-s6-x100-a64"
    instance = load_instance(DATA / "instances" / f"{name}.json")
    plan = load_plan(DATA / "plans" / f"{name}.json")
    fewer = replace(instance, gpu_tiers=tuple(replace(tier, available=8) for tier in instance.gpu_tiers))
    result = reroute(fewer, plan)
    assert result.plan is not None
    assert 0 < result.plan.gpus < plan.gpus


def _a_fleet() -> tuple[Instance, Ints]:
    """Return an instance without limits, and the replicas of a plan for it."""
    name = "paper-s3-x10"
    instance = load_instance(DATA / "instances" / f"{name}.json")
    replicas, _ = load_plan(DATA / "plans" / f"{name}.json").arrays(instance)
    return replace(instance, budget_usd=None, storage_gb=None), replicas


def test_a_fleet_that_keeps_all_limits_stays_as_it_is() -> None:
    instance, replicas = _a_fleet()
    assert (within_limits(instance, replicas) == replicas).all()


def test_a_fleet_that_costs_more_than_the_budget_is_cut() -> None:
    instance, replicas = _a_fleet()
    nothing = np.zeros((instance.arrays.num_types, instance.arrays.num_deployments))
    budget_usd = 0.7 * price(instance.arrays, replicas, nothing).budgeted_usd
    kept = within_limits(replace(instance, budget_usd=budget_usd), replicas)
    assert 0 < price(instance.arrays, kept, nothing).budgeted_usd <= budget_usd


def test_a_fleet_of_which_the_weights_need_more_storage_than_there_is_is_cut() -> None:
    instance, replicas = _a_fleet()
    weights_gb = instance.arrays.weights_gb
    storage_gb = 0.7 * float(weights_gb @ (replicas > 0))
    kept = within_limits(replace(instance, storage_gb=storage_gb), replicas)
    assert 0 < float(weights_gb @ (kept > 0)) <= storage_gb


def test_of_two_configurations_of_a_pair_one_stays() -> None:
    instance, replicas = _a_fleet()
    pair = instance.arrays.pair
    open_ = np.flatnonzero(replicas)
    others = [d for d in range(len(pair)) if pair[d] in pair[open_] and d not in open_]
    replicas[others[0]] = 1
    kept = within_limits(instance, replicas)
    assert sorted(pair[kept > 0]) == sorted(set(pair[open_]))


def _of_no_use(instance: Instance) -> Ints:
    """Return the deployments that may serve nobody."""
    arrays = instance.arrays
    return np.flatnonzero(~(arrays.fast_enough & (arrays.mean_excess[0] <= 0)).any(axis=0))


def test_of_two_configurations_of_a_pair_the_one_of_more_use_stays() -> None:
    instance, replicas = _a_fleet()
    pair, fleet = instance.arrays.pair, replicas.copy()
    others = [d for d in _of_no_use(instance) if pair[d] in pair[replicas > 0]]
    assert others
    fleet[others[0]] = 5
    assert (within_limits(instance, fleet) == replicas).all()


def test_what_is_of_no_use_is_cut_first() -> None:
    instance, replicas = _a_fleet()
    pair, fleet = instance.arrays.pair, replicas.copy()
    nothing = np.zeros((instance.arrays.num_types, instance.arrays.num_deployments))
    budget_usd = price(instance.arrays, replicas, nothing).budgeted_usd
    fleet[next(d for d in _of_no_use(instance) if pair[d] not in pair[replicas > 0])] = 1
    assert (within_limits(replace(instance, budget_usd=budget_usd), fleet) == replicas).all()


def test_no_more_replicas_are_cut_than_a_tier_lacks_gpus() -> None:
    instance, replicas = _a_fleet()
    tier, gpus = instance.arrays.tier, instance.arrays.gpus
    d = int(np.argmax(replicas))
    replicas = np.where(np.arange(len(replicas)) == d, 5, 0)
    tiers = tuple(
        replace(one, available=int(3 * gpus[d]) if k == tier[d] else None)
        for k, one in enumerate(instance.gpu_tiers)
    )
    kept = within_limits(replace(instance, gpu_tiers=tiers), replicas)
    assert kept[d] == 3
    assert kept.sum() == 3


def test_a_plan_for_models_that_are_gone_is_what_is_left_of_it() -> None:
    name = "paper-s3-x10"
    instance = load_instance(DATA / "instances" / f"{name}.json")
    plan = load_plan(DATA / "plans" / f"{name}.json")
    gone = plan.deployments[0].key.model
    smaller = replace(instance, models=tuple(model for model in instance.models if model.name != gone))
    result = reroute(smaller, plan)
    assert result.plan is not None
    assert gone not in {deployment.key.model for deployment in result.plan.deployments}


def test_the_simplex_method_solves_a_textbook_program() -> None:
    # max 3 x + 5 y; x <= 4, 2 y <= 12, 3 x + 2 y <= 18 (Hillier and Lieberman): 36 at (2, 6).
    x = maximize(
        np.array([3.0, 5.0]), np.array([[1.0, 0.0], [0.0, 2.0], [3.0, 2.0]]), np.array([4.0, 12.0, 18.0])
    )
    assert x == pytest.approx([2.0, 6.0])


def test_the_simplex_method_does_not_cycle() -> None:
    # Beale's example, on which Dantzig's rule alone turns in a circle for ever.
    rows = np.array([[0.25, -60.0, -1 / 25, 9.0], [0.5, -90.0, -1 / 50, 3.0], [0.0, 0.0, 1.0, 0.0]])
    x = maximize(np.array([0.75, -150.0, 0.02, -6.0]), rows, np.array([0.0, 0.0, 1.0]))
    assert np.array([0.75, -150.0, 0.02, -6.0]) @ x == pytest.approx(0.05)


def test_a_simplex_run_that_is_cut_short_is_feasible() -> None:
    rows, limits = np.array([[1.0, 1.0], [1.0, 3.0]]), np.array([4.0, 6.0])
    x = maximize(np.array([2.0, 3.0]), rows, limits, max_steps=1)
    assert (rows @ x <= limits + 1e-12).all()
    assert x.any()


def test_a_limit_below_zero_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 0"):
        maximize(np.ones(1), np.ones((1, 1)), np.array([-1.0]))
