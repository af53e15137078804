"""Quantiles from a rule's own errors: the rank, the scale, the cold start, the leads, and what is remembered."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from controller.demand.distribution import Estimator, Experts, ResidualEstimator
from controller.demand.forecasters import Ewma, LastValue, MeanReverting
from controller.demand.memory import DemandMemory
from controller.demand.residuals import PRIOR_SPREAD, Spread
from controller.demand.rules import ESTIMATORS, make_estimator


def state_after(estimator: Estimator, counts: list[float]) -> dict[str, np.ndarray]:
    state = estimator.fresh(1)
    for count in counts:
        state = estimator.observe(state, np.array([count]))
    return state


def test_the_quantile_is_the_right_order_statistic_scaled_by_the_root_of_the_forecast() -> None:
    # 40 errors, (y - 100) / 10, all positive and different, then back to 100: rank ceil(41 * 0.9) = 37 of them.
    estimator = ResidualEstimator(ConstantHundred())
    errors = np.linspace(0.1, 4.0, 40)
    state = state_after(estimator, [100.0, *(100 + 10 * errors)])
    found = estimator.outlook(state).quantile(0.9)[0]
    assert found == pytest.approx(100 + 10 * errors[36], rel=1e-3)


class ConstantHundred(LastValue):
    """Expects 100, whatever it sees."""

    def forecast(self, _state: object, _lead: int) -> np.ndarray:
        return np.array([100.0])


def test_before_any_error_was_seen_the_spread_is_the_priors() -> None:
    estimator = ResidualEstimator(LastValue())
    outlook = estimator.outlook(state_after(estimator, [400.0]))
    expected = 400 + 1.2815516 * math.sqrt((PRIOR_SPREAD * 400) ** 2 + 400)
    assert outlook.quantile(0.9)[0] == pytest.approx(expected, rel=1e-6)


def test_the_prior_fades_with_the_errors_that_are_seen_and_is_gone_after_forty() -> None:
    estimator = ResidualEstimator(ConstantHundred())
    half = estimator.outlook(state_after(estimator, [100.0] * 21)).quantile(0.9)[0]
    prior = 100 + 1.2815516 * math.sqrt((PRIOR_SPREAD * 100) ** 2 + 100)
    assert half == pytest.approx(100 + (prior - 100) / 2)
    assert estimator.outlook(state_after(estimator, [100.0] * 41)).quantile(0.9)[0] == pytest.approx(100)


def test_near_nothing_a_residual_does_not_blow_up() -> None:
    estimator = ResidualEstimator(LastValue())
    state = state_after(estimator, [0.0, 3.0, 0.0] * 30 + [0.0])
    assert 0 < estimator.outlook(state).quantile(0.95)[0] <= 3.0


@pytest.mark.parametrize("name", ESTIMATORS)
@pytest.mark.parametrize("level", [0.8, 0.9, 0.95])
def test_coverage_is_within_two_points_of_nominal_after_warm_up(name: str, level: float) -> None:
    estimator = make_estimator(name, level=level)  # type: ignore[arg-type]
    rng = np.random.default_rng(5)
    types, windows, warm_up = 40, 260, 60
    rates = 200 * np.exp(np.cumsum(rng.normal(0, 0.05, (windows, types)), axis=0))
    counts = rng.poisson(rates).astype(float)
    state = estimator.fresh(types)
    covered = []
    for t in range(windows - 1):
        state = estimator.observe(state, counts[t])
        if t >= warm_up:
            covered.append(counts[t + 1] <= estimator.outlook(state).quantile(level))
    assert np.mean(covered) == pytest.approx(level, abs=0.02)


def test_an_error_is_taken_of_the_forecast_that_was_made_for_that_window() -> None:
    estimator = ResidualEstimator(LastValue(), leads=(1, 3))
    state = state_after(estimator, [100.0, 121.0, 144.0, 169.0, 196.0])
    # One ahead: (121 - 100) / 10, ...; three ahead: (169 - 100) / 10 and (196 - 121) / 11.
    assert state["number.1"].tolist() == [4]
    assert sorted(state["ring.3"][0, :2].tolist()) == pytest.approx([75 / 11, 6.9], rel=1e-3)
    assert estimator.outlook(state, 3).quantile(0.9)[0] > estimator.outlook(state, 1).quantile(0.9)[0]


def test_a_type_that_is_silent_keeps_what_is_known_of_it_and_others_go_on() -> None:
    estimator = ResidualEstimator(MeanReverting())
    state = estimator.fresh(2)
    for counts in ([100.0, 50.0], [110.0, 60.0], [np.nan, 70.0]):
        state = estimator.observe(state, np.array(counts))
    outlook = estimator.outlook(state)
    assert outlook.forecast.tolist() == [110.0, 70.0]
    assert state["number.1"].tolist() == [1, 2]


def test_what_was_seen_of_work_widens_the_spread_and_leaves_the_forecast() -> None:
    plain, heavy = (ResidualEstimator(Ewma()) for _ in range(2))
    one, other = plain.fresh(1), heavy.fresh(1)
    for step in range(60):
        counts = np.array([100.0])
        one = plain.observe(one, counts)
        other = heavy.observe(other, counts, counts * (1.5 if step % 2 else 0.5))
    assert plain.outlook(one).forecast == heavy.outlook(other).forecast
    assert plain.outlook(one).quantile(0.9)[0] == pytest.approx(100.0)
    assert heavy.outlook(other).quantile(0.9)[0] == pytest.approx(150.0, rel=1e-3)


def test_the_expert_that_loses_less_money_counts_for_more() -> None:
    experts = Experts((ResidualEstimator(LastValue()), ResidualEstimator(Ewma(0.05))))
    # Level shifts: the last value follows, the slow average does not.
    state = state_after(experts, ([100.0] * 30 + [1000.0] * 30) * 3)
    weights = experts.weights(state)[0]
    assert weights[0] > 0.9
    assert weights.sum() == pytest.approx(1.0)


@pytest.mark.parametrize("name", ESTIMATORS)
def test_what_is_remembered_comes_back_from_json_to_the_last_bit(name: str) -> None:
    estimator = make_estimator(name)  # type: ignore[arg-type]
    state = estimator.fresh(3)
    rng = np.random.default_rng(2)
    for _ in range(20):
        state = estimator.observe(state, rng.poisson([5, 300, 40_000]).astype(float))
    memory = DemandMemory(("a", "b", "c"), name, state)
    back = DemandMemory.of_json(json.loads(json.dumps(memory.to_json())))
    again = back.rows_of(("a", "b", "c"), estimator.fresh(3), name)
    assert estimator.outlook(again).quantile(0.9).tolist() == estimator.outlook(state).quantile(0.9).tolist()
    counts = np.array([7.0, 250.0, 41_000.0])
    for array, other in zip(
        estimator.observe(again, counts).values(), estimator.observe(state, counts).values(), strict=True
    ):
        np.testing.assert_array_equal(array, other)


def test_rows_are_found_by_name_when_the_catalog_changes() -> None:
    estimator = make_estimator("ewma")
    state = estimator.observe(estimator.fresh(2), np.array([10.0, 20.0]))
    memory = DemandMemory(("a", "b"), "ewma", state)
    rows = memory.rows_of(("b", "new", "a"), estimator.fresh(3), "ewma")
    assert estimator.outlook(rows).forecast.tolist() == [20.0, 0.0, 10.0]
    other = memory.rows_of(("b",), estimator.fresh(1), "another rule")
    assert estimator.outlook(other).forecast.tolist() == [0.0]


def test_memory_is_flat_for_ten_thousand_types() -> None:
    estimator = make_estimator("mean_reverting")
    state = estimator.fresh(10_000)
    size = sum(array.nbytes for array in state.values())
    for _ in range(3):
        state = estimator.observe(state, np.full(10_000, 100.0))
    assert sum(array.nbytes for array in state.values()) == size < 8_000_000


def test_memory_goes_into_parts_that_fit_in_a_message_and_comes_back_whole() -> None:
    estimator = make_estimator("mean_reverting")
    names = tuple(f"type-{number}" for number in range(2500))
    state = estimator.observe(estimator.fresh(2500), np.arange(2500.0))
    memory = DemandMemory(names, "x", state)
    parts = [json.dumps(part.to_json()) for part in memory.parts(1000)]
    assert [len(part) < 900_000 for part in parts] == [True, True, True]
    back = DemandMemory.joined([DemandMemory.of_json(json.loads(part)) for part in parts])
    assert back.types == names
    for name, array in back.arrays.items():
        np.testing.assert_array_equal(array, state[name])
    assert DemandMemory.joined([memory, DemandMemory(("other",), "another rule", {})]).types == ()


@pytest.mark.parametrize("number", range(1, 16))
def test_a_spread_is_never_below_zero_however_few_errors_there_are_and_however_great(number: int) -> None:
    ring = np.full((1, 144), np.inf, dtype=np.float32)
    ring[0, :number] = 40.0
    assert Spread.of(np.array([3.0]), ring, np.array([number])).stddev()[0] >= 0.0
