"""The rules that are compared: those in common use, and ours."""

from __future__ import annotations

from dataclasses import replace
from statistics import NormalDist

from controller.demand.distribution import Estimator, Experts, ResidualEstimator
from controller.demand.forecasters import Ewma, LastValue, MeanReverting, WindowPercentile
from controller.simulate.backtest import Rule
from controller.simulate.policies import (
    Economy,
    Multiple,
    NormalEwma,
    PreviousDay,
    QuantileRoundedUp,
    Reactive,
    WorthItsRent,
)

STABILIZED = 3
"""Targets of which a stabilized rule goes down to the largest."""
OURS = "mean-reverting, worth its rent"
PLAIN = ResidualEstimator(LastValue(), exponent=0.0)
RELATIVE = ResidualEstimator(LastValue(), exponent=1.0)
DEFAULT = ResidualEstimator(Ewma())
FOUR = (Ewma(), Ewma(0.3), MeanReverting(alpha=0.7), WindowPercentile())


def _quantile(name: str, estimator: Estimator) -> Rule:
    return Rule(name, lambda economy, _: QuantileRoundedUp(estimator, economy))


def _four_experts(economy: Economy, _: int) -> QuantileRoundedUp:
    members = tuple(ResidualEstimator(forecaster) for forecaster in FOUR)
    return QuantileRoundedUp(Experts(members, economy.level), economy)


def named_rules() -> list[Rule]:
    """Return the rules that ours is to be no worse than, each as it is defined and stabilized.

    As defined, a rule goes down at once, except that a horizontal autoscaler waits for five minutes, which is a window;
    stabilized, it goes down only to the largest of three targets.
    """
    plain = [
        _quantile("EWMA 0.7, residual / √f", DEFAULT),
        Rule("EWMA 0.7, worth its rent", lambda economy, _: WorthItsRent(DEFAULT, economy, 0.0)),
        Rule("four experts", _four_experts),
        _quantile("last, additive residual", PLAIN),
        Rule("EWMA + z σ", lambda economy, _: NormalEwma(economy, NormalDist().inv_cdf(economy.level))),
        _quantile("last, relative residual", RELATIVE),
        Rule("1.2 x last", lambda economy, _: Multiple(PLAIN, economy, 1.2)),
        Rule("EWMA 0.7 alone", lambda economy, _: Multiple(DEFAULT, economy, 1.0)),
        Rule("reactive, 70 % use", lambda economy, _: Reactive(economy)),
    ]
    stabilized = [replace(rule, name=f"{rule.name}, of {STABILIZED}", windows=STABILIZED) for rule in plain]
    by_pairs = [rule for pair in zip(plain, stabilized, strict=True) for rule in pair]
    return [*by_pairs, Rule("previous day's p95", lambda economy, day: PreviousDay(economy, day))]


def our_rule() -> Rule:
    """Return the rule that is shipped."""
    estimator = ResidualEstimator(MeanReverting())
    return Rule(OURS, lambda economy, _: WorthItsRent(estimator, economy))
