"""Descent over open sets: open, close or swap a deployment as long as the estimate of the set falls."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from controller.domain.arrays import Floats, Ints
from controller.optimizer.guided.open_set import BARRED, Estimates, OpenSets
from controller.optimizer.guided.screen import screen

_LOOKED_AT = 32
_ROUNDED = 8
_WHOLE_FOLLOWED, _FRACTION_FOLLOWED = 1, 1
_PATIENCE = 2
_FIRST_STEPS, _STEPS = 8, 5
_LEAST_GAIN = 1e-5

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


def descend(sets: OpenSets, starts: Sequence[Ints], pool: Pool, should_stop: Callable[[], bool]) -> None:
    """Improve the sets ``starts`` (positions in ``sets``) until no neighbour is estimated to be cheaper.

    A few sets are followed at once: of all that a round has met, the cheapest ones with whole replicas and, because
    what makes a set dear may be no more than a replica that another member would save, the cheapest ones with
    fractions. All neighbours are screened with the prices that their set has; the most promising ones get prices of
    their own, and, where that is cheap enough, whole replicas. All goes to the pool.
    """
    rows = _stacked([np.asarray(start, dtype=np.int64)[None] for start in starts], sets.num_candidates)
    met = set(_keys(rows, sets.num_candidates))
    relaxed = sets.evaluate(rows, _FIRST_STEPS)
    least_usd, followed = _rounded(sets, rows, relaxed, np.arange(len(rows)), _FIRST_STEPS, pool)
    idle = 0
    while idle <= _PATIENCE and followed and not should_stop():
        rows, capacity_usd, limit_usd = _neighbours(sets, followed, met)
        if not len(rows):
            break
        relaxed = sets.evaluate(rows, _STEPS, capacity_usd, limit_usd)
        order = np.argsort(relaxed.usd, kind="stable")[:_ROUNDED]
        cheap = order[relaxed.usd[order] < least_usd]
        found_usd, followed = _rounded(sets, rows, relaxed, cheap, _STEPS, pool)
        idle = 0 if found_usd < least_usd - _LEAST_GAIN * abs(least_usd) else idle + 1
        least_usd = min(found_usd, least_usd)


@dataclass(frozen=True, slots=True, eq=False)
class _Followed:
    """A set of K members, its prices, and the replicas that its routes fill (at least one each)."""

    members: Ints
    capacity_usd: Floats
    limit_usd: Floats
    replicas: Floats

    @classmethod
    def of(cls, sets: OpenSets, row: Ints, estimates: Estimates, n: int) -> _Followed:
        """Take a row of sets with its estimate."""
        real = row < sets.num_candidates
        load = np.maximum(estimates.load[n][real], 1.0)
        return cls(row[real], estimates.capacity_usd[n][real], estimates.limit_usd[n], load)


def _rounded(
    sets: OpenSets, rows: Ints, relaxed: Estimates, at: Ints, steps: int, pool: Pool
) -> tuple[float, list[_Followed]]:
    """Give the sets ``at`` whole replicas, and all to the pool; return the least estimate, and whom to follow."""
    usd = relaxed.usd.copy()
    if not len(at):
        record(sets, rows, usd, pool)
        return np.inf, []
    whole, _ = sets.whole(rows[at], relaxed.at(at), steps)
    usd[at] = np.maximum(usd[at], whole.usd)
    record(sets, rows, usd, pool)
    at = at[relaxed.usd[at] < BARRED / 2]
    by_whole = at[np.argsort(usd[at], kind="stable")][:_WHOLE_FOLLOWED]
    by_fraction = np.setdiff1d(at, by_whole)
    by_fraction = by_fraction[np.argsort(relaxed.usd[by_fraction], kind="stable")][:_FRACTION_FOLLOWED]
    followed = [_Followed.of(sets, rows[n], relaxed, n) for n in [*by_whole, *by_fraction]]
    return float(whole.usd.min()), followed


def record(sets: OpenSets, rows: Ints, usd: Floats, pool: Pool) -> None:
    """Put estimated sets into the pool."""
    for row, value in zip(rows.tolist(), usd.tolist(), strict=True):
        if value < BARRED / 2:
            at = sorted(n for n in row if n < sets.num_candidates)
            pool.record(tuple(sets.candidates[at].tolist()), value)


def _neighbours(sets: OpenSets, followed: list[_Followed], met: set[bytes]) -> tuple[Ints, Floats, Floats]:
    """Return the sets (N, K) around those followed that are worth a look, and prices of capacity and limits for them.

    Those in ``met`` are left out, and the others put into it.
    """
    none = sets.num_candidates
    rows: list[Ints] = []
    prices: list[Floats] = []
    for of in followed:
        size = len(of.members)
        usd, price = screen(sets, of.members, of.replicas, of.capacity_usd, of.limit_usd)
        flat = usd.ravel()
        count = min(_LOOKED_AT // len(followed), flat.size)
        chosen = np.argpartition(flat, count - 1)[:count]
        chosen = chosen[flat[chosen] < BARRED / 2]
        place, candidate = np.divmod(chosen, none)
        closed = size if size > 1 else 0
        near = np.full((len(chosen) + closed, size + 1), none)
        near_usd = np.zeros(near.shape)
        near[:, :size], near_usd[:, :size] = of.members, of.capacity_usd
        n = np.arange(len(chosen))
        near[n, place], near_usd[n, place] = candidate, price[candidate]
        n = np.arange(closed)
        near[len(chosen) + n, n], near_usd[len(chosen) + n, n] = none, 0.0
        rows.append(near)
        prices.append(near_usd)
    sizes = [len(near) for near in rows]
    all_rows, all_prices = _stacked(rows, none), _stacked(prices, 0.0)
    limit_usd = np.repeat([of.limit_usd for of in followed], sizes, axis=0)
    new = []
    for row, key in enumerate(_keys(all_rows, none)):
        if key not in met:
            met.add(key)
            new.append(row)
    return all_rows[new], all_prices[new], limit_usd[new]


def _keys(rows: Ints, none: int) -> list[bytes]:
    """Return what tells sets (N, K) apart, whatever the order of their members and the room beside them."""
    ordered = np.sort(rows, axis=1)
    return [row[row < none].tobytes() for row in ordered]


def _stacked(parts: Sequence[np.ndarray], fill: float) -> np.ndarray:
    """Return arrays (n, K) of different K one below the other."""
    stacked = np.full(
        (sum(len(part) for part in parts), max(part.shape[1] for part in parts)), fill, parts[0].dtype
    )
    first = 0
    for part in parts:
        stacked[first : first + len(part), : part.shape[1]] = part
        first += len(part)
    return stacked
