"""Random small instances: what guides the search is what it says it is, whatever the instance."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from controller.domain.evaluate import evaluate
from controller.domain.instance import Instance
from controller.domain.plan import incumbent_of
from controller.optimizer.exact import milp
from controller.optimizer.guided.blend import BARRED, cheapest_service
from controller.optimizer.guided.branch_and_bound import Effort
from controller.optimizer.guided.breeding import Breeder, PricedSets
from controller.optimizer.guided.estimate import estimate
from controller.optimizer.guided.open_set import OpenSets
from controller.optimizer.guided.population import Population
from controller.optimizer.guided.restricted import RestrictedMilp
from controller.optimizer.guided.set_program import cheapest_of_set
from controller.optimizer.linear_program import hot_highs
from controller.optimizer.memory import SolverMemory
from controller.optimizer.params import Params
from controller.optimizer.routing_program import RoutingProgram
from controller.optimizer.search import Search
from controller.optimizer.solve import solve
from controller.optimizer.space import SearchSpace
from controller.optimizer.stop import MaxIterations
from tests.small_fleets import FEW, FEWER, fleets, pick, priced, some_set, tightened

NO_LIMIT = Effort(gap=1e-7, nodes=10**6)


def cost_of_set(space: SearchSpace, at: np.ndarray, replicas: np.ndarray | None = None) -> float:
    """Return what opening exactly these deployments costs at least; inf where nothing fits."""
    if replicas is not None:
        stored = float(space.weights_gb[at].sum()) <= space.storage_gb + 1e-6
        program = RoutingProgram(space, at)
        return program.open_usd + program.linear.solve(replicas, replicas) if stored else np.inf
    state = cheapest_of_set(space, at, np.inf, 10_000)
    if state is None:
        return np.inf
    rented = np.maximum(state.replicas[at], 1.0)  # even if of no use
    more = space.fleet_usd(rented, at) - space.fleet_usd(state.replicas[at], at)
    return state.cost_usd() + float(more.sum())


def over_all(instance: Instance, data: st.DataObject) -> OpenSets:
    """Return the sets of all deployments, two at least, at some prices."""
    space = SearchSpace.of(instance)
    assume(space.num_deployments > 1)
    return OpenSets(space, np.arange(space.num_deployments), priced(data, space))


@FEW
@given(fleets(), st.data())
def test_no_plan_with_just_these_deployments_costs_less_than_the_estimate(
    instance: Instance, data: st.DataObject
) -> None:
    sets = over_all(instance, data)
    space = sets.space
    at = some_set(data, space)
    real = cost_of_set(space, at)
    row = np.append(at, space.num_deployments)[None]  # with an empty place
    for steps in (1, 8, 30):
        relaxed = estimate(sets, row, steps)
        assert relaxed.usd[0] <= real * (1 + 1e-6) + 1e-6 or real == np.inf
    if relaxed.usd[0] < BARRED / 2 < np.inf and real < np.inf:
        counts = np.array([[*(data.draw(st.integers(1, int(space.cap[d]))) for d in at), 0]], dtype=float)
        given_counts = estimate(sets, row, 30, relaxed.capacity_usd, relaxed.limit_usd, counts)
        truth = cost_of_set(space, at, counts[0, :-1])
        assert given_counts.usd[0] <= truth * (1 + 1e-6) + 1e-6 or truth == np.inf


def members_of(sets: OpenSets, bred: PricedSets, n: int = 0) -> dict[int, float]:
    """Return the members of a set and the price of each one's capacity; all of them together are a proper set."""
    row, usd = bred.rows[n], bred.capacity_usd[n]
    size = int((row < sets.num_candidates).sum())
    assert size >= 1
    assert (np.diff(row[:size]) > 0).all()
    assert (row[size:] == sets.num_candidates).all()
    assert len(np.unique(sets.pair[row[:size]])) == size
    assert (usd[size:] == 0).all()
    assert bred.limit_usd[n].shape == sets.limit.shape
    return dict(zip(row[:size].tolist(), usd[:size].tolist(), strict=True))


