"""HiGHS inside this process: an array program in, what became of it out."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import highspy
import numpy as np

from controller.domain.arrays import Floats

TOLERANCE = 1e-9
_STATUS = highspy.HighsModelStatus
_INFEASIBLE = (_STATUS.kInfeasible, _STATUS.kUnboundedOrInfeasible)
_NO_OBJECTIVE = 1e29

Outcome = Literal["optimal", "feasible", "infeasible", "nothing"]


@dataclass(frozen=True, slots=True, eq=False)
class Run:
    """What became of a program.

    Attributes
    ----------
    outcome : ``optimal`` within the gap that was asked for; ``feasible`` where a limit came first; ``infeasible`` where
        that is proved; ``nothing`` where a limit came before anything was found.
    values : (n,) of every column; None unless there is a solution.
    objective, bound : of that solution (inf without one), and what no solution is below (-inf without one).
    nodes : branch-and-bound nodes.
    """

    outcome: Outcome
    values: Floats | None
    objective: float
    bound: float
    nodes: int = 0

    def within(self, gap: float) -> Run:
        """Return the run of a solver that was given a relative gap, with a bound that holds.

        HiGHS and CBC prune what is within the gap of their solution; where nothing else is left, they call its
        objective the bound.
        """
        if self.values is None:
            return self
        return replace(self, bound=min(self.bound, self.objective - gap * abs(self.objective)))


def run_highs(
    model: highspy.HighsLp,
    *,
    seconds: float = math.inf,
    nodes: int | None = None,
    gap: float = 0.0,
    start: Floats | None = None,
    improved: Callable[[float], None] | None = None,
    units: Floats | None = None,
) -> Run:
    """Minimize a program.

    Parameters
    ----------
    seconds, nodes, gap : limits; the gap is relative.
    start : (n,) a solution to begin from.
    improved : is told the objective of each solution that is better than those before.
    units : (n,) how many of HiGHS's own one of each column is: powers of two, 1 for whole numbers. HiGHS's tolerances
        are absolute: without units, a share of 1e-6 is nothing to it, though it may be a replica.
    """
    if units is not None:
        model, start = _in_units(model, units), None if start is None else start * units
    solver = highspy.Highs()  # type: ignore[no-untyped-call]
    solver.silent()
    chosen: dict[str, bool | int | float | str] = {
        "threads": 1,
        "mip_rel_gap": gap,
        "mip_abs_gap": 0.0,
        "mip_feasibility_tolerance": TOLERANCE,
        "primal_feasibility_tolerance": TOLERANCE,
    }
    if math.isfinite(seconds):
        chosen["time_limit"] = max(seconds, 0.0)
    if nodes is not None:
        chosen["mip_max_nodes"] = nodes
    for name, value in chosen.items():
        solver.setOptionValue(name, value)
    if improved is not None:
        solver.cbMipImprovingSolution += lambda event: improved(
            float(event.data_out.objective_function_value)
        )
    solver.passModel(model)
    if start is not None:
        solution = highspy.HighsSolution()
        solution.col_value = start.tolist()
        solver.setSolution(solution)
    solver.run()
    run = _read(solver).within(gap)
    return run if units is None or run.values is None else replace(run, values=run.values / units)


def _in_units(model: highspy.HighsLp, units: Floats) -> highspy.HighsLp:
    """Return the same program with every column counted in its unit; the columns' lower bounds are 0."""
    scaled = highspy.HighsLp()
    scaled.num_col_, scaled.num_row_ = model.num_col_, model.num_row_
    scaled.col_cost_ = np.asarray(model.col_cost_) / units
    scaled.col_lower_, scaled.col_upper_ = model.col_lower_, np.asarray(model.col_upper_) * units
    scaled.row_lower_, scaled.row_upper_ = model.row_lower_, model.row_upper_
    scaled.a_matrix_.format_ = model.a_matrix_.format_
    scaled.a_matrix_.start_, scaled.a_matrix_.index_ = model.a_matrix_.start_, model.a_matrix_.index_
    scaled.a_matrix_.value_ = (
        np.asarray(model.a_matrix_.value_) / units[np.asarray(model.a_matrix_.index_, dtype=np.int64)]
    )
    scaled.integrality_ = model.integrality_
    return scaled


def _read(solver: highspy.Highs) -> Run:
    info, status = solver.getInfo(), solver.getModelStatus()
    nodes = max(int(info.mip_node_count), 0)
    objective = float(info.objective_function_value)
    found = info.primal_solution_status == 2 and abs(objective) < _NO_OBJECTIVE
    bound = float(info.mip_dual_bound)
    if status == _STATUS.kOptimal and not math.isfinite(bound):  # a linear program has no bound of its own
        bound = objective
    if status in _INFEASIBLE and not found:
        return Run("infeasible", None, math.inf, math.inf, nodes)
    if not found:
        return Run("nothing", None, math.inf, bound, nodes)
    values = np.array(solver.getSolution().col_value, dtype=np.float64)
    return Run("optimal" if status == _STATUS.kOptimal else "feasible", values, objective, bound, nodes)
