"""Branch and bound against every combination of whole numbers there is, on small programs at random."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.domain.arrays import Floats
from controller.optimizer.guided.branch_and_bound import BranchAndBound, Effort
from controller.optimizer.guided.openings import Openings
from controller.optimizer.linear_program import LinearProgram
from controller.optimizer.rows import Rows

MOST = 2.0


def covering(
    seed: int, whole: int, parts: int, open_usd: Floats | None = None
) -> tuple[LinearProgram, Floats]:
    """Return a program that opens facilities and serves from them, and the upper bounds of its whole numbers.

    Whole numbers r cost rent, shares x of each of ``parts`` demands are served within Σ load x <= r or stay unmet. With
    ``open_usd`` (whole,) there is a flag w for each r, the whole numbers after these, which costs that: r <= 2 w.
    """
    random = np.random.default_rng(seed)
    loads = random.uniform(0.1, 1.6, (parts, whole))
    num_x = parts * whole
    flag_usd = np.zeros(0) if open_usd is None else open_usd
    cost = np.concatenate(
        [random.uniform(0.0, 1.0, num_x), random.uniform(1.0, 4.0, whole), random.uniform(2.0, 8.0, parts)]
    )
    cost = np.concatenate([cost, flag_usd])
    flags = len(cost) - len(flag_usd) + np.arange(len(flag_usd))
    upper = np.concatenate([np.ones(num_x), np.full(whole, MOST), np.ones(parts), np.ones(len(flags))])
    rows = Rows()
    part_of, facility_of = np.divmod(np.arange(num_x), whole)
    ones = np.ones(parts)
    rows.add(
        np.concatenate([part_of, np.arange(parts)]),
        np.concatenate([np.arange(num_x), num_x + whole + np.arange(parts)]),
        np.ones(num_x + parts),
        ones,
        ones,
    )
    rows.add_some(
        np.arange(whole),
        np.concatenate([facility_of, np.arange(whole)]),
        np.concatenate([np.arange(num_x), num_x + np.arange(whole)]),
        np.concatenate([loads[part_of, facility_of], np.full(whole, -1.0)]),
        0.0,
    )
    rows.add_pairs(num_x + np.arange(len(flags)), flags, -MOST)
    numbers = np.concatenate([num_x + np.arange(whole), flags])
    return LinearProgram(rows.joined().model(cost, upper), numbers), upper[numbers]


def cheapest(program: LinearProgram, upper: Floats) -> float:
    """Return the least objective over all combinations of whole numbers."""
    choices = itertools.product(*(range(int(most) + 1) for most in upper))
    return min(program.solve(np.array(c, dtype=float), np.array(c, dtype=float)) for c in choices)


@given(st.integers(0, 10**6), st.integers(1, 4), st.integers(1, 6), st.sampled_from([0, 1, 4]))
def test_the_search_ends_at_the_optimum(seed: int, whole: int, parts: int, looks: int) -> None:
    program, upper = covering(seed, whole, parts)
    optimum = cheapest(program, upper)
    tree = BranchAndBound(program, np.zeros(whole), upper, looks).minimize()
    assert tree.solved
    assert tree.values is not None
    assert tree.objective == pytest.approx(optimum, rel=1e-7)
    assert tree.bound <= optimum * (1 + 1e-7)
    numbers = tree.values[program.changing]
    assert np.abs(numbers - np.rint(numbers)).max() <= 1e-6


@given(
    st.integers(0, 10**6), st.integers(2, 4), st.integers(3, 6), st.integers(1, 12), st.sampled_from([0, 4])
)
def test_a_search_that_is_cut_off_has_a_bound_below_the_optimum(
    seed: int, whole: int, parts: int, nodes: int, looks: int
) -> None:
    program, upper = covering(seed, whole, parts)
    optimum = cheapest(program, upper)
    asked: list[bool] = []
    effort = Effort(nodes=nodes, should_stop=lambda: bool(asked.append(False)))
    tree = BranchAndBound(program, np.zeros(whole), upper, looks).minimize(effort=effort)
    assert tree.bound <= optimum * (1 + 1e-7)
    if tree.values is not None:
        assert tree.objective >= optimum * (1 - 1e-7)
    assert len(asked) <= nodes if tree.solved else len(asked) == nodes + 1


def at_once(seed: int, whole: int) -> Floats:
    """Return what each whole number costs where it is not 0; nothing for some of them."""
    random = np.random.default_rng(seed + 1)
    return np.where(random.random(whole) < 0.3, 0.0, random.uniform(0.0, 3.0, whole))


def with_prices_of_opening(
    seed: int, whole: int, parts: int, looks: int
) -> tuple[LinearProgram, BranchAndBound, Floats]:
    """Return a program, a search of it that has prices of opening beside it, and these (whole,)."""
    program, upper = covering(seed, whole, parts)
    open_usd = at_once(seed, whole)
    search = BranchAndBound(program, np.zeros(whole), upper, looks, openings=Openings(open_usd))
    return program, search, open_usd


def cheapest_with(open_usd: Floats, program: LinearProgram) -> float:
    """Return the least objective over all combinations of whole numbers, what those cost that are not 0 included."""
    choices = np.array(list(itertools.product(range(int(MOST) + 1), repeat=len(open_usd))), dtype=float)
    return min(program.solve(choice, choice) + float(open_usd[choice > 0].sum()) for choice in choices)


@given(st.integers(0, 10**6), st.integers(1, 4), st.integers(1, 6), st.sampled_from([0, 1, 4]))
def test_what_opening_costs_beside_the_program_is_part_of_the_optimum(
    seed: int, whole: int, parts: int, looks: int
) -> None:
    program, search, open_usd = with_prices_of_opening(seed, whole, parts, looks)
    optimum = cheapest_with(open_usd, program)
    tree = search.minimize()
    assert tree.solved
    assert tree.values is not None
    assert tree.objective == pytest.approx(optimum, rel=1e-7)
    assert tree.bound <= optimum * (1 + 1e-7)
    numbers = np.rint(tree.values[program.changing])
    assert program.solve(numbers, numbers) + open_usd[numbers > 0].sum() == pytest.approx(optimum, rel=1e-7)


@given(st.integers(0, 10**6), st.integers(2, 4), st.integers(2, 6), st.integers(1, 12), st.floats(0.9, 1.2))
def test_a_search_with_prices_of_opening_that_is_cut_off_has_a_bound_below_the_optimum(
    seed: int, whole: int, parts: int, nodes: int, part: float
) -> None:
    program, search, open_usd = with_prices_of_opening(seed, whole, parts, looks=1)
    optimum = cheapest_with(open_usd, program)
    tree = search.minimize(part * optimum, Effort(nodes=nodes))
    assert tree.bound <= max(optimum, part * optimum) * (1 + 1e-7)
    if tree.values is not None:
        assert optimum * (1 - 1e-7) <= tree.objective < part * optimum
    elif tree.solved:
        assert optimum >= part * optimum * (1 - 1e-7)


@given(st.integers(0, 10**6), st.integers(1, 4), st.integers(1, 6), st.sampled_from([0, 4]))
def test_flags_that_follow_their_counts_change_no_optimum(
    seed: int, whole: int, parts: int, looks: int
) -> None:
    open_usd = at_once(seed, whole)
    program, upper = covering(seed, whole, parts, open_usd)
    counts = np.arange(whole)
    openings = Openings(np.zeros(2 * whole), whole + counts, counts)
    tree = BranchAndBound(program, np.zeros(2 * whole), upper, looks, openings=openings).minimize()
    plain, _ = covering(seed, whole, parts)
    assert tree.solved
    assert tree.objective == pytest.approx(cheapest_with(open_usd, plain), rel=1e-7)
    assert tree.bound <= tree.objective * (1 + 1e-7)


@given(st.integers(0, 10**6), st.floats(0.7, 1.3), st.sampled_from([0.0, 1e-3, 0.1]))
def test_only_what_is_cheaper_by_the_gap_is_looked_for(seed: int, part: float, gap: float) -> None:
    program, upper = covering(seed, 3, 5)
    optimum = cheapest(program, upper)
    below = part * optimum
    tree = BranchAndBound(program, np.zeros(3), upper, 4).minimize(below, Effort(gap))
    assert tree.solved
    if tree.values is None:
        assert optimum >= below * (1 - gap) * (1 - 1e-7)
    else:
        assert optimum * (1 - 1e-7) <= tree.objective <= below * (1 - gap)
        assert optimum >= tree.objective * (1 - gap) * (1 - 1e-7)


@given(st.integers(0, 10**6), st.integers(3, 6), st.integers(1, 3), st.floats(1.0, 1.2))
def test_what_reduced_costs_rule_out_was_no_part_of_the_optimum(
    seed: int, whole: int, parts: int, part: float
) -> None:
    random = np.random.default_rng(seed)
    cost, need = random.uniform(1.0, 3.0, whole), random.uniform(2.0, 6.0, parts)
    gives = random.uniform(0.2, 2.0, (parts, whole))
    choices = np.array(list(itertools.product(range(4), repeat=whole)), dtype=float)
    enough = (choices @ gives.T >= need - 1e-12).all(axis=1)
    optimum = float((choices[enough] @ cost).min(initial=np.inf))
    rows = Rows()
    row, column = np.divmod(np.arange(parts * whole), whole)
    rows.add(row, column, -gives.ravel(), np.full(parts, -np.inf), -need)
    upper = np.full(whole, 3.0)
    program = LinearProgram(rows.joined().model(cost, upper), np.arange(whole))
    search = BranchAndBound(program, np.zeros(whole), upper, 0)
    tree = search.minimize(part * optimum * (1 + 1e-6))
    assert tree.solved
    assert (tree.objective == np.inf) == (optimum == np.inf)
    if tree.values is not None:
        assert tree.objective == pytest.approx(optimum, rel=1e-7)
