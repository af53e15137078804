"""Serving a type by two deployments: one that is over a mean limit and one below it, in just that proportion."""

from __future__ import annotations

import numpy as np

from controller.domain.arrays import Bools, Floats, Ints

_BARRED = 1e15


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
    """The blends within N sets: ``excess`` (N, K, M) of their members, for the M types that may be blended."""

    def __init__(self, types: Ints, excess: Floats) -> None:
        #: Q combinations of a set, a member over the limit, and a type that others can make up for.
        self._n, self._high, m = np.nonzero((excess > 0) & (excess < 0).any(axis=1, keepdims=True))
        self._i = types[m]
        most, least = excess[self._n, self._high, m][:, None], excess[self._n, :, m]
        can = least < 0
        #: (Q, K) the share of the member over the limit, beside each other one; and what bars those that are no blend.
        self._part = np.where(can, least / np.where(can, least - most, 1.0), 0.0)
        self._bar = np.where(can, 0.0, _BARRED)

    def improve(self, unit: Floats, value: Floats, share: Floats) -> None:
        """Put blends into ``value`` (N, I) and ``share`` (N, K, I) where they are cheaper than one member alone.

        Only where a member over the limit is cheaper than the best one alone a blend can be: the other part of it
        is at least as dear as that.
        """
        high_usd = unit[self._n, self._high, self._i]
        q = np.flatnonzero(high_usd < value[self._n, self._i])
        if not len(q):
            return
        n, i, part = self._n[q], self._i[q], self._part[q]
        own = unit[n, :, i]
        usd = part * (high_usd[q][:, None] - own)
        usd += own
        usd += self._bar[q]
        low = usd.argmin(axis=1)
        usd, part = (array[np.arange(len(q)), low] for array in (usd, part))
        np.minimum.at(value, (n, i), usd)
        best = np.flatnonzero(usd <= value[n, i])
        best = best[np.unique(n[best] * value.shape[1] + i[best], return_index=True)[1]]  # one of those alike
        n, i, low, part, high = n[best], i[best], low[best], part[best], self._high[q[best]]
        share[n, :, i] = 0.0
        share[n, low, i] = 1.0 - part
        share[n, high, i] = part
