"""Plans to and from their messages, nothing lost on the way."""

from __future__ import annotations

import json
from array import array
from dataclasses import replace

import pytest

from controller.demand.counting import PartitionLedger, Totals, Windowing
from controller.demand.policy import DemandPolicy
from controller.demand.window import DemandState, PartitionProgress, TypeWindow, WindowView
from controller.domain.catalog import read_catalog
from controller.domain.entities import DeploymentKey
from controller.domain.plan import Deployment, Plan, Route
from controller.errors import MessageError
from controller.horizon import conclude, tick
from controller.records import (
    HorizonPolicy,
    PlannerState,
    PlanRecord,
    SolverAnswer,
    SolveRequest,
    SolverFailure,
    TickInput,
)
from controller.stream.codec import ledger_of, memory_of, plan_message, plan_of, remembered
from controller.stream.snapshot_bytes import SnapshotWriter
from schemas import AllocationPlan, DemandSnapshot

T = 1_772_582_400.0
POLICY = HorizonPolicy(horizon_s=300.0, validity_s=600.0, demand=DemandPolicy(estimator="ewma"))
CATALOG = read_catalog(
    {
        "schema": "catalog/1",
        "fleet": "main",
        "storage_usd_per_gb_h": 0.001,
        "switching": {"start_s": 60, "load_gb_per_s": 2},
        "query_types": [
            {
                "name": name,
                "delay_slo_s": 10.0,
                "error_slo": 0.5,
                "unmet_penalty_usd": 1.0,
                "delay_penalty_usd_per_s": 0.01,
                "token_storage_gb": 0.001,
            }
            for name in ("chat", "code")
        ],
        "models": [
            {"name": "m", "params_b": 0.5, "weights_gb": 1.0, "base_error": {"chat": 0.1, "code": 0.2}}
        ],
        "gpu_tiers": [
            {
                "name": "gpu",
                "memory_gb": 80.0,
                "memory_bandwidth_gb_s": 1000.0,
                "compute_tflops": 2.0,
                "price_usd_per_h": 3.6,
                "tp_degrees": [1, 2],
                "pp_depths": [1],
            }
        ],
    }
)
SMALL, LARGE = DeploymentKey("m", "gpu", 1, 1), DeploymentKey("m", "gpu", 2, 1)


def view(start_s: float = T, count: int = 7200) -> WindowView:
    """Return a window with requests of chat, and of code nothing but a heartbeat."""
    types = {
        "chat": TypeWindow(
            DemandState.OBSERVED, Totals(count, count, 100 * count, 2 * count), array("d", [count])
        ),
        "code": TypeWindow(DemandState.IDLE, Totals(1, 0, 0, 0), array("d", [0])),
    }
    progress = (PartitionProgress(0, 601, start_s + 300.0), PartitionProgress(1, 7, None))
    return WindowView(start_s, start_s + 300.0, 1.0, True, types, progress, ())


def two_ticks() -> tuple[PlannerState, PlanRecord]:
    """Return the second plan of an epoch: one deployment in exchange for another."""
    state, before = tick(PlannerState(epoch=3), TickInput("horizon", T + 331.0, CATALOG, view()), POLICY)
    assert isinstance(before, SolveRequest)
    first = Plan((Deployment(SMALL, 1, SMALL.id),), (Route("chat", SMALL.id, 0.1),))
    state, _ = conclude(state, SolverAnswer("feasible", "agh", 0.5, first, None), T + 331.5, POLICY)
    given = TickInput("horizon", T + 631.0, CATALOG, view(T + 300.0, count=9600))
    state, after = tick(state, given, POLICY)
    assert isinstance(after, SolveRequest)
    second = Plan((Deployment(LARGE, 2, LARGE.id),), (Route("chat", LARGE.id, 0.75),))
    answer = SolverAnswer("feasible", "agh", 0.25, second, 0.125)
    return conclude(state, answer, T + 631.257, POLICY)


