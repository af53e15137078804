"""Serving a type by two deployments: one that is over a mean limit and one below it, in just that proportion."""

from __future__ import annotations

import numpy as np

from controller.domain.arrays import Bools, Floats, Ints

_BARRED = 1e15
_TURNS = 3


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

    def with_candidates(self, members: Ints, unit: Floats, offer: Floats) -> Floats:
        """Return (K, G, n, M) the price of blending one member with one candidate.

        Parameters
        ----------
        unit : (K, I) price of each member. ``offer``: (G, n, I) of each candidate, at G prices of capacity.
        """
        n = offer.shape[1]
        mine, theirs = self.excess[members][:, None, :], self.excess[:n][None]
        opposite = mine * theirs < 0
        part = np.where(opposite, mine / np.where(opposite, mine - theirs, 1.0), 0.0)  # the candidate's share
        base = unit[:, None, None, self.types]
        barred = np.where(opposite, 0.0, _BARRED)[:, None]
        usd: Floats = base + part[:, None] * (offer[None][..., self.types] - base) + barred
        return usd


class BlendsOfSets:
    """The blends within N sets: ``excess`` (N, K, M) of their members, for the M types that may be blended."""

    def __init__(self, types: Ints, excess: Floats) -> None:
        self._types, self._excess = types, excess
        self._over = np.where(excess > 0, 0.0, np.inf)
        self._below = np.where(excess < 0, 0.0, np.inf)
        self._mixed = (excess > 0).any(axis=1) & (excess < 0).any(axis=1)  # (N, M)
        self._possible = bool(self._mixed.any())

    def improve(self, unit: Floats, value: Floats, share: Floats) -> None:
        """Put blends into ``value`` (N, I) and ``share`` (N, K, I) where they are cheaper than one member alone.

        Only where a member over the limit is cheaper than the best one alone a blend can be: the other part of it
        is at least as dear as that.
        """
        if not self._possible:
            return
        unit = unit[:, :, self._types]
        n, m = np.nonzero(self._mixed & ((unit + self._over).min(axis=1) < value[:, self._types]))
        if not len(n):
            return
        excess, own = self._excess[n, :, m], unit[n, :, m]  # (P, K)
        row = np.arange(len(n))
        low = (own + self._below[n, :, m]).argmin(axis=1)
        high = (own + self._over[n, :, m]).argmin(axis=1)
        best = np.full(len(n), -np.inf)
        for _ in range(_TURNS):
            # The line through both ends prices the mean; whoever is below that line takes the place of one of them.
            slope = np.maximum((own[row, low] - own[row, high]) / (excess[row, high] - excess[row, low]), 0.0)
            priced = np.where(excess != 0, own + slope[:, None] * excess, np.inf)
            member = priced.argmin(axis=1)
            best = np.maximum(best, priced[row, member])
            is_below = excess[row, member] < 0
            low, high = np.where(is_below, member, low), np.where(excess[row, member] > 0, member, high)
        i = self._types[m]
        better = np.flatnonzero(best < value[n, i] - 1e-12 * np.abs(best))
        n, i, low, high, row = n[better], i[better], low[better], high[better], row[better]
        below, over = excess[row, low], excess[row, high]
        part = -below / (over - below)
        value[n, i] = best[better]
        share[n, :, i] = 0.0
        share[n, low, i] = 1.0 - part
        share[n, high, i] = part

    def cheapest(self, unit: Floats) -> Floats:
        """Return (N, K, K, M) the price of blending each two members; barred where they are no blend."""
        unit = unit[:, :, self._types]
        below, over = self._excess[:, :, None, :], self._excess[:, None, :, :]
        real = (below < 0) & (over > 0)
        part = np.where(real, -below / np.where(real, over - below, 1.0), 0.0)
        usd = unit[:, :, None, :] * (1.0 - part) + part * unit[:, None, :, :]
        return np.where(real, usd, _BARRED)
