"""Branch and bound for small mixed-integer programs with a good plan at hand.

Most of what a MILP solver does before its first branch - cuts, probing, heuristics - saves nodes. Here a node
is a hot linear program, a fraction of a millisecond, and a few dozen decide: getting ready takes longer than that.

Each program begins from the basis of the node above it, not from that of the last program, which may be far away in the
tree: half of the iterations go, and a third of the time.

Branches are chosen by pseudo-costs, those unknown yet by a look at both sides. A dive follows the cheaper side until
it ends; the next one begins at the open node that is likely to lead to the cheapest solution, by its bound and what its
other fractions may add to it.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace

import numpy as np

from controller.domain.arrays import Floats, Ints
from controller.errors import SolverCrashError
from controller.optimizer.guided.openings import Openings
from controller.optimizer.guided.pseudo_costs import PseudoCosts
from controller.optimizer.linear_program import Basis, LinearProgram

_WHOLE, _EXACT = 1e-6, 1e-9
_ROUNDING = 1e-9
_LEAST_RISE = 1e-6


@dataclass(frozen=True, slots=True)
class Effort:
    """How long a search goes on: to a gap relative to its best solution, a number of nodes, or until told to stop.

    Nodes are linear programs of the tree, looks at sides not counted; whether to stop is asked before each.
    """

    gap: float = 0.0
    nodes: int | None = None
    should_stop: Callable[[], bool] = lambda: False


TO_THE_END = Effort()


@dataclass(frozen=True, slots=True, eq=False)
class Tree:
    """What a search has found.

    Attributes
    ----------
    values : (columns,) of the cheapest solution; None where none is cheaper than was asked for.
    objective : of that solution; inf without one.
    bound : what no solution is below, other than the one returned or one that was not asked for.
    solved : whether the search came to its end.
    """

    values: Floats | None
    objective: float
    bound: float
    solved: bool


@dataclass(order=True, slots=True)
class _Node:
    """Bounds (n,) of the whole numbers, what no solution within them is below, and the branch that led there.

    ``estimate`` is what the cheapest solution within them is likely to cost, ``basis`` one from near by to begin from.
    """

    estimate: float
    age: int
    bound: float = field(compare=False)
    lower: Floats = field(compare=False)
    upper: Floats = field(compare=False)
    basis: Basis | None = field(compare=False, default=None)
    branch: tuple[int, int, float] | None = field(compare=False, default=None)
    """Column, side (0 down, 1 up), and how far its value was from there; None where this side was looked at before."""


class BranchAndBound:
    """Minimizes a program over whole numbers.

    Parameters
    ----------
    program : the relaxation; all of its ``changing`` columns are to be whole numbers.
    lower, upper : (n,) their bounds.
    looks : how many columns of which nothing is known may be looked at, both ways, before a branch is chosen.
    unit_usd : (n,) > 0, prices of a unit where they tell which numbers matter; without them all are alike.
    openings : what opening costs beside the program's objective, and which numbers say the same.
    """

    def __init__(
        self,
        program: LinearProgram,
        lower: Floats,
        upper: Floats,
        looks: int,
        unit_usd: Floats | None = None,
        openings: Openings | None = None,
    ) -> None:
        self._program, self._looks = program, looks
        self._openings = Openings(np.zeros(len(lower))) if openings is None else openings
        self._costs = PseudoCosts(np.ones(len(lower)) if unit_usd is None else unit_usd)
        self._open = [_Node(-math.inf, 0, -math.inf, lower, upper)]
        self._values: Floats | None = None
        self._objective = self._cutoff = math.inf
        self._gap = 0.0
        self._nodes = 0

    def minimize(self, below: float = math.inf, effort: Effort = TO_THE_END) -> Tree:
        """Search for the cheapest solution that is more than the gap, relative to it, below ``below``."""
        self._gap, self._cutoff = effort.gap, below * (1.0 - effort.gap)
        while self._open:
            node: _Node | None = heapq.heappop(self._open)
            while node is not None and node.bound < self._cutoff:
                if effort.should_stop() or self._nodes == effort.nodes:
                    return self._tree(node)
                self._nodes += 1
                try:
                    node = self._descend(node)
                except SolverCrashError:
                    return self._tree(node)
        return self._tree(None)

    def _tree(self, left: _Node | None) -> Tree:
        """Return what there is; ``left`` is the node where the search was told to stop, None where it has ended."""
        bounds = [] if left is None else [left.bound, *(node.bound for node in self._open)]
        return Tree(self._values, self._objective, min([self._cutoff, *bounds]), left is None)

    def _descend(self, node: _Node) -> _Node | None:
        """Solve a node; return the side of its branch to go on with, or None where the dive ends."""
        lower, upper = node.lower, node.upper
        bound = self._bound(lower, upper, node.basis)
        if node.branch is not None:
            self._costs.note(*node.branch, min(bound, self._cutoff) - node.bound)
        if bound >= self._cutoff:
            return None
        here = replace(node, bound=bound, basis=self._program.basis())
        values, reduced = self._program.solution()
        # Solvers mean bounds within rounding.
        whole = np.minimum(np.maximum(values[self._program.changing], lower), upper)
        nearest = np.rint(whole)
        away = np.abs(whole - nearest)
        at = np.flatnonzero(self._openings.distinct(away > _WHOLE, whole))
        if not len(at):
            at = np.flatnonzero(away > _EXACT)
            left = self._openings.uncharged(nearest, lower)
            self._take(values, bound + sum(usd for _, usd in left), nearest, exact=not len(at))
            if bound >= self._cutoff:
                return None
            if not len(at):
                self._open_without(left, here)
                return None
        lower, upper = self._fixed(reduced[self._program.changing], self._cutoff - bound, lower, upper)
        return self._branch(replace(here, lower=lower, upper=upper), whole, at)

    def _bound(self, lower: Floats, upper: Floats, basis: Basis | None = None) -> float:
        """Return what no solution within these bounds is below; inf where that is the cutoff."""
        charged_usd = self._openings.charged_usd(lower)
        return self._program.solve(lower, upper, self._cutoff - charged_usd, basis) + charged_usd

    def _open_without(self, opened: list[tuple[int, float]], here: _Node) -> None:
        """Open what is left beside the solution that is the best one with all of ``opened``: nodes without the next."""
        lower, bound = here.lower, here.bound
        for n, usd in opened:
            less = here.upper.copy()
            less[n] = 0.0
            heapq.heappush(self._open, _Node(bound, -2 * self._nodes, bound, lower, less, here.basis))
            lower = lower.copy()
            lower[n] = 1.0
            bound += usd
            if bound >= self._cutoff:
                return

    def _take(self, values: Floats, objective: float, whole: Floats, *, exact: bool) -> None:
        """Keep a solution; where its whole numbers are a little off, the one with the numbers that they are near."""
        if not exact:
            objective = self._bound(whole, whole)
            if objective < self._cutoff:
                values, _ = self._program.solution()
        if objective >= self._cutoff:
            return
        self._values, self._objective, self._cutoff = values, objective, objective * (1.0 - self._gap)

    @staticmethod
    def _fixed(reduced: Floats, room: float, lower: Floats, upper: Floats) -> tuple[Floats, Floats]:
        """Return bounds without the numbers that reduced costs take ``room`` or more to get to.

        Where it costs more to rise a number is at its lower bound, where it costs more to fall at its upper one.
        """
        if math.isinf(room):
            return lower, upper
        steps = np.floor(room / np.maximum(np.abs(reduced), _ROUNDING) + _ROUNDING)
        return (
            np.where(reduced < 0, np.maximum(lower, upper - steps), lower),
            np.where(reduced > 0, np.minimum(upper, lower + steps), upper),
        )

    def _branch(self, here: _Node, whole: Floats, at: Ints) -> _Node | None:
        """Open both sides of the most promising of the columns ``at``, and return the cheaper one."""
        bound, down = here.bound, whole[at] - np.floor(whole[at])
        distance = np.array([down, 1.0 - down])
        rises = self._costs.rises(at, distance)
        looked: dict[int, list[Basis]] = {}
        for k in self._worth_a_look(at, rises, bound):
            n = int(at[k])
            sides = self._sides(n, whole, here)
            bounds, looked[k] = self._look(sides, here.basis)
            for side, usd in enumerate(bounds):
                rises[side, k] = max(min(usd, self._cutoff) - bound, 0.0)
                self._costs.note(n, side, distance[side, k], rises[side, k])
            ends = [usd >= self._cutoff for usd in bounds]
            if all(ends):
                return None
            if any(ends):  # nothing to choose: what is left is this node with tighter bounds
                left = ends.index(False)
                return _Node(bound, self._nodes, bound, *sides[left], looked[k][left])
        k = int(np.argmax(_score(rises, bound)))
        estimates = _estimates(bound, rises, k)
        nodes = []
        for side, bounds_of_side in enumerate(self._sides(int(at[k]), whole, here)):
            branch = None if k in looked else (int(at[k]), side, float(distance[side, k]))
            usd = bound + float(rises[side, k]) if k in looked else bound
            basis = looked[k][side] if k in looked else here.basis
            nodes.append(_Node(estimates[side], -2 * self._nodes - side, usd, *bounds_of_side, basis, branch))
        near = int(rises[1, k] < rises[0, k]) if k in looked else int(down[k] > 0.5)
        heapq.heappush(self._open, nodes[1 - near])
        return nodes[near]

    def _sides(
        self, n: int, whole: Floats, here: _Node
    ) -> tuple[tuple[Floats, Floats], tuple[Floats, Floats]]:
        """Return the bounds with number n rounded down, and with it rounded up."""
        less, more = here.upper.copy(), here.lower.copy()
        less[n], more[n] = np.floor(whole[n]), np.ceil(whole[n])
        self._openings.settle(n, less, more)
        return (here.lower, less), (more, here.upper)

    def _look(
        self, sides: Iterable[tuple[Floats, Floats]], basis: Basis | None
    ) -> tuple[list[float], list[Basis]]:
        """Return what no solution on each side is below, and the bases that say so."""
        bounds, bases = [], []
        for lower, upper in sides:
            bounds.append(self._bound(lower, upper, basis))
            bases.append(self._program.basis())
        return bounds, bases

    def _worth_a_look(self, at: Ints, rises: Floats, bound: float) -> list[int]:
        """Return the places in ``at`` of the most promising columns of which nothing is known."""
        if not self._looks:
            return []
        order = np.argsort(-_score(rises, bound), kind="stable")
        worth: list[int] = order[self._costs.unknown(at[order])][: self._looks].tolist()
        return worth


def _estimates(bound: float, rises: Floats, k: int) -> list[float]:
    """Return what the cheapest solution on each side of branch k is likely to cost, other fractions the cheaper way."""
    least = rises.min(axis=0)
    others = float(least.sum() - least[k])
    return [bound + rise + others for rise in rises[:, k].tolist()]


def _score(rises: Floats, bound: float) -> Floats:
    """Return (n,) how good it is to branch: both sides count."""
    down, up = np.maximum(rises, _LEAST_RISE * max(bound, 1.0))
    score: Floats = down * up
    return score
