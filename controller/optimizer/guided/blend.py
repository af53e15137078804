"""Serving a type by two deployments: one that is over a mean limit and one below it, in just that proportion."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from controller.domain.arrays import Floats, Ints

BARRED = 1e15
"""Price of what may not be."""
_ROUNDING = 1e-12


@dataclass(frozen=True, slots=True, eq=False)
class Service:
    """How each of n types is served: by one of K deployments, or by two.

    Attributes
    ----------
    usd : (n,) prices, ``BARRED`` or more where none may serve a type.
    low, high : (n,) the deployments. ``part``: (n,) what ``high`` has of it; 0 where ``low`` serves all.
    """

    usd: Floats
    low: Ints
    high: Ints
    part: Floats


def cheapest_service(unit: Floats, excess: Floats) -> Service:
    """Return the cheapest service by one deployment, or by two whose mean is just at the limit.

    With a price μ on the excess a type costs ``min_k (unit_k + μ excess_k)``, a concave function of μ, and the best
    blend costs its maximum. Two deployments' lines meet at a μ beyond which neither can be better; as long as a third
    one is below them there, it takes the place of the one on its side of the limit.

    Parameters
    ----------
    unit : (K, n) prices, barred where a type is not allowed.
    excess : (K, n) by how much each is over the mean limit; Σ excess·x <= 0 must hold.
    """
    over_limit = excess > 0
    alone = np.where(over_limit, BARRED, unit)
    usd, low = alone.min(axis=0), alone.argmin(axis=0)
    high, part = low.copy(), np.zeros(len(usd))
    at = np.flatnonzero((unit.min(axis=0) < usd) & (usd < BARRED))
    if len(at):
        lines = _Lines(unit.take(at, axis=1), excess.take(at, axis=1), low[at])
        lines.meet()
        usd[at], low[at], high[at], part[at] = lines.usd, lines.low, lines.high, lines.part
    return Service(usd, low, high, part)


class _Lines:
    """What n types cost by a price on the excess: a line for each of K deployments, ``usd + μ excess`` (K, n)."""

    def __init__(self, usd: Floats, excess: Floats, low: Ints) -> None:
        self._usd, self._excess = usd, excess
        self.low, self.high = low, usd.argmin(axis=0)
        self.usd: Floats = np.zeros(len(low))
        self.part: Floats = np.zeros(len(low))

    def meet(self) -> None:
        """Find the two lines that meet under all others: ``low`` at or below the limit, ``high`` over it."""
        usd, excess, at = self._usd, self._excess, np.arange(len(self.low))
        for _ in range(len(usd)):  # a line that was above has no second turn
            if not len(at):
                break
            low, high = of_each(usd, self.low[at]), of_each(usd, self.high[at])
            below, over = of_each(excess, self.low[at]), of_each(excess, self.high[at])
            part = below / (below - over)
            least = (1.0 - part) * low + part * high
            self.usd[at], self.part[at] = least, part
            every = usd + (low - high) / (over - below) * excess
            # Rounding is that of the terms, which may be far larger than their sum.
            left = np.flatnonzero(every.min(axis=0) < least - _ROUNDING * (np.abs(low) + np.abs(high)))
            usd, excess, every = (array.take(left, axis=1) for array in (usd, excess, every))
            at, third = at[left], every.argmin(axis=0)
            is_over = of_each(excess, third) > 0
            self.high[at[is_over]], self.low[at[~is_over]] = third[is_over], third[~is_over]


def of_each(values: Floats, row: Ints) -> Floats:
    """Return (n,) of each column of ``values`` (K, n) what stands in its ``row`` (n,)."""
    size = values.shape[1]
    found: Floats = values.ravel().take(row * size + np.arange(size))
    return found
