"""Mutation trials: a deliberate bug is put in, faults are run as ever, and the audit has to find it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

from controller.router.fence import Fence
from schemas import AllocationPlan
from tests.faults import kills, zombies
from tests.faults.mutants.worker import MUTANTS
from tests.faults.trial import Case, Outcome
from tests.faults.world import FaultWorld

IGNORE_THE_EPOCH = "ignore-the-epoch"
NAMES = ("skip-the-seek", IGNORE_THE_EPOCH, *sorted(MUTANTS.keys() - {"skip-the-seek"}))
_AFTER_STORE, _AFTER_CHECK = kills.SCHEDULE.index("after-store"), 1
_TRIALS = 12


def world_of(case: Case) -> dict[str, Any]:
    """Return how the world of a mutant differs from others."""
    name = NAMES[case.number % len(NAMES)]
    if name == IGNORE_THE_EPOCH:
        return {"one_planner": False}
    # What is committed must not trail so far behind that reading on from there repairs what a mutant breaks.
    return {"program": ("tests.faults.mutants", name), "commit_interval_s": 0.1}


async def run(world: FaultWorld, case: Case, outcome: Outcome) -> None:
    """Run trials until the audit complains; it held where it does."""
    name = NAMES[case.number % len(NAMES)]
    outcome.fault = name
    if name == IGNORE_THE_EPOCH:
        with _every_plan_accepted():
            found = await _until_broken(zombies.run, world, Case("zombie", _AFTER_CHECK, case.seed))
    else:
        found = await _until_broken(kills.run, world, Case("kill", _AFTER_STORE, case.seed))
    if found is None:
        outcome.wrong.append(f"not caught in {_TRIALS} trials")
    else:
        trials, inner = found
        outcome.landed = "caught"
        outcome.detail = {
            "after_trials": trials,
            "lost": inner.lost,
            "double": inner.double,
            "stale_applied": inner.stale_applied,
            "wrong": inner.wrong[:1],
        }


async def _until_broken(
    trial: Callable[[FaultWorld, Case, Outcome], Awaitable[None]], world: FaultWorld, case: Case
) -> tuple[int, Outcome] | None:
    for attempt in range(_TRIALS):
        inner = Outcome()
        await trial(world, Case(case.kind, case.number, case.seed, attempt), inner)
        if inner.verdict == "broken":
            return attempt + 1, inner
    return None


@contextmanager
def _every_plan_accepted() -> Iterator[None]:
    """Let the router of this process take any plan, whatever its number."""
    stock = Fence.accepts
    Fence.accepts = _accepts_anything  # type: ignore[method-assign]
    try:
        yield
    finally:
        Fence.accepts = stock  # type: ignore[method-assign]


def _accepts_anything(fence: Fence, plan: AllocationPlan) -> bool:
    return True
