"""What a tick takes and gives: its input, the request to a solver, the solver's word, and the plan that goes out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal

from controller.demand.estimator import DemandEstimate
from controller.demand.memory import DemandMemory
from controller.demand.policy import DemandPolicy
from controller.demand.window import WindowView
from controller.domain.catalog import Catalog
from controller.domain.evaluate import Evaluation
from controller.domain.instance import Instance
from controller.domain.observed_fleet import ObservedFleet
from controller.domain.plan import Plan
from controller.domain.plan_diff import PlanDiff
from controller.optimizer.memory import SolverMemory
from controller.optimizer.scenarios import Scenarios

Trigger = Literal["horizon", "surge", "catalog", "capacity", "manual"]
SolverStatus = Literal["optimal", "feasible", "infeasible", "failed", "not_run"]


class DecisionName(StrEnum):
    """Every way in which a tick may end."""

    PLANNED = "planned"
    KEPT = "kept"
    HOLD_UNKNOWN_DEMAND = "hold_unknown_demand"
    SOLVER_FAILED_KEPT_LAST = "solver_failed_kept_last"


@dataclass(frozen=True, slots=True)
class Decision:
    """How a tick ended, and why, in words."""

    name: DecisionName
    reason: str


@dataclass(frozen=True, slots=True)
class HorizonPolicy:
    """How horizons are planned.

    Parameters
    ----------
    horizon_s : length of a horizon, and of the window whose demand it is planned from.
    validity_s : how long after its start a plan may be followed without being reported stale.
    min_improvement : a new plan is adopted when it is cheaper than the one in force, re-routed, by this share.
    demand : from counts to what is planned for.
    """

    horizon_s: float
    validity_s: float
    min_improvement: float = 0.005
    demand: DemandPolicy = field(default_factory=DemandPolicy)


@dataclass(frozen=True, slots=True)
class TickInput:
    """All that a tick sees.

    ``view`` is what closed at ``view.end_s``, where the plan starts: with the trigger ``horizon`` the window of a
    horizon, with ``surge`` the last bucket. Other triggers plan anew for the demand that is known; their view only
    says when. ``fleet`` is what is known to run, and to be there to run on; None where nobody says, and the plan in
    force is taken as carried out.
    """

    trigger: Trigger
    now_s: float
    catalog: Catalog
    view: WindowView
    fleet: ObservedFleet | None = None


@dataclass(frozen=True, slots=True)
class SolveRequest:
    """Work for a solver: an instance, the plan in force to start from, and the demands that may come instead.

    ``memory`` is what the last answer left, where that was for the same catalog.
    """

    instance: Instance
    initial: Plan
    scenarios: Scenarios | None = None
    memory: SolverMemory | None = None


@dataclass(frozen=True, slots=True)
class SolverAnswer:
    """What a solver says it found; it is judged before it is believed.

    ``conflict`` says in words what clashes where no plan exists; ``memory`` is for the next request.
    """

    status: Literal["optimal", "feasible", "infeasible"]
    method: str
    runtime_s: float
    plan: Plan
    lower_bound_usd: float | None
    conflict: tuple[str, ...] = ()
    memory: SolverMemory | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class SolverFailure:
    """Why there is no answer: ``reason`` is short (``timeout``, ``crashed``), ``detail`` is for people."""

    reason: str
    detail: str
    runtime_s: float


@dataclass(frozen=True, slots=True)
class SolverReport:
    """How the plan was found, as it is published."""

    method: str
    status: SolverStatus
    runtime_s: float
    lower_bound_usd: float | None = None
    gap: float | None = None


@dataclass(frozen=True, slots=True)
class PlanRecord:
    """One plan as it goes out: whole, judged, numbered, with its reasons."""

    epoch: int
    sequence: int
    tick: TickInput
    horizon_end_s: float
    valid_until_s: float
    issued_at_s: float
    demand: tuple[DemandEstimate, ...]
    plan: Plan
    evaluation: Evaluation
    instance: Instance
    solver: SolverReport
    diff: PlanDiff
    decision: Decision


@dataclass(frozen=True, slots=True)
class PlannerState:
    """What the planner carries from tick to tick.

    Attributes
    ----------
    epoch, sequence : of the plan that went out last.
    plan, demand : that plan, and what it was planned for.
    memory : what is remembered of demand.
    solver_memory : what the last solve left for the next; None before the first, and after one that failed.
    planned_start_s : start of the horizon that was planned last; None before the first.
    surged_at_s, surges : when a surge was answered last, and how often in this horizon.
    catalog_digest : of the catalog that the plan was made of; None before the first plan.
    gpu_limits : GPUs of each tier that the plan was made with; None where that is not known.
    refitted_at_s : when a change of what there is to run on was answered last.
    pending : the tick whose solve is under way.
    """

    epoch: int
    sequence: int = 0
    plan: Plan = field(default_factory=Plan)
    demand: tuple[DemandEstimate, ...] = ()
    memory: DemandMemory = field(default_factory=DemandMemory)
    solver_memory: SolverMemory | None = None
    planned_start_s: float | None = None
    surged_at_s: float | None = None
    surges: int = 0
    catalog_digest: str | None = None
    gpu_limits: Mapping[str, float] | None = None
    refitted_at_s: float | None = None
    pending: PendingTick | None = None


@dataclass(frozen=True, slots=True)
class PendingTick:
    """A tick that waits for its solver."""

    given: TickInput
    demand: tuple[DemandEstimate, ...]
    instance: Instance
    scenarios: Scenarios | None = None
