"""What all messages share: strictness, and how a moment is written.

A message is frozen, refuses fields that it does not know, and converts nothing silently (``true`` is not 1, ``"3"``
is not 3). Readers that must live with newer writers ask for it: ``Plan.model_validate_json(raw, extra="ignore")``.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, WithJsonSchema

EARLIEST_S = 946_684_800.0
"""2000-01-01: anything before is no moment of ours."""
LATEST_S = 4_102_444_800.0
"""2100-01-01: milliseconds and nanoseconds since the epoch lie far beyond."""
LONGEST_NAME = 128
LARGEST_COUNT = 10**15


class Message(BaseModel):
    """Base of every message: frozen, strict, closed."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        strict=True,
        allow_inf_nan=False,
        validate_by_name=True,
        validate_by_alias=True,
        serialize_by_alias=True,
        ser_json_inf_nan="null",
    )

    def encode(self) -> bytes:
        """Return the message as it goes onto its topic: UTF-8 JSON."""
        return self.model_dump_json().encode()


def epoch_seconds(text: str) -> float:
    """Read ISO 8601 text in UTC.

    Raises
    ------
    ValueError : it is not a moment, or not in UTC.

    >>> epoch_seconds("2023-11-14T22:13:20.25Z")
    1700000000.25
    """
    moment = datetime.fromisoformat(text)
    if moment.utcoffset() != timedelta(0):
        raise ValueError("a time must be in UTC, written with 'Z' or '+00:00'")
    return moment.timestamp()


def _seconds(value: Any) -> Any:
    """Turn ISO 8601 UTC text into epoch seconds; leave the rest to the field's own rules."""
    return epoch_seconds(value) if isinstance(value, str) else value


def iso_utc(epoch_s: float) -> str:
    """Write epoch seconds as ISO 8601 in UTC, to the millisecond.

    >>> iso_utc(1_700_000_000.25)
    '2023-11-14T22:13:20.250Z'
    """
    return datetime.fromtimestamp(epoch_s, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


_MOMENT = (
    BeforeValidator(_seconds),
    Field(ge=EARLIEST_S, le=LATEST_S),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string", "format": "date-time"},
                {"type": "number", "minimum": EARLIEST_S, "maximum": LATEST_S},
            ],
            "description": "ISO 8601 in UTC, or seconds since the epoch",
        }
    ),
)

EpochSeconds = Annotated[float, *_MOMENT]
"""A moment, read from ISO 8601 UTC or epoch seconds, written as epoch seconds."""
UtcTime = Annotated[float, *_MOMENT, PlainSerializer(iso_utc, return_type=str, when_used="json")]
"""A moment, read from ISO 8601 UTC or epoch seconds, written as ISO 8601 for people."""

Name = Annotated[str, Field(min_length=1, max_length=LONGEST_NAME, pattern=r"^[^\x00-\x1f\x7f]+$")]
"""A name: 1 to 128 characters, none of them a control character."""
Count = Annotated[int, Field(ge=0, le=LARGEST_COUNT)]
"""A whole number of things, never negative, small enough to stay exact in any reader's floating point."""
Share = Annotated[float, Field(ge=0.0, le=1.0)]
"""A fraction of a whole."""
NonNegative = Annotated[float, Field(ge=0.0)]
Positive = Annotated[float, Field(gt=0.0)]
