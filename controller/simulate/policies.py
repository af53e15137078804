"""Policies of a backtest: from the counts that were, how many replicas should run in the next window.

One resource: a replica serves so many requests a window, and series are played side by side. A policy is told the
counts of the window that closed, window by window, and nothing else; what it is to remember it keeps itself.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from controller.demand.distribution import Estimator
from controller.demand.forecasters import Bools, Floats

SCENARIOS = 64
START_SHARE = 0.45
"""Share of a start that one window must pay for: a little less than half, since a start and the stop after it are
spread over two."""


@dataclass(frozen=True, slots=True)
class Economy:
    """The one-resource model.

    Parameters
    ----------
    unit : (N,) requests that a replica serves in a window.
    rho : penalty of an unmet request over the rent of the capacity for it.
    start_windows : rent that a start costs before it serves, in windows.
    """

    unit: Floats
    rho: float
    start_windows: float

    @property
    def level(self) -> float:
        """τ = 1 - 1/ρ, the quantile at which one request more or less costs the same."""
        return 1.0 - 1.0 / self.rho


class Policy(Protocol):
    """Decides, window by window."""

    def decide(self, counts: Floats, running: Floats) -> Floats:
        """Return the replicas (N,) to aim at in the next window.

        Parameters
        ----------
        counts : (N,) of the window that closed; NaN for no news.
        running : (N,) replicas that ran in it; NaN before the first decision.
        """
        ...

    @property
    def quantile(self) -> Floats | None:
        """The counts (N,) that the last decision took for its quantile τ; None where it has none."""
        ...


class Multiple:
    """A fixed multiple of a point forecast."""

    quantile = None

    def __init__(self, estimator: Estimator, economy: Economy, factor: float) -> None:
        self._estimator, self._economy, self._factor = estimator, economy, factor
        self._state: dict[str, NDArray[Any]] = estimator.fresh(len(economy.unit))

    def decide(self, counts: Floats, running: Floats) -> Floats:  # noqa: ARG002 - the protocol's
        """See :class:`Policy`."""
        self._state = self._estimator.observe(self._state, counts)
        return _whole(self._factor * self._estimator.outlook(self._state).forecast, self._economy.unit)


class QuantileRoundedUp:
    """The quantile of an estimator, rounded up to whole replicas."""

    def __init__(self, estimator: Estimator, economy: Economy) -> None:
        self._estimator, self._economy = estimator, economy
        self._state: dict[str, NDArray[Any]] = estimator.fresh(len(economy.unit))
        self._quantile = np.zeros(len(economy.unit))

    @property
    def quantile(self) -> Floats:
        """See :class:`Policy`."""
        return self._quantile

    def decide(self, counts: Floats, running: Floats) -> Floats:  # noqa: ARG002 - the protocol's
        """See :class:`Policy`."""
        self._state = self._estimator.observe(self._state, counts)
        self._quantile = self._estimator.outlook(self._state).quantile(self._economy.level)
        return _whole(self._quantile, self._economy.unit)


class NormalEwma:
    """The mean plus z standard deviations: EWMA of the counts, and of their squared one-step errors."""

    def __init__(self, economy: Economy, z: float, alpha: float = 0.7) -> None:
        self._economy, self._z, self._alpha = economy, z, alpha
        num = len(economy.unit)
        self._level, self._weight = np.zeros(num), np.zeros(num)
        self._square, self._square_weight = np.zeros(num), np.zeros(num)
        self._quantile = np.zeros(num)

    @property
    def quantile(self) -> Floats:
        """See :class:`Policy`."""
        return self._quantile

    def decide(self, counts: Floats, running: Floats) -> Floats:  # noqa: ARG002 - the protocol's
        """See :class:`Policy`."""
        alpha, seen = self._alpha, np.isfinite(counts)
        error = np.where(seen & (self._weight > 0), (counts - self._level) ** 2, np.nan)
        scored = np.isfinite(error)
        weight = np.where(scored, alpha + (1 - alpha) * self._square_weight, self._square_weight)
        step = alpha / np.where(weight > 0, weight, 1.0)
        self._square = np.where(scored, self._square + step * (error - self._square), self._square)
        self._square_weight = weight
        weight = np.where(seen, alpha + (1 - alpha) * self._weight, self._weight)
        step = alpha / np.where(weight > 0, weight, 1.0)
        self._level = np.where(seen, self._level + step * (counts - self._level), self._level)
        self._weight = weight
        variance = np.where(self._square_weight > 0, self._square, self._level)
        self._quantile = np.maximum(self._level + self._z * np.sqrt(np.maximum(variance, 0.0)), 0.0)
        return _whole(self._quantile, self._economy.unit)


class WorthItsRent:
    """Buys replica k while the unmet demand that it is expected to save is worth its rent.

    A replica that does not run yet must be worth a share of its start as well, and one that runs is kept for that
    much less: who stops it will have to start it again.
    """

    def __init__(self, estimator: Estimator, economy: Economy, start_share: float = START_SHARE) -> None:
        self._estimator, self._economy = estimator, economy
        self._state: dict[str, NDArray[Any]] = estimator.fresh(len(economy.unit))
        self._quantile = np.zeros(len(economy.unit))
        self._band = start_share * economy.start_windows

    @property
    def quantile(self) -> Floats:
        """See :class:`Policy`."""
        return self._quantile

    def decide(self, counts: Floats, running: Floats) -> Floats:
        """See :class:`Policy`."""
        self._state = self._estimator.observe(self._state, counts)
        outlook = self._estimator.outlook(self._state)
        self._quantile = outlook.quantile(self._economy.level)
        scenarios = outlook.scenarios(SCENARIOS)
        worth_starting = self._worth(scenarios, 1.0 + self._band)
        if self._band == 0:
            return worth_starting
        worth_keeping = self._worth(scenarios, 1.0 - self._band)
        found: Floats = np.where(
            np.isfinite(running), np.clip(running, worth_starting, worth_keeping), self._worth(scenarios, 1.0)
        )
        return found

    def _worth(self, scenarios: Floats, price: float) -> Floats:
        """Return the most replicas (N,) of which each saves ``price`` times its rent; scenarios (N, S) ascend."""
        # Demand saved by replica k falls in k, so the last worth its price is found by halving.
        unit, rho = self._economy.unit[:, None], self._economy.rho
        low = np.zeros((len(scenarios), 1))
        high = np.ceil(scenarios[:, -1:] / unit)
        while bool((high > low).any()):
            middle = np.ceil((low + high) / 2)
            saved = np.clip(scenarios - (middle - 1) * unit, 0.0, unit).mean(axis=1, keepdims=True)
            is_worth = rho * saved > price * unit
            low, high = np.where(is_worth, middle, low), np.where(is_worth, high, middle - 1)
        return low[:, 0]


class Stabilized:
    """Up at once to a policy's target; down only to the largest of its last ``windows`` targets."""

    def __init__(self, policy: Policy, windows: int) -> None:
        self._policy = policy
        self._targets: deque[Floats] = deque(maxlen=windows)

    @property
    def quantile(self) -> Floats | None:
        """See :class:`Policy`."""
        return self._policy.quantile

    def decide(self, counts: Floats, running: Floats) -> Floats:
        """See :class:`Policy`."""
        target = self._policy.decide(counts, running)
        self._targets.append(target)
        highest = np.max(np.stack(self._targets), axis=0)
        is_down: Bools = target < running
        found: Floats = np.where(is_down, np.minimum(running, highest), target)
        return found


