"""What a fleet really costs: the linear program of its routes, kept hot.

Over a few deployments, shares and replicas within bounds are chosen; the bounds may be a single whole number each, and
the program is solved again and again with other ones: a fraction of a millisecond each, where a MILP solver would
spend a multiple of that on getting ready.
"""

from __future__ import annotations

from typing import Any

import highspy
import numpy as np

from controller.domain.arrays import Floats, Ints
from controller.optimizer.rows import Rows
from controller.optimizer.space import SearchSpace
from controller.optimizer.state import AllocationState

_FEASIBILITY = 1e-9


class RoutingProgram:
    """Shares and replicas over the deployments ``at`` (n,), each once.

    Columns: x of allowed routes, r, starts beyond r⁰, unmet, unmet beyond ζ. Rows: demand, means, compute, memory
    where it can bind first, starts, the budget, GPUs of scarce tiers.
    """

    def __init__(self, space: SearchSpace, at: Ints) -> None:
        self.space, self.at = space, at
        self._i_of, self._n_of = np.nonzero(space.allowed[:, at])
        self._d_of = at[self._n_of]
        num_x, num, types = len(self._i_of), len(at), space.num_types
        running = np.flatnonzero((space.incumbent[at] > 0) & (space.start_usd[at] > 0))
        must = np.flatnonzero(space.max_unmet < 1.0)
        s, u = num_x + num, num_x + num + len(running)
        short = u + types
        self._num_x, num_columns = num_x, short + len(must)
        self._x, self._r = np.arange(num_x), np.arange(num_x, s)
        self._first = np.arange(s, dtype=np.int32)  # the columns whose bounds change

        cost, upper = np.zeros(num_columns), np.full(num_columns, highspy.kHighsInf)
        cost[:num_x], upper[:num_x] = space.route_usd[self._i_of, self._d_of], 1.0
        starts = space.start_usd[at]
        cost[self._r] = space.rent_usd[at] + starts
        cost[num_x + running] -= starts[running]
        cost[s:u] = starts[running]
        cost[u:short], upper[u:short] = space.unmet_usd, space.max_unmet
        cost[short:] = (space.unmet_usd + space.shortfall_usd)[must]
        rows = Rows()
        every, columns = np.arange(types), np.arange(num_columns)
        rows.add(
            np.concatenate([self._i_of, every, must]),
            np.concatenate([self._x, columns[u:]]),
            np.ones(num_x + types + len(must)),
            np.ones(types),
            np.ones(types),
        )
        self._means = self._add_means(rows)
        self._capacities = self._add_capacities(rows)
        rows.add_pairs(self._r[running], columns[s:u], -1.0, space.incumbent[at[running]])
        self._budget_row = self._add_limits(rows, num_columns)
        self._lp: Any = highspy.Highs()  # type: ignore[no-untyped-call]
        self._lp.silent()
        self._lp.setOptionValue("threads", 1)
        self._lp.setOptionValue("presolve", "off")
        self._lp.setOptionValue("primal_feasibility_tolerance", _FEASIBILITY)
        self._lp.passModel(rows.joined().model(cost, upper))
        self._values: Floats = np.zeros(0)

    def _add_means(self, rows: Rows) -> list[tuple[int, Ints]]:
        """Add constraints 3, and 2 where that is a mean; return for each kind its first row, and the types in order."""
        means = []
        for excess in self.space.excess:
            value = excess[self._i_of, self._d_of]
            broken = np.unique(self._i_of[value > 0])
            means.append((rows.count, broken))
            rows.add_some(broken, self._i_of, self._x, value, 0.0)
        return means

    def _add_capacities(self, rows: Rows) -> list[int]:
        """Add constraints 4 and, where memory can bind first, 5; return the first row of each."""
        space, every = self.space, np.arange(len(self.at))
        compute, memory = space.compute[self._i_of, self._d_of], space.memory[self._i_of, self._d_of]
        owners, columns = np.concatenate([self._n_of, every]), np.concatenate([self._x, self._r])
        first = []
        for load in (compute, memory) if (memory > compute).any() else (compute,):
            first.append(rows.count)
            rows.add_some(every, owners, columns, np.concatenate([load, np.full(len(every), -1.0)]), 0.0)
        return first

    def _add_limits(self, rows: Rows, num_columns: int) -> int | None:
        """Add constraints 7 but for storage; return the row of the budget, if there is one."""
        space, at, budget_row = self.space, self.at, None
        if np.isfinite(space.budget_usd):
            budget_row = rows.count
            spend = np.zeros(num_columns)
            spend[self._x], spend[self._r] = space.token_usd[self._i_of], space.rent_usd[at]
            rows.add_one(spend, space.budget_usd)
        tier = space.tier[at]
        for k in np.unique(tier[np.isfinite(space.available[tier])]):
            gpus = np.zeros(num_columns)
            gpus[self._r] = np.where(tier == k, space.gpus[at], 0.0)
            rows.add_one(gpus, float(space.available[k]))
        return budget_row

    def run(self, lower: Floats, upper: Floats) -> float:
        """Choose shares, and replicas between ``lower`` and ``upper`` (n,); those open have an upper bound above zero.

        Returns
        -------
        The cost of all that; inf where there is no solution.
        """
        is_open = upper > 0
        open_usd = float(self.space.open_usd[self.at[is_open]].sum())
        zeros, ones = np.zeros(self._num_x), np.where(is_open[self._n_of], 1.0, 0.0)
        self._lp.changeColsBounds(
            len(self._first), self._first, np.append(zeros, lower), np.append(ones, upper)
        )
        if self._budget_row is not None:
            self._lp.changeRowBounds(self._budget_row, -highspy.kHighsInf, self.space.budget_usd - open_usd)
        self._lp.run()
        if self._lp.getModelStatus() != highspy.HighsModelStatus.kOptimal:
            return float("inf")
        return float(self._lp.getInfo().objective_function_value) + open_usd

    @property
    def values(self) -> Floats:
        """Of every column, in the last solution."""
        values: Floats = np.array(self._lp.getSolution().col_value)
        return values

    def replicas(self, values: Floats) -> Floats:
        """(n,) of a solution."""
        replicas: Floats = values[self._r]
        return replicas

    def shares(self, values: Floats) -> Floats:
        """(I, n) of a solution."""
        shares = np.zeros((self.space.num_types, len(self.at)))
        shares[self._i_of, self._n_of] = np.clip(values[self._x], 0.0, 1.0)
        shares /= np.maximum(shares.sum(axis=1, keepdims=True), 1.0)
        return shares

    def state(self, values: Floats) -> AllocationState:
        """Return a solution as an exact state: replicas follow from its shares."""
        shares = np.zeros((self.space.num_types, self.space.num_deployments))
        shares[:, self.at] = self.shares(values)
        return AllocationState.of_shares(self.space, shares)

    def prices(self) -> tuple[Floats, Floats]:
        """Return what the last solution would pay: (n,) >= 0 per replica, and (Q, I) >= 0 per unit of mean excess."""
        duals = np.array(self._lp.getSolution().row_dual)
        capacity_usd = np.zeros(len(self.at))
        for first in self._capacities:
            capacity_usd += np.maximum(-duals[first : first + len(self.at)], 0.0)
        excess_usd = np.zeros(self.space.excess.shape[:2])
        for q, (first, types) in enumerate(self._means):
            excess_usd[q, types] = np.maximum(-duals[first : first + len(types)], 0.0)
        return capacity_usd, excess_usd
