"""The judge, against a small instance that is worked out by hand (docs/mathematics.md)."""

from dataclasses import replace

import pytest

from controller.domain.entities import DeploymentKey, FoundationModel, GpuTier, Profile, QueryType, Switching
from controller.domain.evaluate import evaluate
from controller.domain.instance import Instance
from controller.domain.plan import Deployment, Plan, Route

CHAT = QueryType(
    name="chat",
    arrival_rate_per_s=2.0,
    input_tokens=100,
    output_tokens=50,
    delay_slo_s=2.0,
    error_slo=0.1,
    delay_penalty_usd_per_s=1e-4,
    unmet_penalty_usd=0.01,
    token_storage_gb=1e-6,
)
MODEL = FoundationModel(
    "m", params_b=10, weights_gb=20, kv_cache_gb_per_token=1e-3, base_error={"chat": 0.05}
)
TIER = GpuTier(
    name="k",
    memory_gb=40,
    memory_bandwidth_gb_s=1000,
    compute_tflops=100,
    price_usd_per_h=3.0,
    tp_degrees=(1, 2),
    pp_depths=(1, 2),
    tp_efficiency=0.8,
    pp_hop_s=0.001,
)
INSTANCE = Instance(
    name="by hand",
    horizon_h=10,
    query_types=(CHAT,),
    models=(MODEL,),
    gpu_tiers=(TIER,),
    storage_usd_per_gb_h=0.001,
)
ONE = DeploymentKey("m", "k", 1, 1)
TWO = DeploymentKey("m", "k", 2, 1)
DEEP = DeploymentKey("m", "k", 1, 2)


def plan(key: DeploymentKey, replicas: int, fraction: float) -> Plan:
    return Plan((Deployment(key, replicas, key.id),), (Route("chat", key.id, fraction),))


def test_delay_has_two_phases_and_both_are_split_by_tensor_parallelism() -> None:
    # a = 2 * 10e9 / (0.5 * 100e12) = 4e-4 s per input token; b = 20 / (0.6 * 1000) = 1/30 s per output token.
    arrays = INSTANCE.arrays
    delay = {key: arrays.delay_s[0, arrays.position[key]] for key in arrays.keys}
    assert delay[ONE] == pytest.approx(100 * 4e-4 + 50 / 30)
    assert delay[TWO] == pytest.approx((100 * 4e-4 + 50 / 30) / 1.6)  # n_eff = 2 * 0.8
    assert delay[DEEP] == pytest.approx(100 * 4e-4 + 50 * (1 / 30 + 0.001))  # a hop for each output token


def test_work_grows_by_what_tensor_parallelism_loses() -> None:
    # g = 2 * 10e9 / (0.1 * 100e12) = 2e-3 GPU-s per output token, so A = 0.04 + 0.1 GPU-s per query on one GPU.
    arrays = INSTANCE.arrays
    work = {key: arrays.work_gpu_s[0, arrays.position[key]] for key in arrays.keys}
    assert work[ONE] == pytest.approx(0.14)
    assert work[TWO] == pytest.approx(0.14 / 0.8)
    assert work[DEEP] == pytest.approx(0.14)


def test_loads_are_counted_in_replicas() -> None:
    arrays = INSTANCE.arrays
    d = arrays.position[ONE]
    assert arrays.compute_load[0, d] == pytest.approx(2.0 * 0.14)
    # V = λ D (h + f) β = 2 * 1.70667 * 150 * 1e-3 GB, of 40 * 0.9 - 20 = 16 GB that are free.
    assert arrays.kv_gb[0, d] == pytest.approx(0.512)
    assert arrays.memory_load[0, d] == pytest.approx(0.512 / 16)


