"""SIGKILL of a worker: at every named point, at whichever point comes, and at random from the outside.

A trial begins with one healthy worker that has counted everything. The victim joins it. ``beside`` another, its
partitions fall to the survivor; ``alone``, the healthy one leaves first, and a new worker takes the victim's place.
"""

from __future__ import annotations

import asyncio
import time
from random import Random

from controller.kill_points import ANY, POINTS
from tests.faults.trial import Case, Outcome
from tests.faults.world import SESSION_TIMEOUT_S, FaultWorld, phase, reached, seldom
from tests.worker_harness import WorkerProcess, until

OF_A_PLANNER = (
    "before-claim",
    "after-claim",
    "mid-solve",
    "before-publish",
    "after-check",
    "after-publish",
    "after-memory",
)
_PASSAGES = {
    "during-recovery": 20,
    "before-seek": 2,
    "after-seek": 2,
    "on-revoke": 1,
    "before-claim": 1,
    "after-claim": 1,
    "mid-solve": 3,
    "before-publish": 3,
    "after-check": 3,
    "after-publish": 3,
    "after-memory": 3,
    "before-commit": 12,
}
"""A kill fires on a passage drawn from 1 to this, 60 where nothing is said; a fresh worker comes by so often."""
_AT_RANDOM = "at random"
_FIRST = ("after-store", "before-publish", "during-recovery", _AT_RANDOM, ANY, "on-revoke")
SCHEDULE = (*_FIRST, *(point for point in POINTS if point not in _FIRST), _AT_RANDOM, ANY)
"""What trials do in turn. A short campaign comes as far as the first few."""
_AFTER_IT_JOINED = 0.75
"""Of the kills at random, so many come once the victim owns something; the others come while it starts."""
LANDS_WITHIN_RECORDS = 12_000
"""Of load that is played; a busy machine plays slowly, and passes kill points as slowly."""


async def run(world: FaultWorld, case: Case, outcome: Outcome) -> None:
    dice = case.random()
    what = SCHEDULE[case.number % len(SCHEDULE)]
    is_alone = what in OF_A_PLANNER or dice.random() < 0.5
    outcome.fault = what if what != ANY else "any point"
    outcome.detail["alone"] = is_alone
    (healthy,) = await world.gather(1)
    passage = dice.randint(1, 400 if what == ANY else _PASSAGES.get(what, 60))
    victim = world.start_worker(None if what == _AT_RANDOM else f"{what}:{passage}")
    async with world.load.on():
        if is_alone and await _has_joined(victim):
            await world.dismiss(healthy)
        if what == _AT_RANDOM:
            if dice.random() < _AFTER_IT_JOINED:
                await _has_joined(victim)
            await asyncio.sleep(dice.uniform(0.0, 3.0))
            outcome.landed = phase(victim)
            victim.kill()
        else:
            await world.load.runs_while(lambda: victim.is_running, LANDS_WITHIN_RECORDS)
            if victim.is_running:
                victim.kill()
            else:
                outcome.landed = reached(victim) or ""
        killed_s = time.monotonic()
        outcome.detail["in_flight"] = world.in_flight()
        if is_alone and healthy.is_running:  # it died before it had joined
            outcome.detail["alone"] = False
        if not world.running:
            world.start_worker()
        await _go_on(dice)
    outcome.recovery_s = await world.settle() - killed_s
    await world.check(outcome)


async def _has_joined(victim: WorkerProcess) -> bool:
    """Wait until a worker owns something; False where it died before."""
    await until(seldom(lambda: bool(victim.owned()) or not victim.is_running), "the victim to join")
    return victim.is_running


async def _go_on(dice: Random) -> None:
    """Let the load run on for a while after a kill, shorter or longer than it takes to be noticed."""
    await asyncio.sleep(SESSION_TIMEOUT_S * dice.uniform(0.1, 1.2))
