"""Where no plan exists the words say which limits clash; where one exists it is found."""

from dataclasses import replace
from pathlib import Path

import pytest

from controller.domain.entities import FoundationModel, GpuTier, QueryType
from controller.domain.instance import Instance
from controller.domain.instance_file import load_instance
from controller.errors import SolverError
from controller.optimizer.infeasible import explain, find_conflict, held_to
from controller.optimizer.limits import Limit, only_demanding
from controller.optimizer.params import Params
from controller.optimizer.solve import solve
from controller.optimizer.stop import MaxIterations, MaxRuntime

PROVED = MaxIterations(10**6)
INSTANCES = Path(__file__).parents[1] / "data" / "instances"

CHAT = QueryType("chat", 3.0, 400, 150, 4.0, 0.06, unmet_penalty_usd=0.004, max_unmet=0.1)
CODE = QueryType("code", 1.0, 900, 300, 9.0, 0.09, unmet_penalty_usd=0.008, max_unmet=0.1)
LARGE = FoundationModel("large", 8, 16, 2e-4, {"chat": 0.04, "code": 0.05})
TIER = GpuTier("fast", 80, 3300, 900, 2.5, (1, 2), (1,))
FLEET = Instance("fleet", 24, (CHAT, CODE), (LARGE,), (TIER,))

CLASHES = {
    "nothing is fast enough": (
        replace(FLEET, query_types=(replace(CHAT, delay_slo_s=0.001), CODE)),
        ("chat: delay_slo_s 0.001 is below the", "of the fastest deployment, large/fast/tp2-pp1"),
    ),
    "nothing is exact enough": (
        replace(FLEET, query_types=(CHAT, replace(CODE, error_slo=0.01))),
        ("code: error_slo 0.01 is below the 0.05 of the most exact deployment",),
    ),
    "what is fast is not exact": (
        replace(
            FLEET,
            models=(LARGE, FoundationModel("small", 1, 2, 1e-5, {"chat": 0.2, "code": 0.2})),
            query_types=(replace(CHAT, delay_slo_s=0.3), CODE),
        ),
        ("chat: delay_slo_s 0.3 and error_slo 0.06 clash", "small/fast", "error of 0.2"),
    ),
    "no weights fit": (
        replace(FLEET, models=(replace(LARGE, weights_gb=500),)),
        ("chat: the weights of no model fit in the memory",),
    ),
    "no GPUs": (
        replace(FLEET, gpu_tiers=(replace(TIER, available=0),)),
        ("the available GPUs (fast: 0) cannot serve 0.9 of code", "available GPUs of fast of at least 1"),
    ),
    "no budget": (
        replace(FLEET, budget_usd=0.0),
        ("budget_usd 0 cannot serve 0.9 of code", "budget_usd of at least 60"),
    ),
    "no storage": (
        replace(FLEET, storage_gb=0.0),
        ("storage_gb 0 cannot serve 0.9 of code", "storage_gb of at least 16"),
    ),
    "a budget for less": (
        replace(FLEET, budget_usd=100.0, query_types=(replace(CHAT, arrival_rate_per_s=500.0), CODE)),
        ("budget_usd 100 cannot serve 0.9 of chat", "budget_usd of at least 1140"),
    ),
    "GPUs for less": (
        replace(
            FLEET,
            gpu_tiers=(replace(TIER, available=2),),
            query_types=(replace(CHAT, arrival_rate_per_s=500.0), CODE),
        ),
        ("the available GPUs (fast: 2) cannot serve 0.9 of chat",),
    ),
    "two limits together": (
        # Cheap GPUs are few, dear ones too dear: either limit alone could be kept.
        replace(
            FLEET,
            budget_usd=300.0,
            gpu_tiers=(replace(TIER, available=1), replace(TIER, name="dear", price_usd_per_h=60.0)),
            query_types=(replace(CHAT, arrival_rate_per_s=60.0), CODE),
        ),
        ("budget_usd 300 and the available GPUs (fast: 1) cannot serve",),
    ),
    "only whole replicas": (
        # Each model serves two of three types. A third of a replica of each would do; there is one GPU.
        Instance(
            "ring",
            24,
            tuple(replace(CHAT, name=name, max_unmet=0.4) for name in "abc"),
            tuple(
                FoundationModel(
                    f"not {bad}", 1, 2, 0.0, {name: 0.5 if name == bad else 0.01 for name in "abc"}
                )
                for bad in "abc"
            ),
            (replace(TIER, available=1, tp_degrees=(1,)),),
        ),
        (
            "no whole number of replicas within the available GPUs (fast: 1)",
            "serves 0.6 of a, 0.6 of b, 0.6 of c",
            "available GPUs of fast of at least 2",
        ),
    ),
}


