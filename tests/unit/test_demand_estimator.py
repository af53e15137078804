import math

import pytest

from controller.demand.counting import Totals
from controller.demand.estimator import Prior, TypeEstimator, estimate
from controller.demand.window import DemandState, TypeWindow

PRIOR = Prior(rate_per_s=2.0, input_tokens=100.0, output_tokens=10.0)


def seen(count: int, input_tokens: int = 0, output_tokens: int = 0) -> TypeWindow:
    state = DemandState.OBSERVED if count else DemandState.IDLE
    return TypeWindow(state, Totals(1, count, input_tokens, output_tokens), (count,))


def test_until_something_is_known_the_prior_is_planned_for() -> None:
    _, found = estimate("chat", TypeEstimator(), None, 300.0, PRIOR)
    assert (found.state, found.rate_per_s, found.input_tokens) == (DemandState.UNKNOWN, 2.0, 100.0)
    assert found.observed_rate_per_s is None


def test_the_first_window_is_the_level() -> None:
    _, found = estimate("chat", TypeEstimator(), seen(600, 60_000, 6_000), 300.0, PRIOR)
    assert (found.rate_per_s, found.input_tokens, found.output_tokens) == (2.0, 100.0, 10.0)


def test_later_windows_count_by_their_weight() -> None:
    estimator, _ = estimate("chat", TypeEstimator(), seen(100), 100.0, PRIOR)
    _, found = estimate("chat", estimator, seen(200), 100.0, PRIOR)
    # w = 0.7 + 0.3 * 0.7 = 0.91, level = 100 + 0.7 / 0.91 * 100
    assert found.rate_per_s == pytest.approx(1 + 0.7 / 0.91)


def test_silence_changes_nothing_and_a_heartbeat_does() -> None:
    estimator, _ = estimate("chat", TypeEstimator(), seen(100), 100.0, PRIOR)
    unchanged, held = estimate("chat", estimator, None, 100.0, PRIOR)
    assert unchanged == estimator
    assert (held.rate_per_s, held.state) == (1.0, DemandState.UNKNOWN)
    _, idle = estimate("chat", estimator, seen(0), 100.0, PRIOR)
    assert idle.rate_per_s < 0.3
    assert idle.state is DemandState.IDLE


def test_token_means_are_ratios_of_sums_and_empty_windows_keep_them() -> None:
    estimator, _ = estimate("chat", TypeEstimator(), seen(1, 1000, 0), 100.0, PRIOR)
    estimator, found = estimate("chat", estimator, seen(9, 900, 0), 100.0, PRIOR)
    # sums 0.3 * (0.7 * 1000 + 900) over 0.3 * (0.7 * 1 + 9): the one request of 1000 tokens does not count as half
    assert found.input_tokens == pytest.approx((0.7 * 1000 + 900) / (0.7 + 9))
    _, idle = estimate("chat", estimator, seen(0), 100.0, PRIOR)
    assert idle.input_tokens == found.input_tokens


def test_a_window_watched_in_part_is_scaled_up() -> None:
    _, found = estimate("chat", TypeEstimator(), seen(30), 100.0, PRIOR, coverage=0.3)
    assert found.rate_per_s == pytest.approx(1.0)
    assert found.observed_rate_per_s == pytest.approx(1.0)


def test_the_spread_starts_as_a_poissons_and_grows_with_the_errors_seen() -> None:
    estimator, calm = estimate("chat", TypeEstimator(), seen(100), 100.0, PRIOR)
    assert calm.rate_stddev_per_s == pytest.approx(math.sqrt(100) / 100)
    _, bursty = estimate("chat", estimator, seen(400), 100.0, PRIOR)
    assert bursty.rate_stddev_per_s > 5 * calm.rate_stddev_per_s
