"""``make faults``: the fault programme, on a real Apache Kafka. ``--help`` tells the rest."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import Coroutine
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from controller import logs
from tests.faults.campaign import KINDS, Campaign
from tests.faults.ledger import Ledger
from tests.faults.table import drawn, rows
from tests.faults.trial import Trial
from tests.kafka.kraft import CannotHaveKafka, fetch_jars


@click.command()
@click.option(
    "--ledger", "folder", default=Path("build/faults"), show_default=True, type=click.Path(path_type=Path)
)
@click.option(
    "--only", multiple=True, type=click.Choice([kind.name for kind in KINDS]), help="Kinds to run; all."
)
@click.option("--count", type=click.IntRange(min=1), help="Trials of each kind, instead of the full number.")
@click.option("--seed", default=0, show_default=True)
@click.option("--short", is_flag=True, help="A few trials of each kind: some minutes.")
@click.option("--json", "as_json", is_flag=True, help="Print the table's rows as JSON.")
def main(
    folder: Path, only: tuple[str, ...], count: int | None, seed: int, short: bool, as_json: bool
) -> None:
    """Break things on purpose, recount everything from the log, and print one table.

    A campaign that was stopped goes on where it stood, by its ledger. Exit code 1 where anything did not hold.
    """
    logs.configure("CRITICAL", "json")
    ledger = Ledger(folder.resolve())
    try:
        jars = fetch_jars()
    except CannotHaveKafka as reason:
        raise click.ClickException(f"no Apache Kafka: {reason}") from None
    campaign = Campaign(jars, ledger, seed, _tell)
    chosen = [kind for kind in KINDS if not only or kind.name in only]
    counts = {kind.name: count or (kind.short_count if short else kind.count) for kind in chosen}
    for kind in chosen:
        asyncio.run(_until_told_to_stop(campaign.run(kind, counts[kind.name])))
    mine = [t for t in ledger.trials if t.seed == seed and t.number < counts.get(t.kind, 0)]
    if as_json:
        click.echo(json.dumps(rows(mine)))
    else:
        Console(width=170).print(drawn(mine))
    if any(trial.verdict == "broken" for trial in mine):
        raise SystemExit(1)


async def _until_told_to_stop(campaign: Coroutine[Any, Any, None]) -> None:
    """Run a campaign; at SIGTERM, too, its workers and brokers are killed before we end."""
    running = asyncio.create_task(campaign)
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, running.cancel)
    try:
        await running
    except asyncio.CancelledError:
        raise SystemExit(128 + signal.SIGTERM) from None


def _tell(trial: Trial) -> None:
    said = {name: value for name, value in asdict(trial).items() if name not in ("seed", "attempt") and value}
    click.echo(json.dumps(said), err=True)


if __name__ == "__main__":
    main()
