"""Branch and bound where linear programs are a hair off, or are not decided at all."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from controller.domain.arrays import Floats
from controller.errors import SolverCrashError
from controller.optimizer.guided.branch_and_bound import BranchAndBound, Effort, _estimates
from controller.optimizer.guided.openings import Openings
from controller.optimizer.linear_program import Basis, LinearProgram
from controller.optimizer.rows import Rows

NEED = np.array([1.5, 2.2])


def covering() -> LinearProgram:
    """Return a program of two whole numbers, 3 a + 2 b at the least, that need fractions: a >= 1.5, a + b >= 2.2."""
    rows = Rows()
    minus = np.full(3, -1.0)
    rows.add(np.array([0, 1, 1]), np.array([0, 0, 1]), minus, np.full(2, -np.inf), -NEED)
    return LinearProgram(rows.joined().model(np.array([3.0, 2.0]), np.full(2, 3.0)), np.arange(2))


class Rounded(LinearProgram):
    """Its solutions are over their bounds by what solvers call nothing, and a hair too cheap for it."""

    def __init__(self, program: LinearProgram) -> None:
        self.__dict__.update(program.__dict__)

    def solve(
        self, lower: Floats, upper: Floats, cutoff: float = math.inf, basis: Basis | None = None
    ) -> float:
        return super().solve(lower, upper, cutoff, basis) - (0.0 if (lower == upper).all() else 1e-8)

    def solution(self) -> tuple[Floats, Floats]:
        values, reduced = super().solution()
        return values + 2e-9, reduced


class Crashing(LinearProgram):
    """HiGHS leaves it undecided after some programs."""

    def __init__(self, program: LinearProgram, after: int) -> None:
        self.__dict__.update(program.__dict__)
        self.left = after

    def solve(
        self, lower: Floats, upper: Floats, cutoff: float = math.inf, basis: Basis | None = None
    ) -> float:
        self.left -= 1
        if self.left < 0:
            raise SolverCrashError("HiGHS left a linear program kUnknown")
        return super().solve(lower, upper, cutoff, basis)


class Counted(LinearProgram):
    """It counts how often it is solved."""

    def __init__(self, program: LinearProgram) -> None:
        self.__dict__.update(program.__dict__)
        self.solved = 0

    def solve(
        self, lower: Floats, upper: Floats, cutoff: float = math.inf, basis: Basis | None = None
    ) -> float:
        self.solved += 1
        return super().solve(lower, upper, cutoff, basis)


def test_a_value_a_hair_over_its_bound_is_no_reason_to_branch_forever() -> None:
    search = BranchAndBound(Rounded(covering()), np.zeros(2), np.full(2, 3.0), looks=0)
    tree = search.minimize(effort=Effort(nodes=200))
    assert tree.solved
    assert tree.objective == pytest.approx(8.0)


@pytest.mark.parametrize("after", [0, 1, 2, 3])
@pytest.mark.parametrize("looks", [0, 4])
def test_a_program_that_is_not_decided_ends_the_search_with_a_bound_that_holds(
    after: int, looks: int
) -> None:
    search = BranchAndBound(Crashing(covering(), after), np.zeros(2), np.full(2, 3.0), looks)
    tree = search.minimize()
    assert tree.bound <= 8.0 + 1e-9
    if after == 0:
        assert not tree.solved
        assert tree.values is None


def larger() -> LinearProgram:
    """Return a program that takes some dozen iterations: to cover 80 needs with 100 numbers."""
    random, at = np.random.default_rng(1), np.arange(100)
    need = random.random((80, 100)) * (random.random((80, 100)) < 0.2)
    of_row, of_column = np.nonzero(need)
    rows = Rows()
    rows.add(of_row, of_column, -need[of_row, of_column], np.full(80, -np.inf), np.full(80, -1.0))
    return LinearProgram(rows.joined().model(random.random(100), np.full(100, 5.0)), at)


def test_a_program_above_the_cutoff_is_left_and_the_next_one_is_solved_to_its_end() -> None:
    program, at = larger(), np.arange(100)
    lower, upper = np.zeros(100), np.full(100, 5.0)
    fewer = np.where(at < 20, 0.0, upper)
    least, dearer = program.solve(lower, upper), program.solve(lower, fewer)
    program.solve(lower, upper)
    assert least < dearer < math.inf
    assert program.solve(lower, fewer, cutoff=least) == math.inf
    assert program.solve(lower, fewer) == pytest.approx(dearer)
    assert program.solve(lower, upper, cutoff=dearer) == pytest.approx(least)


def test_a_program_that_begins_from_the_basis_of_its_own_solution_has_nothing_to_do() -> None:
    program, lower, upper = larger(), np.zeros(100), np.full(100, 5.0)
    least = program.solve(lower, upper)
    basis = program.basis()
    fewer = np.where(np.arange(100) < 20, 0.0, upper)
    program.solve(lower, fewer)
    assert program._lp.getInfo().simplex_iteration_count > 0
    assert program.solve(lower, upper, basis=basis) == pytest.approx(least)
    assert program._lp.getInfo().simplex_iteration_count == 0, "the basis has changed with the program's"


class Iterating(LinearProgram):
    """It counts simplex iterations; from bases of earlier solves, or only from the last one's."""

    def __init__(self, program: LinearProgram, *, from_earlier: bool) -> None:
        self.__dict__.update(program.__dict__)
        self.iterations, self.from_earlier = 0, from_earlier

    def solve(
        self, lower: Floats, upper: Floats, cutoff: float = math.inf, basis: Basis | None = None
    ) -> float:
        usd = super().solve(lower, upper, cutoff, basis if self.from_earlier else None)
        self.iterations += self._lp.getInfo().simplex_iteration_count
        return usd


