"""Bounds against the exact optimum, on random small instances: never above it, with every kind of limit."""

from __future__ import annotations

from dataclasses import replace

import highspy
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from controller.domain.entities import FoundationModel, GpuTier, Profile, QueryType, Switching
from controller.domain.instance import Instance
from controller.optimizer.relaxation import relax
from controller.optimizer.solve import solve
from controller.optimizer.space import SearchSpace
from controller.optimizer.stop import MaxIterations

SOME = settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
pick = st.sampled_from


@st.composite
def instances(draw: st.DrawFn) -> Instance:
    """Fleets of one to three deployments, where loads of compute and of memory are of the same order.

    Inputs are long and answers short, or the other way round, so that compute binds for one type and memory for
    another on the same deployment; that is where a filling by the greater load is no bound.
    """
    types = tuple(
        QueryType(
            name=f"type-{i}",
            arrival_rate_per_s=draw(pick([0.0, 0.7, 3.0, 8.0, 20.0])),
            input_tokens=draw(pick([20, 900, 3000])),
            output_tokens=draw(pick([5, 200, 900])),
            delay_slo_s=draw(pick([4.0, 15.0, 60.0])),
            error_slo=draw(pick([0.03, 0.06, 0.12])),
            delay_penalty_usd_per_s=draw(pick([0.0, 1e-5, 1e-4])),
            unmet_penalty_usd=draw(pick([3e-4, 3e-3, 0.05])),
            token_storage_gb=draw(pick([0.0, 1e-7])),
            max_unmet=draw(pick([1.0, 1.0, 0.4, 0.0])),
        )
        for i in range(draw(st.integers(2, 4)))
    )
    models = tuple(
        FoundationModel(
            name=f"model-{j}",
            params_b=draw(pick([3.0, 8.0, 20.0])),
            weights_gb=draw(pick([6.0, 16.0])),
            kv_cache_gb_per_token=draw(pick([0.0, 2e-4, 1e-3])),
            base_error={item.name: draw(pick([0.01, 0.05, 0.1])) for item in types},
        )
        for j in range(draw(st.integers(1, 3)))
    )
    tiers = tuple(
        GpuTier(
            name=f"tier-{k}",
            memory_gb=draw(pick([24.0, 80.0])),
            memory_bandwidth_gb_s=draw(pick([800.0, 3000.0])),
            compute_tflops=draw(pick([150.0, 900.0])),
            price_usd_per_h=draw(pick([0.5, 2.0])),
            tp_degrees=draw(pick([(1,), (1, 2)])),
            pp_depths=draw(pick([(1,), (1, 2)])),
            weight_scale=draw(pick([1.0, 0.5])),
            tp_efficiency=draw(pick([1.0, 0.8])),
            pp_hop_s=draw(pick([0.0, 0.002])),
            available=draw(pick([None, None, 2, 5])),
        )
        for k in range(draw(st.integers(1, 2)))
    )
    plain = Instance(
        name="random",
        horizon_h=24.0,
        query_types=types,
        models=models,
        gpu_tiers=tiers,
        budget_usd=draw(pick([None, 30.0, 80.0, 200.0])),
        storage_gb=draw(pick([None, None, 12.0, 22.0])),
        storage_usd_per_gb_h=draw(pick([0.0, 1e-3])),
        delay_slo=draw(pick(["per_route", "average"])),
    )
    keys = plain.arrays.keys
    if draw(st.booleans()):
        running = {key: draw(st.integers(1, 3)) for key in draw(st.sets(pick(keys), min_size=1, max_size=2))}
        plain = replace(plain, incumbent=running, switching=draw(pick([None, Switching(20_000.0, 0.1)])))
    if draw(pick([False, False, True])):
        plain = replace(plain, profiles=(Profile(draw(pick(keys)), 1e-4, 8e-3, 2e-4, 1e-3),))
    return plain


