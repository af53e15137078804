"""Random small instances: whatever they are, methods keep the constraints and their order of costs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from controller.domain.entities import FoundationModel, GpuTier, Profile, QueryType, Switching
from controller.domain.evaluate import evaluate, evaluate_arrays
from controller.domain.instance import Instance
from controller.optimizer.consolidate import consolidations
from controller.optimizer.construct.greedy import Greedy
from controller.optimizer.construct.orders import fixed_orders
from controller.optimizer.dominance import dominated
from controller.optimizer.exact import milp
from controller.optimizer.moves.gather import gatherings
from controller.optimizer.moves.move import Move, price_change
from controller.optimizer.moves.relocate import relocations
from controller.optimizer.moves.serve import servings
from controller.optimizer.moves.shed import sheddings
from controller.optimizer.params import Params
from controller.optimizer.reroute import reroute
from controller.optimizer.routing import route
from controller.optimizer.search import Search
from controller.optimizer.solve import solve
from controller.optimizer.space import SearchSpace
from controller.optimizer.state import AllocationState
from controller.optimizer.stop import MaxIterations

FEW = settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
FEWER = settings(FEW, max_examples=15)

pick = st.sampled_from


@st.composite
def instances(draw: st.DrawFn, *, must_serve: bool = True, busy: bool = False) -> Instance:
    """Instances of a few types, models and tiers, with and without everything that is optional.

    ``busy`` ones ask for enough, and pay enough for it, that plans have several deployments.
    """
    types = tuple(
        QueryType(
            name=f"type-{i}",
            arrival_rate_per_s=draw(pick([2.0, 9.0, 30.0] if busy else [0.0, 0.3, 4.0, 25.0, 400.0])),
            input_tokens=draw(pick([200, 900] if busy else [0, 100, 900])),
            output_tokens=draw(pick([80, 500] if busy else [1, 80, 500])),
            delay_slo_s=draw(pick([3.0, 8.0, 30.0] if busy else [0.05, 0.8, 3.0, 20.0])),
            error_slo=draw(pick([0.03, 0.06, 0.12])),
            delay_penalty_usd_per_s=draw(pick([1e-5, 1e-4] if busy else [0.0, 1e-5, 1e-4])),
            unmet_penalty_usd=draw(pick([3e-3, 0.05] if busy else [0.0, 1e-4, 3e-3, 0.05])),
            token_storage_gb=draw(pick([0.0, 1e-7])),
            max_unmet=draw(pick([1.0, 1.0, 1.0, 0.3, 0.0])) if must_serve else 1.0,
        )
        for i in range(draw(st.integers(3, 4) if busy else st.integers(1, 3)))
    )
    models = tuple(
        FoundationModel(
            name=f"model-{j}",
            params_b=draw(pick([1.0, 8.0, 40.0])),
            weights_gb=draw(pick([2.0, 16.0, 80.0])),
            kv_cache_gb_per_token=draw(pick([0.0, 1e-4, 5e-3])),
            base_error={item.name: draw(pick([0.01, 0.05, 0.1])) for item in types},
        )
        for j in range(draw(st.integers(2, 3) if busy else st.integers(1, 2)))
    )
    tiers = tuple(
        GpuTier(
            name=f"tier-{k}",
            memory_gb=draw(pick([24.0, 80.0])),
            memory_bandwidth_gb_s=draw(pick([800.0, 3000.0])),
            compute_tflops=draw(pick([120.0, 900.0])),
            price_usd_per_h=draw(pick([0.5, 2.0, 6.0])),
            tp_degrees=draw(pick([(1,), (1, 2), (2, 4)])),
            pp_depths=draw(pick([(1,), (1, 2)])),
            weight_scale=draw(pick([1.0, 0.5])),
            error_multiplier=draw(pick([1.0, 1.2])),
            tp_efficiency=draw(pick([1.0, 0.8])),
            pp_hop_s=draw(pick([0.0, 0.002])),
            available=draw(pick([None, None, 3, 12] if busy else [None, None, 0, 1, 3, 40])),
        )
        for k in range(draw(st.integers(2, 3) if busy else st.integers(1, 3)))
    )
    plain = Instance(
        name="random",
        horizon_h=draw(pick([1.0, 24.0])),
        query_types=types,
        models=models,
        gpu_tiers=tiers,
        budget_usd=draw(pick([None, 30.0, 90.0, 400.0] if busy else [None, None, 0.0, 8.0, 90.0, 1500.0])),
        storage_gb=draw(pick([None, None, 18.0, 100.0] if busy else [None, None, 0.0, 18.0, 100.0])),
        storage_usd_per_gb_h=draw(pick([0.0, 1e-3])),
        delay_slo=draw(pick(["per_route", "per_route", "average"])),
    )
    keys = plain.arrays.keys
    if keys and draw(st.booleans()):
        running = {draw(pick(keys)): draw(st.integers(1, 3))}
        switching = draw(pick([None, Switching(120.0, 2.0), Switching(20_000.0, 0.1)]))
        plain = replace(plain, incumbent=running, switching=switching)
    if keys and draw(pick([False, False, True])):
        plain = replace(plain, profiles=(Profile(draw(pick(keys)), 1e-4, 8e-3, 2e-4, 1e-3),))
    return plain


@FEW
@given(st.one_of(instances(), instances(busy=True)), pick(["gh", "agh"]))
def test_a_heuristic_breaks_no_constraint_or_says_what_clashes(instance: Instance, method: str) -> None:
    result = solve(instance, MaxIterations(6), seed=1, method=method)
    if result.plan is None:
        assert result.conflict
        assert any(item.max_unmet < 1 and item.arrival_rate_per_s > 0 for item in instance.query_types)
    else:
        assert evaluate(instance, result.plan).is_feasible


@FEWER
@given(st.one_of(instances(), instances(busy=True)))
def test_bound_optimum_agh_and_gh_come_in_that_order(instance: Instance) -> None:
    gh = solve(instance, MaxIterations(0), method="gh")
    agh = solve(instance, MaxIterations(6), method="agh")
    optimum = solve(instance, MaxIterations(10**6), method="milp")
    assert gh.is_feasible == agh.is_feasible == optimum.is_feasible
    if optimum.objective_usd is None:
        return
    assert agh.objective_usd is not None
    assert gh.objective_usd is not None
    rounding = 1e-6 * max(1.0, optimum.objective_usd)
    assert optimum.status == "optimal"
    assert agh.lower_bound_usd is None or agh.lower_bound_usd <= optimum.objective_usd + rounding
    assert optimum.objective_usd <= agh.objective_usd + rounding
    assert agh.objective_usd <= gh.objective_usd + rounding


@FEWER
@given(instances(must_serve=False, busy=True))
def test_leaving_out_dominated_deployments_costs_nothing(instance: Instance) -> None:
    everything = np.arange(instance.arrays.num_deployments)
    if not dominated(instance.arrays).any():
        return
    whole = SearchSpace.of(instance, keep=everything)
    assert whole.num_deployments >= SearchSpace.of(instance).num_deployments
    assert _optimum(whole) == pytest.approx(_optimum(SearchSpace.of(instance)), rel=1e-6, abs=1e-6)


def _optimum(space: SearchSpace) -> float:
    search = Search(space, MaxIterations(10**6), Params(), 0)
    milp(search)
    assert search.proved_optimal
    return search.best_usd


NEIGHBOURHOODS: dict[str, Callable[[AllocationState, Greedy], list[Move]]] = {
    "relocate": lambda state, _: relocations(state),
    "gather one": lambda state, _: gatherings(state, 1),
    "gather two": lambda state, _: gatherings(state, 2),
    "shed": lambda state, _: sheddings(state),
    "serve": lambda state, greedy: servings(state, greedy.candidates),
    "consolidate": lambda state, greedy: consolidations(state, greedy.candidates),
}


@pytest.mark.parametrize("kind", list(NEIGHBOURHOODS))
@FEW
@given(instance=instances(busy=True), order=st.integers(0, 7))
def test_a_move_saves_what_it_says_and_keeps_the_limits(kind: str, instance: Instance, order: int) -> None:
    space = SearchSpace.of(instance)
    greedy = Greedy.of(space)
    sequence = list(fixed_orders(instance))[order]
    state = greedy.build(sequence, idle_weight=order / 7, cover_first=order % 2 == 0)
    if kind == "shed":  # a construction never serves what is cheaper to shed: make it so
        cheap = replace(space, unmet_usd=space.unmet_usd * 1e-3, max_unmet=np.ones(space.num_types))
        state = AllocationState.of_shares(cheap, state.shares)
    if kind == "serve":  # nor does it leave unmet what may be served
        for d in state.open[::2]:
            for i in np.flatnonzero(state.shares[:, d]):
                state.withdraw(int(i), int(d))
    assert state.keeps_limits
    before = state.shares.copy()
    moves = NEIGHBOURHOODS[kind](state, greedy)
    assert (state.shares == before).all(), "looking for a move has changed the state"
    scale = 1e-9 * max(1.0, abs(state.cost_usd()))
    for move in moves:
        assert move.delta_usd < 0
        assert price_change(state, move.at, move.change) == pytest.approx(move.delta_usd, rel=1e-6, abs=scale)
        twin = state.copy()
        move.apply(twin)
        left = (twin.budget_left, twin.storage_left, *twin.gpus_left, *twin.slack.flat)
        twin.refresh()
        fresh = (twin.budget_left, twin.storage_left, *twin.gpus_left, *twin.slack.flat)
        assert left == pytest.approx(fresh, rel=1e-9, abs=1e-9), "what is left was not kept up to date"
        assert twin.cost_usd() - state.cost_usd() == pytest.approx(move.delta_usd, rel=1e-6, abs=scale)
        assert twin.keeps_limits


@FEW
@given(instances(must_serve=False, busy=True), st.data())
def test_routing_breaks_no_constraint_on_shares_and_beats_no_routing(
    instance: Instance, data: st.DataObject
) -> None:
    arrays = instance.arrays
    count = st.lists(st.integers(0, 2), min_size=arrays.num_deployments, max_size=arrays.num_deployments)
    replicas = np.array(data.draw(count), dtype=np.int64)
    judged = evaluate_arrays(instance, replicas, route(instance, replicas))
    of_replicas = {"one_config", "storage", "gpus"}
    nothing = evaluate_arrays(instance, replicas, np.zeros((arrays.num_types, arrays.num_deployments)))
    if any(check.constraint == "budget" for check in nothing.violations):
        of_replicas.add("budget")
    assert {check.constraint for check in judged.violations} <= of_replicas
    assert judged.cost.total_usd <= nothing.cost.total_usd * (1 + 1e-9) + 1e-9


@FEW
@given(instances(), st.data())
def test_a_rerouted_plan_keeps_every_constraint_or_says_who_is_not_served(
    instance: Instance, data: st.DataObject
) -> None:
    first = solve(instance, MaxIterations(1), method="gh")
    if first.plan is None:
        return
    factor = data.draw(pick([0.0, 0.5, 1.0, 3.0]))
    changed = replace(
        instance,
        query_types=tuple(
            replace(item, arrival_rate_per_s=item.arrival_rate_per_s * factor)
            for item in instance.query_types
        ),
        gpu_tiers=tuple(
            replace(tier, available=data.draw(pick([tier.available, 0, 1]))) for tier in instance.gpu_tiers
        ),
        budget_usd=data.draw(pick([instance.budget_usd, 5.0, 60.0])),
        storage_gb=data.draw(pick([instance.storage_gb, 16.0])),
    )
    result = reroute(changed, first.plan)
    if result.plan is None:
        assert all("max_unmet" in words for words in result.conflict)
    else:
        assert evaluate(changed, result.plan).is_feasible


@FEWER
@given(instances())
def test_solving_again_from_the_plan_gives_the_plan(instance: Instance) -> None:
    first = solve(instance, MaxIterations(10**6), method="milp")
    if first.plan is None:
        return
    again = solve(instance, MaxIterations(2), initial=first.plan)
    assert again.plan is not None
    assert again.plan.replicas == first.plan.replicas
