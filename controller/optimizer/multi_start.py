"""AGH: GH from several orders, each improved by the local search; the best is kept (arXiv 2604.07472)."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from controller.errors import SolverCrashError
from controller.optimizer.construct.greedy import Greedy, under_pressure
from controller.optimizer.construct.orders import fixed_orders, shuffled_order
from controller.optimizer.local_search import LocalSearch
from controller.optimizer.routing_program import RoutingProgram
from controller.optimizer.search import Search
from controller.optimizer.space import SearchSpace
from controller.optimizer.state import AllocationState

_IDLE_WEIGHTS = (0.0, 0.5, 1.0)
_PRESSURES = (0.0, 2.0, 0.0, 8.0)


def multi_start(search: Search) -> None:
    """Improve ``search.best`` until told to stop. An iteration is one start and its descent."""
    space = search.space
    if not space.num_deployments:
        return
    greedy = Greedy.of(space)
    local_search = LocalSearch(greedy, search.params.least_saving)
    for state in starts(search, greedy):
        if search.done():
            return
        pressure = _PRESSURES[search.iterations % len(_PRESSURES)]
        if pressure and search.best is not None and search.best.unmet[~space.idle_types].any():
            state = _improved_under_pressure(search, state, pressure)
        search.offer(state)
        local_search.improve(state, search.out_of_time)
        search.offer(state)
        search.offer(rerouted(space, state))
        search.iterations += 1


def starts(search: Search, greedy: Greedy) -> Iterator[AllocationState]:
    """Yield the initial plans, those of the fixed orders, then for ever seeded ones.

    Starts differ in what of a new replica's idle part is charged to the type that opens it, and do without the
    first phase. Seeded ones rebuild part of the best plan, or start from nothing in a random order.
    """
    instance, random = search.space.instance, search.random
    orders = list(fixed_orders(instance))
    for state in search.initial:
        yield state.copy()
    for n, order in enumerate(orders):
        yield greedy.build(order, _IDLE_WEIGHTS[n % len(_IDLE_WEIGHTS)], cover_first=False)
    while True:
        order = shuffled_order(instance, random)
        weight = float(random.choice(_IDLE_WEIGHTS))
        if search.best is None or not len(search.best.open) or random.random() >= search.params.ruin_share:
            yield greedy.build(order, weight, cover_first=False)
            continue
        state = search.best.copy()
        ruin(state, random)
        greedy.fill(state, order, weight)
        yield state


def _improved_under_pressure(search: Search, state: AllocationState, pressure: float) -> AllocationState:
    """Improve a start where budgeted dollars are dearer, so that spend is spared for what is unmet."""
    dear = under_pressure(search.space, pressure)
    twin = AllocationState.of_shares(dear, state.shares)
    LocalSearch(Greedy.of(dear), search.params.least_saving).improve(twin, search.out_of_time)
    return AllocationState.of_shares(search.space, twin.shares)


def ruin(state: AllocationState, random: np.random.Generator) -> None:
    """Take all traffic away from one, two or three random deployments, and what cannot stay without it."""
    count = int(random.integers(1, min(3, len(state.open)) + 1))
    for d in random.choice(state.open, size=count, replace=False):
        for i in np.flatnonzero(state.shares[:, d]):
            state.withdraw(int(i), int(d))


def rerouted(space: SearchSpace, state: AllocationState) -> AllocationState:
    """Return the cheapest routing over the replicas of ``state``, without those that it leaves idle."""
    at = state.open
    if not len(at):
        return state
    program, replicas = RoutingProgram(space, at), state.replicas[at]
    try:
        if math.isfinite(program.linear.solve(replicas, replicas)):
            return program.state(program.linear.solution()[0])
    except SolverCrashError:
        pass  # the routing that there is will do
    return state
