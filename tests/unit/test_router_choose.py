"""Choosing by a plan: exact proportions, the unmet share, and what is refused."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from controller.errors import InputError, MessageError
from controller.router.choose import RouteChooser
from controller.router.shares import WHOLE, weights_of
from schemas import AllocationPlan, PlanRoute

EXAMPLE = AllocationPlan.model_validate_json(
    (Path(__file__).parents[1] / "data" / "messages" / "plan.json").read_bytes()
)


def make_plan(routes: dict[str, dict[str, float]], unmet: dict[str, float] | None = None) -> AllocationPlan:
    names = sorted({name for shares in routes.values() for name in shares})
    return EXAMPLE.model_copy(
        update={
            "deployments": [EXAMPLE.deployments[0].model_copy(update={"id": name}) for name in names],
            "routes": [
                PlanRoute(query_type=query_type, deployment=name, fraction=fraction)
                for query_type, shares in routes.items()
                for name, fraction in shares.items()
            ],
            "unmet": dict.fromkeys(routes, 0.0) if unmet is None else unmet,
        }
    )


def _changed(**changes: object) -> AllocationPlan:
    return make_plan({"chat": {"a": 1.0}}).model_copy(update=changes)


def test_a_thousand_requests_are_split_to_the_last_one() -> None:
    chooser = RouteChooser()
    chooser.use(make_plan({"chat": {"a": 0.5, "b": 0.3}}, {"chat": 0.2}))
    assert Counter(chooser.choose("chat") for _ in range(1000)) == {"a": 500, "b": 300, None: 200}


def test_query_types_take_turns_apart_from_each_other() -> None:
    chooser = RouteChooser()
    chooser.use(make_plan({"chat": {"a": 0.5, "b": 0.5}, "code": {"a": 0.5, "b": 0.5}}))
    assert [chooser.choose(q) for q in ("chat", "code", "chat", "code")] == ["a", "a", "b", "b"]


def test_a_type_that_is_shed_altogether_has_no_deployment() -> None:
    chooser = RouteChooser()
    chooser.use(make_plan({"chat": {"a": 1.0}}, {"chat": 0.0, "code": 1.0}))
    assert [chooser.choose("code"), chooser.choose("chat")] == [None, "a"]


def test_neither_a_missing_plan_nor_an_unknown_type_looks_like_shedding() -> None:
    chooser = RouteChooser()
    with pytest.raises(InputError, match="none has come yet"):
        chooser.choose("chat")
    chooser.use(make_plan({"chat": {"a": 1.0}}))
    with pytest.raises(InputError, match="got 'vision'"):
        chooser.choose("vision")


@pytest.mark.parametrize(
    ("plan", "rule"),
    [
        (make_plan({"chat": {"a": 0.5, "b": 0.4}}), "must sum to 1"),
        (make_plan({"chat": {"a": 0.5, "b": 0.5}}, {"chat": 0.1}), "must sum to 1"),
        (make_plan({"chat": {"a": 0.9}}, {}), "must sum to 1"),
        (_changed(deployments=[]), "deployments of the plan"),
        (_changed(deployments=make_plan({"chat": {"a": 1.0}}).deployments * 2), "ids must differ"),
        (
            _changed(routes=[PlanRoute(query_type="chat", deployment="a", fraction=0.5)] * 2),
            "name a deployment once",
        ),
    ],
)
def test_a_plan_that_cannot_be_routed_by_is_refused_and_the_one_before_stays(
    plan: AllocationPlan, rule: str
) -> None:
    chooser = RouteChooser()
    chooser.use(make_plan({"chat": {"z": 1.0}}))
    with pytest.raises(MessageError, match=rule) as refusal:
        chooser.use(plan)
    assert refusal.value.reason == "inconsistent"
    assert chooser.choose("chat") == "z"


def test_weights_are_whole_and_sum_to_one_even_for_thirds_and_for_crumbs() -> None:
    third = 1 / 3
    assert weights_of(make_plan({"q": {"a": third, "b": third, "c": third}}))["q"] == {
        "a": 333_333_334, "b": 333_333_333, "c": 333_333_333,
    }  # fmt: skip
    assert weights_of(make_plan({"q": {"a": 1.0 - 1e-12, "b": 1e-12}}))["q"] == {"a": WHOLE}
