"""What a day of one query type looks like, in figures, and how these are fitted to the rows of a trace."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from replay.rows import Request, TraceRow

HOURS = 24
HOUR_S = 3600
BURST_WINDOWS_S = (60, 10, 1)
"""Lengths of the windows whose counts tell how bursty arrivals are; each is a part of the one before."""
PROBABILITIES = (
    0.0, 0.01, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 0.999, 0.9999,
)  # fmt: skip
"""Where token quantiles are taken: dense enough for the mean, and no single longest row."""


@dataclass(frozen=True, slots=True)
class DayProfile:
    """A day of one query type.

    Parameters
    ----------
    query_type : its name.
    requests_per_h : mean rate in each hour of the day, from 0:00 UTC; 24 figures.
    burstiness : per window of :data:`BURST_WINDOWS_S`, the variance of counts beyond a Poisson process's, over the
        squared mean: 0 for Poisson arrivals.
    input_quantiles, output_quantiles : tokens at each of :data:`PROBABILITIES`; at least 1, not falling.
    """

    query_type: str
    requests_per_h: tuple[float, ...]
    burstiness: tuple[float, ...]
    input_quantiles: tuple[float, ...]
    output_quantiles: tuple[float, ...]


def fit_day_profile(
    query_type: str, rows: Iterable[TraceRow] | Iterable[Request], start_s: float
) -> DayProfile:
    """Fit a profile to the rows of one query type over a day that begins at ``start_s``.

    1. Rates: rows per hour of the day.
    2. Burstiness: per hour, the variance (n - 1) of the counts in windows of 60, 10 and 1 s, less their mean (what a
       Poisson process would have), over their mean squared; then the mean over the hours with traffic, not below 0.
       Within an hour, so that the day's shape does not count as bursts.
    3. Tokens: the quantiles (inverted distribution, no interpolation) of input and of output tokens, each by itself.
       Only these are kept: the joint distribution and the longest row in ten thousand are not.
    """
    table = np.array(
        [(row.time_s - start_s, row.input_tokens, row.output_tokens) for row in rows], dtype=np.float64
    ).reshape(-1, 3)
    table = table[(table[:, 0] >= 0) & (table[:, 0] < HOURS * HOUR_S)]
    return DayProfile(
        query_type,
        tuple(_counts(table[:, 0], HOUR_S).astype(float).tolist()),
        tuple(_excess_variance(table[:, 0], window_s) for window_s in BURST_WINDOWS_S),
        _quantiles(table[:, 1]),
        _quantiles(table[:, 2]),
    )


def tokens_at(quantiles: Sequence[float], probabilities: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return token counts at ``probabilities``: the quantiles joined by straight lines in the logarithm.

    Examples
    --------
    >>> tokens_at([10.0] * 17 + [1000.0], np.array([0.5, 0.9999])).tolist()
    [10, 1000]
    """
    logarithms = np.interp(probabilities, PROBABILITIES, np.log(quantiles))
    return np.rint(np.exp(logarithms)).astype(np.int64)


def mean_tokens(quantiles: Sequence[float]) -> float:
    """Return the mean of the distribution that :func:`tokens_at` draws from, before rounding.

    Between two quantiles a and b it is the logarithmic mean, (b - a) / ln(b / a).
    """
    low, high = np.asarray(quantiles[:-1]), np.asarray(quantiles[1:])
    is_flat = high == low
    logarithmic = np.where(is_flat, low, (high - low) / np.log(np.where(is_flat, np.e, high / low)))
    return float(np.diff(PROBABILITIES) @ logarithmic + (1 - PROBABILITIES[-1]) * quantiles[-1])


def _counts(times_s: NDArray[np.float64], window_s: int) -> NDArray[np.int64]:
    return np.bincount((times_s // window_s).astype(np.int64), minlength=HOURS * HOUR_S // window_s)


def _excess_variance(times_s: NDArray[np.float64], window_s: int) -> float:
    by_hour = _counts(times_s, window_s).reshape(HOURS, -1)
    by_hour = by_hour[by_hour.sum(axis=1) > 0]
    if not len(by_hour):
        return 0.0
    mean = by_hour.mean(axis=1)
    return max(0.0, float(np.mean((by_hour.var(axis=1, ddof=1) - mean) / mean**2)))


def _quantiles(tokens: NDArray[np.float64]) -> tuple[float, ...]:
    if not len(tokens):
        return (1.0,) * len(PROBABILITIES)
    found = np.quantile(tokens, PROBABILITIES, method="inverted_cdf")
    return tuple(np.maximum(found, 1.0).tolist())
