"""The worker's own turn in ``make bench-stream``: a real process, timed by what it says on its topics."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition

from tests.benchmarks.stream_contenders import BUCKET_S, PARTITIONS, SOURCE, peak_mb
from tests.worker_harness import DEMAND, PLANS, WorkerProcess, until, write_settings

ROOT = Path(__file__).parents[2]
_LOOKS = 20
"""At the worker's memory, evenly over the records."""
_SETTLE_S = 4.0
_PATIENCE_S = 300.0
_TICK_S = 1.0 / os.sysconf("SC_CLK_TCK")
"""The grain of a process's CPU time."""
_LEAST_PER_S = 5000.0
"""Records that even a busy machine counts."""


async def count_all(bootstrap: str, folder: Path, records: int) -> dict[str, Any]:
    """Let a worker count the whole topic; time runs from when it has its partitions."""
    horizon = {"length_s": 300.0, "bucket_s": BUCKET_S, "allowed_lateness_s": 30.0}
    async with _worker(bootstrap, folder, horizon=horizon) as (worker, consumer):
        await until(lambda: len(worker.owned()) > PARTITIONS, "partitions", alive=[worker])
        cpu_s = worker_cpu_s(worker)
        (ready,) = worker.events("partitions_ready")[-1:]
        counted: dict[int, int] = {}
        resident_mb: list[tuple[int, float]] = []
        finished_s, patience_s = 0.0, max(_PATIENCE_S, records / _LEAST_PER_S)
        deadline = time.monotonic() + patience_s
        while sum(counted.values()) < records:
            for found in (await consumer.getmany(timeout_ms=200)).values():
                for record in (record for record in found if record.topic == DEMAND):
                    snapshot = json.loads(record.value)
                    counted[snapshot["partition"]] = snapshot["counted"]
                    finished_s = record.timestamp / 1000.0
            done = sum(counted.values())
            if done * _LOOKS >= (len(resident_mb) + 1) * records:
                resident_mb.append((done, _resident_mb(worker)))
            assert worker.is_running, worker.tail()
            assert time.monotonic() < deadline, f"{counted} of {records} after {patience_s:g} s"
        cpu_s = max(worker_cpu_s(worker) - cpu_s, _TICK_S)  # a few records are counted in less than that
        await _until_committed(bootstrap, records)
        return {
            "records": records,
            "seconds": finished_s - datetime.fromisoformat(ready["timestamp"]).timestamp(),
            "cpu_s": cpu_s,
            "peak_mb": peak_mb(worker.process.pid),
            "resident_mb": resident_mb,
        }


async def plan_under_load(
    bootstrap: str, folder: Path, events_per_s: float, seconds: float
) -> dict[str, Any]:
    """Time plans of two-second horizons while events come in as they happen.

    A horizon is closed when its end has passed: events are not late here. What the solver took is taken off. How far
    counting is behind when the last event is acknowledged tells whether the worker keeps up.
    """
    horizon = {"length_s": 2.0, "bucket_s": 1.0, "allowed_lateness_s": 0.0}
    async with _worker(bootstrap, folder, horizon=horizon, solver={"deadline_s": 1.0}) as (worker, consumer):
        await until(lambda: len(worker.owned()) > PARTITIONS, "partitions", alive=[worker])
        command = [
            sys.executable,
            "-m",
            "tests.benchmarks.stream_load",
            bootstrap,
            str(events_per_s),
            str(seconds),
        ]
        load = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
        started = time.time()
        plans: list[tuple[float, dict[str, Any]]] = []
        snapshots: dict[bytes, bytes] = {}
        while load.poll() is None:
            for found in (await consumer.getmany(timeout_ms=200)).values():
                plans += [(r.timestamp / 1000.0, json.loads(r.value)) for r in found if r.topic == PLANS]
                snapshots.update((r.key, r.value) for r in found if r.topic == DEMAND)
            assert worker.is_running, worker.tail()
        assert load.stdout is not None
        said = json.loads(load.stdout.read())
    counted = sum(json.loads(snapshot)["next_offset"] for snapshot in snapshots.values())
    judged = [
        (out_s, plan)
        for out_s, plan in plans
        if plan["decision"]["name"] in ("planned", "kept") and out_s > started + _SETTLE_S
    ]
    return {
        "asked_per_s": events_per_s,
        "events_per_s": said["events_per_s"],
        "behind_s": (said["events"] - counted) / said["events_per_s"],
        "decisions": [plan["decision"]["name"] for _, plan in plans],
        "beyond_solver_ms": [
            1000.0
            * (
                out_s
                - datetime.fromisoformat(plan["horizon_start"]).timestamp()
                - plan["solver"]["runtime_s"]
            )
            for out_s, plan in judged
        ],
    }


@asynccontextmanager
async def _worker(
    bootstrap: str, folder: Path, **settings: Any
) -> AsyncIterator[tuple[WorkerProcess, AIOKafkaConsumer]]:
    path = write_settings(folder, bootstrap, clock="wall", ingest={"snapshot_interval_s": 0.2}, **settings)
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, fetch_max_wait_ms=50)
    await consumer.start()
    consumer.assign([TopicPartition(topic, 0) for topic in (DEMAND, PLANS)])
    await consumer.seek_to_beginning()
    worker = WorkerProcess(path, folder / "worker.log")
    try:
        yield worker, consumer
        code = await worker.terminate()
        assert code == 0, worker.tail()
    finally:
        if worker.is_running:
            worker.kill()
        await consumer.stop()


async def _until_committed(bootstrap: str, records: int) -> None:
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, group_id="test", enable_auto_commit=False)
    await consumer.start()
    try:
        async with asyncio.timeout(30.0):
            tps = [TopicPartition(SOURCE, number) for number in range(PARTITIONS)]
            while sum([await consumer.committed(tp) or 0 for tp in tps]) < records:
                await asyncio.sleep(0.1)
    finally:
        await consumer.stop()


def worker_cpu_s(worker: WorkerProcess) -> float:
    """Return the CPU time that the worker's own process has taken, s."""
    fields = Path(f"/proc/{worker.process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) * _TICK_S


def _resident_mb(worker: WorkerProcess) -> float:
    pages = int(Path(f"/proc/{worker.process.pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1024**2
