"""The worker's planner and the offline simulator give the same plans on the same trace, to the last bit.

The planner is the worker's own, over a broker that is told what to say, and its solver answers as the solver process
does: from JSON to JSON. Offline the same buckets go straight through the same tick.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from controller.clock import ReplayClock
from controller.demand.counting import PartitionLedger, Totals
from controller.domain.catalog import read_catalog
from controller.kafka import KafkaConnection
from controller.optimizer.memory import SolverMemory
from controller.records import SolverAnswer, SolveRequest, SolverFailure
from controller.settings import Settings, horizon_policy
from controller.simulate.offline import BucketCounts, Offline, deterministic
from controller.stream import planner as module
from controller.stream.codec import plan_message
from controller.stream.fleet_news import FleetNews
from controller.stream.ingest import windowing_of
from controller.stream.planner import Planner
from controller.stream.snapshot_bytes import SnapshotWriter
from controller.stream.solver import read_answer, write_question
from controller.stream.solver_process import answer
from controller.stream.transport import Chunk
from schemas import AllocationPlan
from tests.planning import HORIZON

T = 1_772_582_400.0
PATIENCE_S = 60.0
TYPES = ("chat", "code")
CATALOG = read_catalog(
    {
        "schema": "catalog/1",
        "fleet": "main",
        "switching": {"start_s": 20.0, "load_gb_per_s": 2.0},
        "query_types": [
            {"name": name, "delay_slo_s": 10.0, "error_slo": 0.5, "unmet_penalty_usd": 0.01} for name in TYPES
        ],
        "models": [
            {
                "name": model,
                "params_b": size,
                "weights_gb": 2 * size,
                "base_error": {"chat": 0.1, "code": error},
            }
            for model, size, error in (("small", 0.5, 0.3), ("large", 2.0, 0.1))
        ],
        "gpu_tiers": [
            {
                "name": tier,
                "memory_gb": 80.0,
                "memory_bandwidth_gb_s": 1000.0,
                "compute_tflops": speed,
                "price_usd_per_h": price,
                "tp_degrees": [1, 2],
                "pp_depths": [1],
            }
            for tier, speed, price in (("old", 2.0, 1.0), ("new", 8.0, 3.6))
        ],
    }
)

Learned = list[SolverMemory | None]


def settings(headroom: str) -> Settings:
    return Settings.model_validate(
        {
            "horizon": HORIZON,
            "solver": {"iterations": 2, "seed": 3},
            "demand": {"headroom": headroom, "surge_cooldown_s": 20.0},
        }
    )


def trace() -> list[BucketCounts]:
    """Return half an hour: two types that wander, one of them surging in mid-horizon and idle at the end."""
    rng = np.random.default_rng(11)
    rates = 300 * np.exp(np.cumsum(rng.normal(0, 0.08, (180, 2)), axis=0))
    rates[92:120, 1] *= 6
    rates[150:, 0] = 0
    counts = rng.poisson(rates)
    return [
        BucketCounts(
            T + 10.0 * at,
            {
                name: Totals(1, int(count), int(count) * (90 + at % 20), int(count) * (10 + at % 5))
                for name, count in zip(TYPES, row, strict=True)
            },
        )
        for at, row in enumerate(counts)
    ]


class Claims:
    """The one claim there is."""

    async def start(self) -> None: ...

    async def stop(self) -> None: ...

    async def newest(self) -> int:
        return 0


class World:
    """A broker that keeps the plans, a memory that keeps JSON, and the solver process's own answers."""

    settings: Settings

    def __init__(self) -> None:
        self.plans: list[AllocationPlan] = []
        self.stored: list[dict[str, Any]] = []
        self.learned: Learned = []

    async def start(self) -> None: ...

    async def stop(self) -> None: ...

    async def send_and_wait(self, topic: str, value: bytes, **_: Any) -> Any:
        class Sent:
            offset = 0

        if topic == "llm.plans.v1":
            self.plans.append(AllocationPlan.model_validate_json(value))
        return Sent

    async def newest(self, *_: Any) -> AllocationPlan | None:
        return max(self.plans, key=lambda plan: (plan.epoch, plan.sequence), default=None)

    async def solve(self, request: SolveRequest) -> SolverAnswer:
        self.learned.append(request.memory)
        question = write_question(request, self.settings.solver)
        return read_answer(json.loads(json.dumps(answer(json.loads(json.dumps(question))))))

    def load(self) -> list[dict[str, Any]]:
        return self.stored

    def store(self, parts: list[dict[str, Any]]) -> None:
        self.stored = json.loads(json.dumps(parts))


