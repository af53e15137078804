"""One step of the rolling horizon, in two pure functions.

``tick(state, input)`` takes a closed window of demand and gives the next state and an effect: a
:class:`SolveRequest`, or, where demand is unknown, the plan itself. ``conclude(state, answer)`` takes the solver's word
and gives the plan. No I/O, no clock, no solver in here: the Faust worker and the offline simulator drive the same two
functions.

Every tick ends in exactly one plan with a named decision, holds included:

======================= ==========================================================================================
planned                 the solver's plan, judged
kept                    the plan in force; what the solver found is not cheaper by ``min_improvement``
hold_unknown_demand     the plan in force, unchanged: unknown is not zero
solver_failed_kept_last the plan in force, re-routed for the new demand where that is feasible
======================= ==========================================================================================
"""

from __future__ import annotations

import math
from contextlib import suppress
from dataclasses import replace

import numpy as np

from controller.demand.estimator import DemandEstimate, demand_scenarios, estimate_all, with_planned
from controller.demand.surge import surge_rates
from controller.demand.window import DemandState, WindowView
from controller.domain.evaluate import Evaluation, evaluate
from controller.domain.instance import Instance
from controller.domain.plan import Plan, incumbent_of
from controller.domain.plan_diff import PlanDiff
from controller.errors import InstanceError, SolverRejectedError
from controller.optimizer.reroute import reroute
from controller.optimizer.scenarios import ExpectedCost, Scenarios
from controller.records import (
    Decision,
    DecisionName,
    HorizonPolicy,
    PendingTick,
    PlannerState,
    PlanRecord,
    SolverAnswer,
    SolveRequest,
    SolverFailure,
    SolverReport,
    TickInput,
)
from controller.replan import gpu_limits
from controller.service_levels import margin_of, priors_of

_NOTES = 3
PROVED_GAP = 1e-6
"""A plan is called optimal when its gap is no more than rounding."""


def next_horizon_start_s(state: PlannerState, watermark_s: float, policy: HorizonPolicy) -> float | None:
    """Return the start of the horizon to plan now, s since the epoch; None while there is none.

    It is the newest horizon whose window has closed. Those that were missed on the way are not made up for: one plan
    when caught up. A fleet without a plan waits for its first window to close.
    """
    if not math.isfinite(watermark_s):
        return None
    start_s = math.floor(watermark_s / policy.horizon_s) * policy.horizon_s
    if state.planned_start_s is None or start_s <= state.planned_start_s:
        return None
    return start_s


def overdue_start_s(
    state: PlannerState, now_s: float, policy: HorizonPolicy, patience_s: float
) -> float | None:
    """Return the start of the horizon to hold, s since the epoch, where demand has fallen ``patience_s`` behind.

    The window should have closed at the horizon's start; when it has not ``patience_s`` later, readers are told so.
    """
    if state.planned_start_s is None or not math.isfinite(now_s):
        return None
    start_s = math.floor((now_s - patience_s) / policy.horizon_s) * policy.horizon_s
    return start_s if start_s > state.planned_start_s else None


def begin(state: PlannerState, since_s: float | None, policy: HorizonPolicy) -> PlannerState:
    """Mark where a fleet without a plan begins: with the window in which its first demand was counted."""
    if state.planned_start_s is not None or since_s is None:
        return state
    return replace(state, planned_start_s=math.floor(since_s / policy.horizon_s) * policy.horizon_s)


def surge_start_s(
    state: PlannerState, watermark_s: float, bucket_s: float, policy: HorizonPolicy
) -> float | None:
    """Return the start of the newest closed bucket that is worth a look for a surge, s since the epoch; None for none.

    It lies in the horizon that was planned, and surges are answered no faster, and no more often, than the policy says.
    """
    if state.planned_start_s is None or not state.demand or not math.isfinite(watermark_s):
        return None
    end_s = math.floor(watermark_s / bucket_s) * bucket_s
    if not state.planned_start_s < end_s < state.planned_start_s + policy.horizon_s:
        return None
    demand = policy.demand
    if state.surges >= demand.surges_per_horizon:
        return None
    if state.surged_at_s is not None and end_s < state.surged_at_s + demand.surge_cooldown_s:
        return None
    return end_s - bucket_s


