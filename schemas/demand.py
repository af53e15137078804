"""What was counted, as absolute totals: ``demand/1`` on ``llm.demand.v1``, one record per source partition."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from schemas.base import Count, EpochSeconds, Message, Name


class TypeTotals(Message):
    """Totals of one query type in one bucket."""

    events: Count = Field(description="records counted, heartbeats among them")
    count: Count = Field(description="requests")
    input_tokens: Count
    output_tokens: Count


class BucketTotals(Message):
    """Totals of one bucket of event time, ``[start, start + bucket_s)``."""

    start: EpochSeconds
    totals: dict[Name, TypeTotals]


class DemandSnapshot(Message):
    """All that one source partition is known to hold, up to ``next_offset``.

    Absolute, never an increment: applying it twice changes nothing, and a reader ignores one whose ``next_offset`` is
    below what it has. The same record is the state that ingest recovers from.
    """

    schema_name: Literal["demand/1"] = Field(default="demand/1", alias="schema")
    partition: Annotated[int, Field(ge=0)]
    next_offset: Count = Field(description="the first offset that is not in these totals")
    watermark: EpochSeconds | None = Field(
        description="no event before this is counted any more; null before the first"
    )
    since: EpochSeconds | None = Field(
        description="start of the first bucket ever counted into; null before it"
    )
    as_of: EpochSeconds | None = Field(
        description="the clock when the partition last moved; null where it is not set"
    )
    at_end: bool = Field(description="everything in the partition was read")
    bucket_s: Annotated[float, Field(gt=0)]
    buckets: list[BucketTotals] = Field(
        description="open, or closed so lately that a plan may need them; by start"
    )
    counted: Count = Field(description="records since offset 0 that are in a bucket")
    late: Count = Field(description="records that came after their bucket had closed")
    refused: Count = Field(description="records that are in the dead-letter topic")
    duplicates: Count = Field(description="records whose event_id had been seen")
    skipped: Count = Field(
        default=0, description="offsets that the broker no longer had when they were asked for"
    )