@pytest.mark.parametrize("method", ["agh", "gh", "milp"])
@pytest.mark.parametrize(("instance", "words"), CLASHES.values(), ids=CLASHES.keys())
def test_what_clashes_is_named(instance: Instance, words: tuple[str, ...], method: str) -> None:
    result = solve(instance, MaxIterations(100 if method == "milp" else 2), method=method)
    assert (result.status, result.plan, result.objective_usd) == ("infeasible", None, None)
    said = "; ".join(result.conflict)
    for part in words:
        assert part in said


@pytest.mark.parametrize("instance", [instance for instance, _ in CLASHES.values()], ids=CLASHES.keys())
def test_the_set_that_clashes_is_minimal_and_every_remedy_mends(instance: Instance) -> None:
    conflict = find_conflict(instance)
    assert conflict.is_minimal
    alone = held_to(only_demanding(instance), conflict.limits)
    assert not solve(alone, PROVED, method="milp").is_feasible
    for limit in conflict.limits:
        assert solve(limit.lifted(alone), PROVED, method="milp").is_feasible, (
            f"{limit} is not needed for the clash"
        )
    for remedy in conflict.remedies:
        mended = remedy.limit.changed(instance, remedy.value)
        assert solve(mended, PROVED, method="milp").is_feasible, remedy
        if remedy.is_least:
            less = remedy.value - 1 if remedy.limit.kind == "available" else remedy.value * 0.99
            assert not solve(remedy.limit.changed(instance, less), PROVED, method="milp").is_feasible, remedy


def test_of_many_limits_only_those_that_clash_are_named() -> None:
    instance = load_instance(INSTANCES / "paper-s17-x10-infeasible.json")
    conflict = find_conflict(
        replace(instance, gpu_tiers=tuple(replace(t, available=64) for t in instance.gpu_tiers))
    )
    assert {limit.kind for limit in conflict.limits} == {"budget_usd", "max_unmet"}
    assert len(conflict.limits) == 2
    (mended,) = conflict.remedies
    assert mended.limit == Limit("budget_usd")


def test_without_time_the_words_say_that_the_set_may_be_too_large() -> None:
    instance, _ = CLASHES["two limits together"]
    (said,) = explain(instance, remaining_s=lambda: 0.0)
    assert "no time to see whether all of these are needed" in said
    assert "budget_usd 300" in said


def test_the_shared_infeasible_instance_names_its_budget() -> None:
    result = solve(load_instance(INSTANCES / "paper-s17-x10-infeasible.json"), MaxIterations(1))
    assert result.status == "infeasible"
    assert "budget_usd 5 cannot serve" in result.conflict[0]


def test_where_all_may_be_shed_a_plan_always_exists() -> None:
    free = tuple(replace(item, max_unmet=1.0) for item in FLEET.query_types)
    for instance, _ in CLASHES.values():
        relaxed = replace(
            instance, query_types=tuple(replace(item, max_unmet=1.0) for item in instance.query_types)
        )
        assert solve(relaxed, MaxIterations(1)).is_feasible
    assert solve(replace(FLEET, query_types=free, budget_usd=0.0), MaxIterations(1)).is_feasible


def test_a_plan_that_the_construction_misses_is_found_by_the_exact_method() -> None:
    # The type that comes first takes the only GPU for the cheaper model, which only it can use.
    instance = replace(
        FLEET,
        gpu_tiers=(replace(TIER, available=1, tp_degrees=(1,)),),
        models=(FoundationModel("narrow", 1, 2, 0.0, {"chat": 0.01, "code": 0.5}), LARGE),
    )
    result = solve(instance, MaxIterations(0), method="gh")
    assert result.is_feasible
    assert result.plan is not None
    assert {deployment.key.model for deployment in result.plan.deployments} == {"large"}


def test_a_fallback_that_may_do_nothing_says_that_nothing_is_proved() -> None:
    instance, _ = CLASHES["only whole replicas"]
    with pytest.raises(SolverError, match="no proof that there is none"):
        solve(instance, MaxRuntime(0.0, clock=lambda: 0.0), params=Params(fallback_s=0.0), method="gh")
