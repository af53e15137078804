"""``make bench-stream``: how fast a worker counts, next to others on the same topic, and how soon its plans are out.

All numbers come from one run, on one broker and one prefilled topic; contenders run one after another. Ours is a
real worker, end to end: every record validated and counted, totals published, state written, offsets committed. Of the
others only the stock Faust table and Quix Streams count; aiokafka and confluent-kafka decode, with the worker's own
decoder, and throw away. Rates depend on the machine, which the broker shares; ratios say more.
"""

from __future__ import annotations

import asyncio
import importlib.util
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import click
import numpy as np
from rich.console import Console
from rich.table import Table

from controller.broker import EmbeddedBroker, required_topics
from controller.broker.admin import create_topics
from controller.kafka import KafkaConnection
from controller.stream.tables import table_partitions
from tests.benchmarks.stream_contenders import PARTITIONS
from tests.benchmarks.stream_load import Sender
from tests.benchmarks.stream_worker import count_all, plan_under_load
from tests.kafka.kraft import CannotHaveKafka, KraftBroker, fetch_jars

ROOT = Path(__file__).parents[2]
OTHERS = {
    "aiokafka": "aiokafka getmany, decoded",
    "confluent": "confluent-kafka consume, decoded",
    "faust": "stock Faust tumbling table",
    "quix": "Quix Streams tumbling count",
}
_SLOW = frozenset({"faust", "quix"})


@click.command()
@click.option("--events", default=1_000_000, show_default=True, help="Records on the topic.")
@click.option(
    "--slow-limit", "slow_s", default=15.0, show_default=True, help="Seconds for stock Faust, and for Quix."
)
@click.option(
    "--load", "load_per_s", default=20_000.0, show_default=True, help="Events/s while plans are timed."
)
@click.option(
    "--plans", "plans_s", default=45.0, show_default=True, help="Seconds for which plans are timed; 0: not."
)
@click.option("--embedded", is_flag=True, help="On the embedded broker, which keeps little: fewer events.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def main(
    events: int, slow_s: float, load_per_s: float, plans_s: float, embedded: bool, as_json: bool
) -> None:
    """Measure ingest and the way from a closed horizon to its plan."""
    results: dict[str, Any] = {"machine": _machine(), "broker": "embedded" if embedded else "Apache Kafka"}
    rows: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        with _broker(folder, embedded) as bootstrap:
            _fill(bootstrap, events, "gzip" if embedded else "none")
            rows["worker"] = asyncio.run(count_all(bootstrap, folder, events))
            for name in OTHERS:
                rows[name] = _contend(name, bootstrap, events, slow_s if name in _SLOW else 120.0)
        if plans_s > 0:
            with _broker(folder / "plans", embedded) as bootstrap:
                results["plans"] = asyncio.run(plan_under_load(bootstrap, folder, load_per_s, plans_s))
    for row in rows.values():
        if row is not None:
            row["per_s"] = row["records"] / row["seconds"]
            row["per_cpu_s"] = row["records"] / row["cpu_s"]
    results["ingest"] = rows
    if as_json:
        click.echo(json.dumps(results, indent=2))
    else:
        _show(results)


@contextmanager
def _broker(folder: Path, embedded: bool) -> Iterator[str]:
    folder.mkdir(exist_ok=True)
    topics = required_topics(PARTITIONS, "test", table_partitions(PARTITIONS))
    stock = required_topics(PARTITIONS, "bench-stock", {"counts": PARTITIONS})
    if embedded:
        made = {topic.name: topic.partitions for topic in (*topics, *stock)}
        with EmbeddedBroker(made) as broker:
            yield broker.bootstrap_servers
        return
    try:
        jars = fetch_jars()
    except CannotHaveKafka as error:
        raise click.ClickException(f"no Apache Kafka ({error}); --embedded does without") from None
    with KraftBroker(jars, folder) as kafka:
        every = {topic.name: topic for topic in (*topics, *stock)}
        asyncio.run(create_topics(KafkaConnection(kafka.bootstrap_servers), list(every.values()), 1))
        yield kafka.bootstrap_servers


def _fill(bootstrap: str, events: int, compression: str) -> None:
    """Send what happened in the last minutes: 200 s of it, the last 40 s ago."""
    sender = Sender(bootstrap, compression)
    sender.send(events, time.time() - 240.0, 200.0 / events)
    sender.flush()


def _contend(name: str, bootstrap: str, events: int, limit_s: float) -> dict[str, float] | None:
    if name == "quix" and importlib.util.find_spec("quixstreams") is None:
        return None
    command = [
        sys.executable,
        "-m",
        "tests.benchmarks.stream_contenders",
        name,
        bootstrap,
        str(events),
        str(limit_s),
    ]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=limit_s + 120
    )
    if done.returncode != 0:
        raise click.ClickException(f"{name} failed:\n{done.stderr[-2000:]}")
    said: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return said


def _machine() -> str:
    cpu = next(
        (line.split(":")[1].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")), "?"
    )
    packages = ("aiokafka", "faust-streaming", "confluent-kafka")
    return (
        f"{os.cpu_count()} x {cpu}, shared with the broker; Python {platform.python_version()}, "
        + ", ".join(f"{name} {version(name)}" for name in packages)
    )


def _lines(path: str) -> list[str]:
    return Path(path).read_text().splitlines() if Path(path).exists() else []


def _show(results: dict[str, Any]) -> None:
    rows = results["ingest"]
    ours = rows["worker"]
    table = Table(
        box=None, pad_edge=False, title=f"{results['broker']}; {results['machine']}", title_justify="left"
    )
    columns = ("ingest", "records", "events/s", "ours to it", "events/CPU-s", "ours to it", "peak MB")
    for column in columns:
        table.add_column(column, justify="left" if column == "ingest" else "right")
    for name, title in {"worker": "Coxswain worker, end to end", **OTHERS}.items():
        row = rows[name]
        if row is None:
            table.add_row(title, "skipped: not installed")
            continue
        table.add_row(
            title,
            f"{row['records']:,}",
            f"{row['per_s']:,.0f}",
            f"{ours['per_s'] / row['per_s']:.2f}",
            f"{row['per_cpu_s']:,.0f}",
            f"{ours['per_cpu_s'] / row['per_cpu_s']:.2f}",
            f"{row['peak_mb']:.0f}",
        )
    console = Console(width=140)
    console.print(table)
    console.print(
        f"worker's resident memory: {ours['rss_mb_early']:.0f} MB early, {ours['rss_mb_late']:.0f} MB at the end"
    )
    plans = results.get("plans")
    if plans is not None:
        late_ms = np.array(plans["beyond_solver_ms"])
        console.print(
            f"horizon closed to plan published, beyond the solve: p50 {np.percentile(late_ms, 50):.0f} ms, "
            f"p99 {np.percentile(late_ms, 99):.0f} ms, of {len(late_ms)} plans at {plans['events_per_s']:,.0f} events/s"
        )


if __name__ == "__main__":
    main()
