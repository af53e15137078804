"""The reference: the whole problem as a MILP, by HiGHS in this process or by CBC in one of its own.

The model is PuLP's (:mod:`controller.optimizer.model`). Where that has so many terms that building it would take much
of a short time limit, HiGHS gets the same rows in arrays (:mod:`controller.optimizer.program`).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import highspy
import numpy as np

from controller.domain.arrays import Floats
from controller.optimizer.cbc import run_cbc
from controller.optimizer.highs import Run, run_highs
from controller.optimizer.model import Model, build, solution_values
from controller.optimizer.program import Program, share_units
from controller.optimizer.routing import route
from controller.optimizer.search import Search
from controller.optimizer.space import SearchSpace
from controller.optimizer.state import AllocationState

_PROOF = 1e-6
_PULP_SHARES = 3_000
_HIGHS_SHARE = 0.95
"""Part of what is left that HiGHS is given: it looks at the clock between its steps, and routing comes after."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What bounds branch and bound: seconds that are left, nodes (None for any), and the gap that is good enough."""

    remaining_s: Callable[[], float]
    nodes: int | None
    gap: float

    def stop(self) -> bool:
        """Whether no time is left."""
        return self.remaining_s() <= 0


def milp(search: Search) -> None:
    """Solve the MILP from the best plan that is known, until it is proved or the stop rule ends it.

    The search space leaves out only what some cheapest plan does without, so that the optimum is that of the whole.
    An iteration is a node.
    """
    counts = (search.stop.remaining_iterations(), search.params.node_limit)
    nodes = min((count for count in counts if count is not None), default=None)
    branch_and_bound(search, Limits(search.stop.remaining_s, nodes, search.params.milp_gap))


def branch_and_bound(search: Search, limits: Limits) -> None:
    """Solve the MILP within ``limits``; the plan, the bound, and what was proved go to ``search``.

    Raises
    ------
    SolverCrashError : CBC is asked for and cannot be run, or ended without a word.
    """
    space = search.space
    start: tuple[Floats, Floats] | None = None
    if search.best is not None and search.best.serves_enough:
        start = (search.best.replicas, search.best.shares)
    if search.params.milp_solver == "highs" and np.count_nonzero(space.allowed) > _PULP_SHARES:
        done = _by_arrays(space, limits, start)
    else:
        done = _by_pulp(space, limits, start, search.params.milp_solver)
    if done is None:
        return
    run, replicas, shares = done
    search.iterations += run.nodes
    if run.outcome == "infeasible":
        search.proved_infeasible = True
        return
    if math.isfinite(run.bound) and run.bound > (search.lower_bound_usd or 0.0):
        search.lower_bound_usd = run.bound
    if run.values is not None:
        states = _states(space, np.rint(replicas), shares)
        if start is None and any(state.serves_enough and state.keeps_limits for state in states):
            search.forget()  # what serves too little may look cheap beside the only plans there are
        for state in states:
            search.offer(state)
    search.proved_optimal = run.outcome == "optimal" and limits.gap <= _PROOF


def _by_arrays(
    space: SearchSpace, limits: Limits, start: tuple[Floats, Floats] | None
) -> tuple[Run, Floats, Floats] | None:
    """Solve the program in arrays; return the run, and its replicas (D,) and shares (I, D)."""
    if limits.stop():
        return None
    program = Program.of(space)
    run = run_highs(
        program.highs(program.cost_usd()),
        seconds=limits.remaining_s() * _HIGHS_SHARE,
        nodes=limits.nodes,
        gap=limits.gap,
        units=program.units(),
        start=None if start is None else program.values_of(*start),
    )
    values = np.zeros(program.num_columns) if run.values is None else run.values
    return run, *program.fleet_and_shares(values)


