"""Input that was refused: ``dead-letter/1`` on ``llm.dead-letter.v1``."""

from __future__ import annotations

import base64
from typing import Annotated, Literal

from pydantic import Field

from schemas.base import Count, Message, Name

LONGEST_RAW_BYTES = 64 * 1024


class DeadLetter(Message):
    """One refused record: why, where it stands, and its bytes. ``(topic, partition, offset)`` is its identity."""

    schema_name: Literal["dead-letter/1"] = Field(default="dead-letter/1", alias="schema")
    reason: Name = Field(description="short and countable")
    detail: str = Field(max_length=2000, description="for people: the field, the rule and the value")
    topic: Name
    partition: Annotated[int, Field(ge=0)]
    offset: Count
    raw_base64: str = Field(description="the record's value, cut at 64 KiB")
    raw_bytes: Count = Field(description="its whole length")

    @classmethod
    def of(cls, reason: str, detail: str, topic: str, partition: int, offset: int, raw: bytes) -> DeadLetter:
        """Make a dead letter of a record's bytes, cut to what a broker takes."""
        return cls(
            reason=reason,
            detail=detail[:2000],
            topic=topic,
            partition=partition,
            offset=offset,
            raw_base64=base64.b64encode(raw[:LONGEST_RAW_BYTES]).decode(),
            raw_bytes=len(raw),
        )
