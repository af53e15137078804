"""GH where the budget does not reach for everything."""

import json
from pathlib import Path

import pytest

from controller.domain.instance_file import load_instance
from controller.optimizer.construct.greedy import Greedy
from controller.optimizer.construct.orders import fixed_orders
from controller.optimizer.space import SearchSpace

DATA = Path(__file__).parents[1] / "data"


@pytest.mark.parametrize(("name", "at_most"), [("paper-s8-x1-tight80", 1.1), ("paper-s10-x30-tight60", 2.5)])
def test_a_budget_that_binds_is_spent_on_what_saves_most_penalty(name: str, at_most: float) -> None:
    best_usd = json.loads((DATA / "best_known.json").read_text())[name]["best_usd"]
    space = SearchSpace.of(load_instance(DATA / "instances" / f"{name}.json"))
    greedy, order = Greedy.of(space), next(fixed_orders(space.instance))
    state, one_pass = greedy.build(order), greedy.build(order, cover_first=False)
    assert state.keeps_limits
    assert state.cost_usd() <= at_most * best_usd < one_pass.cost_usd()
