"""What a limit would have to be for a clash to end, while all other limits stay."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from controller.domain.instance import Instance
from controller.optimizer.construct.greedy import Greedy
from controller.optimizer.construct.orders import fixed_orders
from controller.optimizer.highs import run_highs
from controller.optimizer.limits import Limit
from controller.optimizer.program import Program
from controller.optimizer.space import SearchSpace

_NODES, _GAP = 50, 5e-3
_TIME_SHARE = 0.4
_STEPS = 14
_NEAR = 1e-3
_UNITS = {"budget_usd": 0.01, "storage_gb": 0.01, "available": 1.0, "max_unmet": 1e-4}
_ROUNDING = 1e-6


@dataclass(frozen=True, slots=True)
class Remedy:
    """A value of a limit with which there is a plan; ``is_least`` where none half a percent below it would do."""

    limit: Limit
    value: float
    is_least: bool

    def words(self, instance: Instance) -> str:
        """Say what to set."""
        if self.limit.kind == "available":
            name = f"available GPUs of {instance.gpu_tiers[self.limit.index].name}"
        elif self.limit.of_type:
            name = f"{self.limit.kind} of {instance.query_types[self.limit.index].name}"
        else:
            name = self.limit.kind
        return f"{name} of {'at least ' if self.is_least else ''}{self.value:.10g}"


def remedy(
    instance: Instance,
    limit: Limit,
    has_plan: Callable[[Instance], bool | None],
    remaining_s: Callable[[], float],
) -> Remedy | None:
    """Return the least value of a limit that suffices; None where it alone mends nothing, or time was short."""
    if remaining_s() <= 0:
        return None
    if limit.kind in ("delay_slo_s", "error_slo"):
        return _by_bisection(instance, limit, has_plan)
    return _by_program(limit.lifted(instance), limit, remaining_s() * _TIME_SHARE)


def _by_program(lifted: Instance, limit: Limit, seconds: float) -> Remedy | None:
    """Minimize what the limit counts."""
    space = SearchSpace.of(lifted)
    if not space.num_deployments:
        return None
    program = Program.of(space)
    if limit.kind == "budget_usd":
        counted = program.spend_usd()
    elif limit.kind == "storage_gb":
        counted = program.stored_gb()
    elif limit.kind == "available":
        counted = program.gpus_of(limit.index)
    else:
        counted = program.unmet_of(np.array([limit.index]))
    known = Greedy.of(space).build(next(fixed_orders(lifted)))
    start = (
        program.values_of(known.replicas, known.shares)
        if known.keeps_limits and known.serves_enough
        else None
    )
    run = run_highs(
        program.highs(counted), seconds=seconds, nodes=_NODES, gap=_GAP, start=start, units=program.units()
    )
    if run.values is None:
        return None
    unit = _UNITS[limit.kind]
    value = math.ceil(run.objective / unit * (1 - _ROUNDING) - _ROUNDING) * unit
    return Remedy(limit, round(value, 4), run.outcome == "optimal")


def _by_bisection(
    instance: Instance, limit: Limit, has_plan: Callable[[Instance], bool | None]
) -> Remedy | None:
    """Try values between the one that is too low and the largest that can matter."""
    arrays = instance.arrays
    figures = arrays.delay_s if limit.kind == "delay_slo_s" else arrays.error
    low, high = limit.value(instance), float(figures[limit.index].max(initial=0.0)) * (1 + _NEAR)
    if high <= low or has_plan(limit.changed(instance, high)) is not True:
        return None
    is_least = True
    for _ in range(_STEPS):
        if high <= low * (1 + _NEAR):
            break
        middle = math.sqrt(low * high)
        answer = has_plan(limit.changed(instance, middle))
        is_least = is_least and answer is not None
        low, high = (low, middle) if answer else (middle, high)
    digits = 4 - math.floor(math.log10(high))
    return Remedy(limit, math.ceil(high * 10**digits) / 10**digits, is_least and high <= low * (1 + _NEAR))
