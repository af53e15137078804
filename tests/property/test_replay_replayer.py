"""Invariants of a replay, whatever the requests:

1. what pydantic reads from the bytes is the intended message;
2. every request is sent exactly once, and in order within its partition;
3. no record is ahead of the clock that was told before it.
"""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from collections.abc import Sequence

from hypothesis import given, settings
from hypothesis import strategies as st

from replay.event_bytes import heartbeat_bytes, request_bytes, source_of
from replay.replayer import Replayer
from replay.rows import Request
from schemas import ClockTick, RequestRateEvent, Topic
from schemas.base import EARLIEST_S, LATEST_S

names = st.text(st.characters(exclude_categories=["Cc", "Cs"]), min_size=1, max_size=128)
counts = st.integers(0, 10**15)
moments = st.floats(EARLIEST_S, LATEST_S)


@given(st.builds(Request, moments, names, counts, counts), st.integers(0, 10_000))
def test_the_bytes_of_a_request_are_read_as_the_event_that_was_meant(
    request: Request, partition: int
) -> None:
    assert RequestRateEvent.model_validate_json(
        request_bytes(request, source_of(partition))
    ) == RequestRateEvent(
        query_type=request.query_type,
        event_time=request.time_s,
        window_s=0.0,
        count=1,
        input_tokens=request.input_tokens,
        output_tokens=request.output_tokens,
        source=f"replay-{partition}",
    )


@given(moments, names, st.integers(0, 10_000))
def test_the_bytes_of_a_heartbeat_are_read_as_the_event_that_was_meant(
    time_s: float, query_type: str, partition: int
) -> None:
    assert RequestRateEvent.model_validate_json(
        heartbeat_bytes(time_s, query_type, source_of(partition))
    ) == RequestRateEvent(
        query_type=query_type, event_time=time_s, window_s=0.0, count=0, source=f"replay-{partition}"
    )


class _Log:
    def __init__(self, num_partitions: int) -> None:
        self.num_partitions = num_partitions
        self.records: list[tuple[str, int, bytes]] = []

    async def open(self) -> int:
        return self.num_partitions

    async def append(
        self,
        topic: str,
        partition: int,
        values: Sequence[bytes],
        key: bytes | None,  # noqa: ARG002
    ) -> None:
        self.records += [(topic, partition, value) for value in values]

    async def close(self) -> None:
        pass


async def _no_sleep(_: float) -> None:
    await asyncio.sleep(0)


# Few moments, so that many coincide, among themselves and with the ends of steps; and any float between.
_offsets_s = st.integers(0, 40).map(lambda n: n * 0.25) | st.floats(0.0, 10.0)
_requests = st.lists(
    st.builds(
        Request, _offsets_s.map(lambda offset_s: 1.75e9 + offset_s), st.sampled_from("abc"), counts, counts
    ),
    max_size=60,
).map(lambda requests: sorted(requests, key=lambda request: request.time_s))


@settings(max_examples=150)
@given(
    _requests,
    st.integers(1, 5),
    st.sampled_from([0.0, 0.25, 1.0, 7.0]),
    st.sampled_from([5.0, 23.7, math.inf]),
)
def test_every_request_is_sent_once_in_order_and_never_ahead_of_the_clock(
    requests: list[Request], num_partitions: int, heartbeat_s: float, speed: float
) -> None:
    log = _Log(num_partitions)
    report = asyncio.run(
        Replayer(
            "nowhere:9092",
            speed,
            heartbeat_s,
            ["a", "b"],
            drain_s=3.0,
            record_log=log,
            sleep=_no_sleep,
        ).run(requests)
    )
    now_s = -math.inf
    sent: list[Request] = []
    newest_s = [-math.inf] * num_partitions
    for topic, partition, value in log.records:
        if topic == Topic.CLOCK:
            tick = ClockTick.model_validate_json(value)
            assert tick.now > now_s
            now_s = tick.now
            continue
        event = RequestRateEvent.model_validate_json(value)
        assert newest_s[partition] <= event.event_time < now_s
        newest_s[partition] = event.event_time
        if event.count:
            sent.append(Request(event.event_time, event.query_type, event.input_tokens, event.output_tokens))
    assert Counter(sent) == Counter(requests)
    assert report.is_complete
    assert (report.events, report.sent) == (
        len(requests),
        sum(topic == Topic.REQUEST_RATE for topic, _, _ in log.records),
    )
