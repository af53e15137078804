"""What stands in for a solve: the last plan's replicas, routed anew for the demand that there is now."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

from controller.domain.arrays import Floats, Ints
from controller.domain.cost import price
from controller.domain.instance import Instance
from controller.domain.plan import Plan
from controller.optimizer.result import Result
from controller.optimizer.routing import route

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


def within_limits(instance: Instance, replicas: Ints) -> Ints:
    """Return the replicas (D,) that limits have room for: those that save least for what they take go first."""
    arrays = instance.arrays
    replicas = np.maximum(replicas, 0)
    if _keeps_limits(instance, replicas):
        return replicas  # as most fleets do: then it does not matter what they are worth
    worth = _worth_per_gpu(instance, replicas)
    for pair in np.unique(arrays.pair[replicas > 0]):  # constraint 6
        configs = np.flatnonzero((arrays.pair == pair) & (replicas > 0))
        replicas[
            configs[configs != configs[np.argmax(worth[configs] * (arrays.gpus * replicas)[configs])]]
        ] = 0
    order = np.argsort(worth, kind="stable")
    order = order[replicas[order] > 0]
    for k, available in enumerate(arrays.available):  # constraint 7, GPUs
        for d in order[arrays.tier[order] == k]:
            over = float((arrays.gpus * replicas)[arrays.tier == k].sum()) - available
            if over > 0:
                replicas[d] -= min(replicas[d], int(np.ceil(over / arrays.gpus[d])))
    if instance.storage_gb is not None:
        for d in order:
            if float(arrays.weights_gb @ (replicas > 0)) > instance.storage_gb + _ROUNDING:
                replicas[d] = 0
    if instance.budget_usd is not None:
        nothing = np.zeros((arrays.num_types, arrays.num_deployments))
        for d in order:
            over = price(arrays, replicas, nothing).budgeted_usd - instance.budget_usd * (1 + 1e-9)
            if over > 0:
                replicas[d] -= min(replicas[d], int(np.ceil(over / arrays.rent_usd[d])))
    return replicas


def _keeps_limits(instance: Instance, replicas: Ints) -> bool:
    """Whether replicas (D,) keep constraint 6 and, all that routes add left aside, 7."""
    arrays = instance.arrays
    pairs = arrays.pair[replicas > 0]
    gpus = np.bincount(arrays.tier, weights=arrays.gpus * replicas, minlength=len(arrays.available))
    cost = price(arrays, replicas, np.zeros((arrays.num_types, arrays.num_deployments)))
    return (
        len(np.unique(pairs)) == len(pairs)
        and bool((gpus <= arrays.available).all())
        and _within(float(arrays.weights_gb @ (replicas > 0)), instance.storage_gb, _ROUNDING)
        and _within(cost.budgeted_usd, instance.budget_usd, 0.0)
    )


def _within(used: float, limit: float | None, rounding: float) -> bool:
    return limit is None or used <= limit + rounding


def _worth_per_gpu(instance: Instance, replicas: Ints) -> Floats:
    """Return (D,) the penalties that each deployment saves beyond its routes' own price, per GPU."""
    arrays = instance.arrays
    shares = route(instance, replicas, budgeted=False)
    saved = ((arrays.unmet_usd[:, None] - arrays.route_usd) * shares).sum(axis=0)
    worth: Floats = saved / np.maximum(arrays.gpus * replicas, 1)
    return worth