def test_each_part_of_the_cost_is_what_the_formula_says() -> None:
    cost = evaluate(INSTANCE, plan(ONE, 2, 0.75)).cost
    queries = 2.0 * 3600 * 10
    assert cost.rental_usd == pytest.approx(10 * 3.0 * 2)
    # Weights are stored once, however many replicas: 20 GB; tokens: 1e-6 GB * 150 * 7200 per hour * 0.75.
    assert cost.storage_usd == pytest.approx(0.001 * 10 * (20 + 1e-6 * 150 * 7200 * 0.75))
    assert cost.delay_usd == pytest.approx(1e-4 * queries * (0.04 + 50 / 30) * 0.75)
    assert cost.unmet_usd == pytest.approx(0.01 * queries * 0.25)
    assert cost.switching_usd == 0.0
    parts = cost.rental_usd + cost.storage_usd + cost.delay_usd + cost.unmet_usd
    assert cost.total_usd == pytest.approx(parts)
    assert cost.budgeted_usd == pytest.approx(cost.rental_usd + cost.storage_usd)


def test_only_replicas_beyond_those_that_run_are_started() -> None:
    switching = replace(INSTANCE, switching=Switching(start_s=60, load_gb_per_s=2.0), incumbent={ONE: 1})
    # One replica of one GPU at 3 $/h, for 60 s and while 20 GB load at 2 GB/s: 70 s.
    assert evaluate(switching, plan(ONE, 2, 1.0)).cost.switching_usd == pytest.approx(3.0 * 70 / 3600)
    assert evaluate(switching, plan(ONE, 1, 1.0)).cost.switching_usd == 0.0


def test_an_incumbent_without_switching_costs_nothing() -> None:
    running = replace(INSTANCE, incumbent={TWO: 4})
    assert evaluate(running, plan(ONE, 2, 1.0)).cost.switching_usd == 0.0


def test_switching_without_an_incumbent_starts_every_replica() -> None:
    switching = replace(INSTANCE, switching=Switching(start_s=60, load_gb_per_s=2.0))
    assert evaluate(switching, plan(ONE, 2, 1.0)).cost.switching_usd == pytest.approx(2 * 3.0 * 70 / 3600)


def test_a_profile_replaces_delay_and_work_of_its_deployment_only() -> None:
    measured = replace(INSTANCE, profiles=(Profile(ONE, 1e-3, 1e-2, 5e-4, 4e-3),))
    arrays = measured.arrays
    d = arrays.position[ONE]
    assert arrays.delay_s[0, d] == pytest.approx(100 * 1e-3 + 50 * 1e-2)
    assert arrays.work_gpu_s[0, d] == pytest.approx(100 * 5e-4 + 50 * 4e-3)
    other = arrays.position[TWO]
    assert arrays.delay_s[0, other] == INSTANCE.arrays.delay_s[0, INSTANCE.arrays.position[TWO]]


def test_a_tiers_scale_and_multiplier_turn_it_into_a_precision() -> None:
    int8 = replace(INSTANCE, gpu_tiers=(replace(TIER, weight_scale=0.5, error_multiplier=1.2),))
    arrays = int8.arrays
    d = arrays.position[ONE]
    assert arrays.weights_gb[d] == 10.0
    assert arrays.error[0, d] == pytest.approx(0.06)
    assert arrays.delay_s[0, d] == pytest.approx(0.04 + 50 / 60)  # half the weights to read for each token


def test_a_type_that_nobody_asks_for_is_never_unmet() -> None:
    idle = replace(INSTANCE, query_types=(replace(CHAT, arrival_rate_per_s=0.0, max_unmet=0.0),))
    assert evaluate(idle, Plan()).is_feasible


def test_a_plan_tells_for_each_type_what_holds_it_back() -> None:
    limited = replace(INSTANCE, budget_usd=31.0)
    outcome = evaluate(limited, plan(ONE, 1, 1.0)).outcomes[0]
    assert outcome.delay_s == pytest.approx(0.04 + 50 / 30)
    assert outcome.error == pytest.approx(0.05)
    assert outcome.binding is not None
    assert outcome.binding.constraint == "budget"
