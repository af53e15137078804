"""``coxswain router``: the reference downstream router."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from pathlib import Path

import click

from controller.commands.options import (
    bootstrap_option,
    config_option,
    connection_of,
    read_settings,
    with_exit_codes,
)
from controller.kafka import KafkaConnection
from controller.logs import get_logger
from controller.router import PlanSubscriber
from schemas import AllocationPlan

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
    asyncio.run(_run(connection_of(settings, f"coxswain-router-{name}"), name, fleet, state_dir / name))


async def _run(connection: KafkaConnection, name: str, fleet: str, state_dir: Path) -> None:
    def show(plan: AllocationPlan) -> None:
        log.info(
            "plan_applied",
            plan=plan.plan_id,
            deployments={deployment.id: deployment.replicas for deployment in plan.deployments},
            routes=len(plan.routes),
            valid_until=plan.valid_until,
        )

    stopping = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    async with PlanSubscriber(connection, name, fleet, state_dir, on_plan=show) as subscriber:
        log.info("router_ready", router=name, fleet=fleet)
        following = asyncio.create_task(_drain(subscriber))
        stopped = asyncio.create_task(stopping.wait())
        done, _ = await asyncio.wait({following, stopped}, return_when=asyncio.FIRST_COMPLETED)
        for task in (following, stopped):
            task.cancel()
        await asyncio.gather(following, stopped, return_exceptions=True)
        if following in done:
            following.result()
    with contextlib.suppress(asyncio.CancelledError):
        log.info("router_stopped", router=name, counts=subscriber.counts)


async def _drain(subscriber: PlanSubscriber) -> None:
    async for _ in subscriber.plans():
        pass
