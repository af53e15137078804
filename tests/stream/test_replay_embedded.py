"""The replayer on the embedded broker: what it reports is what is in the log."""

from __future__ import annotations

import math
import socket
from collections import Counter

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition

from controller.broker import EmbeddedBroker, topics_for_worker
from controller.errors import BrokerError
from replay.record_log import KafkaLog
from replay.replayer import Replayer
from replay.rows import Request
from schemas import ClockTick, RequestRateEvent, Topic

pytestmark = pytest.mark.stream

_T0 = 1_772_582_400.0
_TYPES = ("translation", "code_generation", "video_generation")


async def _read(bootstrap_servers: str, topic: Topic, num_partitions: int) -> dict[int, list[bytes]]:
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap_servers, enable_auto_commit=False)
    await consumer.start()
    try:
        partitions = [TopicPartition(topic.value, n) for n in range(num_partitions)]
        consumer.assign(partitions)
        await consumer.seek_to_beginning()
        ends = await consumer.end_offsets(partitions)
        values: dict[int, list[bytes]] = {}
        for tp in partitions:
            values[tp.partition] = []
            while await consumer.position(tp) < ends[tp]:
                values[tp.partition] += [
                    r.value for r in (await consumer.getmany(tp, timeout_ms=500)).get(tp, [])
                ]
        return values
    finally:
        await consumer.stop()


def _requests(count: int, per_s: float) -> list[Request]:
    return [Request(_T0 + n / per_s, _TYPES[n % 2], 100 + n, 50 + n) for n in range(count)]


async def test_all_that_is_reported_is_in_the_log_once_and_every_partition_has_a_part_in_order() -> None:
    requests = _requests(30_000, per_s=20.0)
    with EmbeddedBroker(topics_for_worker("replay-test", source_partitions=4)) as broker:
        report = await Replayer(
            broker.bootstrap_servers, math.inf, query_types=_TYPES, heartbeat_s=60.0, drain_s=600.0
        ).run(requests)
        log = await _read(broker.bootstrap_servers, Topic.REQUEST_RATE, 4)
        ticks = (await _read(broker.bootstrap_servers, Topic.CLOCK, 1))[0]
    events = {p: [RequestRateEvent.model_validate_json(value) for value in own] for p, own in log.items()}
    assert report.is_complete
    assert report.sent == report.events + report.heartbeats == sum(map(len, events.values()))
    assert report.bytes == sum(len(value) for own in log.values() for value in own)
    assert Counter(
        Request(e.event_time, e.query_type, e.input_tokens, e.output_tokens)
        for own in events.values()
        for e in own
        if e.count
    ) == Counter(requests)
    for own in events.values():
        times_s = [e.event_time for e in own]
        assert times_s == sorted(times_s)
        assert {e.query_type for e in own if e.count == 0} == set(_TYPES)
    now_s = [ClockTick.model_validate_json(value).now for value in ticks]
    assert now_s == sorted(now_s)
    assert now_s[-1] >= requests[-1].time_s + 600.0


async def test_a_step_larger_than_a_batch_is_all_there() -> None:
    requests = [Request(_T0, "translation", 1000 + n, n) for n in range(25_000)]
    with EmbeddedBroker(topics_for_worker("replay-test", source_partitions=1)) as broker:
        report = await Replayer(broker.bootstrap_servers, 1000.0).run(requests)
        log = await _read(broker.bootstrap_servers, Topic.REQUEST_RATE, 1)
    assert report.events == 25_000
    assert [RequestRateEvent.model_validate_json(v).output_tokens for v in log[0]] == list(range(25_000))


async def test_an_address_where_nobody_listens_is_named() -> None:
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{reserved.getsockname()[1]}"
        with pytest.raises(BrokerError, match=address):
            await Replayer(address, 1.0).run(_requests(1, 1.0))


async def test_an_address_that_never_answers_is_given_up_after_the_timeout() -> None:
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen()
        address = f"127.0.0.1:{deaf.getsockname()[1]}"
        with pytest.raises(BrokerError, match=rf"connecting at {address}: no answer for 0\.2 s"):
            await Replayer(address, 1.0, connect_timeout_s=0.2).run(_requests(1, 1.0))


async def test_a_broker_that_goes_away_is_an_error_and_not_an_endless_wait() -> None:
    with EmbeddedBroker(topics_for_worker("replay-test", source_partitions=1)) as broker:
        log = KafkaLog(broker.bootstrap_servers, ack_timeout_s=0.5)
        assert await log.open() == 1
        await log.append(Topic.REQUEST_RATE, 0, [b"before"], None)
    with pytest.raises(BrokerError, match=r"sending to llm.request-rate.v1 partition 0"):
        await log.append(Topic.REQUEST_RATE, 0, [b"after"], None)
    await log.close()