def marked(data: st.DataObject, sets: OpenSets, breeder: Breeder, random: np.random.Generator) -> PricedSets:
    """Return some sets at prices by which their members are known again."""
    rows = np.full((data.draw(st.integers(1, 4)), 3), sets.num_candidates)
    for row in rows:
        at = some_set(data, sets.space)
        row[random.permutation(3)[: len(at)]] = random.permutation(at)
    first = breeder.first(rows)
    for n, row in enumerate(rows):
        assert members_of(sets, first, n).keys() == set(row.tolist()) - {sets.num_candidates}
    assert (first.capacity_usd == sets.first_capacity_usd[first.rows]).all()
    prices = np.where(first.rows < sets.num_candidates, random.uniform(1e6, 2e6, first.rows.shape), 0.0)
    return PricedSets(first.rows, prices, random.random(first.limit_usd.shape))


@FEW
@given(fleets(), st.data(), st.integers(0, 9))
def test_sets_are_bred_of_their_parents_members_at_their_parents_prices(
    instance: Instance, data: st.DataObject, seed: int
) -> None:
    random, sets = np.random.default_rng(seed), over_all(instance, data)
    breeder = Breeder(sets, random.random(sets.num_candidates) + 0.01)
    parents = marked(data, sets, breeder, random)
    families = [members_of(sets, parents, n) for n in range(len(parents))]
    for n, parent in enumerate(families):
        one = parents.at(np.array([n]))
        place, newcomer = random.integers(len(parent)), random.integers(sets.num_candidates)
        for closes, opens in ((True, True), (True, False), (False, True), (False, False)):
            changed = breeder.changed(
                one,
                np.array([place if closes else -1]),
                np.array([newcomer if opens else sets.num_candidates]),
            )
            if closes and not opens and len(parent) == 1:
                assert not len(changed)
                continue
            child = members_of(sets, changed)
            drawn = {d for d in child if child[d] != parent.get(d)}  # maybe one that was there before
            assert drawn == ({newcomer} if opens else set())
            assert all(child[d] == sets.first_capacity_usd[d] for d in drawn)
            assert len(parent.keys() - child.keys() - drawn) <= closes + opens
            assert opens or len(child) == len(parent) - closes
            assert (changed.limit_usd == one.limit_usd).all()
    children = breeder.children(parents, 40, random)
    assert len(children) <= 40
    for n in range(len(children)):
        assert any(len(members_of(sets, children, n).items() - a.items()) <= 1 for a in families)


@FEW
@given(st.integers(0, 10**6), st.booleans())
def test_the_cheapest_blend_of_two_members_is_found_where_it_beats_the_best_one_alone(
    seed: int, has_ties: bool
) -> None:
    random = np.random.default_rng(seed)
    candidates, types, count, size = 6, 3, 8, 4
    excess = random.choice([-0.02, -0.01, 0.0, 0.01, 0.03], (candidates + 1, types))
    allowed = random.random((candidates + 1, types)) < 0.8
    allowed[-1] = False
    rows = np.sort([random.choice(candidates, size, replace=False) for _ in range(count)], axis=1)
    rows[random.random(rows.shape) < 0.2] = candidates
    unit = random.uniform(1.0, 9.0, (count, size, types))
    unit = np.where(allowed[rows], np.rint(unit) if has_ties else unit, BARRED)
    members_first = (array.transpose(1, 0, 2).reshape(size, -1) for array in (unit, excess[rows]))
    service = cheapest_service(*members_first)
    place, usd = np.arange(size)[:, None], service.usd.reshape(count, types)
    share = np.where(place == service.low, 1.0 - service.part, 0.0)
    share += np.where(place == service.high, service.part, 0.0)
    share = share.reshape(size, count, types).transpose(1, 0, 2)
    for n, i in np.ndindex(count, types):
        at = [(excess[d, i], unit[n, k, i]) for k, d in enumerate(rows[n]) if allowed[d, i]]
        costs = [usd for over, usd in at if over <= 0]
        costs += [(u * b - v * a) / (b - a) for a, u in at for b, v in at if b < 0 < a]
        assert usd[n, i] == pytest.approx(min(costs, default=BARRED), rel=1e-9)
        if costs:
            parts = share[n, :, i]
            assert parts.sum() == pytest.approx(1.0)
            assert parts.min() >= 0
            assert parts @ unit[n, :, i] == pytest.approx(usd[n, i], rel=1e-9)
            assert parts @ excess[rows[n], i] <= 1e-9
            assert (parts[~allowed[rows[n], i]] == 0).all()


