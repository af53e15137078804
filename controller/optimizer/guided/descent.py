"""Descents over whole fleets, by exchanges of replicas."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from itertools import count

import numpy as np

from controller.domain.arrays import Ints
from controller.optimizer.guided.exchange import Exchange, Neighbours, Priced
from controller.optimizer.guided.fleet import Fleet
from controller.optimizer.guided.open_set import OpenSets
from controller.optimizer.guided.routing_program import RoutingProgram
from controller.optimizer.guided.set_program import cheapest_of_set
from controller.optimizer.pricing import Prices
from controller.optimizer.space import SearchSpace
from controller.optimizer.state import AllocationState

_BATCH = 8
_MOST_PRICED, _LEAST_PRICED = 96, 8
_WORSE = 0.01
_GAIN = 1e-7
_MOST_FLEETS = 2000
_PROGRAMS_PER_SET = 20


class Descent:
    """Exchanges that make fleets cheaper, and fleets whose neighbours were not looked at yet.

    Parameters
    ----------
    prices : the relaxation's.
    candidates : (n,) deployments that may be opened, by position in the search space, in order.
    """

    def __init__(self, space: SearchSpace, prices: Prices, candidates: Ints) -> None:
        self._space, self._prices = space, prices
        self._candidates = candidates
        self._exchange = self._over(candidates)
        self._fleets: list[tuple[float, int, Fleet]] = []
        self._met: set[bytes] = set()
        self._seen: set[bytes] = set()
        self._order = count()

    def has_seen(self, fleet: Fleet) -> bool:
        """Whether the neighbours of a fleet were looked at; one of no deployments has none to exchange."""
        return not len(fleet.at) or fleet.key in self._seen

    def down(self, fleet: Fleet, should_stop: Callable[[], bool]) -> AllocationState | None:
        """Exchange from ``fleet`` on, as long as that is cheaper; return the last plan, None if there is none."""
        found: AllocationState | None = None
        while len(fleet.at) and not should_stop():
            priced = self._priced(fleet)
            if priced is None:
                break
            better = self._better(fleet, priced, priced.usd, should_stop)
            if better is None:
                break
            # Other whole numbers of the same deployments may be better still.
            usd = better.cost_usd()
            found = cheapest_of_set(self._space, better.open, usd, _PROGRAMS_PER_SET) or better
            fleet = Fleet.of(found.replicas)
        return found

    def step(self, best_usd: float, should_stop: Callable[[], bool]) -> AllocationState | None:
        """Look at the neighbours of the cheapest fleet that is left; return one below ``best_usd``, if there is one."""
        while self._fleets:
            fleet = heapq.heappop(self._fleets)[2]
            if not self.has_seen(fleet):
                priced = self._priced(fleet)
                return None if priced is None else self._better(fleet, priced, best_usd, should_stop)
        return None

    def _better(
        self, fleet: Fleet, priced: Priced, below_usd: float, should_stop: Callable[[], bool]
    ) -> AllocationState | None:
        """Return a neighbour below ``below_usd``: the cheapest of the first few among which there is one."""
        self._seen.add(fleet.key)
        looked_at = 0
        for found in self._exchange.below(priced, below_usd * (1.0 + _WORSE), _BATCH):
            if looked_at >= (_MOST_PRICED if found.usd[0] < below_usd else _LEAST_PRICED):
                break
            better = self._price(priced, found, below_usd)
            looked_at += len(found.usd)
            if better is not None or should_stop():
                return better
        return None

    def _over(self, candidates: Ints) -> Exchange:
        return Exchange(OpenSets(self._space, candidates, self._prices))

    def _priced(self, fleet: Fleet) -> Priced | None:
        """Return a fleet with what its routing program says; None where that has no solution."""
        if not np.isin(fleet.at, self._candidates).all():
            self._candidates = np.union1d(self._candidates, fleet.at)
            self._exchange = self._over(self._candidates)
        program = RoutingProgram(self._space, fleet.at)
        usd = program.run(fleet.replicas, fleet.replicas)
        if usd == np.inf:
            return None
        members = np.searchsorted(self._candidates, fleet.at)
        return Priced(members, fleet.replicas, usd, program.shares(program.values), *program.prices())

    def _meet(self, fleet: Fleet, usd: float) -> None:
        """Take up a fleet and what it costs."""
        key = fleet.key
        if len(fleet.at) and key not in self._met and usd < np.inf:
            self._met.add(key)
            heapq.heappush(self._fleets, (usd, next(self._order), fleet))
            if len(self._fleets) > _MOST_FLEETS:
                self._fleets = heapq.nsmallest(_MOST_FLEETS // 2, self._fleets)

    def _price(self, fleet: Priced, found: Neighbours, best_usd: float) -> AllocationState | None:
        """Find out what some neighbours really cost, and take them up; return the cheapest one below ``best_usd``."""
        none = len(self._candidates)
        newcomers = found.newcomer[found.newcomer < none]
        at = np.union1d(fleet.members, newcomers)
        program = RoutingProgram(self._space, self._candidates[at])
        replicas = np.zeros((len(found.usd), len(at) + 1))
        replicas[:, np.searchsorted(at, fleet.members)] = found.left
        place = np.append(at, none).searchsorted(found.newcomer)
        replicas[np.arange(len(place)), place] += found.added
        limit_usd, best = best_usd * (1.0 - _GAIN), None
        for row in replicas[:, :-1]:
            usd = program.run(row, row)
            rented = np.flatnonzero(row)
            self._meet(Fleet(self._candidates[at[rented]], row[rented]), usd)
            if usd < limit_usd:
                limit_usd, best = usd, program.state(program.values)
        return best
