"""``make bench-stream``: how fast a worker counts, next to others on the same topic, and how soon its plans are out.

Contenders of one round run one after another, on one broker and one prefilled topic. Ours is a
real worker, end to end: every record validated and counted, totals published, state written, offsets committed. Of the
others only the stock Faust table and Quix Streams count; aiokafka and confluent-kafka decode, with the worker's own
decoder, and throw away. Rates depend on the machine, which the broker shares; ratios say more.
"""

from __future__ import annotations

import asyncio
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

from controller.broker import EmbeddedBroker, required_topics
from controller.broker.admin import create_topics
from controller.kafka import KafkaConnection
from controller.stream.tables import table_partitions
from tests.benchmarks.stream_contenders import PARTITIONS
from tests.benchmarks.stream_load import Sender
from tests.benchmarks.stream_table import WORKER, show
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
@click.option("--events", default=1_000_000, show_default=True, help="Records on the topic; 0: no ingest.")
@click.option(
    "--rounds", default=1, show_default=True, help="Of all contenders in turn, each on a new broker."
)
@click.option(
    "--slow-limit", "slow_s", default=15.0, show_default=True, help="Seconds for stock Faust, and for Quix."
)
@click.option(
    "--quix-python",
    default=sys.executable,
    help="Python of an environment with quixstreams, which wants older packages than ours.",
)
@click.option(
    "--load",
    "loads_per_s",
    type=float,
    multiple=True,
    default=(20_000.0,),
    show_default=True,
    help="Events/s while plans are timed; give several to find the most that a worker keeps up with.",
)
@click.option(
    "--plans", "plans_s", default=45.0, show_default=True, help="Seconds of each load; 0: no plans are timed."
)
@click.option(
    "--soak", "soak_events", default=0, show_default=True, help="Events over which memory is watched."
)
@click.option("--embedded", is_flag=True, help="On the embedded broker, which keeps little: fewer events.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def main(
    events: int,
    rounds: int,
    slow_s: float,
    quix_python: str,
    loads_per_s: tuple[float, ...],
    plans_s: float,
    soak_events: int,
    embedded: bool,
    as_json: bool,
) -> None:
    """Measure ingest, the way from a closed horizon to its plan, and memory."""
    results: dict[str, Any] = {
        "machine": _machine(),
        "broker": "embedded" if embedded else "Apache Kafka",
        "rounds": [],
        "plans": [],
        "soak": None,
    }
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        for number in range(rounds if events else 0):
            with _broker(folder / f"round-{number}", embedded) as bootstrap:
                _fill(bootstrap, events, embedded)
                row = {WORKER: _rated(asyncio.run(count_all(bootstrap, folder, events)))}
                for name in OTHERS:
                    limit_s = slow_s if name in _SLOW else 120.0
                    python = quix_python if name == "quix" else sys.executable
                    row[name] = _contend(name, python, bootstrap, events, limit_s)
            results["rounds"].append(row)
        for number, load_per_s in enumerate(loads_per_s if plans_s > 0 else ()):
            with _broker(folder / f"plans-{number}", embedded) as bootstrap:
                said = asyncio.run(plan_under_load(bootstrap, folder, load_per_s, plans_s))
            results["plans"].append(said)
        if soak_events:
            with _broker(folder / "soak", embedded) as bootstrap:
                _fill(bootstrap, soak_events, embedded)
                results["soak"] = _rated(asyncio.run(count_all(bootstrap, folder, soak_events)))
    if as_json:
        click.echo(json.dumps(results, indent=2))
    else:
        show(results, {WORKER: "Coxswain worker, end to end", **OTHERS})


def _rated(row: dict[str, Any]) -> dict[str, Any]:
    return row | {"per_s": row["records"] / row["seconds"], "per_cpu_s": row["records"] / row["cpu_s"]}


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


def _fill(bootstrap: str, events: int, embedded: bool) -> None:
    """Send what happened in the last minutes: 200 s of it, the last 40 s ago."""
    sender = Sender(bootstrap, "gzip" if embedded else "none")
    sender.send(events, time.time() - 240.0, 200.0 / events)
    sender.flush()


def _contend(name: str, python: str, bootstrap: str, events: int, limit_s: float) -> dict[str, Any] | None:
    if (
        name == "quix"
        and subprocess.run([python, "-c", "import quixstreams"], capture_output=True).returncode
    ):
        return None
    command = [
        python,
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
    return _rated(json.loads(done.stdout.splitlines()[-1]))


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


if __name__ == "__main__":
    main()