def test_every_field_of_a_plan_is_filled_from_the_record_of_its_tick() -> None:
    _, record = two_ticks()
    message = plan_message(record)
    assert (message.fleet, message.epoch, message.sequence, message.plan_id) == ("main", 3, 2, "main-3-2")
    assert (message.trigger, message.issued_at) == ("horizon", T + 631.257)
    assert (message.horizon_start, message.horizon_end, message.valid_until) == (T + 600, T + 900, T + 1200)
    assert [(p.partition, p.next_offset, p.watermark) for p in message.input.partitions] == [
        (0, 601, T + 600.0),
        (1, 7, None),
    ]
    assert (message.input.missing_partitions, message.input.catalog_hash) == ([], CATALOG.digest)
    assert [(d.query_type, d.state, d.observed_rate_per_s) for d in message.demand] == [
        ("chat", "observed", 32.0),
        ("code", "idle", 0.0),
    ]
    chat = message.demand[0]
    assert (chat.input_tokens, chat.output_tokens) == pytest.approx((100.0, 2.0))
    assert 24.0 < chat.rate_per_s == record.demand[0].rate_per_s < 32.0
    assert chat.rate_stddev_per_s == record.demand[0].rate_stddev_per_s
    assert (chat.forecast_rate_per_s, chat.shaped_by, chat.burstiness) == (chat.rate_per_s, "forecast", 1.0)
    (deployment,) = message.deployments
    assert (deployment.id, deployment.model, deployment.gpu_tier) == (LARGE.id, "m", "gpu")
    assert (deployment.tp, deployment.pp, deployment.replicas, deployment.gpus) == (2, 1, 2, 4)
    (route,) = message.routes
    assert (route.query_type, route.deployment, route.fraction) == ("chat", LARGE.id, 0.75)
    assert message.unmet["chat"] == pytest.approx(0.25)
    prediction = message.predicted[0]
    outcome = record.evaluation.outcomes[0]
    assert (prediction.query_type, prediction.delay_s, prediction.error) == (
        "chat",
        outcome.delay_s,
        outcome.error,
    )
    assert (prediction.delay_slo_s, prediction.error_slo) == (10.0, 0.5)
    assert prediction.unmet == pytest.approx(0.25)
    assert prediction.slack is not None
    assert prediction.binding is not None
    cost, judged = message.cost, record.evaluation.cost
    assert cost.rental_usd == pytest.approx(4 * 3.6 * 300 / 3600)
    parts = (cost.rental_usd, cost.storage_usd, cost.delay_usd, cost.unmet_usd, cost.switching_usd)
    assert parts == (
        judged.rental_usd,
        judged.storage_usd,
        judged.delay_usd,
        judged.unmet_usd,
        judged.switching_usd,
    )
    assert min(parts) > 0
    assert cost.total_usd == pytest.approx(sum(parts))
    assert cost.usd_per_h == pytest.approx((cost.rental_usd + cost.storage_usd) * 12)
    assert (message.solver.method, message.solver.status, message.solver.runtime_s) == (
        "agh",
        "feasible",
        0.25,
    )
    assert message.solver.lower_bound_usd == 0.125
    assert message.solver.gap == pytest.approx((cost.total_usd - 0.125) / cost.total_usd)
    assert [
        (c.step, c.action, c.deployment, c.replicas_before, c.replicas_after, c.gpus) for c in message.changes
    ] == [(1, "start", LARGE.id, 0, 2, 4), (2, "stop", SMALL.id, 1, 0, 1)]
    assert (message.decision.name, message.decision.reason) == ("planned", record.decision.reason)


def test_a_plan_comes_back_from_its_bytes_with_its_demand() -> None:
    _, record = two_ticks()
    message = AllocationPlan.model_validate_json(plan_message(record).encode())
    assert plan_message(record).encode() == message.encode()
    assert plan_of(message) == (record.plan, record.demand)


def test_moments_are_written_to_the_millisecond_in_utc() -> None:
    _, record = two_ticks()
    raw = plan_message(record).encode().decode()
    assert '"issued_at":"2026-03-04T00:10:31.257Z"' in raw
    assert '"horizon_start":"2026-03-04T00:10:00.000Z"' in raw


@pytest.mark.parametrize("closed", [True, False])
def test_a_hold_is_a_whole_plan_too(closed: bool) -> None:
    state, _ = two_ticks()
    seen = replace(view(T + 600.0), types={}, is_closed=closed, missing_partitions=(2,))
    _, held = tick(state, TickInput("horizon", T + 931.0, CATALOG, seen), POLICY)
    assert isinstance(held, PlanRecord)
    message = AllocationPlan.model_validate_json(plan_message(held).encode())
    assert (message.decision.name, message.solver.status) == ("hold_unknown_demand", "not_run")
    assert message.input.missing_partitions == [2]
    assert (message.solver.lower_bound_usd, message.solver.gap) == (None, None)
    assert plan_of(message) == (state.plan, state.demand)


def test_a_solver_that_failed_before_there_was_a_plan_leaves_a_plan_of_nothing() -> None:
    state, request = tick(PlannerState(epoch=0), TickInput("horizon", T + 331.0, CATALOG, view()), POLICY)
    assert isinstance(request, SolveRequest)
    _, record = conclude(state, SolverFailure("timeout", "too late", 1.0), T + 332.0, POLICY)
    message = AllocationPlan.model_validate_json(plan_message(record).encode())
    assert (message.deployments, message.routes, message.changes) == ([], [], [])
    assert message.unmet["chat"] == 1.0
    assert message.predicted[0].delay_s is None


def test_what_the_estimators_remember_comes_back_for_horizons_of_the_same_length_only() -> None:
    state, _ = two_ticks()
    memory = memory_of(state, 300.0)
    back = remembered(json.loads(json.dumps(memory)), 300.0)
    assert back.types == state.memory.types == ("chat", "code")
    assert back.to_json() == state.memory.to_json()
    assert remembered(memory, 60.0).types == ()
    assert remembered([], 300.0).types == ()


def test_a_ledger_comes_back_from_its_snapshot_and_never_into_buckets_of_another_length() -> None:
    windowing = Windowing(10.0, 30.0, 900.0)
    ledger = PartitionLedger(windowing, 3)
    for at_s in (0.0, 12.0, 100.0, 20.0):
        ledger.add([("chat", T + at_s, 2, 3, 4)])
    ledger.advance(5, T + 101.5)
    ledger.refused = 1
    raw = SnapshotWriter(ledger).write(is_at_end=True)
    snapshot = DemandSnapshot.model_validate_json(raw)
    assert ledger_of(snapshot, windowing) == ledger
    with pytest.raises(MessageError, match=r"bucket_s: must be 20, got 10\.0"):
        ledger_of(snapshot, Windowing(20.0, 30.0, 900.0))
