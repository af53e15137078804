"""Spread from a rule's own errors: the last W residuals of each query type, as an empirical distribution.

A residual is ``r = (y - f) / √max(f, 1)``: requests come about as a Poisson process does, so errors grow with the
square root of what is expected. (Other exponents of f than 1/2 are there to compare with.) Its quantile is the
``ceil((n + 1) τ)``-th smallest of n, the conformal rule, which covers τ on average whatever the distribution is.
Until ``TRUSTED`` were seen, a normal prior of standard deviation ``√((0.15 f)² + f)`` is blended in. Of n errors the
largest is not exceeded with probability ``n / (n + 1)``: further out the tail is normal. Weight and tail are the same
at all levels, so quantiles never cross. (docs/mathematics.md, "The estimators".)
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from controller.demand.forecasters import Floats

KEPT = 120
"""W: ten hours of five-minute windows. With more the spread lags behind the hour, with fewer it is noise."""
PRIOR_SPREAD = 0.15
"""Relative error that is assumed, beside the Poisson one, before errors were seen."""
TRUSTED = 40
"""Errors after which the prior counts for nothing."""
UPPER = 0.8413
"""Level of one standard deviation above the mean of a normal distribution."""
_SIDES = np.array([[1.0 - UPPER, UPPER]])
_LARGEST = 60_000.0
_NORMAL = NormalDist()

Ring = NDArray[np.float32]
"""Residuals (N, W), rounded to half precision: a margin needs no more than three digits, and they are kept in two
bytes each."""


def empty_ring(num: int, kept: int = KEPT) -> Ring:
    """Return the rings of ``num`` types without a residual; what is not there is inf, and sorts to the end."""
    return np.full((num, kept), np.inf, dtype=np.float32)


def push(ring: Ring, number: NDArray[np.int64], residuals: Floats) -> tuple[Ring, NDArray[np.int64]]:
    """Write a residual (N,) into each row, NaN for none, over the oldest; return rings and numbers ever written."""
    rows = np.flatnonzero(np.isfinite(residuals))
    ring, number = ring.copy(), number.copy()
    rounded = np.clip(residuals[rows], -_LARGEST, _LARGEST).astype(np.float16)
    ring[rows, number[rows] % ring.shape[1]] = rounded
    number[rows] += 1
    return ring, number


def residual(actual: Floats, forecast: Floats, exponent: float = 0.5) -> Floats:
    """Return r (N,) of counts and their forecasts; ``exponent`` 0 is the plain error, 1 the relative one."""
    scaled: Floats = (actual - forecast) / np.maximum(forecast, 1.0) ** exponent
    return scaled


@dataclass(frozen=True, slots=True)
class Spread:
    """The distribution around a forecast, for all types.

    Attributes
    ----------
    forecast : (N,) in requests.
    ordered : (N, W) residuals, ascending, inf behind the last.
    number : (N,) how many there are.
    exponent : of the forecast, by which errors are taken to grow.
    """

    forecast: Floats
    ordered: NDArray[np.float32]
    number: NDArray[np.int64]
    exponent: float = 0.5

    @classmethod
    def of(cls, forecast: Floats, ring: Ring, written: NDArray[np.int64], exponent: float = 0.5) -> Spread:
        """Sort the rings, once for all quantiles that are asked for."""
        return cls(forecast, np.sort(ring, axis=1), np.minimum(written, ring.shape[1]), exponent)

    def quantile(self, level: Floats | float) -> Floats:
        """Return the counts (N,) that are not exceeded with probability τ = ``level``, one or (N,)."""
        tau = np.broadcast_to(np.asarray(level, dtype=np.float64), self.forecast.shape)
        return self._at(tau[:, None], _normal_quantile(tau)[:, None])[:, 0]

    def scenarios(self, number: int) -> Floats:
        """Return (N, ``number``) equally likely counts, ascending: quantiles at the middles of as many levels."""
        tau = (np.arange(number)[None, :] + 0.5) / number
        return self._at(tau, _normal_quantile(tau))

    def stddev(self) -> Floats:
        """Return the standard deviation (N,) of the counts, in requests: half of what the middle 68 % span."""
        sides = self._at(_SIDES, _normal_quantile(_SIDES))
        span: Floats = sides[:, 1] - sides[:, 0]
        return span / 2.0

    def _at(self, tau: Floats, z: Floats) -> Floats:
        """Return the quantiles (N, L) at ``tau``, (N, L) or (1, L), whose normal quantiles are ``z``.

        Within the levels that the errors speak for they are the errors' own; beyond these a normal tail, as wide as
        the errors' middle, begins at the outermost. Each part rises in τ, and so does their sum.
        """
        forecast = self.forecast[:, None]
        outermost = np.maximum(self.number / (self.number + 1.0), 0.5)
        z_outermost, outermost = _normal_quantile(outermost)[:, None], outermost[:, None]
        inner_z = np.clip(z, -z_outermost, z_outermost)
        trust = np.minimum(self.number[:, None] / TRUSTED, 1.0)
        prior = np.sqrt((PRIOR_SPREAD * forecast) ** 2 + forecast)
        own = self._error(np.clip(tau, 1.0 - outermost, outermost))
        quantiles: Floats = forecast + trust * own + (1 - trust) * inner_z * prior
        beyond = z - inner_z
        if beyond.any():
            sides = self._error(_SIDES)
            middle = (sides[:, 1:] - sides[:, :1]) / 2.0
            quantiles += beyond * (trust * middle + (1 - trust) * prior)
        return np.maximum(quantiles, 0.0)

    def _error(self, tau: Floats) -> Floats:
        """Return the errors (N, L) not exceeded with probability ``tau``, in requests; 0 where there are none."""
        number = self.number[:, None]
        rank = np.minimum(np.ceil((number + 1) * tau - 1e-9).astype(np.int64), number)
        found = self.ordered[np.arange(len(number))[:, None], np.maximum(rank - 1, 0)]
        scale = np.maximum(self.forecast[:, None], 1.0) ** self.exponent
        errors: Floats = np.where(number > 0, found, 0.0) * scale
        return errors


def _normal_quantile(tau: Floats) -> Floats:
    if tau.size and (tau == tau.flat[0]).all():
        return np.full(tau.shape, _inverse_normal(float(tau.flat[0])))
    levels, where = np.unique(tau, return_inverse=True)
    found: Floats = np.array([_inverse_normal(float(level)) for level in levels])[where.reshape(tau.shape)]
    return found


@cache
def _inverse_normal(level: float) -> float:
    return _NORMAL.inv_cdf(level)
