"""``coxswain demo``: everything at once, with nothing to set up."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from controller import logs
from controller.commands.options import EXIT_FAILURE, with_exit_codes
from controller.demo.summary import DemoSummary


@click.command("demo")
@click.option(
    "--trace",
    "traces",
    multiple=True,
    type=click.Path(path_type=Path),
    help="Play a trace file instead of the generated day; several are merged by time, further FILEs may follow.",
)
@click.argument("more_traces", nargs=-1, type=click.Path(path_type=Path), metavar="[FILE]...")
@click.option("--seed", default=0, show_default=True, help="Of the generated day.")
@click.option("--scale", default=1.0, show_default=True, help="Times the generated day's rates.")
@click.option(
    "--logs",
    "keep_logs",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    help="A folder to leave the worker's log in.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON on stdout.")
@with_exit_codes
def demo_command(
    traces: tuple[Path, ...],
    more_traces: tuple[Path, ...],
    seed: int,
    scale: float,
    keep_logs: Path | None,
    as_json: bool,
) -> None:
    """See it work: an embedded broker, a worker, a router, and a day of traffic in a bit more than a minute.

    It plays a generated day of six query types (or traces) into the broker, counts it, plans every five minutes of
    it (every minute, where a trace is shorter than three hours), and follows the plans with a router. It ends by
    itself with a summary; the exit code is 1 where a record or a plan is not accounted for.

    \b
        coxswain demo
        coxswain demo --trace AzureLLMInferenceTrace_code.csv AzureLLMInferenceTrace_conv.csv --json
    """
    logs.configure()
    from controller.demo import run, scenario, screen  # a first `--help` should not wait for all of it

    paths = (*traces, *more_traces)
    played = scenario.of_traces(paths) if paths else scenario.generated_day(seed, scale)
    try:
        summary = asyncio.run(run.run_demo(played, screen.Screen(Console(stderr=True)), keep_logs))
    except KeyboardInterrupt:
        raise SystemExit(130) from None
    if as_json:
        click.echo(json.dumps(summary.to_json()))
    else:
        Console().print(_table(summary))
    if not summary.is_complete:
        click.echo("error: not every record or plan is accounted for", err=True)
        raise SystemExit(EXIT_FAILURE)


def _table(summary: DemoSummary) -> Table:
    table = Table(title=f"A demo of {summary.source}", box=None, show_header=False, title_justify="left")
    table.add_column(justify="left")
    table.add_column(justify="right")
    for name, value in summary.to_json().items():
        if name == "source":
            continue
        if isinstance(value, dict):
            for key, count in value.items():
                table.add_row(f"  {key}", f"{count:,}")
            continue
        table.add_row(name.replace("_", " "), _shown(name, value))
    return table


def _shown(name: str, value: object) -> str:
    if value is None:
        return "none"
    return f"{value:.2%}" if name in ("unmet_fraction", "max_gap") else f"{value:,}"
