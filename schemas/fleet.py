"""What comes back from those who act on plans: ``plan-ack/1`` and ``fleet-state/1``."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from schemas.base import Count, Message, Name, UtcTime


class PlanAck(Message):
    """A router's word on one plan."""

    schema_name: Literal["plan-ack/1"] = Field(default="plan-ack/1", alias="schema")
    router: Name
    epoch: Count
    sequence: Count
    status: Literal["applied", "refused", "stale"]
    reason: str = ""


class ReplicaState(Message):
    """Replicas of one deployment that answer, and that are on their way."""

    model: Name
    gpu_tier: Name
    tp: Annotated[int, Field(ge=1)]
    pp: Annotated[int, Field(ge=1)]
    ready: Count
    pending: Count = 0


class FleetState(Message):
    """What runs now. Where it is reported, it is the incumbent r⁰; elsewhere the last plan is taken as carried out."""

    schema_name: Literal["fleet-state/1"] = Field(default="fleet-state/1", alias="schema")
    fleet: Name
    as_of: UtcTime
    replicas: list[ReplicaState]
    gpus_available: dict[Name, Count] = Field(
        default={}, description="per tier, in use or not; overrides the catalog's `available`"
    )
