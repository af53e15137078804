"""AGH's search over open sets: each part does what it is for, on the shared instances."""

import json
import math
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from controller.domain.arrays import Ints
from controller.domain.instance import Instance
from controller.domain.plan import load_plan
from controller.optimizer.construct.greedy import Greedy, thrifty
from controller.optimizer.construct.orders import fixed_orders
from controller.optimizer.guided import guided
from controller.optimizer.guided.branch_and_bound import TO_THE_END, Effort
from controller.optimizer.guided.estimate import estimate
from controller.optimizer.guided.neighbourhoods import Neighbourhoods, draw, not_eliminated
from controller.optimizer.guided.open_set import OpenSets
from controller.optimizer.guided.population import Population
from controller.optimizer.guided.reach import Reach
from controller.optimizer.guided.restricted import Outcome, RestrictedMilp
from controller.optimizer.guided.set_program import cheapest_of_set
from controller.optimizer.params import Params
from controller.optimizer.relaxation import Relaxation, relax
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


@cache
def met_on_the_way(name: str) -> tuple[OpenSets, Population]:
    """Return what some generations meet that come of the relaxation's own deployments."""
    space, relaxation = relaxed(name)
    sets = OpenSets(space, np.arange(space.num_deployments), relaxation.prices)
    start = np.flatnonzero(relaxation.weights > 0.3)
    population = Population(sets, np.ones(sets.num_candidates))
    population.begin([start[np.unique(space.pair[start], return_index=True)[1]]], np.inf)
    random = np.random.default_rng(0)
    for _ in range(4):
        population.breed(random, np.inf)
    return sets, population


@pytest.mark.parametrize("name", ["paper-s3-x10", "paper-s5-x100", "paper-s7-x30-avg", "synth-10x10x10-s4"])
def test_estimates_come_near_what_sets_really_cost(name: str) -> None:
    sets, population = met_on_the_way(name)
    ratios = []
    for members in population.unsettled(12, np.inf):
        state = cheapest_of_set(sets.space, np.array(members), np.inf, 500)
        assert state is not None
        if (state.replicas[list(members)] == 0).any():
            continue  # it is better off without one of them
        # What is left of the difference is whole replicas.
        row = np.array([[*members, sets.num_candidates]])  # with an empty place
        relaxed = estimate(sets, row, 30)
        counts = np.append(state.replicas[list(members)], 0.0)[None]
        usd = estimate(sets, row, 60, relaxed.capacity_usd, relaxed.limit_usd, counts).usd
        ratios.append(float(usd[0]) / state.cost_usd())
    assert np.median(ratios) > 0.97
    assert max(ratios) <= 1.0 + 1e-6


@pytest.mark.parametrize("name", ["paper-s4-x10-b300", "paper-s9-x10-tight85", "synth-15x15x15-s8"])
def test_some_generations_and_the_price_of_their_best_sets_come_near_the_best_plan(name: str) -> None:
    sets, population = met_on_the_way(name)
    costs = [
        state.cost_usd()
        for members in population.unsettled(10, np.inf)
        if (state := cheapest_of_set(sets.space, np.array(members), np.inf, 100)) is not None
    ]
    greedy = Greedy.of(sets.space).build(next(fixed_orders(sets.space.instance)))
    assert min(costs) < greedy.cost_usd()
    assert min(costs) <= BEST[name]["best_usd"] * 1.3


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


def test_where_a_limit_keeps_a_plan_far_above_the_relaxation_nothing_is_drawn() -> None:
    name = "paper-s10-x30-tight60"
    _, relaxation = relaxed(name)
    _, near = known(name, 1.1 * relaxation.value_usd)
    _, far = known(name, 2.0 * relaxation.value_usd)
    nearest = np.argsort(relaxation.distance, kind="stable")
    members = far._search.best.open
    others = nearest[~np.isin(nearest, members)].tolist()
    assert far.next(12).tolist() == others[: 12 - len(members)]
    assert far.next(25).tolist() == others[: 25 - len(members)]
    assert near.next(25).tolist() == others[: 25 - len(members)]
    assert near.next(25).tolist() != others[: 25 - len(members)]
    assert not near.is_far()
    assert far.is_far()
    _, unlimited = known("paper-s3-x10", 2.0 * relaxed("paper-s3-x10")[1].value_usd)
    assert far.first_size() < unlimited.first_size(), "MILPs are harder where a limit has a price"
    assert not unlimited.is_far()


@pytest.mark.parametrize(
    ("name", "over", "first"),
    [
        ("synth-12x12x12-s7-x3", 1.05, ["decide", "decide", "breed"]),
        ("synth-12x12x12-s7-x3", 1.2, ["breed", "decide", "breed"]),
        ("paper-s10-x30-tight60", 1.2, ["decide", "decide", "breed"]),
    ],
)
def test_a_known_plan_that_is_near_the_relaxation_is_looked_over_by_milps_first(
    name: str, over: float, first: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    space, relaxation = relaxed(name)
    monkeypatch.setattr(guided.Hunt, "_price", lambda *_: None)  # sets at hand may be cheaper than it
    known = Greedy.of(space).build(next(fixed_orders(space.instance)))
    search = Search(space, MaxIterations(9), Params(), seed=1, initial=(known,))
    search.best_usd = over * relaxation.value_usd  # as if it had cost that
    hunt = guided.Hunt(search, relaxation)
    hunt.begin()
    assert [next(hunt.turns).__name__ for _ in range(3)] == first


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


def test_sets_are_bred_between_milps(monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []
    for turn in ("breed", "decide"):
        monkeypatch.setattr(guided.Hunt, turn, lambda _, turn=turn: done.append(turn))
    space, relaxation = relaxed("paper-s3-x10")
    hunt = guided.Hunt(Search(space, MaxIterations(99), Params(), seed=0), relaxation)
    for _ in range(4):
        hunt.go_on()
    assert done == ["breed", "decide", "breed", "decide"]


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


def test_rows_that_the_relaxation_breaks_make_it_tighter() -> None:
    space, relaxation = relaxed("paper-s3-x10")
    promising = np.sort(np.argsort(relaxation.reduced_usd, kind="stable")[:16])
    values = []
    for tight in (False, True):
        milp = RestrictedMilp(space, promising, tight=tight)
        upper = milp._upper()
        program = milp._program(upper)
        values.append(program.solve(np.zeros(len(program.changing)), upper[program.changing]))
    assert values[1] > 1.05 * values[0]


@pytest.mark.parametrize(("name", "is_far"), [("paper-s8-x1-tight80", True), ("paper-s9-x10-tight85", False)])
def test_only_milps_far_above_the_relaxation_are_tight(
    name: str, is_far: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[bool, bool]] = []

    class Recording(RestrictedMilp):
        def __init__(self, space: SearchSpace, at: Ints, *, tight: bool) -> None:
            super().__init__(space, at, tight=tight)
            self.is_tight = tight

        def solve(self, start: AllocationState | None = None, effort: Effort = TO_THE_END) -> Outcome:
            assert start is not None
            seen.append((self.is_tight, start.cost_usd() > 1.4 * relaxation.value_usd))
            return super().solve(start, effort)

    _, relaxation = relaxed(name)
    monkeypatch.setattr(guided, "RestrictedMilp", Recording)
    solve(shared(name), MaxIterations(8))
    assert set(seen) == {(is_far, is_far)}


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
    monkeypatch.setattr(guided.Hunt, "go_on", lambda hunt: setattr(hunt.search, "iterations", 1))
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
