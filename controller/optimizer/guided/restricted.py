"""The allocation problem over a few deployments, as a small MILP in arrays, on HiGHS.

Variables, in this order: shares x of allowed routes, w (one for each deployment), r where more than one replica may
run, starts s where some run already, unmet u, and unmet beyond ζ where that is limited. Where one replica is the most,
w is r. Rows are those of docs/mathematics.md, those left out that cannot bind. Rows ``x <= w`` say nothing of whole
numbers that capacity does not say, but make the relaxation far tighter, and of hundreds a few dozen do so: those are
added that its solutions break.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import highspy
import numpy as np

from controller.domain.arrays import Floats, Ints
from controller.optimizer.highs import run_highs
from controller.optimizer.rows import KINDS, Rows
from controller.optimizer.space import SearchSpace
from controller.optimizer.state import AllocationState

_LOOKS_PER_NODE = 400
_OPTIONS: dict[str, bool | int | float | str] = {
    # Tiny programs: what HiGHS does to save nodes costs more than the nodes do.
    "presolve": "off",
    "mip_heuristic_effort": 0.0,
    "mip_heuristic_run_feasibility_jump": False,
    "mip_heuristic_run_rins": False,
    "mip_heuristic_run_rens": False,
    "mip_heuristic_run_root_reduced_cost": False,
    "mip_detect_symmetry": False,
    "mip_allow_restart": False,
    "mip_allow_cut_separation_at_nodes": False,
    "mip_pool_soft_limit": 10,
    "mip_pool_age_limit": 1,
    "mip_lp_age_limit": 1,
}
_ROUNDS, _VIOLATED = 6, 1e-6
_LEAST_LOAD = 1e-3
"""A load below which capacity, within its tolerance, might not tell that a deployment serves at all."""


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
    """How long a restricted MILP may take: until told to stop, a number of nodes if any, and the gap that will do.

    ``presolve`` is worth its time where there are many deployments that no one needs.
    """

    should_stop: Callable[[], bool]
    nodes: int | None
    gap: float
    presolve: bool = False


class RestrictedMilp:
    """The MILP of a search space over some of its deployments.

    Parameters
    ----------
    at : (n,) the deployments, each once.
    """

    def __init__(self, space: SearchSpace, at: Ints) -> None:
        self._space, self._at = space, at
        self._n_of, self._i_of = np.nonzero(space.allowed[:, at].T)
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

    def solve(self, effort: Effort, start: AllocationState | None = None) -> Outcome:
        """Run HiGHS, from a plan over these deployments if there is one."""
        run = run_highs(
            self._model(),
            nodes=effort.nodes,
            gap=effort.gap,
            start=None if start is None else self._values(start),
            should_stop=effort.should_stop,
            looks_per_node=_LOOKS_PER_NODE,
            options={**_OPTIONS, "presolve": "on"} if effort.presolve else _OPTIONS,
        )
        state = None if run.values is None else self._state(run.values)
        bound_usd = run.bound if math.isfinite(run.bound) else -math.inf
        return Outcome(state, bound_usd, run.outcome == "optimal", run.nodes)

    def _add_demand(self, rows: Rows) -> None:
        """Add constraints 1, and 2 where the delay SLO is a mean, and 3."""
        space, i_of, types = self._space, self._i_of, self._space.num_types
        every, ones = np.arange(types), np.ones(types)
        of_row = np.concatenate([i_of, every, self._must])
        columns = np.concatenate([self._x, self._u, self._short])
        rows.add(of_row, columns, np.ones(len(columns)), ones, ones)
        for excess in space.excess:
            value = excess[i_of, self._d_of]
            breaks = np.zeros(types, dtype=bool)
            breaks[i_of[value > 0]] = True
            rows.add_some(np.flatnonzero(breaks), i_of, self._x, value, 0.0)

    def _add_capacity(self, rows: Rows) -> None:
        """Add constraints 4 and 5, what ties w to r and to x, and the starts."""
        space, at = self._space, self._at
        n_of, many, running = self._n_of, self._many, self._running
        small = np.flatnonzero(space.compute[self._i_of, self._d_of] < _LEAST_LOAD)
        rows.add_pairs(self._x[small], self._w[n_of[small]], -1.0)
        owners, columns = np.concatenate([n_of, np.arange(len(at))]), np.concatenate([self._x, self._r])
        allowed, compute, memory = space.allowed[:, at].T, space.compute[:, at].T, space.memory[:, at].T
        every = np.ones(len(at), dtype=bool)
        memory_binds = (np.where(allowed, memory, 0.0).sum(axis=1) > 1.0) & (
            allowed & (memory > compute)
        ).any(axis=1)
        for load, binds in ((compute, every), (memory, memory_binds)):
            values = np.concatenate([load[n_of, self._i_of], np.full(len(at), -1.0)])
            rows.add_some(np.flatnonzero(binds), owners, columns, values, 0.0)
        rows.add_pairs(self._r[many], self._w[many], -space.cap[at[many]])
        rows.add_pairs(self._w[many], self._r[many], -1.0)
        rows.add_pairs(self._r[running], self._s, -1.0, space.incumbent[at[running]])

    def _tighten(self, model: highspy.HighsLp) -> highspy.HighsLp:
        """Return the relaxation with those rows ``x <= w`` that its solutions have broken."""
        relaxation: Any = highspy.Highs()  # type: ignore[no-untyped-call]
        relaxation.silent()
        relaxation.setOptionValue("threads", 1)
        relaxation.setOptionValue("presolve", "off")
        relaxation.passModel(model)
        w_of = self._w[self._n_of]
        is_row = np.zeros(len(self._x), dtype=bool)
        for _ in range(_ROUNDS):
            relaxation.run()
            if relaxation.getModelStatus() != highspy.HighsModelStatus.kOptimal:
                break
            values = np.array(relaxation.getSolution().col_value)
            broken = np.flatnonzero((values[self._x] > values[w_of] + _VIOLATED) & ~is_row)
            if not len(broken):
                break
            is_row[broken] = True
            count = len(broken)
            relaxation.addRows(
                count,
                np.full(count, -highspy.kHighsInf),
                np.zeros(count),
                2 * count,
                2 * np.arange(count, dtype=np.int32),
                np.stack([self._x[broken], w_of[broken]], axis=1).ravel().astype(np.int32),
                np.tile([1.0, -1.0], count),
            )
        tightened: highspy.HighsLp = relaxation.getLp()
        return tightened

    def _add_limits(self, rows: Rows) -> None:
        """Add constraints 6 and 7."""
        space, at = self._space, self._at
        pairs = space.pair[at]
        shared = np.flatnonzero(np.bincount(pairs, minlength=space.num_pairs) > 1)
        rows.add_some(shared, pairs, self._w, np.ones(len(at)), 1.0)
        weights = np.zeros(self._num_columns)
        if np.isfinite(space.budget_usd):
            spend = weights.copy()  # r and w are one column where one replica is the most
            spend[self._x] = space.token_usd[self._i_of]
            spend[self._w] += space.open_usd[at]
            spend[self._r] += space.rent_usd[at]
            rows.add_one(spend, space.budget_usd)
        if np.isfinite(space.storage_gb):
            stored = weights.copy()
            stored[self._w] = space.weights_gb[at]
            rows.add_one(stored, space.storage_gb)
        tier = space.tier[at]
        for k in np.unique(tier[np.isfinite(space.available[tier])]):
            gpus = weights.copy()
            gpus[self._r] = np.where(tier == k, space.gpus[at], 0.0)
            rows.add_one(gpus, float(space.available[k]))

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
        whole = np.zeros(self._num_columns, dtype=bool)
        whole[self._w] = whole[self._r] = True
        rows = Rows()
        self._add_demand(rows)
        self._add_capacity(rows)
        self._add_limits(rows)
        model = self._tighten(rows.joined().model(cost, upper))
        model.integrality_ = [KINDS[kind] for kind in whole.tolist()]
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
