"""Expected cost over demand scenarios: the judge's own arithmetic, and steps that only ever lower it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from controller.domain.evaluate import evaluate, evaluate_arrays
from controller.domain.instance import Instance
from controller.optimizer.scenarios import ExpectedCost, Scenarios, improve, with_rates
from controller.optimizer.solve import solve
from controller.optimizer.stop import MaxIterations
from tests.benchmarks.families import instance_of

FEW = settings(max_examples=15, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])

names = st.builds(
    "synth-{}x{}x{}-s{}{}".format,
    st.integers(1, 4), st.integers(1, 3), st.integers(1, 3), st.integers(1600, 1999),
    st.sampled_from(["", "-x10", "-a4", "-avg", "-switch30", "-x10-tight70", "-storage"]),
)  # fmt: skip


def scenarios_of(instance: Instance, seed: int, count: int = 5, spread: float = 0.5) -> Scenarios:
    random = np.random.default_rng(seed)
    rates = np.array([item.arrival_rate_per_s for item in instance.query_types])
    return Scenarios(
        random.uniform(0.2, 1.0, count), rates * random.lognormal(0.0, spread, (count, len(rates)))
    )


def planned(instance: Instance) -> tuple[np.ndarray, np.ndarray]:
    plan = solve(instance, MaxIterations(3)).plan
    assert plan is not None
    return plan.arrays(instance)


@FEW
@given(names)
def test_one_scenario_that_is_the_demand_costs_what_the_judge_says(name: str) -> None:
    instance = instance_of(name)
    replicas, shares = planned(instance)
    rates = np.array([item.arrival_rate_per_s for item in instance.query_types])
    expected = ExpectedCost(instance, Scenarios(np.array([3.0]), rates[None, :])).of(replicas, shares)
    cost = evaluate_arrays(instance, replicas, shares).cost
    assert expected.total_usd == pytest.approx(cost.total_usd, rel=1e-6, abs=1e-9)
    assert expected.unmet_usd == pytest.approx(cost.unmet_usd, rel=1e-6, abs=1e-6 * cost.total_usd + 1e-9)


@FEW
@given(names, st.integers(0, 99))
def test_no_plan_is_cheaper_in_expectation_than_the_best_plan_of_each_scenario(name: str, seed: int) -> None:
    # Errors hold for any part of what is routed, and there is no budget: what is served is a plan of its own.
    plain = replace(instance_of(name.rpartition("-tight")[0] or name), budget_usd=None, delay_slo="per_route")
    instance = replace(
        plain,
        query_types=tuple(replace(item, error_slo=1.0, token_storage_gb=0.0) for item in plain.query_types),
    )
    scenarios = scenarios_of(instance, seed, count=3)
    expected = ExpectedCost(instance, scenarios).of(*planned(instance)).total_usd
    alone = [
        solve(with_rates(instance, rates), MaxIterations(10**6), method="milp").objective_usd
        for rates in scenarios.rates_per_s
    ]
    assert None not in alone
    assert expected >= scenarios.probabilities @ np.array(alone, dtype=float) * (1 - 1e-6)


@FEW
@given(names, st.integers(0, 99))
def test_improving_lowers_the_expected_cost_and_breaks_no_limit(name: str, seed: int) -> None:
    instance = instance_of(name)
    scenarios = scenarios_of(instance, seed)
    price, before = ExpectedCost(instance, scenarios), planned(instance)
    after = improve(instance, *before, scenarios)
    assert evaluate_arrays(instance, *after).is_feasible
    assert price.of(*after).total_usd <= price.of(*before).total_usd
    again = improve(instance, *after, scenarios)
    assert price.of(*again).total_usd == price.of(*after).total_usd


def test_where_demand_may_double_a_spare_replica_is_bought() -> None:
    instance = instance_of("paper-s1600-x10")
    replicas, shares = planned(instance)
    rates = np.array([item.arrival_rate_per_s for item in instance.query_types])
    scenarios = Scenarios(np.array([0.8, 0.2]), np.stack([rates, 2.0 * rates]))
    price = ExpectedCost(instance, scenarios)
    after = improve(instance, replicas, shares, scenarios)
    assert (instance.arrays.gpus @ after[0]) > instance.arrays.gpus @ replicas
    assert price.of(*after).unmet_usd < 0.2 * price.of(replicas, shares).unmet_usd


def test_overload_sheds_the_same_part_of_every_type_that_is_sent_there() -> None:
    instance = instance_of("synth-3x1x1-s1601")
    arrays = instance.arrays
    d = int(np.argmax(arrays.fast_enough.all(axis=0)))
    replicas, shares = np.zeros(arrays.num_deployments, dtype=np.int64), np.zeros(arrays.delay_s.shape)
    replicas[d], shares[:, d] = 1, 1.0
    rates = np.array([item.arrival_rate_per_s for item in instance.query_types])
    load = np.maximum(arrays.compute_load, arrays.memory_load)[:, d].sum()
    scale = 4.0 / load  # four times what one replica carries
    expected = ExpectedCost(instance, Scenarios(np.ones(1), rates[None, :] * scale)).of(replicas, shares)
    assert expected.unmet == pytest.approx([0.75] * 3, rel=1e-9)


def test_solve_takes_scenarios_and_tells_the_expected_cost() -> None:
    instance = instance_of("paper-s1602-x10-b600")
    scenarios = scenarios_of(instance, 1, count=8)
    plain = solve(instance, MaxIterations(3))
    hedged = solve(instance, MaxIterations(3), scenarios=scenarios)
    assert plain.plan is not None
    assert hedged.plan is not None
    assert plain.expected_usd is None
    price = ExpectedCost(instance, scenarios)
    assert hedged.expected_usd == pytest.approx(price.of(*hedged.plan.arrays(instance)).total_usd)
    assert hedged.expected_usd < price.of(*plain.plan.arrays(instance)).total_usd
    assert evaluate(instance, hedged.plan).is_feasible
    assert hedged.status == "feasible"


@pytest.mark.parametrize(
    ("weights", "rates", "words"),
    [
        ([1.0], [[1.0], [2.0]], "must be"),
        ([1.0], [[-1.0]], "at least 0"),
        ([0.0], [[1.0]], "not all be 0"),
        ([float("nan")], [[1.0]], "finite"),
    ],
)
def test_scenarios_that_make_no_sense_are_refused(
    weights: list[float], rates: list[list[float]], words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        Scenarios(np.array(weights), np.array(rates))


def test_scenarios_of_other_types_are_refused() -> None:
    with pytest.raises(ValueError, match="scenarios have 2 query types, the instance 3"):
        ExpectedCost(instance_of("synth-3x1x1-s1601"), Scenarios(np.ones(1), np.ones((1, 2))))
