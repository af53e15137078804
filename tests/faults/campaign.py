"""Runs the kinds of faults: worlds are opened, trials run in them, and each is written down as soon as it is over."""

from __future__ import annotations

import shutil
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from controller.errors import CoxswainError
from tests.faults import brokers, kills, mutations, poison, rebalances, takeovers, zombies
from tests.faults.ledger import Ledger
from tests.faults.trial import Case, Outcome, Trial
from tests.faults.world import FaultWorld

Run = Callable[[FaultWorld, Case, Outcome], Awaitable[None]]


@dataclass(frozen=True)
class Kind:
    """A kind of fault: how one trial of it is run, and how many there are.

    ``per_world`` trials share a world, unless one is broken; then the next begins in a new one.
    """

    name: str
    run: Run
    count: int
    short_count: int
    per_world: int = 20
    world: Callable[[Case], dict[str, Any]] = lambda _: {}


KINDS = (
    Kind("kill", kills.run, count=200, short_count=5),
    Kind("rebalance", rebalances.run, count=50, short_count=2),
    Kind("broker", brokers.run, count=30, short_count=3, per_world=10, world=lambda _: {"is_proxied": True}),
    Kind("zombie", zombies.run, count=100, short_count=2, world=lambda _: {"one_planner": False}),
    Kind("takeover", takeovers.run, count=20, short_count=1),
    Kind("poison", poison.run, count=poison.BATCHES, short_count=1, per_world=poison.BATCHES),
    Kind("mutant", mutations.run, len(mutations.NAMES), 2, per_world=1, world=mutations.world_of),
)


class Campaign:
    """One call of the programme."""

    def __init__(self, jars: Path, ledger: Ledger, seed: int, tell: Callable[[Trial], None]) -> None:
        self._jars, self._ledger, self._seed, self._tell = jars, ledger, seed, tell

    async def run(self, kind: Kind, count: int) -> None:
        """Run what is still to be done of a kind; what missed is tried again, with another draw."""
        while cases := self._ledger.to_do(kind.name, self._seed, range(count)):
            for first in range(0, len(cases), kind.per_world):
                rest = cases[first : first + kind.per_world]
                while rest:
                    done = await self._in_one_world(kind, rest)
                    rest = rest[done:]

    async def _in_one_world(self, kind: Kind, cases: list[Case]) -> int:
        """Run cases until one is broken; return how many were run. Files of a world that held are not kept."""
        case = cases[0]
        folder = self._ledger.folder / f"{kind.name}-{self._seed}-{case.number}-{case.attempt}"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        async with FaultWorld(self._jars, folder, hash_of(case), **kind.world(case)).open() as world:
            for done, case in enumerate(cases, start=1):
                trial = await _run(kind.run, world, case)
                self._ledger.add(trial)
                self._tell(trial)
                if trial.verdict == "broken":
                    return done
        shutil.rmtree(folder, ignore_errors=True)
        return len(cases)


def hash_of(case: Case) -> int:
    """Return a seed for a world's load."""
    return case.random().getrandbits(32)


async def _run(run: Run, world: FaultWorld, case: Case) -> Trial:
    began_s, outcome = time.monotonic(), Outcome()
    try:
        await run(world, case, outcome)
    except (
        AssertionError,
        CoxswainError,
        OSError,
        RuntimeError,
    ) as error:  # RuntimeError: aiokafka's are such
        outcome.wrong.append(f"not brought to its end: {type(error).__name__}: {error}")
    return Trial.of(case, outcome, time.monotonic() - began_s)
