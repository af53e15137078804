"""The planner is killed while a standby counts beside it: how long is it until the next plan is out?

No longer than until the kill is noticed (the session timeout), the standby has recovered (it has claimed the planning,
and what was sent before the kill is counted), one horizon has closed, and one solve is done.
"""

from __future__ import annotations

import asyncio
import time

from tests.faults.load import SPEED
from tests.faults.trial import Case, Outcome
from tests.faults.world import SESSION_TIMEOUT_S, FaultWorld
from tests.worker_harness import BUCKET_S, HORIZON_S, LATENESS_S, until

_HORIZON_S = HORIZON_S + LATENESS_S + BUCKET_S
"""From one horizon to the next, and from a window's end to its close, in event time."""
_SLACK_S = 1.0
"""For what polls: the planner, the snapshots, and those who watch."""


async def run(world: FaultWorld, case: Case, outcome: Outcome) -> None:
    dice = case.random()
    outcome.fault = "SIGKILL of the planner"
    await world.gather(2)
    planner = await world.planner()
    async with world.load.on():
        await asyncio.sleep(dice.uniform(1.0, 1.0 + 2 * _HORIZON_S / SPEED))
        plans, claims = len(world.watch.plans), world.watch.claims
        planner.kill()
        killed_s = time.monotonic()
        outcome.landed = "in the planner"
        (standby,), sent, reached_s = world.running, world.load.num_sent, world.load.reached_s
        after: dict[str, float] = {}

        def is_planned() -> bool:
            now_s = time.monotonic() - killed_s
            if world.watch.accounted() >= sent and world.watch.claims > claims:
                after.setdefault("recovered_s", now_s)
            own = [plan for plan in world.watch.plans[plans:] if plan["epoch"] >= claims]
            if own:
                after.setdefault("planned_s", now_s)
                after["solve_s"] = own[0]["solver"]["runtime_s"]
            return len(after) == len(("recovered_s", "planned_s", "solve_s"))

        await until(is_planned, "the standby's plan", alive=[standby])
        played_s = world.load.reached_s - reached_s
    planned_s = after["planned_s"]
    horizon_s = _HORIZON_S * planned_s / played_s  # at the speed that the load really had
    bound_s = max(SESSION_TIMEOUT_S, after["recovered_s"]) + horizon_s + after["solve_s"] + _SLACK_S
    outcome.detail = {name: round(value, 2) for name, value in (after | {"bound_s": bound_s}).items()}
    outcome.recovery_s = planned_s
    if planned_s > bound_s:
        outcome.wrong.append(f"the next plan came after {planned_s:.1f} s, and had to within {bound_s:.1f} s")
    await world.settle()
    await world.check(outcome)
