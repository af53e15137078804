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

from controller.domain.arrays import Floats, Ints
from controller.optimizer.guided.blend import BARRED, cheapest_service, of_each
from controller.optimizer.guided.open_set import OpenSets

_FIRST_STEP = 0.45
_STEP_DECAY = 0.75
_EASE = 0.85
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


def estimate(
    sets: OpenSets,
    rows: Ints,
    steps: int,
    capacity_usd: Floats | None = None,
    limit_usd: Floats | None = None,
    replicas: Floats | None = None,
    target_usd: float = np.inf,
) -> Estimates:
    """Estimate the sets ``rows`` (N, K), as :class:`OpenSets` has them.

    Parameters
    ----------
    steps : supergradient steps, at least one.
    capacity_usd, limit_usd : (N, K) and (N, L) prices to start from, if not those of the relaxation.
    replicas : (N, K) whole numbers; without them each member has as many as pay, fractions included. With them
        limits are either kept or not, and have no price.
    target_usd : cost of the best plan that is known: with replicas, estimates above that need not be good.
    """
    count, size = rows.shape
    if capacity_usd is None:
        capacity_usd = sets.first_capacity_usd[rows]
    if limit_usd is None:
        limit_usd = np.broadcast_to(sets.first_limit_usd, (count, len(sets.limit)))
    chunk = max(1, _CHUNK // max(1, size * sets.load.shape[1]))
    parts = []
    for first in range(0, count, chunk):
        here = slice(first, first + chunk)
        if replicas is None:
            part = _relaxed(sets, rows[here], steps, capacity_usd[here], limit_usd[here])
        else:
            part = _given(
                sets, rows[here], steps, capacity_usd[here], limit_usd[here], replicas[here], target_usd
            )
        parts.append(part)
    if len(parts) == 1:
        return parts[0]
    columns = zip(*((p.usd, p.capacity_usd, p.limit_usd, p.load) for p in parts), strict=True)
    return Estimates(*(np.concatenate(column) for column in columns))


def _relaxed(sets: OpenSets, rows: Ints, steps: int, price: Floats, limit_usd: Floats) -> Estimates:
    routing = _Routing(sets, rows)
    counts = sets.counts[:, rows]  # (3, N, K)
    base = sets.cost(sets.counts)[:, rows]
    per_replica, once = sets.per_replica[:, rows], sets.once[:, rows].sum(axis=2).T  # (L, N, K), (N, L)
    low, high = sets.low[rows], sets.high[rows]
    limited = len(sets.limit) > 0
    best = np.full(len(rows), -np.inf)
    best_price, best_limit, loads, step = price, limit_usd, np.zeros(rows.shape), _FIRST_STEP
    weight = 0.0
    extra: Floats | float = 0.0
    for _ in range(steps):
        if limited:
            extra = np.einsum("nl,lnk->nk", limit_usd, per_replica)
        first, second = low + extra, high + extra
        usd, load, served = routing.best(price, sets.token_usd(limit_usd) if limited else None)
        total = usd + (base + (extra - price) * counts).min(axis=0).sum(axis=1)
        if limited:
            total = total + (limit_usd * (once - sets.limit)).sum(axis=1)
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
            if sets.has_budget:
                used[:, 0] += served @ sets.space.token_usd
            over = np.clip(4.0 * (used / sets.limit - 1.0), -1.0, 1.0)
            limit_usd = np.maximum(limit_usd + step * over * np.maximum(sets.price_scale, limit_usd), 0.0)
        ceiling = np.where(price < first, first, np.where(price < second, second, np.inf))
        floor = np.where(price > second, second, np.where(price > first, first, 0.0))
        move = step * np.clip(load - replicas, -1.0, 1.0) * np.maximum(high, price)
        price = np.clip(price + move, floor, ceiling)
        step *= _STEP_DECAY
    return Estimates(best + _impossible(sets, rows, None), best_price, best_limit, loads / weight)


def _given(
    sets: OpenSets,
    rows: Ints,
    steps: int,
    price: Floats,
    limit_usd: Floats,
    replicas: Floats,
    target_usd: float,
) -> Estimates:
    routing = _Routing(sets, rows)
    cost, scale = sets.cost(replicas, rows).sum(axis=1), sets.high[rows]
    best = np.full(len(rows), -np.inf)
    best_price, loads, ease = price, np.zeros(rows.shape), 1.0
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
        target = np.clip(target_usd, best + 0.02 * np.abs(best), best + 0.5 * np.abs(best))
        length = ease * (target - total) / np.maximum((over * over).sum(axis=1), 1e-12)
        price = np.maximum(price + length[:, None] * scale * over, 0.0)
        ease *= _EASE
    return Estimates(best + _impossible(sets, rows, replicas), best_price, limit_usd, loads)


def estimate_whole(sets: OpenSets, rows: Ints, relaxed: Estimates, steps: int, target_usd: float) -> Floats:
    """Return (N,) the least estimate of each set with whole replicas near those of ``relaxed``.

    Looked at are all loads rounded up, the one that is the least above a whole number rounded down, the least two,
    and so on until all are; and as many rounded up as limits allow.
    """
    size = rows.shape[1]
    member = rows < sets.num_candidates
    load = np.maximum(relaxed.load, 1.0)
    up = np.minimum(np.ceil(load - 1e-6), np.maximum(sets.cap[rows], 1.0))
    down = np.minimum(np.floor(load + 1e-6), up)
    open_ = (down < up) & member
    above = np.argsort(np.where(open_, load - down, np.inf), axis=1, kind="stable")
    place = np.argsort(above, axis=1, kind="stable")
    fewer = place[:, None, :] < np.arange(size + 2)[:, None]  # (N, K + 2, K)
    options = np.where(fewer, down[:, None], up[:, None])
    options[:, -1] = _fitting(sets, rows, load, down, up)
    options = np.where(member[:, None], options, 0.0)
    keep = np.arange(size + 2) <= open_.sum(axis=1)[:, None]
    keep[:, -1] = (options[:, -1] < options[:, 0]).any(axis=1)
    n, option = np.nonzero(keep)
    found = estimate(
        sets, rows[n], steps, relaxed.capacity_usd[n], relaxed.limit_usd[n], options[n, option], target_usd
    )
    usd = np.full(keep.shape, np.inf)
    usd[n, option] = found.usd
    least: Floats = usd.min(axis=1)
    return least


def _fitting(sets: OpenSets, rows: Ints, load: Floats, down: Floats, up: Floats) -> Floats:
    """Return (N, K) replicas rounded up where limits leave room for it, those nearest to the next number first."""
    if not len(sets.limit):
        return up
    per_replica = sets.per_replica[:, rows]  # (L, N, K)
    left = sets.limit[:, None] - (per_replica * down + sets.once[:, rows]).sum(axis=2)  # (L, N)
    replicas, every = down.copy(), np.arange(len(rows))
    for k in np.argsort(down - load, axis=1, kind="stable").T:
        more = (up - down)[every, k]
        use = per_replica[:, every, k] * more
        fits = (use <= left + 1e-9).all(axis=0)
        replicas[every, k] += np.where(fits, more, 0.0)
        left = left - np.where(fits, use, 0.0)
    return replicas


def _impossible(sets: OpenSets, rows: Ints, replicas: Floats | None) -> Floats:
    """Return (N,) what bars sets of which the replicas, or one of each, are more than a limit lets be."""
    count = np.where(rows < sets.num_candidates, 1.0, 0.0) if replicas is None else replicas
    used = (sets.per_replica[:, rows] * count + sets.once[:, rows]).sum(axis=2)
    limit = sets.limit[:, None]
    barred = (used > limit + 1e-9 * np.maximum(limit, 1.0)).any(axis=0)
    if np.isfinite(sets.space.storage_gb):
        barred |= sets.weights_gb[rows].sum(axis=1) > sets.space.storage_gb + 1e-6
    return np.where(barred, BARRED, 0.0)


class _Routing:
    """The cheapest routing over N sets, where capacity has a price and no limit.

    Arrays over all types of all sets, n of them, have members first: (K, n).
    """

    def __init__(self, sets: OpenSets, rows: Ints) -> None:
        self._sets = sets
        self._shape = (len(rows), sets.load.shape[1])
        of_members = rows.T
        self._usd, self._load, self._excess = (
            of_all[of_members].reshape(len(of_members), -1)
            for of_all in (sets.route_usd, sets.load, sets.excess)
        )
        self._set = np.repeat(np.arange(len(rows)), self._shape[1])

    def best(self, capacity_usd: Floats, token_usd: Floats | None) -> tuple[Floats, Floats, Floats]:
        """Return the price (N,), the load of each member (N, K), and what of each type is served (N, I)."""
        space = self._sets.space
        unit = np.repeat(capacity_usd.T, self._shape[1], axis=1)
        unit *= self._load
        unit += self._usd
        service = cheapest_service(unit, self._excess)
        value = service.usd.reshape(self._shape)
        if token_usd is not None:
            value = value + token_usd
        served = np.where(value < space.unmet_usd, 1.0, 1.0 - space.max_unmet)
        usd = self._sets.cheapest(value).sum(axis=1)
        load = self._filled(service.low, served.ravel() * (1.0 - service.part))
        if service.part.any():
            load += self._filled(service.high, served.ravel() * service.part)
        return usd, load, served

    def _filled(self, member: Ints, share: Floats) -> Floats:
        """Return (N, K) the replicas that a share (n,) of each type fills at one member (n,)."""
        count, size = self._shape[0], len(self._load)
        used = share * of_each(self._load, member)
        filled = np.bincount(self._set * size + member, weights=used, minlength=count * size)
        return filled.reshape(count, size).astype(np.float64, copy=False)
