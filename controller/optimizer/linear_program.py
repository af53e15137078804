"""A linear program kept hot in HiGHS: bounds change, and each solve begins from a basis that is known."""

from __future__ import annotations

import math
from typing import Any

import highspy
import numpy as np

from controller.domain.arrays import Floats, Ints
from controller.errors import SolverCrashError

_FEASIBILITY = 1e-9
_STATUS = highspy.HighsModelStatus
_NOTHING = (_STATUS.kInfeasible, _STATUS.kUnboundedOrInfeasible, _STATUS.kObjectiveBound)  # none is unbounded

Basis = Any
"""HiGHS's: which columns and rows are at which bound. It is a copy, and stays as it is."""


class LinearProgram:
    """A program that is solved many times, a fraction of a millisecond each.

    Parameters
    ----------
    model : to minimize; its objective is bounded from below.
    changing : (n,) the columns with bounds that change.
    highs : of :func:`hot_highs`, to solve it with; what it was used for before is over. A new one if there is none.
    """

    def __init__(self, model: highspy.HighsLp, changing: Ints, highs: Any = None) -> None:
        self.changing = changing.astype(np.int32)
        self._lp = hot_highs() if highs is None else highs
        self._lp.setOptionValue("primal_feasibility_tolerance", _FEASIBILITY)
        self._lp.passModel(model)
        self._basis: Basis | None = None

    def solve(
        self, lower: Floats, upper: Floats, cutoff: float = math.inf, basis: Basis | None = None
    ) -> float:
        """Return the least objective with the changing columns between ``lower`` and ``upper`` (n,).

        inf where nothing is feasible, or as soon as it is known that nothing is below ``cutoff``.

        Parameters
        ----------
        basis : of an earlier solve, to begin from; that of the last one if there is none.

        Raises
        ------
        SolverCrashError : where HiGHS does not decide it.
        """
        if basis is not None and basis is not self._basis:
            self._lp.setBasis(basis)
        self._basis = None
        self._lp.changeColsBounds(len(self.changing), self.changing, lower, upper)
        self._lp.setOptionValue("objective_bound", cutoff)
        self._lp.run()
        status = self._lp.getModelStatus()
        if status != _STATUS.kOptimal and status not in _NOTHING:
            self._lp.clearSolver()  # the last basis may lead nowhere
            self._lp.run()
            status = self._lp.getModelStatus()
        if status in _NOTHING:
            return math.inf
        if status != _STATUS.kOptimal:
            raise SolverCrashError(f"HiGHS left a linear program {status.name}")
        return float(self._lp.getObjectiveValue())

    def basis(self) -> Basis:
        """Return the basis of the last solve."""
        if self._basis is None:
            self._basis = self._lp.getBasis()
        return self._basis

    def solution(self) -> tuple[Floats, Floats]:
        """Return the value and the reduced cost of every column, in the last solution."""
        solution = self._lp.getSolution()  # a copy of all of it
        return np.array(solution.col_value), np.array(solution.col_dual)


def hot_highs() -> Any:
    """Return HiGHS for a program that is solved again and again: each time from the last basis, without presolve.

    It takes a tenth of a millisecond to make, which is worth saving where many small programs come one after the other.
    """
    lp: Any = highspy.Highs()  # type: ignore[no-untyped-call]
    lp.silent()
    lp.setOptionValue("threads", 1)
    lp.setOptionValue("presolve", "off")
    return lp
