"""What a set of open deployments really costs: a small linear program kept hot, and branch and bound on replicas.

With the set given, what is left to choose are replicas (at least one each) and shares. The program over both is solved
again and again with other bounds on the replicas: a handful of solves of a fraction of a millisecond each, where a
MILP solver would spend a multiple of that on getting ready.
"""

from __future__ import annotations

from typing import Any

import highspy
import numpy as np

from controller.domain.arrays import Floats, Ints
from controller.optimizer.space import SearchSpace
from controller.optimizer.state import AllocationState

_WHOLE = 1e-6
_GAIN = 1e-6
_FEASIBILITY = 1e-9
_NEARLY_DOWN = 0.3


class SetProgram:
    """Replicas and shares over the deployments ``at`` (n,), each of a pair of its own, each with a replica at least.

    Columns: x of allowed routes, r, starts beyond r⁰, unmet, unmet beyond ζ.
    """

    def __init__(self, space: SearchSpace, at: Ints) -> None:
        self._space, self._at = space, at
        self._i_of, self._n_of = np.nonzero(space.allowed[:, at])
        self._d_of = at[self._n_of]
        num_x, num, types = len(self._i_of), len(at), space.num_types
        running = np.flatnonzero((space.incumbent[at] > 0) & (space.start_usd[at] > 0))
        must = np.flatnonzero(space.max_unmet < 1.0)
        s, u = num_x + num, num_x + num + len(running)
        short = u + types
        self._num_x, self._num_columns = num_x, short + len(must)
        self._fixed_usd = float(space.open_usd[at].sum())
        self._lower, self._upper = np.ones(num), np.maximum(space.cap[at], 1.0)

        model = highspy.HighsLp()
        cost, upper = np.zeros(self._num_columns), np.full(self._num_columns, highspy.kHighsInf)
        lower = np.zeros(self._num_columns)
        cost[:num_x], upper[:num_x] = space.route_usd[self._i_of, self._d_of], 1.0
        starts = space.start_usd[at]
        cost[num_x:s] = space.rent_usd[at] + starts
        cost[num_x + running] -= starts[running]
        lower[num_x:s], upper[num_x:s] = self._lower, self._upper
        cost[s:u] = starts[running]
        cost[u:short], upper[u:short] = space.unmet_usd, space.max_unmet
        cost[short:] = (space.unmet_usd + space.shortfall_usd)[must]
        matrix, limit = self._at_most(running, s)
        demand = np.zeros((types, self._num_columns))
        demand[self._i_of, np.arange(num_x)] = 1.0
        demand[np.arange(types), u + np.arange(types)] = 1.0
        demand[must, short + np.arange(len(must))] = 1.0
        matrix = np.concatenate([demand, matrix])
        row, column = np.nonzero(matrix)
        model.num_col_, model.num_row_ = self._num_columns, len(matrix)
        model.col_cost_, model.col_lower_, model.col_upper_ = cost, lower, upper
        model.row_lower_ = np.where(np.arange(len(matrix)) < types, 1.0, -highspy.kHighsInf)
        model.row_upper_ = np.concatenate([np.ones(types), limit])
        model.a_matrix_.format_ = highspy.MatrixFormat.kRowwise
        model.a_matrix_.start_ = np.searchsorted(row, np.arange(len(matrix) + 1)).astype(np.int32)
        model.a_matrix_.index_ = column.astype(np.int32)
        model.a_matrix_.value_ = matrix[row, column]
        self._lp: Any = highspy.Highs()  # type: ignore[no-untyped-call]
        self._lp.silent()
        self._lp.setOptionValue("threads", 1)
        self._lp.setOptionValue("presolve", "off")
        self._lp.setOptionValue("primal_feasibility_tolerance", _FEASIBILITY)
        self._lp.passModel(model)

    def _at_most(self, running: Ints, first_start: int) -> tuple[Floats, Floats]:
        """Return the rows beside demand, dense, and their upper limits."""
        space, at = self._space, self._at
        x, r = np.arange(self._num_x), self._num_x + np.arange(len(at))
        blocks: list[Floats] = []
        limits: list[Floats] = []
        for excess in space.excess:
            rows = np.zeros((space.num_types, self._num_columns))
            rows[self._i_of, x] = excess[self._i_of, self._d_of]
            rows = rows[(rows > 0).any(axis=1)]
            blocks.append(rows)
            limits.append(np.zeros(len(rows)))
        compute, memory = space.compute[self._i_of, self._d_of], space.memory[self._i_of, self._d_of]
        for load, needed in ((compute, True), (memory, bool((memory > compute).any()))):
            if needed:
                rows = np.zeros((len(at), self._num_columns))
                rows[self._n_of, x] = load
                rows[np.arange(len(at)), r] = -1.0
                blocks.append(rows)
                limits.append(np.zeros(len(rows)))
        if len(running):
            rows = np.zeros((len(running), self._num_columns))
            order = np.arange(len(running))
            rows[order, r[running]] = 1.0
            rows[order, first_start + order] = -1.0
            blocks.append(rows)
            limits.append(space.incumbent[at[running]])
        if np.isfinite(space.budget_usd):
            rows = np.zeros((1, self._num_columns))
            rows[0, x] = space.token_usd[self._i_of]
            rows[0, r] = space.rent_usd[at]
            blocks.append(rows)
            limits.append(np.array([space.budget_usd - self._fixed_usd]))
        tier = space.tier[at]
        for k in np.unique(tier[np.isfinite(space.available[tier])]):
            rows = np.zeros((1, self._num_columns))
            rows[0, r] = np.where(tier == k, space.gpus[at], 0.0)
            blocks.append(rows)
            limits.append(space.available[[k]])
        return np.concatenate(blocks), np.concatenate(limits)

    def fix(self, replicas: Floats) -> None:
        """Leave only the shares to be chosen: have just these replicas."""
        self._lower = self._upper = replicas

    def best(self, below_usd: float, programs: int) -> AllocationState | None:
        """Return the cheapest plan below ``below_usd`` that ``programs`` solves find; None where they find none."""
        space, num = self._space, len(self._at)
        if float(space.weights_gb[self._at].sum()) > space.storage_gb + 1e-6:
            return None
        stack = [(self._lower, self._upper)]
        found: Floats | None = None
        index = np.arange(self._num_x, self._num_x + num, dtype=np.int32)
        limit = below_usd
        for _ in range(programs):
            if not stack:
                break
            lower, upper = stack.pop()
            self._lp.changeColsBounds(num, index, lower, upper)
            self._lp.run()
            if self._lp.getModelStatus() != highspy.HighsModelStatus.kOptimal:
                continue
            usd = self._lp.getInfo().objective_function_value + self._fixed_usd
            if usd >= limit - _GAIN * abs(limit):
                continue
            values = np.array(self._lp.getSolution().col_value)
            replicas = values[index]
            away = np.abs(replicas - np.rint(replicas))
            n = int(away.argmax())
            if away[n] <= _WHOLE:
                found, limit = values, usd
                continue
            less, more = upper.copy(), lower.copy()
            less[n], more[n] = np.floor(replicas[n]), np.ceil(replicas[n])
            branches = [(lower, less), (more, upper)]
            if replicas[n] - less[n] < _NEARLY_DOWN:
                branches.reverse()
            stack.extend(branches)
        if found is None:
            return None
        shares = np.zeros((space.num_types, space.num_deployments))
        shares[self._i_of, self._d_of] = np.clip(found[: self._num_x], 0.0, 1.0)
        shares /= np.maximum(shares.sum(axis=1, keepdims=True), 1.0)
        return AllocationState.of_shares(space, shares)
