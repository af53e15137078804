"""The one canonical log line of a tick."""

from __future__ import annotations

from controller.logs import get_logger
from controller.records import PlanRecord
from schemas.base import iso_utc

log = get_logger("controller.tick")


def log_tick(record: PlanRecord) -> None:
    """Write all that matters of a tick on one line: demand, decision, cost, gap, solve time, changes."""
    judged, view = record.evaluation, record.tick.view
    log.info(
        "tick",
        fleet=record.tick.catalog.fleet,
        plan=f"{record.epoch}-{record.sequence}",
        trigger=record.tick.trigger,
        horizon_start=iso_utc(view.end_s),
        decision=record.decision.name.value,
        reason=record.decision.reason,
        demand_per_s={estimate.query_type: round(estimate.rate_per_s, 4) for estimate in record.demand},
        unknown=[estimate.query_type for estimate in record.demand if estimate.state == "unknown"],
        cost_usd=round(judged.cost.total_usd, 6),
        usd_per_h=round(judged.cost.budgeted_usd / record.instance.horizon_h, 4),
        unmet={
            outcome.query_type: round(outcome.unmet, 4) for outcome in judged.outcomes if outcome.unmet > 1e-9
        },
        gap=None if record.solver.gap is None else round(record.solver.gap, 5),
        solver=record.solver.status,
        solve_s=round(record.solver.runtime_s, 4),
        gpus=record.plan.gpus,
        changes=len(record.diff.changes),
        gpus_moved=record.diff.gpus_moved,
    )
