"""Runs the real worker as a process, feeds it, and reads everything that it says, from topics and from its log."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from tests.small_catalog import small_catalog

T0 = 1_772_582_400.0  # a multiple of every horizon that is used
HORIZON_S, BUCKET_S, LATENESS_S = 60.0, 10.0, 10.0
DUPLICATE_WINDOW = 300
VALIDITY_HORIZONS = 2.0
SKEW_S = 60.0
PATIENCE_S = 240.0
TYPES = ("chat", "code", "batch")

SOURCE, DEMAND, PLANS = "llm.request-rate.v1", "llm.demand.v1", "llm.plans.v1"
CLAIMS, CLOCK, DEAD_LETTERS = "llm.planner-claims.v1", "llm.clock.v1", "llm.dead-letter.v1"

# One model on one GPU: a request of 100 input tokens takes 0.1 GPU-seconds and nothing else, a replica serves 10/s.
CATALOG = small_catalog(TYPES, tp_degrees=(1, 2))


def write_settings(folder: Path, bootstrap: str, **changes: Any) -> Path:
    """Write a settings file and the catalog beside it; a change is ``section={...}`` or a value."""
    (folder / "catalog.yaml").write_text(yaml.safe_dump(CATALOG))
    settings: dict[str, Any] = {
        "app_id": "test",
        "catalog": "catalog.yaml",
        "clock": "replay",
        "data_dir": str(folder / "faust"),
        "log_format": "json",
        "kafka": {
            "bootstrap_servers": bootstrap,
            "session_timeout_s": 6.0,
            "heartbeat_interval_s": 1.0,
            "commit_interval_s": 0.3,
        },
        "horizon": {
            "length_s": HORIZON_S,
            "bucket_s": BUCKET_S,
            "allowed_lateness_s": LATENESS_S,
            "idle_timeout_s": 300.0,
            "max_skew_s": SKEW_S,
            "validity_horizons": VALIDITY_HORIZONS,
        },
        "ingest": {
            "snapshot_interval_s": 0.05,
            "refresh_interval_s": 0.5,
            "duplicate_window_records": DUPLICATE_WINDOW,
        },
        "solver": {"method": "gh", "iterations": 2},
    }
    for name, change in changes.items():
        settings[name] = {**settings[name], **change} if isinstance(change, dict) else change
    path = folder / "worker.yaml"
    path.write_text(yaml.safe_dump(settings))
    return path


async def until(condition: Callable[[], bool], what: str, *, alive: Iterable[WorkerProcess] = ()) -> None:
    """Wait for a condition; a worker that must be alive and is not ends the wait at once."""
    try:
        async with asyncio.timeout(PATIENCE_S):
            while not condition():
                for worker in alive:
                    assert worker.is_running, f"the worker ended while waiting for {what}:\n{worker.tail()}"
                await asyncio.sleep(0.02)
    except TimeoutError:
        tails = "\n".join(worker.tail() for worker in alive)
        raise AssertionError(f"{what}: not within {PATIENCE_S:g} s\n{tails}") from None


async def until_topics_are_gone(admin: Any, names: list[str]) -> None:
    """Wait until a broker has done with deleting topics."""
    async with asyncio.timeout(PATIENCE_S):
        while set(names) & set(await admin.list_topics()):
            await asyncio.sleep(0.05)


class WorkerProcess:
    """One ``coxswain worker``. Its log is kept, whatever becomes of it."""

    def __init__(
        self,
        settings: Path,
        log: Path,
        environment: Mapping[str, str] | None = None,
        program: Sequence[str] = ("controller",),
    ) -> None:
        self._log = log
        command = [sys.executable, "-m", *program, "worker", "--config", str(settings)]
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("COXSWAIN_")}
        with log.open("wb") as stderr:
            self.process = subprocess.Popen(
                command,
                env={**inherited, **(environment or {})},
                stdin=subprocess.DEVNULL,
                stdout=stderr,
                stderr=stderr,
            )

    @property
    def is_running(self) -> bool:
        return self.process.poll() is None

    def kill(self) -> None:
        """SIGKILL, which must find it alive."""
        assert self.is_running, f"the worker had ended before it was killed:\n{self.tail()}"
        self.process.kill()
        self.process.wait()

    async def terminate(self) -> int:
        """SIGTERM; return the exit code."""
        self.process.send_signal(signal.SIGTERM)
        await until(lambda: not self.is_running, f"the worker to stop at SIGTERM\n{self.tail()}")
        return int(self.process.returncode)

    def tail(self) -> str:
        return self._log.read_text(errors="replace")[-6000:]

    def log(self) -> list[dict[str, Any]]:
        """Return the log's records. A line that is no JSON is noise, and fails here; a kill may cut the last."""
        whole, _, _ = self._log.read_text().rpartition("\n")
        return [json.loads(line) for line in whole.splitlines()]

    def events(self, name: str) -> list[dict[str, Any]]:
        return [record for record in self.log() if record["event"] == name]

    def has_begun(self) -> bool:
        """Whether the program runs, beyond Python's own start: from here on signals are its own."""
        caught = next(
            line.split()[1]
            for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
            if line.startswith("SigCgt")
        )
        return bool(int(caught, 16) >> (signal.SIGTERM - 1) & 1)

    def kill_solver(self) -> None:
        """SIGKILL the worker's solver process, where it has one."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text()
        for pid in map(int, children.split()):
            with suppress(FileNotFoundError, ProcessLookupError):
                if b"solver_process" in Path(f"/proc/{pid}/cmdline").read_bytes():
                    os.kill(pid, signal.SIGKILL)

    def owned(self) -> set[str]:
        """Return the partitions that the worker was given last, by its log."""
        said = [line for line in self._log.read_text().splitlines() if '"partitions_ready"' in line]
        return set(json.loads(said[-1])["partitions"]) if said else set()


@dataclass
class Feed:
    """Everything that was ever seen on some topics, read from the start and followed."""

    consumer: AIOKafkaConsumer
    records: dict[str, list[Any]] = field(default_factory=dict)

    async def follow(self) -> None:
        while True:
            for tp, found in (await self.consumer.getmany(timeout_ms=100)).items():
                self.records[tp.topic] += found

    def messages(self, topic: str) -> list[dict[str, Any]]:
        return [json.loads(record.value) for record in self.records[topic]]

    @property
    def plans(self) -> list[dict[str, Any]]:
        return self.messages(PLANS)

    @property
    def claims(self) -> int:
        return len(self.records[CLAIMS])

    def ledgers(self) -> dict[int, dict[str, Any]]:
        """Return the newest snapshot of each source partition: the one with the highest offset."""
        newest: dict[int, dict[str, Any]] = {}
        for snapshot in self.messages(DEMAND):
            known = newest.get(snapshot["partition"])
            if known is None or snapshot["next_offset"] >= known["next_offset"]:
                newest[snapshot["partition"]] = snapshot
        return newest

    def accounted(self) -> int:
        """Return how many source records are in the newest snapshots."""
        return sum(snapshot["next_offset"] for snapshot in self.ledgers().values())


class World:
    """A broker with its topics, a producer, a feed, and workers that come and go."""

    def __init__(self, bootstrap: str, folder: Path, partitions: int, **changes: Any) -> None:
        self.bootstrap = bootstrap
        self.partitions = partitions
        self._folder = folder
        self.settings = write_settings(folder, bootstrap, **changes)
        self.workers: list[WorkerProcess] = []
        self.now_s = T0
        self.sent: list[list[bytes]] = [[] for _ in range(partitions)]
        self.feed: Feed
        self.producer: AIOKafkaProducer

    @asynccontextmanager
    async def open(self) -> AsyncIterator[World]:
        self.producer = AIOKafkaProducer(
            bootstrap_servers=self.bootstrap, linger_ms=5, acks="all", enable_idempotence=True
        )
        consumer = AIOKafkaConsumer(bootstrap_servers=self.bootstrap, fetch_max_wait_ms=50)
        topics = (DEMAND, PLANS, CLAIMS, DEAD_LETTERS)
        self.feed = Feed(consumer, {topic: [] for topic in topics})
        await self.producer.start()
        await consumer.start()
        consumer.assign([TopicPartition(topic, 0) for topic in topics])
        await consumer.seek_to_beginning()
        following = asyncio.create_task(self.feed.follow())
        try:
            yield self
        finally:
            for worker in self.workers:
                if worker.is_running:
                    worker.process.kill()
                    worker.process.wait()
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)
            await consumer.stop()
            await self.producer.stop()

    def start_worker(self, program: Sequence[str] = ("controller",)) -> WorkerProcess:
        log = self._folder / f"worker-{len(self.workers)}.log"
        worker = WorkerProcess(self.settings, log, program=program)
        self.workers.append(worker)
        return worker

    async def start_planner(self) -> WorkerProcess:
        """Start a worker, and wait until it has claimed the planning."""
        before = self.feed.claims
        worker = self.start_worker()
        await until(lambda: self.feed.claims > before, "a claim", alive=[worker])
        return worker

    async def set_clock(self, now_s: float) -> None:
        self.now_s = max(self.now_s, now_s)
        tick = {"schema": "clock/1", "now": self.now_s, "speed": 1.0}
        await self.producer.send_and_wait(CLOCK, json.dumps(tick).encode(), partition=0)

    async def send(self, records: Iterable[tuple[int, bytes]]) -> None:
        """Send records to their partitions, and wait for the broker's word on each."""
        futures = []
        for partition, raw in records:
            self.sent[partition].append(raw)
            futures.append(await self.producer.send(SOURCE, raw, partition=partition))
        await asyncio.gather(*futures)

    @property
    def num_sent(self) -> int:
        return sum(map(len, self.sent))

    async def play(self, traffic: Traffic, count: int) -> None:
        """Send so many records of the traffic, the clock a step ahead of them."""
        records = traffic.take(count)
        await self.set_clock(T0 + traffic.reached_s)
        await self.send(records)

    async def all_but(self, records: int) -> None:
        """Wait until no more than so many records are still to be accounted for."""
        alive = [worker for worker in self.workers if worker.is_running]
        least = self.num_sent - records
        await until(
            lambda: self.feed.accounted() >= least, f"{least} records to be accounted for", alive=alive
        )

    async def read_source(self) -> list[list[bytes]]:
        """Read the whole source topic by a consumer of its own; what it holds must be what was acknowledged."""
        consumer = AIOKafkaConsumer(bootstrap_servers=self.bootstrap)
        await consumer.start()
        try:
            tps = [TopicPartition(SOURCE, number) for number in range(self.partitions)]
            consumer.assign(tps)
            await consumer.seek_to_beginning()
            ends = await consumer.end_offsets(tps)
            found: list[list[Any]] = [[] for _ in tps]
            async with asyncio.timeout(PATIENCE_S):
                while sum(map(len, found)) < sum(ends.values()):
                    for tp, records in (await consumer.getmany(timeout_ms=200)).items():
                        found[tp.partition] += records
        finally:
            await consumer.stop()
        for records in found:
            assert [record.offset for record in records] == list(range(len(records))), (
                "the broker lost records"
            )
        values = [[record.value for record in records] for records in found]
        assert [sorted(part) for part in values] == [sorted(part) for part in self.sent]
        return values


