"""A world of a campaign: a broker, its load, a router, workers that are killed, and the audit of what they said."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

from controller.broker import required_topics
from controller.broker.admin import create_topics
from controller.clock import ReplayClock
from controller.kafka import KafkaConnection
from controller.kill_points import VARIABLE
from controller.router import PlanSubscriber
from controller.stream.tables import table_partitions
from schemas import AllocationPlan
from tests.faults.audit import Audit
from tests.faults.broker import FaultBroker
from tests.faults.load import Load
from tests.faults.proxy import Proxy
from tests.faults.trial import Outcome
from tests.faults.watch import Watch
from tests.worker_harness import WorkerProcess, until, write_settings

PARTITIONS = 4
SESSION_TIMEOUT_S = 3.0
_MARK = "FAULTS_WORLD"
_APP = "test"
_LOOK_S = 0.15


class FaultWorld:
    """One broker with everything around it. Trials follow on one another in it, as long as each holds.

    Parameters
    ----------
    folder : of the broker's and the workers' files.
    seed : of the load.
    is_proxied : whether workers reach the broker through the proxy.
    one_planner : see :class:`tests.faults.audit.Audit`.
    program : what workers are started through.

    ``notes`` are what trials leave for those that follow in the same world.
    """

    def __init__(
        self,
        jars: Path,
        folder: Path,
        seed: int,
        *,
        is_proxied: bool = False,
        one_planner: bool = True,
        program: Sequence[str] = ("controller",),
        commit_interval_s: float = 1.0,
    ) -> None:
        self._commit_interval_s = commit_interval_s
        self._jars, self._folder, self._seed = jars, folder, seed
        self._is_proxied, self._one_planner = is_proxied, one_planner
        self._program = program
        self.proxy = Proxy()
        self.workers: list[WorkerProcess] = []
        self.applied: list[tuple[int, int]] = []
        self.notes: dict[str, float] = {}
        self._started = 0
        self._audited_applied = 0
        self.broker: FaultBroker
        self.load: Load
        self.watch: Watch
        self.audit: Audit
        self.router: PlanSubscriber

    @asynccontextmanager
    async def open(self) -> AsyncIterator[FaultWorld]:
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(self.proxy)
            self.broker = FaultBroker(self._jars, self._folder, self.proxy.port)
            stack.callback(self.broker.kill)
            await asyncio.to_thread(self.broker.start)
            self.proxy.upstream = self.broker.port_behind
            servers = self.broker.direct_servers
            connection = KafkaConnection(servers)
            topics = required_topics(PARTITIONS, _APP, table_partitions(PARTITIONS))
            await create_topics(connection, topics, replication_factor=1)
            self.settings = write_settings(
                self._folder,
                self.broker.proxied_servers if self._is_proxied else servers,
                kafka={
                    "session_timeout_s": SESSION_TIMEOUT_S,
                    "heartbeat_interval_s": 0.5,
                    "commit_interval_s": self._commit_interval_s,
                },
                ingest={"snapshot_interval_s": 0.1},
            )
            self.load = Load(servers, PARTITIONS, self._seed)
            self.audit = Audit(servers, PARTITIONS, one_planner=self._one_planner)
            self.watch = Watch(servers, self.audit.take_letter)
            await self.load.start()
            stack.push_async_callback(self.load.stop)
            following = asyncio.create_task(self.watch.follow())
            stack.push_async_callback(_end, following)
            self.router = PlanSubscriber(
                connection,
                "faults",
                "main",
                self._folder / "router",
                clock=ReplayClock(0.0),
                on_plan=self._note_applied,
                poll_s=0.05,
            )
            await stack.enter_async_context(self.router)
            stack.callback(self._kill_all)
            yield self

    def _note_applied(self, plan: AllocationPlan) -> None:
        self.applied.append((plan.epoch, plan.sequence))

    def _kill_all(self) -> None:
        for worker in self.workers:
            if worker.is_running:
                worker.process.kill()
                worker.process.wait()

    def start_worker(self, armed: str | None = None) -> WorkerProcess:
        """Start a worker; ``armed`` at a kill point, as :mod:`controller.kill_points` takes it."""
        environment = {_MARK: str(self._folder)} | ({} if armed is None else {VARIABLE: armed})
        log = self._folder / f"worker-{self._started}.log"
        worker = WorkerProcess(self.settings, log, environment, self._program)
        self._started += 1
        self.workers.append(worker)
        return worker

    @property
    def running(self) -> list[WorkerProcess]:
        return [worker for worker in self.workers if worker.is_running]

    async def gather(self, workers: int) -> list[WorkerProcess]:
        """See to it that so many workers run and share all partitions, with everything counted; return them."""
        while len(self.running) > workers:
            await self.dismiss(self.running[-1])
        while len(self.running) < workers:
            self.start_worker()
        await self.shared(self.running)
        await self.settle()
        return self.running

    async def dismiss(self, worker: WorkerProcess) -> None:
        """SIGTERM a worker, which must end well."""
        code = await worker.terminate()
        assert code == 0, f"a worker that was told to stop ended with {code}:\n{worker.tail()}"

    async def shared(self, workers: Iterable[WorkerProcess]) -> None:
        """Wait until these workers own all partitions between them, each one once, and none of them nothing."""
        some = list(workers)

        def is_so() -> bool:
            owned = [worker.owned() for worker in some]
            return all(owned) and sum(map(len, owned)) == len(set().union(*owned)) == PARTITIONS + 1

        await until(seldom(is_so), "the partitions to be shared", alive=some)

    async def settle(self, *, must_live: bool = True) -> float:
        """Wait until everything that was sent is counted; return the moment, of the loop's clock.

        ``must_live``: a worker that ends meanwhile fails the trial at once.
        """
        await until(
            lambda: self.watch.accounted() >= self.load.num_sent,
            "everything to be counted",
            alive=self.running if must_live else [],
        )
        return time.monotonic()

    async def check(self, outcome: Outcome) -> None:
        """Audit the world; what is found goes into the outcome."""
        await self.watch.catch_up()
        plans = len(self.watch.plans)
        await until(
            lambda: sum(self.router.counts.values()) >= plans or not self.router.is_connected,
            "the router to have seen every plan",
        )
        await self.audit.run(self.load.sent, self.watch, outcome)
        applied = self.applied[max(0, self._audited_applied - 1) :]
        self._audited_applied = len(self.applied)
        outcome.stale_applied += sum(later <= earlier for earlier, later in pairwise(applied))
        outcome.wrong += [f"a solver outlived its worker: {pid}" for pid in await self._orphans()]

    def in_flight(self) -> int:
        """Return how many records were acknowledged and are in no snapshot yet."""
        return self.load.num_sent - self.watch.accounted()

    async def planner(self) -> WorkerProcess:
        """Return the worker that plans, by its own log and the newest claim; wait for it where it is about to."""
        found: dict[int, WorkerProcess] = {}

        def is_known() -> bool:
            for worker in self.running:
                found.update((event["epoch"], worker) for event in worker.events("planner_took_over"))
            return self.watch.claims - 1 in found

        await until(seldom(is_known), "the planner's claim", alive=self.running)
        return found[self.watch.claims - 1]

    async def _orphans(self) -> list[int]:
        """Return solver processes of this world whose worker is no more; the kernel is given a moment."""
        found: list[int] = []
        for _ in range(20):
            found = [pid for pid, parent in _solvers(self._folder) if parent not in self._pids()]
            if not found:
                break
            await asyncio.sleep(0.05)
        return found

    def _pids(self) -> set[int]:
        return {worker.process.pid for worker in self.running}


def _solvers(folder: Path) -> list[tuple[int, int]]:
    """Return the solver processes that a world started, each with its parent."""
    mark, found = f"{_MARK}={folder}".encode(), []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            with suppress(OSError):
                if (
                    mark in (entry / "environ").read_bytes()
                    and b"solver_process" in (entry / "cmdline").read_bytes()
                ):
                    parent = (entry / "stat").read_text().rpartition(")")[2].split()[1]
                    found.append((int(entry.name), int(parent)))
    return found


async def _end(task: asyncio.Task[Any]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def seldom(condition: Callable[[], bool]) -> Callable[[], bool]:
    """Return a condition that is looked at now and then only: for those that read a worker's whole log."""
    due_s = 0.0

    def looked_at() -> bool:
        nonlocal due_s
        if time.monotonic() < due_s:
            return False
        found = condition()
        due_s = time.monotonic() + _LOOK_S
        return found

    return looked_at


def send(worker: WorkerProcess, number: signal.Signals) -> None:
    os.kill(worker.process.pid, number)


def phase(worker: WorkerProcess) -> str:
    """Say how far a worker came, by its log."""
    if not worker.has_begun():
        return "importing"
    if not worker.events("partitions_ready"):
        return "joining"
    return "planning" if worker.events("planner_took_over") else "counting"


def reached(worker: WorkerProcess) -> str | None:
    """Return the kill point that a worker reached, by its log."""
    events = worker.events("kill_point_reached")
    return str(events[0]["point"]) if events else None
