"""What fleets over time cost: starts take time, requests change in size, and what is too slow is told."""

from __future__ import annotations

import numpy as np
import pytest

from controller.domain.catalog import Catalog, read_catalog
from controller.domain.plan import Plan
from controller.optimizer.scenarios import ExpectedCost, Scenarios
from controller.simulate.fleets import reactive_timeline, static_plan
from controller.simulate.offline import deterministic
from controller.simulate.rollout import InForce, roll_out
from controller.simulate.score import score
from controller.simulate.traffic import Traffic
from tests.small_catalog import small_catalog

STEP_S = 60.0


def rolled(
    replicas: list[list[int]], issued_s: list[float], start_s: float, steps: int
) -> list[tuple[int, list[int]]]:
    found = roll_out(
        [np.array(row) for row in replicas], issued_s, np.full(len(replicas[0]), start_s), 0.0, STEP_S, steps
    )
    return [(int(plan), rented) for plan, rented in zip(found.serving, found.rented.tolist(), strict=True)]


def test_until_what_starts_is_ready_the_plan_before_serves_and_both_are_paid_for() -> None:
    found = rolled([[2, 0], [1, 1]], [0.0, 60.0], start_s=100.0, steps=5)
    assert found == [(0, [2, 0]), (0, [2, 1]), (0, [2, 1]), (1, [1, 1]), (1, [1, 1])]


def test_stopping_takes_no_time() -> None:
    assert rolled([[2], [1]], [0.0, 60.0], start_s=600.0, steps=3) == [(0, [2]), (1, [1]), (1, [1])]


def test_a_plan_that_is_repeated_while_it_starts_is_ready_no_sooner() -> None:
    found = rolled([[1], [2], [2]], [0.0, 60.0, 120.0], start_s=180.0, steps=6)
    assert [plan for plan, _ in found] == [0, 0, 0, 0, 2, 2]


def test_growing_at_every_step_still_takes_effect_one_start_later() -> None:
    found = rolled([[1], [2], [3], [4], [5]], [0.0, 60.0, 120.0, 180.0, 240.0], start_s=120.0, steps=7)
    assert [plan for plan, _ in found] == [0, 0, 0, 1, 2, 3, 4]


def test_what_a_newer_plan_no_longer_wants_stops_starting() -> None:
    found = rolled([[1, 0], [1, 1], [1, 0]], [0.0, 60.0, 120.0], start_s=180.0, steps=6)
    assert found == [(0, [1, 0]), (0, [1, 1]), *[(2, [1, 0])] * 4]


@pytest.fixture(scope="module")
def catalog() -> Catalog:
    return read_catalog(small_catalog())


def traffic_of(catalog: Catalog, rates: list[float], output_tokens: list[float]) -> Traffic:
    """Return traffic in windows of one step, all types alike."""
    types = len(catalog.type_names)
    totals = [
        np.tile([rate * STEP_S, rate * STEP_S * 100.0, rate * STEP_S * tokens], (types, 1))
        for rate, tokens in zip(rates, output_tokens, strict=True)
    ]
    per_s = np.repeat(np.array(rates)[:, None], types, axis=1)
    return Traffic.of(catalog, 0.0, STEP_S, per_s, totals, 1)


def fixed(catalog: Catalog, traffic: Traffic, rate: float) -> Plan:
    rates = np.full(len(catalog.type_names), rate)
    return static_plan(catalog, rates, traffic, deterministic(1), 300.0)


def test_a_fleet_that_stands_costs_what_the_judge_of_scenarios_says(catalog: Catalog) -> None:
    traffic = traffic_of(catalog, [5.0, 20.0, 80.0], [100.0] * 3)
    plan = fixed(catalog, traffic, 20.0)
    found = score(traffic, [InForce(0.0, plan)])
    replicas, shares = plan.within(traffic.hour).arrays(traffic.hour)
    judge = ExpectedCost(traffic.hour, Scenarios(np.ones(3), traffic.rates_per_s)).of(replicas, shares)
    start_usd = float(traffic.hour.arrays.start_usd @ replicas)
    assert found.total_usd == pytest.approx((judge.total_usd - start_usd) * 3 * STEP_S / 3600.0)
    assert found.unmet_usd == pytest.approx(judge.unmet_usd * 3 * STEP_S / 3600.0)
    assert found.served_usd == pytest.approx(found.total_usd - found.unmet_usd)


def test_the_same_rate_of_larger_requests_is_more_than_a_fleet_has_room_for(catalog: Catalog) -> None:
    rates = [20.0, 20.0]
    even = traffic_of(catalog, rates, [100.0, 100.0])
    plan = fixed(catalog, even, 20.0)
    grown = traffic_of(catalog, rates, [100.0, 1000.0])
    assert score(even, [InForce(0.0, plan)]).unmet_usd == pytest.approx(0.0, abs=1e-9)
    assert score(grown, [InForce(0.0, plan)], first_step=1).unmet_usd > 0.0
    assert grown.work[1, 0] > 5 * grown.work[0, 0]


def test_requests_too_large_for_their_delay_are_told_as_late(catalog: Catalog) -> None:
    small = traffic_of(catalog, [0.1, 0.1], [100.0, 100.0])
    plan = fixed(catalog, small, 0.1)
    huge = traffic_of(catalog, [0.001, 0.001], [100.0, 1e6])
    on_time = score(small, [InForce(0.0, plan)])
    late = score(huge, [InForce(0.0, plan)], first_step=1)
    assert set(on_time.late.values()) == {0.0}
    assert on_time.missed_usd == on_time.unmet_usd
    assert all(late.late[name] + late.unmet[name] > 0.99 for name in catalog.type_names)
    assert late.missed_usd > late.unmet_usd


def test_the_reactive_fleet_follows_its_use_up_at_once_and_down_later(catalog: Catalog) -> None:
    rates = [50.0] * 3 + [500.0] * 3 + [50.0] * 10
    traffic = traffic_of(catalog, rates, [100.0] * len(rates))
    timeline = reactive_timeline(fixed(catalog, traffic, 50.0), traffic, stabilization_s=300.0)
    issued = [one.issued_s for one in timeline]
    sizes = [sum(one.plan.replicas.values()) for one in timeline]
    grown = sizes.index(max(sizes))
    assert max(sizes) > 3 * sizes[0]
    assert issued[grown] == 4 * STEP_S
    assert issued[grown + 1] >= 10 * STEP_S
    assert sizes[-1] < max(sizes) / 3
