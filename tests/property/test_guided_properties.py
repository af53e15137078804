"""Random small instances: what guides the search is what it says it is, whatever the instance."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from controller.domain.evaluate import evaluate
from controller.domain.instance import Instance
from controller.domain.plan import incumbent_of
from controller.optimizer.exact import milp
from controller.optimizer.guided.branch_and_bound import Effort
from controller.optimizer.guided.restricted import RestrictedMilp
from controller.optimizer.guided.set_program import cheapest_of_set
from controller.optimizer.linear_program import hot_highs
from controller.optimizer.memory import SolverMemory
from controller.optimizer.params import Params
from controller.optimizer.search import Search
from controller.optimizer.solve import solve
from controller.optimizer.space import SearchSpace
from controller.optimizer.stop import MaxIterations
from tests.small_fleets import FEW, FEWER, fleets, pick, some_set, tightened

NO_LIMIT = Effort(gap=1e-7, nodes=10**6)


@FEWER
@given(fleets(), st.data())
def test_a_restricted_milp_over_all_deployments_is_the_whole_problem(
    instance: Instance, data: st.DataObject
) -> None:
    space = SearchSpace.of(tightened(data, instance))
    assume(space.num_deployments > 0)
    search = Search(space, MaxIterations(10**6), Params(), 0)
    milp(search)
    outcome = RestrictedMilp(space, np.arange(space.num_deployments)).solve(effort=NO_LIMIT)
    assert outcome.solved
    assert outcome.state is not None
    if search.best is None or not search.best.serves_enough:
        assert not outcome.state.serves_enough or not outcome.state.keeps_limits
        return
    assert outcome.state.keeps_limits
    rounding = 1e-6 * max(1.0, search.best_usd)
    assert outcome.state.cost_usd() == pytest.approx(search.best_usd, rel=2e-6, abs=rounding)
    assert outcome.bound_usd <= search.best_usd + rounding


@FEWER
@given(fleets(), st.data())
def test_a_set_program_finds_what_the_milp_of_that_set_finds(instance: Instance, data: st.DataObject) -> None:
    space = SearchSpace.of(tightened(data, instance))
    assume(space.num_deployments > 1)
    at = some_set(data, space)
    outcome = RestrictedMilp(space, at).solve(effort=NO_LIMIT)
    assert outcome.state is not None
    state = cheapest_of_set(space, at, np.inf, 10_000)
    used = len(outcome.state.open)
    if state is not None:  # the MILP may leave some of them closed
        assert state.keeps_limits
        assert outcome.state.cost_usd() <= state.cost_usd() * (1 + 1e-6) + 1e-6
        if used == len(at):
            assert state.cost_usd() == pytest.approx(outcome.state.cost_usd(), rel=1e-5, abs=1e-6)
    else:
        assert used < len(at) or not outcome.state.keeps_limits


@FEW
@given(fleets(), st.data())
def test_what_a_solver_was_used_for_before_does_not_change_what_a_set_costs(
    instance: Instance, data: st.DataObject
) -> None:
    space = SearchSpace.of(tightened(data, instance))
    assume(space.num_deployments > 1)
    highs = hot_highs()
    for _ in range(3):
        at, below_usd = some_set(data, space), data.draw(pick([np.inf, 1e-3, 50.0]))
        alone = cheapest_of_set(space, at, below_usd, 10_000)
        after_others = cheapest_of_set(space, at, below_usd, 10_000, highs)
        assert (alone is None) == (after_others is None)
        if alone is not None and after_others is not None:
            assert after_others.cost_usd() == pytest.approx(alone.cost_usd(), rel=1e-6)


@FEWER
@given(fleets(), pick([0, 1, 5, 25]))
def test_agh_keeps_every_constraint_and_its_bound_is_below_the_optimum(
    instance: Instance, iterations: int
) -> None:
    result = solve(instance, MaxIterations(iterations), seed=3)
    optimum = solve(instance, MaxIterations(10**6), method="milp")
    assert result.is_feasible == optimum.is_feasible
    if result.plan is None or optimum.objective_usd is None or result.objective_usd is None:
        return
    assert evaluate(instance, result.plan).is_feasible
    rounding = 2e-6 * max(1.0, optimum.objective_usd)
    assert result.objective_usd >= optimum.objective_usd - rounding
    assert result.lower_bound_usd is None or result.lower_bound_usd <= optimum.objective_usd + rounding
    if result.status == "optimal":
        assert result.objective_usd <= optimum.objective_usd + rounding


CHANGES: dict[str, Callable[[Instance], Instance]] = {
    "no change": lambda instance: instance,
    "other rates": lambda instance: replace(
        instance,
        query_types=tuple(
            replace(item, arrival_rate_per_s=item.arrival_rate_per_s * factor)
            for item, factor in zip(instance.query_types, (1.3, 0.0, 0.7, 2.0), strict=False)
        ),
    ),
    "a type less": lambda instance: replace(
        instance,
        query_types=instance.query_types[1:],
        models=tuple(
            replace(
                model,
                base_error={k: v for k, v in model.base_error.items() if k != instance.query_types[0].name},
            )
            for model in instance.models
        ),
    ),
    "no budget": lambda instance: replace(instance, budget_usd=None, storage_gb=None),
    "another horizon": lambda instance: replace(instance, horizon_h=1.0),
    "another kind of delay objective": lambda instance: replace(instance, delay_slo="average"),
}


@pytest.mark.parametrize("change", list(CHANGES))
@FEWER
@given(instance=fleets())
def test_what_is_remembered_fits_whatever_comes_next(change: str, instance: Instance) -> None:
    first = solve(instance, MaxIterations(4))
    if first.plan is None or first.memory is None:
        return
    memory = SolverMemory.of_json(first.memory.to_json())
    assert memory == first.memory
    runs = incumbent_of(first.plan) if change == "no change" else {}
    then = replace(CHANGES[change](instance), incumbent=runs)
    again = solve(then, MaxIterations(4), initial=first.plan.within(then), memory=memory)
    if again.plan is None:
        return
    assert evaluate(then, again.plan).is_feasible
    if change == "no change":
        assert again.plan == first.plan
        found = solve(then, MaxIterations(4), seed=1).objective_usd
        assert found is not None
        assert again.lower_bound_usd is not None
        assert again.lower_bound_usd <= found + 1e-9 * abs(found)
