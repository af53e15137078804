"""What fleets over time really cost, on demand as it really came: rent, delay and unmet demand, minute by minute."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from controller.demand.forecasters import Floats
from controller.domain.arrays import Ints
from controller.domain.catalog import Catalog
from controller.domain.plan import Plan
from controller.optimizer.scenarios import ExpectedCost, Scenarios


@dataclass(frozen=True, slots=True)
class InForce:
    """A plan that was issued at a moment, s since the epoch."""

    issued_s: float
    plan: Plan


@dataclass(frozen=True, slots=True)
class Tokens:
    """Mean tokens and rate of a query type: what a catalog must be told to make an instance."""

    rate_per_s: float
    input_tokens: float
    output_tokens: float


@dataclass(frozen=True, slots=True)
class FleetScore:
    """What a run of plans cost, USD, and what became of the demand.

    Attributes
    ----------
    unmet : by query type, the share of its requests.
    gpu_h : GPU-hours rented, those that are starting among them.
    gpus_moved : GPUs started or stopped.
    turns : changes of direction of the GPUs in use.
    """

    total_usd: float
    rent_usd: float
    unmet_usd: float
    unmet: Mapping[str, float]
    gpu_h: float
    gpus_moved: int
    turns: int
    plans_changed: int


def score(
    catalog: Catalog,
    timeline: Sequence[InForce],
    rates_per_s: Floats,
    first_s: float,
    step_s: float,
    tokens: Mapping[str, Tokens],
    startup_s: float,
) -> FleetScore:
    """Price a timeline of plans on the demand that came.

    A plan that starts replicas takes effect ``startup_s`` after it was issued; until then the one before serves, and
    the replicas of both are rented. From ``first_s`` on the first plan of the timeline is in force.

    Parameters
    ----------
    rates_per_s : (T, I) demand in steps of ``step_s`` from ``first_s`` on, types in the catalog's order.
    tokens : mean tokens by query type.
    """
    hour = replace(catalog, switching=None, budget_usd_per_h=None).instance(tokens, 1.0)
    arrays = hour.arrays
    step_h = step_s / 3600.0
    fleets = [one.plan.within(hour).arrays(hour) for one in timeline]
    rented = np.zeros((len(rates_per_s), arrays.num_deployments), dtype=np.int64)
    serving = np.zeros(len(rates_per_s), dtype=np.int64)
    for at, one in enumerate(timeline):
        replicas = fleets[at][0]
        before: Ints = fleets[at - 1][0] if at else replicas
        wait_s = startup_s if bool((replicas > before).any()) else 0.0
        begin = max(0, round((one.issued_s - first_s) / step_s))
        ready = max(0, round((one.issued_s + wait_s - first_s) / step_s)) if at else 0
        rented[begin:] = replicas
        rented[begin:ready] = np.maximum(replicas, before)
        serving[ready if at else 0 :] = at
    total = rent = unmet_usd = 0.0
    lost = np.zeros(arrays.num_types)
    for at in np.unique(serving):
        rows = np.flatnonzero(serving == at)
        replicas, shares = fleets[at]
        demand = rates_per_s[rows]
        scenarios = Scenarios(np.ones(len(rows)), demand)
        found = ExpectedCost(hour, scenarios).of(replicas, shares)
        hours = len(rows) * step_h
        fixed_usd = float(arrays.rent_usd @ replicas)
        rent_here = float((rented[rows] @ arrays.rent_usd).sum()) * step_h
        total += (found.total_usd - fixed_usd) * hours + rent_here
        rent += rent_here
        unmet_usd += found.unmet_usd * hours
        lost += found.unmet * demand.sum(axis=0)
    gpus = np.array([int(arrays.gpus @ replicas) for replicas, _ in fleets])
    steps = np.diff(gpus)
    moving = np.sign(steps[steps != 0])
    asked = rates_per_s.sum(axis=0)
    share = np.divide(lost, asked, out=np.zeros_like(lost), where=asked > 0)
    return FleetScore(
        total_usd=total,
        rent_usd=rent,
        unmet_usd=unmet_usd,
        unmet=dict(zip(catalog.type_names, share.tolist(), strict=True)),
        gpu_h=float((rented @ arrays.gpus).sum()) * step_h,
        gpus_moved=int(sum(np.abs(b[0] - a[0]) @ arrays.gpus for a, b in pairwise(fleets))),
        turns=int((np.diff(moving) != 0).sum()),
        plans_changed=int(sum((a[0] != b[0]).any() for a, b in pairwise(fleets))),
    )
