"""What the search space leaves out, and what it may not leave out."""

from dataclasses import replace

import numpy as np

from controller.domain.entities import DeploymentKey, FoundationModel, GpuTier, Profile, QueryType
from controller.domain.instance import Instance
from controller.optimizer.space import SearchSpace

CHAT = QueryType("chat", 3.0, 400, 150, 10.0, 0.06, unmet_penalty_usd=0.004)
MODEL = FoundationModel("m", 8, 16, 0.0, {"chat": 0.04})
TIER = GpuTier("k", 24, 900, 150, 0.6, (1, 2), (1, 2), tp_efficiency=0.85, pp_hop_s=0.001)
FLEET = Instance("fleet", 24, (CHAT,), (MODEL,), (TIER,))
FLAT, DEEP = DeploymentKey("m", "k", 1, 1), DeploymentKey("m", "k", 1, 2)


def kept(instance: Instance) -> set[DeploymentKey]:
    return {instance.arrays.keys[d] for d in SearchSpace.of(instance).ids}


def test_a_deep_pipeline_that_flat_replicas_replace_is_left_out() -> None:
    assert FLAT in kept(FLEET)
    assert DEEP not in kept(FLEET)


def test_a_deep_pipeline_whose_memory_is_needed_stays() -> None:
    # 5.6 GB are free on one GPU, 27.2 GB on two: the KV cache of long answers needs them.
    hungry = replace(FLEET, models=(replace(MODEL, kv_cache_gb_per_token=5e-3),))
    arrays = hungry.arrays
    flat, deep = (arrays.position[key] for key in (FLAT, DEEP))
    assert arrays.memory_load[0, flat] > 2 * arrays.memory_load[0, deep]
    assert DEEP in kept(hungry)


def test_a_deep_pipeline_that_was_measured_to_be_faster_stays() -> None:
    assert DEEP in kept(replace(FLEET, profiles=(Profile(DEEP, 1e-5, 1e-3, 1e-4, 1e-3),)))


def test_a_deep_pipeline_that_does_less_work_stays() -> None:
    slow = FLEET.arrays.delay_s[0, FLEET.arrays.position[DEEP]] / 150
    assert DEEP in kept(replace(FLEET, profiles=(Profile(DEEP, 0.0, float(slow), 1e-6, 1e-6),)))


def test_a_deep_pipeline_that_runs_stays() -> None:
    assert DEEP in kept(replace(FLEET, incumbent={DEEP: 1}))


def test_what_no_limit_has_room_for_is_left_out() -> None:
    for limited in (
        replace(FLEET, budget_usd=14.0),  # one GPU for a day costs 14.4
        replace(FLEET, storage_gb=15.0),
        replace(FLEET, gpu_tiers=(replace(TIER, available=0),)),
        replace(FLEET, query_types=(replace(CHAT, delay_slo_s=1e-3),)),
        replace(FLEET, query_types=(replace(CHAT, error_slo=1e-3),)),
    ):
        assert kept(limited) == set()


def test_an_inexact_deployment_stays_only_beside_an_exact_one() -> None:
    loose = FoundationModel("loose", 1, 2, 0.0, {"chat": 0.2})
    both = SearchSpace.of(replace(FLEET, models=(MODEL, loose)))
    assert {both.instance.arrays.keys[d].model for d in both.ids} == {"m", "loose"}
    assert kept(replace(FLEET, models=(loose,))) == set()


def test_replicas_are_capped_by_use_gpus_and_budget() -> None:
    busy = replace(FLEET, query_types=(replace(CHAT, arrival_rate_per_s=100.0),))

    def cap(instance: Instance) -> float:
        space = SearchSpace.of(instance)
        return float(space.cap[space.ids == instance.arrays.position[FLAT]][0])

    useful = float(np.ceil(busy.arrays.compute_load[0, busy.arrays.position[FLAT]]))
    assert useful > 5
    assert cap(busy) == useful
    assert cap(replace(busy, gpu_tiers=(replace(TIER, available=5),))) == 5
    assert cap(replace(busy, budget_usd=14.4 * 3 + 1)) == 3


def test_a_type_without_demand_takes_no_part() -> None:
    space = SearchSpace.of(
        replace(FLEET, query_types=(replace(CHAT, arrival_rate_per_s=0.0, max_unmet=0.0),))
    )
    assert space.idle_types.tolist() == [True]
    assert space.num_deployments == 0
    assert space.max_unmet.tolist() == [1.0]
