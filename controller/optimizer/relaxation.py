"""A lower bound by column generation (Dantzig-Wolfe), and the prices that go with it.

The plain linear relaxation rents fractions of replicas, and is far too low on small fleets. Here a column is a
deployment with *whole* replicas and the shares it serves; only how much of each column is used may be a fraction.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from controller.domain.arrays import Floats
from controller.optimizer.column_generation import Bound, ColumnGeneration, FirstPrices, Usage
from controller.optimizer.pricing import Prices
from controller.optimizer.search import Search
from controller.optimizer.space import SearchSpace
from controller.optimizer.state import AllocationState

_ROUNDING = 1e-9
_USEFUL = 0.5
_SIZE_POWER, _LEAST_SERVED = 0.25, 0.0005


@dataclass(frozen=True, slots=True, eq=False)
class Relaxation:
    """What column generation has found out about a search space.

    With prices y, write ``base(y)`` for their value on the right-hand sides and on unmet demand, and ``c_d(y)`` for
    the least reduced cost of a column of deployment d. A plan that opens the deployments S, at most one of each
    pair, costs at least ``base(y) + Σ_{d in S} c_d(y)``: its limits hold, so pricing them only takes away. The bound
    takes for each pair p the worst that S may do, ``m_p = min(0, min_{d in p} c_d)``. Where d is known to be in S,
    its pair contributes ``c_d`` instead of ``m_p``, so that the plan costs at least ``bound + c_d - m_p``. That
    difference, never negative, is ``reduced_usd``: **a plan that opens d costs at least bound_usd + reduced_usd[d]**,
    and d can be left out where that is not below the cost of a plan which is known.

    Attributes
    ----------
    bound_usd : a cost that no plan is below; None where the generation was stopped before it had a useful one. Then
        ``reduced_usd`` only says which deployments are the better ones.
    value_usd : of the linear program over the columns; the bound has come up to it where generation was complete.
        inf where the program was never solved.
    prices : those that gave the bound.
    reduced_usd : (D,) >= 0, see above.
    served_usd : (D,) what the demand is worth that the best column of each deployment serves.
    weights : (D,) how much of each deployment the program uses: the sum of the weights of its columns, 0..1.
    rounds : linear programs solved.
    """

    bound_usd: float | None
    value_usd: float
    prices: Prices
    reduced_usd: Floats
    served_usd: Floats
    weights: Floats
    rounds: int

    @property
    def distance(self) -> Floats:
        """Return (D,) how far from use each deployment seems to be, >= 0.

        Reduced costs are differences of what is served and what that costs, and as wrong as prices are: by more where
        more is served, though errors of several types cancel out in part. By them alone what serves little comes
        first, whether it is any good or not. What serves next to nothing at these prices may still serve what is left
        over, and counts as if it served a little. The power was fitted to plans of other fleets
        (docs/mathematics.md).
        """
        all_usd = float(np.maximum(self.prices.demand_usd, 0.0).sum())
        scale = (self.served_usd + _LEAST_SERVED * all_usd) ** _SIZE_POWER
        distance = np.full(len(scale), np.inf)
        np.divide(self.reduced_usd, scale, out=distance, where=scale > 0)
        return distance

    @classmethod
    def of(cls, found: Bound, usage: Usage, served_usd: Floats) -> Relaxation:
        """Take a bound on all plans, and on those that open each deployment, with room for rounding."""
        margin = _ROUNDING * abs(found.usd)
        bound = max(found.usd - margin, 0.0)
        useful = usage.finished or usage.rounds == 0 or found.usd >= _USEFUL * usage.value_usd
        return cls(
            bound_usd=bound if useful else None,
            value_usd=usage.value_usd,
            prices=found.prices,
            reduced_usd=np.maximum(found.usd + found.rise_usd - margin - bound, 0.0),
            served_usd=served_usd,
            weights=usage.weights,
            rounds=usage.rounds,
        )


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
    first = FirstPrices.of(space, prices)
    if not space.num_deployments:
        return _nothing_opens(space, first.centers[0])
    generation = ColumnGeneration(space, first.least_usd, start)
    bound, usage = generation.run(first.centers, should_stop, rounds=rounds, gap=gap)
    offers = generation.offers(bound.prices)
    return Relaxation.of(Bound.of(space, bound.prices, offers.reduced_usd), usage, offers.served_usd)


def _nothing_opens(space: SearchSpace, prices: Prices) -> Relaxation:
    """Return the relaxation of a space without deployments: all demand is shed."""
    unmet_usd = float(space.unmet_usd.sum())
    nothing = np.zeros(0)
    usage = Usage(unmet_usd, nothing, 0, True)
    return Relaxation.of(Bound(unmet_usd, prices, nothing), usage, nothing)


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
