"""From a record's bytes to a plan that can be acted on, or to a reason why not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeGuard

import pydantic_core
from pydantic import ValidationError

from controller.errors import MessageError
from controller.router.shares import check_shares
from schemas import AllocationPlan, Topic

LARGEST_PLAN_BYTES = 16 * 1024 * 1024
"""Nothing longer is parsed; a plan for a thousand deployments takes about a megabyte."""
_SUPPORTED = "plan/1"
_LONGEST_DETAIL = 500


@dataclass(frozen=True, slots=True)
class PlanHeader:
    """What a record says of itself, whether or not the rest can be read. None where it says nothing usable."""

    schema: str | None = None
    fleet: str | None = None
    order: tuple[int, int] | None = None


def read_header(raw: bytes) -> PlanHeader:
    """Return what can be told of a record without understanding it; never raises."""
    if len(raw) > LARGEST_PLAN_BYTES:
        return PlanHeader()
    try:
        document = pydantic_core.from_json(raw)
    except ValueError:
        return PlanHeader()
    if not isinstance(document, dict):
        return PlanHeader()
    schema, fleet = document.get("schema"), document.get("fleet")
    epoch, sequence = document.get("epoch"), document.get("sequence")
    return PlanHeader(
        schema if isinstance(schema, str) else None,
        fleet if isinstance(fleet, str) else None,
        (epoch, sequence) if _is_count(epoch) and _is_count(sequence) else None,
    )


def decode_plan(raw: bytes) -> AllocationPlan:
    """Return the plan in a record of ``llm.plans.v1``.

    Fields that this reader does not know are ignored: the writer may be newer. A higher major version is not: its known
    fields may mean something else.

    Raises
    ------
    MessageError
        With reason ``too_large``, ``unsupported_version``, ``invalid`` or ``inconsistent``.
    """
    if len(raw) > LARGEST_PLAN_BYTES:
        raise MessageError(
            "too_large", Topic.PLANS, f"a plan takes {LARGEST_PLAN_BYTES} bytes at most", len(raw)
        )
    try:
        plan = AllocationPlan.model_validate_json(raw, extra="ignore")
    except ValidationError as error:
        schema = read_header(raw).schema
        if schema is not None and schema != _SUPPORTED:
            raise MessageError(
                "unsupported_version", f"{Topic.PLANS}: schema", f"this reader takes {_SUPPORTED}", schema
            ) from None
        raise MessageError("invalid", Topic.PLANS, _first_error(error)) from None
    check_shares(plan)
    return plan


def _first_error(error: ValidationError) -> str:
    first = error.errors(include_url=False, include_context=False)[0]
    where = ".".join(str(part) for part in first["loc"])
    return f"{where}: {first['msg']}"[:_LONGEST_DETAIL]


def _is_count(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= 10**15
