"""Which deployments a restricted MILP looks at beside those of the best plan."""

from __future__ import annotations

import numpy as np

from controller.domain.arrays import Bools, Ints
from controller.optimizer.relaxation import Relaxation
from controller.optimizer.search import Search

_FIRST_SIZE, _FIRST_SIZE_LIMITED = 22, 8
_LEAST_ROOM = 8  # with four, a plan of many deployments was seen to stay where it was
_LEAST_WEIGHT = 1e-9


class Neighbourhoods:
    """Chooses the deployments of one MILP after the other."""

    def __init__(self, search: Search, relaxation: Relaxation) -> None:
        self._search, self._relaxation = search, relaxation
        self._nearest: Ints = np.argsort(relaxation.distance, kind="stable")
        self._has_had_nearest = False
        self._is_limited = relaxation.prices.are_of_limits

    def first_size(self) -> int:
        """Return how many deployments to begin with; fewer where a limit has a price: such MILPs are harder."""
        return _FIRST_SIZE_LIMITED if self._is_limited else _FIRST_SIZE

    def live(self) -> Bools:
        """Return (D,) whether a plan cheaper than the best one may open each deployment."""
        return not_eliminated(self._relaxation, self._search.best_usd)

    def next(self, size: int) -> Ints:
        """Return others than the best plan's: as many as make ``size`` with those, and eight at the least.

        The nearest ones, and later such as are drawn by that.
        """
        search, order = self._search, self._order()
        members = np.zeros(0, dtype=np.int64) if search.best is None else search.best.open
        room = max(size - len(members), _LEAST_ROOM)
        order = order[~np.isin(order, members)]
        chosen = draw(order, room, search.random) if self._has_had_nearest else order[:room]
        self._has_had_nearest = True
        return chosen

    def _order(self) -> Ints:
        """Return the deployments that are not eliminated, by their distance, the nearest ones first."""
        return self._nearest[self.live()[self._nearest]]


def not_eliminated(relaxation: Relaxation, best_usd: float) -> Bools:
    """Return (D,) False for deployments that no plan cheaper than ``best_usd`` opens.

    Bound and reduced cost say so (docs/mathematics.md, "Elimination").
    """
    if relaxation.bound_usd is None:
        return np.ones(len(relaxation.reduced_usd), dtype=bool)
    result: Bools = relaxation.bound_usd + relaxation.reduced_usd < best_usd
    return result


def draw(order: Ints, size: int, random: np.random.Generator) -> Ints:
    """Draw ``size`` deployments without replacement, likelier the earlier they stand in ``order``."""
    if len(order) <= size:
        return order
    weight = np.maximum(np.exp(-np.arange(len(order)) / size), _LEAST_WEIGHT)
    return random.choice(order, size, replace=False, p=weight / weight.sum())
