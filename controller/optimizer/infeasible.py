"""Why an instance has no plan: which limits clash, in words.

``max_unmet`` is what makes an instance infeasible: where all demand may be shed, shedding it is a plan. So the
question is always which types cannot be served to the share that they ask for, and what keeps them from it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import combinations

import numpy as np

from controller.domain.instance import Instance
from controller.errors import SolverCrashError
from controller.optimizer.exact import WarmHighs
from controller.optimizer.model import Objective, build
from controller.optimizer.space import SearchSpace, mean_excess

_LIMITS = ("budget_usd", "storage_gb", "gpus")
_LEAST_SHORTFALL = 1e-6


def explain(instance: Instance) -> tuple[str, ...]:
    """Return what clashes, one sentence each; nothing where no clash is found without whole numbers.

    First each type by itself: is there any deployment at all that is fast and exact enough, and may be had? Then
    the limits, one by one, two by two, and all together, on the linear relaxation: what that cannot do no plan can.
    """
    unfit = tuple(reason for i in _demanding(instance) if (reason := _unfit(instance, i)) is not None)
    if unfit:
        return unfit
    for i in _demanding(instance):
        reason = _out_of_reach(instance, i)
        if reason is not None:
            return (reason,)
    return _clash(instance)


def whole_numbers(instance: Instance) -> tuple[str, ...]:
    """Return the words for a clash that only whole replicas bring about."""
    limits = (
        " and ".join(_described(instance, name) for name in _limits_of(instance))
        or "one configuration per model on a tier"
    )
    return (f"no whole number of replicas within {limits} serves {_asked(instance)}",)


def _demanding(instance: Instance) -> Iterator[int]:
    """Yield the types that ask for anything: those with demand, and a ``max_unmet`` below 1."""
    for i, query_type in enumerate(instance.query_types):
        if query_type.max_unmet < 1 and query_type.arrival_rate_per_s > 0:
            yield i


def _asked(instance: Instance, types: tuple[int, ...] | None = None) -> str:
    chosen = tuple(_demanding(instance)) if types is None else types
    asked = (instance.query_types[i] for i in chosen)
    return ", ".join(f"{1 - query_type.max_unmet:.4g} of {query_type.name}" for query_type in asked)


def _unfit(instance: Instance, i: int) -> str | None:
    """Return why no deployment, whatever it costs, can serve type i; None where one can."""
    arrays, query_type = instance.arrays, instance.query_types[i]
    name = query_type.name
    if not arrays.num_deployments:
        return f"{name}: the weights of no model fit in the memory of any GPU configuration"
    fast, exact = arrays.delay_s[i] <= arrays.delay_slo_s[i] * (1 + 1e-9), mean_excess(instance)[0, i] <= 0
    if not fast.any():
        d = int(np.argmin(arrays.delay_s[i]))
        return (
            f"{name}: delay_slo_s {query_type.delay_slo_s:g} is below the {arrays.delay_s[i, d]:.4g} s of the "
            f"fastest deployment, {arrays.keys[d].id}"
        )
    if not exact.any():
        d = int(np.argmin(arrays.error[i]))
        return (
            f"{name}: error_slo {query_type.error_slo:g} is below the {arrays.error[i, d]:.4g} of the most exact "
            f"deployment, {arrays.keys[d].id}"
        )
    if not (fast & exact).any() and instance.delay_slo == "per_route":
        d = int(np.flatnonzero(fast)[np.argmin(arrays.error[i, fast])])
        return (
            f"{name}: delay_slo_s {query_type.delay_slo_s:g} and error_slo {query_type.error_slo:g} clash: of what "
            f"is fast enough the most exact is {arrays.keys[d].id}, with an error of {arrays.error[i, d]:.4g}"
        )
    return None


def _out_of_reach(instance: Instance, i: int) -> str | None:
    """Return which limit has no room for even one replica of anything that may serve type i; None where none does."""
    arrays, name = instance.arrays, instance.query_types[i].name
    fit = np.flatnonzero(arrays.fast_enough[i] & (mean_excess(instance)[:, i] <= 0).all(axis=0))
    if not len(fit):  # only a mix may serve it
        return None
    if (arrays.replicas_cap[fit] < 1).all():
        tiers = sorted({instance.gpu_tiers[k].name for k in arrays.tier[fit]})
        least = int(arrays.gpus[fit].min())
        return f"{name}: available GPUs: none of {', '.join(tiers)} has the {least} or more that one replica takes"
    one_usd = arrays.rent_usd[fit] + arrays.weights_storage_usd[fit]
    if instance.budget_usd is not None and (one_usd > instance.budget_usd * (1 + 1e-6)).all():
        d = fit[np.argmin(one_usd)]
        return (
            f"{name}: budget_usd {instance.budget_usd:g} is below the ${one_usd.min():.4g} of one replica of the "
            f"cheapest deployment that may serve it, {arrays.keys[d].id}"
        )
    if instance.storage_gb is not None and (arrays.weights_gb[fit] > instance.storage_gb + 1e-6).all():
        d = fit[np.argmin(arrays.weights_gb[fit])]
        return (
            f"{name}: storage_gb {instance.storage_gb:g} is below the {arrays.weights_gb[d]:.4g} GB of the smallest "
            f"deployment that may serve it, {arrays.keys[d].id}"
        )
    return None


def _clash(instance: Instance) -> tuple[str, ...]:
    """Return the smallest set of limits that the linear relaxation cannot keep; nothing where it keeps all."""
    limits = _limits_of(instance)
    for size in range(len(limits) + 1):
        for kept in combinations(limits, size):
            held = _keep(instance, kept)
            if _least(held, "shortfall") <= _LEAST_SHORTFALL:
                continue
            if not kept:
                return (
                    f"delay_slo_s and error_slo: no mix of deployments keeps both means for {_asked(instance)}",
                )
            words = " and ".join(_described(instance, name) for name in kept)
            guilty = [
                i for i in _demanding(instance) if _least(_only(held, i), "shortfall") > _LEAST_SHORTFALL
            ]
            if kept == ("budget_usd",):
                least = _least(_keep(instance, ()), "spend")
                needed = f"; all that is asked for takes at least ${least:.6g}"
            else:
                needed = ""
            served = _asked(instance, tuple(guilty[:1]) if guilty else None)
            return (f"{words} cannot serve {served}, as max_unmet asks{needed}",)
    return ()


def _limits_of(instance: Instance) -> tuple[str, ...]:
    present = {
        "budget_usd": instance.budget_usd is not None,
        "storage_gb": instance.storage_gb is not None,
        "gpus": any(tier.available is not None for tier in instance.gpu_tiers),
    }
    return tuple(name for name in _LIMITS if present[name])


def _described(instance: Instance, name: str) -> str:
    if name == "gpus":
        tiers = (
            f"{tier.name}: {tier.available}" for tier in instance.gpu_tiers if tier.available is not None
        )
        return f"the available GPUs ({', '.join(tiers)})"
    return f"{name} {getattr(instance, name):g}"


def _keep(instance: Instance, kept: tuple[str, ...]) -> Instance:
    """Return the instance with no other limits than ``kept``."""
    tiers = instance.gpu_tiers
    if "gpus" not in kept:
        tiers = tuple(replace(tier, available=None) for tier in tiers)
    return replace(
        instance,
        budget_usd=instance.budget_usd if "budget_usd" in kept else None,
        storage_gb=instance.storage_gb if "storage_gb" in kept else None,
        gpu_tiers=tiers,
    )


def _only(instance: Instance, i: int) -> Instance:
    """Return the instance in which only type i asks for anything."""
    types = tuple(
        query_type if n == i else replace(query_type, max_unmet=1.0)
        for n, query_type in enumerate(instance.query_types)
    )
    return replace(instance, query_types=types)


def _least(instance: Instance, objective: Objective) -> float:
    """Return the least shortfall, or spend, that the linear relaxation allows."""
    model = build(SearchSpace.of(instance), objective)
    if model is None:
        raise AssertionError("nothing stops this build")
    solver = WarmHighs(mip=False)
    model.problem.solve(solver)
    if not solver.has_solution:
        raise SolverCrashError(f"HiGHS left the relaxation for {objective} {solver.model_status.name}")
    return float(model.problem.objective.value() or 0.0)