def surging_types(state: PlannerState, view: WindowView, policy: HorizonPolicy) -> dict[str, float]:
    """Return the query types whose requests in ``view`` run away from the plan, with the rates to plan for, 1/s."""
    planned = {estimate.query_type: estimate.rate_per_s for estimate in state.demand}
    burstiness = {estimate.query_type: estimate.burstiness for estimate in state.demand}
    return surge_rates(view, planned, burstiness, policy.demand.surge_sigmas)


def tick(
    state: PlannerState, given: TickInput, policy: HorizonPolicy
) -> tuple[PlannerState, SolveRequest | PlanRecord]:
    """Take in what is new; ask a solver for the plan from ``given.view.end_s`` on, or hold.

    With the trigger ``horizon`` the view is a closed window, and the estimators learn from it. With ``surge`` it is the
    last bucket: what runs away in it is planned for at once, all else as before. With ``catalog``, ``capacity`` and
    ``manual`` the demand that was planned for is planned for anew.
    """
    if given.trigger != "horizon":
        return _replan(state, given, policy)
    if given.view.is_unknown:
        return _hold(state, given, policy)
    margin = margin_of(given.catalog, policy.demand, policy.horizon_s, state.demand, state.plan)
    memory, demand = estimate_all(state.memory, given.view, priors_of(given.catalog), policy.demand, margin)
    state = replace(state, memory=memory, surges=0)
    return _ask(state, given, demand, policy)


def _replan(
    state: PlannerState, given: TickInput, policy: HorizonPolicy
) -> tuple[PlannerState, SolveRequest]:
    surging = surging_types(state, given.view, policy) if given.trigger == "surge" else {}
    known = {estimate.query_type: estimate for estimate in state.demand}
    demand = []
    for name, prior in priors_of(given.catalog).items():
        estimate = known.get(name) or DemandEstimate(
            name, DemandState.UNKNOWN, prior.rate_per_s, 0.0, prior.input_tokens, prior.output_tokens, None,
            shaped_by="prior",
        )  # fmt: skip
        if name in surging:
            seen = given.view.types[name].totals.count / (given.view.end_s - given.view.start_s)
            estimate = estimate._replace(
                rate_per_s=surging[name],
                observed_rate_per_s=seen,
                state=DemandState.OBSERVED,
                shaped_by="surge",
            )
        demand.append(estimate)
    if surging:
        # What is planned for now is what the next horizon must not fall from too fast.
        state = replace(
            state,
            memory=with_planned(state.memory, surging),
            surged_at_s=given.view.end_s,
            surges=state.surges + 1,
        )
    return _ask(state, given, tuple(demand), policy)


def _ask(
    state: PlannerState, given: TickInput, demand: tuple[DemandEstimate, ...], policy: HorizonPolicy
) -> tuple[PlannerState, SolveRequest]:
    instance = _instance(given, demand, state.plan, policy)
    scenarios = None
    if policy.demand.headroom == "scenarios":
        rates_per_s = demand_scenarios(state.memory, demand, policy.demand, policy.horizon_s)
        scenarios = Scenarios(np.full(len(rates_per_s), 1.0 / len(rates_per_s)), rates_per_s)
    pending = PendingTick(given, demand, instance, scenarios)
    memory = state.solver_memory
    if memory is not None and not memory.is_of_fleet(instance):
        memory = None  # the catalog is another one: what was learned of the old one is not to mislead
    return replace(state, pending=pending), SolveRequest(instance, state.plan, scenarios, memory)


