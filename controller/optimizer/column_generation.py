"""Column generation: the master problem and the pricing in turn, with the Lagrangian bound of the prices on the way.

For any prices of demand and limits, ``prices · right-hand sides + Σ_pairs min(0, best reduced cost)`` is below the
cost of every plan (Lagrangian duality), whether or not the generation has come to its end (docs/mathematics.md).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from controller.domain.arrays import Floats, Ints
from controller.optimizer.construct.candidates import alone_usd
from controller.optimizer.master import Master, dearest_usd
from controller.optimizer.pricing import Columns, Offers, Pricer, Prices
from controller.optimizer.space import SearchSpace
from controller.optimizer.state import AllocationState

_COLUMNS_PER_ROUND = 40
_SMOOTHING = 0.3
_ROUNDING = 1e-9
_PRICE_STEPS = 16
_HELD_FROM, _HELD_TO = 0.9, 3.0
_RELEASE_GAP = 5.0


@dataclass(frozen=True, slots=True, eq=False)
class Bound:
    """The Lagrangian value of ``prices``, and by how much it rises (D,) where a deployment is known to be open."""

    usd: float
    prices: Prices
    rise_usd: Floats

    @classmethod
    def of(cls, space: SearchSpace, prices: Prices, reduced_usd: Floats) -> Bound:
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


@dataclass(frozen=True, slots=True, eq=False)
class Usage:
    """What the master's solution uses of each deployment: weights (D,), and its value.

    ``finished`` where no column is left that would improve it.
    """

    value_usd: float
    weights: Floats
    rounds: int
    finished: bool


class ColumnGeneration:
    """Generates columns for a search space with at least one deployment; what it has generated stays.

    Parameters
    ----------
    least_usd : (I,) what no type is served below, 0 where that is not known: as long as that brings new columns, the
        prices of demand stay within a range above it.
    start : a plan whose deployments are among the first columns.
    """

    def __init__(self, space: SearchSpace, least_usd: Floats, start: AllocationState | None = None) -> None:
        self.space = space
        # Sold for more than it costs to serve, demand would make the program unbounded.
        high = np.where(least_usd > 0, _HELD_TO * least_usd, dearest_usd(space))
        self._pricer, self._master = Pricer(space), Master(space, (_HELD_FROM * least_usd, high))
        if start is not None:
            self._master.add(Columns(start.open, start.replicas[start.open], start.shares[:, start.open].T))

    def run(
        self,
        centers: Sequence[Prices],
        should_stop: Callable[[], bool],
        *,
        rounds: int,
        gap: float,
    ) -> tuple[Bound, Usage]:
        """Return the best bound found and what the last program uses.

        Parameters
        ----------
        centers : prices to start from; every round keeps a part of the best ones so far.
        should_stop : asked once a round.
        rounds : most programs to solve. ``gap``: relative distance of bound and program that is close enough.
        """
        space, pricer, master = self.space, self._pricer, self._master
        found = []
        for center in centers:
            reduced = pricer.price(center)
            found.append(self._bound(center, reduced))
            master.add(pricer.columns(center, _promising(space, reduced)))
        best = max(found, key=lambda bound: bound.usd)
        value, smoothing, solved, finished = np.inf, _SMOOTHING, 0, False
        while solved < rounds:
            value, duals = master.solve()
            solved += 1
            tried = duals.blend(best.prices, smoothing)
            reduced = pricer.price(tried)
            # The exact floor is below the reduced costs: it is only worth a look where these would do.
            if Bound.of(space, tried, reduced).usd > best.usd:
                bound = self._bound(tried, reduced)
                best = bound if bound.usd > best.usd else best
            if should_stop():
                break
            if value - best.usd <= (_RELEASE_GAP if master.is_held else 1.0) * gap * abs(value):
                if not master.is_held:
                    break
                master.release()
                continue
            at = _promising(space, reduced - tried.pair_usd[space.pair])
            added = master.add(pricer.columns(tried, at))
            if not added and smoothing == 0.0:
                if not master.is_held:
                    finished = True
                    break
                master.release()
            # Where smoothed prices find nothing new, the next round takes the duals as they are.
            smoothing = _SMOOTHING if added else 0.0
        return best, Usage(float(value), master.weights(), solved, finished)

    def offers(self, prices: Prices) -> Offers:
        """Return what every deployment offers at ``prices``, not only those that matter to their bound."""
        return self._pricer.offers(prices)

    def _bound(self, prices: Prices, reduced_usd: Floats) -> Bound:
        return Bound.of(self.space, prices, self._pricer.floor(prices, reduced_usd))


@dataclass(frozen=True, slots=True, eq=False)
class FirstPrices:
    """Prices to begin with, and (I,) what no type is served below; 0 where nobody may serve it."""

    centers: tuple[Prices, ...]
    least_usd: Floats

    @classmethod
    def of(cls, space: SearchSpace, known: Prices | None = None) -> FirstPrices:
        """Take known prices, else what types cost by themselves, and as parts of full replicas.

        The first are too high and bring columns that many types share; the second are a bound as they are.
        """
        # What must be served may cost anything.
        served = np.where(space.max_unmet < 1.0, np.inf, space.unmet_usd)
        alone = np.minimum(alone_usd(space).min(axis=1, initial=np.inf), served)
        part, error_usd = _mixed_parts(space)
        part = np.minimum(part, served)
        alone, part = np.where(np.isfinite(alone), alone, 0.0), np.where(np.isfinite(part), part, 0.0)
        if known is None:
            excess_usd = np.zeros(space.excess.shape[:2])
            excess_usd[0] = error_usd
            least = replace(_demand_prices(space, part), excess_usd=excess_usd)
            return cls((_demand_prices(space, alone), least), part)
        prices = replace(
            _demand_prices(space, np.where(np.isfinite(known.demand_usd), known.demand_usd, part)),
            excess_usd=np.where(np.isfinite(known.excess_usd), np.minimum(known.excess_usd, 0.0), 0.0),
            gpu_usd=np.where(np.isfinite(space.available), known.gpu_usd, 0.0),
            budget=known.budget if np.isfinite(space.budget_usd) else 0.0,
            storage_usd_per_gb=known.storage_usd_per_gb if np.isfinite(space.storage_gb) else 0.0,
        )
        return cls((prices,), part)


def _mixed_parts(space: SearchSpace) -> tuple[Floats, Floats]:
    """Return (I,) the price of each type in parts of full replicas, and (I,) <= 0 of its error, which makes it dearest.

    The price of an error is right where the cheapest route of a type changes from one above its SLO to one below.
    """
    if not space.num_deployments:
        return np.full(space.num_types, np.inf), np.zeros(space.num_types)
    load = np.maximum(space.compute, space.memory)
    # What follows goes by types: all deployments of one stand together.
    usd = np.ascontiguousarray(np.where(space.allowed, space.route_usd + space.rent_usd * load, np.inf))
    error = np.ascontiguousarray(np.where(space.allowed, space.excess[0], 0.0))
    types = np.arange(space.num_types)
    span = np.where(space.allowed, usd, -np.inf).max(axis=1) - usd.min(axis=1)
    below = -error.min(axis=1)
    low, high = (
        np.zeros(space.num_types),
        np.where((below > 0) & (span > 0), span / np.maximum(below, 1e-12), 0.0),
    )
    best, at = usd.min(axis=1), low.copy()
    total = np.empty_like(usd)
    for _ in range(_PRICE_STEPS):
        middle = 0.5 * (low + high)
        np.multiply(error, middle[:, None], out=total)
        total += usd
        cheapest = total.argmin(axis=1)
        price = total[types, cheapest]
        better = price > best
        best, at = np.where(better, price, best), np.where(better, middle, at)
        over = error[types, cheapest] > 0
        low, high = np.where(over, middle, low), np.where(over, high, middle)
    return best, -at


def _demand_prices(space: SearchSpace, demand_usd: Floats) -> Prices:
    return Prices(
        demand_usd=demand_usd,
        excess_usd=np.zeros(space.excess.shape[:2]),
        budget=0.0,
        storage_usd_per_gb=0.0,
        gpu_usd=np.zeros(len(space.available)),
        pair_usd=np.zeros(space.num_pairs),
    )


def _promising(space: SearchSpace, reduced_usd: Floats) -> Ints:
    """Return the best deployment of each pair, of those that pay, the best first; not too many at once."""
    least = np.minimum.reduceat(reduced_usd, space.first_of_pair)
    at = np.flatnonzero((reduced_usd == least[space.pair]) & (reduced_usd < -_ROUNDING))
    order = at[np.argsort(reduced_usd[at], kind="stable")]
    return order[: max(_COLUMNS_PER_ROUND, 2 * space.num_types)]
