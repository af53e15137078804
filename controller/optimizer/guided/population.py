"""Sets of open deployments, bred: what is good about some sets is tried in others, and the best ones are kept.

Optimal sets are small, and many that differ in every member cost nearly the same: a descent ends in whichever is near
its start. Here hundreds of sets are estimated at a time (:mod:`~controller.optimizer.guided.estimate`), new ones are
made from the best (:mod:`~controller.optimizer.guided.breeding`), and what the most promising ones really cost takes
the place of their estimates.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from controller.domain.arrays import Bools, Floats, Ints
from controller.optimizer.guided.blend import BARRED
from controller.optimizer.guided.breeding import Breeder, PricedSets
from controller.optimizer.guided.estimate import Estimates, estimate, estimate_whole
from controller.optimizer.guided.open_set import OpenSets

_CHILDREN, _PARENTS = 256, 30
_ROUNDED, _STEPS = 64, 3
_MOST_SETS = 50_000

Members = tuple[int, ...]
"""The deployments of a set, in order, by position in the search space."""


class Population:
    """The sets met so far, and what each one costs at least.

    Parameters
    ----------
    likelihood : (n,) how likely each candidate of ``sets`` is to be of use.

    Attributes
    ----------
    usd : (N,) the best estimate of each set; where it is settled, what it costs, or a number that this is not below.
    """

    def __init__(self, sets: OpenSets, likelihood: Floats) -> None:
        self._sets, self._none = sets, sets.num_candidates
        self._breeder = Breeder(sets, likelihood)
        self._met = PricedSets(
            np.zeros((0, 1), dtype=np.int64), np.zeros((0, 1)), np.zeros((0, len(sets.limit)))
        )
        self._load: Floats = np.zeros((0, 1))
        self.usd: Floats = np.zeros(0)
        nothing = np.zeros(0, dtype=bool)
        self._is_whole: Bools = nothing
        self._is_settled: Bools = nothing
        self._at: dict[bytes, int] = {}

    def __len__(self) -> int:
        return len(self.usd)

    def begin(self, starts: Iterable[Ints], below_usd: float) -> None:
        """Take up the sets ``starts`` (positions in the candidates): the first parents."""
        for start in starts:
            self._meet(self._breeder.first(start[None]))
        self._estimate(below_usd)

    def breed(self, random: np.random.Generator, below_usd: float) -> None:
        """Make a generation of new sets, and estimate those.

        Sets that cost no less than ``below_usd`` are of no interest, but as parents.
        """
        if len(self) > _MOST_SETS:
            self._forget(np.argsort(self.usd, kind="stable")[_MOST_SETS // 2 :])
        # Not those that an estimate with whole replicas may yet make dearer.
        parents = self._best_of(self._is_whole | (self.usd >= below_usd), _PARENTS)
        if len(parents):
            self._meet(self._breeder.children(self._met.at(parents), _CHILDREN, random))
        self._estimate(below_usd)

    def unsettled(self, count: int, below_usd: float) -> list[Members]:
        """Return the most promising sets of which it is not known what they really cost."""
        promising = self._is_whole & ~self._is_settled & (self.usd < below_usd)
        return [self._members(n) for n in self._best_of(promising, count).tolist()]

    def settle(self, members: Members, usd: float) -> None:
        """Note what a set of candidates really costs, or a number that it is not below."""
        row = np.searchsorted(self._sets.candidates, np.array(members, dtype=np.int64))
        if row.tobytes() not in self._at:
            self._meet(self._breeder.first(row[None]))
        at = self._at[row.tobytes()]
        self.usd[at] = max(self.usd[at], usd)
        self._is_whole[at] = self._is_settled[at] = True

    def _members(self, n: int) -> Members:
        row = self._met.rows[n]
        return tuple(self._sets.candidates[row[row < self._none]].tolist())

    def _best_of(self, which: Bools, count: int) -> Ints:
        at = np.flatnonzero(which)
        return at[np.argsort(self.usd[at], kind="stable")][:count]

    def _meet(self, sets: PricedSets) -> None:
        """Take up the sets that are new, without an estimate."""
        sizes = (sets.rows < self._none).sum(axis=1)
        new: list[int] = []
        width = sets.rows.shape[1] * sets.rows.itemsize
        keys = sets.rows.tobytes()
        for n, size in enumerate(sizes.tolist()):
            key = keys[n * width : n * width + size * sets.rows.itemsize]
            if key not in self._at:
                self._at[key] = len(self.usd) + len(new)
                new.append(n)
        if not new:
            return
        met, width = self._met, max(int(sizes[new].max()), self._met.rows.shape[1])
        self._met = PricedSets(
            np.concatenate([_wide(met.rows, width, self._none), _wide(sets.rows[new], width, self._none)]),
            np.concatenate([_wide(met.capacity_usd, width, 0.0), _wide(sets.capacity_usd[new], width, 0.0)]),
            np.concatenate([met.limit_usd, sets.limit_usd[new]]),
        )
        self._load = np.concatenate([_wide(self._load, width, 0.0), np.zeros((len(new), width))])
        no = np.zeros(len(new), dtype=bool)
        self.usd = np.append(self.usd, np.full(len(new), -np.inf))
        self._is_whole, self._is_settled = (
            np.append(flags, no) for flags in (self._is_whole, self._is_settled)
        )

    def _forget(self, which: Ints) -> None:
        """Leave out some of the sets: a long search meets more than it has a use for."""
        kept = np.delete(np.arange(len(self)), which)
        self._met, self._load = self._met.at(kept), self._load[kept]
        self.usd = self.usd[kept]
        self._is_whole, self._is_settled = self._is_whole[kept], self._is_settled[kept]
        self._at = {row[row < self._none].tobytes(): n for n, row in enumerate(self._met.rows)}

    def _estimate(self, below_usd: float) -> None:
        """Estimate the new sets, and with whole replicas the cheapest ones of all that have no such estimate."""
        self._relax(np.flatnonzero(self.usd == -np.inf))
        best = self._best_of(~self._is_whole & (self.usd < min(below_usd, BARRED / 2)), _ROUNDED)
        self._round(best, below_usd)

    def _relax(self, at: Ints) -> None:
        """Estimate new sets with fractions of replicas, from the prices that they have."""
        if not len(at):
            return
        met, width = self._met, self._width(at)
        rows, prices = met.rows[at, :width], met.capacity_usd[at, :width]
        found = estimate(self._sets, rows, _STEPS, prices, met.limit_usd[at])
        met.capacity_usd[at, :width], met.limit_usd[at] = found.capacity_usd, found.limit_usd
        self._load[at, :width] = found.load
        self.usd[at] = found.usd

    def _round(self, at: Ints, below_usd: float) -> None:
        """Estimate sets with whole replicas."""
        if not len(at):
            return
        met, width = self._met, self._width(at)
        relaxed = Estimates(
            self.usd[at], met.capacity_usd[at, :width], met.limit_usd[at], self._load[at, :width]
        )
        usd = estimate_whole(self._sets, met.rows[at, :width], relaxed, _STEPS, below_usd)
        self.usd[at] = np.maximum(self.usd[at], usd)
        self._is_whole[at] = True

    def _width(self, at: Ints) -> int:
        """Return how many members the largest of some sets has."""
        return int((self._met.rows[at] < self._none).sum(axis=1).max())


def _wide(rows: np.ndarray, width: int, fill: float) -> np.ndarray:
    """Return ``rows`` (n, K) with ``width`` columns; nothing is in those cut off."""
    if rows.shape[1] >= width:
        return rows[:, :width]
    return np.pad(rows, ((0, 0), (0, width - rows.shape[1])), constant_values=fill)
