"""Zombie planners: one is stopped, another takes over, and the first wakes up and still believes that it plans.

Odd trials stop it from within, at a named point: when it has seen that no claim is newer than its own, say, so that it
wakes up and publishes. Even ones stop it from outside at a random moment. A router follows all the while, and must not
go back.
"""

from __future__ import annotations

import asyncio
import signal
import time
from pathlib import Path
from random import Random

from tests.faults.kills import LANDS_WITHIN_RECORDS
from tests.faults.trial import Case, Outcome
from tests.faults.world import FaultWorld, reached, seldom, send
from tests.worker_harness import WorkerProcess, until

POINTS = (
    "after-check",
    "mid-solve",
    "before-publish",
    "after-publish",
    "before-store",
    "before-demand",
    "after-memory",
    "before-commit",
)
_OF_A_TICK = ("before-publish", "mid-solve", "after-check", "after-publish", "after-memory")


async def run(world: FaultWorld, case: Case, outcome: Outcome) -> None:
    dice = case.random()
    if case.number % 2:
        what = POINTS[case.number // 2 % len(POINTS)]
        outcome.fault = f"SIGSTOP {what}"
        zombie, standby = await _armed(world, what, dice)
    else:
        outcome.fault = "SIGSTOP at random"
        await world.gather(2)
        zombie = await world.planner()
        (standby,) = (worker for worker in world.running if worker is not zombie)
    plans = len(world.watch.plans)
    async with world.load.on():
        if case.number % 2:
            await world.load.runs_while(lambda: not _is_stopped(zombie), LANDS_WITHIN_RECORDS)
            outcome.landed = (reached(zombie) or "") if _is_stopped(zombie) else ""
        else:
            await asyncio.sleep(dice.uniform(0.1, 2.5))
            send(zombie, signal.SIGSTOP)
            outcome.landed = f"after {min(2, len(world.watch.plans) - plans)} plans"
        if not outcome.landed:
            zombie.kill()
        else:
            await _wake_after_takeover(world, zombie, standby, outcome, dice)
    await world.settle()
    await world.check(outcome)


async def _wake_after_takeover(
    world: FaultWorld, zombie: WorkerProcess, standby: WorkerProcess, outcome: Outcome, dice: Random
) -> None:
    """Let the standby plan, wake the zombie, and wait until it has found out that it is none any more."""
    stopped_s, epoch = time.monotonic(), world.watch.claims - 1
    try:
        await until(
            lambda: any(applied[0] > epoch for applied in world.applied[-1:]),
            "a plan of the standby to be applied",
            alive=[standby],
        )
        outcome.recovery_s = time.monotonic() - stopped_s
        await asyncio.sleep(dice.uniform(0.0, 1.0))
    finally:
        written, known = len(world.watch.plans), len(zombie.events("partitions_ready"))
        send(zombie, signal.SIGCONT)
    await until(
        seldom(lambda: not zombie.is_running or len(zombie.events("partitions_ready")) > known),
        "the zombie to find out",
        alive=[standby],
    )
    outcome.detail = {
        "ended_itself": not zombie.is_running,
        "stale_written": sum(plan["epoch"] <= epoch for plan in world.watch.plans[written:]),
    }


async def _armed(world: FaultWorld, what: str, dice: Random) -> tuple[WorkerProcess, WorkerProcess]:
    """Return a planner that is armed to stop, and a standby; nothing is played meanwhile, so it hardly stops yet."""
    (healthy,) = await world.gather(1)
    passage = dice.randint(1, 2) if what in _OF_A_TICK else dice.randint(15, 60)
    zombie = world.start_worker(f"{what}:{passage}:SIGSTOP")
    claims = world.watch.claims
    await world.shared([healthy, zombie])
    await world.dismiss(healthy)
    await until(lambda: world.watch.claims > claims, "the armed worker's claim", alive=[zombie])
    standby = world.start_worker()
    await until(
        seldom(lambda: bool(standby.owned()) or _is_stopped(zombie)),
        "the standby to join",
        alive=[zombie, standby],
    )
    return zombie, standby


def _is_stopped(worker: WorkerProcess) -> bool:
    stat = Path(f"/proc/{worker.process.pid}/stat").read_text()
    return stat.rpartition(")")[2].split()[0] == "T"
