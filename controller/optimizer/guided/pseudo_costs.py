"""Pseudo-costs: what rounding a number is likely to cost, by what it has cost before."""

from __future__ import annotations

import numpy as np

from controller.domain.arrays import Bools, Floats, Ints


class PseudoCosts:
    """By how much the bound rose for each unit that a whole number was rounded down (0) or up (1).

    What is known of some says what to expect of others, in proportion to the prices ``unit_usd`` (n,) of a unit.
    """

    def __init__(self, unit_usd: Floats) -> None:
        self._unit_usd = unit_usd
        self._sum, self._count = np.zeros((2, len(unit_usd))), np.zeros((2, len(unit_usd)))
        self._total, self._known = [0.0, 0.0], [0, 0]

    def note(self, n: int, side: int, distance: float, rise: float) -> None:
        """Note that the bound rose by ``rise`` where number n was rounded by ``distance``."""
        by_unit = max(rise, 0.0) / distance
        self._total[side] += by_unit / float(self._unit_usd[n])
        self._known[side] += 1
        self._sum[side, n] += by_unit
        self._count[side, n] += 1.0

    def unknown(self, at: Ints) -> Bools:
        """Whether one of the sides has not been seen yet."""
        result: Bools = (self._count[:, at] == 0).any(axis=0)
        return result

    def rises(self, at: Ints, distance: Floats) -> Floats:
        """Return (2, n) what the bound is likely to rise by; by the mean of others where nothing is known."""
        sides = zip(self._total, self._known, strict=True)
        mean = np.array([[total / known if total > 0 else 1.0] for total, known in sides])
        count = self._count[:, at]
        by_unit = np.where(count > 0, self._sum[:, at] / np.maximum(count, 1.0), mean * self._unit_usd[at])
        rises: Floats = by_unit * distance
        return rises
