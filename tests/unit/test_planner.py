"""The planner's shell, with a broker and a solver that do as they are told."""

from __future__ import annotations

from collections.abc import AsyncIterator
from types import SimpleNamespace

import pytest
from structlog.testing import capture_logs

from controller.errors import WorkerError
from controller.stream import planner as module
from tests.planning import Planning, T, running


@pytest.fixture
async def planning(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Planning]:
    async with running(1, monkeypatch) as made:
        yield made


@pytest.fixture
async def planning_two(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Planning]:
    """Two source partitions."""
    async with running(2, monkeypatch) as made:
        yield made


async def test_a_publish_of_unknown_outcome_is_repeated_as_it_was(planning: Planning) -> None:
    planning.planner.own(0)
    planning.broker.refusals = 3
    planning.clock.advance(T + 75)
    planning.tell(60)
    (plan,) = await planning.plans(1)
    assert (plan.epoch, plan.sequence) == (0, 1)
    assert len(planning.broker.attempts) == 4
    assert len(set(planning.broker.attempts)) == 1


async def test_nothing_goes_out_once_planning_is_anothers_in_the_middle_of_a_solve(
    planning: Planning,
) -> None:
    await planning.until_in_mid_solve()
    planning.planner.disown()
    planning.solver.may_answer.set()
    await planning.settle()
    assert planning.broker.attempts == []

    planning.planner.own(planning.written)
    planning.tell(60)
    (plan,) = await planning.plans(1)
    assert (plan.epoch, plan.sequence) == (1, 1), "a claim of its own, and the numbers begin anew"


async def test_nothing_goes_out_once_planning_is_anothers_in_the_middle_of_publishing(
    planning: Planning,
) -> None:
    planning.planner.own(0)
    planning.broker.refusals = 10**9
    planning.clock.advance(T + 75)
    planning.tell(60)
    await planning.until(lambda: len(planning.broker.attempts) > 2)
    planning.planner.disown()
    planning.broker.refusals = 0
    await planning.settle()
    assert planning.broker.plans == []


async def test_a_plan_stays_where_it_is_once_another_has_claimed_and_is_made_anew_if_the_other_is_gone(
    planning: Planning,
) -> None:
    await planning.until_in_mid_solve()
    planning.broker.claims += 1
    with capture_logs() as logs:
        planning.solver.may_answer.set()
        await planning.settle()
    assert planning.broker.attempts == []
    assert [line for line in logs if line["log_level"] == "warning"] == [
        {
            "event": "planner_stands_down",
            "log_level": "warning",
            "fleet": "main",
            "epoch": 0,
            "newest_claim": 1,
            "withheld": "main-0-1",
        }
    ]
    assert planning.broker.claims == 2, "it claims nothing as long as it may be the one that was replaced"

    # A session timeout later the group has still not taken the partition away, so nobody else plans.
    (plan,) = await planning.plans(1)
    assert (plan.epoch, plan.sequence) == (2, 1)


async def test_who_stood_down_claims_at_once_where_the_group_says_that_planning_is_its_own_again(
    planning: Planning,
) -> None:
    planning.planner.own(0)
    planning.clock.advance(T + 75)
    await planning.until(lambda: planning.broker.claims == 1)
    await planning.settle()
    planning.broker.claims += 1
    planning.tell(60)
    await planning.settle()
    planning.planner.own(planning.written)
    planning.tell(60)
    await planning.settle()
    assert [plan.epoch for plan in planning.broker.plans] == [2]


async def test_a_publish_of_unknown_outcome_is_not_repeated_once_another_has_claimed(
    planning: Planning,
) -> None:
    planning.planner.own(0)
    planning.broker.refusals = 10**9
    planning.clock.advance(T + 75)
    planning.tell(60)
    await planning.until(lambda: len(planning.broker.attempts) > 2)
    planning.broker.claims += 1
    await planning.settle()
    attempts = len(planning.broker.attempts)
    planning.broker.refusals = 0
    await planning.settle()
    assert (len(planning.broker.attempts), planning.broker.plans) == (attempts, [])


async def test_a_plan_waits_until_the_broker_says_whose_claim_is_the_newest(planning: Planning) -> None:
    planning.planner.own(0)
    planning.broker.refusals_to_look = 10**9
    planning.clock.advance(T + 75)
    planning.tell(60)
    await planning.until(lambda: planning.broker.refusals_to_look < 10**9 - 3)
    assert planning.broker.attempts == []
    planning.broker.refusals_to_look = 0
    (plan,) = await planning.plans(1)
    assert (plan.epoch, plan.sequence) == (0, 1)


async def test_who_does_not_own_the_demand_neither_claims_nor_plans(planning: Planning) -> None:
    planning.clock.advance(T + 75)
    planning.tell(60)
    await planning.settle()
    assert (planning.broker.claims, planning.broker.attempts) == (0, [])


