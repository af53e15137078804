"""New sets of open deployments from known ones: exchange, open or close a deployment.

AGH's moves, on the level of sets: exchanging a deployment relocates all that it serves, closing one consolidates, and
opening another configuration of a pair upgrades it (M3).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from controller.domain.arrays import Floats, Ints
from controller.optimizer.guided.open_set import OpenSets

_EXCHANGE, _OPEN, _CLOSE = range(3)
_KINDS = (0.55, 0.3, 0.15)
_RANK_SCALE = 1 / 3


@dataclass(frozen=True, slots=True, eq=False)
class PricedSets:
    """N sets of up to K members, and prices to estimate them from, under L limits.

    Attributes
    ----------
    rows : (N, K) positions in the candidates, each row in order, one of each (model, tier) pair, then no member.
    capacity_usd : (N, K) prices of capacity. ``limit_usd``: (N, L) prices of the limits.
    """

    rows: Ints
    capacity_usd: Floats
    limit_usd: Floats

    def __len__(self) -> int:
        return len(self.rows)

    def at(self, index: Ints) -> PricedSets:
        """Return some of the sets."""
        return PricedSets(self.rows[index], self.capacity_usd[index], self.limit_usd[index])


class Breeder:
    """Makes sets of the candidates of ``sets``; ``likelihood`` (n,) says how likely each of them is to be drawn."""

    def __init__(self, sets: OpenSets, likelihood: Floats) -> None:
        self._sets, self._none = sets, sets.num_candidates
        self._likelihood = likelihood / likelihood.sum()

    def first(self, rows: Ints) -> PricedSets:
        """Return the sets ``rows`` (N, K), in any order, with the prices of the relaxation."""
        sets = self._sets
        shape = (len(rows), len(sets.limit))
        return self._tidy(rows, sets.first_capacity_usd[rows], np.broadcast_to(sets.first_limit_usd, shape))

    def children(self, parents: PricedSets, count: int, random: np.random.Generator) -> PricedSets:
        """Return ``count`` sets made from ``parents``, the better ones of which come first and have more of them."""
        rank = random.exponential(_RANK_SCALE * len(parents), count).astype(np.int64)
        chosen = parents.at(np.minimum(rank, len(parents) - 1))
        size = (chosen.rows < self._none).sum(axis=1)
        place = (random.random(count) * size).astype(np.int64)
        kind = random.choice(len(_KINDS), count, p=_KINDS)
        drawn = random.choice(self._none, count, p=self._likelihood)
        newcomer = np.where(kind == _CLOSE, self._none, drawn)
        return self.changed(chosen, np.where(kind == _OPEN, -1, place), newcomer)

    def changed(self, parents: PricedSets, place: Ints, newcomer: Ints) -> PricedSets:
        """Return each set without the member at ``place`` (N,), -1 for none, and with ``newcomer`` (N,)."""
        rows = parents.rows.copy()
        at = np.flatnonzero(place >= 0)
        rows[at, place[at]] = self._none
        prices = np.append(parents.capacity_usd, self._sets.first_capacity_usd[newcomer][:, None], axis=1)
        return self._tidy(np.append(rows, newcomer[:, None], axis=1), prices, parents.limit_usd)

    def _one_of_each_pair(self, rows: Ints) -> Ints:
        """Return sets (N, K) in which of two members of one pair the later one stays."""
        pair = self._sets.pair[rows]
        later = np.triu(np.ones((rows.shape[1],) * 2, dtype=bool), 1)
        again = ((pair[:, :, None] == pair[:, None, :]) & later).any(axis=2)
        return np.where(again, self._none, rows)

    def _tidy(self, rows: Ints, prices: Floats, limit_usd: Floats) -> PricedSets:
        """Return the sets with one member of each pair, in order, and nothing in the places that are left."""
        rows = self._one_of_each_pair(rows)
        order = np.argsort(rows, axis=1, kind="stable")
        rows = np.take_along_axis(rows, order, axis=1)
        prices = np.where(rows < self._none, np.take_along_axis(prices, order, axis=1), 0.0)
        is_set = rows[:, 0] < self._none if rows.size else np.zeros(len(rows), dtype=bool)
        return PricedSets(rows[is_set], prices[is_set], limit_usd[is_set])
