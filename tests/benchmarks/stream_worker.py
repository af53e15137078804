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
_EARLY = 0.2
"""Of the records, after which a worker's memory is to stay as it is."""
_SETTLE_S = 4.0
_PATIENCE_S = 300.0


async def count_all(bootstrap: str, folder: Path, records: int) -> dict[str, Any]:
    """Let a worker count the whole topic; time runs from when it has its partitions."""
    horizon = {"length_s": 300.0, "bucket_s": BUCKET_S, "allowed_lateness_s": 30.0}
    async with _worker(bootstrap, folder, horizon=horizon) as (worker, consumer):
        await until(lambda: len(worker.owned()) > PARTITIONS, "partitions", alive=[worker])
        cpu_s = worker_cpu_s(worker)
        (ready,) = worker.events("partitions_ready")[-1:]
        counted: dict[int, int] = {}
        early_mb, finished_s = 0.0, 0.0
        deadline = time.monotonic() + _PATIENCE_S
        while sum(counted.values()) < records:
            for found in (await consumer.getmany(timeout_ms=200)).values():
                for record in (record for record in found if record.topic == DEMAND):
                    snapshot = json.loads(record.value)
                    counted[snapshot["partition"]] = snapshot["counted"]
                    finished_s = record.timestamp / 1000.0
            if not early_mb and sum(counted.values()) >= _EARLY * records:
                early_mb = _resident_mb(worker)
            assert worker.is_running, worker.tail()
            assert time.monotonic() < deadline, f"{counted} of {records} after {_PATIENCE_S:g} s"
        cpu_s = worker_cpu_s(worker) - cpu_s
        late_mb = _resident_mb(worker)
        await _until_committed(bootstrap, records)
        return {
            "records": records,
            "seconds": finished_s - datetime.fromisoformat(ready["timestamp"]).timestamp(),
            "cpu_s": cpu_s,
            "peak_mb": peak_mb(worker.process.pid),
            "rss_mb_early": early_mb,
            "rss_mb_late": late_mb,
        }


async def plan_under_load(
    bootstrap: str, folder: Path, events_per_s: float, seconds: float
) -> dict[str, Any]:
    """Time plans of two-second horizons while events come in as they happen.

    A horizon is closed when its end has passed: events are not late here. What the solver took is taken off.
    """
    horizon = {"length_s": 2.0, "bucket_s": 1.0, "allowed_lateness_s": 0.0}
    async with _worker(bootstrap, folder, horizon=horizon) as (worker, consumer):
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
        while load.poll() is None:
            for found in (await consumer.getmany(timeout_ms=200)).values():
                plans += [(r.timestamp / 1000.0, json.loads(r.value)) for r in found if r.topic == PLANS]
            assert worker.is_running, worker.tail()
        assert load.stdout is not None
        said = json.loads(load.stdout.read())
    judged = [
        (out_s, plan)
        for out_s, plan in plans
        if plan["decision"]["name"] in ("planned", "kept") and out_s > started + _SETTLE_S
    ]
    return {
        "events_per_s": said["events_per_s"],
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
    return (int(fields[11]) + int(fields[12])) / 100.0


def _resident_mb(worker: WorkerProcess) -> float:
    pages = int(Path(f"/proc/{worker.process.pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1024**2
