"""The linear program of a set of open deployments: shares, and replicas within bounds that change."""

from __future__ import annotations

from typing import Any

import highspy
import numpy as np

from controller.domain.arrays import Floats, Ints
from controller.optimizer.linear_program import LinearProgram
from controller.optimizer.rows import Rows
from controller.optimizer.space import SearchSpace
from controller.optimizer.state import AllocationState


class RoutingProgram:
    """Shares and replicas over the deployments ``at`` (n,), each once.

    Columns: x of allowed routes, r, starts beyond r⁰, unmet, unmet beyond ζ. Rows: demand, means, compute, memory
    where it can bind first, starts, the budget, GPUs of scarce tiers.

    Attributes
    ----------
    linear : the program, without what it costs that the deployments are open: ``open_usd``. Replicas are what changes.
    """

    def __init__(self, space: SearchSpace, at: Ints, highs: Any = None) -> None:
        self.space, self.at = space, at
        self._i_of, self._n_of = np.nonzero(space.allowed[:, at])
        self._d_of = at[self._n_of]
        num_x, num, types = len(self._i_of), len(at), space.num_types
        running = np.flatnonzero((space.incumbent[at] > 0) & (space.start_usd[at] > 0))
        must = np.flatnonzero(space.max_unmet < 1.0)
        s, u = num_x + num, num_x + num + len(running)
        short = u + types
        num_columns = short + len(must)
        self._x, self._r = np.arange(num_x), np.arange(num_x, s)
        self.open_usd = float(space.open_usd[at].sum())

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
        self._add_means(rows)
        self._add_capacities(rows)
        rows.add_pairs(self._r[running], columns[s:u], -1.0, space.incumbent[at[running]])
        self._add_limits(rows, num_columns)
        self.linear = LinearProgram(rows.joined().model(cost, upper), self._r, highs)

    def _add_means(self, rows: Rows) -> None:
        """Add constraints 3, and 2 where that is a mean."""
        for excess in self.space.excess:
            value = excess[self._i_of, self._d_of]
            rows.add_some(np.unique(self._i_of[value > 0]), self._i_of, self._x, value, 0.0)

    def _add_capacities(self, rows: Rows) -> None:
        """Add constraints 4 and, where memory can bind first, 5."""
        space, every = self.space, np.arange(len(self.at))
        compute, memory = space.compute[self._i_of, self._d_of], space.memory[self._i_of, self._d_of]
        owners, columns = np.concatenate([self._n_of, every]), np.concatenate([self._x, self._r])
        for load in (compute, memory) if (memory > compute).any() else (compute,):
            rows.add_some(every, owners, columns, np.concatenate([load, np.full(len(every), -1.0)]), 0.0)

    def _add_limits(self, rows: Rows, num_columns: int) -> None:
        """Add constraints 7 but for storage."""
        space, at = self.space, self.at
        if np.isfinite(space.budget_usd):
            spend = np.zeros(num_columns)
            spend[self._x], spend[self._r] = space.token_usd[self._i_of], space.rent_usd[at]
            rows.add_one(spend, space.budget_usd - self.open_usd)
        tier = space.tier[at]
        for k in np.unique(tier[np.isfinite(space.available[tier])]):
            gpus = np.zeros(num_columns)
            gpus[self._r] = np.where(tier == k, space.gpus[at], 0.0)
            rows.add_one(gpus, float(space.available[k]))

    def state(self, values: Floats) -> AllocationState:
        """Return a solution as an exact state: replicas follow from its shares."""
        shares = np.zeros((self.space.num_types, self.space.num_deployments))
        shares[self._i_of, self._d_of] = np.clip(values[self._x], 0.0, 1.0)
        shares /= np.maximum(shares.sum(axis=1, keepdims=True), 1.0)
        return AllocationState.of_shares(self.space, shares)