def test_a_blend_of_prices_far_apart_ends() -> None:
    unit = np.array([[2.56661731e10, 2.85791025e9, 30.0], [5.38333333e3, 5.38333333e3, 7.0]])
    excess = np.array([[-0.59998693, -0.610965465, -0.3], [1.79452845e-05, 1.79452845e-05, 0.1]])
    service = cheapest_service(unit, excess)
    assert service.low.tolist() == [0, 0, 0]
    assert service.high.tolist() == [1, 1, 1]
    part = -excess[0] / (excess[1] - excess[0])
    assert service.usd == pytest.approx(unit[0] * (1.0 - part) + unit[1] * part, rel=1e-6)


@FEW
@given(fleets(), st.data(), st.integers(0, 9))
def test_a_population_has_no_set_twice_and_its_estimates_rise_but_not_above_what_sets_cost(
    instance: Instance, data: st.DataObject, seed: int
) -> None:
    random, sets = np.random.default_rng(seed), over_all(instance, data)
    space = sets.space
    population = Population(sets, np.ones(sets.num_candidates))
    population.begin([some_set(data, space) for _ in range(3)], np.inf)
    known_usd: dict[tuple[int, ...], float] = {}
    before_usd = population.usd
    for _ in range(3):
        population.breed(random, data.draw(pick([np.inf, np.inf, float(np.median(before_usd))])))
        met = [population._members(n) for n in range(len(population))]
        assert len(set(met)) == len(met) == len(population.usd)
        assert (population.usd[: len(before_usd)] >= before_usd).all()
        before_usd = population.usd.copy()
        for members in population.unsettled(1, np.inf):
            known_usd[members] = cost_of_set(space, np.array(members))
            population.settle(members, known_usd[members])
    for n in np.flatnonzero(~population._is_whole)[-4:]:  # the others' are for some replicas of all
        real = cost_of_set(space, np.array(met[n]))
        assert population.usd[n] <= real * (1 + 1e-6) + 1e-6 or real == np.inf
    for members, usd in known_usd.items():
        assert population.usd[met.index(members)] >= usd


@FEWER
@given(fleets(), st.data(), st.booleans())
def test_a_restricted_milp_over_all_deployments_is_the_whole_problem(
    instance: Instance, data: st.DataObject, tight: bool
) -> None:
    space = SearchSpace.of(tightened(data, instance))
    assume(space.num_deployments > 0)
    search = Search(space, MaxIterations(10**6), Params(), 0)
    milp(search)
    outcome = RestrictedMilp(space, np.arange(space.num_deployments), tight=tight).solve(effort=NO_LIMIT)
    assert outcome.solved
    assert outcome.state is not None
    if search.best is None or not search.best.serves_enough:
        assert not outcome.state.serves_enough or not outcome.state.keeps_limits
        return
    assert outcome.state.keeps_limits
    rounding = 1e-6 * max(1.0, search.best_usd)
    assert outcome.state.cost_usd() == pytest.approx(search.best_usd, rel=2e-6, abs=rounding)
    assert outcome.bound_usd <= search.best_usd + rounding


