"""Messages convert nothing silently, and say which field is wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from schemas import AllocationPlan, DeadLetter, PlanAck, RequestRateEvent
from schemas.base import iso_utc

EVENT: dict[str, Any] = {"query_type": "chat", "event_time": 1_700_000_000.0, "count": 2, "source": "gw"}
PLAN_RAW = (Path(__file__).parents[1] / "data" / "messages" / "plan.json").read_bytes()


def _event(**changes: Any) -> bytes:
    return json.dumps(EVENT | changes).encode()


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"count": True}, "count"),
        ({"count": "3"}, "count"),
        ({"count": 2.5}, "count"),
        ({"count": -1}, "count"),
        ({"count": 10**16}, "count"),
        ({"window_s": "1"}, "window_s"),
        ({"window_s": float("nan")}, "window_s"),
        ({"window_s": float("inf")}, "window_s"),
        ({"window_s": -0.5}, "window_s"),
        ({"query_type": ""}, "query_type"),
        ({"query_type": "a\x00b"}, "query_type"),
        ({"query_type": "x" * 129}, "query_type"),
        ({"query_type": 7}, "query_type"),
        ({"event_time": None}, "event_time"),
        ({"event_time": True}, "event_time"),
        ({"event_time": 1_700_000_000_000}, "event_time"),
        ({"event_time": 1_700_000_000_000_000_000}, "event_time"),
        ({"event_time": 0}, "event_time"),
        ({"event_time": "2023-11-14T22:13:20"}, "event_time"),
        ({"event_time": "2023-11-14T22:13:20+01:00"}, "event_time"),
        ({"event_time": "yesterday"}, "event_time"),
        ({"event_time": "1700000000"}, "event_time"),
        ({"schema": "request-rate/2"}, "schema"),
        ({"colour": "red"}, "colour"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_an_event_that_breaks_a_rule_is_refused_at_that_field(changes: dict[str, Any], field: str) -> None:
    with pytest.raises(ValidationError) as refusal:
        RequestRateEvent.model_validate_json(_event(**changes))
    assert {error["loc"][0] for error in refusal.value.errors()} == {field}


@pytest.mark.parametrize(
    "text", ["2023-11-14T22:13:20Z", "2023-11-14T22:13:20+00:00", "2023-11-14T22:13:20.000Z"]
)
def test_a_moment_in_utc_is_the_same_as_text_and_as_seconds(text: str) -> None:
    from_text = RequestRateEvent.model_validate_json(_event(event_time=text))
    assert from_text == RequestRateEvent.model_validate_json(_event(event_time=1_700_000_000))


def test_moments_are_written_as_people_read_them_where_people_read() -> None:
    assert iso_utc(1_700_000_000.25) == "2023-11-14T22:13:20.250Z"
    assert json.loads(AllocationPlan.model_validate_json(PLAN_RAW).encode())["valid_until"].endswith("Z")


def test_the_example_plan_comes_back_as_it_was_written() -> None:
    plan = AllocationPlan.model_validate_json(PLAN_RAW)
    assert json.loads(plan.encode()) == json.loads(PLAN_RAW)


def test_a_reader_may_ask_to_ignore_what_it_does_not_know_at_every_depth() -> None:
    document = json.loads(PLAN_RAW)
    document["colour"] = document["cost"]["colour"] = document["routes"][0]["colour"] = "red"
    raw = json.dumps(document).encode()
    assert AllocationPlan.model_validate_json(raw, extra="ignore") == AllocationPlan.model_validate_json(
        PLAN_RAW
    )
    with pytest.raises(ValidationError):
        AllocationPlan.model_validate_json(raw)


def test_a_message_cannot_be_changed() -> None:
    ack = PlanAck(router="r", epoch=1, sequence=2, status="applied")
    with pytest.raises(ValidationError, match="frozen"):
        ack.epoch = 2


def test_a_dead_letter_of_a_huge_record_is_small_and_knows_its_length() -> None:
    letter = DeadLetter.of("too_large", "d" * 5000, "t", 0, 7, b"x" * 10_000_000)
    assert letter.raw_bytes == 10_000_000
    assert len(letter.encode()) < 100_000
