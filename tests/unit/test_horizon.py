"""The pure tick: every way in which it may end, each with its reason, and one plan each time."""

from array import array
from dataclasses import replace
from typing import Any

import pytest

from controller.demand.counting import Totals
from controller.demand.window import DemandState, PartitionProgress, TypeWindow, WindowView
from controller.domain.catalog import Catalog, read_catalog
from controller.domain.entities import DeploymentKey
from controller.domain.evaluate import evaluate
from controller.domain.plan import Deployment, Plan, Route
from controller.horizon import begin, conclude, next_horizon_start_s, overdue_start_s, tick
from controller.optimizer.memory import SolverMemory
from controller.optimizer.solve import solve
from controller.optimizer.stop import MaxIterations
from controller.records import (
    DecisionName,
    HorizonPolicy,
    PlannerState,
    PlanRecord,
    SolverAnswer,
    SolveRequest,
    SolverFailure,
    TickInput,
)
from tests.small_catalog import small_catalog

T = 1_000_000_200.0  # a multiple of 300
POLICY = HorizonPolicy(horizon_s=300.0, validity_s=600.0, min_improvement=0.005)
SMALL = DeploymentKey("m", "gpu", 1, 1)
LARGE = DeploymentKey("m", "gpu", 2, 1)


def catalog(**changes: Any) -> Catalog:
    # One model on one tier. On one GPU a query takes 1 GPU-second of prefill and nothing else: a replica serves 1/s.
    return read_catalog(small_catalog(compute_tflops=0.2, tp_degrees=(1, 2), **changes))


def view(count: int | None, start_s: float = T, **changes: Any) -> WindowView:
    types = {}
    if count is not None:
        state = DemandState.OBSERVED if count else DemandState.IDLE
        types["chat"] = TypeWindow(state, Totals(1, count, 100 * count, 0), array("d", [count]))
    made = WindowView(
        start_s, start_s + 300.0, 1.0, True, types, (PartitionProgress(0, 7, start_s + 300.0),), ()
    )
    return replace(made, **changes)


def given(seen: WindowView, world: Catalog | None = None) -> TickInput:
    return TickInput("horizon", seen.end_s + 30.0, world or catalog(), seen)


def plan(replicas: int, fraction: float = 1.0, key: DeploymentKey = SMALL) -> Plan:
    return Plan((Deployment(key, replicas, key.id),), (Route("chat", key.id, fraction),))


def answer(found: Plan, **changes: Any) -> SolverAnswer:
    return replace(SolverAnswer("feasible", "agh", 0.01, found, 0.0), **changes)


def in_force(replicas: int, count: int) -> PlannerState:
    """Return the state after a horizon that was planned for ``count`` requests with so many replicas."""
    state, effect = tick(PlannerState(epoch=4, planned_start_s=T), given(view(count)), POLICY)
    assert isinstance(effect, SolveRequest)
    state, record = conclude(state, answer(plan(replicas)), T + 331.0, POLICY)
    assert record.decision.name is DecisionName.PLANNED
    return state


def after(state: PlannerState, seen: WindowView, said: SolverAnswer | SolverFailure) -> PlanRecord:
    state, effect = tick(state, given(seen), POLICY)
    assert isinstance(effect, SolveRequest)
    return conclude(state, said, seen.end_s + 31.0, POLICY)[1]


def test_a_first_window_is_planned_from_nothing() -> None:
    state, effect = tick(PlannerState(epoch=4, planned_start_s=T), given(view(300)), POLICY)
    assert isinstance(effect, SolveRequest)
    assert effect.instance.query_types[0].arrival_rate_per_s == 1.0
    assert effect.initial == Plan()
    state, record = conclude(state, answer(plan(1)), T + 331.0, POLICY)
    assert (record.epoch, record.sequence, record.decision.name) == (4, 1, DecisionName.PLANNED)
    assert (record.horizon_end_s, record.valid_until_s, record.issued_at_s) == (T + 600, T + 900, T + 331)
    assert [(c.action, c.key, c.before, c.after) for c in record.diff.changes] == [("start", SMALL, 0, 1)]
    assert state.planned_start_s == T + 300


