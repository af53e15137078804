"""The allocation problem over a few deployments, as a small MILP in arrays.

Variables, in this order: shares x of allowed routes, r (one for each deployment), w where a row asks for it, starts s
where some run already, unmet u, and unmet beyond ζ where that is limited. Where one replica is the most, w is r. Where
no limit and no other configuration asks whether a deployment is open, there is no w; branch and bound adds what that
costs (:mod:`~controller.optimizer.guided.openings`). Rows are those of docs/mathematics.md, those left out that cannot
bind.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from controller.domain.arrays import Bools, Floats, Ints
from controller.errors import SolverCrashError
from controller.optimizer.guided.branch_and_bound import TO_THE_END, BranchAndBound, Effort
from controller.optimizer.guided.openings import Openings
from controller.optimizer.linear_program import LinearProgram
from controller.optimizer.rows import Rows
from controller.optimizer.space import SearchSpace
from controller.optimizer.state import AllocationState

_LOOKS = 4
_LEAST_LOAD = 1e-3
"""A load below which capacity, within its tolerance, might not tell that a deployment serves at all."""


@dataclass(frozen=True, slots=True, eq=False)
class Outcome:
    """What a restricted MILP has found.

    Attributes
    ----------
    state : a plan, exact; None where none was found (that is cheaper than the start).
    bound_usd : a cost that no plan over these deployments is below.
    solved : whether the search came to its end, within the gap.
    """

    state: AllocationState | None
    bound_usd: float
    solved: bool


class RestrictedMilp:
    """The MILP of a search space over some of its deployments.

    Parameters
    ----------
    at : (n,) the deployments, each once.
    """

    def __init__(self, space: SearchSpace, at: Ints) -> None:
        self._space, self._at = space, at
        self._n_of, self._i_of = np.nonzero(space.allowed[:, at].T)
        self._d_of = at[self._n_of]
        num_x, num, types = len(self._n_of), len(at), space.num_types
        running = np.flatnonzero((space.incumbent[at] > 0) & (space.start_usd[at] > 0))
        self._is_shared = np.bincount(space.pair[at], minlength=space.num_pairs) > 1
        flagged = np.flatnonzero((space.cap[at] > 1) & self._asks_for_w())
        self._x = np.arange(num_x)
        self._r = num_x + np.arange(num)
        self._w = self._r.copy()
        self._w[flagged] = num_x + num + np.arange(len(flagged))
        self._flagged, self._running = flagged, running
        has_column = (space.cap[at] <= 1) | (self._w != self._r)
        self._open_usd = np.where(has_column, space.open_usd[at], 0.0)
        first = num_x + num + len(flagged)
        self._s = first + np.arange(len(running))
        first += len(running)
        self._u = first + np.arange(types)
        self._must = np.flatnonzero(space.max_unmet < 1.0)
        self._short = first + types + np.arange(len(self._must))
        self._num_columns = first + types + len(self._must)

    def solve(self, start: AllocationState | None = None, effort: Effort = TO_THE_END) -> Outcome:
        """Search for a plan that is cheaper than ``start``, one over these deployments, if there is one."""
        upper = self._upper()
        try:
            program = self._program(upper)
        except SolverCrashError:
            return Outcome(None, -math.inf, solved=False)
        numbers = program.changing
        search = BranchAndBound(
            program, np.zeros(len(numbers)), upper[numbers], _LOOKS, openings=self._openings()
        )
        tree = search.minimize(math.inf if start is None else start.cost_usd(), effort)
        state = None if tree.values is None else self._state(tree.values)
        return Outcome(state, tree.bound if math.isfinite(tree.bound) else -math.inf, tree.solved)

    def _asks_for_w(self) -> Bools:
        """Return (n,) whether a row asks if a deployment is open: one of a limit, or of its pair."""
        space = self._space
        has_limit = np.isfinite(space.budget_usd) or np.isfinite(space.storage_gb)
        result: Bools = self._is_shared[space.pair[self._at]] | has_limit
        return result

    def _openings(self) -> Openings:
        """Return what opening costs where that is in no column, and which whole numbers say the same."""
        num, flagged = len(self._at), self._flagged
        once_usd = np.zeros(num + len(flagged))
        once_usd[:num] = self._space.open_usd[self._at] - self._open_usd
        return Openings(once_usd, num + np.arange(len(flagged)), flagged)

    def _add_demand(self, rows: Rows) -> None:
        """Add constraints 1, and 2 where the delay SLO is a mean, and 3."""
        space, i_of, types = self._space, self._i_of, self._space.num_types
        every, ones = np.arange(types), np.ones(types)
        of_row = np.concatenate([i_of, every, self._must])
        columns = np.concatenate([self._x, self._u, self._short])
        rows.add(of_row, columns, np.ones(len(columns)), ones, ones)
        for excess in space.excess:
            value = excess[i_of, self._d_of]
            breaks = np.zeros(types, dtype=bool)
            breaks[i_of[value > 0]] = True
            rows.add_some(np.flatnonzero(breaks), i_of, self._x, value, 0.0)

    def _add_capacity(self, rows: Rows) -> None:
        """Add constraints 4 and 5, what ties r to w and to x, and the starts."""
        space, at = self._space, self._at
        n_of, flagged, running = self._n_of, self._flagged, self._running
        small = np.flatnonzero(space.compute[self._i_of, self._d_of] < _LEAST_LOAD)
        rows.add_pairs(self._x[small], self._r[n_of[small]], -1.0)
        owners, columns = np.concatenate([n_of, np.arange(len(at))]), np.concatenate([self._x, self._r])
        allowed, compute, memory = space.allowed[:, at].T, space.compute[:, at].T, space.memory[:, at].T
        every = np.ones(len(at), dtype=bool)
        memory_binds = (np.where(allowed, memory, 0.0).sum(axis=1) > 1.0) & (
            allowed & (memory > compute)
        ).any(axis=1)
        for load, binds in ((compute, every), (memory, memory_binds)):
            values = np.concatenate([load[n_of, self._i_of], np.full(len(at), -1.0)])
            rows.add_some(np.flatnonzero(binds), owners, columns, values, 0.0)
        rows.add_pairs(self._r[flagged], self._w[flagged], -space.cap[at[flagged]])
        rows.add_pairs(self._r[running], self._s, -1.0, space.incumbent[at[running]])

    def _add_limits(self, rows: Rows) -> None:
        """Add constraints 6 and 7."""
        space, at = self._space, self._at
        pairs = space.pair[at]
        rows.add_some(np.flatnonzero(self._is_shared), pairs, self._w, np.ones(len(at)), 1.0)
        weights = np.zeros(self._num_columns)
        if np.isfinite(space.budget_usd):
            spend = weights.copy()  # r and w are one column where one replica is the most
            spend[self._x] = space.token_usd[self._i_of]
            spend[self._w] += space.open_usd[at]
            spend[self._r] += space.rent_usd[at]
            rows.add_one(spend, space.budget_usd)
        if np.isfinite(space.storage_gb):
            stored = weights.copy()
            stored[self._w] = space.weights_gb[at]
            rows.add_one(stored, space.storage_gb)
        tier = space.tier[at]
        for k in np.unique(tier[np.isfinite(space.available[tier])]):
            gpus = weights.copy()
            gpus[self._r] = np.where(tier == k, space.gpus[at], 0.0)
            rows.add_one(gpus, float(space.available[k]))

    def _upper(self) -> Floats:
        """Return (columns,) the most of each variable."""
        upper = np.ones(self._num_columns)
        upper[self._r] = self._space.cap[self._at]
        upper[self._s], upper[self._u] = np.inf, self._space.max_unmet
        return upper

    def _costs(self) -> Floats:
        """Return (columns,) what a unit of each variable costs."""
        space, at = self._space, self._at
        cost = np.zeros(self._num_columns)
        cost[self._x] = space.route_usd[self._i_of, self._d_of]
        cost[self._w] = self._open_usd
        starts = space.start_usd[at].copy()
        starts[self._running] = 0.0
        cost[self._r] += space.rent_usd[at] + starts
        cost[self._s] = space.start_usd[at[self._running]]
        cost[self._u] = space.unmet_usd
        cost[self._short] = (space.unmet_usd + space.shortfall_usd)[self._must]
        return cost

    def _program(self, upper: Floats) -> LinearProgram:
        """Return the relaxation."""
        rows = Rows()
        self._add_demand(rows)
        self._add_capacity(rows)
        self._add_limits(rows)
        numbers = np.unique(np.concatenate([self._w, self._r]))
        return LinearProgram(rows.joined().model(self._costs(), upper), numbers)

    def _state(self, values: Floats) -> AllocationState:
        """Return the solution as an exact state: replicas follow from its shares."""
        space = self._space
        shares = np.zeros((space.num_types, space.num_deployments))
        running = np.rint(values[self._r])[self._n_of] > 0
        shares[self._i_of, self._d_of] = np.where(running, np.clip(values[self._x], 0.0, 1.0), 0.0)
        shares /= np.maximum(shares.sum(axis=1, keepdims=True), 1.0)
        return AllocationState.of_shares(space, shares)
