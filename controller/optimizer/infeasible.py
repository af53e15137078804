"""Why an instance has no plan: a smallest set of limits that clash, and what would mend it, in words with numbers.

``max_unmet`` is what makes an instance infeasible: where all demand may be shed, shedding it is a plan. So the
question is always which types cannot be served to the share that they ask for, and which limits keep them from it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection
from dataclasses import dataclass
from itertools import groupby

import numpy as np

from controller.domain.arrays import DELAY_SLO_TOLERANCE
from controller.domain.instance import Instance
from controller.optimizer.highs import run_highs
from controller.optimizer.limits import Limit, demanding, limits_of, only_demanding
from controller.optimizer.mending import Remedy, remedy
from controller.optimizer.program import Program
from controller.optimizer.space import SearchSpace

_LEAST_SHORTFALL = 1e-6
_NODES = 500


@dataclass(frozen=True, slots=True)
class Conflict:
    """A set of limits that no plan keeps together.

    Attributes
    ----------
    limits : without any one of them there is a plan (as far as the others of this set go), where ``is_minimal``.
    remedies : for limits that may mend it by themselves, values that suffice while all else stays.
    is_minimal : whether that was shown for each within the time that there was.
    only_whole : whether fractions of replicas could keep them.
    """

    limits: tuple[Limit, ...]
    remedies: tuple[Remedy, ...]
    is_minimal: bool
    only_whole: bool


def forever() -> float:
    """Return the time that is left where time is no limit."""
    return math.inf


def cannot_serve(instance: Instance, remaining_s: Callable[[], float] = forever) -> bool:
    """Whether even fractions of replicas cannot serve what must be served: a proof that there is no plan."""
    return _relaxation_clashes(only_demanding(instance), remaining_s)


def explain(instance: Instance, remaining_s: Callable[[], float] = forever) -> tuple[str, ...]:
    """Return what clashes, one sentence each, for an instance that is known to have no plan.

    Types that nothing can serve, whatever it costs, each get their own; else it is one set of limits that clash.
    """
    unfit = tuple(reason for i in demanding(instance) if (reason := _unfit(instance, i)) is not None)
    return unfit or (_in_words(instance, find_conflict(instance, remaining_s)),)


def find_conflict(instance: Instance, remaining_s: Callable[[], float] = forever) -> Conflict:
    """Return a smallest set of clashing limits of an instance that is known to have no plan (a deletion filter).

    A limit, or a group of them, without which there is still no plan is left out; the others stay. Each question is a
    linear relaxation, and where that finds no clash a MILP; those that time leaves unanswered leave the limit in.
    """
    asked = only_demanding(instance)
    kept = list(limits_of(instance))
    unanswered = False

    def still_clashes(limits: list[Limit]) -> bool:
        nonlocal unanswered
        answer = has_plan(held_to(asked, limits), remaining_s)
        unanswered = unanswered or answer is None
        return answer is False

    def leave_out(group: list[Limit]) -> None:
        nonlocal kept
        rest = [limit for limit in kept if limit not in group]
        if still_clashes(rest):
            kept = rest
        elif len(group) > 1:
            middle = len(group) // 2
            leave_out(group[:middle])
            leave_out(group[middle:])

    for _, group in groupby(limits_of(instance), key=lambda limit: limit.kind):
        leave_out(list(group))
    only_whole = not _relaxation_clashes(held_to(asked, kept), remaining_s)
    remedies = (
        remedy(asked, limit, lambda changed: has_plan(changed, remaining_s), remaining_s) for limit in kept
    )
    return Conflict(
        tuple(kept), tuple(item for item in remedies if item is not None), not unanswered, only_whole
    )


def held_to(instance: Instance, limits: Collection[Limit]) -> Instance:
    """Return the instance with no other limits than these."""
    for limit in limits_of(instance):
        if limit not in limits:
            instance = limit.lifted(instance)
    return instance


def has_plan(instance: Instance, remaining_s: Callable[[], float] = forever) -> bool | None:
    """Whether a plan keeps all limits; None where neither was shown in time."""
    space = SearchSpace.of(instance)
    if not space.num_deployments:
        return not any(True for _ in demanding(instance))
    if remaining_s() <= 0:
        return None
    relaxed = _least_shortfall(space, remaining_s())
    if relaxed is None or relaxed > _LEAST_SHORTFALL:
        return None if relaxed is None else False
    program = Program.of(space)
    run = run_highs(
        program.highs(np.zeros(program.num_columns)),
        seconds=remaining_s(),
        nodes=_NODES,
        units=program.units(),
    )
    return {"optimal": True, "feasible": True, "infeasible": False, "nothing": None}[run.outcome]


def _relaxation_clashes(instance: Instance, remaining_s: Callable[[], float]) -> bool:
    space = SearchSpace.of(instance)
    if not space.num_deployments:
        return any(True for _ in demanding(instance))
    least = _least_shortfall(space, remaining_s())
    return least is not None and least > _LEAST_SHORTFALL


def _least_shortfall(space: SearchSpace, seconds: float) -> float | None:
    """Return the least demand above ``max_unmet`` that fractions of replicas leave unmet; None where time was short."""
    program = Program.of(space, with_shortfall=True, tight=False)
    run = run_highs(program.highs(program.lacking(), relaxed=True), seconds=seconds)
    return run.objective if run.outcome == "optimal" else None


def _unfit(instance: Instance, i: int) -> str | None:
    """Return why no deployment, whatever it costs, can serve type i; None where one can."""
    arrays, query_type = instance.arrays, instance.query_types[i]
    name = query_type.name
    if not arrays.num_deployments:
        return f"{name}: the weights of no model fit in the memory of any GPU configuration"
    fast = arrays.delay_s[i] <= arrays.delay_slo_s[i] * (1 + DELAY_SLO_TOLERANCE)
    exact = arrays.mean_excess[0, i] <= 0
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


def _in_words(instance: Instance, conflict: Conflict) -> str:
    """Return one sentence: which limits cannot serve whom, and what would mend it."""
    types = [limit.index for limit in conflict.limits if limit.kind == "max_unmet"]
    asked = ", ".join(
        f"{1 - instance.query_types[i].max_unmet:.4g} of {instance.query_types[i].name}" for i in types
    )
    gpus = [limit.words(instance) for limit in conflict.limits if limit.kind == "available"]
    held = [limit.words(instance) for limit in conflict.limits if limit.kind in ("budget_usd", "storage_gb")]
    held += [f"the available GPUs ({', '.join(gpus)})"] if gpus else []
    held += [limit.words(instance) for limit in conflict.limits if limit.kind in ("delay_slo_s", "error_slo")]
    limits = " and ".join(held) or "one configuration per model on a tier"
    if conflict.only_whole:
        said = f"no whole number of replicas within {limits} serves {asked}, as max_unmet asks"
    else:
        said = f"{limits} cannot serve {asked}, as max_unmet asks"
    if conflict.remedies:
        said += "; what would mend it: " + ", or ".join(item.words(instance) for item in conflict.remedies)
    if not conflict.is_minimal:
        said += "; there was no time to see whether all of these are needed for the clash"
    return said
