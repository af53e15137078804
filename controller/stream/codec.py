"""Between messages on topics and the core's own values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast, get_args

from controller.demand.counting import PartitionLedger, Totals, Windowing
from controller.demand.estimator import DemandEstimate
from controller.demand.memory import DemandMemory
from controller.demand.policy import Shaping
from controller.demand.window import DemandState
from controller.domain.entities import DeploymentKey
from controller.domain.evaluate import TypeOutcome
from controller.domain.plan import Deployment, Plan, Route
from controller.errors import MessageError
from controller.records import PlannerState, PlanRecord
from schemas import (
    AllocationPlan,
    DemandSnapshot,
    PlanChange,
    PlanCost,
    PlanDecision,
    PlanDemand,
    PlanDeployment,
    PlanInput,
    PlanInputPartition,
    PlanPrediction,
    PlanRoute,
    PlanSolver,
)

TYPES_PER_PART = 1000
"""Of what is remembered of demand: about 600 bytes each, and a message takes a million."""


def ledger_of(snapshot: DemandSnapshot, windowing: Windowing) -> PartitionLedger:
    """Read a ledger back from its message.

    Raises
    ------
    MessageError : it was counted in buckets of another length (``bucket_mismatch``).
    """
    if snapshot.bucket_s != windowing.bucket_s:
        raise MessageError(
            "bucket_mismatch", "bucket_s", f"must be {windowing.bucket_s:g}", snapshot.bucket_s
        )
    return PartitionLedger(
        windowing=windowing,
        partition=snapshot.partition,
        next_offset=snapshot.next_offset,
        watermark_s=snapshot.watermark,
        since_s=snapshot.since,
        as_of_s=snapshot.as_of,
        buckets={
            round(bucket.start / snapshot.bucket_s): {
                name: Totals(totals.events, totals.count, totals.input_tokens, totals.output_tokens)
                for name, totals in bucket.totals.items()
            }
            for bucket in snapshot.buckets
        },
        counted=snapshot.counted,
        late=snapshot.late,
        refused=snapshot.refused,
        duplicates=snapshot.duplicates,
        skipped=snapshot.skipped,
    )


def plan_message(record: PlanRecord) -> AllocationPlan:
    """Write a plan as the message that routers and provisioners follow."""
    tick, judged = record.tick, record.evaluation
    horizon_h = record.instance.horizon_h
    return AllocationPlan(
        fleet=tick.catalog.fleet,
        epoch=record.epoch,
        sequence=record.sequence,
        plan_id=f"{tick.catalog.fleet}-{record.epoch}-{record.sequence}",
        trigger=tick.trigger,
        issued_at=record.issued_at_s,
        horizon_start=tick.view.end_s,
        horizon_end=record.horizon_end_s,
        valid_until=record.valid_until_s,
        input=PlanInput(
            partitions=[
                PlanInputPartition(
                    partition=progress.partition,
                    next_offset=progress.next_offset,
                    watermark=progress.watermark_s,
                )
                for progress in tick.view.progress
            ],
            missing_partitions=list(tick.view.missing_partitions),
            catalog_hash=tick.catalog.digest,
        ),
        demand=[
            PlanDemand(
                query_type=estimate.query_type,
                state=estimate.state.value,
                rate_per_s=estimate.rate_per_s,
                observed_rate_per_s=estimate.observed_rate_per_s,
                rate_stddev_per_s=estimate.rate_stddev_per_s,
                input_tokens=estimate.input_tokens,
                output_tokens=estimate.output_tokens,
                quantile=estimate.quantile,
                forecast_rate_per_s=estimate.forecast_rate_per_s,
                shaped_by=estimate.shaped_by,
                burstiness=estimate.burstiness,
            )
            for estimate in record.demand
        ],
        deployments=[
            PlanDeployment(
                id=deployment.id,
                model=deployment.key.model,
                gpu_tier=deployment.key.gpu_tier,
                tp=deployment.key.tp,
                pp=deployment.key.pp,
                replicas=deployment.replicas,
                gpus=deployment.gpus,
            )
            for deployment in record.plan.deployments
        ],
        routes=[
            PlanRoute(query_type=route.query_type, deployment=route.deployment, fraction=route.fraction)
            for route in record.plan.routes
        ],
        unmet={outcome.query_type: outcome.unmet for outcome in judged.outcomes},
        predicted=[_prediction(record, outcome) for outcome in judged.outcomes],
        cost=PlanCost(
            rental_usd=judged.cost.rental_usd,
            storage_usd=judged.cost.storage_usd,
            delay_usd=judged.cost.delay_usd,
            unmet_usd=judged.cost.unmet_usd,
            switching_usd=judged.cost.switching_usd,
            total_usd=judged.cost.total_usd,
            usd_per_h=judged.cost.budgeted_usd / horizon_h,
        ),
        solver=PlanSolver(
            method=record.solver.method,
            status=record.solver.status,
            runtime_s=record.solver.runtime_s,
            lower_bound_usd=record.solver.lower_bound_usd,
            gap=record.solver.gap,
        ),
        changes=[
            PlanChange(
                step=step,
                action=change.action,
                deployment=change.key.id,
                replicas_before=change.before,
                replicas_after=change.after,
                gpus=change.gpus,
            )
            for step, change in enumerate(record.diff.changes, start=1)
        ],
        decision=PlanDecision(name=record.decision.name.value, reason=record.decision.reason),
    )


def _prediction(record: PlanRecord, outcome: TypeOutcome) -> PlanPrediction:
    query_type = next(q for q in record.instance.query_types if q.name == outcome.query_type)
    binding = outcome.binding
    return PlanPrediction(
        query_type=outcome.query_type,
        delay_s=outcome.delay_s,
        delay_slo_s=query_type.delay_slo_s,
        error=outcome.error,
        error_slo=query_type.error_slo,
        unmet=outcome.unmet,
        slack=None if binding is None else max(binding.relative_slack, -1e6),
        binding=None if binding is None else f"{binding.constraint} of {binding.subject}",
    )


def plan_of(message: AllocationPlan) -> tuple[Plan, tuple[DemandEstimate, ...]]:
    """Read back what runs, who goes where, and what it was planned for."""
    plan = Plan(
        tuple(
            Deployment(DeploymentKey(d.model, d.gpu_tier, d.tp, d.pp), d.replicas, d.id)
            for d in message.deployments
        ),
        tuple(Route(r.query_type, r.deployment, r.fraction) for r in message.routes),
    )
    demand = tuple(
        DemandEstimate(
            query_type=d.query_type,
            state=DemandState(d.state),
            rate_per_s=d.rate_per_s,
            rate_stddev_per_s=d.rate_stddev_per_s,
            input_tokens=d.input_tokens,
            output_tokens=d.output_tokens,
            observed_rate_per_s=d.observed_rate_per_s,
            forecast_rate_per_s=d.forecast_rate_per_s,
            quantile=d.quantile,
            shaped_by=_shaping(d.shaped_by),
            burstiness=1.0 if d.burstiness is None else d.burstiness,
        )
        for d in message.demand
    )
    return plan, demand


def _shaping(written: str | None) -> Shaping:
    """Read what decided a rate; a word of a later version is taken for the usual."""
    return cast(Shaping, written) if written in get_args(Shaping) else "headroom"


def memory_of(state: PlannerState, horizon_s: float) -> list[dict[str, Any]]:
    """Write what is remembered of demand, for the planner's table: parts, of so many query types each."""
    return [{"horizon_s": horizon_s, **part.to_json()} for part in state.memory.parts(TYPES_PER_PART)]


def remembered(parts: Sequence[Mapping[str, Any]], horizon_s: float) -> DemandMemory:
    """Read back what was remembered of demand; nothing, where it was for horizons of another length."""
    if any(part.get("horizon_s") != horizon_s for part in parts):
        return DemandMemory()
    return DemandMemory.joined([DemandMemory.of_json(part) for part in parts])
