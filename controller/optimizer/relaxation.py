"""A lower bound by column generation (Dantzig-Wolfe).

The plain linear relaxation rents fractions of replicas, and is far too low on small fleets. Here a column is a
deployment with *whole* replicas and the shares it serves; only how much of each column is used may be a fraction.
For any prices of demand and limits, ``prices · right-hand sides + Σ_pairs min(0, best reduced cost)`` is below the
cost of every plan (Lagrangian duality), whether or not the generation has come to its end.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from controller.domain.arrays import Floats, Ints
from controller.optimizer.construct.candidates import alone_usd
from controller.optimizer.master import Master
from controller.optimizer.params import Params
from controller.optimizer.pricing import Columns, Pricer, Prices
from controller.optimizer.search import Search
from controller.optimizer.space import SearchSpace
from controller.optimizer.state import AllocationState

_COLUMNS_PER_ROUND = 40
_SMOOTHING = 0.3
_ROUNDING = 1e-9
_USEFUL = 0.5


def lower_bound(
    space: SearchSpace,
    params: Params,
    should_stop: Callable[[], bool],
    start: AllocationState | None = None,
) -> float | None:
    """Return a cost that no plan is below, or None where the generation was stopped before it had a useful one.

    Parameters
    ----------
    start : a plan whose deployments are among the first columns.
    """
    if not space.num_deployments:
        return float(space.unmet_usd.sum())
    pricer, master = Pricer(space), Master(space)
    if start is not None:
        master.add(start.open, Columns(np.zeros(space.num_deployments), start.replicas, start.shares.T))
    first = _alone_prices(space)
    columns = pricer.price(first)
    best, center = lagrangian_bound(space, first, pricer.bound(first, columns)), first
    master.add(_promising(space, columns.reduced_usd), columns)
    value, smoothing = np.inf, _SMOOTHING
    for _ in range(params.bound_rounds):
        value, duals = master.solve()
        prices = duals.blend(center, smoothing)
        columns = pricer.price(prices)
        bound = lagrangian_bound(space, prices, pricer.bound(prices, columns))
        if bound > best:
            best, center = bound, prices
        if value - best <= params.bound_gap * abs(value) or should_stop():
            break
        added = master.add(_promising(space, columns.reduced_usd - prices.pair_usd[space.pair]), columns)
        if not added and smoothing == 0.0:
            break
        # Where smoothed prices find nothing new, the next round takes the duals as they are.
        smoothing = _SMOOTHING if added else 0.0
    useful = best >= _USEFUL * value
    return max(best - _ROUNDING * abs(best), 0.0) if useful else None


def add_lower_bound(search: Search) -> None:
    """Give a search its bound, in no more than its part of the time that is left."""
    if search.params.bound_share == 0.0:
        return
    left_s = search.stop.remaining_s()
    until_s = left_s * (1.0 - search.params.bound_share) if math.isfinite(left_s) else -math.inf
    search.lower_bound_usd = lower_bound(
        search.space, search.params, lambda: search.stop.remaining_s() <= until_s, search.best
    )


def lagrangian_bound(space: SearchSpace, prices: Prices, reduced_usd: Floats) -> float:
    """Return the Lagrangian value of ``prices``, given a number below every reduced cost for each deployment (D,)."""
    least = np.zeros(space.num_pairs)
    np.minimum.at(least, space.pair, reduced_usd)
    finite = np.isfinite(space.available)
    limits = float(prices.gpu_usd[finite] @ space.available[finite])
    if np.isfinite(space.budget_usd):
        limits += prices.budget * space.budget_usd
    if np.isfinite(space.storage_gb):
        limits += prices.storage_usd_per_gb * space.storage_gb
    unmet = space.max_unmet * np.minimum(space.unmet_usd - prices.demand_usd, 0.0)
    return float(prices.demand_usd.sum() + limits + unmet.sum() + least.sum())


def _alone_prices(space: SearchSpace) -> Prices:
    """Return prices to begin with: what each type costs by itself, at most its penalty."""
    alone = alone_usd(space).min(axis=1, initial=np.inf)
    return Prices(
        demand_usd=np.where(
            space.max_unmet < 1.0,
            np.where(np.isfinite(alone), alone, 0.0),
            np.minimum(alone, space.unmet_usd),
        ),
        excess_usd=np.zeros(space.excess.shape[:2]),
        budget=0.0,
        storage_usd_per_gb=0.0,
        gpu_usd=np.zeros(len(space.available)),
        pair_usd=np.zeros(space.num_pairs),
    )


def _promising(space: SearchSpace, reduced_usd: Floats) -> Ints:
    """Return the best deployment of each pair, of those that pay, the best first; not too many at once."""
    order = np.argsort(reduced_usd, kind="stable")
    order = order[reduced_usd[order] < -_ROUNDING]
    first = np.sort(np.unique(space.pair[order], return_index=True)[1])
    return order[first][:_COLUMNS_PER_ROUND]
