"""Quantiles of a spread: they never cross, whatever errors were seen and however few."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.demand.residuals import Spread, empty_ring, push

errors = st.lists(st.floats(-500.0, 500.0, allow_nan=False), max_size=60)


def spread_of(forecast: float, seen: list[float]) -> Spread:
    ring, number = empty_ring(1), np.zeros(1, dtype=np.int64)
    for error in seen:
        ring, number = push(ring, number, np.array([error]))
    return Spread.of(np.array([forecast]), ring, number)


@settings(max_examples=80, deadline=None, derandomize=True)
@given(st.floats(0.0, 1e6), errors, st.lists(st.floats(0.001, 0.9999), min_size=2, max_size=12))
def test_a_higher_level_never_asks_for_less(forecast: float, seen: list[float], levels: list[float]) -> None:
    spread = spread_of(forecast, seen)
    found = [float(spread.quantile(level)[0]) for level in sorted(levels)]
    assert all(low <= high + 1e-9 * max(1.0, high) for low, high in pairwise(found))


@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.floats(0.0, 1e6), errors)
def test_the_standard_deviation_is_never_negative_and_scenarios_ascend(
    forecast: float, seen: list[float]
) -> None:
    spread = spread_of(forecast, seen)
    assert spread.stddev()[0] >= 0.0
    scenarios = spread.scenarios(17)[0]
    assert (np.diff(scenarios) >= -1e-9 * np.maximum(scenarios[1:], 1.0)).all()
    assert (scenarios >= 0.0).all()
