"""One call: an instance, when to stop, a seed; a plan that the judge accepts, or why there is none."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from types import MappingProxyType

import numpy as np

from controller.domain.arrays import Floats, Ints
from controller.domain.evaluate import evaluate
from controller.domain.instance import Instance
from controller.domain.plan import Plan
from controller.errors import SettingsError, SolverError
from controller.optimizer.baselines import BASELINES
from controller.optimizer.construct.gh import gh
from controller.optimizer.exact import Limits, branch_and_bound, milp
from controller.optimizer.guided.guided import guided
from controller.optimizer.infeasible import cannot_serve, explain
from controller.optimizer.memory import SolverMemory
from controller.optimizer.multi_start import multi_start, rerouted
from controller.optimizer.params import Params
from controller.optimizer.relaxation import add_lower_bound
from controller.optimizer.result import Result
from controller.optimizer.routing import place_idle_types
from controller.optimizer.scenarios import ExpectedCost, Scenarios, improve
from controller.optimizer.search import Search
from controller.optimizer.space import SearchSpace
from controller.optimizer.state import AllocationState
from controller.optimizer.stop import StopRule
from controller.optimizer.within_limits import within_limits

_FALLBACK_GAP = 0.01


def agh_plain(search: Search) -> None:
    """AGH as the paper has it: GH first, then the lower bound, then starts and descents until told to stop."""
    gh(search)
    add_lower_bound(search)
    multi_start(search)


def exact(search: Search) -> None:
    """Solve the MILP from GH's plan, or the initial one where that is cheaper; a short run may owe its bound to CG."""
    gh(search)
    add_lower_bound(search)
    milp(search)


METHODS: Mapping[str, Callable[[Search], None]] = MappingProxyType(
    {"agh": guided, "agh-plain": agh_plain, "gh": gh, "milp": exact, **BASELINES}
)
"""The methods by name: each improves what a search has found until it is told to stop."""


def solve(
    instance: Instance,
    stop: StopRule,
    seed: int = 0,
    params: Params | None = None,
    initial: Plan | None = None,
    method: str = "agh",
    clock: Callable[[], float] = time.perf_counter,
    scenarios: Scenarios | None = None,
    memory: SolverMemory | None = None,
) -> Result:
    """Find a cheap plan.

    Parameters
    ----------
    stop : when to stop; with one that counts iterations the outcome depends on nothing but the arguments.
    seed : of all that is random.
    initial : a plan to start from, such as the last one; what of it the instance does not know is left out. It
        comes back where nothing better is found. What runs now, for the price of switching, is the instance's own
        ``incumbent``.
    method : a name of :data:`METHODS`.
    clock : returns seconds; only measures ``runtime_s``.
    scenarios : demands that may come instead of the instance's own. The plan is then changed while that lowers its
        *expected* cost (:mod:`controller.optimizer.scenarios`), for ``params.fallback_s`` beyond a time limit at most.
    memory : what the last solve has left (:attr:`Result.memory`). Its prices and sets are where the search begins.
        Where nothing has changed since, and ``initial`` is the plan that it ended with, that comes back at once.

    Returns
    -------
    Result : a plan that keeps every constraint, or the words for what clashes.

    Raises
    ------
    SettingsError : there is no such method.
    SolverError : no plan that keeps ``max_unmet`` was found in time, nor a proof that there is none.
    """
    if method not in METHODS:
        raise SettingsError("method", f"must be one of {', '.join(METHODS)}", method)
    started = clock()
    stop.start()
    params = Params() if params is None else params
    if memory is not None and initial is not None and scenarios is None and memory.settles(instance, initial):
        return _settled(instance, initial, memory, method, lambda: clock() - started)
    replicas, shares = (initial or Plan()).within(instance).arrays(instance)
    space = SearchSpace.of(instance, keep=np.flatnonzero(replicas))
    search = Search(space, stop, params, seed, _initial_states(space, replicas, shares), memory)
    METHODS[method](search)
    search.offer(AllocationState(space))  # to serve nothing is a plan, too
    if search.best is None or not search.best.serves_enough:
        conflict = _fall_back(search)
        if conflict:
            return Result.infeasible(
                method=method, runtime_s=clock() - started, conflict=conflict, iterations=search.iterations
            )
    plan, proved, expected_usd = _plan(search), search.proved_optimal, None
    if scenarios is not None:
        hedged = improve(
            instance, *plan.arrays(instance), scenarios, lambda: stop.remaining_s() <= -params.fallback_s
        )
        expected_usd = ExpectedCost(instance, scenarios).of(*hedged).total_usd
        changed = Plan.of_arrays(instance, *hedged)
        plan, proved = changed, proved and changed == plan
    result = Result.of_plan(
        instance,
        plan,
        method=method,
        runtime_s=clock() - started,
        lower_bound_usd=search.lower_bound_usd,
        proved=proved,
        iterations=search.iterations,
        expected_usd=expected_usd,
    )
    return replace(result, memory=SolverMemory.after(instance, plan, result.gap_usd, search.prices, memory))


