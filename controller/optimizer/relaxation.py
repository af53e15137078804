"""A lower bound by column generation (Dantzig-Wolfe), and the prices that go with it.

The plain linear relaxation rents fractions of replicas, and is far too low on small fleets. Here a column is a
deployment with *whole* replicas and the shares it serves; only how much of each column is used may be a fraction.
For any prices of demand and limits, ``prices · right-hand sides + Σ_pairs min(0, best reduced cost)`` is below the
cost of every plan (Lagrangian duality), whether or not the generation has come to its end.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from controller.domain.arrays import Floats, Ints
from controller.optimizer.construct.candidates import alone_usd
from controller.optimizer.master import Master
from controller.optimizer.pricing import Columns, Pricer, Prices
from controller.optimizer.search import Search
from controller.optimizer.space import SearchSpace
from controller.optimizer.state import AllocationState

_COLUMNS_PER_ROUND = 40
_SMOOTHING = 0.3
_ROUNDING = 1e-9
_USEFUL = 0.5


@dataclass(frozen=True, slots=True, eq=False)
class Relaxation:
    """What column generation has found out about a search space.

    With prices y, write ``base(y)`` for their value on the right-hand sides and on unmet demand, and ``c_d(y)`` for
    the least reduced cost of a column of deployment d. A plan that opens the deployments S, at most one of each
    pair, costs at least ``base(y) + Σ_{d in S} c_d(y)``: its limits hold, so pricing them only takes away. The bound
    takes for each pair p the worst that S may do, ``m_p = min(0, min_{d in p} c_d)``. Where d is known to be in S,
    its pair contributes ``c_d`` instead of ``m_p``, so that the plan costs at least ``bound + c_d - m_p``. That
    difference, never negative, is ``reduced_usd``: **a plan that opens d costs at least bound_usd + reduced_usd[d]**,
    and d can be left out where that is not below the cost of a plan which is known. For two deployments of different
    pairs the differences add up.

    Attributes
    ----------
    bound_usd : a cost that no plan is below; None where the generation was stopped before it had a useful one. Then
        ``reduced_usd`` only says which deployments are the better ones.
    value_usd : of the linear program over the columns; the bound has come up to it where generation was complete.
        inf where the program was never solved.
    prices : those that gave the bound.
    reduced_usd : (D,) >= 0, see above.
    weights : (D,) how much of each deployment the program uses: the sum of the weights of its columns, 0..1.
    replicas : (D,) what it rents, fractions of replicas. ``shares``: (I, D) what it routes.
    rounds : linear programs solved.
    """

    bound_usd: float | None
    value_usd: float
    prices: Prices
    reduced_usd: Floats
    weights: Floats
    replicas: Floats
    shares: Floats
    rounds: int


def relax(
    space: SearchSpace,
    should_stop: Callable[[], bool] = lambda: False,
    *,
    rounds: int = 200,
    gap: float = 1e-3,
    prices: Prices | None = None,
    start: AllocationState | None = None,
) -> Relaxation:
    """Generate columns until bound and program meet, or until told to stop; the outcome is valid at any time.

    Parameters
    ----------
    should_stop : asked once a round.
    rounds : most linear programs to solve; with 0 the bound is the one of the starting prices.
    gap : relative distance of bound and program that is close enough.
    prices : to start from, such as those of the last horizon, :meth:`Prices.rescaled` to its rates. What is not
        finite in them is filled in.
    start : a plan whose deployments are among the first columns.
    """
    center = _first_prices(space, prices)
    if not space.num_deployments:
        nothing = float(space.unmet_usd.sum())
        return _relaxation(space, _Bound(nothing, center, np.zeros(0)), nothing, None, 0)
    pricer, master = Pricer(space), Master(space)
    if start is not None:
        master.add(Columns(start.open, start.replicas[start.open], start.shares[:, start.open].T))
    reduced = pricer.price(center)
    best = _Bound.of(space, center, pricer.floor(center, reduced))
    master.add(pricer.columns(center, _promising(space, reduced)))
    value, smoothing, solved = np.inf, _SMOOTHING, 0
    while solved < rounds:
        value, duals = master.solve()
        solved += 1
        tried = duals.blend(best.prices, smoothing)
        reduced = pricer.price(tried)
        # The exact floor is below the reduced costs: it is only worth a look where these would do.
        if _Bound.of(space, tried, reduced).usd > best.usd:
            bound = _Bound.of(space, tried, pricer.floor(tried, reduced))
            best = bound if bound.usd > best.usd else best
        if value - best.usd <= gap * abs(value) or should_stop():
            break
        at = _promising(space, reduced - tried.pair_usd[space.pair])
        added = master.add(pricer.columns(tried, at))
        if not added and smoothing == 0.0:
            break
        # Where smoothed prices find nothing new, the next round takes the duals as they are.
        smoothing = _SMOOTHING if added else 0.0
    best = _Bound.of(space, best.prices, pricer.exact_floor(best.prices))
    return _relaxation(space, best, value, master, solved)


def add_lower_bound(search: Search) -> None:
    """Give a search its bound, in no more than its part of the time that is left."""
    params = search.params
    if params.bound_share == 0.0:
        return
    left_s = search.stop.remaining_s()
    until_s = left_s * (1.0 - params.bound_share) if math.isfinite(left_s) else -math.inf
    search.lower_bound_usd = relax(
        search.space,
        lambda: search.stop.remaining_s() <= until_s,
        rounds=params.bound_rounds,
        gap=params.bound_gap,
        start=search.best,
    ).bound_usd


@dataclass(frozen=True, slots=True, eq=False)
class _Bound:
    """The Lagrangian value of ``prices``, and by how much it rises (D,) where a deployment is open."""

    usd: float
    prices: Prices
    rise_usd: Floats

    @classmethod
    def of(cls, space: SearchSpace, prices: Prices, reduced_usd: Floats) -> _Bound:
        """Bound the cost of any plan, given a number below every reduced cost for each deployment (D,)."""
        least = np.minimum(np.minimum.reduceat(reduced_usd, space.first_of_pair), 0.0)
        finite = np.isfinite(space.available)
        limits = float(prices.gpu_usd[finite] @ space.available[finite])
        if np.isfinite(space.budget_usd):
            limits += prices.budget * space.budget_usd
        if np.isfinite(space.storage_gb):
            limits += prices.storage_usd_per_gb * space.storage_gb
        unmet = space.max_unmet * np.minimum(space.unmet_usd - prices.demand_usd, 0.0)
        usd = float(prices.demand_usd.sum() + limits + unmet.sum() + least.sum())
        return cls(usd, prices, reduced_usd - least[space.pair])


def _relaxation(
    space: SearchSpace, best: _Bound, value_usd: float, master: Master | None, rounds: int
) -> Relaxation:
    safe = best.usd - _ROUNDING * abs(best.usd)
    bound = max(safe, 0.0)
    num = space.num_deployments
    weights, replicas, shares = np.zeros(num), np.zeros(num), np.zeros((space.num_types, num))
    if master is not None:
        weights, replicas, shares = master.usage()
    return Relaxation(
        bound_usd=bound if rounds == 0 or best.usd >= _USEFUL * value_usd else None,
        value_usd=float(value_usd),
        prices=best.prices,
        reduced_usd=np.maximum(safe + best.rise_usd - bound, 0.0),
        weights=weights,
        replicas=replicas,
        shares=shares,
        rounds=rounds,
    )


def _first_prices(space: SearchSpace, known: Prices | None) -> Prices:
    """Return prices to begin with: known ones, else what each type costs by itself, at most its penalty."""
    alone = alone_usd(space).min(axis=1, initial=np.inf)
    demand = np.where(
        space.max_unmet < 1.0, np.where(np.isfinite(alone), alone, 0.0), np.minimum(alone, space.unmet_usd)
    )
    if known is None:
        return Prices(
            demand_usd=demand,
            excess_usd=np.zeros(space.excess.shape[:2]),
            budget=0.0,
            storage_usd_per_gb=0.0,
            gpu_usd=np.zeros(len(space.available)),
            pair_usd=np.zeros(space.num_pairs),
        )
    return Prices(
        demand_usd=np.where(np.isfinite(known.demand_usd), known.demand_usd, demand),
        excess_usd=np.where(np.isfinite(known.excess_usd), np.minimum(known.excess_usd, 0.0), 0.0),
        budget=known.budget if np.isfinite(space.budget_usd) else 0.0,
        storage_usd_per_gb=known.storage_usd_per_gb if np.isfinite(space.storage_gb) else 0.0,
        gpu_usd=np.where(np.isfinite(space.available), known.gpu_usd, 0.0),
        pair_usd=np.zeros(space.num_pairs),
    )


def _promising(space: SearchSpace, reduced_usd: Floats) -> Ints:
    """Return the best deployment of each pair, of those that pay, the best first; not too many at once."""
    least = np.minimum.reduceat(reduced_usd, space.first_of_pair)
    at = np.flatnonzero((reduced_usd == least[space.pair]) & (reduced_usd < -_ROUNDING))
    order = at[np.argsort(reduced_usd[at], kind="stable")]
    return order[:_COLUMNS_PER_ROUND]
