"""The router's end of Kafka: plans in, acknowledgements out."""

from __future__ import annotations

import asyncio
from typing import Protocol

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.errors import KafkaError

from controller.kafka import KafkaConnection, broker_errors
from controller.logs import get_logger
from controller.router.fence import LogIdentity
from controller.router.tail import PLANS, plan_consumer, read_tail
from controller.router.topic_identity import read_identity
from schemas import PlanAck, Topic

_log = get_logger(__name__)


class PlanLog(Protocol):
    """What a subscriber needs of a broker."""

    async def open(self, depth: int) -> tuple[LogIdentity, list[bytes]]:
        """Connect; return the log's identity and the last ``depth`` records. Raises BrokerError."""
        ...

    async def poll(self, timeout_s: float) -> list[bytes]:
        """Return the records that came since, waiting for some for up to ``timeout_s``. Raises BrokerError."""
        ...

    async def identity(self) -> LogIdentity:
        """Ask again which log this is."""
        ...

    async def acknowledge(self, ack: PlanAck) -> None:
        """Send an acknowledgement. That it does not arrive is logged, and no reason to stop routing."""
        ...

    async def close(self) -> None:
        """Disconnect."""
        ...


class KafkaPlanLog:
    """A :class:`PlanLog` on Kafka, through aiokafka. Lost connections are taken up again by aiokafka itself.

    Parameters
    ----------
    connection : the cluster.
    timeout_s : how long connecting and reading the tail may take.
    """

    def __init__(self, connection: KafkaConnection, timeout_s: float) -> None:
        self._connection = connection
        self._timeout_s = timeout_s
        self._consumer: AIOKafkaConsumer | None = None
        self._producer: AIOKafkaProducer | None = None

    async def open(self, depth: int) -> tuple[LogIdentity, list[bytes]]:
        """Connect; return the log's identity and the last ``depth`` records.

        Raises
        ------
        BrokerError
            The broker cannot be reached, lacks the topic, or was not done in time. Nothing stays open.
        """
        consumer = plan_consumer(self._connection)
        producer = AIOKafkaProducer(**self._connection.aiokafka_kwargs(), acks="all")
        try:
            async with broker_errors(self._connection, f"reading {Topic.PLANS}", self._timeout_s):
                await consumer.start()
                records = await read_tail(consumer, PLANS, depth)
                await producer.start()
                identity = await read_identity(self._connection)
        except BaseException:
            await consumer.stop()
            await producer.stop()
            raise
        self._consumer, self._producer = consumer, producer
        return identity, [record.value or b"" for record in records]

    async def poll(self, timeout_s: float) -> list[bytes]:
        """Return the records that came since, waiting for some for up to ``timeout_s``.

        Raises
        ------
        BrokerError
            The broker refuses; worth trying again.
        """
        assert self._consumer is not None  # noqa: S101 - open comes first
        async with broker_errors(self._connection, f"following {Topic.PLANS}", timeout_s + self._timeout_s):
            batches = await self._consumer.getmany(PLANS, timeout_ms=int(timeout_s * 1000))
        return [record.value or b"" for record in batches.get(PLANS, [])]

    async def identity(self) -> LogIdentity:
        """Ask again which log this is."""
        return await read_identity(self._connection)

    async def acknowledge(self, ack: PlanAck) -> None:
        """Hand an acknowledgement to the producer; it is sent, and again where needed, while routing goes on."""
        assert self._producer is not None  # noqa: S101 - open comes first
        try:
            async with asyncio.timeout(self._timeout_s):
                sent = await self._producer.send(Topic.PLAN_ACKS.value, ack.encode(), key=ack.router.encode())
        except (KafkaError, OSError, TimeoutError) as error:
            _log.warning("plan_ack_lost", status=ack.status, epoch=ack.epoch, reason=repr(error))
            return
        sent.add_done_callback(_report_lost_ack)

    async def close(self) -> None:
        """Disconnect; acknowledgements that are still on their way are sent first where the broker answers."""
        if self._consumer is not None:
            await self._consumer.stop()
        if self._producer is not None:
            try:
                async with asyncio.timeout(self._timeout_s):
                    await self._producer.stop()
            except (KafkaError, TimeoutError) as error:
                _log.warning("plan_acks_unsent", reason=repr(error))


def _report_lost_ack(sent: asyncio.Future[object]) -> None:
    if not sent.cancelled() and (error := sent.exception()) is not None:
        _log.warning("plan_ack_lost", reason=repr(error))
