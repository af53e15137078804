"""From what was seen to what is planned for: one exponentially weighted estimator for each query type.

Level and weight ``w <- α + (1 - α) w``, ``l <- l + (α / w)(y - l)``: the first observation is the level, later ones
count by α. The spread is the same recursion over squared one-step errors, scaled by the square root of the forecast,
since requests come about as a Poisson process does: ``σ = √(s · max(l, 1))`` on counts. Token means are ratios of
smoothed sums, never averages of window means. (docs/mathematics.md, "Demand".)
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

from controller.demand.counting import Totals
from controller.demand.window import DemandState, TypeWindow, WindowView

RATE_WEIGHT = 0.7
"""α of the rate: what served best at five-minute horizons."""
TOKEN_WEIGHT = 0.3
"""α of the token sums: token shapes move more slowly than rates."""


@dataclass(frozen=True, slots=True)
class Prior:
    """What is planned for until something is known."""

    rate_per_s: float = 0.0
    input_tokens: float = 0.0
    output_tokens: float = 0.0


@dataclass(frozen=True, slots=True)
class DemandEstimate:
    """Demand of one query type over the coming horizon.

    ``rate_per_s`` is the mean that is planned for, ``rate_stddev_per_s`` its spread one horizon ahead,
    ``observed_rate_per_s`` what the window that closed had; None where that is not known.
    """

    query_type: str
    state: DemandState
    rate_per_s: float
    rate_stddev_per_s: float
    input_tokens: float
    output_tokens: float
    observed_rate_per_s: float | None


@dataclass(frozen=True, slots=True)
class TypeEstimator:
    """All that is remembered of one query type; small, and plain to write down."""

    level_count: float = 0.0
    level_weight: float = 0.0
    error_square: float = 0.0
    error_weight: float = 0.0
    token_requests: float = 0.0
    token_inputs: float = 0.0
    token_outputs: float = 0.0

    @property
    def is_known(self) -> bool:
        """Whether anything was ever observed."""
        return self.level_weight > 0

    def observe(self, totals: Totals, coverage: float = 1.0) -> TypeEstimator:
        """Take in one closed window, of which only the share ``coverage`` was watched."""
        estimator = self
        count = totals.count / coverage
        if self.is_known:
            scaled = (count - self.level_count) ** 2 / max(self.level_count, 1.0)
            weight = RATE_WEIGHT + (1 - RATE_WEIGHT) * self.error_weight
            estimator = replace(
                estimator,
                error_weight=weight,
                error_square=self.error_square + RATE_WEIGHT / weight * (scaled - self.error_square),
            )
        weight = RATE_WEIGHT + (1 - RATE_WEIGHT) * self.level_weight
        level = self.level_count + RATE_WEIGHT / weight * (count - self.level_count)
        estimator = replace(estimator, level_weight=weight, level_count=level)
        if not totals.count:  # an empty window says nothing of the tokens of a request
            return estimator
        keep = 1 - TOKEN_WEIGHT
        return replace(
            estimator,
            token_requests=keep * self.token_requests + TOKEN_WEIGHT * totals.count,
            token_inputs=keep * self.token_inputs + TOKEN_WEIGHT * totals.input_tokens,
            token_outputs=keep * self.token_outputs + TOKEN_WEIGHT * totals.output_tokens,
        )

    def stddev_count(self) -> float:
        """Return the spread of the next window's count; a Poisson's where no error was seen yet."""
        scale = self.error_square if self.error_weight > 0 else 1.0
        return math.sqrt(scale * max(self.level_count, 1.0))


def estimate(
    query_type: str,
    estimator: TypeEstimator,
    window: TypeWindow | None,
    window_s: float,
    prior: Prior,
    coverage: float = 1.0,
) -> tuple[TypeEstimator, DemandEstimate]:
    """Take in a closed window of ``window_s`` seconds, watched for a share ``coverage`` of it; estimate the next one.

    ``window`` of None means that nothing was heard of the type: its estimator stays as it is, and what was planned for
    goes on being planned for.
    """
    state = DemandState.UNKNOWN if window is None else window.state
    if window is not None:
        estimator = estimator.observe(window.totals, coverage)
    requests = estimator.token_requests
    return estimator, DemandEstimate(
        query_type=query_type,
        state=state,
        rate_per_s=estimator.level_count / window_s if estimator.is_known else prior.rate_per_s,
        rate_stddev_per_s=estimator.stddev_count() / window_s if estimator.is_known else 0.0,
        input_tokens=estimator.token_inputs / requests if requests else prior.input_tokens,
        output_tokens=estimator.token_outputs / requests if requests else prior.output_tokens,
        observed_rate_per_s=None if window is None else window.totals.count / (window_s * coverage),
    )


def estimate_all(
    estimators: Mapping[str, TypeEstimator], view: WindowView, priors: Mapping[str, Prior]
) -> tuple[dict[str, TypeEstimator], tuple[DemandEstimate, ...]]:
    """Estimate every query type that has a prior, in its order; see :func:`estimate`."""
    states: dict[str, TypeEstimator] = {}
    estimates = []
    for name, prior in priors.items():
        states[name], found = estimate(
            name,
            estimators.get(name, TypeEstimator()),
            view.types.get(name),
            view.end_s - view.start_s,
            prior,
            view.coverage,
        )
        estimates.append(found)
    return states, tuple(estimates)
