"""Pricing: for given prices of demand and limits, the column of each deployment that earns most.

A column is a deployment with a whole number of replicas r and the shares x that it serves. For all deployments at
once this solves ``min_r,x  rent r + starts + stored weights - Σ v x`` with Σ w x <= r and 0 <= x <= 1: a fractional
knapsack for each r, convex in r, so that the best whole r is next to where the next item stops to pay for its rent.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from controller.domain.arrays import Floats
from controller.optimizer.space import SearchSpace

_NO_LOAD = 1e-12


@dataclass(frozen=True, slots=True, eq=False)
class Prices:
    """What a unit of each right-hand side is worth: duals of the relaxation, or what the present plan pays.

    Attributes
    ----------
    demand_usd : (I,) per whole demand of a type.
    excess_usd : (Q, I) <= 0, per unit of mean excess.
    budget, storage_usd_per_gb : <= 0, per dollar of the budget, per GB.
    gpu_usd : (K,) <= 0, per GPU of a tier.
    pair_usd : (P,) <= 0, of a (model, tier) pair's right to one configuration.
    """

    demand_usd: Floats
    excess_usd: Floats
    budget: float
    storage_usd_per_gb: float
    gpu_usd: Floats
    pair_usd: Floats

    def blend(self, other: Prices, weight: float) -> Prices:
        """Return prices with ``weight`` of the other's in them; of a pair's right these alone count."""
        keep = 1.0 - weight
        return Prices(
            demand_usd=keep * self.demand_usd + weight * other.demand_usd,
            excess_usd=keep * self.excess_usd + weight * other.excess_usd,
            budget=keep * self.budget + weight * other.budget,
            storage_usd_per_gb=keep * self.storage_usd_per_gb + weight * other.storage_usd_per_gb,
            gpu_usd=keep * self.gpu_usd + weight * other.gpu_usd,
            pair_usd=self.pair_usd,
        )

    def rescaled(self, rate_ratio: Floats) -> Prices:
        """Return these prices for arrival rates that are ``rate_ratio`` (I,) times what they were.

        What belongs to a share of a type is worth in proportion to the queries in it; what belongs to a limit stays.
        Where the ratio is not finite, because there was no demand, the price is NaN: not known.
        """
        ratio = np.where(np.isfinite(rate_ratio), rate_ratio, np.nan)
        return replace(self, demand_usd=self.demand_usd * ratio, excess_usd=self.excess_usd * ratio)


@dataclass(frozen=True, slots=True, eq=False)
class Columns:
    """One column for each deployment: ``reduced_usd`` (D,), ``replicas`` (D,), ``shares`` (D, I)."""

    reduced_usd: Floats
    replicas: Floats
    shares: Floats


class Pricer:
    """Prices all deployments of a search space in one pass of array operations."""

    def __init__(self, space: SearchSpace) -> None:
        self.space = space
        self._allowed = np.ascontiguousarray(space.allowed.T)  # (D, I)
        self._route_usd = np.ascontiguousarray(space.route_usd.T)
        self._excess = [np.ascontiguousarray(excess.T) for excess in space.excess]
        compute = np.where(self._allowed, space.compute.T, 0.0)
        memory = np.where(self._allowed, space.memory.T, 0.0)
        self._load = np.maximum(np.maximum(compute, memory), _NO_LOAD)
        #: Deployments whose memory may be what binds first, for some type.
        self._mixed = np.flatnonzero((memory > compute).any(axis=1))
        self._compute = np.maximum(compute[self._mixed], _NO_LOAD)
        self._memory = np.maximum(memory[self._mixed], _NO_LOAD)

    def price(self, prices: Prices) -> Columns:
        """Return the best column of each deployment; it keeps both capacities."""
        return self._best(prices, self._load, slice(None))

    def bound(self, prices: Prices, columns: Columns) -> Floats:
        """Return (D,) a number that no column's reduced cost is below, given the best ``columns`` for ``prices``.

        Where compute binds one type first and memory another, the load of :meth:`price` takes up more than either
        constraint does; each constraint alone is the relaxation that bounds.
        """
        reduced = columns.reduced_usd.copy()
        if len(self._mixed):
            by_compute = self._best(prices, self._compute, self._mixed).reduced_usd
            by_memory = self._best(prices, self._memory, self._mixed).reduced_usd
            reduced[self._mixed] = np.maximum(by_compute, by_memory)
        return reduced

    def _best(self, prices: Prices, load: Floats, at: slice | np.ndarray) -> Columns:
        space = self.space
        value = prices.demand_usd - self._route_usd[at]
        for excess, usd in zip(self._excess, prices.excess_usd, strict=True):
            if usd.any():
                value += usd * excess[at]
        if prices.budget:
            value += prices.budget * space.token_usd
        value = np.where(self._allowed[at], np.maximum(value, 0.0), 0.0)
        load = np.where(value > 0, load, 0.0)
        rent = space.rent_usd[at] * (1.0 - prices.budget) - prices.gpu_usd[space.tier[at]] * space.gpus[at]
        once = space.open_usd[at] * (1.0 - prices.budget) - prices.storage_usd_per_gb * space.weights_gb[at]
        start, running, cap = space.start_usd[at], space.incumbent[at], space.cap[at]

        # Those that one replica carries need no knapsack.
        replicas = np.ones(len(value))
        shares = (value > 0).astype(np.float64)
        gain = value.sum(axis=1)
        big = np.flatnonzero(load.sum(axis=1) > 1.0)
        if len(big):
            filled = _fill(value[big], load[big], (rent[big], start[big]), (running[big], cap[big]))
            replicas[big], gain[big], shares[big] = filled
        reduced = rent * replicas + start * np.maximum(replicas - running, 0.0) + once - gain
        return Columns(np.where(cap >= 1, reduced, np.inf), replicas, shares)


def _fill(
    value: Floats, load: Floats, usd: tuple[Floats, Floats], bounds: tuple[Floats, Floats]
) -> tuple[Floats, Floats, Floats]:
    """Return replicas (D,), gain (D,) and shares (D, I) of the best filling.

    Parameters
    ----------
    value, load : (D, I) of all of a type; no load where there is no value.
    usd : rent of a replica, and price of starting one beyond those that run.
    bounds : replicas that run now, and the most that there may be.
    """
    rent, start = usd
    running, cap = bounds
    density = np.where(load > 0, value / np.maximum(load, _NO_LOAD), 0.0)
    order = np.argsort(-density, axis=1, kind="stable")
    sorted_value = np.take_along_axis(value, order, 1)
    sorted_load = np.take_along_axis(load, order, 1)
    before = np.cumsum(sorted_load, axis=1) - sorted_load
    # Items that pay for a replica that must be started, and for one that runs already.
    pays_start = np.where(density > (rent + start)[:, None], load, 0.0).sum(axis=1)
    pays_rent = np.where(density > rent[:, None], load, 0.0).sum(axis=1)
    ideal = np.clip(running, pays_start, pays_rent)
    best_net = np.full(len(value), -np.inf)
    best = np.ones(len(value))
    best_gain = np.zeros(len(value))
    best_shares = np.zeros_like(value)
    for candidate in (np.floor(ideal), np.ceil(ideal)):
        replicas = np.clip(candidate, 1.0, np.maximum(cap, 1.0))
        part = np.clip((replicas[:, None] - before) / np.maximum(sorted_load, _NO_LOAD), 0.0, 1.0)
        part = np.where(sorted_value > 0, part, 0.0)
        gain = (sorted_value * part).sum(axis=1)
        net = gain - rent * replicas - start * np.maximum(replicas - running, 0.0)
        better = net > best_net
        best_net, best = np.where(better, net, best_net), np.where(better, replicas, best)
        best_gain = np.where(better, gain, best_gain)
        best_shares = np.where(better[:, None], part, best_shares)
    shares = np.zeros_like(value)
    np.put_along_axis(shares, order, best_shares, 1)
    return best, best_gain, shares
