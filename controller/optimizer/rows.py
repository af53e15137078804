"""Rows of a program in arrays: written block by block, and put together for HiGHS."""

from __future__ import annotations

from dataclasses import dataclass

import highspy
import numpy as np

from controller.domain.arrays import Bools, Floats, Ints

KINDS = (highspy.HighsVarType.kContinuous, highspy.HighsVarType.kInteger)
"""Of a column, by whether it is a whole number."""


@dataclass(frozen=True, slots=True, eq=False)
class Constraints:
    """m rows: ``lower`` and ``upper`` (m,), and the matrix by rows, ``starts`` (m + 1,), ``columns``, ``values``."""

    lower: Floats
    upper: Floats
    starts: Ints
    columns: Ints
    values: Floats

    def model(self, costs: Floats, upper: Floats, whole: Bools | None = None) -> highspy.HighsLp:
        """Return HiGHS's own form, to minimize ``costs`` (n,) over columns between 0 and ``upper`` (n,).

        ``whole`` (n,) tells which columns are whole numbers; None for none.
        """
        model = highspy.HighsLp()
        model.num_col_, model.num_row_ = len(costs), len(self.lower)
        model.col_cost_, model.col_lower_, model.col_upper_ = costs, np.zeros(len(costs)), upper
        model.row_lower_, model.row_upper_ = self.lower, self.upper
        model.a_matrix_.format_ = highspy.MatrixFormat.kRowwise
        model.a_matrix_.start_ = self.starts.astype(np.int32)
        model.a_matrix_.index_ = self.columns.astype(np.int32)
        model.a_matrix_.value_ = self.values
        if whole is not None:
            model.integrality_ = [KINDS[kind] for kind in whole.tolist()]
        return model


class Rows:
    """Rows as they come, by blocks."""

    def __init__(self) -> None:
        self._rows: list[Ints] = []
        self._columns: list[Ints] = []
        self._values: list[Floats] = []
        self._lower: list[Floats] = []
        self._upper: list[Floats] = []
        #: How many there are so far: the number of the next one.
        self.count = 0

    def add(self, rows: Ints, columns: Ints, values: Floats, lower: Floats, upper: Floats) -> None:
        """Add rows numbered from 0 within this block."""
        self._rows.append(rows + self.count)
        self._columns.append(columns)
        self._values.append(values)
        self._lower.append(lower)
        self._upper.append(upper)
        self.count += len(upper)

    def add_some(self, wanted: Ints, owners: Ints, columns: Ints, values: Floats, limit: float) -> None:
        """Add a row Σ value · column <= limit for each of the ``wanted`` owners, of the terms that are its own."""
        if not len(wanted):
            return
        position = np.full(max(int(owners.max(initial=-1)), int(wanted.max())) + 1, -1)
        position[wanted] = np.arange(len(wanted))
        row = position[owners]
        mine = row >= 0
        none = np.full(len(wanted), -np.inf)
        self.add(row[mine], columns[mine], values[mine], none, np.full(len(wanted), limit))

    def add_pairs(
        self, first: Ints, second: Ints, value: float | Floats, limit: float | Floats = 0.0
    ) -> None:
        """Add rows ``first + value · second <= limit``, of two columns each."""
        count = len(first)
        if not count:
            return
        order = np.arange(count)
        self.add(
            np.concatenate([order, order]),
            np.concatenate([first, second]),
            np.concatenate([np.ones(count), np.broadcast_to(value, count)]),
            np.full(count, -np.inf),
            np.broadcast_to(np.asarray(limit, dtype=np.float64), count),
        )

    def add_one(self, weights: Floats, limit: float) -> None:
        """Add one row over all columns."""
        columns = np.flatnonzero(weights)
        self.add(
            np.zeros(len(columns), dtype=np.int64),
            columns,
            weights[columns],
            np.array([-np.inf]),
            np.array([limit]),
        )

    def joined(self) -> Constraints:
        """Return all rows, the terms of each in the order in which they came."""
        rows = np.concatenate(self._rows)
        order = np.argsort(rows, kind="stable")
        return Constraints(
            np.concatenate(self._lower),
            np.concatenate(self._upper),
            np.concatenate([[0], np.cumsum(np.bincount(rows, minlength=self.count))]),
            np.concatenate(self._columns)[order],
            np.concatenate(self._values)[order],
        )
