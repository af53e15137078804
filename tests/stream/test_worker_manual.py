"""A worker that is asked by a signal to plan anew."""

from __future__ import annotations

import signal
from types import ModuleType
from typing import Any

import pytest

pytestmark = pytest.mark.stream


async def test_sigusr1_brings_a_plan_by_hand_and_never_ends_a_worker(
    make_world: Any, harness: ModuleType
) -> None:
    async with make_world() as world:
        worker, feed = await world.start_planner(), world.feed
        worker.process.send_signal(signal.SIGUSR1)
        for at_s in range(0, round(harness.HORIZON_S + 30.0), 2):
            await world.set_clock(harness.T0 + at_s)
            await world.send([(0, harness.event(at_s, "chat", count=80, input_tokens=8000))])
        await harness.until(lambda: len(feed.plans) == 2, "the plan and the one asked for", alive=[worker])
        assert [plan["trigger"] for plan in feed.plans] == ["horizon", "manual"]
        worker.process.send_signal(signal.SIGUSR1)
        await harness.until(lambda: len(feed.plans) == 3, "one more", alive=[worker])
        assert feed.plans[-1]["trigger"] == "manual"
        assert feed.plans[-1]["horizon_end"] == feed.plans[0]["horizon_end"]
        assert await worker.terminate() == 0


async def test_sigusr1_while_python_still_imports_ends_nothing(make_world: Any, harness: ModuleType) -> None:
    async with make_world() as world:
        worker = world.start_worker()
        await harness.until(worker.has_begun, "the program", alive=[worker])
        for _ in range(20):
            worker.process.send_signal(signal.SIGUSR1)
        await harness.until(lambda: bool(worker.owned()), "partitions", alive=[worker])
        assert await worker.terminate() == 0
