"""Plans that are made anew because the fleet is another one: what counts as a cause, and what comes of it."""

from __future__ import annotations

import math
from array import array
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest

from controller import horizon
from controller.demand.counting import Totals
from controller.demand.memory import DemandMemory
from controller.demand.policy import DemandPolicy
from controller.demand.window import DemandState, TypeWindow, WindowView
from controller.domain.catalog import Catalog, read_catalog
from controller.domain.entities import DeploymentKey
from controller.domain.observed_fleet import ObservedFleet
from controller.errors import SolverRejectedError
from controller.horizon import conclude, tick
from controller.records import (
    DecisionName,
    HorizonPolicy,
    PlannerState,
    PlanRecord,
    SolverAnswer,
    SolveRequest,
    SolverFailure,
    TickInput,
    Trigger,
)
from controller.replan import gpu_limits, gpus_used, replan_start_s, replan_trigger
from controller.service_levels import LONGEST_LEAD, leads_of
from controller.simulate.offline import deterministic
from tests.small_catalog import small_catalog

T = 1_000_000_200.0  # a multiple of 300
POLICY = HorizonPolicy(horizon_s=300.0, validity_s=600.0, demand=DemandPolicy(surge_cooldown_s=60.0))
KEY = DeploymentKey("m", "gpu", 1, 1)
Answer = SolverAnswer | SolverFailure
Solve = Callable[[SolveRequest], Answer]
solved = deterministic()


def catalog(**changes: Any) -> Catalog:
    # A replica on one GPU serves a request of 100 input tokens in a second.
    written = small_catalog(compute_tflops=0.2, **changes)
    written["gpu_tiers"][0]["available"] = 16
    return read_catalog(written)


def failed(_: SolveRequest) -> SolverFailure:
    return SolverFailure("timeout", "too late", 1.0)


def view(end_s: float, count: int | None = None) -> WindowView:
    window = TypeWindow(
        DemandState.OBSERVED, Totals(1, count or 0, 100 * (count or 0), 0), array("d", [count or 0])
    )
    return WindowView(end_s - 300.0, end_s, 1.0, True, {} if count is None else {"chat": window}, (), ())


def fleet(
    available: int | None = None, replicas: Mapping[DeploymentKey, int] | None = None, at_s: float = 0.0
) -> ObservedFleet:
    return ObservedFleet(T + at_s, replicas or {}, {} if available is None else {"gpu": available})


def ticked(
    state: PlannerState,
    trigger: Trigger,
    known: ObservedFleet | None,
    solver: Solve = solved,
    policy: HorizonPolicy = POLICY,
    **changes: Any,
) -> tuple[PlannerState, PlanRecord]:
    seen = changes.pop("seen", view(T + 40.0))
    given = TickInput(trigger, T + 45.0, changes.pop("world", catalog()), seen, known)
    state, effect = tick(state, given, policy)
    if isinstance(effect, PlanRecord):
        return state, effect
    return conclude(state, solver(effect), T + 46.0, policy)


def busy(policy: HorizonPolicy = POLICY) -> PlannerState:
    """Return the state of a planner whose fleet serves eight requests a second, on as many GPUs."""
    state, record = ticked(
        PlannerState(epoch=0, planned_start_s=T - 300.0), "horizon", None, seen=view(T, 2400), policy=policy
    )
    assert record.plan.gpus == 8 or policy is not POLICY
    return state


def trigger(
    state: PlannerState, known: ObservedFleet | None, now_s: float = 45.0, world: Catalog | None = None
) -> str | None:
    return replan_trigger(state, world or catalog(), known, T + now_s, POLICY)


@pytest.mark.parametrize("solver", [solved, failed], ids=["the solver answers", "the solver fails"])
def test_a_plan_for_fewer_gpus_than_the_plan_in_force_takes_fits_in_them(solver: Solve) -> None:
    state, record = ticked(busy(), "capacity", fleet(3), solver)
    assert gpus_used(record.plan) == {"gpu": 3}
    assert record.evaluation.is_feasible
    assert record.evaluation.outcomes[0].unmet == pytest.approx(5 / 8)
    assert (record.tick.trigger, record.horizon_end_s) == ("capacity", T + 300.0)
    assert state.planned_start_s == T, "the horizon that was planned is still that one"
    assert trigger(state, fleet(3)) is None, "that was answered"


def test_a_hold_fits_in_the_gpus_that_there_are_and_is_unchanged_where_it_fits() -> None:
    state = busy()
    for available, gpus in ((3, 3), (8, 8), (None, 8)):
        held = ticked(state, "horizon", fleet(available), seen=replace(view(T + 300.0), is_closed=False))[1]
        assert held.decision.name is DecisionName.HOLD_UNKNOWN_DEMAND
        assert (held.plan.gpus, held.evaluation.is_feasible) == (gpus, True)
        assert available == 3 or held.plan == state.plan