def optimum(space: SearchSpace, opened: int | None = None) -> float:
    """Solve the MILP of problem and space in plain HiGHS, written down a second time; inf where it has no plan.

    Parameters
    ----------
    opened : a deployment that must be open.
    """
    types, num = space.num_types, space.num_deployments
    solver = highspy.Highs()  # type: ignore[no-untyped-call]
    solver.silent()
    for option, value in (("threads", 1), ("mip_rel_gap", 0.0), ("mip_abs_gap", 0.0)):
        solver.setOptionValue(option, value)
    for option in ("mip_feasibility_tolerance", "primal_feasibility_tolerance"):
        solver.setOptionValue(option, 1e-9)
    free = highspy.kHighsInf
    cap = np.maximum(np.minimum(space.cap, 1e4), 0.0)
    replicas = [solver.addVariable(0.0, cap[d], space.rent_usd[d]) for d in range(num)]
    active = [solver.addVariable(float(d == opened), 1.0, space.open_usd[d]) for d in range(num)]
    started = [solver.addVariable(0.0, free, space.start_usd[d]) for d in range(num)]
    share = {
        (i, d): solver.addVariable(0.0, 1.0, space.route_usd[i, d])
        for i in range(types)
        for d in range(num)
        if space.allowed[i, d]
    }
    unmet = [solver.addVariable(0.0, space.max_unmet[i], space.unmet_usd[i]) for i in range(types)]
    for variable in (*replicas, *active):
        solver.setInteger(variable)
    for i in range(types):
        mine = [(share[i, d], d) for d in range(num) if (i, d) in share]
        solver.addConstr(sum(x for x, _ in mine) + unmet[i] == 1.0)
        for excess in space.excess:
            if mine:
                solver.addConstr(sum(excess[i, d] * x for x, d in mine) <= 0.0)
    for d in range(num):
        here = [(share[i, d], i) for i in range(types) if (i, d) in share]
        for load in (space.compute, space.memory):
            solver.addConstr(sum(load[i, d] * x for x, i in here) - replicas[d] <= 0.0)
        solver.addConstr(replicas[d] - max(cap[d], 1.0) * active[d] <= 0.0)
        solver.addConstr(replicas[d] - active[d] >= 0.0)
        solver.addConstr(replicas[d] - started[d] <= space.incumbent[d])
    for pair in range(space.num_pairs):
        solver.addConstr(sum(active[d] for d in range(num) if space.pair[d] == pair) <= 1.0)
    if np.isfinite(space.budget_usd):
        spent = sum(space.rent_usd[d] * replicas[d] + space.open_usd[d] * active[d] for d in range(num))
        solver.addConstr(
            spent + sum(space.token_usd[i] * x for (i, _), x in share.items()) <= space.budget_usd
        )
    if np.isfinite(space.storage_gb):
        solver.addConstr(sum(space.weights_gb[d] * active[d] for d in range(num)) <= space.storage_gb)
    for k in np.flatnonzero(np.isfinite(space.available)):
        mine_k = [d for d in range(num) if space.tier[d] == k]
        if mine_k:
            solver.addConstr(sum(space.gpus[d] * replicas[d] for d in mine_k) <= float(space.available[k]))
    solver.run()
    if solver.getModelStatus() == highspy.HighsModelStatus.kOptimal:
        return float(solver.getInfo().objective_function_value)
    assert solver.getModelStatus() in (
        highspy.HighsModelStatus.kInfeasible,
        highspy.HighsModelStatus.kUnboundedOrInfeasible,
    )
    return float("inf")


def rounding(usd: float) -> float:
    return 1e-6 * max(1.0, abs(usd))


@SOME
@given(instances(), st.integers(0, 6))
def test_no_plan_is_below_the_bound_whenever_it_is_stopped(instance: Instance, rounds: int) -> None:
    space = SearchSpace.of(instance)
    if not space.num_deployments:
        return
    best = optimum(space)
    for relaxation in (relax(space, rounds=rounds), relax(space, gap=0.0)):
        if relaxation.bound_usd is not None and np.isfinite(best):
            assert relaxation.bound_usd <= best + rounding(best)
        assert (relaxation.distance >= 0).all()


@SOME
@given(instances(), st.integers(0, 20))
def test_what_opens_a_deployment_costs_its_reduced_cost_more_than_the_bound(
    instance: Instance, rounds: int
) -> None:
    space = SearchSpace.of(instance)
    if not space.num_deployments:
        return
    relaxation = relax(space, rounds=rounds)
    if relaxation.bound_usd is None:
        return
    for d in range(space.num_deployments):
        best = optimum(space, opened=d)
        if np.isfinite(best):
            assert relaxation.bound_usd + relaxation.reduced_usd[d] <= best + rounding(best)