def _settled(
    instance: Instance, plan: Plan, memory: SolverMemory, method: str, elapsed_s: Callable[[], float]
) -> Result:
    """Return the plan that runs, as near to a lower bound as it was when it was found."""
    gap_usd = memory.gap_usd
    return Result.of_plan(
        instance,
        plan,
        method=method,
        runtime_s=elapsed_s(),
        lower_bound_usd=None if gap_usd is None else evaluate(instance, plan).cost.total_usd - gap_usd,
        memory=memory,
    )


def _initial_states(space: SearchSpace, replicas: Ints, shares: Floats) -> tuple[AllocationState, ...]:
    """Return the old routes with the replicas that they need now, and the old replicas routed anew, if possible."""
    if not replicas.any():
        return ()
    carried = AllocationState.of_shares(space, np.where(space.allowed, shares[:, space.ids], 0.0))
    kept = AllocationState(space)
    kept.replicas = within_limits(space.instance, replicas)[space.ids].astype(np.float64)
    return tuple(state for state in (carried, rerouted(space, kept)) if state.keeps_limits)


def _fall_back(search: Search) -> tuple[str, ...]:
    """Find any plan that keeps ``max_unmet``, or return why there is none.

    Raises
    ------
    SolverError : neither was done within the bounds of the fallback.
    """
    instance, params = search.space.instance, search.params
    extra_s = max(params.fallback_s - search.stop.remaining_s(), 0.0)

    def remaining_s() -> float:
        return search.stop.remaining_s() + extra_s

    if not search.proved_infeasible:
        search.proved_infeasible = cannot_serve(instance, remaining_s)
    if not search.proved_infeasible:
        branch_and_bound(search, Limits(remaining_s, params.fallback_nodes, _FALLBACK_GAP))
    if search.proved_infeasible:
        return explain(instance, remaining_s)
    if search.best is None or not search.best.serves_enough:
        raise SolverError(
            f"{instance.name}: found no plan that keeps max_unmet, and no proof that there is none; the last attempt "
            f"was held to {params.fallback_s:g} s and {params.fallback_nodes} nodes"
        )
    return ()


def _plan(search: Search) -> Plan:
    """Return the best plan, types with a rate of zero routed along."""
    space, best = search.space, search.best
    if best is None:
        raise SolverError(f"{space.instance.name}: there is no plan to return")
    arrays = space.instance.arrays
    replicas = np.zeros(arrays.num_deployments, dtype=np.int64)
    shares = np.zeros((arrays.num_types, arrays.num_deployments))
    replicas[space.ids] = np.rint(best.replicas).astype(np.int64)
    shares[:, space.ids] = best.shares
    place_idle_types(space.instance, replicas, shares)
    return Plan.of_arrays(space.instance, replicas, shares)
