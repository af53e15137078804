"""The estimators that can be asked for by name."""

from __future__ import annotations

from typing import Literal, get_args

from controller.demand.distribution import Estimator, Experts, ResidualEstimator
from controller.demand.forecasters import Ewma, LastValue, MeanReverting, WindowPercentile

EstimatorName = Literal["mean_reverting", "ewma", "last", "percentile", "experts"]
ESTIMATORS: tuple[str, ...] = get_args(EstimatorName)


def make_estimator(name: EstimatorName, leads: tuple[int, ...] = (1,), level: float = 0.9) -> Estimator:
    """Return an estimator by its name.

    Parameters
    ----------
    leads : windows ahead that it will be asked for.
    level : τ that experts are weighted by.
    """
    if name == "mean_reverting":
        return ResidualEstimator(MeanReverting(), leads)
    if name == "ewma":
        return ResidualEstimator(Ewma(), leads)
    if name == "last":
        return ResidualEstimator(LastValue(), leads)
    if name == "percentile":
        return ResidualEstimator(WindowPercentile(), leads)
    forecasters = (Ewma(), LastValue(), MeanReverting(alpha=0.8), MeanReverting())
    return Experts(tuple(ResidualEstimator(forecaster, leads) for forecaster in forecasters), level)
