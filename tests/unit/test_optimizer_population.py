"""Sets of open deployments are bred the same way every time, and which of them are priced or are parents is right."""

from functools import cache
from pathlib import Path

import numpy as np
import pytest

from controller.domain.arrays import Ints
from controller.domain.instance_file import load_instance
from controller.optimizer.guided import population as population_module
from controller.optimizer.guided.breeding import Breeder, PricedSets
from controller.optimizer.guided.estimate import estimate
from controller.optimizer.guided.open_set import OpenSets
from controller.optimizer.guided.population import Members, Population
from controller.optimizer.guided.set_program import cheapest_of_set
from controller.optimizer.relaxation import relax
from controller.optimizer.routing_program import RoutingProgram
from controller.optimizer.space import SearchSpace

INSTANCES = Path(__file__).parents[1] / "data" / "instances"
EVERY = 10**6


@cache
def sets_of(name: str) -> tuple[OpenSets, Ints]:
    """Return all deployments of an instance, and those that the relaxation uses, one of each pair."""
    space = SearchSpace.of(load_instance(INSTANCES / f"{name}.json"))
    relaxation = relax(space)
    used = np.flatnonzero(relaxation.weights > 0.3)
    start = used[np.unique(space.pair[used], return_index=True)[1]]
    return OpenSets(space, np.arange(space.num_deployments), relaxation.prices), start


def bred(name: str, seed: int, generations: int) -> Population:
    sets, start = sets_of(name)
    population = Population(sets, np.ones(sets.num_candidates))
    population.begin([start], np.inf)
    random = np.random.default_rng(seed)
    for _ in range(generations):
        population.breed(random, np.inf)
    return population


def number(population: Population, members: Members) -> int:
    """Return which of the sets that were met has these members."""
    return next(n for n in range(len(population)) if population._members(n) == members)


def linear_program_usd(sets: OpenSets, members: Members) -> float:
    """Return the cost of a set's plan if replicas may be fractions; inf where there is none."""
    at = np.array(members)
    program = RoutingProgram(sets.space, at)
    return program.open_usd + program.linear.solve(np.ones(len(at)), np.maximum(sets.space.cap[at], 1.0))


def test_one_seed_breeds_one_population_and_another_seed_another() -> None:
    one, same, other = (bred("paper-s3-x10", seed, 2) for seed in (7, 7, 8))
    assert one.usd.tolist() == same.usd.tolist()
    assert one.unsettled(EVERY, np.inf) == same.unsettled(EVERY, np.inf)
    assert one.unsettled(EVERY, np.inf) != other.unsettled(EVERY, np.inf)


def best_priced_usd(name: str, generations: int) -> float:
    """Return the cheapest of the plans of sets that looked best, generation by generation."""
    sets, start = sets_of(name)
    population = Population(sets, np.ones(sets.num_candidates))
    population.begin([start], np.inf)
    random, best_usd = np.random.default_rng(1), np.inf
    for _ in range(generations):
        population.breed(random, best_usd)
        for members in population.unsettled(5, best_usd):
            state = cheapest_of_set(sets.space, np.array(members), best_usd, 20)
            best_usd = best_usd if state is None else state.cost_usd()
            population.settle(members, best_usd)
    return best_usd


@pytest.mark.parametrize("name", ["synth-10x10x10-s4", "paper-s16-x100-switch30"])
def test_children_of_good_sets_are_better_than_sets_at_random(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def at_random(breeder: Breeder, _: PricedSets, count: int, random: np.random.Generator) -> PricedSets:
        rows = random.integers(breeder._none, size=(count, 5))
        rows[np.arange(5) >= random.integers(2, 6, count)[:, None]] = breeder._none
        return breeder.first(rows)

    bred_usd = best_priced_usd(name, 6)
    monkeypatch.setattr(Breeder, "children", at_random)
    assert bred_usd < 0.98 * best_priced_usd(name, 6)


def test_a_set_whose_cost_is_known_is_not_to_be_priced_again() -> None:
    population = bred("paper-s3-x10", 1, 1)
    first, second, *_ = population.unsettled(EVERY, np.inf)
    estimate = float(population.usd[number(population, second)])
    population.settle(first, 1e5)
    population.settle(second, 0.0)
    assert {first, second}.isdisjoint(population.unsettled(EVERY, np.inf))
    assert population.usd[number(population, first)] == 1e5
    assert population.usd[number(population, second)] == estimate, "it costs no less than its estimate"


def test_the_cost_of_a_set_that_was_never_met_is_noted() -> None:
    sets, start = sets_of("paper-s3-x10")
    population = Population(sets, np.ones(sets.num_candidates))
    population.begin([start], np.inf)
    other = int(np.setdiff1d(np.arange(sets.num_candidates), start)[0])
    population.settle((other,), 1e5)
    assert len(population) == 2
    assert population.unsettled(EVERY, np.inf) == [tuple(start.tolist())]
    assert population.usd[number(population, (other,))] == 1e5


def test_only_sets_below_the_best_plan_are_to_be_priced() -> None:
    population = bred("paper-s3-x10", 1, 1)
    middle = float(
        np.median([population.usd[number(population, m)] for m in population.unsettled(60, np.inf)])
    )
    below = population.unsettled(EVERY, middle)
    assert below
    assert all(population.usd[number(population, members)] < middle for members in below)


@pytest.mark.parametrize("name", ["paper-s3-x10", "paper-s10-x30-tight60"])
def test_sets_come_by_their_estimates_with_whole_replicas(name: str) -> None:
    population = bred(name, 1, 3)
    chosen = [number(population, members) for members in population.unsettled(10, np.inf)]
    assert population._is_whole[chosen].all()
    assert (np.diff(population.usd[chosen]) >= 0).all()
    others = np.setdiff1d(np.flatnonzero(population._is_whole), chosen)
    assert population.usd[chosen].max() <= population.usd[others].min()


@pytest.mark.parametrize("name", ["synth-10x10x10-s4", "paper-s16-x100-switch30"])
def test_the_first_prices_of_capacity_are_nearer_than_a_part_of_a_replicas_price(name: str) -> None:
    sets, _ = sets_of(name)
    chosen = bred(name, 1, 2).unsettled(20, np.inf)
    rows = np.full((len(chosen), max(map(len, chosen))), sets.num_candidates)
    for row, members in zip(rows, chosen, strict=True):
        row[: len(members)] = members
    real = np.array([linear_program_usd(sets, members) for members in chosen])
    at_first = estimate(sets, rows, 1).usd / real
    at_part = estimate(sets, rows, 1, 0.4 * sets.high[rows]).usd / real
    assert np.isfinite(real).all()
    assert max(at_first.max(), at_part.max()) <= 1.0 + 1e-6
    assert np.median(at_first) > np.median(at_part)


def test_a_long_search_forgets_the_dearest_sets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(population_module, "_MOST_SETS", 300)
    population = bred("paper-s3-x10", 1, 2)
    before = {population._members(n): float(population.usd[n]) for n in range(len(population))}
    assert len(before) > 300
    population.breed(np.random.default_rng(2), np.inf)
    after = {population._members(n): float(population.usd[n]) for n in range(len(population))}
    cheapest = sorted(before, key=lambda members: before[members])[:150]
    assert after.keys() >= set(cheapest)
    assert len(after) < len(before) + 100
    assert len(after) == len(population), "no set is met twice"
    assert all(after[members] >= before[members] for members in cheapest)
