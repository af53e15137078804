"""What stands in for a solve: the last plan's replicas, routed anew for the demand that there is now."""

from __future__ import annotations

import time
from collections.abc import Callable

from controller.domain.instance import Instance
from controller.domain.plan import Plan
from controller.optimizer.result import Result
from controller.optimizer.routing import route
from controller.optimizer.within_limits import within_limits

_ROUNDING = 1e-7


def reroute(instance: Instance, plan: Plan, clock: Callable[[], float] = time.perf_counter) -> Result:
    """Return ``plan`` with its replicas as they are, routed as cheaply as they allow; pure NumPy, milliseconds.

    What the instance does not know any longer, or its limits no longer have room for, goes. Where capacity lacks
    the demand that costs least to shed is shed. The result is infeasible where that breaks ``max_unmet``.
    """
    started = clock()
    replicas = within_limits(instance, plan.within(instance).arrays(instance)[0])
    routed = Plan.of_arrays(instance, replicas, route(instance, replicas))
    served = dict.fromkeys((query_type.name for query_type in instance.query_types), 0.0)
    for entry in routed.routes:
        served[entry.query_type] += entry.fraction
    conflict = tuple(
        f"the replicas that run serve {served[query_type.name]:.4g} of {query_type.name}; "
        f"max_unmet {query_type.max_unmet:g} asks for {1 - query_type.max_unmet:.4g}"
        for query_type in instance.query_types
        if query_type.arrival_rate_per_s > 0
        and 1.0 - served[query_type.name] > query_type.max_unmet + _ROUNDING
    )
    if conflict:
        return Result.infeasible(method="reroute", runtime_s=clock() - started, conflict=conflict)
    return Result.of_plan(instance, routed, method="reroute", runtime_s=clock() - started)
