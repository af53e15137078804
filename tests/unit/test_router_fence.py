"""Fencing: only a higher (epoch, sequence) of the same log, and which log is the same."""

from __future__ import annotations

from pathlib import Path

import pytest

from controller.router.fence import Fence, LogIdentity
from schemas import AllocationPlan

PLAN = AllocationPlan.model_validate_json(
    (Path(__file__).parents[1] / "data" / "messages" / "plan.json").read_bytes()
)


def _plan(epoch: int, sequence: int) -> AllocationPlan:
    return PLAN.model_copy(update={"epoch": epoch, "sequence": sequence})


@pytest.mark.parametrize(
    ("epoch", "sequence", "accepted"),
    [(7, 4, True), (8, 0, True), (7, 3, False), (7, 2, False), (6, 99, False)],
    ids=["next", "later planner", "again", "out of order", "zombie"],
)
def test_a_fence_lets_through_only_what_is_above_the_last(epoch: int, sequence: int, accepted: bool) -> None:
    assert Fence().after(_plan(7, 3)).accepts(_plan(epoch, sequence)) is accepted


def test_a_fence_that_saw_nothing_takes_the_first_plan_of_all() -> None:
    assert Fence().accepts(_plan(0, 0))


@pytest.mark.parametrize(
    ("now", "starts_anew"),
    [
        (LogIdentity("c1", "t1"), None),
        (LogIdentity(None, None), None),
        (LogIdentity("c1", None), None),
        (LogIdentity("c2", "t1"), "the cluster is c2, and was c1"),
        (LogIdentity("c1", "t2"), "the planner-claims topic is t2, and was t1"),
    ],
)
def test_a_fence_starts_anew_only_in_what_is_certainly_another_log(
    now: LogIdentity, starts_anew: str | None
) -> None:
    fence, reason = Fence(LogIdentity("c1", "t1"), (7, 3)).in_log(now)
    assert reason == starts_anew
    assert fence.last == ((7, 3) if starts_anew is None else None)


def test_an_identity_learned_late_is_kept_and_not_lost_again() -> None:
    fence, _ = Fence(LogIdentity("c1"), (7, 3)).in_log(LogIdentity(None, "t1"))
    assert fence.identity == LogIdentity("c1", "t1")
    assert fence.in_log(LogIdentity("c1", "t2"))[1] is not None
