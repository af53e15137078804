"""Rebalances under load: among two to four workers one joins, leaves, or dies.

Recovery is measured from the death or the order to leave; of a join, from when the newcomer is first given something.
"""

from __future__ import annotations

import asyncio
import time

from tests.faults.trial import Case, Outcome
from tests.faults.world import SESSION_TIMEOUT_S, FaultWorld, seldom
from tests.worker_harness import WorkerProcess, until

FEWEST, MOST = 2, 4


async def run(world: FaultWorld, case: Case, outcome: Outcome) -> None:
    dice = case.random()
    present = min(MOST, max(FEWEST, len(world.running)))
    workers = await world.gather(present)
    possible = ["join"] * (present < MOST) + ["leave", "die"] * (present > FEWEST)
    change = dice.choice(possible)
    outcome.fault = change
    assigned = {worker: _assignments(worker) for worker in workers}
    async with world.load.on():
        await asyncio.sleep(dice.uniform(0.2, 2.0))
        began_s = time.monotonic()
        outcome.detail["in_flight"] = world.in_flight()
        if change == "join":
            newcomer = world.start_worker()
            await until(seldom(lambda: bool(newcomer.owned())), "the newcomer to join", alive=[newcomer])
            began_s = time.monotonic()
            stay = [*workers, newcomer]
        else:
            gone = dice.choice(workers)
            stay = [worker for worker in workers if worker is not gone]
            if change == "die":
                gone.kill()
            else:
                await world.dismiss(gone)
        await world.shared(stay)
        await asyncio.sleep(SESSION_TIMEOUT_S * dice.uniform(0.1, 0.5))
    outcome.recovery_s = await world.settle() - began_s
    if all(_assignments(worker) > before for worker, before in assigned.items() if worker in stay):
        outcome.landed = f"{present} to {len(stay)}"
    await world.check(outcome)


def _assignments(worker: WorkerProcess) -> int:
    """Return how often a worker was given partitions, by its log."""
    return len(worker.events("partitions_ready"))
