"""A router on a real Kafka: the newest of the tail, fencing, restarts, and a claims topic that is made anew."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient

from controller.broker import required_topics
from controller.broker.admin import create_topics
from controller.clock import ReplayClock
from controller.kafka import KafkaConnection
from controller.router import PlanSubscriber, newest_plan
from controller.router.topic_identity import read_identity
from schemas import PlanAck, Topic

pytestmark = pytest.mark.kafka
EXAMPLE = json.loads((Path(__file__).parents[1] / "data" / "messages" / "plan.json").read_bytes())


@pytest.fixture
async def kafka(own_kafka_bootstrap: str) -> KafkaConnection:
    """A cluster with empty topics."""
    connection = KafkaConnection(own_kafka_bootstrap)
    await _drop(connection, Topic.PLANS, Topic.PLAN_ACKS, Topic.PLANNER_CLAIMS)
    await create_topics(connection, required_topics(), 1)
    return connection


async def _drop(connection: KafkaConnection, *topics: Topic) -> None:
    admin = AIOKafkaAdminClient(**connection.aiokafka_kwargs())
    await admin.start()
    try:
        await admin.delete_topics([topic.value for topic in topics])
    finally:
        await admin.close()


async def _publish(connection: KafkaConnection, *orders: tuple[int, int], **changes: Any) -> None:
    producer = AIOKafkaProducer(**connection.aiokafka_kwargs())
    await producer.start()
    try:
        for epoch, sequence in orders:
            document = EXAMPLE | {"epoch": epoch, "sequence": sequence} | changes
            await producer.send_and_wait(Topic.PLANS.value, json.dumps(document).encode(), key=b"main")
    finally:
        await producer.stop()


@pytest.fixture
async def acks(kafka: KafkaConnection) -> AsyncIterator[AIOKafkaConsumer]:
    consumer = AIOKafkaConsumer(
        Topic.PLAN_ACKS.value,
        **kafka.aiokafka_kwargs(),
        auto_offset_reset="earliest",
        enable_auto_commit=False,
    )
    await consumer.start()
    yield consumer
    await consumer.stop()


async def _next(acks: AIOKafkaConsumer) -> tuple[str, int, int, str]:
    record = await acks.getone()
    ack = PlanAck.model_validate_json(record.value)
    return record.key.decode(), ack.epoch, ack.sequence, ack.status


def _subscriber(kafka: KafkaConnection, state_dir: Path, **options: Any) -> PlanSubscriber:
    return PlanSubscriber(kafka, "r1", "main", state_dir, clock=ReplayClock(0.0), poll_s=0.05, **options)


async def test_the_newest_plan_of_a_tail_out_of_order_wins(
    kafka: KafkaConnection, acks: AIOKafkaConsumer, tmp_path: Path
) -> None:
    await _publish(kafka, (3, 1), (7, 0), (7, 1), (3, 2), (3, 3))
    await _publish(kafka, (9, 9), fleet="another")
    newest = await newest_plan(kafka, "main")
    assert newest is not None
    assert (newest.epoch, newest.sequence) == (7, 1)
    async with _subscriber(kafka, tmp_path) as plans:
        assert plans.current == newest
        assert await _next(acks) == ("r1", 7, 1, "applied")


async def test_only_the_asked_for_depth_is_read(kafka: KafkaConnection) -> None:
    await _publish(kafka, (9, 0), (3, 1), (3, 2))
    assert [
        (plan.epoch, plan.sequence)
        for plan in [await newest_plan(kafka, "main", depth=2), await newest_plan(kafka, "main", depth=3)]
        if plan is not None
    ] == [(3, 2), (9, 0)]
    assert await newest_plan(kafka, "nobody") is None


async def test_a_zombies_plan_is_answered_stale_and_a_later_planners_applied(
    kafka: KafkaConnection, acks: AIOKafkaConsumer, tmp_path: Path
) -> None:
    await _publish(kafka, (7, 1))
    async with _subscriber(kafka, tmp_path) as plans:
        await _publish(kafka, (6, 50), (8, 0))
        assert [(await _next(acks))[1:] for _ in range(3)] == [
            (7, 1, "applied"),
            (6, 50, "stale"),
            (8, 0, "applied"),
        ]
        assert plans.current is not None
        assert plans.current.epoch == 8


async def test_after_a_restart_the_fence_holds_and_without_a_broker_the_plan_on_disk_serves(
    kafka: KafkaConnection, acks: AIOKafkaConsumer, tmp_path: Path
) -> None:
    await _publish(kafka, (7, 1))
    async with _subscriber(kafka, tmp_path):
        assert (await _next(acks))[1:] == (7, 1, "applied")
    nowhere = KafkaConnection("127.0.0.1:1")
    async with _subscriber(nowhere, tmp_path) as plans:
        assert not plans.is_connected
        assert plans.choose("chat") is not None
    await _publish(kafka, (6, 99))
    async with _subscriber(kafka, tmp_path) as plans:
        assert (await _next(acks))[1:] == (7, 1, "applied")
        assert plans.current is not None
        assert plans.current.epoch == 7


async def test_a_claims_topic_made_anew_under_its_old_name_is_noticed(
    kafka: KafkaConnection, acks: AIOKafkaConsumer, tmp_path: Path
) -> None:
    before = await read_identity(kafka)
    await _publish(kafka, (700, 1))
    async with _subscriber(kafka, tmp_path) as plans:
        assert (await _next(acks))[1:] == (700, 1, "applied")
        await _drop(kafka, Topic.PLANNER_CLAIMS)
        await create_topics(kafka, required_topics(), 1)
        after = await read_identity(kafka)
        assert before.claims_topic_id is not None
        assert after.claims_topic_id is not None
        assert before.claims_topic_id != after.claims_topic_id
        assert before.cluster_id == after.cluster_id
        await _publish(kafka, (0, 1))
        assert (await _next(acks))[1:] == (0, 1, "applied")
        assert plans.current is not None
        assert plans.current.epoch == 0


@pytest.mark.slow
async def test_a_router_goes_on_routing_while_the_broker_is_away_and_follows_when_it_is_back(
    kafka_jars: Path, kafka_node: Any, tmp_path: Path
) -> None:
    with kafka_node(kafka_jars, tmp_path) as broker:
        connection = KafkaConnection(broker.bootstrap_servers)
        await create_topics(connection, required_topics(), 1)
        await _publish(connection, (7, 1))
        async with _subscriber(connection, tmp_path / "router") as plans:
            seen = plans.plans()
            assert (await anext(seen)).sequence == 1
            broker.kill()
            assert plans.choose("chat") is not None
            await asyncio.to_thread(broker.start)
            await _publish(connection, (7, 2))
            assert (await anext(seen)).sequence == 2
