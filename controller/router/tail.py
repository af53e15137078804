"""The newest plan of a topic: the highest ``(epoch, sequence)`` of its tail, which need not be its last record."""

from __future__ import annotations

from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition

from controller.errors import BrokerError, MessageError
from controller.kafka import KafkaConnection, broker_errors
from controller.router.decode import decode_plan
from schemas import AllocationPlan, Topic

DEFAULT_DEPTH = 200
"""Records from the end: a zombie's late plans may be among them, but not that many."""
DEFAULT_TIMEOUT_S = 15.0
_POLL_MS = 200
PLANS = TopicPartition(Topic.PLANS.value, 0)


async def read_tail(consumer: AIOKafkaConsumer, partition: TopicPartition, depth: int) -> list[Any]:
    """Return up to ``depth`` records of a partition, up to its end as it was when asked; leaves the consumer there.

    Parameters
    ----------
    consumer : started, of no group, with nothing assigned yet.

    Raises
    ------
    BrokerError
        The broker does not have the topic.
    """
    if partition.topic not in await consumer.topics():
        raise BrokerError(f"the broker has no topic {partition.topic}: `coxswain topics create` makes it")
    consumer.assign([partition])
    first = (await consumer.beginning_offsets([partition]))[partition]
    end = (await consumer.end_offsets([partition]))[partition]
    consumer.seek(partition, max(first, end - depth))
    records: list[Any] = []
    while await consumer.position(partition) < end:
        batches = await consumer.getmany(partition, timeout_ms=_POLL_MS)
        records += batches.get(partition, [])
    return records


def newest(plans: list[AllocationPlan]) -> AllocationPlan | None:
    """Return the plan with the highest ``(epoch, sequence)``; None of none."""
    return max(plans, key=lambda plan: (plan.epoch, plan.sequence), default=None)


async def newest_plan(
    connection: KafkaConnection,
    fleet: str,
    depth: int = DEFAULT_DEPTH,
    timeout_s: float = DEFAULT_TIMEOUT_S,
) -> AllocationPlan | None:
    """Return the newest readable plan of a fleet among the last ``depth`` records of ``llm.plans.v1``.

    Returns
    -------
    None where the tail holds none: the topic is empty, or its plans are other fleets' or cannot be read.

    Raises
    ------
    BrokerError
        The broker cannot be reached, or was not done after ``timeout_s``.
    """
    consumer = plan_consumer(connection)
    try:
        async with broker_errors(connection, f"reading {Topic.PLANS}", timeout_s):
            await consumer.start()
            records = await read_tail(consumer, PLANS, depth)
    finally:
        await consumer.stop()
    plans = []
    for record in records:
        try:
            plan = decode_plan(record.value or b"")
        except MessageError:
            continue  # a dead record in the tail must not hide the plans around it
        if plan.fleet == fleet:
            plans.append(plan)
    return newest(plans)


def plan_consumer(connection: KafkaConnection) -> AIOKafkaConsumer:
    """Return a consumer that belongs to no group and commits nothing: every router reads all plans."""
    return AIOKafkaConsumer(
        **connection.aiokafka_kwargs(),
        group_id=None,
        enable_auto_commit=False,
        # Only where our position is gone from the log: what is still there comes again, and the fence sorts it out.
        auto_offset_reset="earliest",
        fetch_max_wait_ms=100,
    )
