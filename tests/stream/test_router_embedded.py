"""A router on the embedded broker, through aiokafka: start, follow, acknowledge, and what it says when it cannot."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from controller.broker import EmbeddedBroker, topics_for_worker
from controller.clock import ReplayClock
from controller.errors import BrokerError
from controller.kafka import KafkaConnection
from controller.router import PlanSubscriber, newest_plan
from controller.router.topic_identity import read_identity
from schemas import PlanAck, Topic

pytestmark = pytest.mark.stream
EXAMPLE = json.loads((Path(__file__).parents[1] / "data" / "messages" / "plan.json").read_bytes())
NOWHERE = KafkaConnection("127.0.0.1:1")


@pytest.fixture
def kafka() -> Iterator[KafkaConnection]:
    with EmbeddedBroker(topics_for_worker("app")) as broker:
        yield KafkaConnection(broker.bootstrap_servers)


async def _publish(connection: KafkaConnection, *orders: tuple[int, int]) -> None:
    producer = AIOKafkaProducer(**connection.aiokafka_kwargs())
    await producer.start()
    try:
        for epoch, sequence in orders:
            raw = json.dumps(EXAMPLE | {"epoch": epoch, "sequence": sequence}).encode()
            await producer.send_and_wait(Topic.PLANS.value, raw)
    finally:
        await producer.stop()


async def test_plans_come_in_and_acknowledgements_go_out(kafka: KafkaConnection, tmp_path: Path) -> None:
    acks = AIOKafkaConsumer(
        Topic.PLAN_ACKS.value,
        **kafka.aiokafka_kwargs(),
        auto_offset_reset="earliest",
        enable_auto_commit=False,
    )
    await acks.start()
    try:
        await _publish(kafka, (7, 2), (5, 9))
        async with PlanSubscriber(kafka, "r1", "main", tmp_path, clock=ReplayClock(0.0), poll_s=0.05):
            await _publish(kafka, (7, 1), (7, 3))
            received = [PlanAck.model_validate_json((await acks.getone()).value) for _ in range(3)]
    finally:
        await acks.stop()
    assert [(ack.epoch, ack.sequence, ack.status) for ack in received] == [
        (7, 2, "applied"),
        (7, 1, "stale"),
        (7, 3, "applied"),
    ]


async def test_an_empty_topic_has_no_newest_plan_and_a_router_waits_on_it(
    kafka: KafkaConnection, tmp_path: Path
) -> None:
    assert await newest_plan(kafka, "main") is None
    async with PlanSubscriber(kafka, "r1", "main", tmp_path, clock=ReplayClock(0.0), poll_s=0.05) as plans:
        assert plans.current is None
        await _publish(kafka, (7, 1))
        assert (await anext(plans.plans())).epoch == 7


async def test_two_starts_of_the_embedded_broker_are_two_clusters(kafka: KafkaConnection) -> None:
    first = await read_identity(kafka)
    assert first == await read_identity(kafka)
    with EmbeddedBroker(topics_for_worker("app")) as another:
        assert first.difference(await read_identity(KafkaConnection(another.bootstrap_servers))) is not None


async def test_a_broker_out_of_reach_is_one_error_that_says_where(tmp_path: Path) -> None:
    with pytest.raises(BrokerError, match=r"127\.0\.0\.1:1"):
        await newest_plan(NOWHERE, "main")
    with pytest.raises(BrokerError, match=r"127\.0\.0\.1:1"):
        await PlanSubscriber(NOWHERE, "r1", "main", tmp_path).start()


async def test_a_missing_topic_is_named_with_what_makes_it(tmp_path: Path) -> None:
    with EmbeddedBroker({"something-else": 1}) as broker:
        connection = KafkaConnection(broker.bootstrap_servers)
        with pytest.raises(BrokerError, match=r"no topic llm\.plans\.v1: `coxswain topics create`"):
            await PlanSubscriber(connection, "r1", "main", tmp_path).start()