def test_what_is_reported_to_run_is_what_starting_is_paid_for_from() -> None:
    world = catalog(switching={"start_s": 3600.0, "load_gb_per_s": 1.0})
    by_plan = ticked(busy(), "manual", None, world=world)[1]
    assert by_plan.evaluation.cost.switching_usd == 0.0, "taken as carried out"
    half_there = fleet(replicas={KEY: 5, DeploymentKey("gone", "gpu", 1, 1): 2})
    reported = ticked(busy(), "manual", half_there, world=world)[1]
    assert dict(reported.instance.incumbent) == {KEY: 5}
    started = sum(deployment.replicas for deployment in reported.plan.deployments) - 5
    assert reported.evaluation.cost.switching_usd == pytest.approx(started * 3.6, rel=1e-3)


def test_only_a_change_of_capacity_that_matters_to_the_plan_is_a_cause() -> None:
    state = busy()
    assert trigger(state, None) is None
    assert trigger(state, fleet()) is None
    assert trigger(state, fleet(16)) is None, "as many as it was planned with"
    assert trigger(state, fleet(8)) is None, "fewer, and the plan fits as it did"
    assert trigger(state, fleet(7)) == "capacity"
    assert trigger(state, fleet(17)) == "capacity", "there may be a better plan now"
    assert trigger(state, fleet(16, {KEY: 2})) is None, "replicas on their way to the plan are no cause"
    unlimited = replace(state, gpu_limits={"gpu": math.inf})
    assert trigger(unlimited, fleet(16)) is None


def test_a_planner_that_took_over_asks_only_whether_the_plan_in_force_fits() -> None:
    state = replace(busy(), gpu_limits=None)
    assert trigger(state, fleet(8)) is None
    assert trigger(state, fleet(100)) is None
    assert trigger(state, fleet(7)) == "capacity"


def test_capacity_is_answered_no_faster_than_surges() -> None:
    state, _ = ticked(busy(), "capacity", fleet(3))
    assert [trigger(state, fleet(6), now_s) for now_s in (46.0, 104.0, 105.0)] == [None, None, "capacity"]


def test_another_catalog_is_a_cause_once_and_the_same_one_none() -> None:
    state, other = busy(), catalog(budget_usd_per_h=100.0)
    assert trigger(state, None) is None
    assert trigger(state, None, world=other) == "catalog"
    state, record = ticked(state, "catalog", None, world=other)
    assert record.tick.catalog is other
    assert trigger(state, None, world=other) is None
    assert trigger(state, None) == "catalog", "and back again"
    assert trigger(PlannerState(epoch=0), None, world=other) is None, (
        "a first plan waits for its first window"
    )


def test_a_query_type_that_is_new_is_planned_for_by_its_prior_with_scenarios_too() -> None:
    policy = replace(POLICY, demand=replace(POLICY.demand, headroom="scenarios"))
    written = small_catalog(("chat", "code"), compute_tflops=0.2)
    written["query_types"][1] |= {"prior_rate_per_s": 2.0, "prior_input_tokens": 100.0}
    state = busy(policy)
    of_another_rule = replace(state.memory, signature="ewma (1,) 300", arrays={})
    for memory in (state.memory, of_another_rule, DemandMemory()):
        state = replace(state, memory=memory)
        _, record = ticked(state, "catalog", None, world=read_catalog(written), policy=policy)
        assert record.decision.name is DecisionName.PLANNED
        assert {estimate.query_type: estimate.rate_per_s for estimate in record.demand}["code"] == 2.0
        assert record.plan.gpus >= 10


def test_limits_are_those_that_are_reported_and_the_catalogs_for_the_rest() -> None:
    written = small_catalog()
    tier = written["gpu_tiers"][0]
    written["gpu_tiers"] = [{**tier, "name": "a", "available": 4}, {**tier, "name": "b"}]
    world = read_catalog(written)
    assert gpu_limits(world, None) == {"a": 4.0, "b": math.inf}
    reported = ObservedFleet(T, {}, {"b": 2, "unheard of": 9})
    assert gpu_limits(world, reported) == {"a": 4.0, "b": 2.0}


@pytest.mark.parametrize(
    ("watermark_s", "start_s"),
    [(-math.inf, 0.0), (-20.0, 0.0), (47.0, 40.0), (290.0, 290.0), (900.0, 290.0)],
)
def test_a_plan_anew_starts_within_the_horizon_that_was_planned(watermark_s: float, start_s: float) -> None:
    assert replan_start_s(busy(), T + watermark_s, 10.0, POLICY) == T + start_s


def test_a_catalog_that_makes_no_sense_is_planned_by_as_well_as_can_be(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    in_bytes = small_catalog(switching={"start_s": 60.0, "load_gb_per_s": 1.0})
    in_bytes["models"][0]["weights_gb"] = 16e9
    world = read_catalog(in_bytes)
    assert leads_of(world, 300.0) == (1, LONGEST_LEAD)
    assert ticked(busy(), "catalog", None, failed, world=world)[1].plan.gpus == 0, "nothing can be run"

    def lost_in_rounding(*_: Any, **__: Any) -> None:
        raise SolverRejectedError("its own plan breaks constraints")

    state = busy()
    monkeypatch.setattr(horizon, "reroute", lost_in_rounding)
    assert ticked(state, "capacity", fleet(16), failed)[1].plan == state.plan
