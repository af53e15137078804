"""The broker dies, stops, or is cut off, stopped up or slow, while two workers count and plan.

The broker is one node: what a worker does without any broker is what is looked at. A worker may wait, or end itself,
in which case it is started again, as a supervisor would. Recovery is measured from the end of the fault.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from random import Random

from tests.faults.trial import Case, Outcome
from tests.faults.world import SESSION_TIMEOUT_S, FaultWorld

SLOW_S, SLOW_BYTES_PER_S = 0.1, 400_000.0
RECOVERS_WITHIN_S = 30.0


async def _kill(world: FaultWorld, length_s: float) -> None:
    await asyncio.to_thread(world.broker.kill)
    await asyncio.sleep(length_s)
    await asyncio.to_thread(world.broker.start)


async def _stop(world: FaultWorld, length_s: float) -> None:
    world.broker.pause()
    await asyncio.sleep(length_s)
    world.broker.resume()


async def _refuse(world: FaultWorld, length_s: float) -> None:
    await world.proxy.refuse()
    await asyncio.sleep(length_s)
    await world.proxy.accept()


async def _cut(world: FaultWorld, length_s: float) -> None:
    """Reset every connection, again and again."""
    end_s = time.monotonic() + length_s
    while time.monotonic() < end_s:
        await world.proxy.cut()
        await asyncio.sleep(0.3)


async def _stop_up(world: FaultWorld, length_s: float) -> None:
    world.proxy.stop_up()
    await asyncio.sleep(length_s)
    world.proxy.clear()


async def _slow(world: FaultWorld, length_s: float) -> None:
    world.proxy.slow(SLOW_S, SLOW_BYTES_PER_S)
    await asyncio.sleep(length_s)
    world.proxy.clear()


FAULTS: dict[str, Callable[[FaultWorld, float], Awaitable[None]]] = {
    "SIGKILL": _kill,
    "SIGSTOP": _stop,
    "refused": _refuse,
    "cut": _cut,
    "stopped up": _stop_up,
    "slow": _slow,
}


async def run(world: FaultWorld, case: Case, outcome: Outcome) -> None:
    dice = case.random()
    what = list(FAULTS)[case.number % len(FAULTS)]
    length_s = _length_s(dice)
    outcome.fault = what
    workers = await world.gather(2)
    async with world.load.on():
        await asyncio.sleep(dice.uniform(0.5, 2.0))
        counted = world.watch.accounted()
        began_s = time.monotonic()
        await FAULTS[what](world, length_s)
        ended_s = time.monotonic()
        lasted_s = ended_s - began_s  # a killed broker takes its time to start
        outcome.landed = f"{'beyond' if lasted_s > SESSION_TIMEOUT_S else 'within'} the session timeout"
        outcome.detail |= {
            "lasted_s": round(lasted_s, 1),
            "counted_meanwhile": world.watch.accounted() - counted,
            "in_flight": world.in_flight(),
        }
        await asyncio.sleep(dice.uniform(0.5, 2.0))
    restarted = await _supervised(world, len(workers))
    outcome.recovery_s = time.monotonic() - ended_s
    outcome.detail["ended_themselves"] = restarted
    if outcome.recovery_s > RECOVERS_WITHIN_S and not restarted:
        outcome.wrong.append(f"recovered after {outcome.recovery_s:.1f} s, and no worker ended itself")
    await world.check(outcome)


def _length_s(dice: Random) -> float:
    """Draw how long a fault lasts: half of them shorter than a session, half of them longer."""
    low, high = (0.3, 0.8) if dice.random() < 0.5 else (1.5, 4.0)
    return SESSION_TIMEOUT_S * dice.uniform(low, high)


async def _supervised(world: FaultWorld, workers: int) -> int:
    """Wait until everything is counted, starting workers that end again; return how many ended."""
    settling = asyncio.create_task(world.settle(must_live=False))
    ended = 0
    try:
        while not settling.done():
            while len(world.running) < workers:
                ended += 1
                world.start_worker()
            await asyncio.wait([settling], timeout=0.2)
    finally:
        settling.cancel()
        await asyncio.wait([settling])
    await settling
    return ended