@FEWER
@given(fleets(), st.data())
def test_a_set_program_finds_what_the_milp_of_that_set_finds(instance: Instance, data: st.DataObject) -> None:
    space = SearchSpace.of(tightened(data, instance))
    assume(space.num_deployments > 1)
    at = some_set(data, space)
    outcome = RestrictedMilp(space, at).solve(effort=NO_LIMIT)
    assert outcome.state is not None
    state = cheapest_of_set(space, at, np.inf, 10_000)
    used = len(outcome.state.open)
    if state is not None:  # the MILP may leave some of them closed
        assert state.keeps_limits
        assert outcome.state.cost_usd() <= state.cost_usd() * (1 + 1e-6) + 1e-6
        if used == len(at):
            assert state.cost_usd() == pytest.approx(outcome.state.cost_usd(), rel=1e-5, abs=1e-6)
    else:
        assert used < len(at) or not outcome.state.keeps_limits


@FEW
@given(fleets(), st.data())
def test_what_a_solver_was_used_for_before_does_not_change_what_a_set_costs(
    instance: Instance, data: st.DataObject
) -> None:
    space = SearchSpace.of(tightened(data, instance))
    assume(space.num_deployments > 1)
    highs = hot_highs()
    for _ in range(3):
        at, below_usd = some_set(data, space), data.draw(pick([np.inf, 1e-3, 50.0]))
        alone = cheapest_of_set(space, at, below_usd, 10_000)
        after_others = cheapest_of_set(space, at, below_usd, 10_000, highs)
        assert (alone is None) == (after_others is None)
        if alone is not None and after_others is not None:
            assert after_others.cost_usd() == pytest.approx(alone.cost_usd(), rel=1e-6)


@FEWER
@given(fleets(), pick([0, 1, 5, 25]))
def test_agh_keeps_every_constraint_and_its_bound_is_below_the_optimum(
    instance: Instance, iterations: int
) -> None:
    result = solve(instance, MaxIterations(iterations), seed=3)
    optimum = solve(instance, MaxIterations(10**6), method="milp")
    assert result.is_feasible == optimum.is_feasible
    if result.plan is None or optimum.objective_usd is None or result.objective_usd is None:
        return
    assert evaluate(instance, result.plan).is_feasible
    rounding = 2e-6 * max(1.0, optimum.objective_usd)
    assert result.objective_usd >= optimum.objective_usd - rounding
    assert result.lower_bound_usd is None or result.lower_bound_usd <= optimum.objective_usd + rounding
    if result.status == "optimal":
        assert result.objective_usd <= optimum.objective_usd + rounding


CHANGES: dict[str, Callable[[Instance], Instance]] = {
    "no change": lambda instance: instance,
    "other rates": lambda instance: replace(
        instance,
        query_types=tuple(
            replace(item, arrival_rate_per_s=item.arrival_rate_per_s * factor)
            for item, factor in zip(instance.query_types, (1.3, 0.0, 0.7, 2.0), strict=False)
        ),
    ),
    "a type less": lambda instance: replace(
        instance,
        query_types=instance.query_types[1:],
        models=tuple(
            replace(
                model,
                base_error={k: v for k, v in model.base_error.items() if k != instance.query_types[0].name},
            )
            for model in instance.models
        ),
    ),
    "no budget": lambda instance: replace(instance, budget_usd=None, storage_gb=None),
    "another horizon": lambda instance: replace(instance, horizon_h=1.0),
    "another kind of delay objective": lambda instance: replace(instance, delay_slo="average"),
}


@pytest.mark.parametrize("change", list(CHANGES))
@FEWER
@given(instance=fleets())
def test_what_is_remembered_fits_whatever_comes_next(change: str, instance: Instance) -> None:
    first = solve(instance, MaxIterations(4))
    if first.plan is None or first.memory is None:
        return
    memory = SolverMemory.of_json(first.memory.to_json())
    assert memory == first.memory
    runs = incumbent_of(first.plan) if change == "no change" else {}
    then = replace(CHANGES[change](instance), incumbent=runs)
    again = solve(then, MaxIterations(4), initial=first.plan.within(then), memory=memory)
    if again.plan is None:
        return
    assert evaluate(then, again.plan).is_feasible
    if change == "no change":
        assert again.plan == first.plan
        found = solve(then, MaxIterations(4), seed=1).objective_usd
        assert found is not None
        assert again.lower_bound_usd is not None
        assert again.lower_bound_usd <= found + 1e-9 * abs(found)
