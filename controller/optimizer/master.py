"""The master problem of the relaxation: the linear program over columns, kept hot in HiGHS."""

from __future__ import annotations

from typing import TypeAlias

import highspy
import numpy as np

from controller.domain.arrays import Floats, Ints
from controller.errors import SolverCrashError
from controller.optimizer.linear_program import hot_highs
from controller.optimizer.pricing import Columns, Prices
from controller.optimizer.space import SearchSpace

_CONVEXITY_ROUNDING = 1e-6
_COLUMNS_PER_ROW = 10
_LEAST_COLUMNS = 300
_DUAL_ROUNDING = 1e-6


_Key: TypeAlias = tuple[int, float, bytes]


_DUAL, _PRIMAL = 1, 4
"""HiGHS's simplex methods. The primal one is the usual here: added columns leave the basis feasible."""
_NEVER = 10.0
"""Times what it costs to shed everything: a price at which nothing is bought or sold."""


def dearest_usd(space: SearchSpace) -> Floats:
    """Return (I,) the highest price that demand can have: that of leaving all of it unmet."""
    return space.unmet_usd + np.where(space.max_unmet < 1.0, space.shortfall_usd, 0.0)


class Master:
    """``min`` the cost of columns and unmet demand, over weights λ >= 0 of columns.

    Rows, in order: demand (I), means of error and delay (Q x I), budget, storage, GPUs (finite tiers). That each
    (model, tier) pair has at most one column is a row only once it is violated. Unmet demand above ζ_i is a column of
    its own at a price that nothing else comes near, so that the program always has a solution.

    With few columns the program's prices are wild: one type may carry all the cost. While demand is *held*, its
    prices stay within a range: columns that sell demand at the lower price (I,), and that serve it at the higher one.
    """

    def __init__(self, space: SearchSpace, held_usd: tuple[Floats, Floats]) -> None:
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
        self._row_of_pair: Ints = np.full(space.num_pairs, -1, dtype=np.int64)
        self._keys: list[_Key] = []
        self._seen: set[_Key] = set()
        nothing = np.zeros(0)
        self._columns = Columns(nothing.astype(np.int64), nothing, nothing.reshape(0, types))
        self._weights: Floats = nothing
        self._reduced_usd: Floats = nothing
        self.is_held = True
        low_usd, high_usd = held_usd
        self._holding = 2 * types + np.arange(2 * types, dtype=np.int32)
        self._first_column = 4 * types
        self._lp = hot_highs()
        self._lp.setOptionValue("simplex_strategy", _PRIMAL)
        lp = highspy.HighsLp()
        lp.num_col_, lp.num_row_ = self._first_column, len(upper)
        lp.col_cost_ = np.concatenate(
            [
                space.unmet_usd,
                space.unmet_usd + space.shortfall_usd,
                -low_usd,
                high_usd,
            ]
        )
        lp.col_lower_ = np.zeros(self._first_column)
        free = np.full(len(self._holding), highspy.kHighsInf)
        lp.col_upper_ = np.concatenate([space.max_unmet, 1.0 - space.max_unmet, free])
        lp.row_lower_, lp.row_upper_ = lower, upper
        lp.a_matrix_.format_ = highspy.MatrixFormat.kColwise
        lp.a_matrix_.start_ = np.arange(self._first_column + 1)
        lp.a_matrix_.index_ = np.tile(np.arange(types), 4)
        lp.a_matrix_.value_ = np.concatenate([np.ones(2 * types), np.full(types, -1.0), np.ones(types)])
        self._lp.passModel(lp)

    def release(self) -> None:
        """Let the prices of demand be what the columns make of them."""
        # Nobody uses the columns that held them at these prices; with bounds, the basis might not stay feasible.
        usd = np.full(len(self._holding), _NEVER * dearest_usd(self._space).sum())
        self._lp.changeColsCost(len(self._holding), self._holding, usd)
        self.is_held = False

    def add(self, columns: Columns) -> int:
        """Add columns; return how many of them were new. Those that are the least use go when there are too many."""
        self._make_room()
        new = self._unseen(columns)
        if not len(new):
            return 0
        space, at = self._space, columns.at[new]
        replicas, shares = columns.replicas[new], columns.shares[new]
        usd = space.fleet_usd(replicas, at) + (space.route_usd[:, at].T * shares).sum(axis=1)
        blocks = [shares, *(excess[:, at].T * shares for excess in space.excess)]
        if self._has_budget:
            blocks.append((space.budgeted_usd(replicas, at) + shares @ space.token_usd)[:, None])
        if self._has_storage:
            blocks.append(space.weights_gb[at][:, None])
        if len(self._finite_tiers):
            gpus = (space.gpus[at] * replicas)[:, None]
            blocks.append(np.where(space.tier[at][:, None] == self._finite_tiers, gpus, 0.0))
        matrix = np.concatenate(blocks, axis=1)
        column, row = np.nonzero(matrix)
        value = matrix[column, row]
        pair_row = self._row_of_pair[space.pair[at]]
        member = np.flatnonzero(pair_row >= 0)
        if len(member):
            column, row = np.append(column, member), np.append(row, pair_row[member])
            value = np.append(value, np.ones(len(member)))
            order = np.argsort(column, kind="stable")
            column, row, value = column[order], row[order], value[order]
        starts = np.searchsorted(column, np.arange(len(new)))
        self._lp.addCols(
            len(new),
            usd,
            np.zeros(len(new)),
            np.full(len(new), highspy.kHighsInf),
            len(value),
            starts.astype(np.int32),
            row.astype(np.int32),
            value,
        )
        self._columns = Columns(
            np.append(self._columns.at, at),
            np.append(self._columns.replicas, replicas),
            np.concatenate([self._columns.shares, shares]),
        )
        return len(new)

    def _make_room(self) -> None:
        """Drop half of the columns, the dearest ones, where there are many; the solution does not change."""
        count = len(self._reduced_usd)
        most = max(_COLUMNS_PER_ROW * self._num_rows, _LEAST_COLUMNS)
        if count <= most or count < len(self._keys):
            return
        order = np.argsort(self._reduced_usd, kind="stable")[most // 2 :]
        gone = np.sort(order[self._reduced_usd[order] > _DUAL_ROUNDING])  # none of them is in the basis
        self._lp.deleteCols(len(gone), (gone + self._first_column).astype(np.int32))
        kept = np.setdiff1d(np.arange(count), gone)
        self._seen.difference_update(self._keys[n] for n in gone)
        self._keys = [self._keys[n] for n in kept]
        columns = self._columns
        self._columns = Columns(columns.at[kept], columns.replicas[kept], columns.shares[kept])
        self._weights, self._reduced_usd = self._weights[kept], self._reduced_usd[kept]

    def _unseen(self, columns: Columns) -> Ints:
        """Return the positions of those columns that the program does not have yet."""
        rounded = np.round(columns.shares, 9)
        new = []
        for n, (d, replicas) in enumerate(zip(columns.at.tolist(), columns.replicas.tolist(), strict=True)):
            key = (d, replicas, rounded[n].tobytes())
            if key not in self._seen:
                self._seen.add(key)
                self._keys.append(key)
                new.append(n)
        return np.array(new, dtype=np.int64)

    def solve(self) -> tuple[float, Prices]:
        """Return the value of the program and its duals; pairs that are used more than once get their row first."""
        space = self._space
        while True:
            if not self._is_solved():
                if not self.is_held:
                    raise SolverCrashError(f"HiGHS left the relaxation {self._lp.getModelStatus().name}")
                self.release()  # a plan that mixes loads well serves demand for less than it is sold
                continue
            solution = self._lp.getSolution()
            self._weights = np.array(solution.col_value)[self._first_column :]
            self._reduced_usd = np.array(solution.col_dual)[self._first_column :]
            pairs = space.pair[self._columns.at]
            used = np.bincount(pairs, weights=self._weights, minlength=space.num_pairs)
            broken = np.flatnonzero((used > 1.0 + _CONVEXITY_ROUNDING) & (self._row_of_pair < 0))
            if not len(broken):
                value = float(self._lp.getObjectiveValue())
                return value, self._prices(np.array(solution.row_dual))
            for pair in broken:
                columns = np.flatnonzero(pairs == pair) + self._first_column
                self._lp.addRow(
                    -highspy.kHighsInf, 1.0, len(columns), columns.astype(np.int32), np.ones(len(columns))
                )
                self._row_of_pair[pair] = self._num_rows
                self._num_rows += 1

    def _is_solved(self) -> bool:
        """Solve the program; where the last basis leads nowhere, without it."""
        optimal = highspy.HighsModelStatus.kOptimal
        self._lp.run()
        if self._lp.getModelStatus() != optimal and not self.is_held:
            self._lp.clearSolver()
            self._lp.setOptionValue("simplex_strategy", _DUAL)
            self._lp.run()
            self._lp.setOptionValue("simplex_strategy", _PRIMAL)
        return bool(self._lp.getModelStatus() == optimal)

    def weights(self) -> Floats:
        """Return (D,) how much the last solution uses of each deployment's columns."""
        solved = self._columns.at[: len(self._weights)]  # more may have come since
        weights = np.zeros(self._space.num_deployments)
        np.add.at(weights, solved, self._weights)
        return weights

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
        convexity = np.where(self._row_of_pair >= 0, np.minimum(duals[self._row_of_pair], 0.0), 0.0)
        return Prices(
            demand_usd=duals[:types],
            excess_usd=np.minimum(duals[types : types * (1 + self._num_means)], 0.0).reshape(-1, types),
            budget=budget,
            storage_usd_per_gb=storage,
            gpu_usd=gpus,
            pair_usd=convexity,
        )
