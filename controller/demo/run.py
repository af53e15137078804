"""Runs the demo: broker, worker, router and replayer in one process tree, which ends by itself."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from importlib import resources
from pathlib import Path
from typing import Any, TypeVar

import yaml

from controller.broker import EmbeddedBroker, topics_for_worker
from controller.clock import ReplayClock
from controller.demo.observer import observe
from controller.demo.scenario import Scenario
from controller.demo.screen import Screen
from controller.demo.summary import DemoSummary, Tally
from controller.domain.catalog import Catalog, read_catalog
from controller.errors import BrokerError, CatalogError, CoxswainError
from controller.kafka import KafkaConnection
from controller.router import PlanSubscriber
from controller.settings import Settings
from controller.stream.tables import table_partitions
from controller.yaml_file import load_yaml
from replay.replayer import Progress, Replayer
from schemas.topics import DEFAULT_SOURCE_PARTITIONS

T = TypeVar("T")

_START_TIMEOUT_S = 60.0
_END_TIMEOUT_S = 45.0
_STOP_TIMEOUT_S = 15.0
_APP_ID = "coxswain-demo"
_SOLVE_LIMIT_S = 0.1
_POLL_S = 0.05
_RECORDS_IN_FLIGHT = 4000
_LONGEST_HOLD_POLLS = 200


async def run_demo(scenario: Scenario, screen: Screen, keep_logs: Path | None = None) -> DemoSummary:
    """Play a scenario from start to end; return what it came to.

    Parameters
    ----------
    screen : is shown what happens.
    keep_logs : a folder for the worker's log; by default it goes with the demo.

    Raises
    ------
    CoxswainError : a part did not start, ended early, or fell silent.
    """
    started = time.monotonic()
    topics = topics_for_worker(
        _APP_ID, DEFAULT_SOURCE_PARTITIONS, table_partitions(DEFAULT_SOURCE_PARTITIONS)
    )
    with tempfile.TemporaryDirectory(prefix="coxswain-demo-") as scratch, EmbeddedBroker(topics) as broker:
        folder = Path(scratch)
        catalog_file = resources.files("controller.demo") / "catalog.yaml"
        with resources.as_file(catalog_file) as path:
            catalog = read_catalog(load_yaml(path, CatalogError))
            settings_file = _write_settings(folder, path, scenario)
            connection = KafkaConnection(broker.bootstrap_servers, client_id="coxswain-demo")
            tally = Tally(catalog)
            log_file = (keep_logs or folder) / "worker.log"
            watching = asyncio.create_task(observe(connection, tally))
            try:
                async with (
                    _subscriber(connection, catalog, folder) as (subscriber, clock),
                    _worker(settings_file, connection, log_file) as worker,
                ):
                    screen.starting(scenario, broker.bootstrap_servers)
                    await _until(lambda: tally.claims > 0, worker, "the worker to be ready", _START_TIMEOUT_S)

                    sent = 0

                    def on_progress(progress: Progress) -> None:
                        nonlocal sent
                        sent = progress.sent
                        clock.advance(progress.time_s)
                        screen.show(progress, tally)

                    async def hold() -> None:
                        """Wait for the worker: on a busy machine the demo takes longer, and shows the same."""
                        for _ in range(_LONGEST_HOLD_POLLS):
                            if sent - tally.read < _RECORDS_IN_FLIGHT:
                                return
                            await asyncio.sleep(_POLL_S)

                    replayer = Replayer(
                        connection.bootstrap_servers,
                        speed=scenario.speed,
                        heartbeat_s=scenario.heartbeat_s,
                        query_types=catalog.type_names,
                        drain_s=scenario.drain_s,
                        on_progress=on_progress,
                        hold=hold,
                    )
                    report = await _unless_it_ends(worker, replayer.run(scenario.requests))

                    def is_done() -> bool:
                        newest = tally.newest_plan
                        return (
                            tally.accounted >= report.sent
                            and newest is not None
                            and newest.horizon_start >= scenario.last_horizon_start_s
                            and subscriber.counts.get("applied", 0) >= len(tally.plans)
                        )

                    with contextlib.suppress(TimeoutError):  # the summary tells what is missing
                        await _until(is_done, worker, None, _END_TIMEOUT_S)
                    applied = subscriber.counts.get("applied", 0)
            finally:
                watching.cancel()
                await asyncio.gather(watching, return_exceptions=True)
                screen.close()
    return tally.summary(scenario.name, report.sent, applied, time.monotonic() - started)


def _write_settings(folder: Path, catalog: Path, scenario: Scenario) -> Path:
    written: dict[str, Any] = {
        "app_id": _APP_ID,
        "catalog": str(catalog),
        "clock": "replay",
        "data_dir": str(folder / "faust"),
        "log_format": "json",
        "horizon": {
            "length_s": scenario.horizon_s,
            "bucket_s": scenario.bucket_s,
            "allowed_lateness_s": scenario.allowed_lateness_s,
            "idle_timeout_s": scenario.idle_timeout_s,
            "validity_horizons": scenario.validity_horizons,
        },
        "ingest": {"snapshot_interval_s": 0.05},
        "solver": {"time_limit_s": _SOLVE_LIMIT_S},
    }
    Settings(**written)  # what the worker would refuse is our mistake, and is told of here
    path = folder / "worker.yaml"
    path.write_text(yaml.safe_dump(written))
    return path


@contextlib.asynccontextmanager
async def _subscriber(
    connection: KafkaConnection, catalog: Catalog, folder: Path
) -> AsyncIterator[tuple[PlanSubscriber, ReplayClock]]:
    clock = ReplayClock()
    async with PlanSubscriber(
        connection, "demo", catalog.fleet, folder / "router", clock=clock, poll_s=0.1
    ) as subscriber:
        yield subscriber, clock


@contextlib.asynccontextmanager
async def _worker(
    settings: Path, connection: KafkaConnection, log_file: Path
) -> AsyncIterator[asyncio.subprocess.Process]:
    command = [sys.executable, "-m", "controller", "worker", "--config", str(settings)]
    with log_file.open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            *command,
            "--bootstrap",
            connection.bootstrap_servers,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        try:
            yield process
        except _WorkerEndedError as ended:
            tail = log_file.read_text(errors="replace")[-2000:]
            raise CoxswainError(f"{ended}; the end of its log:\n{tail}") from None
        finally:
            if process.returncode is None:
                process.terminate()
                try:
                    async with asyncio.timeout(_STOP_TIMEOUT_S):
                        await process.wait()
                except TimeoutError:
                    os.killpg(process.pid, signal.SIGKILL)
                    await process.wait()


class _WorkerEndedError(CoxswainError):
    """The worker's process ended before the demo did."""


async def _until(
    condition: Callable[[], bool], worker: asyncio.subprocess.Process, what: str | None, timeout_s: float
) -> None:
    try:
        async with asyncio.timeout(timeout_s):
            while not condition():
                if worker.returncode is not None:
                    raise _WorkerEndedError(f"the worker ended with exit code {worker.returncode}")
                await asyncio.sleep(_POLL_S)
    except TimeoutError:
        if what is None:
            raise
        raise BrokerError(f"waited {timeout_s:g} s for {what}") from None


async def _unless_it_ends(worker: asyncio.subprocess.Process, work: Coroutine[Any, Any, T]) -> T:
    """Do the work; where the worker ends first, stop and say so."""
    working = asyncio.create_task(work)
    ended = asyncio.create_task(worker.wait())
    try:
        await asyncio.wait({working, ended}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise _WorkerEndedError(f"the worker ended with exit code {worker.returncode}")
        return working.result()
    finally:
        for task in (working, ended):
            task.cancel()
        await asyncio.gather(working, ended, return_exceptions=True)
