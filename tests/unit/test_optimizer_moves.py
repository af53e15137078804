"""Moves where a limit has nothing left: those that need more of it are not offered."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from controller.domain.instance_file import load_instance
from controller.optimizer.construct.greedy import Greedy
from controller.optimizer.construct.orders import fixed_orders
from controller.optimizer.local_search import LocalSearch
from controller.optimizer.moves.gather import gatherings
from controller.optimizer.moves.move import Move
from controller.optimizer.moves.relocate import relocations
from controller.optimizer.space import SearchSpace
from controller.optimizer.state import AllocationState

INSTANCES = Path(__file__).parents[1] / "data" / "instances"


@pytest.fixture
def state() -> AllocationState:
    """A plan on slow and cheap deployments: there is delay penalty to be saved by spending more."""
    instance = load_instance(INSTANCES / "paper-s3-x10.json")
    space = SearchSpace.of(instance)
    thrifty = replace(space, rent_usd=space.rent_usd * 20.0)
    built = Greedy.of(thrifty).build(next(fixed_orders(instance)), cover_first=False)
    return AllocationState.of_shares(space, built.shares)


def all_moves(state: AllocationState) -> list[Move]:
    return [*relocations(state), *gatherings(state, 1), *gatherings(state, 2)]


def spend_usd(state: AllocationState) -> float:
    return float(state.space.budgeted_usd(state.replicas).sum() + state.space.token_usd @ (1.0 - state.unmet))


def after(state: AllocationState, move: Move) -> AllocationState:
    twin = state.copy()
    move.apply(twin)
    twin.refresh()
    return twin


Used = Callable[[AllocationState], float]
LIMITS: dict[str, tuple[Used, Callable[[SearchSpace, AllocationState], SearchSpace]]] = {
    "budget": (spend_usd, lambda space, state: replace(space, budget_usd=spend_usd(state))),
    "storage": (
        lambda state: float(state.space.weights_gb @ (state.replicas > 0)),
        lambda space, state: replace(space, storage_gb=float(space.weights_gb @ (state.replicas > 0))),
    ),
}


@pytest.mark.parametrize(("used", "limited"), LIMITS.values(), ids=LIMITS.keys())
def test_a_move_takes_no_more_of_a_limit_than_is_left(
    state: AllocationState, used: Used, limited: Callable[[SearchSpace, AllocationState], SearchSpace]
) -> None:
    before = used(state)
    assert max(used(after(state, move)) for move in all_moves(state)) > before * (1 + 1e-6)
    tight = AllocationState.of_shares(limited(state.space, state), state.shares)
    for move in all_moves(tight):
        assert used(after(tight, move)) <= before * (1 + 1e-6)


def test_a_move_takes_no_gpu_of_a_tier_that_has_none_left(state: AllocationState) -> None:
    space = state.space
    tiers = len(space.available)
    used = np.bincount(space.tier, weights=space.gpus * state.replicas, minlength=tiers)
    tight = AllocationState.of_shares(replace(space, available=used), state.shares)
    assert tight.keeps_limits
    for move in all_moves(tight):
        assert after(tight, move).keeps_limits


def test_two_configurations_of_a_pair_never_run_at_once(state: AllocationState) -> None:
    for move in all_moves(state):
        running = after(state, move).open
        assert len(np.unique(state.space.pair[running])) == len(running)


def test_a_deployment_may_be_upgraded_within_its_pair(state: AllocationState) -> None:
    space = state.space
    upgrades = [
        move
        for move in gatherings(state, 1)
        if space.pair[move.at[0]] == space.pair[move.at[-1]] and space.tp[move.at[0]] < space.tp[move.at[-1]]
    ]
    assert upgrades


def test_the_descent_ends_where_no_move_saves_anything(state: AllocationState) -> None:
    search = LocalSearch(Greedy.of(state.space), least_saving=1e-5)
    first = state.cost_usd()
    cost = search.improve(state, should_stop=lambda: False)
    assert cost < first
    assert state.keeps_limits
    assert search.improve(state, should_stop=lambda: False) == pytest.approx(cost, rel=1e-9)


def test_a_descent_that_is_told_to_stop_changes_nothing(state: AllocationState) -> None:
    before = state.shares.copy()
    LocalSearch(Greedy.of(state.space), least_saving=1e-5).improve(state, should_stop=lambda: True)
    assert (state.shares == before).all()
