"""Serving a type by two deployments: one that is over a mean limit and one below it, in just that proportion."""

from __future__ import annotations

import numpy as np

from controller.domain.arrays import Bools, Floats, Ints

BARRED = 1e15
"""Price of what may not be."""


class Blends:
    """Who may be blended with whom, over n candidates and one for no member.

    Parameters
    ----------
    excess : (n + 1, I) by how much each is over the mean limit; Σ excess·x <= 0 must hold.
    allowed : (n + 1, I).
    """

    def __init__(self, excess: Floats, allowed: Bools) -> None:
        #: Types that may be served over their mean limit at all.
        self.types: Ints = np.flatnonzero(((excess > 0) & allowed).any(axis=0))
        self.excess = np.where(allowed, excess, 0.0)[:, self.types]

    def of(self, sets: Ints) -> BlendsOfSets:
        """Return the blends within ``sets`` (N, K)."""
        return BlendsOfSets(self.types, self.excess[sets])


class BlendsOfSets:
    """The blends within N sets: ``excess`` (N, K, M) of their members, for the M types that may be blended.

    There are Q combinations of a set, a type and a member over the limit that others can make up for. Those of the
    same *place*, a type in a set, stand together.
    """

    def __init__(self, types: Ints, excess: Floats) -> None:
        set_type_high = ((excess > 0) & (excess < 0).any(axis=1, keepdims=True)).transpose(0, 2, 1)
        n, m, high = np.nonzero(set_type_high)
        most, least = excess[n, high, m][:, None], excess[n, :, m]
        can = least < 0
        #: (Q, K) the share of the member over the limit, beside each other one; and what bars those that are no blend.
        self._part = np.where(can, least / np.where(can, least - most, 1.0), 0.0)
        self._bar = np.where(can, 0.0, BARRED)
        self._n, self._i, self._high = n, types[m], high
        is_first = np.diff(n * excess.shape[2] + m, prepend=-1) > 0
        self._first_of_place, self._place = np.flatnonzero(is_first), np.cumsum(is_first) - 1

    def improve(self, unit: Floats, value: Floats, share: Floats) -> None:
        """Put blends into ``value`` (N, I) and ``share`` (N, K, I) where they are cheaper than one member alone."""
        if not len(self._n):
            return
        _, size, num_types = unit.shape
        usd = unit.transpose(0, 2, 1).reshape(-1, size).take(self._n * num_types + self._i, axis=0)
        more = usd[np.arange(len(usd)), self._high][:, None] - usd
        more *= self._part
        usd += more
        usd += self._bar
        low = usd.argmin(axis=1)
        least = usd[np.arange(len(usd)), low]
        first = self._first_of_place
        of_place = np.minimum.reduceat(least, first)
        of_place[of_place >= value[self._n[first], self._i[first]]] = -np.inf
        q = np.flatnonzero(least == of_place[self._place])
        q = q[np.diff(self._place[q], prepend=-1) > 0]  # one of those alike
        n, i, low, high, part = self._n[q], self._i[q], low[q], self._high[q], self._part[q, low[q]]
        value[n, i] = least[q]
        share[n, :, i] = 0.0
        share[n, low, i] = 1.0 - part
        share[n, high, i] = part
