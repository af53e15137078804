"""What is written is read back as the same message, and nothing but a clear refusal comes of anything else."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from controller.errors import MessageError
from controller.router.decode import decode_plan, read_header
from schemas import (
    AllocationPlan,
    PlanChange,
    PlanCost,
    PlanDecision,
    PlanDemand,
    PlanDeployment,
    PlanInput,
    PlanInputPartition,
    PlanPrediction,
    PlanRoute,
    PlanSolver,
    RequestRateEvent,
)
from schemas.base import EARLIEST_S, LATEST_S

names = st.text(st.characters(exclude_categories=["Cc", "Cs"]), min_size=1, max_size=128)
counts = st.integers(0, 10**15)
amounts = st.floats(0.0, 1e300, allow_nan=False)
shares = st.floats(0.0, 1.0)
seconds = st.floats(EARLIEST_S, LATEST_S)
# Moments that are written for people are written to the millisecond.
milliseconds = st.integers(int(EARLIEST_S * 1000), int(LATEST_S * 1000)).map(lambda ms: ms / 1000)
maybe = st.none


def _event(count: int, tokens: int) -> st.SearchStrategy[RequestRateEvent]:
    return st.builds(
        RequestRateEvent,
        query_type=names,
        event_time=seconds,
        window_s=st.floats(0.0, 86_400.0),
        count=st.just(count),
        input_tokens=st.integers(0, tokens),
        output_tokens=st.integers(0, tokens),
        source=names,
        event_id=maybe() | names,
    )


heartbeats = _event(count=0, tokens=0)
events = heartbeats | st.integers(1, 10**15).flatmap(lambda count: _event(count, tokens=10**15))

plans = st.builds(
    AllocationPlan,
    fleet=names,
    epoch=counts,
    sequence=counts,
    plan_id=names,
    trigger=st.sampled_from(["horizon", "surge", "catalog", "capacity", "manual"]),
    issued_at=milliseconds,
    horizon_start=milliseconds,
    horizon_end=milliseconds,
    valid_until=milliseconds,
    input=st.builds(
        PlanInput,
        partitions=st.lists(
            st.builds(
                PlanInputPartition,
                partition=st.integers(0, 999),
                next_offset=counts,
                watermark=maybe() | seconds,
            ),
            max_size=3,
        ),
        missing_partitions=st.lists(st.integers(0, 999), max_size=3),
        catalog_hash=names,
    ),
    demand=st.lists(
        st.builds(
            PlanDemand,
            query_type=names,
            state=st.sampled_from(["observed", "idle", "unknown"]),
            rate_per_s=amounts,
            observed_rate_per_s=maybe() | amounts,
            rate_stddev_per_s=amounts,
            input_tokens=amounts,
            output_tokens=amounts,
            quantile=maybe() | shares,
        ),
        max_size=2,
    ),
    deployments=st.lists(
        st.builds(
            PlanDeployment,
            id=names,
            model=names,
            gpu_tier=names,
            tp=st.integers(1, 8),
            pp=st.integers(1, 8),
            replicas=st.integers(1, 99),
            gpus=st.integers(1, 9999),
        ),
        max_size=2,
    ),
    routes=st.lists(
        st.builds(
            PlanRoute, query_type=names, deployment=names, fraction=st.floats(0.0, 1.0, exclude_min=True)
        ),
        max_size=2,
    ),
    unmet=st.dictionaries(names, shares, max_size=2),
    predicted=st.lists(
        st.builds(
            PlanPrediction,
            query_type=names,
            delay_s=maybe() | amounts,
            delay_slo_s=amounts,
            error=maybe() | amounts,
            error_slo=amounts,
            unmet=shares,
            slack=maybe() | st.floats(-1e9, 1e9),
            binding=maybe() | names,
        ),
        max_size=2,
    ),
    cost=st.builds(
        PlanCost,
        rental_usd=amounts,
        storage_usd=amounts,
        delay_usd=amounts,
        unmet_usd=amounts,
        switching_usd=amounts,
        total_usd=amounts,
        usd_per_h=amounts,
    ),
    solver=st.builds(
        PlanSolver,
        method=names,
        status=st.sampled_from(["optimal", "feasible", "infeasible", "failed", "not_run"]),
        runtime_s=amounts,
        lower_bound_usd=maybe() | amounts,
        gap=maybe() | shares,
    ),
    changes=st.lists(
        st.builds(
            PlanChange,
            step=st.integers(1, 99),
            action=st.sampled_from(["start", "stop"]),
            deployment=names,
            replicas_before=st.integers(0, 99),
            replicas_after=st.integers(0, 99),
            gpus=st.integers(1, 999),
        ),
        max_size=2,
    ),
    decision=st.builds(
        PlanDecision,
        name=st.sampled_from(["planned", "kept", "hold_unknown_demand", "solver_failed_kept_last"]),
        reason=names,
    ),
)

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=15,
)


@given(events)
def test_an_event_comes_back_as_it_was_sent(event: RequestRateEvent) -> None:
    assert RequestRateEvent.model_validate_json(event.encode()) == event


@settings(max_examples=40)
@given(plans)
def test_a_plan_comes_back_as_it_was_published(plan: AllocationPlan) -> None:
    assert AllocationPlan.model_validate_json(plan.encode()) == plan


@settings(max_examples=40)
@given(plans, st.data())
def test_a_plan_with_one_field_replaced_is_read_or_refused_and_nothing_else(
    plan: AllocationPlan, data: st.DataObject
) -> None:
    document: dict[str, Any] = json.loads(plan.encode())
    document[data.draw(st.sampled_from(sorted(document)))] = data.draw(json_values)
    raw = json.dumps(document).encode()
    with contextlib.suppress(MessageError):
        decode_plan(raw)
    read_header(raw)


@given(st.binary(max_size=200) | json_values.map(lambda value: json.dumps(value).encode()))
def test_bytes_of_any_kind_are_refused_with_a_reason(raw: bytes) -> None:
    with contextlib.suppress(ValidationError):
        RequestRateEvent.model_validate_json(raw)
    read_header(raw)
    with pytest.raises(MessageError) as refusal:
        decode_plan(raw)
    assert refusal.value.reason in {"invalid", "unsupported_version"}
