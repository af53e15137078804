"""Which planner's claim is the newest: only whoever made it may publish."""

from __future__ import annotations

from aiokafka import AIOKafkaConsumer, TopicPartition

from controller.kafka import KafkaConnection, broker_errors
from schemas import Topic

CLAIMS = TopicPartition(Topic.PLANNER_CLAIMS.value, 0)


class Claims:
    """Asks the broker for the newest claim: one round trip, of the topic's end alone.

    Parameters
    ----------
    timeout_s : how long the broker may take to answer.
    """

    def __init__(self, connection: KafkaConnection, timeout_s: float) -> None:
        self._connection = connection
        self._timeout_s = timeout_s
        self._consumer: AIOKafkaConsumer | None = None

    async def start(self) -> None:
        """Connect."""
        self._consumer = AIOKafkaConsumer(**self._connection.aiokafka_kwargs(), enable_auto_commit=False)
        await self._consumer.start()
        # Assigned so that the client knows who leads the partition before it is asked; nothing of it is read.
        self._consumer.assign([CLAIMS])
        self._consumer.pause(CLAIMS)

    async def stop(self) -> None:
        """Disconnect."""
        if self._consumer is not None:
            await self._consumer.stop()

    async def newest(self) -> int:
        """Return the newest claim's offset, which is the epoch of whoever may publish; -1 where there is none.

        Raises
        ------
        BrokerError : no answer in time, or an error for an answer.
        """
        assert self._consumer is not None  # noqa: S101 - start() made it
        async with broker_errors(self._connection, f"looking at {CLAIMS.topic}", self._timeout_s):
            ends: dict[TopicPartition, int] = await self._consumer.end_offsets([CLAIMS])
        return ends[CLAIMS] - 1
