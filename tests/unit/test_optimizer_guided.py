"""AGH guided by linear programming: each part does what it is for, on the shared instances."""

import json
import math
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from controller.domain.arrays import Ints
from controller.domain.instance import Instance
from controller.domain.plan import load_plan
from controller.optimizer.construct.greedy import Greedy, thrifty
from controller.optimizer.construct.orders import fixed_orders
from controller.optimizer.guided import guided
from controller.optimizer.guided.branch_and_bound import Effort
from controller.optimizer.guided.neighbourhoods import Neighbourhoods, draw, not_eliminated
from controller.optimizer.guided.reach import Reach
from controller.optimizer.guided.restricted import RestrictedMilp
from controller.optimizer.guided.set_program import cheapest_of_set
from controller.optimizer.memory import SolverMemory
from controller.optimizer.params import Params
from controller.optimizer.pricing import Prices
from controller.optimizer.relaxation import Relaxation, relax
from controller.optimizer.scenarios import with_rates
from controller.optimizer.search import Search
from controller.optimizer.solve import solve
from controller.optimizer.space import SearchSpace
from controller.optimizer.state import AllocationState
from controller.optimizer.stop import MaxIterations, MaxRuntime
from tests.shared_instances import shared

DATA = Path(__file__).parents[1] / "data"
BEST = json.loads((DATA / "best_known.json").read_text())


@cache
def relaxed(name: str) -> tuple[SearchSpace, Relaxation]:
    space = SearchSpace.of(shared(name))
    return space, relax(space)


@pytest.mark.parametrize("name", ["paper-s3-x10", "paper-s10-x30-tight60", "synth-8x8x8-s3"])
def test_elimination_keeps_every_deployment_of_the_best_plan(name: str) -> None:
    space, relaxation = relaxed(name)
    replicas, _ = load_plan(DATA / "plans" / f"{name}.json").arrays(shared(name))
    used = np.isin(space.ids, np.flatnonzero(replicas))
    live = not_eliminated(relaxation, BEST[name]["best_usd"] * (1 + 1e-6))
    assert used.any()
    assert live[used].all()
    assert not live.all()


def known(name: str, usd: float) -> tuple[Search, Neighbourhoods]:
    """Return a search that knows GH's plan, as if it had cost ``usd``, and what MILPs are to look at then."""
    space, relaxation = relaxed(name)
    search = Search(space, MaxIterations(1), Params(), seed=1)
    search.offer(Greedy.of(space).build(next(fixed_orders(space.instance))))
    search.best_usd = usd
    return search, Neighbourhoods(search, relaxation)


def test_a_milp_looks_at_the_nearest_others_first_and_then_at_some_that_are_drawn() -> None:
    space, relaxation = relaxed("paper-s3-x10")
    search, neighbourhoods = known("paper-s3-x10", 1.1 * relaxation.value_usd)
    assert search.best is not None
    members = search.best.open
    others = [neighbourhoods.next(len(members) + 20) for _ in range(8)]
    for at in others:
        assert len(np.unique(at)) == len(at) == 20
        assert not np.isin(at, members).any()
        assert neighbourhoods.live()[at].all()
    nearest = np.argsort(relaxation.distance, kind="stable")
    nearest = nearest[neighbourhoods.live()[nearest] & ~np.isin(nearest, members)]
    assert others[0].tolist() == nearest[:20].tolist()
    assert neighbourhoods.next(space.num_deployments).tolist() == nearest.tolist(), "all that are live"
    assert len({tuple(sorted(at)) for at in others}) > 1, "all are the nearest ones"


def test_milps_begin_smaller_where_a_limit_has_a_price() -> None:
    _, limited = known("paper-s10-x30-tight60", 1e3)
    _, unlimited = known("paper-s3-x10", 1e3)
    assert limited.first_size() < unlimited.first_size(), "they are harder"


@pytest.fixture
def priced(monkeypatch: pytest.MonkeyPatch) -> list[list[int]]:
    """The sets of which it was found out what they cost, one after the other."""
    sets: list[list[int]] = []

    def noting(space: SearchSpace, at: Ints, *args: Any) -> AllocationState | None:
        sets.append(at.tolist())
        return cheapest_of_set(space, at, *args)

    monkeypatch.setattr(guided, "cheapest_of_set", noting)
    return sets