def conclude(
    state: PlannerState, answer: SolverAnswer | SolverFailure, now_s: float, policy: HorizonPolicy
) -> tuple[PlannerState, PlanRecord]:
    """Turn the solver's word on the pending tick into the plan that goes out.

    Raises
    ------
    ValueError : no tick is pending.
    """
    pending = state.pending
    if pending is None:
        raise ValueError("conclude() without a pending tick")
    if isinstance(answer, SolverFailure):
        state = replace(state, solver_memory=None)  # if that is what it failed by, then not a second time
        solver = SolverReport("none", "failed", answer.runtime_s)
        return _fall_back(state, pending, f"{answer.reason}: {answer.detail}", solver, now_s, policy)
    if answer.status == "infeasible":
        solver = SolverReport(answer.method, "infeasible", answer.runtime_s)
        reason = "no plan exists: " + "; ".join(answer.conflict)
        return _fall_back(state, pending, reason, solver, now_s, policy)
    found = _judge(pending.instance, answer.plan)
    if isinstance(found, str):
        state = replace(state, solver_memory=None)
        solver = SolverReport(answer.method, "failed", answer.runtime_s)
        return _fall_back(state, pending, f"rejected: {found}", solver, now_s, policy)

    state = replace(state, solver_memory=answer.memory)
    plan, judged = answer.plan, found
    in_force = _in_force(pending, state.plan)
    shaped = _shaped(pending.demand)
    if in_force is None:
        reason = "the plan in force cannot serve this demand within its limits"
        decision = Decision(DecisionName.PLANNED, reason + shaped)
    else:
        before_usd = _cost_usd(pending, *in_force)
        saving_usd = before_usd - _cost_usd(pending, plan, found)
        if saving_usd <= policy.min_improvement * before_usd:
            plan, judged = in_force
            reason = f"a new plan would save {saving_usd:.4g} of {before_usd:.4g} USD"
            decision = Decision(DecisionName.KEPT, reason + shaped)
        else:
            reason = f"saves {saving_usd:.4g} of {before_usd:.4g} USD"
            decision = Decision(DecisionName.PLANNED, reason + shaped)
    return _publish(state, pending, plan, judged, _report(answer, judged), decision, now_s, policy)


def _judge(instance: Instance, plan: Plan) -> Evaluation | str:
    """Return the judge's evaluation of a plan that it accepts, or why it does not, in words."""
    try:
        judged = evaluate(instance, plan)
    except InstanceError as error:
        return str(error)
    if judged.violations:
        return "; ".join(str(violation) for violation in judged.violations)
    return judged


def _instance(
    given: TickInput, demand: tuple[DemandEstimate, ...], plan: Plan, policy: HorizonPolicy
) -> Instance:
    by_name, horizon_h = {estimate.query_type: estimate for estimate in demand}, policy.horizon_s / 3600.0
    fleet = given.fleet
    if fleet is None:
        return given.catalog.instance(by_name, horizon_h, incumbent_of(plan))
    return given.catalog.instance(by_name, horizon_h, fleet.replicas, fleet.gpus_available)


def _cost_usd(pending: PendingTick, plan: Plan, judged: Evaluation) -> float:
    """Return what a plan costs for the demand that is planned for, in expectation where there are scenarios of it."""
    if pending.scenarios is None:
        return judged.cost.total_usd
    return ExpectedCost(pending.instance, pending.scenarios).of(*plan.arrays(pending.instance)).total_usd


def _shaped(demand: tuple[DemandEstimate, ...]) -> str:
    """Say, with numbers, where something other than the forecast and its margin decided what is planned for."""
    ordinary = ("forecast", "headroom")
    notes = [
        f"{estimate.query_type} {estimate.shaped_by} at {estimate.rate_per_s:.4g}/s"
        for estimate in demand
        if estimate.shaped_by not in ordinary
    ]
    more = f" and {len(notes) - _NOTES} more" if len(notes) > _NOTES else ""
    return "; " + ", ".join(notes[:_NOTES]) + more if notes else ""


def _in_force(pending: PendingTick, plan: Plan) -> tuple[Plan, Evaluation] | None:
    """Return the plan in force, as it is or re-routed, whichever is cheaper; None where neither is feasible."""
    instance = pending.instance
    as_it_is = plan.within(instance)
    candidates = [(as_it_is, evaluate(instance, as_it_is))]
    # A catalog whose numbers are many orders of magnitude apart leaves it nothing but rounding.
    with suppress(SolverRejectedError):
        rerouted = reroute(instance, plan, clock=lambda: 0.0)
        if rerouted.plan is not None and rerouted.evaluation is not None:
            candidates.append((rerouted.plan, rerouted.evaluation))
    feasible = [candidate for candidate in candidates if candidate[1].is_feasible]
    return min(feasible, key=lambda candidate: _cost_usd(pending, *candidate), default=None)