def test_the_plan_in_force_is_the_incumbent_and_where_the_solver_starts() -> None:
    _, effect = tick(in_force(2, 600), given(view(600, T + 300)), POLICY)
    assert isinstance(effect, SolveRequest)
    assert dict(effect.instance.incumbent) == {SMALL: 2}
    assert effect.initial.replicas == {SMALL: 2}


def test_a_plan_that_saves_too_little_is_not_adopted() -> None:
    worse = Plan((Deployment(LARGE, 1, LARGE.id),), (Route("chat", LARGE.id, 1.0),))
    record = after(in_force(2, 600), view(600, T + 300), answer(worse))
    assert record.decision.name is DecisionName.KEPT
    assert record.plan.replicas == {SMALL: 2}
    assert not record.diff.changes
    assert "would save" in record.decision.reason


def test_a_plan_that_saves_enough_is_adopted() -> None:
    record = after(in_force(3, 900), view(1, T + 300), answer(plan(1)))
    assert record.decision.name is DecisionName.PLANNED
    assert [(c.action, c.before, c.after) for c in record.diff.changes] == [("stop", 3, 1)]


def test_the_gap_that_is_reported_is_that_of_the_plan_that_is_published() -> None:
    state = in_force(2, 600)
    bound = answer(plan(2), status="optimal", lower_bound_usd=0.6)
    record = after(state, view(600, T + 300), bound)
    assert record.evaluation.cost.total_usd == pytest.approx(0.6)
    assert (record.solver.status, record.solver.gap) == ("optimal", pytest.approx(0.0))
    dearer = after(
        in_force(3, 600), view(600, T + 300), answer(plan(3), status="optimal", lower_bound_usd=0.6)
    )
    assert dearer.solver.status == "feasible"
    assert dearer.solver.gap == pytest.approx(1 / 3)


@pytest.mark.parametrize(
    ("seen", "reason"),
    [
        (view(None, T + 300), "not even a heartbeat"),
        (view(1, T + 300, missing_partitions=(2,)), "source partitions 2"),
        (view(1, T + 300, is_closed=False), "not closed"),
    ],
)
def test_on_unknown_demand_nothing_is_scaled_down(seen: WindowView, reason: str) -> None:
    before = in_force(3, 900)
    _, record = tick(before, given(seen), POLICY)
    assert isinstance(record, PlanRecord)
    assert record.decision.name is DecisionName.HOLD_UNKNOWN_DEMAND
    assert reason in record.decision.reason
    assert (record.plan, record.demand, record.sequence) == (before.plan, before.demand, before.sequence + 1)
    assert not record.diff.changes
    assert record.evaluation.is_feasible
    assert record.solver.status == "not_run"


def test_a_horizon_held_because_its_window_is_open_is_planned_once_it_closes() -> None:
    state, _ = tick(in_force(3, 900), given(view(1, T + 300, is_closed=False)), POLICY)
    assert next_horizon_start_s(state, T + 600, POLICY) == T + 600
    state, _ = tick(in_force(3, 900), given(view(None, T + 300)), POLICY)
    assert next_horizon_start_s(state, T + 600, POLICY) is None


