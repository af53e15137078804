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
    alone = np.where(excess > 0, BARRED, unit)
    usd, low = alone.min(axis=0), alone.argmin(axis=0)
    high, part = low.copy(), np.zeros(len(usd))
    at = np.flatnonzero((unit.min(axis=0) < usd) & (usd < BARRED))
    if len(at):
        blend = _cheapest_blend(unit.take(at, axis=1), excess.take(at, axis=1), low[at])
        usd[at], low[at], high[at], part[at] = blend.usd, blend.low, blend.high, blend.part
    return Service(usd, low, high, part)


def _cheapest_blend(unit: Floats, excess: Floats, low: Ints) -> Service:
    """Return the two whose lines meet under all others: ``low`` at or below the limit, ``high`` over it.

    Starts from the cheapest one below, ``low`` (n,), and the cheapest of all, which is over the limit.
    """
    high, at = unit.argmin(axis=0), np.arange(len(low))
    usd, part = np.zeros(len(low)), np.zeros(len(low))
    for _ in range(len(unit)):  # a line that was above has no second turn
        if not len(at):
            break
        low_usd, high_usd = of_each(unit, low[at]), of_each(unit, high[at])
        below, over = of_each(excess, low[at]), of_each(excess, high[at])
        part[at] = below / (below - over)
        usd[at] = (1.0 - part[at]) * low_usd + part[at] * high_usd
        every = unit + (low_usd - high_usd) / (over - below) * excess
        # Rounding is that of the terms, which may be far larger than their sum.
        rounding = _ROUNDING * (np.abs(low_usd) + np.abs(high_usd))
        left = np.flatnonzero(every.min(axis=0) < usd[at] - rounding)
        unit, excess, every = (array.take(left, axis=1) for array in (unit, excess, every))
        at, third = at[left], every.argmin(axis=0)
        is_over = of_each(excess, third) > 0
        high[at[is_over]], low[at[~is_over]] = third[is_over], third[~is_over]
    return Service(usd, low, high, part)


def of_each(values: Floats, row: Ints) -> Floats:
    """Return (n,) of each column of ``values`` (K, n) what stands in its ``row`` (n,)."""
    size = values.shape[1]
    found: Floats = values.ravel().take(row * size + np.arange(size))
    return found
