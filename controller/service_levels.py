"""What the margin of demand is worth: from a catalog's prices, penalties, delays and start-up times."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from controller.demand.estimator import DemandEstimate, Factor, Margin, Prior
from controller.demand.forecasters import Floats
from controller.demand.policy import DemandPolicy
from controller.demand.queueing import capacity_factor
from controller.demand.window import DemandState
from controller.domain.arrays import InstanceArrays
from controller.domain.catalog import Catalog
from controller.domain.plan import Plan

LEAST_LEVEL, LARGEST_LEVEL = 0.5, 0.999
LONGEST_LEAD = 288
"""Horizons: weights that were written down in bytes take forever to load, and are not to be remembered that long."""
_SHORTEST_WAIT = 0.05
"""Of the delay SLO: what is left to wait where service takes all of it."""


def priors_of(catalog: Catalog) -> dict[str, Prior]:
    """Return what holds of each query type whatever was seen."""
    return {
        query_type.name: Prior(
            query_type.arrival_rate_per_s,
            query_type.input_tokens,
            query_type.output_tokens,
            catalog.floors_per_s.get(query_type.name, 0.0),
            catalog.retentions_s.get(query_type.name),
        )
        for query_type in catalog.query_types
    }


def margin_of(
    catalog: Catalog,
    policy: DemandPolicy,
    horizon_s: float,
    demand: tuple[DemandEstimate, ...],
    plan: Plan,
) -> Margin:
    """Return what the margin depends on, by the demand and the plan that were published last."""
    arrays = per_query(catalog, horizon_s, {estimate.query_type: estimate for estimate in demand})
    levels = service_levels(arrays) if policy.quantile is None else np.full(arrays.num_types, policy.quantile)
    return Margin(levels, _queueing(catalog, arrays, plan, policy.late_share), leads_of(catalog, horizon_s))


def service_levels(arrays: InstanceArrays, *, bounded: bool = True) -> Floats:
    """Return τ (I,) = 1 - rent / penalty: the quantile at which one query more or less costs the same.

    The rent is that of the cheapest deployment that is fast and exact enough. ``bounded`` levels lie within 0.5 and
    0.999.
    """
    may_serve = arrays.fast_enough & (arrays.error <= arrays.error_slo[:, None])
    rent_usd = np.where(may_serve, arrays.compute_load * arrays.rent_usd, np.inf).min(axis=1, initial=np.inf)
    is_priced = np.isfinite(rent_usd) & (arrays.unmet_usd > 0)
    ratio = np.divide(rent_usd, arrays.unmet_usd, out=np.ones_like(rent_usd), where=is_priced)
    found: Floats = np.clip(1.0 - ratio, LEAST_LEVEL, LARGEST_LEVEL) if bounded else 1.0 - ratio
    return found


def startup_s(catalog: Catalog) -> float:
    """Return how long the slowest model takes to start: ``switching.start_s``, and loading its weights at FP16."""
    if catalog.switching is None:
        return 0.0
    largest_gb = max(model.weights_gb for model in catalog.models)
    return catalog.switching.start_s + largest_gb / catalog.switching.load_gb_per_s


def leads_of(catalog: Catalog, horizon_s: float) -> tuple[int, ...]:
    """Return the horizons ahead to plan for: the next, and the one that has most of what is started now.

    What is started at T serves from T + S to the S of the next plan, so from half a horizon on, the one after the next
    sees more of it than the next does.
    """
    ready = min(1 + math.floor(startup_s(catalog) / horizon_s + 0.5), LONGEST_LEAD)
    return (1,) if ready == 1 else (1, ready)


def per_query(catalog: Catalog, horizon_s: float, demand: Mapping[str, DemandEstimate]) -> InstanceArrays:
    """Return the arrays of an instance in which each type is asked for once a second, with the tokens that it has."""
    one = {}
    for query_type in catalog.query_types:
        known = demand.get(query_type.name)
        one[query_type.name] = DemandEstimate(
            query_type.name,
            DemandState.OBSERVED,
            1.0,
            0.0,
            query_type.input_tokens if known is None else known.input_tokens,
            query_type.output_tokens if known is None else known.output_tokens,
            None,
        )
    return catalog.instance(one, horizon_s / 3600.0).arrays


def _queueing(catalog: Catalog, arrays: InstanceArrays, plan: Plan, late_share: float) -> Factor:
    """Return queueing headroom by the delay of the deployments in force, or of the fastest where there is none."""
    row = {name: i for i, name in enumerate(catalog.type_names)}
    column = {key.id: d for d, key in enumerate(arrays.keys)}
    weight = np.zeros(arrays.num_types)
    service_s = np.zeros(arrays.num_types)
    keys = {deployment.id: deployment.key.id for deployment in plan.deployments}
    for route in plan.routes:
        d = column.get(keys.get(route.deployment, ""))
        i = row.get(route.query_type)
        if d is not None and i is not None:
            weight[i] += route.fraction
            service_s[i] += route.fraction * arrays.delay_s[i, d]
    fastest_s = arrays.delay_s.min(axis=1, initial=np.inf)
    service_s = np.where(weight > 0, service_s / np.where(weight > 0, weight, 1.0), fastest_s)
    wait_s = np.maximum(arrays.delay_slo_s - service_s, _SHORTEST_WAIT * arrays.delay_slo_s)

    def factor(rates_per_s: Floats, index: Floats) -> Floats:
        return capacity_factor(rates_per_s, service_s, wait_s, index, late_share)

    return factor
