"""Looks at the broker before a worker starts: the topics must be there, and tell how many partitions to expect."""

from __future__ import annotations

from aiokafka import AIOKafkaConsumer

from controller.broker.required_topics import required_topics
from controller.errors import BrokerError
from controller.kafka import KafkaConnection, broker_errors
from controller.stream.tables import table_partitions
from schemas import Topic

_TIMEOUT_S = 30.0


async def source_partitions(connection: KafkaConnection, app_id: str) -> int:
    """Return the number of partitions of the source topic.

    Raises
    ------
    BrokerError
        The broker is out of reach, or lacks a topic that a worker needs.
    """
    # Subscribed, not because we read it, but because a client knows the partitions of its own topics only.
    consumer = AIOKafkaConsumer(
        Topic.REQUEST_RATE.value, **connection.aiokafka_kwargs(), enable_auto_commit=False
    )
    try:
        async with broker_errors(connection, "looking for topics", _TIMEOUT_S):
            await consumer.start()
            existing = await consumer.topics()
            found = consumer.partitions_for_topic(Topic.REQUEST_RATE.value) or set()
    finally:
        await consumer.stop()
    count = len(found)
    needed = {topic.name for topic in required_topics(max(count, 1), app_id, table_partitions(count))}
    needed.discard(f"{app_id}-__assignor-__leader")  # switched off: the planner is gated by its partition
    missing = sorted(needed - set(existing))
    if missing:
        raise BrokerError(
            f"the broker at {connection.bootstrap_servers} lacks {', '.join(missing)}: "
            "`coxswain topics create` makes them"
        )
    return count
