"""Point forecasts against figures worked out by hand, for several query types side by side."""

from __future__ import annotations

import numpy as np
import pytest

from controller.demand.forecasters import Ewma, Forecaster, LastValue, MeanReverting, WindowPercentile

ALL: list[Forecaster] = [LastValue(), Ewma(), WindowPercentile(), MeanReverting()]


def forecasts(rule: Forecaster, *windows: list[float], lead: int = 1) -> list[float]:
    state = rule.fresh(len(windows[0]))
    for counts in windows:
        state = rule.observe(state, np.array(counts))
    found: list[float] = rule.forecast(state, lead).tolist()
    return found


@pytest.mark.parametrize("rule", ALL, ids=lambda rule: type(rule).__name__)
def test_the_first_window_is_the_forecast(rule: Forecaster) -> None:
    assert forecasts(rule, [600.0, 0.0]) == [600.0, 0.0]


@pytest.mark.parametrize("rule", ALL, ids=lambda rule: type(rule).__name__)
def test_types_do_not_touch_each_other(rule: Forecaster) -> None:
    rng = np.random.default_rng(3)
    windows = rng.poisson(50, (30, 3)).astype(float)
    together = forecasts(rule, *windows.tolist())
    alone = [forecasts(rule, *windows[:, [column]].tolist())[0] for column in range(3)]
    assert together == alone


def test_an_ewma_counts_later_windows_by_its_weight() -> None:
    # w = 0.7 + 0.3 * 0.7 = 0.91, l = 100 + 0.7 / 0.91 * 100
    assert forecasts(Ewma(0.7), [100.0], [200.0]) == pytest.approx([100 + 70 / 0.91])


def test_a_percentile_is_an_order_statistic_of_the_last_windows_only() -> None:
    windows = [[float(count)] for count in (1000, 1, 2, 3, 4)]
    assert forecasts(WindowPercentile(windows=4, percentile=50.0), *windows) == [2.0]
    assert forecasts(WindowPercentile(windows=4, percentile=100.0), *windows) == [4.0]


def test_a_process_that_reverts_is_expected_to_revert_and_more_so_further_ahead() -> None:
    rng = np.random.default_rng(1)
    deviation, windows = 0.0, []
    for _ in range(400):
        deviation = 0.6 * deviation + rng.normal(0, 20)
        windows.append([500.0 + deviation])
    rule = MeanReverting(memory=0.995)
    state = rule.fresh(1)
    for counts in windows:
        state = rule.observe(state, np.array(counts))
    assert 0.3 < rule.persistence(state)[0] < 0.75
    shifted = rule.observe(state, np.array([600.0]))
    near, far = rule.forecast(shifted, 1)[0], rule.forecast(shifted, 4)[0]
    assert 500 < far < near < 600


def test_until_its_mean_is_known_a_mean_reverting_rule_says_the_last_value() -> None:
    assert forecasts(MeanReverting(), [100.0], [50.0], [400.0]) == [400.0]
