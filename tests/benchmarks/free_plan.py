"""A good plan for instances that are being made: what it spends and stores sets limits, and it is what runs before.

It must not change when the optimizer does, or the names of instances would mean other instances. So it shares no code
with it: a small MILP over deployments that look cheap, held to a count of nodes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import highspy
import numpy as np

from controller.domain.arrays import Floats, InstanceArrays, Ints
from controller.domain.cost import price
from controller.domain.entities import DeploymentKey
from controller.domain.instance import Instance

_PER_TYPE, _AT_MOST = 3, 40
_NODES, _GAP = 300, 0.005


@dataclass(frozen=True, slots=True)
class FreePlan:
    """Replicas by deployment, rent and storage in USD over the horizon, weights in GB."""

    replicas: Mapping[DeploymentKey, int]
    spent_usd: float
    stored_gb: float


def free_plan(instance: Instance) -> FreePlan:
    """Return a good plan for an instance without its budget, storage limit and switching; GPU caps are kept."""
    arrays = replace(instance, budget_usd=None, storage_gb=None, switching=None, incumbent={}).arrays
    at = _cheap_looking(arrays)
    replicas, shares = np.zeros(arrays.num_deployments, dtype=np.int64), np.zeros(arrays.delay_s.shape)
    replicas[at], shares[:, at] = _solve(arrays, at, instance.delay_slo == "average")
    running = np.flatnonzero(replicas)
    cost = price(arrays, replicas, shares)
    return FreePlan(
        {arrays.keys[d]: int(replicas[d]) for d in running},
        cost.budgeted_usd,
        float(arrays.weights_gb[running].sum()),
    )


def _cheap_looking(arrays: InstanceArrays) -> Ints:
    """Return the deployments that are cheapest for one type, alone or in company, and those that save most in all."""
    fit = arrays.fast_enough & (arrays.error <= arrays.error_slo[:, None]) & (arrays.replicas_cap >= 1)
    load = np.maximum(arrays.compute_load, arrays.memory_load)
    alone = np.where(
        fit, arrays.route_usd + np.ceil(load) * arrays.rent_usd + arrays.weights_storage_usd, np.inf
    )
    shared = arrays.route_usd + load * arrays.rent_usd
    worth = np.where(fit, np.maximum(arrays.unmet_usd[:, None] - shared, 0.0), 0.0).sum(axis=0)
    able = arrays.fast_enough & (arrays.replicas_cap >= 1)  # errors over the limit mix with errors below it
    lists = (alone, np.where(fit, shared, np.inf), np.where(able, shared, np.inf))
    chosen = [np.argsort(row, kind="stable")[:_PER_TYPE] for usd in lists for row in usd]
    first = np.unique(np.concatenate(chosen))
    first = first[able[:, first].any(axis=0)]
    more = [d for d in np.argsort(-worth, kind="stable") if worth[d] > 0 and d not in first]
    return np.sort(np.concatenate([first, more[: max(_AT_MOST - len(first), 6)]])).astype(np.int64)


def _solve(arrays: InstanceArrays, at: Ints, average: bool) -> tuple[Ints, Floats]:
    """Solve the MILP of docs/mathematics.md over the deployments ``at`` (S,); return replicas (S,), shares (I, S)."""
    size, types = len(at), arrays.num_types
    compute, memory = arrays.compute_load[:, at], arrays.memory_load[:, at]
    excess = [arrays.error[:, at] - arrays.error_slo[:, None]]
    if average:
        excess.append(arrays.delay_s[:, at] / arrays.delay_slo_s[:, None] - 1.0)
    cap = np.minimum(
        np.maximum(np.ceil(np.maximum(compute, memory).sum(axis=0)), 1.0), arrays.replicas_cap[at]
    )
    allowed = arrays.fast_enough[:, at]
    solver = highspy.Highs()
    for name, value in {
        "output_flag": False, "threads": 1, "random_seed": 0, "mip_max_nodes": _NODES, "mip_rel_gap": _GAP,
    }.items():  # fmt: skip
        solver.setOptionValue(name, value)
    # Columns: replicas r (S), active w (S), unmet u (I), shares x (I, S).
    costs = np.concatenate([
        arrays.rent_usd[at], arrays.weights_storage_usd[at], arrays.unmet_usd, arrays.route_usd[:, at].ravel(),
    ])  # fmt: skip
    upper = np.concatenate([cap, np.ones(size), np.ones(types), allowed.ravel().astype(float)])
    for cost, most in zip(costs.tolist(), upper.tolist(), strict=True):
        solver.addCol(cost, 0.0, most, 0, [], [])
    for column in range(2 * size):
        solver.changeColIntegrality(column, highspy.HighsVarType.kInteger)
    share = 2 * size + types + np.arange(types * size).reshape(types, size)

    def row(low: float, high: float, columns: Ints, values: Floats) -> None:
        solver.addRow(low, high, len(columns), columns.astype(np.int32), np.asarray(values, dtype=float))

    for i in range(types):
        row(1.0, 1.0, np.append(share[i], 2 * size + i), np.ones(size + 1))
        for mean in excess:
            row(-np.inf, 0.0, share[i], mean[i])
    for d in range(size):
        for load in (compute, memory):
            row(-np.inf, 0.0, np.append(share[:, d], d), np.append(load[:, d], -1.0))
        row(-np.inf, 0.0, np.array([d, size + d]), np.array([1.0, -cap[d]]))
        for i in range(types):
            row(-np.inf, 0.0, np.array([share[i, d], size + d]), np.array([1.0, -1.0]))
    for pair in np.unique(arrays.pair[at]):
        same = np.flatnonzero(arrays.pair[at] == pair)
        row(-np.inf, 1.0, size + same, np.ones(len(same)))
    for k in np.flatnonzero(np.isfinite(arrays.available)):
        mine = np.flatnonzero(arrays.tier[at] == k)
        row(-np.inf, float(arrays.available[k]), mine, arrays.gpus[at[mine]].astype(float))
    solver.run()
    values = np.array(solver.getSolution().col_value)
    replicas = np.rint(values[:size]).astype(np.int64)
    shares = np.clip(values[share], 0.0, 1.0) * (replicas > 0)
    return replicas, shares
