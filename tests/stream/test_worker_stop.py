"""A worker whose parts hang ends all the same, and says which."""

from __future__ import annotations

import asyncio
from types import ModuleType
from typing import Any

import pytest

pytestmark = pytest.mark.stream


async def test_a_part_that_hangs_when_told_to_stop_does_not_keep_the_worker(
    make_world: Any, harness: ModuleType
) -> None:
    async with make_world() as world:
        worker = world.start_worker(program=("tests.stream.stuck_worker", "deaf"))
        await harness.until(lambda: bool(worker.events("planner_took_over")), "the planner", alive=[worker])
        assert await worker.terminate() == 1
        (failed,) = worker.events("worker_failed")
        assert failed["error"] == "the worker did not stop within 1 s: deaf"


async def test_a_part_that_fails_ends_the_worker_whatever_else_hangs(
    make_world: Any, harness: ModuleType
) -> None:
    async with make_world() as world:
        worker = world.start_worker(program=("tests.stream.stuck_worker", "failing"))
        await harness.until(lambda: not worker.is_running, "the worker to end")
        assert worker.process.returncode == 1
        (hanging,), (failed,) = worker.events("worker_hangs"), worker.events("worker_failed")
        assert hanging["error"].endswith(": deaf")
        assert "the worker's failing failed: RuntimeError('the part has failed')" in failed["error"]


async def test_what_a_part_raises_while_it_stops_is_no_failure_and_no_news(
    make_world: Any, harness: ModuleType
) -> None:
    async with make_world() as world:
        worker = world.start_worker(program=("tests.stream.stuck_worker", "complaining"))
        await harness.until(lambda: bool(worker.events("planner_took_over")), "the planner", alive=[worker])
        assert await worker.terminate() == 0
        assert "no time to clean up" not in worker.tail()


async def test_a_planner_that_a_client_keeps_its_cancellation_from_ends_all_the_same(
    make_world: Any, harness: ModuleType
) -> None:
    async with make_world() as world:
        worker = world.start_worker(program=("tests.stream.stuck_worker", "swallowing"))
        await harness.until(lambda: world.feed.claims > 0, "a claim", alive=[worker])
        await asyncio.sleep(1.0)  # by now it looks for the newest plan
        assert await worker.terminate() == 0
