"""``coxswain plans``: shows plans as they come."""

from __future__ import annotations

import asyncio
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from controller.commands.options import (
    bootstrap_option,
    config_option,
    connection_of,
    read_settings,
    with_exit_codes,
)
from controller.errors import MessageError
from controller.kafka import KafkaConnection, broker_errors
from controller.router.decode import decode_plan
from controller.router.tail import PLANS, plan_consumer, read_tail
from schemas import AllocationPlan
from schemas.base import iso_utc

_TIMEOUT_S = 15.0


@click.command("plans")
@click.option("--follow", is_flag=True, help="Go on, and show each plan as it comes.")
@click.option(
    "--last", default=10, show_default=True, type=click.IntRange(min=1), help="Plans from the tail."
)
@click.option("--json", "as_json", is_flag=True, help="One plan a line, whole, as on the topic.")
@config_option
@bootstrap_option
@with_exit_codes
def plans_command(follow: bool, last: int, as_json: bool, config: Path | None, bootstrap: str | None) -> None:
    """Show the newest plans: what runs, what it costs, how good it is, and why it was made.

    \b
        coxswain plans --follow
        coxswain plans --last 1 --json | jq .deployments
    """
    settings = read_settings(config, bootstrap)
    try:
        asyncio.run(_show(connection_of(settings, "coxswain-plans"), follow, last, as_json))
    except KeyboardInterrupt:
        raise SystemExit(130) from None


async def _show(connection: KafkaConnection, follow: bool, last: int, as_json: bool) -> None:
    console = Console()
    consumer = plan_consumer(connection)
    try:
        async with broker_errors(connection, "reading plans", _TIMEOUT_S):
            await consumer.start()
            records = await read_tail(consumer, PLANS, last)
        shown = [_decoded(record.value) for record in records]
        if as_json:
            for plan in filter(None, shown):
                click.echo(plan.encode())
        else:
            console.print(_table([plan for plan in shown if plan is not None], header=True))
        while follow:
            for batch in (await consumer.getmany(timeout_ms=500)).values():
                for record in batch:
                    found = _decoded(record.value)
                    if found is not None and as_json:
                        click.echo(found.encode())
                    elif found is not None:
                        console.print(_table([found], header=False))
    finally:
        await consumer.stop()


def _decoded(raw: bytes | None) -> AllocationPlan | None:
    try:
        return decode_plan(raw or b"")
    except MessageError as error:
        click.echo(f"a record that is no plan: {error}", err=True)
        return None


def _table(plans: list[AllocationPlan], *, header: bool) -> Table:
    table = Table(box=None, pad_edge=False, show_header=header)
    for title, width in (
        ("plan", 24),
        ("horizon", 17),
        ("decision", 24),
        ("USD/h", 9),
        ("gap", 7),
        ("unmet", 7),
    ):
        table.add_column(title, min_width=width, no_wrap=True)
    table.add_column("deployments")
    for plan in plans:
        demanded = sum(demand.rate_per_s for demand in plan.demand)
        unmet = sum(demand.rate_per_s * plan.unmet.get(demand.query_type, 0.0) for demand in plan.demand)
        table.add_row(
            plan.plan_id,
            iso_utc(plan.horizon_start)[:16],
            plan.decision.name,
            f"{plan.cost.usd_per_h:.2f}",
            "" if plan.solver.gap is None else f"{plan.solver.gap:.2%}",
            f"{unmet / demanded:.2%}" if demanded else "",
            ", ".join(f"{deployment.replicas}x {deployment.id}" for deployment in plan.deployments),
        )
    return table
