"""The planner's shell, told of another catalog and of fewer GPUs between its ticks."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from controller.domain.catalog import read_catalog
from controller.stream.fleet_news import NewsRecord
from schemas import AllocationPlan
from tests.planning import CATALOG, Planning, T, running
from tests.small_catalog import small_catalog

WIDER = small_catalog(("chat", "code"))


@pytest.fixture
async def planning(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Planning]:
    async with running(1, monkeypatch) as made:
        yield made


def tell(planning: Planning, topic: str, said: dict[str, Any]) -> None:
    assert planning.news.take(NewsRecord(topic, 0, 0, b"main", json.dumps(said).encode())) is None


def tell_catalog(planning: Planning, said: dict[str, Any]) -> None:
    tell(planning, "llm.catalog.v1", said)


def tell_gpus(planning: Planning, available: int, at_s: float) -> None:
    state = {"fleet": "main", "as_of": T + at_s, "replicas": [], "gpus_available": {"gpu": available}}
    tell(planning, "llm.fleet-state.v1", state)


async def first_plan(planning: Planning) -> AllocationPlan:
    """Plan two replicas for the horizon that begins a minute after T."""
    planning.planner.own(0)
    planning.clock.advance(T + 75)
    planning.tell(60)
    (plan,) = await planning.plans(1)
    return plan


def gpus(plan: AllocationPlan) -> int:
    return sum(deployment.gpus for deployment in plan.deployments)


async def test_a_new_catalog_is_planned_by_at_once_and_from_then_on_and_the_same_one_is_no_news(
    planning: Planning,
) -> None:
    first = await first_plan(planning)
    planning.tell(80)
    tell_catalog(planning, WIDER)
    anew = (await planning.plans(2))[-1]
    assert (anew.trigger, anew.sequence) == ("catalog", 2)
    assert (anew.horizon_start, anew.horizon_end) == (T + 80, first.horizon_end)
    assert anew.input.catalog_hash == read_catalog(WIDER).digest != first.input.catalog_hash
    assert [demand.query_type for demand in anew.demand] == ["chat", "code"]
    tell_catalog(planning, WIDER)
    await planning.settle()
    assert len(planning.broker.plans) == 2

    planning.clock.advance(T + 135)
    planning.tell(120)
    following = (await planning.plans(3))[-1]
    assert (following.trigger, following.horizon_start) == ("horizon", T + 120)
    assert following.input.catalog_hash == anew.input.catalog_hash


async def test_a_catalog_that_comes_in_mid_solve_waits_for_the_tick_to_end(planning: Planning) -> None:
    await planning.until_in_mid_solve()
    tell_catalog(planning, WIDER)
    planning.solver.may_answer.set()
    before, after = await planning.plans(2)
    assert (before.trigger, before.input.catalog_hash) == ("horizon", CATALOG.digest)
    assert (after.trigger, after.input.catalog_hash) == ("catalog", read_catalog(WIDER).digest)


async def test_what_left_the_catalog_is_planned_for_no_more_and_what_was_counted_of_it_does_no_harm(
    planning: Planning,
) -> None:
    tell_catalog(planning, WIDER)
    await first_plan(planning)
    tell_catalog(planning, small_catalog(("code",)))
    anew = (await planning.plans(2))[-1]
    assert [demand.query_type for demand in anew.demand] == ["code"]
    assert anew.routes == []
    planning.clock.advance(T + 135)
    planning.tell(120)
    assert [demand.query_type for demand in (await planning.plans(3))[-1].demand] == ["code"]


async def test_a_planner_that_takes_over_plans_by_a_catalog_that_the_plan_in_force_was_not_made_of(
    planning: Planning,
) -> None:
    first = await first_plan(planning)
    planning.planner.disown()
    tell_catalog(planning, WIDER)
    planning.planner.own(planning.written)
    anew = (await planning.plans(2))[-1]
    assert (anew.epoch, anew.sequence, anew.trigger) == (1, 1, "catalog")
    assert anew.horizon_start == first.horizon_start
    assert anew.input.missing_partitions == [0], "which is no reason to wait"


async def test_fewer_gpus_than_the_plan_takes_bring_one_that_fits_and_more_of_them_wait_their_time(
    planning: Planning,
) -> None:
    assert gpus(await first_plan(planning)) == 2
    tell_gpus(planning, 2, at_s=75)
    await planning.settle()
    assert len(planning.broker.plans) == 1, "it fits"
    tell_gpus(planning, 1, at_s=76)
    fewer = (await planning.plans(2))[-1]
    assert (fewer.trigger, gpus(fewer)) == ("capacity", 1)
    for at_s in range(77, 90):
        tell_gpus(planning, 1 + at_s % 2, at_s)
        await planning.settle()
    assert len(planning.broker.plans) == 2, "no faster than surges"

    planning.clock.advance(T + 75 + 60)
    tell_gpus(planning, 2, at_s=134)
    assert (await planning.plans(3))[-1].trigger == "capacity"


async def test_a_fleet_state_that_is_out_of_date_is_no_cause_and_limits_nothing(planning: Planning) -> None:
    tell_gpus(planning, 1, at_s=75 - 121)
    assert gpus(await first_plan(planning)) == 2
    await planning.settle()
    assert len(planning.broker.plans) == 1


async def test_while_demand_is_behind_the_hold_is_what_fits(planning: Planning) -> None:
    await first_plan(planning)
    planning.clock.advance(T + 225)  # the horizon of 120 should have closed by 120 + its patience of 100 s
    tell_gpus(planning, 1, at_s=225)
    held = (await planning.plans(2))[-1]
    assert (held.trigger, held.decision.name, gpus(held)) == ("horizon", "hold_unknown_demand", 1)
    await planning.settle()
    assert (len(planning.broker.plans), planning.solver.asked) == (2, 1)


async def test_a_plan_that_is_asked_for_is_made_anew_once_and_by_whoever_plans_alone(
    planning: Planning,
) -> None:
    planning.planner.ask()
    first = await first_plan(planning)
    await planning.settle()
    assert [plan.trigger for plan in planning.broker.plans] == ["horizon"], "it was not ours to plan"
    planning.planner.ask()
    planning.planner.ask()
    anew = (await planning.plans(2))[-1]
    assert (anew.trigger, anew.horizon_end) == ("manual", first.horizon_end)
    assert len(planning.broker.plans) == 2


async def test_a_plan_that_is_asked_for_before_there_is_one_comes_after_the_first(planning: Planning) -> None:
    planning.planner.own(0)
    planning.planner.ask()
    await planning.settle()
    assert planning.broker.plans == []
    planning.clock.advance(T + 75)
    planning.tell(60)
    assert [plan.trigger for plan in await planning.plans(2)] == ["horizon", "manual"]