def _by_pulp(
    space: SearchSpace, limits: Limits, start: tuple[Floats, Floats] | None, solver: str
) -> tuple[Run, Floats, Floats] | None:
    """Solve the PuLP model; None where the time was over before it was built."""
    model = build(space, should_stop=limits.stop)
    if model is None or limits.stop():
        return None
    by_name = None if start is None else solution_values(model, space, *start)
    variables = model.problem.variables()
    if solver == "cbc":
        run = run_cbc(
            model.problem, seconds=limits.remaining_s(), nodes=limits.nodes, gap=limits.gap, start=by_name
        )
    else:
        run = run_highs(
            to_highs(model),
            seconds=limits.remaining_s() * _HIGHS_SHARE,
            nodes=limits.nodes,
            gap=limits.gap,
            units=_units(model, space),
            start=None if by_name is None else np.array([by_name.get(item.name, 0.0) for item in variables]),
        )
    value = dict.fromkeys((item.name for item in variables), 0.0)
    if run.values is not None:
        value.update(zip((item.name for item in variables), run.values.tolist(), strict=True))
    replicas = np.array([value[item.name] for item in model.replicas])
    shares = np.zeros((space.num_types, space.num_deployments))
    for (i, d), item in model.shares.items():
        shares[i, d] = min(max(value[item.name], 0.0), 1.0)
    return run, replicas, shares


def _units(model: Model, space: SearchSpace) -> Floats:
    """Return (n,) what to count each variable in: the same as in :meth:`Program.units`."""
    of_type = share_units(space)
    by_name = {item.name: of_type[i] for (i, _), item in model.shares.items()}
    by_name |= {item.name: of_type[i] for i, item in model.unmet.items()}
    return np.array([by_name.get(item.name, 1.0) for item in model.problem.variables()])


def to_highs(model: Model) -> highspy.HighsLp:
    """Return a PuLP model in HiGHS's own form, columns in the order of ``problem.variables()``.

    PuLP's own way, a call for each row, takes most of a short time limit.
    """
    variables, rows = model.problem.variables(), model.problem.constraints()
    position = {variable: n for n, variable in enumerate(variables)}
    objective = model.problem.objective
    program = highspy.HighsLp()
    program.num_col_, program.num_row_ = len(variables), len(rows)
    program.col_cost_ = np.array([objective.get(variable, 0.0) for variable in variables])
    program.col_lower_ = np.array([variable.lowBound or 0.0 for variable in variables])
    program.col_upper_ = np.array(
        [math.inf if variable.upBound is None else variable.upBound for variable in variables]
    )
    bounds = [(row.getLb(), row.getUb()) for row in rows]
    program.row_lower_ = np.array([-math.inf if low is None else low for low, _ in bounds])
    program.row_upper_ = np.array([math.inf if high is None else high for _, high in bounds])
    program.a_matrix_.format_ = highspy.MatrixFormat.kRowwise
    program.a_matrix_.start_ = np.cumsum([0, *(len(row) for row in rows)]).astype(np.int32)
    program.a_matrix_.index_ = np.array([position[item] for row in rows for item in row], dtype=np.int32)
    program.a_matrix_.value_ = np.array([value for row in rows for value in row.values()], dtype=np.float64)
    kinds = {True: highspy.HighsVarType.kInteger, False: highspy.HighsVarType.kContinuous}
    program.integrality_ = [kinds[variable.cat == "Integer"] for variable in variables]
    return program


def _states(space: SearchSpace, replicas: Floats, shares: Floats) -> tuple[AllocationState, ...]:
    """Return a solution's own routes, what is routed to nothing left out, and the cheapest over its replicas."""
    own = AllocationState.of_shares(space, np.where(replicas > 0, shares, 0.0))
    fleet = np.zeros(space.instance.arrays.num_deployments, dtype=np.int64)
    fleet[space.ids] = replicas.astype(np.int64)
    routed: Floats = route(space.instance, fleet)[:, space.ids]
    routed[space.idle_types] = 0.0
    return own, AllocationState.of_shares(space, np.where(space.allowed, routed, 0.0))
