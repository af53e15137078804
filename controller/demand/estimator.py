"""From what was seen to what is planned for: all query types of a window at once.

Counts go to an estimator, which says what is expected and how likely more is; the policy adds the one margin, and lets
what is planned for go down no faster than it should. (docs/mathematics.md, "Demand".)
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from controller.demand import tokens
from controller.demand.counting import Totals
from controller.demand.distribution import Outlook
from controller.demand.forecasters import Floats
from controller.demand.memory import DemandMemory
from controller.demand.policy import DemandPolicy, Shaping
from controller.demand.rules import make_estimator
from controller.demand.surge import bucket_counts, dispersion, surging
from controller.demand.targets import Targets, fresh_targets, shape
from controller.demand.window import DemandState, TypeWindow, WindowView

RECENT_BUCKETS = 3
"""Buckets at the end of a window that may overrule it, where they are beyond its margin."""
_NOTHING = TypeWindow(DemandState.UNKNOWN, Totals(), array("d"))
NUM_SCENARIOS = 17
"""A prime: types go through their quantiles by strides of their own, so that no two of them rise and fall together."""


@dataclass(frozen=True, slots=True)
class Prior:
    """What is planned for until something is known, and what holds whatever is known.

    ``floor_per_s`` is the least rate that is planned for; ``retention_s`` how long the type must be proved idle before
    nothing is planned for it, None for the policy's own.
    """

    rate_per_s: float = 0.0
    input_tokens: float = 0.0
    output_tokens: float = 0.0
    floor_per_s: float = 0.0
    retention_s: float | None = None


class DemandEstimate(NamedTuple):
    """Demand of one query type over the coming horizon.

    ``rate_per_s`` is what is planned for, margin included; ``rate_stddev_per_s`` the spread one horizon ahead;
    ``observed_rate_per_s`` what the window that closed had; None where that is not known. ``forecast_rate_per_s`` is
    the mean that is expected, ``quantile`` the level that is planned for where it is one, ``shaped_by`` what decided,
    and ``burstiness`` the variance of bucket counts over their mean.
    """

    query_type: str
    state: DemandState
    rate_per_s: float
    rate_stddev_per_s: float
    input_tokens: float
    output_tokens: float
    observed_rate_per_s: float | None
    forecast_rate_per_s: float | None = None
    quantile: float | None = None
    shaped_by: Shaping = "forecast"
    burstiness: float = 1.0


Factor = Callable[[Floats, Floats], Floats]
"""From rates (N,) and burstiness (N,) to queueing headroom (N,), a factor of at least 1."""


@dataclass(frozen=True, slots=True)
class Margin:
    """What the margin depends on beside demand.

    ``levels`` are τ (N,) of each type, ``factor`` the queueing headroom, ``leads`` the windows ahead to plan for.
    """

    levels: Floats
    factor: Factor | None = None
    leads: tuple[int, ...] = (1,)


def estimate_all(
    memory: DemandMemory,
    view: WindowView,
    priors: Mapping[str, Prior],
    policy: DemandPolicy | None = None,
    margin: Margin | None = None,
) -> tuple[DemandMemory, tuple[DemandEstimate, ...]]:
    """Take in a closed window; estimate the next one for every query type that has a prior, in that order.

    Types that nothing was heard of stay as they are: what was planned for goes on being planned for.
    """
    policy = policy or DemandPolicy()
    names = tuple(priors)
    margin = margin or Margin(np.full(len(names), 0.9))
    window_s = view.end_s - view.start_s
    estimator = make_estimator(policy.estimator, margin.leads)
    fresh: dict[str, NDArray[Any]] = {
        **{f"estimator.{name}": array for name, array in estimator.fresh(len(names)).items()},
        **{f"targets.{name}": array for name, array in fresh_targets(len(names), policy).items()},
        "tokens": np.zeros((len(names), 3)),
        "seen": np.zeros(len(names), dtype=np.bool_),
    }
    signature = f"{policy.estimator} {margin.leads} {window_s:g}"
    rows = memory.rows_of(names, fresh, signature)

    windows = [view.types.get(name, _NOTHING) for name in names]
    totals = _totals(view, windows)
    heard = np.isfinite(totals[:, 0])
    prior = np.empty((len(names), 3))
    prior[:, 0] = [p.rate_per_s for p in priors.values()]
    prior[:, 1] = [p.input_tokens for p in priors.values()]
    prior[:, 2] = [p.output_tokens for p in priors.values()]
    means_before = tokens.means(rows["tokens"], prior[:, 1:])
    work = tokens.in_mean_requests(totals, means_before, policy.output_weight)
    state = estimator.observe(_inner(rows, "estimator."), totals[:, 0], work)
    sums = np.where(heard[:, None], tokens.observe(rows["tokens"], totals), rows["tokens"])
    means = tokens.means(sums, prior[:, 1:])
    seen = rows["seen"] | heard
    buckets = bucket_counts(view, names)
    index = dispersion(buckets)

    outlooks = [estimator.outlook(state, lead) for lead in margin.leads]
    forecast = np.where(seen, outlooks[0].forecast / window_s, prior[:, 0])
    wanted, reason = _with_margin(outlooks, window_s, index, policy, margin)
    wanted = np.where(seen, wanted, prior[:, 0])
    reasons = np.where(seen, reason, "prior").astype(object)
    num_buckets = buckets.shape[1]
    if num_buckets >= 2 * RECENT_BUCKETS:
        # Those that are to be judged must not widen what they are judged by.
        calm, recent = dispersion(buckets[:, :-RECENT_BUCKETS]), buckets[:, -RECENT_BUCKETS:].sum(axis=1)
        span_s = window_s / num_buckets * RECENT_BUCKETS
        runaway = surging(recent, span_s, wanted, calm, policy.surge_sigmas)
        is_surge = np.isfinite(runaway)
        wanted, reasons[is_surge] = np.where(is_surge, runaway, wanted), "surge"

    targets = Targets(
        wanted,
        reasons,
        heard=heard,
        is_idle=heard & (totals[:, 0] == 0),
        was_seen=rows["seen"],
        floor_per_s=np.array([p.floor_per_s for p in priors.values()]),
        retention_s=np.array(
            [policy.retention_s if p.retention_s is None else p.retention_s for p in priors.values()]
        ),
    )
    shaped, planned = shape(_inner(rows, "targets."), targets, window_s, policy)
    arrays: dict[str, NDArray[Any]] = {
        **{f"estimator.{name}": array for name, array in state.items()},
        **{f"targets.{name}": array for name, array in shaped.items()},
        "tokens": sums,
        "seen": seen,
    }
    spread = np.where(seen, outlooks[0].stddev() / window_s, 0.0)
    levels = margin.levels.tolist() if policy.headroom == "quantile" else [None] * len(names)
    observed: list[float | None] = (totals[:, 0] / window_s).tolist()
    for row in np.flatnonzero(~heard):
        observed[row] = None
    states = [window.state for window in windows]
    columns = (
        names, states, planned.tolist(), spread.tolist(), means[:, 0].tolist(), means[:, 1].tolist(), observed,
        forecast.tolist(), levels, targets.reasons.tolist(), index.tolist(),
    )  # fmt: skip
    # As DemandEstimate._make does, without its look at each length: they are all as many as there are columns.
    make = partial(tuple.__new__, DemandEstimate)
    estimates = cast(tuple[DemandEstimate, ...], tuple(map(make, zip(*columns, strict=True))))
    return DemandMemory(names, signature, arrays), estimates


def with_planned(memory: DemandMemory, rates_per_s: Mapping[str, float]) -> DemandMemory:
    """Return a memory in which these rates, 1/s, were planned for last: the next may not fall from them at will."""
    name = "targets.planned"
    if name not in memory.arrays:
        return memory
    planned = memory.arrays[name].copy()
    for row, query_type in enumerate(memory.types):
        planned[row] = rates_per_s.get(query_type, planned[row])
    return replace(memory, arrays={**memory.arrays, name: planned})


def demand_scenarios(
    memory: DemandMemory, demand: tuple[DemandEstimate, ...], policy: DemandPolicy, window_s: float
) -> Floats:
    """Return equally likely rates (S, N), 1/s, of the types that were estimated last, in their order.

    Where a policy plans for more than the forecast (it stabilizes, or holds), scenarios are moved up by as much.
    """
    # What another rule left says nothing, and of a type that is new in the catalog nothing is left.
    is_ours = memory.signature.startswith(f"{policy.estimator} ")
    rows = {name: row for row, name in enumerate(memory.types)} if is_ours else {}
    values = np.empty((0, NUM_SCENARIOS))
    if rows:
        estimator = make_estimator(policy.estimator)
        values = estimator.outlook(_inner(memory.arrays, "estimator.")).scenarios(NUM_SCENARIOS) / window_s
    order = np.arange(NUM_SCENARIOS)
    columns = []
    for at, estimate in enumerate(demand):
        forecast, row = estimate.forecast_rate_per_s, rows.get(estimate.query_type)
        is_certain = estimate.shaped_by in ("prior", "idle", "floor", "held")
        if is_certain or row is None or forecast is None:
            columns.append(np.full(NUM_SCENARIOS, estimate.rate_per_s))
            continue
        stride = 1 + at % (NUM_SCENARIOS - 1)
        shuffled = values[row, (stride * order + 7 * at) % NUM_SCENARIOS]
        columns.append(np.maximum(shuffled + estimate.rate_per_s - forecast, 0.0))
    return np.column_stack(columns)


def _with_margin(
    outlooks: list[Outlook],
    window_s: float,
    index: Floats,
    policy: DemandPolicy,
    margin: Margin,
) -> tuple[Floats, Shaping]:
    if policy.headroom == "quantile":
        quantiles = [outlook.quantile(margin.levels) for outlook in outlooks]
        return np.max(np.stack(quantiles), axis=0) / window_s, "headroom"
    expected = np.max(np.stack([outlook.forecast for outlook in outlooks]), axis=0) / window_s
    if policy.headroom == "queueing" and margin.factor is not None:
        return expected * margin.factor(expected, index), "headroom"
    return np.maximum(expected, 0.0), "forecast"


def _totals(view: WindowView, windows: Sequence[TypeWindow]) -> Floats:
    """Return requests, input and output tokens (N, 3) of a whole window; NaN where nothing is known."""
    sums = [window.totals for window in windows]
    totals = np.empty((len(windows), 3))
    totals[:, 0] = [total.count for total in sums]
    totals[:, 1] = [total.input_tokens for total in sums]
    totals[:, 2] = [total.output_tokens for total in sums]
    watched = (view.coverage or 1.0) - (1.0 - np.array([window.heard_share for window in windows]))
    totals /= np.maximum(watched, 1e-3)[:, None]
    totals[[window.state is DemandState.UNKNOWN for window in windows]] = np.nan
    return totals


def _inner(arrays: Mapping[str, NDArray[Any]], prefix: str) -> dict[str, NDArray[Any]]:
    return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}
