"""What a demo shows while it runs: a live view on a terminal, a line now and then elsewhere. Always on stderr."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from controller.demo.scenario import Scenario
from controller.demo.summary import Tally
from controller.logs import get_logger
from replay.replayer import Progress as ReplayProgress
from schemas import AllocationPlan
from schemas.base import iso_utc

log = get_logger("controller.demo")

_LINE_EVERY_S = 5.0


class Screen:
    """Shows a demo's progress.

    Parameters
    ----------
    console : standard error; where it is no terminal, there are log lines instead of a live view.
    monotonic : tells when the next line is due.
    """

    def __init__(self, console: Console, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._console = console
        self._monotonic = monotonic
        self._live: Live | None = None
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=None),
            TextColumn("{task.percentage:>3.0f} %"),
            TimeRemainingColumn(compact=True),
            console=console,
        )
        self._first_s = 0.0
        self._next_line_s = 0.0
        # The view tells what the router would log of every plan, and more.
        logging.getLogger("controller.router").setLevel(logging.ERROR)

    def starting(self, scenario: Scenario, bootstrap_servers: str) -> None:
        """Say what is about to be played, and on what."""
        self._first_s = scenario.first_s
        total_s = scenario.last_horizon_start_s - scenario.first_s
        facts = (
            f"{scenario.name} at {scenario.speed:,.0f} times its speed, "
            f"a plan every {scenario.horizon_s:g} s of it; broker at {bootstrap_servers}"
        )
        if self._console.is_terminal:
            self._console.print(f"Replaying {facts}.")
            self._bar.add_task("", total=total_s)
            self._live = Live(console=self._console, refresh_per_second=4, transient=True)
            self._live.start()
        else:
            log.info("demo_replays", what=facts)

    def show(self, progress: ReplayProgress, tally: Tally) -> None:
        """Show how far the replay is, and the plan in force."""
        if self._live is not None:
            self._bar.update(
                self._bar.tasks[0].id,
                completed=progress.time_s - self._first_s,
                description=iso_utc(progress.time_s)[:16].replace("T", " "),
            )
            self._live.update(Group(self._bar, _view(progress, tally)))
        elif self._monotonic() >= self._next_line_s:
            self._next_line_s = self._monotonic() + _LINE_EVERY_S
            newest = tally.newest_plan
            log.info(
                "demo_progress",
                time=iso_utc(progress.time_s),
                sent=progress.sent,
                counted=tally.accounted,
                plans=len(tally.plans),
                plan=None if newest is None else _in_words(newest),
            )

    def close(self) -> None:
        """Take the live view away; what stays is the summary."""
        if self._live is not None:
            self._live.stop()
            self._live = None


def _in_words(plan: AllocationPlan) -> str:
    gpus = sum(deployment.gpus for deployment in plan.deployments)
    gap = "no bound" if plan.solver.gap is None else f"gap {plan.solver.gap:.2%}"
    return f"{plan.decision.name}: {gpus} GPUs, {plan.cost.usd_per_h:.2f} USD/h, {gap}"


def _view(progress: ReplayProgress, tally: Tally) -> Group:
    counts = f"{progress.sent:,} records sent, {tally.accounted:,} counted, {len(tally.plans):,} plans"
    plan = tally.newest_plan
    if plan is None:
        return Group(counts, "waiting for the first window to close")
    table = Table(box=None, pad_edge=False)
    for title in ("replicas", "model", "GPU tier", "TP x PP", "serves"):
        table.add_column(title)
    for deployment in plan.deployments:
        served = ", ".join(
            f"{route.query_type} {route.fraction:.0%}"
            for route in plan.routes
            if route.deployment == deployment.id
        )
        table.add_row(
            str(deployment.replicas),
            deployment.model,
            deployment.gpu_tier,
            f"{deployment.tp} x {deployment.pp}",
            served,
        )
    return Group(counts, f"plan {plan.plan_id}: {_in_words(plan)}", table)
