"""The reference: the whole problem as a MILP, through PuLP on HiGHS, which runs inside this process."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import highspy
import numpy as np
import pulp

from controller.domain.arrays import Floats
from controller.optimizer.model import Model, build, solution_values
from controller.optimizer.multi_start import rerouted
from controller.optimizer.search import Search
from controller.optimizer.space import SearchSpace
from controller.optimizer.state import AllocationState

_TOLERANCE = 1e-9
_PROOF = 1e-6
_STATUS = highspy.HighsModelStatus


class WarmHighs(pulp.HiGHS):  # type: ignore[misc]
    """PuLP's HiGHS, begun from a known solution, and telling what a bounded run has found.

    PuLP's own class ignores ``warmStart`` and has no word for a run that its node limit ended.

    Attributes
    ----------
    bound, nodes : proved bound on the objective, and branch-and-bound nodes.
    model_status, has_solution : HiGHS's own words on the run.
    """

    def __init__(self, start: Mapping[str, float] | None = None, **options: Any) -> None:
        super().__init__(msg=False, threads=1, **options)
        self._start = start
        self.bound = -math.inf
        self.nodes = 0
        self.model_status = _STATUS.kNotset
        self.has_solution = False

    def buildSolverModel(self, lp: Any) -> None:  # noqa: N802
        """Hand the problem over in arrays; PuLP's own way, a call for each row, takes most of a short time limit."""
        variables, rows = lp.variables(), lp.constraints()
        for n, variable in enumerate(variables):
            variable.index = n
        for n, row in enumerate(rows):
            row.index = n
        model = highspy.HighsLp()
        model.num_col_, model.num_row_ = len(variables), len(rows)
        model.col_cost_ = np.array([lp.objective.get(variable, 0.0) for variable in variables])
        model.col_lower_ = _bounds((variable.lowBound for variable in variables), -highspy.kHighsInf)
        model.col_upper_ = _bounds((variable.upBound for variable in variables), highspy.kHighsInf)
        model.row_lower_ = _bounds((row.getLb() for row in rows), -highspy.kHighsInf)
        model.row_upper_ = _bounds((row.getUb() for row in rows), highspy.kHighsInf)
        model.a_matrix_.format_ = highspy.MatrixFormat.kRowwise
        model.a_matrix_.start_ = np.cumsum([0, *(len(row) for row in rows)])
        model.a_matrix_.index_ = np.array(
            [variable.index for row in rows for variable in row], dtype=np.int32
        )
        model.a_matrix_.value_ = np.array([value for row in rows for value in row.values()], dtype=np.float64)
        if self.mip:
            kinds = {True: highspy.HighsVarType.kInteger, False: highspy.HighsVarType.kContinuous}
            model.integrality_ = [kinds[variable.cat == pulp.LpInteger] for variable in variables]
        lp.solverModel.passModel(model)

    def callSolver(self, lp: Any) -> None:  # noqa: N802
        """Run HiGHS."""
        if self._start is not None:
            solution = highspy.HighsSolution()
            solution.col_value = [self._start.get(variable.name, 0.0) for variable in lp.variables()]
            lp.solverModel.setSolution(solution)
        lp.solverModel.run()

    def findSolutionValues(self, lp: Any) -> tuple[int, int]:  # noqa: N802
        """Read the run; return PuLP's status and ``sol_status``."""
        info = lp.solverModel.getInfo()
        self.model_status = lp.solverModel.getModelStatus()
        self.nodes = max(int(info.mip_node_count), 0)
        self.has_solution = info.primal_solution_status == 2 and abs(info.objective_function_value) < 1e29
        if self.model_status == _STATUS.kOptimal and not math.isfinite(info.mip_dual_bound):
            self.bound = float(info.objective_function_value)
        else:
            self.bound = float(info.mip_dual_bound)
        if self.has_solution:
            values = lp.solverModel.getSolution().col_value
            for variable, value in zip(lp.variables(), values, strict=True):
                variable.varValue = value
        if self.model_status == _STATUS.kOptimal:
            return pulp.LpStatusOptimal, pulp.LpSolutionOptimal
        if self.model_status in (_STATUS.kInfeasible, _STATUS.kUnboundedOrInfeasible):
            return pulp.LpStatusInfeasible, pulp.LpSolutionInfeasible
        if self.has_solution:
            return pulp.LpStatusOptimal, pulp.LpSolutionIntegerFeasible
        return pulp.LpStatusNotSolved, pulp.LpSolutionNoSolutionFound


def _bounds(values: Iterable[float | None], default: float) -> Floats:
    return np.array([default if value is None else value for value in values], dtype=np.float64)


@dataclass(frozen=True, slots=True)
class Limits:
    """What bounds branch and bound: seconds that are left, nodes (None for any), and the gap that is good enough."""

    remaining_s: Callable[[], float]
    nodes: int | None
    gap: float


def milp(search: Search) -> None:
    """Solve the MILP from the best plan that is known, until it is proved or the stop rule ends it.

    The search space leaves out only what some cheapest plan does without, so that the optimum is that of the whole.
    An iteration is a node.
    """
    counts = (search.stop.remaining_iterations(), search.params.node_limit)
    nodes = min((count for count in counts if count is not None), default=None)
    branch_and_bound(search, Limits(search.stop.remaining_s, nodes, search.params.milp_gap))


def branch_and_bound(search: Search, limits: Limits) -> None:
    """Solve the MILP within ``limits``; the plan, the bound, and what was proved go to ``search``."""
    space = search.space
    model = build(space, should_stop=lambda: limits.remaining_s() <= 0)
    if model is None:
        return
    options: dict[str, Any] = {
        "gapRel": limits.gap,
        "gapAbs": 0.0,
        "mip_feasibility_tolerance": _TOLERANCE,
        "primal_feasibility_tolerance": _TOLERANCE,
    }
    seconds = limits.remaining_s()
    if math.isfinite(seconds):
        options["timeLimit"] = max(seconds, 0.0)
    if limits.nodes is not None:
        options["mip_max_nodes"] = limits.nodes
    start = None
    if search.best is not None and search.best.serves_enough:
        start = solution_values(model, space, search.best.replicas, search.best.shares)
    solver = WarmHighs(start, **options)
    model.problem.solve(solver)
    search.iterations += solver.nodes
    if model.problem.sol_status == pulp.LpSolutionInfeasible:
        search.proved_infeasible = True
        return
    if math.isfinite(solver.bound) and solver.bound > (search.lower_bound_usd or 0.0):
        search.lower_bound_usd = solver.bound
    if solver.has_solution:
        found = _state(space, model)
        search.offer(found)
        search.offer(rerouted(space, found))
    search.proved_optimal = model.problem.sol_status == pulp.LpSolutionOptimal and limits.gap <= _PROOF


def _state(space: SearchSpace, model: Model) -> AllocationState:
    """Return the state of the solver's solution: whole replicas, and the cheapest routing that they carry."""
    shares: Floats = np.zeros((space.num_types, space.num_deployments))
    replicas = np.array([round(variable.varValue or 0.0) for variable in model.replicas], dtype=float)
    for (i, d), variable in model.shares.items():
        if replicas[d] > 0:
            shares[i, d] = min(max(variable.varValue or 0.0, 0.0), 1.0)
    state = AllocationState(space)
    state.shares, state.held = shares, replicas
    state.refresh()
    return rerouted(space, state)
