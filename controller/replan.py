"""When a plan is made anew though demand gives no cause: the catalog is another one, or the GPUs are.

Pure, as the tick is: what the last plan was made of is in the planner's state, so that nothing is answered twice, and
nothing is forgotten when a planner dies in between.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal

from controller.domain.catalog import Catalog
from controller.domain.observed_fleet import ObservedFleet
from controller.domain.plan import Plan
from controller.records import HorizonPolicy, PlannerState


def gpu_limits(catalog: Catalog, fleet: ObservedFleet | None) -> dict[str, float]:
    """Return the GPUs that there are of each tier of the catalog; inf where any number can be had."""
    reported: Mapping[str, int] = {} if fleet is None else fleet.gpus_available
    limits = {}
    for tier in catalog.gpu_tiers:
        available = reported.get(tier.name, tier.available)
        limits[tier.name] = math.inf if available is None else float(available)
    return limits


def replan_trigger(
    state: PlannerState, catalog: Catalog, fleet: ObservedFleet | None, now_s: float, policy: HorizonPolicy
) -> Literal["catalog", "capacity"] | None:
    """Return why the plan in force is to be made anew now; None where it is not, or where there is none yet.

    A catalog counts once, by its digest. Capacity counts where somebody reports it, and it matters: the plan no longer
    fits in, or there is more of a tier than the plan was made with. A plan that still fits in fewer GPUs stays as good
    as it was. Changes of capacity are answered no faster than surges.
    """
    if not state.demand:
        return None
    if state.catalog_digest != catalog.digest:
        return "catalog"
    if fleet is None or not _matters(state, gpu_limits(catalog, fleet)):
        return None
    cooled_s = (
        -math.inf if state.refitted_at_s is None else state.refitted_at_s + policy.demand.surge_cooldown_s
    )
    return "capacity" if now_s >= cooled_s else None


def _matters(state: PlannerState, limits: Mapping[str, float]) -> bool:
    before = state.gpu_limits
    if before == limits:
        return False  # the plan is the best that there was to say of them, fit or not
    if before is not None and any(limit > before.get(tier, 0.0) for tier, limit in limits.items()):
        return True
    used = gpus_used(state.plan)
    return any(used.get(tier, 0) > limit for tier, limit in limits.items())


def gpus_used(plan: Plan) -> dict[str, int]:
    """Return the GPUs that a plan takes of each tier."""
    used: dict[str, int] = {}
    for deployment in plan.deployments:
        tier = deployment.key.gpu_tier
        used[tier] = used.get(tier, 0) + deployment.gpus
    return used


def replan_start_s(state: PlannerState, watermark_s: float, bucket_s: float, policy: HorizonPolicy) -> float:
    """Return from when on the new plan holds, s since the epoch: where a surge's would, in the horizon planned last.

    Raises
    ------
    ValueError : no horizon was planned.
    """
    if state.planned_start_s is None:
        raise ValueError("replan_start_s() without a horizon that was planned")
    first_s, last_s = state.planned_start_s, state.planned_start_s + policy.horizon_s - bucket_s
    reached_s = math.floor(watermark_s / bucket_s) * bucket_s if math.isfinite(watermark_s) else first_s
    return max(first_s, min(reached_s, last_s))
