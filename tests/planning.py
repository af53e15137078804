"""The planner's shell at work, with a broker and a solver that do as they are told."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from aiokafka.errors import KafkaError

from controller.clock import ReplayClock
from controller.domain.catalog import read_catalog
from controller.domain.entities import DeploymentKey
from controller.domain.plan import Deployment, Plan, Route
from controller.errors import BrokerError, WorkerError
from controller.kafka import KafkaConnection
from controller.records import SolverAnswer
from controller.settings import Settings
from controller.stream import planner as module
from controller.stream.fleet_news import FleetNews
from controller.stream.planner import Planner
from controller.stream.transport import Chunk
from schemas import AllocationPlan
from tests.small_catalog import small_catalog

T = 1_772_582_400.0
HORIZON = {
    "length_s": 60.0,
    "bucket_s": 10.0,
    "allowed_lateness_s": 10.0,
    "idle_timeout_s": 30.0,
    "max_skew_s": 20.0,
}
SETTINGS = Settings.model_validate({"horizon": HORIZON})
CATALOG = read_catalog(small_catalog())
PATIENCE_S = 20.0


class Broker:
    """Takes claims and plans, and refuses as many sends, and answers about claims, as it is told to."""

    def __init__(self) -> None:
        self.claims = 0
        self.plans: list[AllocationPlan] = []
        self.attempts: list[bytes] = []
        self.refusals = 0
        self.refusals_to_look = 0

    async def start(self) -> None: ...

    async def stop(self) -> None: ...

    async def send_and_wait(self, topic: str, value: bytes, **_: Any) -> Any:
        class Sent:
            offset = self.claims

        if topic == "llm.planner-claims.v1":
            self.claims += 1
            return Sent
        self.attempts.append(value)
        if self.refusals:
            self.refusals -= 1
            raise KafkaError("no answer")
        self.plans.append(AllocationPlan.model_validate_json(value))
        return Sent

    async def newest(self, _: KafkaConnection, __: str) -> AllocationPlan | None:
        return max(self.plans, key=lambda plan: (plan.epoch, plan.sequence), default=None)


class Claims:
    """What the broker says of claims."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker

    async def start(self) -> None: ...

    async def stop(self) -> None: ...

    async def newest(self) -> int:
        if self._broker.refusals_to_look:
            self._broker.refusals_to_look -= 1
            raise BrokerError("no answer")
        return self._broker.claims - 1


class Solver:
    """Answers two replicas to everything, once it may."""

    def __init__(self) -> None:
        self.asked = 0
        self.may_answer = asyncio.Event()
        self.may_answer.set()

    async def start(self) -> None: ...

    async def stop(self) -> None: ...

    async def solve(self, _: Any) -> SolverAnswer:
        self.asked += 1
        await self.may_answer.wait()
        key = DeploymentKey("m", "gpu", 1, 1)
        found = Plan((Deployment(key, 2, key.id),), (Route("chat", key.id, 1.0),))
        return SolverAnswer("feasible", "stub", 0.01, found, 0.0)


class Memory:
    def load(self) -> list[dict[str, Any]]:
        return []

    def store(self, parts: list[dict[str, Any]]) -> None:
        json.dumps(parts)


class Planning:
    def __init__(self, partitions: int, monkeypatch: pytest.MonkeyPatch) -> None:
        self.broker, self.solver = Broker(), Solver()
        monkeypatch.setattr(module, "Claims", lambda *_: Claims(self.broker))
        self.clock = ReplayClock(T)
        self.partitions = partitions
        self.news = FleetNews(CATALOG, validity_s=120.0, max_skew_s=20.0)
        self.written = 0
        self.task: asyncio.Task[None] | None = None
        self.planner: Planner = self.new_planner()

    def new_planner(self) -> Planner:
        return Planner(
            SETTINGS,
            self.news,
            self.clock,
            KafkaConnection("nowhere:1"),
            self.partitions,
            Memory(),  # type: ignore[arg-type]
            self.solver,  # type: ignore[arg-type]
        )

    def tell(self, watermark_s: float, partition: int = 0, **changes: Any) -> None:
        """Hand over a snapshot with ten requests in each ten seconds up to a moment after T."""
        buckets = range(0, max(10, int(watermark_s) + 10), 10)
        totals = {"chat": {"events": 1, "count": 10, "input_tokens": 1000, "output_tokens": 0}}
        snapshot = {
            "schema": "demand/1",
            "partition": partition,
            "next_offset": len(buckets),
            "watermark": T + watermark_s,
            "since": T,
            "as_of": T + watermark_s,
            "at_end": False,
            "bucket_s": 10.0,
            "buckets": [{"start": T + start, "totals": totals} for start in buckets],
            "counted": len(buckets),
            "late": 0,
            "refused": 0,
            "duplicates": 0,
            "skipped": 0,
        } | changes
        key, raw = str(partition).encode(), json.dumps(snapshot).encode()
        self.planner.take(Chunk([self.written], [key], [raw], offsets_left=0))
        self.written += 1

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while not condition():
                await asyncio.sleep(0)

    async def until_in_mid_solve(self) -> None:
        """Take planning over and close a horizon; the solver does not answer until it may."""
        self.planner.own(0)
        self.solver.may_answer.clear()
        self.clock.advance(T + 75)
        self.tell(60)
        await self.until(lambda: self.solver.asked == 1)

    async def plans(self, number: int) -> list[AllocationPlan]:
        await self.until(lambda: len(self.broker.plans) >= number)
        await self.settle()
        return self.broker.plans

    async def settle(self) -> None:
        """Let the planner look around many times more."""
        for _ in range(200):
            await asyncio.sleep(0)


@contextlib.asynccontextmanager
async def running(partitions: int, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Planning]:
    """A planner at work."""
    made = Planning(partitions, monkeypatch)
    monkeypatch.setattr(module, "AIOKafkaProducer", lambda **_: made.broker)
    monkeypatch.setattr(module, "newest_plan", made.broker.newest)
    monkeypatch.setattr(module, "_POLL_S", 0)
    monkeypatch.setattr(module, "_RETRY_S", 0)
    made.task = asyncio.create_task(made.planner.run())
    yield made
    made.task.cancel()
    with contextlib.suppress(asyncio.CancelledError, WorkerError):
        await made.task
