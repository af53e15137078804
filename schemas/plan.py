"""What should run and who goes where: ``plan/1`` on ``llm.plans.v1``. Each one is enough to act on."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from schemas.base import Count, EpochSeconds, Message, Name, NonNegative, Share, UtcTime

Identifier = Annotated[str, Field(min_length=1, max_length=512)]


class PlanInputPartition(Message):
    """How far one source partition had been read when the plan was made."""

    partition: Annotated[int, Field(ge=0)]
    next_offset: Count
    watermark: EpochSeconds | None


class PlanInput(Message):
    """What the plan was made from."""

    partitions: list[PlanInputPartition]
    missing_partitions: list[int] = Field(
        default=[], description="source partitions of which nothing was known"
    )
    catalog_hash: str


class PlanDemand(Message):
    """The demand planned for, of one query type."""

    query_type: Name
    state: Literal["observed", "idle", "unknown"]
    rate_per_s: NonNegative = Field(description="planned for; the mean or its quantile")
    observed_rate_per_s: NonNegative | None = Field(
        description="in the window that closed; null where unknown"
    )
    rate_stddev_per_s: NonNegative
    input_tokens: NonNegative = Field(description="mean per request")
    output_tokens: NonNegative = Field(description="mean per request")
    quantile: Share | None = Field(
        default=None, description="of the rate; null where the mean is planned for"
    )
    forecast_rate_per_s: NonNegative | None = Field(default=None, description="the mean that is expected")
    shaped_by: str | None = Field(
        default=None, description="what decided the rate that is planned for: the margin, a floor, a limit"
    )
    burstiness: NonNegative | None = Field(
        default=None, description="variance of the window's bucket counts over their mean; 1 is a Poisson's"
    )


class PlanDeployment(Message):
    """Replicas of a model on a GPU tier in one parallel configuration."""

    id: Identifier
    model: Name
    gpu_tier: Name
    tp: Annotated[int, Field(ge=1)]
    pp: Annotated[int, Field(ge=1)]
    replicas: Annotated[int, Field(ge=1)]
    gpus: Annotated[int, Field(ge=1, description="tp * pp * replicas")]


class PlanRoute(Message):
    """The share of a query type that a deployment gets."""

    query_type: Name
    deployment: Identifier
    fraction: Annotated[float, Field(gt=0.0, le=1.0)]


class PlanPrediction(Message):
    """What a query type is expected to see under the plan."""

    query_type: Name
    delay_s: NonNegative | None = Field(description="mean over what is served; null where nothing is")
    delay_slo_s: NonNegative
    error: NonNegative | None
    error_slo: NonNegative
    unmet: Share
    slack: float | None = Field(description="least relative slack among the type's constraints")
    binding: str | None = Field(description="the constraint that has this slack, by name")


class PlanCost(Message):
    """Cost over the horizon, by part."""

    rental_usd: NonNegative
    storage_usd: NonNegative
    delay_usd: NonNegative
    unmet_usd: NonNegative
    switching_usd: NonNegative
    total_usd: NonNegative
    usd_per_h: NonNegative = Field(description="rental and storage, which is what a budget limits")


class PlanSolver(Message):
    """How the plan was found."""

    method: str
    status: Literal["optimal", "feasible", "infeasible", "failed", "not_run"]
    runtime_s: NonNegative
    lower_bound_usd: NonNegative | None
    gap: Share | None = Field(description="(objective - bound) / objective; null where there is no bound")


class PlanChange(Message):
    """One step of the way from the plan before to this one; starts come before stops."""

    step: Annotated[int, Field(ge=1)]
    action: Literal["start", "stop"]
    deployment: Identifier
    replicas_before: Annotated[int, Field(ge=0)]
    replicas_after: Annotated[int, Field(ge=0)]
    gpus: Annotated[int, Field(ge=1, description="that the step takes or gives back")]


class PlanDecision(Message):
    """Why this plan, by name and in words."""

    name: Literal["planned", "kept", "hold_unknown_demand", "solver_failed_kept_last"]
    reason: str


class AllocationPlan(Message):
    """One allocation plan, whole: act on the highest ``(epoch, sequence)`` and on nothing else."""

    schema_name: Literal["plan/1"] = Field(default="plan/1", alias="schema")
    fleet: Name
    epoch: Count = Field(description="offset of the planner's claim; a later planner has a higher one")
    sequence: Count = Field(description="number of the plan within its epoch")
    plan_id: Identifier
    trigger: Literal["horizon", "surge", "catalog", "capacity", "manual"]
    issued_at: UtcTime
    horizon_start: UtcTime
    horizon_end: UtcTime
    valid_until: UtcTime
    input: PlanInput
    demand: list[PlanDemand]
    deployments: list[PlanDeployment]
    routes: list[PlanRoute]
    unmet: dict[Name, Share]
    predicted: list[PlanPrediction]
    cost: PlanCost
    solver: PlanSolver
    changes: list[PlanChange]
    decision: PlanDecision