@pytest.mark.parametrize(("looks", "nodes"), [(0, 800), (4, 60)])
def test_programs_begin_from_the_node_above_them_which_is_near(looks: int, nodes: int) -> None:
    iterations = []
    for from_earlier in (True, False):
        program = Iterating(larger(), from_earlier=from_earlier)
        BranchAndBound(program, np.zeros(100), np.full(100, 5.0), looks).minimize(effort=Effort(nodes=nodes))
        iterations.append(program.iterations)
    assert iterations[0] < 0.8 * iterations[1]


def test_the_next_dive_begins_where_the_cheapest_solution_is_likely() -> None:
    rises = np.array([[1.0, 4.0, 0.0], [2.0, 3.0, 5.0]])  # down and up, of three fractions
    assert _estimates(10.0, rises, 1) == [10.0 + 4.0 + 1.0, 10.0 + 3.0 + 1.0]


@pytest.mark.parametrize(("unit_usd", "first"), [([1.0, 10.0], 1), ([10.0, 1.0], 0)])
def test_where_nothing_is_known_the_dearest_number_is_rounded_first(
    monkeypatch: pytest.MonkeyPatch, unit_usd: list[float], first: int
) -> None:
    rows = Rows()
    rows.add(np.arange(2), np.arange(2), np.full(2, -1.0), np.full(2, -np.inf), np.full(2, -1.5))
    program = LinearProgram(rows.joined().model(np.ones(2), np.full(2, 3.0)), np.arange(2))
    solved: list[tuple[Floats, Floats]] = []
    solve = LinearProgram.solve

    def noted(self: LinearProgram, lower: Floats, upper: Floats, *how: Any) -> float:
        solved.append((lower, upper))
        return solve(self, lower, upper, *how)

    monkeypatch.setattr(LinearProgram, "solve", noted)
    BranchAndBound(program, np.zeros(2), np.full(2, 3.0), 0, np.array(unit_usd)).minimize()
    lower, upper = solved[1]
    assert np.flatnonzero((lower > 0) | (upper < 3)).tolist() == [first]


def test_a_search_stops_when_it_is_told_to() -> None:
    tree = BranchAndBound(covering(), np.zeros(2), np.full(2, 3.0), 4).minimize(
        effort=Effort(should_stop=lambda: True)
    )
    assert (tree.solved, tree.values) == (False, None)
    assert tree.bound == -math.inf


def test_all_that_a_solution_opens_is_charged_without_another_branch() -> None:
    program = Counted(covering())
    openings = Openings(np.array([0.5, 0.25]))
    tree = BranchAndBound(program, np.array([2.0, 1.0]), np.full(2, 3.0), 0, openings=openings).minimize()
    assert tree.objective == pytest.approx(8.75)
    assert program.solved == 1


def test_the_dearer_one_may_be_worth_opening_where_the_cheaper_one_is_not() -> None:
    rows = Rows()
    at_least_one = np.full(4, -1.0)
    rows.add(np.array([0, 0, 1, 1]), np.array([0, 2, 1, 3]), at_least_one, np.full(2, -np.inf), -np.ones(2))
    cost = np.array([1.0, 1.0, 10.0, 2.5])  # of a and b, and of doing without each
    program = LinearProgram(rows.joined().model(cost, np.ones(4)), np.arange(2))
    openings = Openings(np.array([4.0, 2.0]))
    tree = BranchAndBound(program, np.zeros(2), np.ones(2), 0, openings=openings).minimize()
    assert tree.objective == pytest.approx(7.5)
    assert tree.values is not None
    assert tree.values[:2].tolist() == pytest.approx([1.0, 0.0])


def test_what_a_flag_says_of_its_count_is_known_without_a_row() -> None:
    openings = Openings(np.zeros(4), np.array([2, 3]), np.array([0, 1]))
    less, more = np.array([3.0, 3.0, 1.0, 0.0]), np.array([0.0, 0.0, 1.0, 0.0])
    openings.settle(2, less, more)
    assert more.tolist() == [1.0, 0.0, 1.0, 0.0]
    openings.settle(3, less, more)
    assert less.tolist() == [3.0, 0.0, 1.0, 0.0]
    less, more = np.array([0.0, 3.0, 1.0, 1.0]), np.array([0.0, 2.0, 0.0, 0.0])
    openings.settle(0, less, more)
    openings.settle(1, less, more)
    assert (less.tolist(), more.tolist()) == ([0.0, 3.0, 0.0, 1.0], [0.0, 2.0, 0.0, 1.0])


def test_a_count_between_zero_and_one_is_the_same_branch_as_its_flag() -> None:
    openings = Openings(np.zeros(4), np.array([2, 3]), np.array([0, 1]))
    fractions = np.array([True, True, True, True])
    whole = np.array([0.5, 1.5, 0.2, 0.6])
    assert openings.distinct(fractions, whole).tolist() == [True, True, False, True]
    fractions[0] = False
    assert openings.distinct(fractions, whole).tolist() == [False, True, True, True]
