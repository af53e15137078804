"""What is a surge and what is noise; and queueing headroom against figures worked out by other means."""

from __future__ import annotations

import math
from array import array

import numpy as np
import pytest

from controller.demand.counting import Totals
from controller.demand.queueing import capacity_factor
from controller.demand.surge import LEAST_REQUESTS, bucket_counts, dispersion, surging
from controller.demand.window import DemandState, TypeWindow, WindowView


def one(count: float, planned_per_s: float, index: float = 1.0, sigmas: float = 5.0) -> float:
    found = surging(np.array([count]), 10.0, np.array([planned_per_s]), np.array([index]), sigmas)
    return float(found[0])


def test_five_times_what_is_planned_for_is_a_surge_and_is_planned_for_with_a_margin() -> None:
    assert one(500, 10.0) == pytest.approx((500 + 1.28 * math.sqrt(500)) / 10)


@pytest.mark.parametrize(
    ("count", "planned_per_s", "index"),
    [
        (140, 10.0, 1.0),  # less than half more
        (LEAST_REQUESTS, 0.0, 1.0),  # hardly anybody
        (24, 1.0, 1.0),  # within five standard deviations of a Poisson's 10
        (300, 10.0, 20.0),  # a type that is bursty in every window
        (math.nan, 10.0, 1.0),  # no news
    ],
)
def test_noise_is_no_surge(count: float, planned_per_s: float, index: float) -> None:
    assert math.isnan(one(count, planned_per_s, index))


def test_poisson_traffic_on_its_plan_hardly_ever_looks_like_a_surge() -> None:
    counts = np.random.default_rng(0).poisson(50, 100_000).astype(float)
    found = surging(counts, 10.0, np.full(100_000, 5.0), np.ones(100_000), 5.0)
    assert np.isfinite(found).sum() == 0


def test_burstiness_is_taken_inside_the_window_and_without_what_is_to_be_judged() -> None:
    counts = (10, 30, 10, 30, 10, 30, 500)
    types = {"chat": TypeWindow(DemandState.OBSERVED, Totals(1, sum(counts), 0, 0), array("d", counts))}
    view = WindowView(0.0, 70.0, 1.0, True, types, (), ())
    assert dispersion(bucket_counts(view, ["chat", "other"])[:, :-1]).tolist() == pytest.approx(
        [120 / 20, 1.0]
    )
    assert dispersion(bucket_counts(view, ["chat"]))[0] > 300


def factor(rate_per_s: float, service_s: float, wait_s: float, index: float, late: float) -> float:
    return float(
        capacity_factor(
            np.array([rate_per_s]), np.array([service_s]), np.array([wait_s]), np.array([index]), late
        )[0]
    )


@pytest.mark.parametrize("busy", [20.0, 50.0, 200.0])
def test_for_poisson_arrivals_and_no_patience_it_is_close_to_erlangs_delay_formula(busy: float) -> None:
    # Erlang C by its recursion: the fewest slots with which fewer than 5 % wait.
    def waits(number: int) -> float:
        blocked = 1.0
        for n in range(1, number + 1):
            blocked = busy * blocked / (n + busy * blocked)
        return number * blocked / (number - busy * (1 - blocked))

    exact = next(number for number in range(math.ceil(busy) + 1, 1000) if waits(number) <= 0.05)
    assert factor(busy, 1.0, 0.0, 1.0, 0.05) * busy == pytest.approx(exact, rel=0.06)


def test_bursts_ask_for_more_and_patience_for_less() -> None:
    calm, bursty, patient = (
        factor(10.0, 2.0, 0.0, 1.0, 0.05),
        factor(10.0, 2.0, 0.0, 20.0, 0.05),
        factor(10.0, 2.0, 10.0, 20.0, 0.05),
    )
    assert 1 < patient < bursty
    assert 1 < calm < bursty
    assert factor(10.0, 2.0, 0.0, 1.0, 0.01) > calm
