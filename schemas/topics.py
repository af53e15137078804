"""Topic names, with their keys, partitions and cleanup policies.

Plans are never compacted: a zombie's late record would outlive the newer one. Demand, catalogs and fleet states are:
the last record of a key is all there is to know.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal

DEFAULT_SOURCE_PARTITIONS = 4


class Topic(StrEnum):
    """The names, as they are on the broker."""

    REQUEST_RATE = "llm.request-rate.v1"
    DEMAND = "llm.demand.v1"
    PLANNER_CLAIMS = "llm.planner-claims.v1"
    PLANS = "llm.plans.v1"
    PLAN_ACKS = "llm.plan-acks.v1"
    FLEET_STATE = "llm.fleet-state.v1"
    CATALOG = "llm.catalog.v1"
    CLOCK = "llm.clock.v1"
    DEAD_LETTER = "llm.dead-letter.v1"


@dataclass(frozen=True, slots=True)
class TopicSpec:
    """How a topic is made.

    ``partitions`` of None means as many as the operator wants: only the source topic scales.
    """

    name: Topic
    message: str
    key: str
    partitions: int | None
    cleanup: Literal["delete", "compact"]
    config: dict[str, str] = field(default_factory=dict)


_WEEK_MS = str(7 * 24 * 3600 * 1000)
_HOUR_MS = str(3600 * 1000)
_COMPACT = {"min.cleanable.dirty.ratio": "0.1", "segment.ms": str(10 * 60 * 1000)}

TOPICS: dict[Topic, TopicSpec] = {
    spec.name: spec
    for spec in (
        TopicSpec(
            Topic.REQUEST_RATE, "RequestRateEvent", "source", None, "delete", {"retention.ms": _WEEK_MS}
        ),
        TopicSpec(Topic.DEMAND, "DemandSnapshot", "source partition", 1, "compact", _COMPACT),
        TopicSpec(Topic.PLANNER_CLAIMS, "PlannerClaim", "fleet", 1, "delete", {"retention.ms": _WEEK_MS}),
        TopicSpec(Topic.PLANS, "AllocationPlan", "fleet", 1, "delete", {"retention.ms": _WEEK_MS}),
        TopicSpec(Topic.PLAN_ACKS, "PlanAck", "router", 1, "delete", {"retention.ms": _WEEK_MS}),
        TopicSpec(Topic.FLEET_STATE, "FleetState", "fleet", 1, "compact", _COMPACT),
        TopicSpec(Topic.CATALOG, "Catalog", "fleet", 1, "compact", _COMPACT),
        TopicSpec(Topic.CLOCK, "ClockTick", "none", 1, "delete", {"retention.ms": _HOUR_MS}),
        TopicSpec(
            Topic.DEAD_LETTER,
            "DeadLetter",
            "topic, partition, offset",
            1,
            "delete",
            {"retention.ms": _WEEK_MS},
        ),
    )
}