def test_a_type_that_fell_silent_goes_on_being_planned_for() -> None:
    world = catalog(
        query_types=[
            {"name": "chat", "delay_slo_s": 10.0, "error_slo": 0.5, "unmet_penalty_usd": 1.0},
            {"name": "code", "delay_slo_s": 10.0, "error_slo": 0.5, "unmet_penalty_usd": 1.0},
        ],
        models=[{"name": "m", "params_b": 0.5, "weights_gb": 1.0, "base_error": {"chat": 0.1, "code": 0.1}}],
    )
    both = view(300)
    both = replace(both, types={**both.types, "code": both.types["chat"]})
    state, effect = tick(PlannerState(epoch=1), given(both, world), POLICY)
    state, _ = conclude(state, answer(plan(2)), T + 331.0, POLICY)
    _, effect = tick(state, given(view(300, T + 300), world), POLICY)
    assert isinstance(effect, SolveRequest)
    assert [q.arrival_rate_per_s for q in effect.instance.query_types] == [1.0, 1.0]


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (SolverFailure("timeout", "not done after 10 s", 10.0), "timeout: not done after 10 s"),
        (answer(plan(1, fraction=1.5)), "rejected: demand of chat"),
        (answer(plan(1, key=DeploymentKey("stranger", "gpu", 1, 1))), "rejected: deployments[0]"),
        (answer(Plan(), status="infeasible", conflict=("gpus of gpu",)), "no plan exists: gpus of gpu"),
    ],
)
def test_when_the_solver_fails_the_last_plan_stands_and_says_why(
    said: SolverAnswer | SolverFailure, reason: str
) -> None:
    record = after(in_force(3, 900), view(600, T + 300), said)
    assert record.decision.name is DecisionName.SOLVER_FAILED_KEPT_LAST
    assert record.decision.reason.startswith(reason)
    assert record.plan.replicas == {SMALL: 3}
    assert record.evaluation.is_feasible


def test_the_last_plan_is_rerouted_for_a_demand_that_outgrew_it() -> None:
    record = after(in_force(1, 300), view(1500, T + 300), SolverFailure("crashed", "gone", 0.0))
    assert record.evaluation.is_feasible
    served = sum(route.fraction for route in record.plan.routes)
    rate_per_s = record.demand[0].rate_per_s
    assert served == pytest.approx(1.0 / rate_per_s), "one replica serves one a second; the rest is shed"


def test_where_the_last_plan_cannot_serve_the_new_demand_within_its_limits_it_stands_as_it_was() -> None:
    strict = catalog(
        query_types=[
            {
                "name": "chat",
                "delay_slo_s": 10.0,
                "error_slo": 0.5,
                "unmet_penalty_usd": 1.0,
                "max_unmet": 0.0,
            }
        ]
    )
    state, _ = tick(PlannerState(epoch=1), given(view(300), strict), POLICY)
    state, first = conclude(state, answer(plan(1)), T + 331.0, POLICY)
    state, _ = tick(state, given(view(1500, T + 300), strict), POLICY)
    _, record = conclude(state, SolverFailure("crashed", "gone", 0.0), T + 631.0, POLICY)
    assert (record.plan, record.demand) == (first.plan, first.demand)
    assert "cannot serve the new demand" in record.decision.reason


def test_what_the_catalog_no_longer_has_is_stopped() -> None:
    state = in_force(2, 600)
    world = catalog(
        models=[{"name": "new", "params_b": 0.5, "weights_gb": 1.0, "base_error": {"chat": 0.1}}],
    )
    new = DeploymentKey("new", "gpu", 1, 1)
    state, effect = tick(state, given(view(600, T + 300), world), POLICY)
    assert isinstance(effect, SolveRequest)
    _, record = conclude(state, answer(plan(2, key=new)), T + 631.0, POLICY)
    assert [(c.action, c.key) for c in record.diff.changes] == [("start", new), ("stop", SMALL)]


def learned() -> SolverMemory:
    """Return what a solve of the fleet's second window leaves."""
    _, effect = tick(in_force(1, 300), given(view(600, T + 300)), POLICY)
    assert isinstance(effect, SolveRequest)
    memory = solve(effect.instance, MaxIterations(1)).memory
    assert memory is not None
    return memory


def asked(state: PlannerState, world: Catalog | None = None) -> SolveRequest:
    _, effect = tick(state, given(view(900, T + 600), world), POLICY)
    assert isinstance(effect, SolveRequest)
    return effect


