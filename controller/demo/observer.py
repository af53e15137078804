"""Watches the topics while the demo runs, as any downstream program could."""

from __future__ import annotations

from aiokafka import AIOKafkaConsumer, TopicPartition
from pydantic import ValidationError

from controller.demo.summary import Tally
from controller.kafka import KafkaConnection
from schemas import AllocationPlan, DemandSnapshot, Topic

_TOPICS = (Topic.DEMAND, Topic.PLANS, Topic.PLANNER_CLAIMS)


async def observe(connection: KafkaConnection, tally: Tally) -> None:
    """Add everything on the demand, plan and claim topics to ``tally``, from their start on, until cancelled."""
    consumer = AIOKafkaConsumer(
        **connection.aiokafka_kwargs(),
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        fetch_max_wait_ms=100,
    )
    await consumer.start()
    try:
        partitions = [TopicPartition(topic.value, 0) for topic in _TOPICS]
        consumer.assign(partitions)
        await consumer.seek_to_beginning(*partitions)
        async for record in consumer:
            try:
                if record.topic == Topic.DEMAND:
                    tally.add_snapshot(
                        DemandSnapshot.model_validate_json(record.value or b"", extra="ignore")
                    )
                elif record.topic == Topic.PLANS:
                    tally.add_plan(AllocationPlan.model_validate_json(record.value or b"", extra="ignore"))
                else:
                    tally.claims += 1
            except ValidationError:
                continue  # it is not counted, and so will be missed in the summary
    finally:
        await consumer.stop()
