"""What a demo run came to, in records, plans and dollars."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field

from controller.demand.estimator import DemandEstimate
from controller.domain.catalog import Catalog
from controller.domain.evaluate import evaluate
from controller.stream.codec import plan_of
from schemas import AllocationPlan, DemandSnapshot


@dataclass(frozen=True, slots=True)
class DemoSummary:
    """The summary that ``coxswain demo --json`` prints.

    ``events_sent = events_counted + events_late + events_refused + events_duplicate``, in records. ``cost_usd`` is
    the sum of all plans' costs over their horizons; ``unmet_fraction`` the share of the planned-for demand that was
    shed; ``max_gap`` the worst proved distance of a plan from the best possible; None where no plan had a bound.
    ``plans_accepted`` are the plans that the judge finds to keep every limit, judged anew from what was published.
    """

    source: str
    events_sent: int
    events_counted: int
    events_late: int
    events_refused: int
    events_duplicate: int
    plans_published: int
    plans_applied: int
    plans_accepted: int
    decisions: dict[str, int]
    cost_usd: float
    unmet_fraction: float
    max_gap: float | None
    wall_s: float

    @property
    def is_complete(self) -> bool:
        """Whether every record is accounted for, and every plan was good and followed."""
        accounted = self.events_counted + self.events_late + self.events_refused + self.events_duplicate
        return (
            accounted == self.events_sent
            and self.plans_published > 0
            and self.plans_applied == self.plans_accepted == self.plans_published
        )

    def to_json(self) -> dict[str, object]:
        """Return the summary as plain data."""
        return asdict(self)


@dataclass(slots=True)
class Tally:
    """Adds up what comes by on the topics while the demo runs."""

    catalog: Catalog
    snapshots: dict[int, DemandSnapshot] = field(default_factory=dict)
    plans: dict[tuple[int, int], AllocationPlan] = field(default_factory=dict)
    claims: int = 0

    def add_snapshot(self, snapshot: DemandSnapshot) -> None:
        """Take the newest snapshot of a partition."""
        known = self.snapshots.get(snapshot.partition)
        if known is None or snapshot.next_offset >= known.next_offset:
            self.snapshots[snapshot.partition] = snapshot

    def add_plan(self, plan: AllocationPlan) -> None:
        """Take a plan; the same one twice counts once."""
        self.plans[plan.epoch, plan.sequence] = plan

    @property
    def newest_plan(self) -> AllocationPlan | None:
        """The plan with the highest number."""
        return self.plans[max(self.plans)] if self.plans else None

    @property
    def accounted(self) -> int:
        """Records of which it is known what became of them."""
        return sum(s.counted + s.late + s.refused + s.duplicates for s in self.snapshots.values())

    @property
    def read(self) -> int:
        """Records that the worker has read, whatever became of them."""
        return sum(snapshot.next_offset for snapshot in self.snapshots.values())

    def summary(self, source: str, sent: int, applied: int, wall_s: float) -> DemoSummary:
        """Add up."""
        plans, snapshots = list(self.plans.values()), list(self.snapshots.values())
        decisions: dict[str, int] = {}
        for plan in plans:
            decisions[plan.decision.name] = decisions.get(plan.decision.name, 0) + 1
        demanded = sum(demand.rate_per_s for plan in plans for demand in plan.demand)
        unmet = sum(
            demand.rate_per_s * plan.unmet.get(demand.query_type, 0.0)
            for plan in plans
            for demand in plan.demand
        )
        gaps = [plan.solver.gap for plan in plans if plan.solver.gap is not None]
        return DemoSummary(
            source=source,
            events_sent=sent,
            events_counted=sum(snapshot.counted for snapshot in snapshots),
            events_late=sum(snapshot.late for snapshot in snapshots),
            events_refused=sum(snapshot.refused for snapshot in snapshots),
            events_duplicate=sum(snapshot.duplicates for snapshot in snapshots),
            plans_published=len(plans),
            plans_applied=applied,
            plans_accepted=sum(self._is_accepted(plan) for plan in plans),
            decisions=decisions,
            cost_usd=round(sum(plan.cost.total_usd for plan in plans), 6),
            unmet_fraction=round(unmet / demanded, 6) if demanded else 0.0,
            max_gap=round(max(gaps), 6) if gaps else None,
            wall_s=round(wall_s, 1),
        )

    def _is_accepted(self, message: AllocationPlan) -> bool:
        """Judge a plan as a stranger would: from its message and the catalog alone."""
        plan, demand = plan_of(message)
        by_name: dict[str, DemandEstimate] = {estimate.query_type: estimate for estimate in demand}
        horizon_h = (message.horizon_end - message.horizon_start) / 3600.0
        return evaluate(self.catalog.instance(by_name, horizon_h), plan).is_feasible
