"""Random small fleets for property tests: they share replicas, blend errors, and meet limits of every kind."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from controller.domain.entities import FoundationModel, GpuTier, QueryType, Switching
from controller.domain.instance import Instance
from controller.optimizer.solve import solve
from controller.optimizer.space import SearchSpace
from controller.optimizer.stop import MaxIterations

FEW = settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
FEWER = settings(FEW, max_examples=20)

pick = st.sampled_from


@st.composite
def fleets(draw: st.DrawFn) -> Instance:
    """Small fleets that share replicas, blend errors, and meet limits of every kind."""
    types = tuple(
        QueryType(
            name=f"type-{i}",
            arrival_rate_per_s=draw(pick([1.0, 6.0, 30.0])),
            input_tokens=draw(pick([200, 900])),
            output_tokens=draw(pick([80, 500])),
            delay_slo_s=draw(pick([4.0, 12.0])),
            error_slo=draw(pick([0.04, 0.06])),
            delay_penalty_usd_per_s=draw(pick([0.0, 1e-5])),
            unmet_penalty_usd=draw(pick([1e-3, 0.02])),
            token_storage_gb=draw(pick([0.0, 1e-7])),
            max_unmet=draw(pick([1.0, 1.0, 0.2])),
        )
        for i in range(draw(st.integers(2, 4)))
    )
    models = tuple(
        FoundationModel(
            f"model-{j}",
            draw(pick([1.0, 8.0])),
            draw(pick([2.0, 16.0])),
            draw(pick([1e-4, 4e-3])),
            {item.name: draw(pick([0.03, 0.05, 0.07])) for item in types},
        )
        for j in range(2)
    )
    tiers = tuple(
        GpuTier(
            f"tier-{k}",
            draw(pick([24.0, 80.0])),
            draw(pick([800.0, 3000.0])),
            draw(pick([120.0, 900.0])),
            draw(pick([0.5, 3.0])),
            (1, 2),
            (1,),
            available=draw(pick([None, None, 6])),
        )
        for k in range(2)
    )
    plain = Instance(
        name="fleet",
        horizon_h=24.0,
        query_types=types,
        models=models,
        gpu_tiers=tiers,
        budget_usd=draw(pick([None, None, 150.0, 500.0])),
        storage_gb=draw(pick([None, None, 20.0])),
        storage_usd_per_gb_h=draw(pick([0.0, 1e-3])),
        delay_slo=draw(pick(["per_route", "per_route", "average"])),
    )
    if draw(st.booleans()) and plain.arrays.keys:
        running = {draw(pick(plain.arrays.keys)): draw(st.integers(1, 3))}
        plain = replace(plain, incumbent=running, switching=Switching(7200.0, 0.5))
    return plain


def tightened(data: st.DataObject, instance: Instance) -> Instance:
    """Return an instance whose limits are below what GH takes where there are none."""
    free = replace(instance, budget_usd=None, storage_gb=None)
    plan = solve(free, MaxIterations(0), method="gh")
    if plan.plan is None or plan.evaluation is None or not plan.plan.deployments:
        return instance
    spend = plan.evaluation.cost.budgeted_usd
    replicas, _ = plan.plan.arrays(free)
    stored_gb = float(free.arrays.weights_gb @ (replicas > 0))
    return replace(
        free,
        budget_usd=data.draw(pick([None, 0.8 * spend, 0.95 * spend])),
        storage_gb=data.draw(pick([None, 0.6 * stored_gb])),
        query_types=tuple(replace(item, max_unmet=1.0) for item in free.query_types),
    )


def some_set(data: st.DataObject, space: SearchSpace) -> np.ndarray:
    """Return deployments of different pairs, in order."""
    pairs = data.draw(st.lists(st.integers(0, space.num_pairs - 1), min_size=1, max_size=3, unique=True))
    chosen = [data.draw(pick(np.flatnonzero(space.pair == pair).tolist())) for pair in pairs]
    return np.sort(np.array(chosen, dtype=np.int64))
