"""``coxswain router``: the reference downstream router."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

import click

from controller.clock import ReplayClock, WallClock
from controller.commands.options import (
    bootstrap_option,
    config_option,
    connection_of,
    read_settings,
    with_exit_codes,
)
from controller.logs import get_logger
from controller.router import PlanSubscriber
from controller.settings import Settings
from controller.stream.clock_follower import follow_clock
from schemas import AllocationPlan
from schemas.base import iso_utc

log = get_logger(__name__)


@click.command("router")
@click.option("--name", required=True, help="This router's name; its acknowledgements carry it.")
@click.option("--fleet", default="main", show_default=True, help="The fleet whose plans to follow.")
@click.option(
    "--state-dir",
    type=click.Path(path_type=Path),
    default=Path(".coxswain/router"),
    show_default=True,
    help="Where the last good plan is kept.",
)
@config_option
@bootstrap_option
@with_exit_codes
def router_command(
    name: str, fleet: str, state_dir: Path, config: Path | None, bootstrap: str | None
) -> None:
    """Follow the plans as a downstream router does, and acknowledge them.

    It takes the newest plan of the topic, drops any that is not newer than the last it applied, and keeps the last
    good one on disk. A gateway embeds the same thing: `controller.router.PlanSubscriber`.

    \b
        coxswain router --name gateway-7 --fleet main
    """
    settings = read_settings(config, bootstrap)
    asyncio.run(_run(settings, name, fleet, state_dir / name))


async def _run(settings: Settings, name: str, fleet: str, state_dir: Path) -> None:
    def show(plan: AllocationPlan) -> None:
        log.info(
            "plan_in_force",
            plan=plan.plan_id,
            deployments={deployment.id: deployment.replicas for deployment in plan.deployments},
            routes=len(plan.routes),
            valid_until=iso_utc(plan.valid_until),
        )

    connection = connection_of(settings, f"coxswain-router-{name}")
    clock = ReplayClock() if settings.clock == "replay" else WallClock()
    stopping = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    async with PlanSubscriber(connection, name, fleet, state_dir, clock=clock, on_plan=show) as subscriber:
        log.info("router_ready", router=name, fleet=fleet)
        tasks = [asyncio.create_task(_drain(subscriber)), asyncio.create_task(stopping.wait())]
        if isinstance(clock, ReplayClock):
            tasks.append(asyncio.create_task(follow_clock(connection, clock)))
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        log.info("router_stopped", router=name, counts=subscriber.counts)
        for task in done:
            task.result()


async def _drain(subscriber: PlanSubscriber) -> None:
    async for _ in subscriber.plans():
        pass
