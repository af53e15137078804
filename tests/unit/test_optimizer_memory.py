"""What a solve takes over from the ones before: plan, prices and open sets."""

from dataclasses import replace

import pytest

from controller.domain.entities import Switching
from controller.domain.plan import incumbent_of
from controller.optimizer.solve import solve
from controller.optimizer.space import SearchSpace
from controller.optimizer.stop import MaxIterations
from tests.shared_instances import shared


def test_where_nothing_has_changed_the_plan_comes_back_at_once() -> None:
    first = solve(shared("paper-s4-x10-b300"), MaxIterations(6))
    assert first.plan is not None
    again = replace(
        shared("paper-s4-x10-b300"), incumbent=dict(incumbent_of(first.plan)), name="the next horizon"
    )
    result = solve(again, MaxIterations(50), initial=first.plan, memory=first.memory)
    assert result.plan is first.plan
    assert result.iterations == 0
    assert result.memory is first.memory
    assert result.gap_usd == pytest.approx(first.gap_usd)


def test_where_something_else_runs_the_plan_is_looked_for_anew() -> None:
    instance = replace(shared("paper-s4-x10-b300"), switching=Switching(start_s=60.0, load_gb_per_s=1.0))
    first = solve(instance, MaxIterations(1))
    assert first.plan is not None
    again = solve(instance, MaxIterations(1), initial=first.plan, memory=first.memory)
    assert again.iterations == 1, "the start of this plan is yet to be paid"


def test_prices_are_remembered_in_proportion_to_the_queries_they_are_for() -> None:
    instance = shared("paper-s4-x10-b300")
    memory = solve(instance, MaxIterations(1)).memory
    assert memory is not None
    twice = replace(
        instance,
        query_types=tuple(
            replace(item, arrival_rate_per_s=2.0 * item.arrival_rate_per_s) for item in instance.query_types
        ),
    )
    before, after = memory.prices_for(SearchSpace.of(instance)), memory.prices_for(SearchSpace.of(twice))
    assert before is not None
    assert after is not None
    assert after.demand_usd == pytest.approx(2.0 * before.demand_usd)
    assert after.budget == before.budget


def test_the_sets_of_the_nearest_demand_come_first() -> None:
    instance = shared("paper-s4-x10-b300")
    memory = None
    for factor in (1.0, 3.0):
        busier = replace(
            instance,
            budget_usd=None,
            query_types=tuple(
                replace(item, arrival_rate_per_s=factor * item.arrival_rate_per_s)
                for item in instance.query_types
            ),
        )
        result = solve(busier, MaxIterations(4), memory=memory)
        memory = result.memory
        assert memory is not None
        assert result.plan is not None
        space = SearchSpace.of(busier)
        nearest = memory.nearest_sets(space, 1)[0]
        open_now = {instance.arrays.keys[d] for d in space.ids[nearest]}
        assert open_now == set(result.plan.replicas)
    assert memory is not None
    assert len(memory.sets) == 2
    first = memory.nearest_sets(SearchSpace.of(replace(instance, budget_usd=None)), 2)[0]
    assert {
        instance.arrays.keys[d] for d in SearchSpace.of(replace(instance, budget_usd=None)).ids[first]
    } == set(memory.sets[0].deployments)


def test_where_demand_comes_back_its_past_plan_is_found_before_any_search() -> None:
    instance = shared("synth-8x8x8-s3")
    first = solve(instance, MaxIterations(12))
    assert first.memory is not None
    assert first.objective_usd is not None
    other = replace(
        instance,
        query_types=tuple(
            replace(item, arrival_rate_per_s=item.arrival_rate_per_s * (0.3 if n % 2 else 3.0))
            for n, item in enumerate(instance.query_types)
        ),
    )
    away = solve(other, MaxIterations(3), initial=first.plan, memory=first.memory)
    assert away.memory is not None
    newest = replace(away.memory, sets=away.memory.sets[-1:])
    back, without = (
        solve(instance, MaxIterations(0), initial=away.plan, memory=memory)
        for memory in (away.memory, newest)
    )
    assert back.objective_usd == pytest.approx(first.objective_usd, rel=1e-6)
    assert without.objective_usd is not None
    assert without.objective_usd > 1.05 * first.objective_usd
