"""Scores policies on series in money: rent, starts and penalties over what a clairvoyant would pay.

Nothing of the future can be known: a policy is handed a copy of each window's counts once the window is over, and what
it decides is in force before the next one is looked at. (docs/mathematics.md, "Backtests".)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from controller.demand.forecasters import Bools, Floats
from controller.simulate.policies import Economy, Policy, Stabilized
from controller.simulate.series import Series

REPLICAS = 10.0
"""Replicas that the mean of a series keeps busy: how coarse capacity is."""
START_S = 300.0
WARM_UP_WINDOWS = 40
"""Windows of a series after which coverage is counted: ``ceil(2ρ)`` at ρ = 20, when residuals stand alone."""

MakePolicy = Callable[[Economy, int], Policy]
"""From the economy and the windows of a day."""


@dataclass(frozen=True, slots=True)
class Rule:
    """A policy by name. ``windows`` is how many targets it may go down to the largest of; 1 for any at once."""

    name: str
    make: MakePolicy
    windows: int = 1


@dataclass(frozen=True, slots=True)
class DayScore:
    """One rule on one day of one series.

    Attributes
    ----------
    cost : rent, starts and penalties over the demand; a clairvoyant with divisible capacity pays 1.
    unmet : share of the demand.
    churn : replicas started or stopped, over those that run on average, per hour.
    flaps : changes of direction.
    covered : share of windows within the quantile; None without one, or before warm-up was over.
    """

    series: str
    day: int
    cost: float
    unmet: float
    rent: float
    churn_per_h: float
    flaps: int
    covered: float | None


def play(series: Sequence[Series], rule: Rule, rho: float, start_s: float = START_S) -> list[DayScore]:
    """Play series of one window length side by side under one rule; return a score for each of their days.

    Raises
    ------
    ValueError : the series differ in window length.
    """
    window_s = series[0].window_s
    if any(one.window_s != window_s for one in series):
        raise ValueError("series must have windows of one length")
    longest = max(len(one.counts) for one in series)
    counts = np.full((longest, len(series)), np.nan)
    for column, one in enumerate(series):
        counts[: len(one.counts), column] = one.counts
    unit = np.array([max(one.counts.mean() / REPLICAS, 1e-9) for one in series])
    economy = Economy(unit, rho, start_s / window_s)
    policy: Policy = Stabilized(rule.make(economy, series[0].windows_per_day), rule.windows)
    replicas = np.full_like(counts, np.nan)
    quantiles = np.full_like(counts, np.nan)
    for t in range(longest - 1):
        replicas[t + 1] = policy.decide(counts[t].copy(), replicas[t].copy())
        if policy.quantile is not None:
            quantiles[t + 1] = policy.quantile
    return [
        score
        for column, one in enumerate(series)
        for score in _days(one, replicas[:, column], quantiles[:, column], float(unit[column]), economy)
    ]


def _days(one: Series, replicas: Floats, quantiles: Floats, unit: float, economy: Economy) -> list[DayScore]:
    scores = []
    length = len(one.counts)
    for day, begin in enumerate(range(0, length, one.windows_per_day)):
        # The first window of a series has no decision before it: it is nobody's.
        span = slice(max(begin, 1), min(begin + one.windows_per_day, length))
        demand, running = one.counts[span], replicas[span]
        if len(demand) < 2 or demand.sum() <= 0:
            continue
        before = replicas[span.start - 1] if span.start > 1 else running[0]
        steps = np.diff(np.concatenate([[before], running]))
        rent = (running.sum() + economy.start_windows * np.maximum(steps, 0).sum()) * unit
        unmet = np.maximum(demand - running * unit, 0.0).sum()
        hours = len(demand) * one.window_s / 3600.0
        turns = np.sign(steps[steps != 0])
        scored: Bools = np.isfinite(quantiles[span]) & (np.arange(span.start, span.stop) > WARM_UP_WINDOWS)
        scores.append(
            DayScore(
                series=one.name,
                day=day,
                cost=float((rent + economy.rho * unmet) / demand.sum()),
                unmet=float(unmet / demand.sum()),
                rent=float(rent / demand.sum()),
                churn_per_h=float(np.abs(steps).sum() / max(running.mean(), 1e-9) / hours),
                flaps=int((np.diff(turns) != 0).sum()),
                covered=float((demand <= quantiles[span])[scored].mean()) if scored.any() else None,
            )
        )
    return scores


def hindsight(series: Sequence[Series], rho: float) -> dict[str, float]:
    """Return the median cost of static fleets that know the whole series: references, not rules.

    They are whole replicas for the peak, the mean and the 95th percentile of a series, and the best number there is.
    """
    costs: dict[str, list[float]] = {"peak": [], "mean": [], "p95": [], "best": []}
    for one in series:
        demand = one.counts
        unit = max(demand.mean() / REPLICAS, 1e-9)

        def cost(replicas: float, demand: Floats = demand, unit: float = unit) -> float:
            unmet = np.maximum(demand - replicas * unit, 0.0).sum()
            return float((replicas * unit * len(demand) + rho * unmet) / max(demand.sum(), 1e-9))

        costs["peak"].append(cost(np.ceil(demand.max() / unit - 1e-9)))
        costs["mean"].append(cost(np.ceil(demand.mean() / unit - 1e-9)))
        costs["p95"].append(cost(np.ceil(np.percentile(demand, 95) / unit - 1e-9)))
        costs["best"].append(min(cost(replicas) for replicas in range(int(demand.max() / unit) + 2)))
    return {name: float(np.median(values)) for name, values in costs.items()}