def _report(answer: SolverAnswer, judged: Evaluation) -> SolverReport:
    bound_usd, total_usd = answer.lower_bound_usd, judged.cost.total_usd
    gap = None
    if bound_usd is not None:
        gap = max(0.0, (total_usd - bound_usd) / total_usd) if total_usd > 0 else 0.0
    # That the solver proved its own plan optimal says nothing of a dearer one that is kept.
    proved = answer.status == "optimal" and gap is not None and gap <= PROVED_GAP
    return SolverReport(answer.method, "optimal" if proved else "feasible", answer.runtime_s, bound_usd, gap)


def _hold(state: PlannerState, given: TickInput, policy: HorizonPolicy) -> tuple[PlannerState, PlanRecord]:
    missing = given.view.missing_partitions
    if missing:
        reason = f"nothing is known of source partitions {', '.join(map(str, missing))}"
    elif not given.view.is_closed:
        reason = "demand is behind the clock: the window is not closed"
    else:
        reason = "nothing was heard of any query type, not even a heartbeat"
    plan, judged, held = _as_planned(state, given, policy)
    decision = Decision(DecisionName.HOLD_UNKNOWN_DEMAND, reason)
    not_run = SolverReport("none", "not_run", 0.0)
    return _publish(state, held, plan, judged, not_run, decision, given.now_s, policy)


def _fall_back(
    state: PlannerState,
    pending: PendingTick,
    reason: str,
    solver: SolverReport,
    now_s: float,
    policy: HorizonPolicy,
) -> tuple[PlannerState, PlanRecord]:
    in_force = _in_force(pending, state.plan)
    if in_force is not None:
        plan, judged = in_force
        reason = f"{reason}; the last plan stands, re-routed"
    else:
        plan, judged, pending = _as_planned(state, pending.given, policy)
        reason = f"{reason}; the last plan stands as it was: it cannot serve the new demand within its limits"
    decision = Decision(DecisionName.SOLVER_FAILED_KEPT_LAST, reason)
    return _publish(state, pending, plan, judged, solver, decision, now_s, policy)


def _as_planned(
    state: PlannerState, given: TickInput, policy: HorizonPolicy
) -> tuple[Plan, Evaluation, PendingTick]:
    """Judge the plan in force for the demand that it was planned for; re-routed where it no longer fits."""
    instance = _instance(given, state.demand, state.plan, policy)
    pending = PendingTick(given, state.demand, instance)
    plan = state.plan.within(instance)
    judged = evaluate(instance, plan)
    if not judged.is_feasible:
        plan, judged = _in_force(pending, state.plan) or (plan, judged)
    return plan, judged, pending


def _publish(
    state: PlannerState,
    pending: PendingTick,
    plan: Plan,
    judged: Evaluation,
    solver: SolverReport,
    decision: Decision,
    now_s: float,
    policy: HorizonPolicy,
) -> tuple[PlannerState, PlanRecord]:
    given = pending.given
    start_s, is_horizon = given.view.end_s, given.trigger == "horizon"
    began_s = start_s if is_horizon or state.planned_start_s is None else state.planned_start_s
    record = PlanRecord(
        epoch=state.epoch,
        sequence=state.sequence + 1,
        tick=given,
        horizon_end_s=max(began_s + policy.horizon_s, start_s),
        valid_until_s=start_s + policy.validity_s,
        issued_at_s=now_s,
        demand=pending.demand,
        plan=plan,
        evaluation=judged,
        instance=pending.instance,
        solver=solver,
        diff=PlanDiff.between(state.plan.replicas, plan.replicas),
        decision=decision,
    )
    next_state = replace(
        state,
        sequence=record.sequence,
        plan=plan,
        demand=pending.demand,
        # A hold for lack of news leaves the horizon open: it is planned as soon as its window closes.
        planned_start_s=start_s if is_horizon and given.view.is_closed else state.planned_start_s,
        catalog_digest=given.catalog.digest,
        gpu_limits=gpu_limits(given.catalog, given.fleet),
        refitted_at_s=given.now_s if given.trigger == "capacity" else state.refitted_at_s,
        pending=None,
    )
    return next_state, record