def test_a_plan_of_many_deployments_leaves_room_for_eight_others() -> None:
    relaxation = relaxed("paper-s3-x10")[1]
    search, neighbourhoods = known("paper-s3-x10", 1.1 * relaxation.value_usd)
    assert search.best is not None
    assert len(search.best.open) > 1
    assert len(neighbourhoods.next(8)) == 8


def test_first_of_all_it_is_seen_what_the_sets_at_hand_cost_now(
    priced: list[list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    space, relaxation = relaxed("synth-12x12x12-s7-x3")
    memory = solve(space.instance, MaxIterations(0)).memory

    def seen(initial: tuple[AllocationState, ...], past: list[Ints]) -> list[list[int]]:
        search = Search(space, MaxIterations(9), Params(), seed=1, initial=initial, memory=memory)
        monkeypatch.setattr(SolverMemory, "nearest_sets", lambda *_: past)
        priced.clear()
        guided.Hunt(search, relaxation).begin()
        assert search.best is not None
        return priced.copy()

    used = np.flatnonzero(relaxation.weights > 0.05)
    (of_relaxation,) = seen((), [])
    assert np.isin(of_relaxation, used).all()
    plan = Greedy.of(space).build(next(fixed_orders(space.instance)))
    past = [used[:2], plan.open, used[2:3]]
    assert seen((plan,), past) == [plan.open.tolist(), used[:2].tolist(), used[2:3].tolist()]
    assert seen((), past) == [*(at.tolist() for at in past), of_relaxation]


def test_of_what_the_relaxation_uses_the_most_used_of_each_pair_make_the_first_set(
    priced: list[list[int]],
) -> None:
    space, relaxation = relaxed("synth-12x12x12-s7-x3")
    pairs = np.flatnonzero(np.bincount(space.pair) > 1)[:9]
    one, other = np.array([np.flatnonzero(space.pair == pair)[:2] for pair in pairs]).T
    weights = np.zeros(space.num_deployments)
    weights[one], weights[other] = np.linspace(0.2, 0.9, 9), np.linspace(0.3, 0.7, 9)
    more = np.where(weights[one] > weights[other], one, other)
    search = Search(space, MaxIterations(9), Params(), seed=1)
    guided.Hunt(search, replace(relaxation, weights=weights)).begin()
    assert priced == [more[2:].tolist()], "seven of nine"


def test_the_set_that_a_milp_has_found_is_priced_as_its_gap_leaves_something(priced: list[list[int]]) -> None:
    space, relaxation = relaxed("synth-8x8x8-s3")
    search = Search(space, MaxIterations(9), Params(), seed=1)
    search.offer(AllocationState(space))
    hunt = guided.Hunt(search, relaxation)
    hunt.decide()
    assert search.best is not None
    assert priced == [search.best.open.tolist()]


def test_the_relaxation_begins_from_the_prices_of_the_last_solve(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[Prices | None] = []

    def noting(*args: Any, prices: Prices | None, **options: Any) -> Relaxation:
        given.append(prices)
        return relax(*args, prices=prices, **options)

    monkeypatch.setattr(guided, "relax", noting)
    instance = shared("paper-s3-x10")
    first = solve(instance, MaxIterations(1))
    assert first.memory is not None
    more = with_rates(instance, 1.1 * instance.arrays.queries / (3600.0 * instance.horizon_h))
    solve(more, MaxIterations(1), memory=first.memory)
    known = first.memory.prices_for(SearchSpace.of(more))
    assert known is not None
    assert given[0] is None
    assert given[1] is not None
    assert given[1].demand_usd == pytest.approx(known.demand_usd)


def test_what_cannot_be_part_of_a_cheaper_plan_is_eliminated() -> None:
    _, relaxation = relaxed("paper-s3-x10")
    known = replace(relaxation, bound_usd=10.0, reduced_usd=np.array([0.0, 1.4, 1.6]))
    assert not_eliminated(known, 11.5).tolist() == [True, True, False]
    assert not_eliminated(replace(known, bound_usd=None), 11.5).all()


def test_what_is_promising_is_drawn_more_often_but_everything_sometimes() -> None:
    order, random = np.arange(40), np.random.default_rng(1)
    drawn = np.concatenate([draw(order, 10, random) for _ in range(300)])
    counts = np.bincount(drawn, minlength=40)
    assert counts[:5].min() > 3 * counts[30:].max()
    assert counts.min() > 0


def test_a_milp_that_is_told_to_stop_keeps_its_start() -> None:
    space, _ = relaxed("paper-s3-x10")
    start = Greedy.of(space).build(next(fixed_orders(space.instance)))
    stopped = RestrictedMilp(space, np.arange(space.num_deployments)).solve(
        start, Effort(should_stop=lambda: True)
    )
    assert not stopped.solved
    assert stopped.state is None or stopped.state.cost_usd() <= start.cost_usd() * (1 + 1e-9)
    assert stopped.bound_usd <= BEST["paper-s3-x10"]["best_usd"]


@pytest.mark.parametrize(
    ("name", "within"),
    [
        ("paper-s1-x1-b100", 1e-6),
        ("paper-s5-x100", 1e-3),
        ("paper-s6-x100-a64", 0.02),
        ("paper-s7-x30-avg", 1e-6),
        ("paper-s10-x30-tight60", 0.02),
        ("paper-s13-x10-unmet", 1e-3),
        ("paper-s14-x10-profiles", 1e-3),
        ("synth-6x6x6-s12-x3-storage", 1e-6),
        ("synth-8x8x8-s3", 1e-3),
    ],
)
def test_a_dozen_iterations_come_near_the_best_plan_known(name: str, within: float) -> None:
    result = solve(shared(name), MaxIterations(12))
    assert result.objective_usd is not None
    assert result.objective_usd <= BEST[name]["best_usd"] * (1 + within)


def test_an_optimum_is_proved_where_all_that_is_not_eliminated_fits_one_milp() -> None:
    result = solve(shared("synth-4x4x4-s1"), MaxIterations(20))
    assert result.status == "optimal"
    assert result.iterations < 20
    assert result.objective_usd == pytest.approx(BEST["synth-4x4x4-s1"]["best_usd"], rel=1e-6)


@pytest.mark.parametrize(
    "name", ["paper-s3-x10", "paper-s13-x10-unmet", "paper-s7-x30-avg", "synth-8x8x8-s3"]
)
def test_an_optimum_is_proved_where_all_that_could_be_cheaper_is_in_reach(name: str) -> None:
    result = solve(shared(name), MaxIterations(40))
    assert result.status == "optimal"
    assert result.objective_usd == pytest.approx(BEST[name]["best_usd"], rel=1e-6)


def test_a_plan_is_the_optimum_where_nothing_is_left_that_could_be_in_a_cheaper_one() -> None:
    result = solve(shared("synth-6x6x6-s12-x3-storage"), MaxIterations(20))
    assert result.status == "optimal"
    assert result.iterations < 3
    assert result.objective_usd == pytest.approx(BEST["synth-6x6x6-s12-x3-storage"]["best_usd"], rel=1e-6)


def test_a_milp_over_all_waits_for_a_good_plan_and_is_tried_again_with_twice_the_time() -> None:
    space, _ = relaxed("paper-s3-x10")
    every = np.arange(space.num_deployments)
    reach = Reach(1.0, 14)
    assert len(every) > reach.size
    assert reach.has_all(space, every[: reach.size], 0.9), "few are always in reach"
    assert not reach.has_all(space, every, 0.9)
    reach.learn_of_some(0.1, solved=True, improved=True)
    assert not reach.has_all(space, every, 0.9), "that was no good plan yet"
    reach.learn_of_some(0.1, solved=True, improved=False)
    assert not reach.has_all(space, every, 0.9), "that may have been luck"
    reach.learn_of_some(0.1, solved=True, improved=False)
    assert reach.has_all(space, every, 0.9)
    reach.learn_of_all(space, every, 0.4)
    assert not reach.has_all(space, every, 0.9)
    assert reach.has_all(space, every, 1.7)
    assert reach.has_all(space, every[: len(every) // 3], 0.9)


def test_milps_grow_where_they_are_solved_early_and_shrink_where_they_are_not() -> None:
    reach = Reach(1.0, 14)
    reach.learn_of_some(0.01, solved=True, improved=False)
    larger = reach.size
    for _ in range(3):
        reach.learn_of_some(0.4, solved=False, improved=False)
    assert reach.size < 14 < larger


def test_milps_may_grow_further_where_there_are_seconds() -> None:
    most = []
    for total_s in (0.1, 1.0, 4.0, math.inf):
        reach = Reach(total_s, 14)
        for _ in range(9):
            reach.learn_of_some(0.0, solved=True, improved=False)
        most.append(reach.size)
    assert most == [60, 60, 120, 60]


@pytest.mark.parametrize(
    "name", ["paper-s10-x30-tight60", "paper-s3-x10", "synth-10x10x10-s4", "synth-8x8x8-s3"]
)
def test_no_optimum_is_claimed_from_a_part_of_the_problem(name: str) -> None:
    result = solve(shared(name), MaxIterations(2))
    assert result.objective_usd is not None
    assert result.lower_bound_usd is not None
    assert result.lower_bound_usd <= BEST[name]["best_usd"] * (1 + 1e-6)
    assert result.status == "feasible" or result.objective_usd <= BEST[name]["best_usd"] * (1 + 1e-6)


def test_no_optimum_is_claimed_from_a_milp_that_was_cut_short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guided, "_PROOF_NODES", 0)
    monkeypatch.setattr(guided, "_PROOF_GAP", 0.0)
    result = solve(shared("paper-s8-x1-tight80"), MaxIterations(6))
    assert result.status == "feasible"


def test_no_time_at_all_still_gives_a_plan() -> None:
    result = solve(shared("paper-s3-x10"), MaxRuntime(0.0, clock=lambda: 0.0))
    assert result.plan is not None


class Ticks:
    """A clock that goes on by a millisecond each time it is read."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        self.now_s += 1e-3
        return self.now_s


def test_the_search_ends_soon_after_its_time_is_up() -> None:
    ticks = Ticks()
    solve(shared("paper-s3-x10"), MaxRuntime(0.25, clock=ticks))
    assert 0.2 < ticks.now_s < 0.3


@pytest.mark.parametrize(
    ("instance", "expected"),
    [
        (shared("paper-s3-x10"), []),
        (shared("paper-s10-x30-tight60"), ["thrifty"]),
        (replace(shared("paper-s3-x10"), storage_gb=7.0), ["build"]),
    ],
    ids=["no limit has a price", "the budget has one", "another limit has one"],
)
def test_greedy_gives_the_first_plan_only_where_a_limit_has_a_price(
    instance: Instance, expected: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    built: list[str] = []
    build = Greedy.build
    monkeypatch.setattr(Greedy, "build", lambda *args: built.append("build") or build(*args))
    monkeypatch.setattr(guided, "thrifty", lambda space: built.append("thrifty") or thrifty(space))
    assert solve(instance, MaxIterations(1)).is_feasible
    assert built == expected


def test_greedy_gives_a_plan_where_the_relaxation_was_stopped_before_it_had_any(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(guided.Hunt, "decide", lambda hunt: setattr(hunt.search, "iterations", 1))
    result = solve(shared("paper-s10-x30-tight60"), MaxIterations(1), params=Params(bound_share=0.0))
    assert result.plan is not None
    assert result.plan.gpus > 0


def test_a_thrifty_plan_serves_more_of_a_tight_budget() -> None:
    space = SearchSpace.of(shared("paper-s10-x30-tight60"))
    greedy, order = Greedy.of(space), next(fixed_orders(space.instance))
    plain, saving = greedy.construct(order, 1.0, cover_first=True), thrifty(space)
    assert saving.keeps_limits
    assert saving.unmet.sum() < plain.unmet.sum()
    assert saving.cost_usd() == min(saving.cost_usd(), plain.cost_usd(), greedy.build(order).cost_usd())
