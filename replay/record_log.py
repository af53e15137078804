"""Where a replay is written to: a log of partitions, as little of Kafka as is needed, and Kafka itself."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from types import MappingProxyType
from typing import Any, Protocol

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from controller.errors import BrokerError
from controller.logs import get_logger
from schemas import Topic

log = get_logger(__name__)

_BATCH_BYTES = 256 * 1024
_CLOSE_TIMEOUT_S = 5.0


class RecordLog(Protocol):
    """Takes records, and says when they are safe."""

    async def open(self) -> int:
        """Connect, and return the number of partitions of the source topic."""
        ...

    async def append(self, topic: str, partition: int, values: Sequence[bytes], key: bytes | None) -> None:
        """Add records to the end of a partition, in order; return when all are acknowledged."""
        ...

    async def close(self) -> None:
        """Disconnect. Called once, also after a failure."""
        ...


class KafkaLog:
    """Kafka, through an idempotent producer: a batch that had to be sent again is there once, and in order.

    Records carry the time of sending as Kafka's own timestamp, and the event's in the message. A trace of last year
    with its own timestamps would be past the topic's retention when it arrives.

    Parameters
    ----------
    bootstrap_servers : ``host:port``, several separated by commas.
    connect_timeout_s : how long the broker may take to answer at first.
    ack_timeout_s : how long it may take to acknowledge records. An idempotent producer would itself try for ever.
    security : aiokafka's own options for TLS and SASL.
    """

    def __init__(
        self,
        bootstrap_servers: str,
        connect_timeout_s: float = 10.0,
        ack_timeout_s: float = 30.0,
        security: Mapping[str, Any] = MappingProxyType({}),
    ) -> None:
        self._bootstrap_servers = bootstrap_servers
        self._connect_timeout_s = connect_timeout_s
        self._ack_timeout_s = ack_timeout_s
        self._security = dict(security)
        self._producer: AIOKafkaProducer | None = None

    async def open(self) -> int:
        """Connect, and return the number of partitions of the source topic.

        Raises
        ------
        BrokerError
            The broker cannot be reached in time, or lacks a topic.
        """
        self._producer = AIOKafkaProducer(
            bootstrap_servers=self._bootstrap_servers,
            client_id="coxswain-replay",
            acks="all",
            enable_idempotence=True,
            compression_type="gzip",
            max_batch_size=_BATCH_BYTES,
            request_timeout_ms=int(self._ack_timeout_s * 1000),
            **self._security,
        )
        async with self._broker_errors("connecting", self._connect_timeout_s):
            await self._producer.start()
        for topic in (Topic.CLOCK, Topic.REQUEST_RATE):
            async with self._broker_errors(f"asking for {topic}", self._connect_timeout_s):
                partitions = await self._producer.partitions_for(topic.value)
        return len(partitions)

    async def append(self, topic: str, partition: int, values: Sequence[bytes], key: bytes | None) -> None:
        """Add records to the end of a partition, in order; return when all are acknowledged.

        Raises
        ------
        BrokerError
            The broker did not acknowledge them in time, or refused them. Which of them it has is not known.
        """
        if self._producer is None:
            raise BrokerError(f"sending to {topic}: not connected")
        async with self._broker_errors(f"sending to {topic} partition {partition}", self._ack_timeout_s):
            batch = self._producer.create_batch()
            acks = []
            for value in values:
                if batch.append(timestamp=None, key=key, value=value) is None:
                    acks.append(await self._producer.send_batch(batch, topic, partition=partition))
                    batch = self._producer.create_batch()
                    batch.append(timestamp=None, key=key, value=value)
            acks.append(await self._producer.send_batch(batch, topic, partition=partition))
            await asyncio.gather(*acks)

    async def close(self) -> None:
        """Disconnect. What a dead broker did not take is let go."""
        if self._producer is None:
            return
        try:
            async with self._broker_errors("disconnecting", _CLOSE_TIMEOUT_S):
                await self._producer.stop()
        except BrokerError as error:
            log.warning("replay_not_disconnected", error=str(error))
            await self._producer.client.close()

    @asynccontextmanager
    async def _broker_errors(self, what: str, timeout_s: float) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(timeout_s):
                yield
        except TimeoutError:
            raise BrokerError(f"{what} at {self._bootstrap_servers}: no answer for {timeout_s:g} s") from None
        except (KafkaError, OSError) as error:
            raise BrokerError(f"{what} at {self._bootstrap_servers}: {error!r}") from error
