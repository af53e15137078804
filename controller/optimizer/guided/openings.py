"""What a branch and bound knows of opening, beside the linear program that it solves.

To open a deployment costs little beside its rent, the storage of its weights, and costs it once, however many replicas
it has. As columns and rows of a linear program that makes each solve slower, and says little: with parts of replicas
only the same part of that price is paid. Here it is added to the program's own objective where a branch has settled
that a deployment is open.
"""

from __future__ import annotations

import numpy as np

from controller.domain.arrays import Bools, Floats, Ints

_NONE: Ints = np.zeros(0, dtype=np.int64)


class Openings:
    """Prices and flags of n whole numbers.

    Parameters
    ----------
    once_usd : (n,) >= 0, what each number costs where it is not 0, whatever it is; not in the program's objective.
    flags, counts : (m,) each: a number in ``flags`` is 1 exactly where the one in ``counts`` is not 0. That a count is
        0 where its flag is must be in the program, the other way need not be.
    """

    def __init__(self, once_usd: Floats, flags: Ints = _NONE, counts: Ints = _NONE) -> None:
        self._once_usd, self._has_prices = once_usd, bool(once_usd.any())
        self._flags, self._counts = flags, counts
        pairs = list(zip(flags.tolist(), counts.tolist(), strict=True))
        self._partner: dict[int, int] = dict([*pairs, *((count, flag) for flag, count in pairs)])

    def charged_usd(self, least: Floats) -> float:
        """Return what it costs that numbers are at least ``least`` (n,); of a solution, all that it costs."""
        return float(self._once_usd[least >= 1.0].sum()) if self._has_prices else 0.0

    def uncharged(self, whole: Floats, least: Floats) -> list[tuple[int, float]]:
        """Return the numbers that ``whole`` (n,) opens and ``least`` does not, with what they cost, dearest first."""
        at = np.flatnonzero((whole >= 1.0) & (least < 1.0) & (self._once_usd > 0))
        at = at[np.argsort(-self._once_usd[at], kind="stable")]
        return list(zip(at.tolist(), self._once_usd[at].tolist(), strict=True))

    def settle(self, n: int, less: Floats, more: Floats) -> None:
        """Write what it means for its partner that number n is at most ``less[n]``, or at least ``more[n]``."""
        partner = self._partner.get(n)
        if partner is None:
            return
        if less[n] < 1.0:
            less[partner] = 0.0
        if more[n] >= 1.0:
            more[partner] = max(more[partner], 1.0)

    def distinct(self, fractions: Bools, whole: Floats) -> Bools:
        """Return ``fractions`` (n,) without flags the branch of which would be the same as that of their count."""
        if not len(self._flags):
            return fractions
        result = fractions.copy()
        result[self._flags[fractions[self._counts] & (whole[self._counts] < 1.0)]] = False
        return result
