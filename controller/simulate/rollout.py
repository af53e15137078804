"""From plans that were issued to fleets that ran: starts take time, and the plan before serves until all is ready."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from controller.demand.forecasters import Floats
from controller.domain.arrays import Ints
from controller.domain.plan import Plan


@dataclass(frozen=True, slots=True)
class InForce:
    """A plan that was issued at a moment, s since the epoch."""

    issued_s: float
    plan: Plan


@dataclass(frozen=True, slots=True)
class Rollout:
    """Step by step, what served and what was paid for.

    Attributes
    ----------
    serving : (T,) index of the plan whose replicas and routes served.
    rented : (T, D) replicas that were paid for, those that were starting among them.
    """

    serving: Ints
    rented: Ints


def roll_out(
    replicas: Sequence[Ints],
    issued_s: Sequence[float],
    start_s: Floats,
    first_s: float,
    step_s: float,
    steps: int,
) -> Rollout:
    """Carry out plans with ``replicas`` (D,), each issued at a moment, s since the epoch, in order.

    A plan serves when the slowest of what it starts is ready, ``start_s`` (D,) after it was asked for; what an earlier
    plan has asked for by then is not asked for again. Until then the plan that serves goes on, and its replicas are
    rented beside those that start. A plan that is overtaken serves for as long as the newer one has started no less of
    anything. The first plan is in force, and ready, from ``first_s`` on.
    """
    serving = np.zeros(steps, dtype=np.int64)
    rented = np.tile(replicas[0], (steps, 1))
    takes = np.ceil(start_s / step_s - 1e-9).astype(np.int64)
    begins = [max(0, round((moment - first_s) / step_s)) for moment in issued_s]
    # The steps in which the replicas of each deployment are ready, ascending.
    ready: list[list[int]] = [[0] * int(number) for number in replicas[0]]
    waiting: dict[int, int] = {}  # plan -> the step in which all of it is ready
    current = newest = 0
    for step in range(steps):
        while newest + 1 < len(begins) and begins[newest + 1] <= step:
            newest += 1
            for d in np.flatnonzero((replicas[newest] > 0) | [bool(of) for of in ready]):
                wanted = int(replicas[newest][d])
                held = ready[d][: max(wanted, int(replicas[current][d]))]
                ready[d] = held + [step + int(takes[d])] * (wanted - len(held))
            waiting[newest] = step
            waiting = {
                plan: max(
                    (ready[d][replicas[plan][d] - 1] for d in np.flatnonzero(replicas[plan])), default=step
                )
                for plan in waiting
                if all(replicas[plan][d] <= len(ready[d]) for d in np.flatnonzero(replicas[plan]))
            }
        current = max([current, *(plan for plan, due in waiting.items() if due <= step)])
        waiting = {plan: due for plan, due in waiting.items() if plan > current}
        serving[step] = current
        rented[step] = np.maximum(replicas[newest], replicas[current])
    return Rollout(serving, rented)
