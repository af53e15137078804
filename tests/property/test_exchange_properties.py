"""Random small fleets: what is said of a fleet's neighbours is so, and exchanges only ever save."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from hypothesis import assume, given
from hypothesis import strategies as st

from controller.domain.arrays import Floats
from controller.domain.instance import Instance
from controller.optimizer.guided.descent import Descent
from controller.optimizer.guided.exchange import Exchange, Neighbours, Priced
from controller.optimizer.guided.fleet import Fleet
from controller.optimizer.guided.open_set import OpenSets
from controller.optimizer.guided.routing_program import RoutingProgram
from controller.optimizer.space import SearchSpace
from tests.small_fleets import FEW, fleets, pick, priced, some_set, tightened

EVERY = 1e14


def some_fleet(data: st.DataObject, sets: OpenSets) -> Fleet:
    """Return a fleet that limits allow."""
    space = sets.space
    at = some_set(data, space)
    most = np.maximum(space.cap[at], 1.0)
    replicas = np.array([float(data.draw(st.integers(1, int(min(cap, 4.0))))) for cap in most])
    assume(not sets.barred(at[None], replicas[None])[0])
    return Fleet(at, replicas)


def routed(space: SearchSpace, fleet: Fleet) -> Priced:
    """Return a fleet with the prices of its routing program."""
    program = RoutingProgram(space, fleet.at)
    usd = program.run(fleet.replicas, fleet.replicas)
    assume(usd < np.inf)
    return Priced(fleet.at, fleet.replicas, usd, program.shares(program.values), *program.prices())


def cost_of(space: SearchSpace, fleet: Priced, found: Neighbours, n: int) -> float:
    """Return what a neighbour really costs."""
    replicas: Floats = np.zeros(space.num_deployments + 1)
    replicas[fleet.members] = found.left[n]
    replicas[found.newcomer[n]] += found.added[n]
    neighbour = Fleet.of(replicas[:-1])
    return RoutingProgram(space, neighbour.at).run(neighbour.replicas, neighbour.replicas)


@FEW
@given(fleets(), st.data())
def test_no_neighbour_costs_less_than_its_bound(instance: Instance, data: st.DataObject) -> None:
    space = SearchSpace.of(tightened(data, instance))
    assume(space.num_deployments > 1)
    space = replace(
        space, memory=np.minimum(space.memory, space.compute)
    )  # else columns fill by the greater of both
    sets = OpenSets(space, np.arange(space.num_deployments), priced(data, space))
    fleet = routed(space, some_fleet(data, sets))
    for found in Exchange(sets).below(fleet, EVERY, 6):
        for n, usd in enumerate(found.usd.tolist()):
            assert usd <= cost_of(space, fleet, found, n) * (1 + 1e-6) + 1e-6
        break


@FEW
@given(fleets(), st.data())
def test_neighbours_are_one_exchange_away_and_within_limits(instance: Instance, data: st.DataObject) -> None:
    space = SearchSpace.of(tightened(data, instance))
    assume(space.num_deployments > 1)
    sets = OpenSets(space, np.arange(space.num_deployments), priced(data, space))
    fleet = some_fleet(data, sets)
    spend = float(space.budgeted_usd(fleet.replicas, fleet.at).sum())
    space = replace(space, budget_usd=spend * data.draw(pick([1.0, 1.5, 4.0])))
    sets = OpenSets(space, sets.candidates, priced(data, space))
    fleet = routed(space, fleet)
    seen = set()
    for found in Exchange(sets).below(fleet, EVERY, 1000):
        for left, newcomer, added in zip(
            found.left, found.newcomer.tolist(), found.added.tolist(), strict=True
        ):
            assert (left < fleet.replicas).sum() <= 1  # one member has lost some
            assert (left > fleet.replicas).sum() + (added > 0) <= 1  # one has gained some
            replicas = np.zeros(space.num_deployments + 1)
            replicas[fleet.members] = left
            replicas[newcomer] += added
            after = Fleet.of(replicas[:-1])
            assert len(np.unique(space.pair[after.at])) == len(after.at)
            assert (after.replicas <= np.maximum(space.cap[after.at], 1.0)).all()
            assert not sets.barred(after.at[None], after.replicas[None])[0]
            assert after.key not in seen
            seen.add(after.key)


@FEW
@given(fleets(), st.data(), pick([True, False]))
def test_a_descent_ends_in_a_plan_that_keeps_limits_and_costs_less(
    instance: Instance, data: st.DataObject, is_tight: bool
) -> None:
    space = SearchSpace.of(tightened(data, instance) if is_tight else instance)
    assume(space.num_deployments > 1)
    prices, every = priced(data, space), np.arange(space.num_deployments)
    fleet = some_fleet(data, OpenSets(space, every, prices))
    before = routed(space, fleet)
    descent = Descent(space, prices, every)
    state = descent.down(fleet, lambda: False)
    assert descent.has_seen(fleet)
    if state is None:
        return
    assert state.keeps_limits
    assert state.cost_usd() < before.usd
    if (end := Fleet.of(state.replicas)).at.size and descent.has_seen(end):
        again = descent.down(end, lambda: False)  # the end of a descent is one of its own
        assert again is None
