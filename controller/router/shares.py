"""A plan's fractions as whole numbers, so that choosing by them is exact."""

from __future__ import annotations

import math
from collections import defaultdict
from typing import TypeAlias

from controller.errors import MessageError
from schemas import AllocationPlan, Topic

WHOLE = 10**9
"""The weights of a query type sum to this: a fraction is kept to 1e-9."""
SHARE_TOLERANCE = 1e-5
"""How far a type's fractions may sum from 1; ten times what a published plan may be off by."""

Weights: TypeAlias = dict[str | None, int]
"""Weight per deployment id, all positive, summing to :data:`WHOLE`; None is the share that is not served."""


def check_shares(plan: AllocationPlan) -> None:
    """Refuse a plan that cannot be routed by.

    Raises
    ------
    MessageError
        With reason ``inconsistent``: a route leads to a deployment that the plan lacks, is there twice, or a type's
        fractions and unmet share do not sum to 1.
    """
    deployments = {deployment.id for deployment in plan.deployments}
    if len(deployments) != len(plan.deployments):
        raise _inconsistent("deployments", "ids must differ", sorted(d.id for d in plan.deployments))
    for query_type, fractions in _fractions(plan).items():
        unknown = fractions.keys() - deployments - {None}
        if unknown:
            raise _inconsistent(
                f"routes of {query_type}", "must lead to deployments of the plan", sorted(map(str, unknown))
            )
        total = math.fsum(fractions.values())
        if abs(total - 1.0) > SHARE_TOLERANCE:
            raise _inconsistent(f"routes of {query_type}", "must sum to 1 with the unmet share", total)


def weights_of(plan: AllocationPlan) -> dict[str, Weights]:
    """Return the weights per query type, in the order of the plan's routes, the unmet share last.

    Raises
    ------
    MessageError
        As :func:`check_shares` does.
    """
    check_shares(plan)
    return {query_type: _whole(fractions) for query_type, fractions in _fractions(plan).items()}


def _fractions(plan: AllocationPlan) -> dict[str, dict[str | None, float]]:
    by_type: dict[str, dict[str | None, float]] = defaultdict(dict)
    for route in plan.routes:
        if route.deployment in by_type[route.query_type]:
            raise _inconsistent(
                f"routes of {route.query_type}", "must name a deployment once", route.deployment
            )
        by_type[route.query_type][route.deployment] = route.fraction
    for query_type, share in plan.unmet.items():
        by_type[query_type][None] = share
    return dict(by_type)


def _whole(fractions: dict[str | None, float]) -> Weights:
    """Round to whole weights by largest remainder, so that they sum to :data:`WHOLE` exactly."""
    total = math.fsum(fractions.values())
    exact = {option: WHOLE * fraction / total for option, fraction in fractions.items()}
    weights = {option: math.floor(weight) for option, weight in exact.items()}
    left = WHOLE - sum(weights.values())
    by_remainder = sorted(exact, key=lambda option: weights[option] - exact[option])
    for option in by_remainder[:left]:
        weights[option] += 1
    return {option: weight for option, weight in weights.items() if weight > 0}


def _inconsistent(where: str, rule: str, value: object) -> MessageError:
    return MessageError("inconsistent", f"{Topic.PLANS}: {where}", rule, value)
