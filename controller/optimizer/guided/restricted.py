"""The allocation problem over a few deployments, as a small MILP in arrays, on HiGHS.

Variables, in this order: shares x of allowed routes, w (one for each deployment), r where more than one replica may
run, starts s where some run already, unmet u, and unmet beyond ζ where that is limited. Where one replica is the most,
w is r. Rows are those of docs/mathematics.md with ``x <= w``, those left out that cannot bind.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import highspy
import numpy as np

from controller.domain.arrays import Bools, Floats, Ints
from controller.optimizer.space import SearchSpace
from controller.optimizer.state import AllocationState

_TOLERANCE = 1e-9
_RINS_EFFORT = 0.1
_STATUS = highspy.HighsModelStatus
_OPTIONS: dict[str, bool | int | float | str] = {
    # Tiny programs: what HiGHS does to save nodes costs more than the nodes do.
    "threads": 1,
    "presolve": "off",
    "mip_heuristic_effort": 0.0,
    "mip_heuristic_run_feasibility_jump": False,
    "mip_heuristic_run_rins": False,
    "mip_heuristic_run_rens": False,
    "mip_heuristic_run_root_reduced_cost": False,
    "mip_detect_symmetry": False,
    "mip_allow_restart": False,
    "mip_pool_soft_limit": 10,
    "mip_pool_age_limit": 1,
    "mip_feasibility_tolerance": _TOLERANCE,
    "primal_feasibility_tolerance": _TOLERANCE,
}


@dataclass(frozen=True, slots=True, eq=False)
class Outcome:
    """What a restricted MILP has found.

    Attributes
    ----------
    state : a plan, exact; None where none was found (that is cheaper than the start).
    bound_usd : a cost that no plan over these deployments is below.
    solved : whether the search came to its end, within the gap.
    nodes : branch-and-bound nodes.
    """

    state: AllocationState | None
    bound_usd: float
    solved: bool
    nodes: int


@dataclass(frozen=True, slots=True)
class Effort:
    """How long a restricted MILP may take: until told to stop, a number of nodes, and the gap that will do.

    ``from_afar``: whether the start is far from what can be had, so that looking for solutions (RINS) pays.
    """

    should_stop: Callable[[], bool]
    nodes: int
    gap: float
    from_afar: bool = False


class RestrictedMilp:
    """The MILP of a search space over some of its deployments.

    Parameters
    ----------
    at : (n,) the deployments, each once.
    """

    def __init__(self, space: SearchSpace, at: Ints) -> None:
        self._space, self._at = space, at
        allowed = space.allowed[:, at].T  # (n, I)
        self._n_of, self._i_of = np.nonzero(allowed)
        self._d_of = at[self._n_of]
        num_x, num, types = len(self._n_of), len(at), space.num_types
        cap = space.cap[at]
        many = np.flatnonzero(cap > 1)
        running = np.flatnonzero((space.incumbent[at] > 0) & (space.start_usd[at] > 0))
        self._x = np.arange(num_x)
        self._w = num_x + np.arange(num)
        self._r = self._w.copy()
        self._r[many] = num_x + num + np.arange(len(many))
        self._many, self._running = many, running
        first = num_x + num + len(many)
        self._s = first + np.arange(len(running))
        first += len(running)
        self._u = first + np.arange(types)
        self._must = np.flatnonzero(space.max_unmet < 1.0)
        self._short = first + types + np.arange(len(self._must))
        self._num_columns = first + types + len(self._must)
        self._rows: list[tuple[Ints, Ints, Floats]] = []
        self._lower: list[Floats] = []
        self._upper: list[Floats] = []
        self._num_rows = 0
        self._add_rows(allowed)

    def solve(self, effort: Effort, start: AllocationState | None = None) -> Outcome:
        """Run HiGHS, from a plan over these deployments if there is one."""
        solver = highspy.Highs()  # type: ignore[no-untyped-call]
        solver.silent()
        for name, value in _OPTIONS.items():
            solver.setOptionValue(name, value)
        if effort.from_afar:
            solver.setOptionValue("mip_heuristic_effort", _RINS_EFFORT)
            solver.setOptionValue("mip_heuristic_run_rins", True)
        solver.setOptionValue("mip_rel_gap", effort.gap)
        solver.setOptionValue("mip_abs_gap", 0.0)
        solver.setOptionValue("mip_max_nodes", effort.nodes)
        solver.passModel(self._model())
        if start is not None:
            solution = highspy.HighsSolution()
            solution.col_value = self._values(start)
            solver.setSolution(solution)

        def interrupt(event: Any) -> None:  # HiGHS's own limit knows no clock but the wall's
            if effort.should_stop():
                event.interrupt()

        solver.cbMipInterrupt.subscribe(interrupt)
        solver.run()
        info, status = solver.getInfo(), solver.getModelStatus()
        found = info.primal_solution_status == 2 and abs(info.objective_function_value) < 1e29
        state = self._state(np.array(solver.getSolution().col_value)) if found else None
        solved = status == _STATUS.kOptimal
        bound = float(info.mip_dual_bound) if math.isfinite(info.mip_dual_bound) else -math.inf
        return Outcome(state, bound, solved, max(int(info.mip_node_count), 0))

    def _add_rows(self, allowed: Bools) -> None:
        space, at = self._space, self._at
        n_of, i_of, d_of = self._n_of, self._i_of, self._d_of
        num, types = len(at), space.num_types
        every = np.arange(types)
        demand = [(i_of, self._x, np.ones(len(i_of))), (every, self._u, np.ones(types))]
        demand.append((self._must, self._short, np.ones(len(self._must))))
        self._block(types, demand, 1.0, 1.0)
        for excess in space.excess:
            value = excess[i_of, d_of]
            breaks = np.zeros(types, dtype=bool)
            breaks[i_of[value > 0]] = True
            mine = breaks[i_of]
            row = (np.cumsum(breaks) - 1)[i_of[mine]]
            self._block(int(breaks.sum()), [(row, self._x[mine], value[mine])], -np.inf, 0.0)
        self._block(
            len(n_of),
            [(self._x, self._x, np.ones(len(n_of))), (self._x, self._w[n_of], np.full(len(n_of), -1.0))],
            -np.inf,
            0.0,
        )
        compute, memory = space.compute[:, at].T, space.memory[:, at].T
        for load, other in ((compute, None), (memory, compute)):
            binds = np.where(allowed, load, 0.0).sum(axis=1) > 1.0
            if other is not None:
                binds &= (allowed & (load > other)).any(axis=1)
            row_of = np.cumsum(binds) - 1
            mine = binds[n_of]
            capacity = np.flatnonzero(binds)
            self._block(
                len(capacity),
                [
                    (row_of[n_of[mine]], self._x[mine], load[n_of[mine], i_of[mine]]),
                    (row_of[capacity], self._r[capacity], np.full(len(capacity), -1.0)),
                ],
                -np.inf,
                0.0,
            )
        many, count = self._many, len(self._many)
        order, ones = np.arange(count), np.ones(count)
        self._block(
            count, [(order, self._r[many], ones), (order, self._w[many], -space.cap[at[many]])], -np.inf, 0.0
        )
        self._block(count, [(order, self._w[many], ones), (order, self._r[many], -ones)], -np.inf, 0.0)
        running = self._running
        order, ones = np.arange(len(running)), np.ones(len(running))
        self._block(
            len(running),
            [(order, self._r[running], ones), (order, self._s, -ones)],
            -np.inf,
            space.incumbent[at[running]],
        )
        _, pair, configs = np.unique(space.pair[at], return_inverse=True, return_counts=True)
        shared = configs > 1
        mine = shared[pair]
        row = (np.cumsum(shared) - 1)[pair[mine]]
        self._block(int(shared.sum()), [(row, self._w[mine], np.ones(int(mine.sum())))], -np.inf, 1.0)
        zeros = np.zeros(num, dtype=np.int64)
        if np.isfinite(space.budget_usd):
            spend = np.zeros(self._num_columns)  # r and w are one column where one replica is the most
            spend[self._x] = space.token_usd[i_of]
            spend[self._w] += space.open_usd[at]
            spend[self._r] += space.rent_usd[at]
            columns = np.flatnonzero(spend)
            self._block(1, [(np.zeros_like(columns), columns, spend[columns])], -np.inf, space.budget_usd)
        if np.isfinite(space.storage_gb):
            self._block(1, [(zeros, self._w, space.weights_gb[at])], -np.inf, space.storage_gb)
        for k in np.unique(space.tier[at][np.isfinite(space.available[space.tier[at]])]):
            mine = np.flatnonzero(space.tier[at] == k)
            self._block(1, [(zeros[mine], self._r[mine], space.gpus[at][mine])], -np.inf, space.available[k])

    def _block(
        self,
        count: int,
        entries: list[tuple[Ints, Ints, Floats]],
        lower: float,
        upper: float | Floats,
    ) -> None:
        """Add ``count`` rows of the entries (row, column, value), rows counted from 0."""
        if not count:
            return
        for row, column, value in entries:
            self._rows.append((row + self._num_rows, column, value))
        self._lower.append(np.full(count, lower))
        self._upper.append(np.broadcast_to(np.asarray(upper, dtype=np.float64), count))
        self._num_rows += count

    def _model(self) -> highspy.HighsLp:
        space, at = self._space, self._at
        cost, upper = np.zeros(self._num_columns), np.ones(self._num_columns)
        cost[self._x] = space.route_usd[self._i_of, self._d_of]
        cost[self._w] = space.open_usd[at]
        starts = space.start_usd[at].copy()
        starts[self._running] = 0.0
        cost[self._r] += space.rent_usd[at] + starts
        upper[self._r] = space.cap[at]
        upper[self._w] = np.minimum(upper[self._w], 1.0)
        cost[self._s] = space.start_usd[at[self._running]]
        upper[self._s] = np.inf
        cost[self._u], upper[self._u] = space.unmet_usd, space.max_unmet
        cost[self._short] = (space.unmet_usd + space.shortfall_usd)[self._must]
        row = np.concatenate([entry[0] for entry in self._rows])
        column = np.concatenate([entry[1] for entry in self._rows])
        value = np.concatenate([entry[2] for entry in self._rows])
        order = np.argsort(row, kind="stable")
        model = highspy.HighsLp()
        model.num_col_, model.num_row_ = self._num_columns, self._num_rows
        model.col_cost_, model.col_lower_, model.col_upper_ = cost, np.zeros(self._num_columns), upper
        model.row_lower_, model.row_upper_ = np.concatenate(self._lower), np.concatenate(self._upper)
        model.a_matrix_.format_ = highspy.MatrixFormat.kRowwise
        model.a_matrix_.start_ = np.searchsorted(row[order], np.arange(self._num_rows + 1)).astype(np.int32)
        model.a_matrix_.index_ = column[order].astype(np.int32)
        model.a_matrix_.value_ = value[order]
        kinds = np.zeros(self._num_columns, dtype=bool)
        kinds[self._w] = kinds[self._r] = True
        whole, continuous = highspy.HighsVarType.kInteger, highspy.HighsVarType.kContinuous
        model.integrality_ = [whole if kind else continuous for kind in kinds.tolist()]
        return model

    def _values(self, state: AllocationState) -> Floats:
        """Return the value of every variable for a plan."""
        space, at = self._space, self._at
        values = np.zeros(self._num_columns)
        replicas = state.replicas[at]
        values[self._x] = state.shares[self._i_of, self._d_of]
        values[self._r] = replicas
        values[self._w] = replicas > 0
        values[self._s] = np.maximum(replicas - space.incumbent[at], 0.0)[self._running]
        values[self._u] = np.minimum(state.unmet, space.max_unmet)
        values[self._short] = np.maximum(state.unmet - space.max_unmet, 0.0)[self._must]
        return values

    def _state(self, values: Floats) -> AllocationState:
        """Return the solution as an exact state: replicas follow from its shares."""
        space = self._space
        shares = np.zeros((space.num_types, space.num_deployments))
        running = np.rint(values[self._r])[self._n_of] > 0
        shares[self._i_of, self._d_of] = np.where(running, np.clip(values[self._x], 0.0, 1.0), 0.0)
        shares /= np.maximum(shares.sum(axis=1, keepdims=True), 1.0)
        return AllocationState.of_shares(space, shares)
