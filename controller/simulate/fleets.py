"""Fleets to compare a rolling horizon with, on the same optimizer: static ones, and a reactive one."""

from __future__ import annotations

from collections import deque
from dataclasses import replace

import numpy as np

from controller.demand.forecasters import Floats
from controller.domain.catalog import Catalog
from controller.domain.plan import Plan
from controller.records import SolverAnswer, SolveRequest
from controller.simulate.offline import Solve
from controller.simulate.rollout import InForce
from controller.simulate.traffic import Traffic


def static_plan(
    catalog: Catalog, rates_per_s: Floats, traffic: Traffic, solver: Solve, horizon_s: float
) -> Plan:
    """Return the optimizer's plan for fixed rates (I,), in the catalog's order, of requests of mean size.

    Raises
    ------
    ValueError : there is none.
    """
    demand = {
        name: replace(traffic.tokens[name], rate_per_s=float(rate))
        for name, rate in zip(catalog.type_names, rates_per_s, strict=True)
    }
    unpriced = replace(catalog, switching=None)  # a fleet that stands for long pays no start to speak of
    answer = solver(SolveRequest(unpriced.instance(demand, horizon_s / 3600.0), Plan()))
    if not isinstance(answer, SolverAnswer) or answer.status == "infeasible":
        raise ValueError(f"no static plan: {answer}")
    return answer.plan


def reactive_timeline(
    mix: Plan,
    traffic: Traffic,
    utilization: float = 0.7,
    tolerance: float = 0.1,
    stabilization_s: float = 300.0,
) -> list[InForce]:
    """Scale the deployments of a fixed mix as a horizontal autoscaler does: replicas in proportion to their use.

    Every step looks at the use in the step before; down only to the largest wish within ``stabilization_s``. Which
    deployments there are, and who goes where, stays as ``mix`` says.
    """
    hour = traffic.hour
    replicas, shares = mix.within(hour).arrays(hour)
    cap = hour.arrays.replicas_cap
    used = np.flatnonzero(replicas)
    wishes: deque[Floats] = deque(maxlen=max(1, round(stabilization_s / traffic.step_s)))
    running = replicas.astype(np.float64)
    timeline = [InForce(traffic.first_s, mix)]
    for t, rates in enumerate(traffic.rates_per_s[:-1]):
        arrays = traffic.price(t).arrays
        load = np.maximum(
            (rates[:, None] * arrays.compute_load * shares).sum(axis=0),
            (rates[:, None] * arrays.memory_load * shares).sum(axis=0),
        )
        ratio = load / np.maximum(running, 1.0) / utilization
        wanted = running.copy()
        off = used[np.abs(ratio[used] - 1.0) > tolerance]
        wanted[off] = np.maximum(np.ceil(load[off] / utilization - 1e-9), 1.0)
        wishes.append(wanted)
        target = np.where(wanted < running, np.minimum(running, np.max(np.stack(wishes), axis=0)), wanted)
        target = np.minimum(target, cap)
        if (target != running).any():
            running = target
            plan = Plan.of_arrays(hour, running.astype(np.int64), shares)
            timeline.append(InForce(traffic.first_s + (t + 1) * traffic.step_s, plan))
    return timeline
