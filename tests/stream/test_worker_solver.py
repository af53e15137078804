"""A solver that is killed or never ends: plans go on coming, and what runs goes on running."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import pytest

pytestmark = pytest.mark.stream


ENDLESS = {"method": "agh-plain", "iterations": 10**9}
"""It never ends where there is a gap left to close: with a second tier, whose one replica serves all, there is."""


async def test_a_solver_that_fails_leaves_the_last_plan_standing_and_says_so(
    make_world: Any, harness: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    tier = harness.CATALOG["gpu_tiers"][0]
    large = {**tier, "name": "large", "compute_tflops": 6.0, "price_usd_per_h": 9.5, "tp_degrees": [1]}
    monkeypatch.setitem(harness.CATALOG, "gpu_tiers", [tier, large])
    async with make_world() as world:
        traffic, feed = harness.Traffic(1), world.feed

        async def plans_of_a_worker(
            number: int, *, kills: bool = False, **solver: Any
        ) -> list[dict[str, Any]]:
            world.settings = harness.write_settings(world.settings.parent, world.bootstrap, solver=solver)
            worker, before = await world.start_planner(), len(feed.plans)
            while len(feed.plans) < before + number:
                await world.play(traffic, 100)
                await world.all_but(0)
                if kills:
                    worker.kill_solver()
            assert await worker.terminate() == 0
            plans: list[dict[str, Any]] = feed.plans[before:]
            return plans

        good = (await plans_of_a_worker(1))[-1]
        assert good["decision"]["name"] == "planned"
        late = await plans_of_a_worker(2, **ENDLESS, deadline_s=0.1)
        killed = await plans_of_a_worker(2, **ENDLESS, deadline_s=60.0, kills=True)
        for plan in late + killed:
            assert plan["decision"]["name"] == "solver_failed_kept_last"
            assert plan["solver"]["status"] == "failed"
            assert plan["deployments"] == good["deployments"]
            assert plan["changes"] == []
        assert all(plan["decision"]["reason"].startswith("timeout: ") for plan in late)
        assert all(plan["decision"]["reason"].startswith("crashed: ") for plan in killed)
        starts = [plan["horizon_start"] for plan in feed.plans]
        assert starts == sorted(set(starts)), "one plan for a horizon, solver or no solver"