def event(at_s: float, query_type: str = "chat", **changes: Any) -> bytes:
    """Return an event ``at_s`` seconds after T0."""
    return json.dumps(
        {
            "schema": "request-rate/1",
            "query_type": query_type,
            "event_time": T0 + at_s,
            "count": 1,
            "input_tokens": 100,
            "output_tokens": 0,
            "source": "gateway",
        }
        | changes
    ).encode()


POISON = (
    b"{",
    b"\xff\xfe\x00",
    b"[1]",
    b'"chat"',
    event(0, query_type="poetry"),
    event(0, count=-1),
    event(0, count=True),
    event(0, event_time=T0 * 1000),
    event(0, event_time=T0 + 30 * 86_400),
    event(0, window_s=BUCKET_S * 2),
    event(0, surprise=1),
    event(0).replace(b'"count": 1', b'"count": NaN'),
    event(0).replace(b'"count": 1', b'"count": 1, "count": 2'),
)


class Traffic:
    """A seeded stream with everything in it: several types, disorder, late ones, repeats, heartbeats, poison."""

    def __init__(self, partitions: int, step_s: float = 0.1, seed: int = 7) -> None:
        self._partitions = partitions
        self._step_s = step_s
        self._random = random.Random(seed)
        self._number = 0
        self._named: list[tuple[int, bytes]] = []

    @property
    def reached_s(self) -> float:
        return self._number * self._step_s

    def take(self, count: int) -> list[tuple[int, bytes]]:
        return [self._one() for _ in range(count)]

    def _one(self) -> tuple[int, bytes]:
        dice, at_s = self._random, self.reached_s
        self._number += 1
        partition = dice.randrange(self._partitions)
        kind = dice.random()
        if kind < 0.02:
            return partition, dice.choice(POISON)
        if kind < 0.05 and self._named:
            return dice.choice(self._named[-40:])
        if kind < 0.08:
            return partition, event(max(0.0, at_s - 60.0))
        if kind < 0.12:
            return partition, event(at_s, dice.choice(TYPES), count=0, input_tokens=0)
        named = {"event_id": f"e{self._number}"} if kind < 0.4 else {}
        count = dice.randint(1, 4)
        made = event(
            max(0.0, at_s - dice.uniform(0, 8.0)),
            dice.choice(TYPES),
            count=count,
            input_tokens=100 * count,
            output_tokens=count,
            **named,
        )
        if named:
            self._named.append((partition, made))
        return partition, made


def iso(at_s: float) -> str:
    """Return the moment ``at_s`` seconds after T0 as plans write it."""
    return datetime.fromtimestamp(T0 + at_s, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
