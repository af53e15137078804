"""What fleets over time really cost, on demand as it really came: rent, delay and unmet demand, step by step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from controller.demand.forecasters import Floats
from controller.optimizer.scenarios import Scenarios
from controller.simulate.rollout import InForce, roll_out
from controller.simulate.traffic import Traffic


@dataclass(frozen=True, slots=True)
class FleetScore:
    """What a run of plans cost, USD, and what became of the demand.

    Attributes
    ----------
    unmet : by query type, the share of its requests that no replica had room for.
    late : by query type, the share that went where requests of that size are too slow for the delay SLO.
    late_usd : what these would have cost as unmet ones; not in ``total_usd``.
    gpu_h : GPU-hours rented, those that are starting among them.
    gpus_moved : GPUs started or stopped.
    turns : changes of direction of the GPUs in use.
    """

    total_usd: float
    rent_usd: float
    unmet_usd: float
    late_usd: float
    unmet: Mapping[str, float]
    late: Mapping[str, float]
    gpu_h: float
    gpus_moved: int
    turns: int
    plans_changed: int

    @property
    def served_usd(self) -> float:
        """What was paid for what was served: all but the penalties of unmet demand."""
        return self.total_usd - self.unmet_usd

    @property
    def missed_usd(self) -> float:
        """The penalties of what did not get what its SLO says: unmet or late."""
        return self.unmet_usd + self.late_usd


def score(traffic: Traffic, timeline: Sequence[InForce], first_step: int = 0) -> FleetScore:
    """Price a timeline of plans on the demand that came, from ``first_step`` on.

    A plan takes effect when what it starts is ready (:func:`controller.simulate.rollout.roll_out`).
    """
    hour, rates = traffic.hour, traffic.rates_per_s
    arrays = hour.arrays
    step_h = traffic.step_s / 3600.0
    fleets = [one.plan.within(hour).arrays(hour) for one in timeline]
    start_s = 3600.0 * arrays.start_usd / arrays.rent_usd
    run = roll_out(
        [replicas for replicas, _ in fleets],
        [one.issued_s for one in timeline],
        start_s,
        traffic.first_s,
        traffic.step_s,
        len(rates),
    )
    total = float((run.rented[first_step:] @ arrays.rent_usd).sum()) * step_h
    rent, unmet_usd, late_usd = total, 0.0, 0.0
    lost, late = np.zeros(arrays.num_types), np.zeros(arrays.num_types)
    alike = {
        (step // traffic.steps_per_window, int(run.serving[step])) for step in range(first_step, len(rates))
    }
    for window, at in sorted(alike):
        begin = window * traffic.steps_per_window
        steps = np.arange(max(begin, first_step), min(begin + traffic.steps_per_window, len(rates)))
        demand = rates[steps[run.serving[steps] == at]]
        replicas, shares = fleets[at]
        price = traffic.price(begin).over(Scenarios(np.ones(len(demand)), demand))
        found = price.of(replicas, shares)
        hours = len(demand) * step_h
        total += (found.total_usd - float((arrays.rent_usd + price.arrays.start_usd) @ replicas)) * hours
        unmet_usd += found.unmet_usd * hours
        asked = demand.sum(axis=0)
        lost += found.unmet * asked
        # What is shed is shed of all alike, so what is late is so of what is served.
        routed = np.where(price.arrays.fast_enough, 0.0, shares).sum(axis=1)
        late_here = np.minimum(routed, 1.0 - found.unmet) * asked
        late += late_here
        late_usd += float(late_here @ price.arrays.unmet_usd) * step_h
    gpus = np.array([int(arrays.gpus @ replicas) for replicas, _ in fleets])
    steps_of_gpus = np.diff(gpus)
    moving = np.sign(steps_of_gpus[steps_of_gpus != 0])
    asked = rates[first_step:].sum(axis=0)
    types = [query_type.name for query_type in hour.query_types]
    return FleetScore(
        total_usd=total,
        rent_usd=rent,
        unmet_usd=unmet_usd,
        late_usd=late_usd,
        unmet=dict(zip(types, _ratio(lost, asked).tolist(), strict=True)),
        late=dict(zip(types, _ratio(late, asked).tolist(), strict=True)),
        gpu_h=float((run.rented[first_step:] @ arrays.gpus).sum()) * step_h,
        gpus_moved=int(sum(np.abs(b[0] - a[0]) @ arrays.gpus for a, b in pairwise(fleets))),
        turns=int((np.diff(moving) != 0).sum()),
        plans_changed=int(sum((a[0] != b[0]).any() for a, b in pairwise(fleets))),
    )


def _ratio(part: Floats, whole: Floats) -> Floats:
    return np.divide(part, whole, out=np.zeros_like(part), where=whole > 0)
