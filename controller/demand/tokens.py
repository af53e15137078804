"""Token means: ratios of smoothed sums, never averages of window means; an empty window changes nothing."""

from __future__ import annotations

import numpy as np

from controller.demand.forecasters import Floats

ALPHA = 0.3
"""Weight of a window: token shapes move more slowly than rates."""


def observe(sums: Floats, totals: Floats) -> Floats:
    """Return the smoothed sums (N, 3) of requests, input and output tokens after a window with these ``totals``."""
    has_requests = totals[:, :1] > 0
    smoothed: Floats = np.where(has_requests, (1 - ALPHA) * sums + ALPHA * totals, sums)
    return smoothed


def means(sums: Floats, prior: Floats) -> Floats:
    """Return h_i and f_i, tokens per request (N, 2); ``prior`` (N, 2) where no request was seen."""
    requests = sums[:, :1]
    found: Floats = np.where(requests > 0, sums[:, 1:] / np.where(requests > 0, requests, 1.0), prior)
    return found


def in_mean_requests(totals: Floats, means_before: Floats, output_weight: float) -> Floats:
    """Return a window's work (N,) in requests of the size that was expected.

    The GPU-seconds of a request go with ``h + output_weight · f`` on every deployment whose prefill and decode differ
    by that factor, so few but large requests are as much work as many small ones. NaN stays NaN.

    Parameters
    ----------
    totals : (N, 3) requests, input and output tokens of the window.
    means_before : (N, 2) tokens per request that were planned for.
    """
    size = means_before[:, 0] + output_weight * means_before[:, 1]
    work = totals[:, 1] + output_weight * totals[:, 2]
    is_sized = (size > 0) & (work > 0)
    found: Floats = np.where(is_sized, work / np.where(is_sized, size, 1.0), totals[:, 0])
    return found
