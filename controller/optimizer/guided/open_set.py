"""Candidate deployments as arrays, for sets of those that are open (:mod:`~controller.optimizer.guided.estimate`)."""

from __future__ import annotations

import numpy as np

from controller.domain.arrays import Bools, Floats, Ints
from controller.optimizer.guided.blend import BARRED
from controller.optimizer.pricing import Prices
from controller.optimizer.space import SearchSpace

_NO_LOAD = 1e-12


class OpenSets:
    """What sets over n candidate deployments of a search space are estimated from.

    A set is a row of positions 0..n-1 in ``candidates``; n stands for no member. All arrays over candidates have a
    last entry for that one.

    Attributes
    ----------
    candidates : (n,) positions in the search space, in order.
    pair, cap : (n + 1,) the (model, tier) pair, and most replicas.
    counts : (3, n + 1) numbers of replicas between which cost is linear: one, r⁰ and the cap. ``low``, ``high``:
        (n + 1,) prices of capacity above which more than one replica, and more than r⁰, are worth it.
    weights_gb : (n + 1,). ``per_replica``, ``once``: (L, n + 1) what each takes up of the limits (L,) ``limit``.
    price_scale : (L,) a price at which a limit matters. ``has_budget``: whether the first limit is the budget.
    route_usd : (n + 1, I) prices of routes, barred where none may be.
    load : (n + 1, I) replicas that routes fill by compute or, where all types together take up more of it, by memory:
        by one of both, as the greater of each type's loads would rule out what neither does.
    excess : (n + 1, I) by how much each is over the mean limit of a type.
    first_capacity_usd, first_limit_usd : (n + 1,) and (L,) prices to start from, by the relaxation's.
    """

    def __init__(self, space: SearchSpace, candidates: Ints, prices: Prices) -> None:
        self.space, self.candidates = space, candidates
        at = candidates
        self.pair = np.append(space.pair[at], -1)
        allowed = _rows(space.allowed, at, False)
        self.excess: Floats = _rows(_one_mean(space, prices), at, 0.0)
        self.route_usd = np.where(allowed, _rows(space.route_usd, at, 0.0), BARRED)
        loads = [np.where(allowed, _rows(load, at, 0.0), 0.0) for load in (space.compute, space.memory)]
        by_compute = loads[0].sum(axis=1) >= loads[1].sum(axis=1)
        self.load = np.where(by_compute[:, None], *loads)
        self.cap = np.append(np.maximum(space.cap[at], 1.0), 0.0)

        self._rent, self._start = _padded(space.rent_usd[at]), _padded(space.start_usd[at])
        self._open, self._running = _padded(space.open_usd[at]), _padded(space.incumbent[at])
        self.weights_gb = _padded(space.weights_gb[at])
        middle = np.clip(self._running, 1.0, np.maximum(self.cap, 1.0))
        self.counts = np.stack([np.ones(len(self.cap)), middle, self.cap])
        self.counts[:, -1] = 0.0
        self.high = self._rent + self._start
        self.low = np.where(middle > 1.0, self._rent, self.high)
        self._set_limits(prices)
        self.first_capacity_usd: Floats = self._capacity_price(prices)

    def _capacity_price(self, prices: Prices) -> Floats:
        """Return (n + 1,) the price at which what pays more than that fills each candidate, at ``prices`` of demand.

        As long as there may be more replicas it is no higher than what one costs, beyond that what pays least of all
        that fits.
        """
        space, at = self.space, self.candidates
        value = (prices.demand_usd + prices.budget * space.token_usd)[:, None] - space.route_usd[:, at]
        for excess, usd in zip(space.excess, prices.excess_usd, strict=True):
            value += usd[:, None] * excess[:, at]
        load = self.load[:-1]
        value = np.where(space.allowed[:, at], np.maximum(value, 0.0), 0.0).T
        density = value / np.maximum(load, _NO_LOAD)
        order = np.argsort(-density, axis=1)
        density = np.take_along_axis(density, order, axis=1)
        filled = np.take_along_axis(np.where(value > 0, load, 0.0), order, axis=1).cumsum(axis=1)

        def at_margin(replicas: Floats) -> Floats:
            last = (filled <= replicas[:, None]).sum(axis=1)
            price = density[np.arange(len(at)), np.minimum(last, density.shape[1] - 1)]
            return np.where(last < density.shape[1], price, 0.0)

        replica_usd = self.high[:-1] + self.first_limit_usd @ self.per_replica[:, :-1]
        price = at_margin(np.ones(len(at)))
        dear = np.maximum(at_margin(self.cap[:-1]), replica_usd)
        return _padded(np.where(price <= replica_usd, price, dear))

    def _set_limits(self, prices: Prices) -> None:
        """Write the budget and the GPUs of each scarce tier as rows: use per replica, use once open, limit."""
        space, at = self.space, self.candidates
        per_replica, once, limit, price = [], [], [], []
        self.has_budget = bool(np.isfinite(space.budget_usd))
        if self.has_budget:
            per_replica.append(self._rent)
            once.append(self._open)
            limit.append(space.budget_usd)
            price.append(-prices.budget)
        for k in np.unique(space.tier[at][np.isfinite(space.available[space.tier[at]])]):
            per_replica.append(_padded(np.where(space.tier[at] == k, space.gpus[at], 0.0)))
            once.append(np.zeros(len(at) + 1))
            limit.append(space.available[k])
            price.append(-prices.gpu_usd[k])
        shape = (len(limit), len(at) + 1)
        self.per_replica: Floats = np.array(per_replica).reshape(shape)
        self.once: Floats = np.array(once).reshape(shape)
        self.limit: Floats = np.array(limit, dtype=np.float64)
        self.first_limit_usd: Floats = np.array(price, dtype=np.float64)
        # One dollar more per dollar, the dearest rent more per GPU.
        dear = (self._rent[:-1] / space.gpus[at]).max(initial=0.0)
        self.price_scale = np.full(len(limit), dear)
        if self.has_budget:
            self.price_scale[0] = 1.0

    @property
    def num_candidates(self) -> int:
        """How many there are: n."""
        return len(self.candidates)

    def cost(self, replicas: Floats, at: Ints | slice = slice(None)) -> Floats:
        """Return the price of replicas, weights and starts included."""
        started = np.maximum(replicas - self._running[at], 0.0)
        usd: Floats = self._rent[at] * replicas + self._start[at] * started + self._open[at]
        return usd

    def token_usd(self, limit_usd: Floats) -> Floats:
        """Return (..., I) what the budget's price adds to serving each type, for prices (..., L) of the limits."""
        if not self.has_budget:
            return np.zeros((*limit_usd.shape[:-1], 1))
        usd: Floats = limit_usd[..., :1] * self.space.token_usd
        return usd

    def cheapest(self, value: Floats) -> Floats:
        """Return (..., I) the price of each type where what may stay unmet does, if that is cheaper than ``value``."""
        space = self.space
        value = np.minimum(value, space.unmet_usd + space.shortfall_usd)
        shed = space.max_unmet * space.unmet_usd + (1.0 - space.max_unmet) * value
        usd: Floats = np.minimum(value, shed)
        return usd


def _rows(matrix: Floats | Bools, candidates: Ints, none: float | bool) -> np.ndarray:
    """Return (n + 1, I) the columns of the candidates as rows, and one for no member."""
    rows = np.full((len(candidates) + 1, matrix.shape[0]), none, dtype=matrix.dtype)
    rows[:-1] = matrix[:, candidates].T
    return rows


def _padded(values: Floats) -> Floats:
    return np.append(values, 0.0)


def _one_mean(space: SearchSpace, prices: Prices) -> Floats:
    """Return (I, D) one excess that every plan keeps at Σ excess·x <= 0: where there are two, a weighted sum."""
    if len(space.excess) == 1:
        mean: Floats = space.excess[0]
        return mean
    size = np.abs(space.excess).max(axis=2, initial=0.0)
    weight = -prices.excess_usd  # (Q, I)
    weight = np.where(weight.sum(axis=0) > 0, weight, 1.0 / np.maximum(size, 1e-12))
    weight = weight / np.maximum((weight * size).sum(axis=0), 1e-300)
    combined: Floats = (weight[:, :, None] * space.excess).sum(axis=0)
    return np.where(np.abs(combined) <= 1e-12, 0.0, combined)