async def test_a_backlog_gives_one_plan_when_caught_up_and_none_whose_validity_is_past(
    planning: Planning,
) -> None:
    planning.planner.own(0)
    planning.clock.advance(T + 1000)
    for watermark_s in range(60, 900, 60):
        # Horizons up to 840 ended, and their validity of two horizons with them, at 960 at the latest.
        planning.tell(watermark_s)
        await planning.settle()
    published = planning.broker.plans
    assert {plan.decision.name for plan in published} <= {"hold_unknown_demand"}
    planning.tell(960)
    plans = await planning.plans(len(published) + 1)
    assert [plan.decision.name for plan in plans if plan.decision.name != "hold_unknown_demand"] == [
        "planned"
    ]
    assert all(plan.valid_until > T + 1000 or plan.decision.name != "planned" for plan in plans)
    assert plans[-1].horizon_start == T + 960


async def test_a_horizon_whose_demand_does_not_come_is_held_once_and_planned_when_it_comes(
    planning: Planning,
) -> None:
    planning.planner.own(0)
    planning.clock.advance(T + 75)
    planning.tell(60)
    assert [plan.decision.name for plan in await planning.plans(1)] == ["planned"]
    planning.clock.advance(T + 225)  # the horizon of 120 should have closed by 120 + its patience of 100 s
    held = (await planning.plans(2))[-1]
    assert (held.decision.name, held.horizon_start) == ("hold_unknown_demand", T + 120)
    assert held.deployments == planning.broker.plans[0].deployments
    await planning.settle()
    assert len(planning.broker.plans) == 2

    planning.tell(120)
    planned = (await planning.plans(3))[-1]
    assert (planned.decision.name, planned.horizon_start) == ("kept", T + 120)
    assert len(planning.broker.plans) == 3


async def test_a_planner_that_takes_over_a_held_horizon_does_not_hold_it_again_but_plans_it(
    planning: Planning,
) -> None:
    planning.planner.own(0)
    planning.clock.advance(T + 75)
    planning.tell(60)
    await planning.plans(1)
    planning.clock.advance(T + 225)
    await planning.plans(2)

    planning.planner.disown()
    planning.planner.own(planning.written)
    planning.tell(60)
    await planning.until(lambda: planning.broker.claims == 2)
    await planning.settle()
    assert len(planning.broker.plans) == 2
    planning.tell(120)
    plan = (await planning.plans(3))[-1]
    assert (plan.epoch, plan.decision.name, plan.horizon_start) == (1, "kept", T + 120)


async def test_a_planner_that_takes_over_plans_no_horizon_a_second_time(planning: Planning) -> None:
    planning.planner.own(0)
    planning.clock.advance(T + 75)
    planning.tell(60)
    await planning.plans(1)
    planning.planner.disown()
    planning.planner.own(planning.written)
    planning.tell(60)
    await planning.until(lambda: planning.broker.claims == 2)
    await planning.settle()
    assert len(planning.broker.plans) == 1


async def test_what_was_said_before_a_takeover_does_not_pass_for_silence_since(
    planning_two: Planning,
) -> None:
    planning = planning_two
    planning.planner.own(0)
    planning.clock.advance(T + 75)
    planning.tell(60)
    planning.tell(60, partition=1)
    await planning.plans(1)

    # Whoever counted both is gone, having said that it had read them to their ends. The next one has a backlog.
    planning.planner.disown()
    planning.planner.own(planning.written + 2)
    planning.tell(70, at_end=True)
    planning.tell(70, partition=1, at_end=True)
    planning.clock.advance(T + 135)
    await planning.settle()
    planning.tell(120)
    await planning.settle()
    assert len(planning.broker.plans) == 1, "nothing is known of the other partition since"

    planning.tell(70, partition=1, at_end=True)
    plan = (await planning.plans(2))[-1]
    assert (plan.decision.name, plan.horizon_start) == ("kept", T + 120)


@pytest.mark.parametrize("refuses", ["the plan", "a look at the claims"])
async def test_a_publish_that_is_never_confirmed_ends_the_worker_in_the_end(
    planning: Planning, monkeypatch: pytest.MonkeyPatch, refuses: str
) -> None:
    now_s = 0.0

    def moves_on() -> float:
        nonlocal now_s
        now_s += 1.0
        return now_s

    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=moves_on))
    planning.planner.own(0)
    if refuses == "the plan":
        planning.broker.refusals = 10**9
    else:
        planning.broker.refusals_to_look = 10**9
    planning.clock.advance(T + 75)
    planning.tell(60)
    await planning.until(lambda: planning.task is not None and planning.task.done())
    assert planning.task is not None
    with pytest.raises(WorkerError, match=r"plan main-0-1: no word of the broker for 60 s: .*no answer"):
        planning.task.result()
    assert len(planning.broker.attempts) == (60 if refuses == "the plan" else 0)
    assert len(set(planning.broker.attempts)) <= 1
