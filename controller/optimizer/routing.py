"""Routing: for replicas that stand as they are, who goes where (docs/mathematics.md with r fixed).

With r fixed what remains is a linear program; its optimum sheds the demand that costs least to shed where capacity
lacks. Pure NumPy, for it is also what stands in when a solver has failed.
"""

from __future__ import annotations

import numpy as np

from controller.domain.arrays import Floats, Ints
from controller.domain.instance import Instance
from controller.domain.plan import LEAST_SHARE
from controller.optimizer.simplex import maximize


def route(instance: Instance, replicas: Ints, *, budgeted: bool = True) -> Floats:
    """Return the cheapest shares (I, D) for ``replicas`` (D,), within the budget if they are ``budgeted``.

    All constraints on shares are kept: 1 (but see below), 2, 3, 4, 5, and of 7 the stored tokens in the budget.
    Where ``max_unmet`` cannot be kept for every type, as much of it as can be is; the judge then says so. Types
    with a rate of zero cost nothing and get a route all the same, if any running deployment may serve them.
    """
    arrays = instance.arrays
    shares = np.zeros((arrays.num_types, arrays.num_deployments))
    running = np.flatnonzero(replicas > 0)
    busy = np.flatnonzero(arrays.queries_per_s > 0)
    if len(running) and len(busy):
        shares[np.ix_(busy, running)] = _cheapest(
            instance, replicas[running].astype(float), busy, running, budgeted
        )
    place_idle_types(instance, replicas, shares)
    return shares


def _cheapest(instance: Instance, replicas: Floats, types: Ints, at: Ints, budgeted: bool) -> Floats:
    """Solve the routing of ``types`` (n,) on the deployments ``at`` (S,); return shares (n, S)."""
    arrays = instance.arrays
    excess = arrays.mean_excess[:, types][:, :, at]
    allowed = arrays.fast_enough[np.ix_(types, at)]
    i_of, d_of = np.nonzero(allowed)
    columns = np.arange(len(i_of))
    n, size = len(columns), len(types)
    compute, memory = arrays.compute_load[types][:, at], arrays.memory_load[types][:, at]
    route_usd = arrays.route_usd[types][:, at]
    unmet_usd, floor = arrays.unmet_usd[types], 1.0 - arrays.max_unmet[types]
    bonus = np.flatnonzero(floor > 0)  # demand that must be served: worth more than anything else
    worth = 10.0 * float(unmet_usd.sum() + route_usd.max(axis=1, initial=0.0).sum()) + 1.0

    value = np.zeros(n + len(bonus))
    value[:n] = unmet_usd[i_of] - route_usd[i_of, d_of]
    value[n:] = worth
    rows: list[Floats] = []
    limits: list[float] = []

    def row(at_columns: Ints, coefficients: Floats | float, limit: float) -> Floats:
        entry = np.zeros(n + len(bonus))
        entry[at_columns] = coefficients
        rows.append(entry)
        limits.append(limit)
        return entry

    for i in range(size):
        mine = columns[i_of == i]
        row(mine, 1.0, 1.0)  # constraint 1
        for mean in excess[:, i, d_of[mine]]:
            if (mean > 0).any():
                row(mine, mean, 0.0)  # constraints 2 and 3
    for position, i in enumerate(bonus.tolist()):
        row(columns[i_of == i], -1.0, 0.0)[n + position] = 1.0
        row(np.array([n + position]), 1.0, float(floor[i]))
    for d in range(len(at)):
        here = columns[d_of == d]
        for load in (compute, memory):
            if load[i_of[here], d].sum() > replicas[d]:
                row(here, load[i_of[here], d] / replicas[d], 1.0)  # constraints 4 and 5
    token_usd = arrays.token_storage_usd[types]
    if budgeted and instance.budget_usd is not None and token_usd.any():
        spent = float(arrays.rent_usd[at] @ replicas + arrays.weights_storage_usd[at].sum())
        row(columns, token_usd[i_of], max(instance.budget_usd - spent, 0.0))  # constraint 7
    solution = maximize(value, np.array(rows), np.array(limits))
    shares = np.zeros((size, len(at)))
    shares[i_of, d_of] = np.where(solution[:n] > LEAST_SHARE, np.minimum(solution[:n], 1.0), 0.0)
    routed: Floats = shares / np.maximum(shares.sum(axis=1, keepdims=True), 1.0)
    return routed


def place_idle_types(instance: Instance, replicas: Ints, shares: Floats) -> None:
    """Give every type with a rate of zero a place in ``shares`` (I, D): queries may come before the next plan.

    It is the fastest running deployment that keeps the type's objectives, if there is one; it costs nothing.
    """
    arrays = instance.arrays
    for i in np.flatnonzero(arrays.queries_per_s <= 0):
        shares[i] = 0.0
        fit = (arrays.mean_excess[:, i] <= 0).all(axis=0) & arrays.fast_enough[i] & (replicas > 0)
        places = np.flatnonzero(fit)
        if len(places):
            shares[i, places[np.argmin(arrays.delay_s[i, places])]] = 1.0
