"""Pricing: for given prices of demand and limits, the column of each deployment that earns most.

A column is a deployment with a whole number of replicas r and the shares x that it serves. For all deployments at
once this solves ``min_r,x  rent r + starts + stored weights - Σ v x`` with Σ w x <= r and 0 <= x <= most: a
fractional knapsack for each r, convex in r, so that the best whole r is next to where the next item stops to pay for
its rent.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from controller.domain.arrays import Bools, Floats, Ints
from controller.optimizer.space import SearchSpace

_NO_LOAD = 1e-12
_FEW = 200
_BLOCK_ENTRIES = 1 << 16
"""Entries of (deployment, type) that are priced at a time: what stays in the cache, and little memory."""


@dataclass(frozen=True, slots=True, eq=False)
class Prices:
    """What a unit of each right-hand side is worth: duals of the relaxation, or what the present plan pays.

    Attributes
    ----------
    demand_usd : (I,) per whole demand of a type.
    excess_usd : (Q, I) <= 0, per unit of mean excess.
    budget, storage_usd_per_gb : <= 0, per dollar of the budget, per GB.
    gpu_usd : (K,) <= 0, per GPU of a tier.
    pair_usd : (P,) <= 0, of a (model, tier) pair's right to one configuration. Bounds do without it.
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

    @property
    def are_of_limits(self) -> bool:
        """Whether the budget, storage, or GPUs of a tier have a price."""
        return bool(self.budget or self.storage_usd_per_gb or self.gpu_usd.any())

    def fleet_usd(self, space: SearchSpace, at: slice | Ints) -> tuple[Floats, Floats, Floats]:
        """Price the deployments ``at`` (n,), what they take up of limits included.

        Return (n,) each: price of a replica, of starting one, and of a deployment that is open at all.
        """
        rent = space.rent_usd[at] * (1.0 - self.budget) - self.gpu_usd[space.tier[at]] * space.gpus[at]
        once = space.open_usd[at] * (1.0 - self.budget) - self.storage_usd_per_gb * space.weights_gb[at]
        return rent, space.start_usd[at], once


@dataclass(frozen=True, slots=True, eq=False)
class Columns:
    """Columns of the deployments ``at`` (n,): ``replicas`` (n,), ``shares`` (n, I)."""

    at: Ints
    replicas: Floats
    shares: Floats


@dataclass(frozen=True, slots=True, eq=False)
class Offers:
    """What every deployment offers at some prices, each by itself.

    Attributes
    ----------
    reduced_usd : (D,) numbers that no column's reduced cost is below.
    served_usd : (D,) what the demand is worth that the best column serves.
    """

    reduced_usd: Floats
    served_usd: Floats


