"""Follows the replayer's clock: every worker reads every tick, so it takes no part in the consumer group."""

from __future__ import annotations

from aiokafka import AIOKafkaConsumer, TopicPartition
from pydantic import ValidationError

from controller.clock import ReplayClock
from controller.kafka import KafkaConnection
from controller.logs import get_logger
from schemas import ClockTick, Topic

log = get_logger(__name__)


async def follow_clock(connection: KafkaConnection, clock: ReplayClock) -> None:
    """Set ``clock`` to the newest tick on ``llm.clock.v1``, and go on for as long as the task lives."""
    partition = TopicPartition(Topic.CLOCK.value, 0)
    consumer = AIOKafkaConsumer(
        **connection.aiokafka_kwargs(),
        enable_auto_commit=False,
        auto_offset_reset="latest",
        fetch_max_wait_ms=50,
    )
    try:
        await consumer.start()
        consumer.assign([partition])
        end = (await consumer.end_offsets([partition]))[partition]
        consumer.seek(partition, max(0, end - 1))
        async for record in consumer:
            try:
                clock.advance(ClockTick.model_validate_json(record.value or b"", extra="ignore").now)
            except ValidationError as error:
                log.warning("clock_tick_refused", offset=record.offset, error=str(error))
    finally:
        await consumer.stop()
