"""The master problem of the relaxation: the linear program over columns, kept hot in HiGHS."""

from __future__ import annotations

from typing import Any

import highspy
import numpy as np

from controller.domain.arrays import Floats, Ints
from controller.errors import SolverCrashError
from controller.optimizer.pricing import Columns, Prices
from controller.optimizer.space import SearchSpace

_CONVEXITY_ROUNDING = 1e-6


class Master:
    """``min`` the cost of columns and unmet demand, over weights λ >= 0 of columns.

    Rows, in order: demand (I), means of error and delay (Q x I), budget, storage, GPUs (finite tiers). That each
    (model, tier) pair has at most one column is a row only once it is violated. Unmet demand above ζ_i is a column
    of its own at a price that nothing else comes near, so that the program always has a solution.
    """

    def __init__(self, space: SearchSpace) -> None:
        self._space = space
        types = space.num_types
        self._num_means = space.excess.shape[0]
        self._finite_tiers = np.flatnonzero(np.isfinite(space.available))
        self._has_budget = bool(np.isfinite(space.budget_usd))
        self._has_storage = bool(np.isfinite(space.storage_gb))
        upper = np.concatenate(
            [
                np.ones(types),
                np.zeros(self._num_means * types),
                [space.budget_usd] if self._has_budget else [],
                [space.storage_gb] if self._has_storage else [],
                space.available[self._finite_tiers],
            ]
        )
        lower = np.full(len(upper), -highspy.kHighsInf)
        lower[:types] = 1.0
        self._num_rows = len(upper)
        self._num_fixed = len(upper)
        self._convexity_row: dict[int, int] = {}
        self._pair_of: list[int] = []
        self._at: list[int] = []
        self._replicas: list[float] = []
        self._shares: list[Floats] = []
        self._weights: Floats = np.zeros(0)
        self._seen: set[tuple[int, float, bytes]] = set()
        self._lp = _quiet_highs()
        lp = highspy.HighsLp()
        lp.num_col_, lp.num_row_ = 2 * types, len(upper)
        lp.col_cost_ = np.concatenate([space.unmet_usd, space.unmet_usd + space.shortfall_usd])
        lp.col_lower_ = np.zeros(2 * types)
        lp.col_upper_ = np.concatenate([space.max_unmet, 1.0 - space.max_unmet])
        lp.row_lower_, lp.row_upper_ = lower, upper
        lp.a_matrix_.format_ = highspy.MatrixFormat.kColwise
        lp.a_matrix_.start_ = np.arange(2 * types + 1)
        lp.a_matrix_.index_ = np.tile(np.arange(types), 2)
        lp.a_matrix_.value_ = np.ones(2 * types)
        self._lp.passModel(lp)

    def add(self, at: Ints, columns: Columns) -> int:
        """Add the columns of the deployments ``at``; return how many were new."""
        new = []
        for d in at.tolist():
            key = (d, float(columns.replicas[d]), np.round(columns.shares[d], 9).tobytes())
            if key not in self._seen:
                self._seen.add(key)
                new.append(d)
        if not new:
            return 0
        space, ids = self._space, np.array(new)
        replicas, shares = columns.replicas[ids], columns.shares[ids]
        usd = space.fleet_usd(replicas, ids) + (space.route_usd[:, ids].T * shares).sum(axis=1)
        blocks = [shares, *(excess[:, ids].T * shares for excess in space.excess)]
        if self._has_budget:
            blocks.append((space.budgeted_usd(replicas, ids) + shares @ space.token_usd)[:, None])
        if self._has_storage:
            blocks.append(space.weights_gb[ids][:, None])
        if len(self._finite_tiers):
            gpus = (space.gpus[ids] * replicas)[:, None]
            blocks.append(np.where(space.tier[ids][:, None] == self._finite_tiers, gpus, 0.0))
        matrix = np.concatenate(blocks, axis=1)
        starts, indices, values, count = [], [], [], 0
        for n, d in enumerate(new):
            row = np.flatnonzero(matrix[n])
            value = matrix[n, row]
            pair = int(space.pair[d])
            if pair in self._convexity_row:
                row, value = np.append(row, self._convexity_row[pair]), np.append(value, 1.0)
            starts.append(count)
            indices.append(row)
            values.append(value)
            count += len(row)
            self._pair_of.append(pair)
            self._at.append(d)
            self._replicas.append(float(replicas[n]))
            self._shares.append(shares[n])
        self._lp.addCols(
            len(new),
            usd,
            np.zeros(len(new)),
            np.full(len(new), highspy.kHighsInf),
            count,
            np.array(starts, dtype=np.int32),
            np.concatenate(indices).astype(np.int32),
            np.concatenate(values).astype(np.float64),
        )
        return len(new)

    def solve(self) -> tuple[float, Prices]:
        """Return the value of the program and its duals; pairs that are used more than once get their row first."""
        while True:
            self._lp.run()
            if self._lp.getModelStatus() != highspy.HighsModelStatus.kOptimal:
                raise SolverCrashError(f"HiGHS left the relaxation {self._lp.getModelStatus().name}")
            solution = self._lp.getSolution()
            weights = np.array(solution.col_value)[2 * self._space.num_types :]
            pairs = np.array(self._pair_of, dtype=np.int64)
            used = np.bincount(pairs, weights=weights, minlength=self._space.num_pairs)
            broken = [
                p for p in np.flatnonzero(used > 1.0 + _CONVEXITY_ROUNDING) if p not in self._convexity_row
            ]
            if not broken:
                self._weights = weights
                value = float(self._lp.getInfo().objective_function_value)
                return value, self._prices(np.array(solution.row_dual))
            for pair in broken:
                columns = np.flatnonzero(pairs == pair) + 2 * self._space.num_types
                self._lp.addRow(
                    -highspy.kHighsInf, 1.0, len(columns), columns.astype(np.int32), np.ones(len(columns))
                )
                self._convexity_row[int(pair)] = self._num_rows
                self._num_rows += 1

    def usage(self) -> tuple[Floats, Floats, Floats]:
        """Return what the last solution uses of each deployment: weights (D,), replicas (D,), shares (I, D)."""
        space = self._space
        used = np.flatnonzero(self._weights)
        at = np.array(self._at, dtype=np.int64)[used]
        weight = self._weights[used]
        weights, replicas = np.zeros(space.num_deployments), np.zeros(space.num_deployments)
        np.add.at(weights, at, weight)
        np.add.at(replicas, at, weight * np.array(self._replicas)[used])
        shares = np.zeros((space.num_deployments, space.num_types))
        for d, part, column in zip(at, weight, used, strict=True):
            shares[d] += part * self._shares[column]
        return weights, replicas, np.ascontiguousarray(shares.T)

    def _prices(self, duals: Floats) -> Prices:
        space = self._space
        types, at = space.num_types, space.num_types * (1 + self._num_means)
        budget = storage = 0.0
        if self._has_budget:
            budget, at = min(float(duals[at]), 0.0), at + 1
        if self._has_storage:
            storage, at = min(float(duals[at]), 0.0), at + 1
        gpus = np.zeros(len(space.available))
        gpus[self._finite_tiers] = np.minimum(duals[at : self._num_fixed], 0.0)
        convexity = np.zeros(space.num_pairs)
        for pair, row in self._convexity_row.items():
            convexity[pair] = min(float(duals[row]), 0.0)
        return Prices(
            demand_usd=duals[:types],
            excess_usd=np.minimum(duals[types : types * (1 + self._num_means)], 0.0).reshape(-1, types),
            budget=budget,
            storage_usd_per_gb=storage,
            gpu_usd=gpus,
            pair_usd=convexity,
        )


def _quiet_highs() -> Any:
    lp: Any = highspy.Highs()  # type: ignore[no-untyped-call]
    lp.silent()
    lp.setOptionValue("threads", 1)
    lp.setOptionValue("presolve", "off")
    lp.setOptionValue("simplex_strategy", 4)  # primal: added columns leave the basis feasible
    return lp
