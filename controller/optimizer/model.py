"""The allocation problem as a PuLP model, symbol by symbol (docs/mathematics.md).

Variables, over query types i and deployments d = (j, k, c)::

    replicas_d   r  whole, 0..cap        share_i_d  x  0..1      unmet_i  u  0..ζ_i
    active_d     w  0 or 1               started_d  s  >= 0      (shortfall_i: only to find out what is lacking)

Objective: rental + storage + delay + unmet + switching, in $ over the horizon.

Constraints, by name::

    demand_i         Σ_d x + u = 1                              1
    delay_i          Σ_d (D - Δ)/Δ · x <= 0, where Δ is a mean  2   (a route that is too slow has no variable)
    error_i          Σ_d (E - ε) · x <= 0                       3
    compute_d        Σ_i load · x <= r                          4
    memory_d         Σ_i load · x <= r                          5
    one_config_jk    Σ_c w <= 1                                 6
    budget, storage, gpus_k                                     7
    active_d         r <= cap · w                               w = [r > 0]
    route_i_d        x <= w                                     implied by 4 and 5; it makes the relaxation far tighter
    running_d        w <= r, only where some route takes nothing of a replica, so that 4 and 5 do not imply it
    started_d        s >= r - r⁰
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pulp

from controller.domain.arrays import Bools, Floats
from controller.optimizer.space import SearchSpace

Objective = Literal["cost", "shortfall", "spend"]


@dataclass(frozen=True, slots=True)
class Model:
    """A PuLP problem and its variables: ``replicas`` and ``active`` by d, ``shares`` by (i, d)."""

    problem: Any
    replicas: list[Any]
    active: list[Any]
    shares: dict[tuple[int, int], Any]
    unmet: dict[int, Any]
    started: dict[int, Any]


def build(
    space: SearchSpace, objective: Objective = "cost", should_stop: Callable[[], bool] = lambda: False
) -> Model | None:
    """Build the model of a search space; None where building was stopped.

    Parameters
    ----------
    objective : ``cost``; or, to find out why there is no plan, ``shortfall``: unmet demand above ``max_unmet``, or
        ``spend``: rental and storage.
    """
    problem = pulp.LpProblem("allocation", pulp.LpMinimize)
    deployments = range(space.num_deployments)
    types = [int(i) for i in np.flatnonzero(~space.idle_types)]
    cap = np.where(np.isfinite(space.cap), space.cap, 1e9)
    replicas = [problem.add_variable(f"replicas_{d}", 0, float(cap[d]), pulp.LpInteger) for d in deployments]
    active = [
        replicas[d] if cap[d] == 1 else problem.add_variable(f"active_{d}", 0, 1, pulp.LpInteger)
        for d in deployments
    ]
    shares = {
        (int(i), int(d)): problem.add_variable(f"share_{i}_{d}", 0, 1) for i, d in np.argwhere(space.allowed)
    }
    unmet = {i: problem.add_variable(f"unmet_{i}", 0, float(space.max_unmet[i])) for i in types}
    shortfall = {}
    if objective == "shortfall":
        shortfall = {i: problem.add_variable(f"shortfall_{i}", 0, 1) for i in types}
    started = {
        d: problem.add_variable(f"started_{d}", 0)
        for d in deployments
        if space.start_usd[d] > 0 and objective == "cost"
    }
    of_type: dict[int, list[int]] = {i: [] for i in types}
    of_deployment: list[list[int]] = [[] for _ in deployments]
    for i, d in shares:
        of_type[i].append(d)
        of_deployment[d].append(i)

    def at_most(name: str, terms: Iterable[tuple[Any, float]], limit: float) -> None:
        _add(problem, name, terms, pulp.LpConstraintLE, limit)

    for i in types:
        served = [(shares[i, d], 1.0) for d in of_type[i]]
        rest = [(unmet[i], 1.0)] + ([(shortfall[i], 1.0)] if shortfall else [])
        _add(problem, f"demand_{i}", served + rest, pulp.LpConstraintEQ, 1.0)
        for name, excess in zip(("error", "delay"), space.excess, strict=False):
            if (excess[i, of_type[i]] > 0).any():
                at_most(f"{name}_{i}", [(shares[i, d], excess[i, d]) for d in of_type[i]], 0.0)
    free: Bools = np.asarray(np.any(space.allowed & (space.compute <= 0) & (space.memory <= 0), axis=0))
    for d in deployments:
        if should_stop():
            return None
        for name, load in (("compute", space.compute), ("memory", space.memory)):
            mine = load[of_deployment[d], d]
            if mine.any() and not (name == "memory" and (mine <= space.compute[of_deployment[d], d]).all()):
                terms = [(shares[i, d], load[i, d]) for i in of_deployment[d]]
                at_most(f"{name}_{d}", [*terms, (replicas[d], -1.0)], 0.0)
        if active[d] is not replicas[d]:
            at_most(f"active_{d}", [(replicas[d], 1.0), (active[d], -float(cap[d]))], 0.0)
            if free[d]:
                at_most(f"running_{d}", [(active[d], 1.0), (replicas[d], -1.0)], 0.0)
        for i in of_deployment[d]:
            at_most(f"route_{i}_{d}", [(shares[i, d], 1.0), (active[d], -1.0)], 0.0)
        if d in started:
            at_most(f"started_{d}", [(replicas[d], 1.0), (started[d], -1.0)], float(space.incumbent[d]))
    _add_limits(problem, space, replicas, active, shares)

    if objective == "cost":
        goal = [
            *((replicas[d], space.rent_usd[d]) for d in deployments),
            *((active[d], space.open_usd[d]) for d in deployments),
            *((started[d], space.start_usd[d]) for d in started),
            *((shares[i, d], space.route_usd[i, d]) for i, d in shares),
            *((unmet[i], space.unmet_usd[i]) for i in types),
        ]
    elif objective == "shortfall":
        goal = [(shortfall[i], 1.0) for i in types]
    else:
        goal = _spend(space, replicas, active, shares)
    problem.setObjective(_sum(goal))
    return Model(problem, replicas, active, shares, unmet, started)


def _add_limits(
    problem: Any, space: SearchSpace, replicas: list[Any], active: list[Any], shares: dict[Any, Any]
) -> None:
    """Add constraints 6 and 7."""
    for pair in range(space.num_pairs):
        configs = np.flatnonzero(space.pair == pair)
        if len(configs) > 1:
            terms = [(active[d], 1.0) for d in configs]
            _add(problem, f"one_config_{pair}", terms, pulp.LpConstraintLE, 1.0)
    if np.isfinite(space.budget_usd):
        _add(
            problem, "budget", _spend(space, replicas, active, shares), pulp.LpConstraintLE, space.budget_usd
        )
    if np.isfinite(space.storage_gb):
        weights = [(active[d], space.weights_gb[d]) for d in range(space.num_deployments)]
        _add(problem, "storage", weights, pulp.LpConstraintLE, space.storage_gb)
    for k in np.flatnonzero(np.isfinite(space.available)):
        terms = [(replicas[d], space.gpus[d]) for d in np.flatnonzero(space.tier == k)]
        _add(problem, f"gpus_{k}", terms, pulp.LpConstraintLE, float(space.available[k]))


def _spend(
    space: SearchSpace, replicas: list[Any], active: list[Any], shares: dict[Any, Any]
) -> list[tuple[Any, float]]:
    """Return what the budget counts: rental, stored weights, and stored tokens."""
    return [
        *((replicas[d], space.rent_usd[d]) for d in range(space.num_deployments)),
        *((active[d], space.open_usd[d]) for d in range(space.num_deployments)),
        *((share, space.token_usd[i]) for (i, _), share in shares.items() if space.token_usd[i] > 0),
    ]


def _sum(terms: Iterable[tuple[Any, float]]) -> Any:
    """Return an expression; a variable that stands twice (r and w are one where cap is 1) counts twice."""
    coefficients: dict[Any, float] = {}
    for variable, coefficient in terms:
        coefficients[variable] = coefficients.get(variable, 0.0) + float(coefficient)
    return pulp.LpAffineExpression(coefficients)


def _add(problem: Any, name: str, terms: Iterable[tuple[Any, float]], sense: int, limit: float) -> None:
    problem.addConstraint(pulp.LpConstraint(_sum(terms), sense, name, limit))


def solution_values(model: Model, space: SearchSpace, replicas: Floats, shares: Floats) -> dict[str, float]:
    """Return the value of every variable for a plan, by variable name: a starting point for the solver."""
    values = {}
    for d, variable in enumerate(model.replicas):
        values[model.active[d].name] = float(replicas[d] > 0)
        values[variable.name] = float(replicas[d])
    for (i, d), share in model.shares.items():
        values[share.name] = float(shares[i, d])
    for i, variable in model.unmet.items():
        values[variable.name] = float(np.clip(1.0 - shares[i].sum(), 0.0, space.max_unmet[i]))
    for d, variable in model.started.items():
        values[variable.name] = float(max(replicas[d] - space.incumbent[d], 0.0))
    return values
