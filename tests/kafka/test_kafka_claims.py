"""A planner that was stopped with a plan in its hand, and replaced, does not publish it when it wakes up."""

from __future__ import annotations

import signal
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from controller.kill_points import VARIABLE

pytestmark = [pytest.mark.kafka, pytest.mark.slow]
PARTITIONS = 4


async def test_a_planner_that_wakes_up_after_another_has_claimed_writes_no_plan_of_its_old_epoch(
    make_kafka_world: Any, harness: ModuleType, tmp_path: Path
) -> None:
    async with make_kafka_world(PARTITIONS) as world:
        armed = {VARIABLE: "before-publish:2:SIGSTOP"}
        zombie = harness.WorkerProcess(world.settings, tmp_path / "zombie.log", armed)
        world.workers.append(zombie)
        feed, traffic = world.feed, harness.Traffic(PARTITIONS)
        await harness.until(lambda: feed.claims == 1, "the first claim", alive=[zombie])
        while not zombie.events("kill_point_reached"):
            await world.play(traffic, 100)

        standby = world.start_worker()
        await harness.until(lambda: feed.claims == 2, "the standby's claim", alive=[standby])
        while [plan["epoch"] for plan in feed.plans][-1:] != [1]:
            await world.play(traffic, 100)
            await world.all_but(300)
        ready = len(zombie.events("partitions_ready"))
        zombie.process.send_signal(signal.SIGCONT)
        await harness.until(
            lambda: not zombie.is_running or len(zombie.events("partitions_ready")) > ready,
            "the zombie to find out",
            alive=[standby],
        )
        if zombie.is_running:
            assert await zombie.terminate() == 0
        assert await standby.terminate() == 0
        assert [plan["sequence"] for plan in feed.plans if plan["epoch"] == 0] == [1]
