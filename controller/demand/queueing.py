"""Queueing headroom: how much more than the mean must fit, so that few requests wait for longer than they can.

Halfin and Whitt's square-root rule with the peakedness of the arrivals in place of 1 (docs/mathematics.md, "Headroom").
"""

from __future__ import annotations

import numpy as np

from controller.demand.forecasters import Bools, Floats

LEAST_PEAKEDNESS = 0.3
_ROUNDS = 60


def capacity_factor(
    rate_per_s: Floats,
    service_s: Floats,
    wait_s: Floats,
    index: Floats,
    late_share: float,
    service_cv2: float = 1.0,
) -> Floats:
    """Return c / a (N,): slots that are needed over slots that are busy on average; at least 1.

    The smallest ``c > a`` with ``α(β) exp(-(c - a) w / (S z)) <= ε``, where ``β = (c - a) / √(a z)`` and
    ``α(β) = 1 / (1 + β Φ(β) / φ(β))``.

    Parameters
    ----------
    rate_per_s, service_s, wait_s : (N,) λ, S and w, the wait that is allowed; ``a = λ S``.
    index : (N,) I, variance over mean of the counts in short buckets.
    late_share : ε, the share that may wait for longer than w.
    service_cv2 : squared coefficient of variation of the time in service; ``z = max(0.3, (I + cs²) / 2)``.
    """
    busy = np.maximum(rate_per_s * service_s, 1e-12)
    z = np.maximum(LEAST_PEAKEDNESS, (index + service_cv2) / 2.0)
    root = np.sqrt(busy * z)
    patience = wait_s * root / (np.maximum(service_s, 1e-12) * z)
    low, high = np.zeros_like(busy), np.full_like(busy, 40.0)
    for _ in range(_ROUNDS):
        beta = (low + high) / 2.0
        is_late: Bools = _late(beta, patience) > late_share
        low, high = np.where(is_late, beta, low), np.where(is_late, high, beta)
    found: Floats = 1.0 + high * root / busy
    return found


def _late(beta: Floats, patience: Floats) -> Floats:
    """Return the share (N,) that waits for too long."""
    density = np.exp(-(beta**2) / 2.0) / np.sqrt(2.0 * np.pi)
    waits = density / np.maximum(density + beta * _normal_cdf(beta), 1e-300)
    found: Floats = waits * np.exp(-beta * patience)
    return found


def _normal_cdf(x: Floats) -> Floats:
    """Return Φ of numbers >= 0, to 7e-8 (Abramowitz and Stegun 26.2.17)."""
    t = 1.0 / (1.0 + 0.2316419 * x)
    series = t * (0.319381530 + t * (-0.356563782 + t * (1.781477937 + t * (-1.821255978 + t * 1.330274429))))
    found: Floats = 1.0 - np.exp(-(x**2) / 2.0) / np.sqrt(2.0 * np.pi) * series
    return found
