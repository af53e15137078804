"""Follows the topics of :mod:`controller.stream.fleet_news`: every worker reads all of them, so it joins no group."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from controller.kafka import KafkaConnection, is_cancelled
from controller.logs import get_logger
from controller.stream.fleet_news import TOPICS, NewsRecord

log = get_logger(__name__)

_POLL_MS = 200
_RETRY_S = 1.0


async def follow_news(
    connection: KafkaConnection, take: Callable[[NewsRecord], Awaitable[None]], is_known: asyncio.Event
) -> None:
    """Hand over every record, from the first on, for as long as the task lives; failures of the broker are waited out.

    Parameters
    ----------
    is_known : set once all that was there at the beginning was handed over.
    """
    reached = {TopicPartition(topic.value, 0): 0 for topic in TOPICS}
    while not is_cancelled():
        consumer = AIOKafkaConsumer(
            **connection.aiokafka_kwargs(),
            enable_auto_commit=False,
            # Where our position is gone from the log: the newest of each key is still in it.
            auto_offset_reset="earliest",
            fetch_max_wait_ms=_POLL_MS,
        )
        try:
            await consumer.start()
            await _follow(consumer, reached, take, is_known)
        except (KafkaError, OSError) as error:
            log.warning("fleet_news_wait_for_broker", error=str(error))
            await asyncio.sleep(_RETRY_S)
        finally:
            await consumer.stop()


async def _follow(
    consumer: AIOKafkaConsumer,
    reached: dict[TopicPartition, int],
    take: Callable[[NewsRecord], Awaitable[None]],
    is_known: asyncio.Event,
) -> None:
    partitions = list(reached)
    consumer.assign(partitions)
    for partition, offset in reached.items():
        consumer.seek(partition, offset)
    ends = await consumer.end_offsets(partitions)
    while True:
        if all(reached[partition] >= ends[partition] for partition in partitions):
            is_known.set()
        for partition, records in (await consumer.getmany(timeout_ms=_POLL_MS)).items():
            for record in records:
                key, value = record.key, record.value
                await take(NewsRecord(record.topic, record.partition, record.offset, key, value))
                reached[partition] = record.offset + 1
        for partition in partitions:
            # Beyond the last record that is left of a compacted log, too.
            reached[partition] = max(reached[partition], await consumer.position(partition))
