"""The judge on the shared plans: it accepts and prices each, and names the constraint that a change breaks."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from controller.domain.arrays import Floats, Ints
from controller.domain.evaluate import evaluate, evaluate_arrays
from controller.domain.instance import Instance
from controller.domain.plan import load_plan
from tests.shared_instances import shared

DATA = Path(__file__).parents[1] / "data"
PLANS = sorted(path.stem for path in (DATA / "plans").glob("*.json"))


def broken(instance: Instance, replicas: Ints, shares: Floats) -> set[str]:
    return {check.constraint for check in evaluate_arrays(instance, replicas, shares).violations}


def arrays_of(name: str) -> tuple[Instance, Ints, Floats]:
    instance = shared(name)
    return instance, *load_plan(DATA / "plans" / f"{name}.json").arrays(instance)


@pytest.mark.parametrize("name", PLANS)
def test_a_shared_plan_costs_what_it_says_and_breaks_nothing(name: str) -> None:
    path = DATA / "plans" / f"{name}.json"
    judged = evaluate(shared(name), load_plan(path))
    assert judged.violations == ()
    assert judged.cost.total_usd == pytest.approx(json.loads(path.read_text())["cost_usd"], abs=1e-6)


@pytest.mark.parametrize("name", ["paper-s3-x10", "paper-s6-x100-a64", "synth-8x8x8-s3"])
def test_taking_a_needed_replica_away_breaks_a_capacity(name: str) -> None:
    instance, replicas, shares = arrays_of(name)
    for d in np.flatnonzero(replicas):
        fewer = replicas.copy()
        fewer[d] -= 1
        assert broken(instance, fewer, shares) & {"compute", "memory"}


def test_memory_is_a_capacity_of_its_own() -> None:
    instance, replicas, shares = arrays_of("paper-s3-x10")
    greedy = tuple(replace(model, kv_cache_gb_per_token=1.0) for model in instance.models)
    assert broken(replace(instance, models=greedy), replicas, shares) == {"memory"}


def test_shares_above_one_and_below_zero_break_demand() -> None:
    instance, replicas, shares = arrays_of("paper-s3-x10")
    i, d = np.argwhere(shares > 0)[0]
    for off in (1e-3, -1e-3 - shares[i, d]):
        wrong = shares.copy()
        wrong[i, d] += off
        assert "demand" in broken(instance, replicas, wrong)


def test_shedding_more_than_max_unmet_breaks_it() -> None:
    instance, replicas, shares = arrays_of("paper-s13-x10-unmet")
    i = int(np.argmin(instance.arrays.max_unmet))
    less = shares.copy()
    less[i] *= 0.9
    assert broken(instance, replicas, less) == {"max_unmet"}


def test_a_slower_deployment_breaks_delay() -> None:
    instance, replicas, shares = arrays_of("paper-s3-x10")
    i = int(np.flatnonzero((~instance.arrays.fast_enough).any(axis=1))[0])
    slow = int(np.argmax(instance.arrays.delay_s[i]))
    moved, more = shares.copy(), replicas.copy()
    moved[i] = 0.0
    moved[i, slow] = 1.0
    more[slow] = 10**6
    assert "delay" in broken(instance, more, moved)


def test_an_average_delay_slo_judges_the_mean_and_not_the_route() -> None:
    instance, replicas, shares = arrays_of("paper-s7-x30-avg")
    arrays = instance.arrays
    slower = (arrays.delay_s > arrays.delay_slo_s[:, None]) & (shares > 0)
    per_route = replace(instance, delay_slo="per_route")
    assert ("delay" in broken(per_route, replicas, shares)) == bool(slower.any())
    tight = tuple(replace(item, delay_slo_s=item.delay_slo_s / 50) for item in instance.query_types)
    assert "delay" in broken(replace(instance, query_types=tight), replicas, shares)


def test_a_lower_error_slo_breaks_error() -> None:
    instance, replicas, shares = arrays_of("paper-s3-x10")
    strict = tuple(replace(item, error_slo=item.error_slo / 10) for item in instance.query_types)
    assert broken(replace(instance, query_types=strict), replicas, shares) == {"error"}


def test_limits_just_below_what_a_plan_uses_are_broken_and_at_it_are_kept() -> None:
    instance, replicas, shares = arrays_of("paper-s3-x10")
    cost = evaluate_arrays(instance, replicas, shares).cost
    stored_gb = float(instance.arrays.weights_gb @ (replicas > 0))
    assert broken(replace(instance, budget_usd=cost.budgeted_usd), replicas, shares) == set()
    assert broken(replace(instance, budget_usd=cost.budgeted_usd * 0.999), replicas, shares) == {"budget"}
    assert broken(replace(instance, storage_gb=stored_gb), replicas, shares) == set()
    assert broken(replace(instance, storage_gb=stored_gb - 1e-3), replicas, shares) == {"storage"}


def test_more_gpus_than_a_tier_has_break_gpus() -> None:
    instance, replicas, shares = arrays_of("paper-s6-x100-a64")
    tiers = tuple(
        replace(tier, available=int((instance.arrays.gpus * replicas)[instance.arrays.tier == k].sum()))
        for k, tier in enumerate(instance.gpu_tiers)
    )
    assert broken(replace(instance, gpu_tiers=tiers), replicas, shares) == set()
    k = int(instance.arrays.tier[np.flatnonzero(replicas)[0]])
    short = tuple(
        replace(tier, available=tier.available - 1) if n == k else tier for n, tier in enumerate(tiers)
    )
    assert broken(replace(instance, gpu_tiers=short), replicas, shares) == {"gpus"}


def test_two_configurations_of_a_model_on_a_tier_break_one_config() -> None:
    instance, replicas, shares = arrays_of("paper-s3-x10")
    d = int(np.flatnonzero(replicas)[0])
    sibling = next(e for e in np.flatnonzero(instance.arrays.pair == instance.arrays.pair[d]) if e != d)
    both = replicas.copy()
    both[sibling] = 1
    assert broken(instance, both, shares) == {"one_config"}
