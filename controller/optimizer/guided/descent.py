"""Descent over open sets: open, close or swap a deployment as long as the estimate of the set falls."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from controller.domain.arrays import Floats, Ints
from controller.optimizer.guided.open_set import BARRED, Estimates, OpenSets
from controller.optimizer.guided.screen import screen

_LOOKED_AT = 24
_ROUNDED = 8
_STEPS = 8
_LEAST_GAIN = 1e-5
_MOST_ROUNDS = 60

Members = tuple[int, ...]


class Pool:
    """Sets met so far, each with its best estimate, by position in the search space.

    Estimates made with other prices of the limits are bounds of the same thing, so that the highest one counts.
    """

    def __init__(self) -> None:
        self.usd: dict[Members, float] = {}
        self.tried: set[Members] = set()

    def record(self, members: Members, usd: float) -> None:
        """Keep an estimate."""
        known = self.usd.get(members)
        if known is None or usd > known:
            self.usd[members] = usd

    def best(self) -> list[Members]:
        """Return all sets, the cheapest first."""
        return sorted(self.usd, key=lambda members: (self.usd[members], members))

    def scores(self, num_deployments: int) -> Floats:
        """Return (D,) the estimate of the best set that has each deployment; inf where none does."""
        scores = np.full(num_deployments, np.inf)
        for members, usd in self.usd.items():
            for d in members:
                scores[d] = min(scores[d], usd)
        return scores


def descend(sets: OpenSets, start: Ints, pool: Pool, should_stop: Callable[[], bool]) -> Ints:
    """Improve the set ``start`` (positions in ``sets``) until no neighbour is estimated to be cheaper.

    All neighbours are screened with the prices that the set has; the most promising ones get prices of their own,
    first with fractions of replicas, then, where that is cheap enough, with whole ones. All goes to the pool.
    """
    members = np.asarray(start, dtype=np.int64)
    relaxed = sets.evaluate(members[None], 2 * _STEPS)
    here, replicas = sets.whole(members[None], relaxed, 2 * _STEPS)
    record(sets, members[None], here.usd, pool)
    for _ in range(_MOST_ROUNDS):
        if should_stop():
            break
        rows, prices = neighbours(sets, members, replicas[0], here)
        if not len(rows):
            break
        relaxed = sets.evaluate(rows, _STEPS, prices, np.repeat(here.limit_usd, len(rows), axis=0))
        usd = relaxed.usd.copy()
        good = np.argsort(usd, kind="stable")[:_ROUNDED]
        good = good[usd[good] < here.usd[0]]
        if not len(good):
            record(sets, rows, usd, pool)
            break
        found, counts = sets.whole(rows[good], relaxed.at(good), _STEPS)
        usd[good] = np.maximum(usd[good], found.usd)
        record(sets, rows, usd, pool)
        best = int(found.usd.argmin())
        if found.usd[best] >= here.usd[0] - _LEAST_GAIN * abs(here.usd[0]):
            break
        keep = rows[good[best]] < sets.num_candidates
        members, replicas = rows[good[best]][keep], counts[[best]][:, keep]
        here = Estimates(
            found.usd[[best]],
            found.capacity_usd[[best]][:, keep],
            found.limit_usd[[best]],
            found.load[[best]][:, keep],
        )
    return members


def record(sets: OpenSets, rows: Ints, usd: Floats, pool: Pool) -> None:
    """Put estimated sets into the pool."""
    for row, value in zip(rows.tolist(), usd.tolist(), strict=True):
        if value < BARRED / 2:
            at = sorted(n for n in row if n < sets.num_candidates)
            pool.record(tuple(sets.candidates[at].tolist()), value)


def neighbours(sets: OpenSets, members: Ints, replicas: Floats, here: Estimates) -> tuple[Ints, Floats]:
    """Return the sets (N, K + 1) that are worth a look, and prices of capacity to start from."""
    size, none = len(members), sets.num_candidates
    capacity_usd = here.capacity_usd[0]
    usd, price = screen(sets, members, replicas, capacity_usd, here.limit_usd[0])
    flat = usd.ravel()
    count = min(_LOOKED_AT, flat.size)
    chosen = np.argpartition(flat, count - 1)[:count]
    chosen = chosen[flat[chosen] < BARRED / 2]
    place, candidate = np.divmod(chosen, none)
    rows = np.full((len(chosen) + size * (size > 1), size + 1), none)
    prices = np.zeros(rows.shape)
    rows[:, :size], prices[:, :size] = members, capacity_usd
    n = np.arange(len(chosen))
    rows[n, place], prices[n, place] = candidate, price[candidate]
    if size > 1:
        closed = len(chosen) + np.arange(size)
        rows[closed, np.arange(size)], prices[closed, np.arange(size)] = none, 0.0
    return rows, prices