async def live(world: World, chosen: Settings, *, restart_at: int | None = None) -> list[AllocationPlan]:
    """Let the worker's planner see the ledger after each bucket; optionally, let another take over in the middle."""
    world.settings = chosen
    clock = ReplayClock(T)
    ledger = PartitionLedger(windowing_of(chosen), 0)

    def new_planner() -> Planner:
        news = FleetNews(CATALOG, validity_s=120.0, max_skew_s=20.0)
        made = Planner(chosen, news, clock, KafkaConnection("nowhere:1"), 1, world, world)  # type: ignore[arg-type]
        made.own(0)
        return made

    planner, told = new_planner(), 0
    task = asyncio.create_task(planner.run())
    try:
        for at, bucket in enumerate(trace()):
            ledger.add(
                (name, bucket.start_s, totals.count, totals.input_tokens, totals.output_tokens)
                for name, totals in bucket.totals.items()
            )
            now_s = bucket.start_s + 10.0
            ledger.advance(2 * (at + 1), now_s)
            clock.advance(now_s)
            raw = SnapshotWriter(ledger).write(is_at_end=False)
            planner.take(Chunk([told], [b"0"], [raw], offsets_left=0))
            told += 1
            if at == restart_at:
                await quiet(world)
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await task
                planner = new_planner()
                planner.take(Chunk([told], [b"0"], [raw], offsets_left=0))
                told += 1
                task = asyncio.create_task(planner.run())
            await quiet(world)
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
    return world.plans


async def quiet(world: World) -> None:
    """Let the planner look around until it has nothing to publish."""
    async with asyncio.timeout(PATIENCE_S):
        before = -1
        while before != len(world.plans):
            before = len(world.plans)
            for _ in range(50):
                await asyncio.sleep(0)


def offline(chosen: Settings, *, restart_at: int | None = None) -> tuple[list[AllocationPlan], Learned]:
    """Play the trace; after bucket ``restart_at``, let what the solver has learned be lost.

    Returns the plans, and what the solver had learned before each.
    """
    learned: Learned = []
    solver = deterministic(2, 3)

    def solve(request: SolveRequest) -> SolverAnswer | SolverFailure:
        learned.append(request.memory)
        return solver(request)

    simulated = Offline(
        CATALOG,
        horizon_policy(chosen),
        windowing_of(chosen),
        solve,
        chosen.horizon.idle_timeout_s,
    )
    plans = []
    for at, bucket in enumerate(trace()):
        plans += [plan_message(record) for record in simulated.feed(bucket)]
        if at == restart_at:
            simulated.state = replace(simulated.state, solver_memory=None)
    return plans, learned


def essence(plan: AllocationPlan) -> dict[str, Any]:
    """Return a plan without what tells when and by whom it was made."""
    said = plan.model_dump(mode="json")
    for name in ("epoch", "sequence", "plan_id"):
        del said[name]
    del said["solver"]["runtime_s"]
    said["input"].pop("partitions")
    return said


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    made = World()
    monkeypatch.setattr(module, "AIOKafkaProducer", lambda **_: made)
    monkeypatch.setattr(module, "newest_plan", made.newest)
    monkeypatch.setattr(module, "Claims", lambda *_: Claims())
    monkeypatch.setattr(module, "_POLL_S", 0)
    return made


@pytest.mark.parametrize("headroom", ["quantile", "scenarios"])
async def test_live_and_offline_give_identical_plans(world: World, headroom: str) -> None:
    chosen = settings(headroom)
    published = await live(world, chosen)
    simulated, learned = offline(chosen)
    assert [essence(plan) for plan in published] == [essence(plan) for plan in simulated]
    assert world.learned == learned
    assert "surge" in {plan.trigger for plan in published}
    assert len({json.dumps([d.model_dump() for d in plan.deployments]) for plan in published}) > 3
    assert learned.count(None) == 1, "only the first solve has nothing to go by"


async def test_a_planner_that_takes_over_goes_on_as_one_whose_solver_has_learned_nothing_yet(
    world: World,
) -> None:
    chosen = settings("quantile")
    published = await live(world, chosen, restart_at=70)
    simulated, learned = offline(chosen, restart_at=70)
    assert [essence(plan) for plan in published] == [essence(plan) for plan in simulated]
    assert world.learned == learned
    assert learned.count(None) == 2
