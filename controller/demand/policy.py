"""How much is planned for: where the margin is, how fast it may go down, and when it may go to nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from controller.demand.rules import EstimatorName

Headroom = Literal["quantile", "scenarios", "queueing", "none"]
HEADROOMS: tuple[str, ...] = get_args(Headroom)

Shaping = Literal[
    "prior", "forecast", "headroom", "held", "surge", "stabilized", "step", "retained", "idle", "floor"
]
"""What decided the rate that is planned for, for people to read:

========== =================================================================================
prior      nothing was ever observed: the catalog's prior
forecast   the forecast itself (no headroom, or scenarios, which the optimizer adds)
headroom   the forecast with its margin
held       nothing was heard of the type: what was planned for goes on
surge      the last buckets are beyond the margin, and count alone
stabilized going down only to the largest of the last targets
step       the largest step that one tick may make
retained   proved idle, but not for long enough to go to nothing
idle       proved idle for the whole retention: nothing
floor      the catalog's floor
========== =================================================================================
"""


@dataclass(frozen=True, slots=True)
class DemandPolicy:
    """From counts to what is planned for. The defaults plan for the forecast itself, and follow it at once.

    Parameters
    ----------
    estimator : by its name in :mod:`controller.demand.rules`.
    headroom : the one place where the margin is: a quantile of the rate, scenarios for the optimizer's objective,
        queueing room within the horizon, or none.
    quantile : τ; None for each type's own, ``1 - rent / penalty``.
    stabilization_horizons : down only to the largest of so many last targets; 1 for at once.
    max_step_up, max_step_down : largest change in one tick, as a factor above 1 and as a share; None for any.
    retention_s : how long a type must be proved idle before nothing is planned for it.
    late_share : ε of queueing headroom, the share of requests that may wait for longer than their slack.
    surge_sigmas : standard deviations beyond what is planned for that make a surge.
    surge_cooldown_s : time between two surges that are answered, at least.
    surges_per_horizon : how many are answered in a horizon, at most.
    output_weight : work of an output token over that of an input token.
    """

    estimator: EstimatorName = "mean_reverting"
    headroom: Headroom = "none"
    quantile: float | None = None
    stabilization_horizons: int = 1
    max_step_up: float | None = None
    max_step_down: float | None = None
    retention_s: float = 900.0
    late_share: float = 0.05
    surge_sigmas: float = 5.0
    surge_cooldown_s: float = 60.0
    surges_per_horizon: int = 3
    output_weight: float = 5.0