class Pricer:
    """Prices all deployments of a search space in passes of array operations, a block of deployments at a time."""

    def __init__(self, space: SearchSpace) -> None:
        self.space = space
        most = np.where(space.allowed, most_share(space), 0.0).T
        self._most = np.ascontiguousarray(most)  # (D, I); items are all that a deployment may serve of a type
        self._route_usd = np.ascontiguousarray(space.route_usd.T * most)
        self._excess = [np.ascontiguousarray(excess.T * most) for excess in space.excess]
        compute, memory = space.compute.T * most, space.memory.T * most
        self._load = np.maximum(compute, memory)
        #: Deployments where compute binds first for one type and memory for another, and neither is ample.
        mixed = (memory > compute).any(axis=1) & (compute > memory).any(axis=1) & (self._load.sum(axis=1) > 1)
        self._mixed = np.flatnonzero(mixed)
        self._compute, self._memory = compute[self._mixed], memory[self._mixed]
        self._carries_all = self._load.sum(axis=1) <= 1.0
        rows = max(_BLOCK_ENTRIES // max(space.num_types, 1), 1)
        self._blocks = [slice(a, a + rows) for a in range(0, space.num_deployments, rows)]

    def price(self, prices: Prices) -> Floats:
        """Return (D,) reduced costs: of each pair's best column, as :meth:`columns` fills it, wherever that pays.

        For the others it is a number between that of their pair's best, or zero, and their own.
        """
        lower = np.empty(self.space.num_deployments)
        for block in self._blocks:
            lower[block] = self._glance(prices, block)
        return self._settle(prices, lower)

    def floor(self, prices: Prices, reduced_usd: Floats) -> Floats:
        """Return (D,) numbers that no column's reduced cost is below, given what :meth:`price` has returned.

        Where compute binds one type first and memory another, columns are filled by the greater of both loads, which
        takes up more than either constraint does. Each constraint alone is the relaxation that bounds.
        """
        return self._relaxed(prices, reduced_usd.copy())

    def offers(self, prices: Prices) -> Offers:
        """Return what :meth:`floor` does, of every deployment by itself, and what that serves."""
        reduced, served = np.zeros((2, self.space.num_deployments))
        for at in self._blocks:
            filling, reduced[at] = self._filling(prices, at, self._load[at])
            served[at] = (filling.parts() * self._most[at]) @ np.maximum(prices.demand_usd, 0.0)
        return Offers(self._relaxed(prices, reduced), served)

    def columns(self, prices: Prices, at: Ints) -> Columns:
        """Return the best columns of the deployments ``at``; each keeps both capacities."""
        filling, _ = self._filling(prices, at, self._load[at])
        return Columns(at, filling.replicas, filling.parts() * self._most[at])

    def _settle(self, prices: Prices, lower: Floats) -> Floats:
        """Raise bounds (D,) on reduced costs to these, until none that is below zero can be the least of its pair."""
        pair, first = self.space.pair, self.space.first_of_pair
        doubtful = (lower < 0) & ~self._carries_all
        if np.count_nonzero(doubtful) <= _FEW:
            at = np.flatnonzero(doubtful)
            lower[at] = self._filled(prices, at, self._load[at])
            return lower
        least = np.minimum.reduceat(lower, first)
        at = np.flatnonzero(doubtful & (lower == least[pair]))
        lower[at] = self._filled(prices, at, self._load[at])
        doubtful[at] = False
        settled = np.minimum.reduceat(np.where(doubtful, 0.0, lower), first)
        at = np.flatnonzero(doubtful & (lower < settled[pair]))
        lower[at] = self._filled(prices, at, self._load[at])
        return lower

    def _relaxed(self, prices: Prices, floor: Floats) -> Floats:
        if len(self._mixed):
            floor[self._mixed] = np.maximum(
                self._filled(prices, self._mixed, self._compute),
                self._filled(prices, self._mixed, self._memory),
            )
        return floor

    def _glance(self, prices: Prices, at: slice) -> Floats:
        """Return (n,) numbers below the reduced costs; where a replica carries everything, the reduced costs."""
        rent, start, once = prices.fleet_usd(self.space, at)
        carries_all = self._carries_all[at]
        value = self._value(prices, at)
        net = value.sum(axis=1) - rent
        # One replica at least is rented, and no fewer than the load takes up.
        value -= rent[:, None] * self._load[at]
        np.maximum(value, 0.0, out=value)
        np.minimum(net, np.where(carries_all, np.inf, value.sum(axis=1)), out=net)
        reduced: Floats = once - net
        reduced += np.where(carries_all & (self.space.incumbent[at] < 1), start, 0.0)
        reduced[self.space.cap[at] < 1] = np.inf
        return reduced

    def _filled(self, prices: Prices, at: slice | Ints, load: Floats) -> Floats:
        """Return (n,) reduced costs for the loads ``load`` (n, I)."""
        return self._filling(prices, at, load)[1]

    def _filling(self, prices: Prices, at: slice | Ints, load: Floats) -> tuple[_Filling, Floats]:
        """Return the best columns of the deployments ``at`` for the loads ``load`` (n, I), and (n,) reduced costs."""
        space = self.space
        rent, start, once = prices.fleet_usd(space, at)
        value, cap = self._value(prices, at), space.cap[at]
        filling = _Filling.of(value, load, rent, start, space.incumbent[at], cap)
        return filling, np.where(cap < 1, np.inf, once - filling.net_usd)

    def _value(self, prices: Prices, at: slice | Ints) -> Floats:
        """Return (n, I) what serving the most of each type is worth, where it is worth anything."""
        worth = prices.demand_usd + prices.budget * self.space.token_usd
        value = self._most[at] * worth
        value -= self._route_usd[at]
        for excess, usd in zip(self._excess, prices.excess_usd, strict=True):
            if usd.any():
                value += usd * excess[at]
        return np.maximum(value, 0.0, out=value)


def most_share(space: SearchSpace) -> Floats:
    """Return (I, D) the most of a type that a deployment can serve in any plan.

    Where a route is over a mean by e, and the best other one is below it by e', then ``e x <= e' (1 - x)``.
    """
    most = np.ones((space.num_types, space.num_deployments))
    for excess in space.excess:
        below = np.maximum(-np.where(space.allowed, excess, 0.0).min(axis=1, initial=0.0), 0.0)[:, None]
        with np.errstate(divide="ignore", invalid="ignore"):
            mixed = below / (below + excess)
        np.minimum(most, np.where(excess > 0, mixed, 1.0), out=most)
    return most


@dataclass(frozen=True, slots=True, eq=False)
class _Filling:
    """The best whole replicas (n,) of some deployments, and what they earn beyond their price."""

    replicas: Floats
    net_usd: Floats
    _order: Ints
    _load: Floats
    _before: Floats
    _pays: Bools

    @classmethod
    def of(
        cls, value: Floats, load: Floats, rent: Floats, start: Floats, running: Floats, cap: Floats
    ) -> _Filling:
        """Fill by value per load, items (n, I) whole except the last one.

        Parameters
        ----------
        rent, start : of a replica, of starting one beyond those ``running``. ``cap``: the most replicas.
        """
        pays = value > 0
        load = np.maximum(load, _NO_LOAD) * pays
        density = value / (load + ~pays)
        order = np.argsort(-density, axis=1)
        # Items that pay for a replica that runs already, and for one that must be started.
        ideal = ((density > rent[:, None]) * load).sum(axis=1)
        if start.any():
            pays_start = ((density > (rent + start)[:, None]) * load).sum(axis=1)
            ideal = np.minimum(np.maximum(running, pays_start), ideal)
        first = np.arange(len(value)) * value.shape[1]
        flat = order + first[:, None]
        value, load = value.ravel()[flat], load.ravel()[flat]
        filled, earned = load.cumsum(axis=1), value.cumsum(axis=1)
        # The best whole number is on one side of the best one or on the other.
        replicas = np.stack([np.floor(ideal), np.ceil(ideal)])
        np.minimum(np.maximum(replicas, 1.0, out=replicas), np.maximum(cap, 1.0), out=replicas)
        last = (filled <= replicas[:, :, None]).sum(axis=2)
        last = first + np.minimum(last, value.shape[1] - 1)
        part = np.minimum(replicas - filled.ravel()[last], 0.0) / np.maximum(load.ravel()[last], _NO_LOAD)
        net = earned.ravel()[last] + part * value.ravel()[last] - rent * replicas
        net -= start * np.maximum(replicas - running, 0.0)
        upper = net[1] > net[0]
        best, best_net = np.where(upper, replicas[1], replicas[0]), np.where(upper, net[1], net[0])
        return cls(best, best_net, order, load, filled - load, value > 0)

    def parts(self) -> Floats:
        """Return (n, I) which part of each item is taken."""
        part = (self.replicas[:, None] - self._before) / np.maximum(self._load, _NO_LOAD)
        part = np.where(self._pays, np.clip(part, 0.0, 1.0), 0.0)
        result = np.zeros_like(part)
        np.put_along_axis(result, self._order, part, 1)
        return result
