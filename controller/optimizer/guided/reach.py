"""Which MILPs are likely to end in the time there is, by how the ones so far went."""

from __future__ import annotations

import math

from controller.domain.arrays import Ints
from controller.optimizer.space import SearchSpace

_LEAST_SIZE, _MOST_SIZE = 7, 60
_GROWTH = 2.5
_MISSES = 2
_AIM = 0.6
_SLICE = 0.4
_LEAST_SLICE_S, _MOST_SLICE_S = 0.06, 1.0
_WHOLE_SHARE, _ROUTES_PER_S, _MOST_ROUTES = 0.6, 3500.0, 1500.0


class Reach:
    """Sizes of MILPs: over some deployments, and over all that matter.

    Parameters
    ----------
    total_s : the time for all of the search; inf where time is no limit.
    size : how many deployments the first MILP over some may have.

    Attributes
    ----------
    size : how many the next one may have.
    slice_s : how long one may take.
    """

    def __init__(self, total_s: float, size: int) -> None:
        self._limited = math.isfinite(total_s)
        self.size = size
        self.slice_s, self._most_size = math.inf, _MOST_SIZE
        if self._limited:
            self._most_size = round(_MOST_SIZE * math.sqrt(max(total_s, 1.0)))
            self.slice_s = min(max(_SLICE * total_s, _LEAST_SLICE_S), _MOST_SLICE_S)
        self._routes_per_s, self._most_routes = _ROUTES_PER_S, _MOST_ROUTES
        self._misses = 0

    def whole_slice_s(self, left_s: float) -> float:
        """Return how long a MILP over all that matters may take, of what is left."""
        return _WHOLE_SHARE * left_s

    def has_all(self, space: SearchSpace, live: Ints, left_s: float) -> bool:
        """Whether a MILP over all of ``live`` is likely to end.

        Few deployments always are in reach; for more of them a good plan comes first, one that MILPs over some did not
        improve, because what cannot be cheaper than that need not be decided.
        """
        if len(live) <= self.size:
            return True
        if self._misses < _MISSES:
            return False
        most = self._routes_per_s * self.whole_slice_s(left_s) if self._limited else self._most_routes
        return _num_routes(space, live) <= most

    def learn_of_some(self, took_s: float, *, solved: bool, improved: bool) -> None:
        """Let the next MILP over some be larger where this one was solved early, smaller where it was not solved.

        Hard ones are small enough soon, and easy ones, which take little time, large enough.
        """
        self._misses = 0 if improved else self._misses + 1
        if self._limited:
            aim = _AIM * self.slice_s / max(took_s, 1e-3) if solved else 0.0
        else:
            aim = math.inf if solved else 0.0
        change = min(max(aim, 1.0 / _GROWTH), _GROWTH)
        self.size = min(max(round(self.size * change), _LEAST_SIZE), self._most_size)

    def learn_of_all(self, space: SearchSpace, live: Ints, took_s: float) -> None:
        """Try that again only with twice the time, or where half as much is left to decide."""
        routes = _num_routes(space, live)
        self._routes_per_s, self._most_routes = 0.5 * routes / max(took_s, 1e-3), 0.5 * routes


def _num_routes(space: SearchSpace, at: Ints) -> int:
    return int(space.allowed[:, at].sum())
