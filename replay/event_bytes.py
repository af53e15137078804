"""Messages as bytes, written by hand: a replay at speed is bound by how fast they are made.

What pydantic reads from them is the intended message; a property test holds them to it.
"""

from __future__ import annotations

import json
from functools import cache

from pydantic import ValidationError

from controller.errors import InputError
from replay.rows import Request
from schemas import ClockTick, RequestRateEvent
from schemas.base import EARLIEST_S, LATEST_S

FASTEST_TOLD = 1e9
"""What a tick says of a replay without a limit to its speed: a message cannot carry infinity."""


@cache
def _head(query_type: str) -> str:
    """Return an event up to its time. A name that no message may carry is refused here, once."""
    try:
        RequestRateEvent(query_type=query_type, event_time=EARLIEST_S, window_s=0.0)
    except ValidationError as error:
        rule = error.errors()[0]["msg"]
        raise InputError(
            "query type", f"must be a name that a message may carry ({rule})", query_type
        ) from None
    return f'{{"schema":"request-rate/1","query_type":{json.dumps(query_type)},"event_time":'


@cache
def source_of(partition: int) -> str:
    """Return the source that writes to ``partition``.

    >>> source_of(3)
    'replay-3'
    """
    return f"replay-{partition}"


def request_bytes(request: Request, source: str) -> bytes:
    """Return one request as an event with count 1.

    Parameters
    ----------
    request : its time and counts must be such as a message may carry; readers see to that.
    source : a name without quotes, backslashes or control characters.

    Raises
    ------
    InputError
        The query type is no name that a message may carry.

    Examples
    --------
    >>> request_bytes(Request(1772582400.25, "translation", 210, 190), source_of(0)).decode()
    '{"schema":"request-rate/1","query_type":"translation","event_time":1772582400.25,"count":1,\
"input_tokens":210,"output_tokens":190,"source":"replay-0"}'
    """
    return (
        f'{_head(request.query_type)}{request.time_s!r},"count":1,"input_tokens":{request.input_tokens},'
        f'"output_tokens":{request.output_tokens},"source":"{source}"}}'
    ).encode()


def heartbeat_bytes(time_s: float, query_type: str, source: str) -> bytes:
    """Return an event with count 0: at ``time_s`` the source was alive, and nothing was asked for.

    Raises
    ------
    InputError
        The query type is no name that a message may carry.
    """
    return f'{_head(query_type)}{time_s!r},"count":0,"source":"{source}"}}'.encode()


def tick_bytes(now_s: float, speed: float) -> bytes:
    """Return the replayer's time and speed, both held to what a message may carry.

    >>> tick_bytes(1772582400.0, float("inf")).decode()
    '{"schema":"clock/1","now":1772582400.0,"speed":1000000000.0}'
    """
    return ClockTick(now=min(now_s, LATEST_S), speed=min(speed, FASTEST_TOLD)).encode()
