"""The replayer's time: ``clock/1`` on ``llm.clock.v1``."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from schemas.base import EpochSeconds, Message, Positive


class ClockTick(Message):
    """What time it is in the trace, and how fast it runs. No event up to ``now`` is sent before this is."""

    schema_name: Literal["clock/1"] = Field(default="clock/1", alias="schema")
    now: EpochSeconds
    speed: Positive = Field(description="seconds of the trace per second")
