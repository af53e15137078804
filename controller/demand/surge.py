"""Demand that runs away from the plan before the horizon ends: whether it is more than noise, and what to plan for."""

from __future__ import annotations

import math
from array import array
from collections.abc import Mapping, Sequence

import numpy as np

from controller.demand.forecasters import Floats
from controller.demand.window import WindowView

LEAST_RATIO = 1.5
"""A surge asks for at least so many times what is planned for; less is for the next horizon."""
LEAST_REQUESTS = 10
MARGIN_SIGMAS = 1.28


def bucket_counts(view: WindowView, types: Sequence[str]) -> Floats:
    """Return the requests (N, buckets) of each type in each bucket of the view; NaN where nothing was heard of it."""
    # All types of a view have the same buckets.
    buckets = next((len(found.bucket_counts) for found in view.types.values()), 0)
    nothing = array("d", [math.nan]) * buckets
    found = [view.types.get(name) for name in types]
    rows = b"".join([nothing if window is None else window.bucket_counts for window in found])
    return np.frombuffer(rows, dtype=np.float64).reshape(len(types), buckets)


def dispersion(counts: Floats) -> Floats:
    """Return I (N,), the variance of bucket counts (N, buckets) over their mean; 1, a Poisson's, where that is more.

    Taken inside a window, so that the day's shape does not count as bursts.
    """
    if counts.shape[1] < 2:
        return np.ones(len(counts))
    mean = counts.mean(axis=1)
    squares = np.einsum("nb,nb->n", counts, counts)
    variance = (squares - counts.shape[1] * mean * mean) / (counts.shape[1] - 1)
    found: Floats = np.fmax(variance / np.maximum(mean, 1e-12), 1.0)
    return found


def surging(counts: Floats, span_s: float, planned_per_s: Floats, index: Floats, sigmas: float) -> Floats:
    """Return the rates (N,), 1/s, to plan for where requests run away from the plan; NaN where they do not.

    Parameters
    ----------
    counts : (N,) requests in the last ``span_s`` seconds, all of them in; NaN for no news.
    planned_per_s : (N,) what is planned for, margin included.
    index : (N,) I, see :func:`dispersion`.
    sigmas : how many standard deviations of such a count, ``√(λ span I)``, are noise.
    """
    expected = planned_per_s * span_s
    limit = np.maximum(expected * LEAST_RATIO, expected + sigmas * np.sqrt(np.maximum(expected, 1.0) * index))
    is_surge = counts > np.maximum(limit, LEAST_REQUESTS)
    with_margin = (counts + MARGIN_SIGMAS * np.sqrt(np.maximum(counts, 0.0) * index)) / span_s
    found: Floats = np.where(is_surge, with_margin, np.nan)
    return found


def surge_rates(
    view: WindowView, planned_per_s: Mapping[str, float], index: Mapping[str, float], sigmas: float
) -> dict[str, float]:
    """Return the rates to plan for, 1/s, of the query types that surge in ``view``, whose buckets must be closed."""
    names = [name for name in planned_per_s if name in view.types]
    counts = np.array([float(view.types[name].totals.count) for name in names])
    planned = np.array([planned_per_s[name] for name in names])
    indices = np.array([index.get(name, 1.0) for name in names])
    found = surging(counts, view.end_s - view.start_s, planned, indices, sigmas)
    return {name: float(rate) for name, rate in zip(names, found, strict=True) if np.isfinite(rate)}
