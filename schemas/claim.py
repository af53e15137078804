"""A planner's claim: ``planner-claim/1`` on ``llm.planner-claims.v1``. The offset it lands on is its epoch."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from schemas.base import Message, Name, UtcTime


class PlannerClaim(Message):
    """Says that a worker has taken over planning for a fleet."""

    schema_name: Literal["planner-claim/1"] = Field(default="planner-claim/1", alias="schema")
    fleet: Name
    worker: Name
    claimed_at: UtcTime | None = Field(description="by the worker's clock; null where that is not set yet")
