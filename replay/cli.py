"""``coxswain replay``: plays a trace, or a generated day, into Kafka; or only reads it."""

from __future__ import annotations

import asyncio
import json
import math
import signal
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path

import click
from rich.console import Console

from controller.errors import CoxswainError, InputError
from controller.logs import configure
from replay.display import Display
from replay.mapping import DEFAULT_MAP, load_type_map
from replay.reader import RELATIVE_EPOCH_S
from replay.replayer import Replayer, ReplayReport
from replay.rows import Request
from replay.source import GENERATED_START_S, KNOWN_QUERY_TYPES, Source, Tally, generated_source, trace_source
from replay.summary import as_numbers, as_table
from schemas.base import EARLIEST_S, LATEST_S

GENERATED = "generated"
"""Stands for the generated day where a file is expected; a file of this name is ``./generated``."""
_EXIT_FAILURE = 1
_EXIT_BAD_INPUT = 2


class _Speed(click.ParamType):
    """A number above 0, or ``max``."""

    name = "speed"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if value == "max":
            return math.inf
        try:
            speed = float(str(value))
        except ValueError:
            speed = math.nan
        if not 0 < speed < math.inf:
            self.fail(f"{value!r} is neither a number above 0 nor 'max'.", param, ctx)
        return speed


class _Moment(click.ParamType):
    """A moment in ISO 8601; UTC where it names no other offset. Becomes seconds since the epoch."""

    name = "time"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if isinstance(value, float):
            return value
        try:
            moment = datetime.fromisoformat(str(value))
        except ValueError:
            self.fail(f"{value!r} is no time such as 2026-03-04 or 2026-03-04T06:00:00Z.", param, ctx)
        moment_s = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
        if not EARLIEST_S <= moment_s < LATEST_S:
            self.fail(f"{value!r} must lie in the years 2000 to 2099.", param, ctx)
        return moment_s


@click.command("replay", context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("traces", metavar="TRACE...", nargs=-1, required=True)
@click.option(
    "--speed",
    metavar="X|max",
    type=_Speed(),
    default="1",
    show_default=True,
    help="Seconds of the trace per second; 'max' for as fast as the broker takes it.",
)
@click.option(
    "--map",
    "map_path",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="YAML rules from rows to query types. Without it: those of replay/default_map.yaml, which explains them.",
)
@click.option("--limit", metavar="N", type=click.IntRange(min=1), help="Stop after N requests.")
@click.option(
    "--bootstrap",
    metavar="HOST:PORT",
    envvar="COXSWAIN_KAFKA__BOOTSTRAP_SERVERS",
    show_envvar=True,
    default="localhost:9092",
    show_default=True,
    help="The broker.",
)
@click.option(
    "--heartbeat-s",
    type=click.FloatRange(min=0),
    default=60.0,
    show_default=True,
    help="Seconds of the trace between heartbeats, which prove that a query type is idle; 0 for none.",
)
@click.option(
    "--drain-s",
    type=click.FloatRange(min=0),
    default=0.0,
    show_default=True,
    help="Seconds of the trace that clock and heartbeats go on after the last request: its window closes.",
)
@click.option(
    "--start",
    "start_s",
    metavar="TIME",
    type=_Moment(),
    help="When a trace whose times are relative begins (default 2026-01-01), or the generated day (2026-03-04). UTC.",
)
@click.option("--seed", type=click.IntRange(min=0), help=f"Of the {GENERATED} day.  [default: 0]")
@click.option(
    "--scale",
    type=click.FloatRange(min=0, min_open=True),
    help=f"Multiplies the rates of the {GENERATED} day.  [default: 1]",
)
@click.option("--dry-run", is_flag=True, help="Only read, and say what is there. Needs no broker.")
@click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON.")
def replay_command(
    traces: Sequence[str],
    speed: float,
    map_path: Path | None,
    limit: int | None,
    bootstrap: str,
    heartbeat_s: float,
    drain_s: float,
    start_s: float | None,
    seed: int | None,
    scale: float | None,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Play a trace into Kafka, each request as an event at the time that it had, and drive the replay clock.

    TRACE is a file, plain or gzip; several are merged by time. Formats are told by their columns: Azure LLM inference
    (2023, 2024, and 2025 with images), BurstGPT, and Mooncake JSON lines. The word 'generated' stands for a day made
    here, the same one for the same seed.

    \b
    What is in a file, and what would be dropped from it?
        coxswain replay AzureLLMInferenceTrace_conv.csv --dry-run
    An hour a minute, to a worker that runs with COXSWAIN_CLOCK=replay:
        coxswain replay code.csv.gz conv.csv.gz --speed 60
    With query types of your own:
        coxswain replay BurstGPT_1.csv --map my_types.yaml --speed 600
    A tenth of the generated day, as fast as it goes:
        coxswain replay generated --scale 0.1 --speed max

    Rows that cannot be read or mapped are dropped, counted by reason, and shown with an example.

    Exit codes: 0 done, 1 a clear failure (no broker, stopped before its end), 2 bad usage or bad input.
    """
    try:
        source = _open(traces, map_path, start_s, seed, scale)
        tally = Tally()
        requests = tally.counted(islice(source.requests, limit))
        report = None
        if dry_run:
            for _ in requests:
                pass
        else:
            configure()
            with Display(Console(stderr=True), source, tally, limit) as display:
                replayer = Replayer(
                    bootstrap,
                    speed=speed,
                    heartbeat_s=heartbeat_s,
                    query_types=source.query_types,
                    drain_s=drain_s,
                    on_progress=display.show,
                    security=click.get_current_context().obj or {},
                )
                report = asyncio.run(_until_terminated(replayer, requests))
    except InputError as error:
        click.echo(f"error: {error}", err=True)
        raise SystemExit(_EXIT_BAD_INPUT) from None
    except CoxswainError as error:
        click.echo(f"error: {error}", err=True)
        raise SystemExit(_EXIT_FAILURE) from None
    if as_json:
        click.echo(json.dumps(as_numbers(tally, source.drops, report)))
    else:
        Console().print(as_table(tally, source.drops, report), soft_wrap=True)
    if report is not None and not report.is_complete:
        raise SystemExit(_EXIT_FAILURE)


def _open(
    traces: Sequence[str], map_path: Path | None, start_s: float | None, seed: int | None, scale: float | None
) -> Source:
    if GENERATED in traces:
        if len(traces) > 1:
            raise click.UsageError(f"{GENERATED!r} must stand alone; a file of that name is './{GENERATED}'.")
        if map_path is not None:
            raise click.UsageError("--map is for files: the generated day says its query types itself.")
        return generated_source(
            seed=0 if seed is None else seed,
            scale=1.0 if scale is None else scale,
            start_s=GENERATED_START_S if start_s is None else start_s,
        )
    if seed is not None or scale is not None:
        raise click.UsageError(f"--seed and --scale are for the {GENERATED!r} day, not for files.")
    return trace_source(
        [Path(trace) for trace in traces],
        DEFAULT_MAP if map_path is None else load_type_map(map_path),
        RELATIVE_EPOCH_S if start_s is None else start_s,
        # The default map goes with the default catalog: what a trace never asks for is idle there, not unknown.
        idle_types=KNOWN_QUERY_TYPES if map_path is None else (),
    )


async def _until_terminated(replayer: Replayer, requests: Iterable[Request]) -> ReplayReport:
    """Run a replay; what a container's stop sends ends it as Ctrl-C does: after the step, with its report."""
    task = asyncio.current_task()
    assert task is not None  # noqa: S101 - a coroutine that runs is in a task
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    return await replayer.run(requests)