@SOME
@given(instances())
def test_what_the_search_calls_a_bound_or_an_optimum_is_one(instance: Instance) -> None:
    space = SearchSpace.of(instance)
    if not space.num_deployments:
        return
    best = optimum(space)
    if not np.isfinite(best):
        return
    result = solve(instance, MaxIterations(10))
    assert result.objective_usd is not None
    assert result.lower_bound_usd is None or result.lower_bound_usd <= best + rounding(best)
    if result.status == "optimal":
        assert result.objective_usd == pytest.approx(best, rel=1e-6, abs=1e-6)


@SOME
@given(instances(), st.floats(0.3, 3.0))
def test_prices_of_another_demand_give_a_valid_bound_at_once(instance: Instance, factor: float) -> None:
    old = SearchSpace.of(instance)
    types = tuple(
        replace(item, arrival_rate_per_s=item.arrival_rate_per_s * (factor if n % 2 else 1 / factor))
        for n, item in enumerate(instance.query_types)
    )
    moved = replace(instance, query_types=types)
    space = SearchSpace.of(moved)
    if not (old.num_deployments and space.num_deployments):
        return
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = moved.arrays.queries_per_s / instance.arrays.queries_per_s
    warm = relax(space, rounds=0, prices=relax(old).prices.rescaled(ratio))
    best = optimum(space)
    assert warm.bound_usd is not None
    if np.isfinite(best):
        assert warm.bound_usd <= best + rounding(best)


@st.composite
def pipelines(draw: st.DrawFn) -> Instance:
    """Instances in which deep pipelines may pay: for their memory, for what was measured, or because they run."""
    types = tuple(
        QueryType(
            name=f"type-{i}",
            arrival_rate_per_s=draw(pick([0.5, 2.0, 6.0])),
            input_tokens=draw(pick([100, 1000])),
            output_tokens=draw(pick([20, 400])),
            delay_slo_s=draw(pick([6.0, 30.0])),
            error_slo=draw(pick([0.05, 0.08])),
            delay_penalty_usd_per_s=draw(pick([1e-5, 1e-3])),
            unmet_penalty_usd=draw(pick([0.01, 0.05])),
            max_unmet=draw(pick([1.0, 1.0, 0.2])),
        )
        for i in range(draw(st.integers(1, 3)))
    )
    models = tuple(
        FoundationModel(
            name=f"model-{j}",
            params_b=8.0,
            weights_gb=16.0,
            kv_cache_gb_per_token=draw(pick([0.0, 1e-3, 4e-3])),
            base_error={item.name: draw(pick([0.04, 0.07])) for item in types},
        )
        for j in range(draw(st.integers(1, 2)))
    )
    tier = GpuTier(
        name="tier",
        memory_gb=24.0,
        memory_bandwidth_gb_s=900.0,
        compute_tflops=150.0,
        price_usd_per_h=0.6,
        tp_degrees=(1, 2),
        pp_depths=(1, 2, 4),
        pp_hop_s=draw(pick([0.0, 0.002])),
        available=draw(pick([None, 4, 9])),
    )
    plain = Instance(
        name="pipelines",
        horizon_h=24.0,
        query_types=types,
        models=models,
        gpu_tiers=(tier,),
        budget_usd=draw(pick([None, 60.0, 130.0])),
        storage_gb=draw(pick([None, 20.0])),
        storage_usd_per_gb_h=draw(pick([0.0, 1e-2])),
        delay_slo=draw(pick(["per_route", "average"])),
    )
    deep = [key for key in plain.arrays.keys if key.pp > 1]
    if draw(st.booleans()):
        speed = draw(pick([(1e-4, 1e-2, 3e-4, 3e-3), (4e-4, 6e-2, 1e-5, 1e-4)]))
        plain = replace(plain, profiles=(Profile(draw(pick(deep)), *speed),))
    if draw(st.booleans()):
        switching = draw(pick([None, Switching(20_000.0, 0.1)]))
        plain = replace(plain, incumbent={draw(pick(deep)): draw(st.integers(1, 2))}, switching=switching)
    return plain


@SOME
@given(pipelines())
def test_the_optimum_is_the_same_without_the_dominated(instance: Instance) -> None:
    everything = SearchSpace.of(instance, keep=np.arange(instance.arrays.num_deployments))
    rest = SearchSpace.of(instance)
    if rest.num_deployments == everything.num_deployments:
        return
    best = optimum(everything)
    assert optimum(rest) == (pytest.approx(best, rel=1e-6, abs=1e-6) if np.isfinite(best) else best)
