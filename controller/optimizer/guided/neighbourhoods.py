"""Which deployments a restricted MILP looks at beside those of the best plan."""

from __future__ import annotations

import numpy as np

from controller.domain.arrays import Bools, Floats, Ints
from controller.optimizer.guided.takeover import takeover_usd
from controller.optimizer.relaxation import Relaxation
from controller.optimizer.search import Search

_FAR = 1.4
_FIRST_SIZE, _FIRST_SIZE_LIMITED = 18, 10
_LEAST_ROOM = 4
_LEAST_WEIGHT = 1e-9
_SCALE, _DELAY = 3, 5


class Neighbourhoods:
    """Chooses the deployments of one MILP after the other.

    Parameters
    ----------
    candidates : (n,) deployments that could take over what members of a plan serve.
    """

    def __init__(self, search: Search, relaxation: Relaxation, candidates: Ints) -> None:
        self._search, self._relaxation, self._candidates = search, relaxation, candidates
        self._has_been_near = False
        self._is_limited = relaxation.prices.are_of_limits

    def first_size(self) -> int:
        """Return how many deployments to begin with; fewer where a limit has a price: such MILPs are harder."""
        return _FIRST_SIZE_LIMITED if self._is_limited else _FIRST_SIZE

    def live(self) -> Bools:
        """Return (D,) whether a plan cheaper than the best one may open each deployment."""
        return not_eliminated(self._relaxation, self._search.best_usd)

    def next(self, size: int) -> Ints:
        """Return others than the best plan's, as many as make ``size`` with those.

        Where a limit keeps it far above the relaxation, by reduced cost alone those that are likely to be part of a
        plan which serves all. Else first the most promising ones, later such as are drawn by that.
        """
        search, order = self._search, self._order()
        members = np.zeros(0, dtype=np.int64) if search.best is None else search.best.open
        room = max(size - len(members), _LEAST_ROOM)
        order = order[~np.isin(order, members)]
        if self.is_far():
            return order[:room]
        chosen = draw(order, room, search.random) if self._has_been_near else order[:room]
        self._has_been_near = True
        return chosen

    def is_far(self) -> bool:
        """Whether a limit keeps the best plan from serving all: it has a price, and the relaxation is far below."""
        return self._is_limited and self._search.best_usd > _FAR * self._relaxation.value_usd

    def _order(self) -> Ints:
        """Return the deployments that are not eliminated, the most promising ones first."""
        search, relaxation, best = self._search, self._relaxation, self._search.best
        distance = relaxation.distance
        taken_usd = np.full(len(distance), np.inf)
        if best is None or self.is_far():
            return by_promise(self.live(), distance, taken_usd)
        others = np.setdiff1d(self._candidates, best.open)
        taken_usd[others] = takeover_usd(search.space, best, relaxation.prices, others)
        return by_promise(self.live(), distance, taken_usd)


def not_eliminated(relaxation: Relaxation, best_usd: float) -> Bools:
    """Return (D,) False for deployments that no plan cheaper than ``best_usd`` opens.

    Bound and reduced cost say so (docs/mathematics.md, "Elimination").
    """
    if relaxation.bound_usd is None:
        return np.ones(len(relaxation.reduced_usd), dtype=bool)
    result: Bools = relaxation.bound_usd + relaxation.reduced_usd < best_usd
    return result


def by_promise(live: Bools, distance: Floats, taken_usd: Floats) -> Ints:
    """Return the deployments that are not eliminated, the most promising ones first.

    Two rankings are merged: by the relaxation's distance (D,), and by what a takeover costs (D,), inf where that is
    not known. Each is right about some deployments that the other is wrong about, distance about more.
    """
    by_price = _ranks(distance)
    rank = np.minimum(by_price, _SCALE * _ranks(taken_usd) + _DELAY)
    order = np.lexsort((by_price, rank))
    return order[live[order]]


def _ranks(values: Floats) -> Ints:
    """Return (D,) the place of each deployment, the least value first; the last place where it is inf."""
    known = np.flatnonzero(np.isfinite(values))
    ranks = np.full(len(values), len(values))
    ranks[known[np.argsort(values[known], kind="stable")]] = np.arange(len(known))
    return ranks


def draw(order: Ints, size: int, random: np.random.Generator) -> Ints:
    """Draw ``size`` deployments without replacement, likelier the earlier they stand in ``order``."""
    if len(order) <= size:
        return order
    weight = np.maximum(np.exp(-np.arange(len(order)) / size), _LEAST_WEIGHT)
    return random.choice(order, size, replace=False, p=weight / weight.sum())
