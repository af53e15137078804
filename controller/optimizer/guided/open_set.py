"""What a set of open deployments costs at least: the Lagrangian of its routing problem, for many sets at once.

Open the deployments of a set S, each with at least one replica; replicas beyond that may be fractions. What is left
is a linear program over shares x and replicas r. With a price ``a_d`` on the capacity of each member, and prices λ on
the limits that all of them share, it falls apart into types and members::

    estimate(S) = max_{a, λ >= 0}  Σ_i min_x Σ_d (c_id + a_d w_id) x_id
                                 + Σ_d min_{1 <= r <= cap} [cost_d(r, λ) - a_d r]  -  λ · limits

Whatever the prices, that is a number which no plan with exactly these deployments is below; a few supergradient steps
make it a good one. With the replicas given the second sum is a constant, and the estimate is closer to the truth. An
estimate is a bound of its set, not of the instance; what a set really costs a set program says.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from controller.domain.arrays import Bools, Floats, Ints
from controller.optimizer.guided.blend import Blends
from controller.optimizer.pricing import Prices
from controller.optimizer.space import SearchSpace

BARRED = 1e15
"""Price of what may not be."""
_FIRST_STEP = 0.45
_STEP_DECAY = 0.75
_EASE = 0.85
_NO_LOAD = 1e-12
_CHUNK = 400_000


@dataclass(frozen=True, slots=True, eq=False)
class Estimates:
    """Of N sets of up to K members, under L limits.

    Attributes
    ----------
    usd : (N,) the estimates.
    capacity_usd : (N, K) prices of capacity. ``limit_usd``: (N, L) prices of the limits.
    load : (N, K) replicas that the routes at these prices would fill.
    """

    usd: Floats
    capacity_usd: Floats
    limit_usd: Floats
    load: Floats


class OpenSets:
    """Estimates sets over n candidate deployments of a search space.

    A set is a row of positions 0..n-1 in ``candidates``; n stands for no member. All arrays over candidates have a
    last entry for that one.

    Attributes
    ----------
    candidates : (n,) positions in the search space, in order.
    pair, cap, high : (n + 1,) the (model, tier) pair, most replicas, and the price of capacity at which more are worth
        their rent.
    route_usd : (n + 1, I) prices of routes.
    load : (n + 1, I) replicas that routes fill by compute or, where all types together take up more of it, by memory:
        by one of both, as the greater of each type's loads would rule out what neither does.
    alone : (n + 1, I) whether a type may be served by that deployment alone. ``blends``: by two of them.
    first_capacity_usd, first_limit_usd : (n + 1,) and (L,) prices to start from, by the relaxation's.
    target_usd : cost of the best plan that is known: sets above that are of no interest.
    """

    def __init__(self, space: SearchSpace, candidates: Ints, prices: Prices) -> None:
        self.space, self.candidates = space, candidates
        at = candidates
        self.pair = np.append(space.pair[at], -1)
        allowed = _rows(space.allowed, at, False)
        excess = _rows(_one_mean(space, prices), at, 0.0)
        self.alone: Bools = allowed & (excess <= 0)
        self.blends = Blends(excess, allowed)
        self.route_usd = _rows(space.route_usd, at, 0.0)
        loads = [np.where(allowed, _rows(load, at, 0.0), 0.0) for load in (space.compute, space.memory)]
        by_compute = loads[0].sum(axis=1) >= loads[1].sum(axis=1)
        self.load = np.where(by_compute[:, None], *loads)
        self.cap = np.append(np.maximum(space.cap[at], 1.0), 0.0)

        self._rent, self._start = _padded(space.rent_usd[at]), _padded(space.start_usd[at])
        self._open, self._running = _padded(space.open_usd[at]), _padded(space.incumbent[at])
        self._weights_gb = _padded(space.weights_gb[at])
        middle = np.clip(self._running, 1.0, np.maximum(self.cap, 1.0))
        #: Numbers of replicas between which cost is linear: one, r⁰, and the cap.
        self._counts = np.stack([np.ones(len(self.cap)), middle, self.cap])
        self._counts[:, -1] = 0.0
        self.high = self._rent + self._start
        self._low = np.where(middle > 1.0, self._rent, self.high)
        self.target_usd = np.inf
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
        self._has_budget = bool(np.isfinite(space.budget_usd))
        if self._has_budget:
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
        #: A price at which a limit matters: one dollar more per dollar, the dearest rent more per GPU.
        dear = (self._rent[:-1] / space.gpus[at]).max(initial=0.0)
        self._price_scale = np.full(len(limit), dear)
        if self._has_budget:
            self._price_scale[0] = 1.0

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
        if not self._has_budget:
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

    def evaluate(
        self,
        sets: Ints,
        steps: int,
        capacity_usd: Floats | None = None,
        limit_usd: Floats | None = None,
        replicas: Floats | None = None,
    ) -> Estimates:
        """Estimate ``sets`` (N, K).

        Parameters
        ----------
        steps : supergradient steps, at least one.
        capacity_usd, limit_usd : (N, K) and (N, L) prices to start from, if not those of the relaxation.
        replicas : (N, K) whole numbers; without them each member has as many as pay, fractions included. With them
            limits are either kept or not, and have no price.
        """
        count, size = sets.shape
        if capacity_usd is None:
            capacity_usd = self.first_capacity_usd[sets]
        if limit_usd is None:
            limit_usd = np.broadcast_to(self.first_limit_usd, (count, len(self.limit)))
        chunk = max(1, _CHUNK // max(1, size * self.load.shape[1]))
        parts = []
        for first in range(0, count, chunk):
            rows = slice(first, first + chunk)
            if replicas is None:
                part = self._relaxed(sets[rows], steps, capacity_usd[rows], limit_usd[rows])
            else:
                part = self._given(sets[rows], steps, capacity_usd[rows], limit_usd[rows], replicas[rows])
            parts.append(part)
        if len(parts) == 1:
            return parts[0]
        columns = zip(*((p.usd, p.capacity_usd, p.limit_usd, p.load) for p in parts), strict=True)
        return Estimates(*(np.concatenate(column) for column in columns))

    def _relaxed(self, sets: Ints, steps: int, price: Floats, limit_usd: Floats) -> Estimates:
        routing = _Routing(self, sets)
        counts = self._counts[:, sets]  # (3, N, K)
        base = self.cost(self._counts, slice(None))[:, sets]
        per_replica, once = self.per_replica[:, sets], self.once[:, sets].sum(axis=2).T  # (L, N, K), (N, L)
        low, high = self._low[sets], self.high[sets]
        limited = len(self.limit) > 0
        best = np.full(len(sets), -np.inf)
        best_price, best_limit, loads, step = price, limit_usd, np.zeros(sets.shape), _FIRST_STEP
        weight = 0.0
        extra: Floats | float = 0.0
        for _ in range(steps):
            if limited:
                extra = np.einsum("nl,lnk->nk", limit_usd, per_replica)
            first, second = low + extra, high + extra
            usd, load, served = routing.best(price, self.token_usd(limit_usd) if limited else None)
            total = usd + (base + (extra - price) * counts).min(axis=0).sum(axis=1)
            if limited:
                total = total + (limit_usd * (once - self.limit)).sum(axis=1)
            better = total > best
            best = np.where(better, total, best)
            best_price = np.where(better[:, None], price, best_price)
            loads += step * load
            weight += step
            fewest = np.where(price <= first, counts[0], np.where(price <= second, counts[1], counts[2]))
            most = np.where(price < first, counts[0], np.where(price < second, counts[1], counts[2]))
            replicas = np.clip(load, fewest, most)
            if limited:
                best_limit = np.where(better[:, None], limit_usd, best_limit)
                used = np.einsum("lnk,nk->nl", per_replica, replicas) + once
                if self._has_budget:
                    used[:, 0] += served @ self.space.token_usd
                over = np.clip(4.0 * (used / self.limit - 1.0), -1.0, 1.0)
                limit_usd = np.maximum(
                    limit_usd + step * over * np.maximum(self._price_scale, limit_usd), 0.0
                )
            ceiling = np.where(price < first, first, np.where(price < second, second, np.inf))
            floor = np.where(price > second, second, np.where(price > first, first, 0.0))
            move = step * np.clip(load - replicas, -1.0, 1.0) * np.maximum(high, price)
            price = np.clip(price + move, floor, ceiling)
            step *= _STEP_DECAY
        return Estimates(best + self._impossible(sets, None), best_price, best_limit, loads / weight)

    def _given(self, sets: Ints, steps: int, price: Floats, limit_usd: Floats, replicas: Floats) -> Estimates:
        routing = _Routing(self, sets)
        cost, scale = self.cost(replicas, sets).sum(axis=1), self.high[sets]
        best = np.full(len(sets), -np.inf)
        best_price, loads, ease = price, np.zeros(sets.shape), 1.0
        for _ in range(steps):
            usd, load, _ = routing.best(price, None)
            total = usd + cost - (price * replicas).sum(axis=1)
            better = total > best
            best = np.where(better, total, best)
            best_price = np.where(better[:, None], price, best_price)
            loads = np.where(better[:, None], load, loads)
            # Polyak's step: towards a value that would put the set out of the question.
            over = scale * (load - replicas)
            over = np.where((over < 0) & (price <= 0), 0.0, over)
            target = np.clip(self.target_usd, best + 0.02 * np.abs(best), best + 0.5 * np.abs(best))
            length = ease * (target - total) / np.maximum((over * over).sum(axis=1), 1e-12)
            price = np.maximum(price + length[:, None] * scale * over, 0.0)
            ease *= _EASE
        return Estimates(best + self._impossible(sets, replicas), best_price, limit_usd, loads)

    def whole(self, sets: Ints, relaxed: Estimates, steps: int) -> Floats:
        """Return (N,) the least estimate of each set with whole replicas near those of ``relaxed``.

        Looked at are all loads rounded up, the one that is the least above a whole number rounded down, the least two,
        and so on until all are; and as many rounded up as limits allow.
        """
        size = sets.shape[1]
        member = sets < self.num_candidates
        load = np.maximum(relaxed.load, 1.0)
        up = np.minimum(np.ceil(load - 1e-6), np.maximum(self.cap[sets], 1.0))
        down = np.minimum(np.floor(load + 1e-6), up)
        open_ = (down < up) & member
        above = np.argsort(np.where(open_, load - down, np.inf), axis=1, kind="stable")
        place = np.argsort(above, axis=1, kind="stable")
        fewer = place[:, None, :] < np.arange(size + 2)[:, None]  # (N, K + 2, K)
        options = np.where(fewer, down[:, None], up[:, None])
        options[:, -1] = self._fitting(sets, load, down, up)
        options = np.where(member[:, None], options, 0.0)
        keep = np.arange(size + 2) <= open_.sum(axis=1)[:, None]
        keep[:, -1] = (options[:, -1] < options[:, 0]).any(axis=1)
        n, option = np.nonzero(keep)
        found = self.evaluate(
            sets[n], steps, relaxed.capacity_usd[n], relaxed.limit_usd[n], options[n, option]
        )
        usd = np.full(keep.shape, np.inf)
        usd[n, option] = found.usd
        least: Floats = usd.min(axis=1)
        return least

    def _fitting(self, sets: Ints, load: Floats, down: Floats, up: Floats) -> Floats:
        """Return (N, K) replicas rounded up where limits leave room for it, those nearest to the next number first."""
        if not len(self.limit):
            return up
        per_replica = self.per_replica[:, sets]  # (L, N, K)
        left = self.limit[:, None] - (per_replica * down + self.once[:, sets]).sum(axis=2)  # (L, N)
        replicas, rows = down.copy(), np.arange(len(sets))
        for k in np.argsort(down - load, axis=1, kind="stable").T:
            more = (up - down)[rows, k]
            use = per_replica[:, rows, k] * more
            fits = (use <= left + 1e-9).all(axis=0)
            replicas[rows, k] += np.where(fits, more, 0.0)
            left = left - np.where(fits, use, 0.0)
        return replicas

    def _impossible(self, sets: Ints, replicas: Floats | None) -> Floats:
        """Return (N,) what bars sets of which the replicas, or one of each, are more than a limit lets be."""
        count = np.where(sets < self.num_candidates, 1.0, 0.0) if replicas is None else replicas
        used = (self.per_replica[:, sets] * count + self.once[:, sets]).sum(axis=2)
        limit = self.limit[:, None]
        barred = (used > limit + 1e-9 * np.maximum(limit, 1.0)).any(axis=0)
        if np.isfinite(self.space.storage_gb):
            barred |= self._weights_gb[sets].sum(axis=1) > self.space.storage_gb + 1e-6
        return np.where(barred, BARRED, 0.0)


class _Routing:
    """The cheapest routing over N sets, where capacity has a price and no limit."""

    def __init__(self, sets: OpenSets, rows: Ints) -> None:
        self._sets = sets
        self._usd, self._load = sets.route_usd[rows], sets.load[rows]  # (N, K, I)
        self._barred = np.where(sets.alone[rows], 0.0, BARRED)
        self._blend = sets.blends.of(rows)
        self._rows = np.arange(len(rows))[:, None]
        self._types = np.arange(self._usd.shape[2])

    def best(self, capacity_usd: Floats, token_usd: Floats | None) -> tuple[Floats, Floats, Floats]:
        """Return the price (N,), the load of each member (N, K), and what of each type is served (N, I)."""
        space = self._sets.space
        unit = self._usd + capacity_usd[:, :, None] * self._load
        alone = unit + self._barred
        member = alone.argmin(axis=1)
        value = alone[self._rows, member, self._types]
        share = np.zeros_like(unit)
        share[self._rows, member, self._types] = 1.0
        self._blend.improve(unit, value, share)
        if token_usd is not None:
            value = value + token_usd
        served = np.where(value < space.unmet_usd, 1.0, 1.0 - space.max_unmet)
        usd = self._sets.cheapest(value).sum(axis=1)
        load = np.einsum("nki,nki,ni->nk", self._load, share, served)
        return usd, load, served


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
