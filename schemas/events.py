"""Offered load, as gateways report it: ``request-rate/1`` on ``llm.request-rate.v1``."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from schemas.base import Count, EpochSeconds, Message, Name

LONGEST_WINDOW_S = 86_400.0


class RequestRateEvent(Message):
    """How many requests of one query type were asked for, from one moment on.

    One request is an event with ``count`` 1 and ``window_s`` 0; a gateway may add up to one bucket of requests into
    one event. It belongs to the bucket of its start. ``count`` 0 is a heartbeat: it proves that the source is alive and
    that nothing was asked.
    """

    schema_name: Literal["request-rate/1"] = Field(default="request-rate/1", alias="schema")
    query_type: Name
    event_time: EpochSeconds = Field(description="start of what is counted")
    window_s: float = Field(
        0.0, ge=0.0, le=LONGEST_WINDOW_S, description="length of what is counted; 0 for one request"
    )
    count: Count = Field(default=1, description="requests asked for; 0 is a heartbeat")
    input_tokens: Count = Field(default=0, description="prompt tokens, summed over the requests")
    output_tokens: Count = Field(default=0, description="generated tokens, summed over the requests")
    source: Name = Field(default="unknown", description="the gateway that counted")
    event_id: Name | None = Field(default=None, description="set by senders that may repeat themselves")

    @model_validator(mode="after")
    def _no_tokens_without_requests(self) -> Self:
        if self.count == 0 and (self.input_tokens or self.output_tokens):
            raise ValueError("a heartbeat (count 0) carries no tokens")
        return self
