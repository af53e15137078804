"""Bounds of many fleets at once, by prices of capacity that rise where a fleet is overloaded.

A Lagrangian bound of a fleet is the cost of the cheapest routes, each with a price of capacity, less what the capacity
that is there would earn at these prices. It is raised in three ways, those last that cost most, and for fewer fleets:

1. Each member's price in turn is set to the best one, given all others: a type leaves a member once its price is above
   what the next best route of that type saves for each replica that it fills, and the best price is that of the type
   which no longer fits.
2. A few supergradient steps move all of them (Polyak's, towards a cost that would put the fleet out of the question).
   The prices of mean excess stay as they are until here.
3. Steps with the best prices of mean excess for each fleet
   (:meth:`~controller.optimizer.guided.open_set.OpenSets.evaluate`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from controller.domain.arrays import Floats, Ints
from controller.optimizer.guided.open_set import BARRED, OpenSets

_NO_LOAD = 1e-9
_STEPS, _BLEND_STEPS = 4, 4
_EASE = 0.85
_CHUNK, _BLENDED_AT_ONCE, _MOST_BLENDED = 512, 128, 512


@dataclass(frozen=True, slots=True, eq=False)
class Fleets:
    """N fleets of up to K members, and prices to bound them by.

    Attributes
    ----------
    rows, replicas : (N, K) positions in the candidates, and whole numbers.
    capacity_usd, excess_usd : (N, K) per replica, to begin with; (N, I) per unit of mean excess, both >= 0.
    """

    rows: Ints
    replicas: Floats
    capacity_usd: Floats
    excess_usd: Floats

    def at(self, index: Ints | slice) -> Fleets:
        """Return some of them."""
        return Fleets(
            self.rows[index], self.replicas[index], self.capacity_usd[index], self.excess_usd[index]
        )


def cheapest_first(
    sets: OpenSets, fleets: Fleets, usd: Floats, below_usd: float, count: int
) -> Iterator[tuple[Ints, Floats]]:
    """Yield the fleets that may cost less than ``below_usd``, by ``count``, about in the order of their bounds.

    Parameters
    ----------
    usd : (N,) bounds that are known.

    Yields
    ------
    The positions of some fleets, and their bounds.
    """
    usd, price = usd.copy(), fleets.capacity_usd.copy()
    for first in range(0, len(usd), _CHUNK):
        part = slice(first, first + _CHUNK)
        raised_usd, price[part] = _with_fixed_excess(sets, fleets.at(part), below_usd)
        np.maximum(usd[part], raised_usd, out=usd[part])
    left = np.argsort(usd, kind="stable")
    left = left[usd[left] < below_usd][:_MOST_BLENDED]
    for first in range(0, len(left), _BLENDED_AT_ONCE):
        at = left[first : first + _BLENDED_AT_ONCE]
        sets.target_usd = below_usd
        found = sets.evaluate(fleets.rows[at], _BLEND_STEPS, price[at], replicas=fleets.replicas[at])
        usd[at] = np.maximum(usd[at], found.usd)
        at = at[np.argsort(usd[at], kind="stable")]
        at = at[usd[at] < below_usd]
        for n in range(0, len(at), count):
            yield at[n : n + count], usd[at[n : n + count]]


def _with_fixed_excess(sets: OpenSets, fleets: Fleets, target_usd: float) -> tuple[Floats, Floats]:
    """Return bounds (N,) and the prices of capacity (N, K) that give them."""
    rows, replicas = fleets.rows, fleets.replicas
    usd = sets.routed_usd[rows] + fleets.excess_usd[:, None] * sets.excess[rows]  # (N, K, I)
    load = np.maximum(sets.load, _NO_LOAD)[rows]
    price = _one_by_one(sets, fleets, usd, load)
    fixed = sets.cost(replicas, rows).sum(axis=1)
    scale, shed_usd = sets.high[rows], sets.space.unmet_usd
    best, best_price, ease = np.full(len(rows), -np.inf), price, 1.0
    for _ in range(_STEPS):
        unit = usd + price[:, :, None] * load
        least = unit.min(axis=1)
        total = sets.cheapest(least).sum(axis=1) + fixed - (price * replicas).sum(axis=1)
        best_price = np.where((total > best)[:, None], price, best_price)
        np.maximum(best, total, out=best)
        served = (unit == least[:, None]) & (least < shed_usd)[:, None]
        over = scale * (np.where(served, load, 0.0).sum(axis=2) - replicas)
        over[(over < 0) & (price <= 0)] = 0.0
        target = np.clip(target_usd, best + 0.02 * np.abs(best), best + 0.5 * np.abs(best))
        length = ease * (target - total) / np.maximum((over * over).sum(axis=1), 1e-12)
        price = np.maximum(price + length[:, None] * scale * over, 0.0)
        ease *= _EASE
    return best, best_price


def _one_by_one(sets: OpenSets, fleets: Fleets, usd: Floats, load: Floats) -> Floats:
    """Return (N, K) prices, each the best one given the others, one after the other."""
    space, rows, replicas = sets.space, fleets.rows, fleets.replicas
    dearest = space.unmet_usd + np.where(space.max_unmet < 1.0, space.shortfall_usd, 0.0)
    price = fleets.capacity_usd.copy()
    unit = usd + price[:, :, None] * load
    every = np.arange(len(rows))
    for k in range(rows.shape[1]):
        unit[:, k] = BARRED
        least = (np.minimum(unit.min(axis=1), dearest) - usd[:, k]) / load[:, k]  # what drives each type away
        order = np.argsort(-least, axis=1)
        least = np.take_along_axis(least, order, axis=1)
        filled = np.where(least > 0, np.take_along_axis(load[:, k], order, axis=1), 0.0).cumsum(axis=1)
        over = filled > replicas[:, k, None] + _NO_LOAD
        marginal = np.where(over.any(axis=1), least[every, over.argmax(axis=1)], 0.0)
        price[:, k] = np.where(rows[:, k] < sets.num_candidates, np.maximum(marginal, 0.0), 0.0)
        unit[:, k] = usd[:, k] + price[:, k, None] * load[:, k]
    return price