class Reactive:
    """As a horizontal autoscaler does: replicas in proportion to their use, within a tolerance."""

    quantile = None

    def __init__(self, economy: Economy, utilization: float = 0.7, tolerance: float = 0.1) -> None:
        self._economy, self._utilization, self._tolerance = economy, utilization, tolerance

    def decide(self, counts: Floats, running: Floats) -> Floats:
        """See :class:`Policy`."""
        wanted = _whole(np.nan_to_num(counts) / self._utilization, self._economy.unit)
        use = counts / (np.maximum(running, 1.0) * self._economy.unit)
        stays: Bools = np.isfinite(running) & ~(np.abs(use / self._utilization - 1.0) > self._tolerance)
        found: Floats = np.where(stays, running, wanted)
        return found


class PreviousDay:
    """The percentile of the day before, all day long; on the first day what the day has shown so far."""

    quantile = None

    def __init__(self, economy: Economy, windows_per_day: int, percentile: float = 95.0) -> None:
        self._economy, self._day, self._percentile = economy, windows_per_day, percentile
        self._seen: list[Floats] = []
        self._target: Floats | None = None

    def decide(self, counts: Floats, running: Floats) -> Floats:  # noqa: ARG002 - the protocol's
        """See :class:`Policy`."""
        self._seen.append(np.nan_to_num(counts))
        windows = len(self._seen)
        if windows <= self._day or windows % self._day == 0:
            past = np.stack(self._seen[-self._day :])
            self._target = _whole(np.percentile(past, self._percentile, axis=0), self._economy.unit)
        assert self._target is not None  # noqa: S101 - the first window is within the first day
        return self._target


def _whole(counts: Floats, unit: Floats) -> Floats:
    found: Floats = np.ceil(counts / unit - 1e-9)
    return found
