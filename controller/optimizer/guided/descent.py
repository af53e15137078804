"""Descents over whole fleets: from the cheapest fleet that was not looked at yet to what an exchange makes of it."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from itertools import count

import numpy as np

from controller.domain.arrays import Floats, Ints
from controller.optimizer.guided.exchange import Exchange, Neighbours, Priced
from controller.optimizer.guided.fleet import Fleet
from controller.optimizer.guided.open_set import OpenSets
from controller.optimizer.guided.routing_program import RoutingProgram
from controller.optimizer.pricing import Prices
from controller.optimizer.space import SearchSpace
from controller.optimizer.state import AllocationState

_BATCH = 8
_MOST_PRICED, _LEAST_PRICED = 96, 8
_WORSE = 0.01
_GAIN = 1e-7
_MOST_FLEETS = 2000


class Descent:
    """Fleets whose neighbours were not looked at yet, and what they cost.

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
        self._order = count()

    def __len__(self) -> int:
        return len(self._fleets)

    @property
    def cheapest_usd(self) -> float:
        """What the fleet costs that is next; inf where there is none."""
        return self._fleets[0][0] if self._fleets else np.inf

    def meet(self, fleet: Fleet, usd: float) -> None:
        """Take up a fleet and what it costs."""
        key = fleet.key
        if len(fleet.at) and key not in self._met and usd < np.inf:
            self._met.add(key)
            heapq.heappush(self._fleets, (usd, next(self._order), fleet))

    def step(self, best_usd: float, should_stop: Callable[[], bool]) -> AllocationState | None:
        """Look at the neighbours of the cheapest fleet; return the cheapest that costs less than ``best_usd``, if any does."""
        if not self._fleets:
            return None
        fleet = heapq.heappop(self._fleets)[2]
        if len(self._fleets) > _MOST_FLEETS:
            self._fleets = heapq.nsmallest(_MOST_FLEETS // 2, self._fleets)
        if not np.isin(fleet.at, self._candidates).all():
            self._candidates = np.union1d(self._candidates, fleet.at)
            self._exchange = self._over(self._candidates)
        priced = self._priced(fleet)
        if priced is None:
            return None
        found = self._exchange.below(priced, best_usd * (1.0 + _WORSE))
        most = max(min(int(np.searchsorted(found.usd, best_usd)), _MOST_PRICED), _LEAST_PRICED)
        found = found.at(np.arange(min(most, len(found.usd))))
        for first in range(0, len(found.usd), _BATCH):
            better = self._price(priced, found.at(np.arange(first, min(first + _BATCH, len(found.usd)))), best_usd)
            if better is not None or should_stop():
                return better
        return None

    def _over(self, candidates: Ints) -> Exchange:
        return Exchange(OpenSets(self._space, candidates, self._prices))

    def _priced(self, fleet: Fleet) -> Priced | None:
        program = RoutingProgram(self._space, fleet.at)
        if program.run(fleet.replicas, fleet.replicas) == np.inf:
            return None
        shares = program.shares(program.values)
        return Priced(np.searchsorted(self._candidates, fleet.at), fleet.replicas, shares, *program.prices())

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
            self.meet(Fleet(self._candidates[at[rented]], row[rented]), usd)
            if usd < limit_usd:
                limit_usd, best = usd, program.state(program.values)
        return best
