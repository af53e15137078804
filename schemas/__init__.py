"""The messages on Coxswain's topics, and the topics themselves. Imports nothing else of Coxswain."""

from schemas.base import EpochSeconds, Message, UtcTime
from schemas.catalog import (
    Catalog,
    CatalogFoundationModel,
    CatalogGpuTier,
    CatalogProfile,
    CatalogQueryType,
    CatalogSwitching,
)
from schemas.claim import PlannerClaim
from schemas.clock import ClockTick
from schemas.dead_letter import DeadLetter
from schemas.demand import BucketTotals, DemandSnapshot, TypeTotals
from schemas.events import RequestRateEvent
from schemas.fleet import FleetState, PlanAck, ReplicaState
from schemas.plan import (
    AllocationPlan,
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
from schemas.topics import TOPICS, Topic, TopicSpec

__all__ = [
    "TOPICS",
    "AllocationPlan",
    "BucketTotals",
    "Catalog",
    "CatalogFoundationModel",
    "CatalogGpuTier",
    "CatalogProfile",
    "CatalogQueryType",
    "CatalogSwitching",
    "ClockTick",
    "DeadLetter",
    "DemandSnapshot",
    "EpochSeconds",
    "FleetState",
    "Message",
    "PlanAck",
    "PlanChange",
    "PlanCost",
    "PlanDecision",
    "PlanDemand",
    "PlanDeployment",
    "PlanInput",
    "PlanInputPartition",
    "PlanPrediction",
    "PlanRoute",
    "PlanSolver",
    "PlannerClaim",
    "ReplicaState",
    "RequestRateEvent",
    "Topic",
    "TopicSpec",
    "TypeTotals",
    "UtcTime",
]