def concluded(said: SolverAnswer | SolverFailure) -> PlannerState:
    """Return the state after two horizons, the first of which left a memory."""
    memory = learned()
    state, effect = tick(PlannerState(epoch=4, planned_start_s=T), given(view(300)), POLICY)
    state, _ = conclude(state, answer(plan(1), memory=memory), T + 331.0, POLICY)
    state, effect = tick(state, given(view(600, T + 300)), POLICY)
    assert isinstance(effect, SolveRequest)
    assert effect.memory is memory
    return conclude(state, said, T + 631.0, POLICY)[0]


def test_what_a_solve_leaves_is_handed_to_the_next_whether_or_not_its_plan_is_adopted() -> None:
    memory = replace(learned(), gap_usd=0.25)
    assert asked(concluded(answer(plan(2), memory=memory))).memory is memory
    assert asked(concluded(answer(plan(9, fraction=0.5), memory=memory))).memory is memory


def test_an_infeasible_demand_teaches_the_solver_nothing_and_takes_nothing_away() -> None:
    state = concluded(answer(Plan(), status="infeasible", conflict=("gpus of gpu",)))
    assert asked(state).memory == learned()


@pytest.mark.parametrize(
    "said", [SolverFailure("crashed", "gone", 0.0), answer(plan(1, fraction=1.5), memory=learned())]
)
def test_after_a_solve_that_failed_the_next_starts_without_a_memory(
    said: SolverAnswer | SolverFailure,
) -> None:
    assert asked(concluded(said)).memory is None


def test_what_was_learned_of_another_catalog_is_left_out() -> None:
    state = concluded(answer(plan(2), memory=learned()))
    assert asked(state, catalog(budget_usd_per_h=100.0)).memory is None
    assert asked(state, catalog()).memory is not None


def test_every_published_plan_is_one_that_the_judge_accepts() -> None:
    state = PlannerState(epoch=1)
    said = [
        answer(plan(1)),
        SolverFailure("timeout", "", 1.0),
        answer(plan(9, fraction=0.5)),
        answer(plan(2)),
    ]
    for step, (count, word) in enumerate(zip([300, 900, 10, 600], said, strict=True)):
        state, _ = tick(state, given(view(count, T + 300 * step)), POLICY)
        state, record = conclude(state, word, T + 300 * step + 331, POLICY)
        assert evaluate(record.instance, record.plan).is_feasible
        assert record.sequence == step + 1


def test_conclude_without_a_tick_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="pending"):
        conclude(PlannerState(epoch=1), answer(plan(1)), T, POLICY)


def test_a_new_fleet_begins_with_the_window_in_which_its_first_demand_came() -> None:
    assert begin(PlannerState(epoch=1), None, POLICY).planned_start_s is None
    state = begin(PlannerState(epoch=1), T + 40, POLICY)
    assert state.planned_start_s == T
    assert next_horizon_start_s(state, T + 290, POLICY) is None
    assert next_horizon_start_s(state, T + 300, POLICY) == T + 300
    assert begin(state, T + 4000, POLICY) == state


def test_after_a_backlog_only_the_newest_horizon_is_planned() -> None:
    state = PlannerState(epoch=1, planned_start_s=T)
    assert next_horizon_start_s(state, T + 3100, POLICY) == T + 3000
    assert next_horizon_start_s(state, float("-inf"), POLICY) is None


def test_a_horizon_is_held_once_demand_is_behind_by_more_than_patience() -> None:
    state = PlannerState(epoch=1, planned_start_s=T)
    assert overdue_start_s(state, T + 399, POLICY, patience_s=100) is None
    assert overdue_start_s(state, T + 400, POLICY, patience_s=100) == T + 300
    assert overdue_start_s(PlannerState(epoch=1), T + 400, POLICY, patience_s=100) is None
