"""The load of a world: seeded traffic at a steady rate, for as long as a ``with`` block lasts."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager

from aiokafka import AIOKafkaProducer

from tests.worker_harness import CLOCK, SOURCE, T0, Traffic

RECORDS_PER_S = 300.0
STEP_S = 0.1
SPEED = RECORDS_PER_S * STEP_S
"""Seconds of event time that the load plays in a second."""
_BATCH_S = 0.1
_GIVES_UP_MS = 300_000


class Load:
    """Plays traffic onto the source topic, the replay clock a step ahead of it.

    ``sent`` is what the broker acknowledged, per partition. The producer is idempotent, so that a broker which dies
    under it holds each record once.
    """

    def __init__(self, bootstrap: str, partitions: int, seed: int) -> None:
        self.sent: list[list[bytes]] = [[] for _ in range(partitions)]
        self.num_sent = 0
        self.rate = RECORDS_PER_S
        self._traffic = Traffic(partitions, STEP_S, seed)
        self._producer = AIOKafkaProducer(
            bootstrap_servers=bootstrap,
            linger_ms=5,
            acks="all",
            enable_idempotence=True,
            request_timeout_ms=_GIVES_UP_MS,
        )

    async def start(self) -> None:
        await self._producer.start()

    async def stop(self) -> None:
        await self._producer.stop()

    @asynccontextmanager
    async def on(self) -> AsyncIterator[None]:
        """Play until the block ends; then everything that was sent is acknowledged."""
        stopping = asyncio.Event()
        playing = asyncio.create_task(self._play_until(stopping))
        try:
            yield
        finally:
            stopping.set()
            await playing

    async def runs_while(self, condition: Callable[[], bool], records: int) -> None:
        """Wait while a condition holds, for the length of so many records at most."""
        last = self.num_sent + records
        while condition() and self.num_sent < last:
            await asyncio.sleep(_BATCH_S / 4)

    async def _play_until(self, stopping: asyncio.Event) -> None:
        loop = asyncio.get_running_loop()
        next_s = loop.time()
        while not stopping.is_set():
            await self.play(round(self.rate * _BATCH_S))
            next_s = max(
                next_s + _BATCH_S, loop.time() - _BATCH_S
            )  # what a dead broker held up is not made up for
            await asyncio.sleep(next_s - loop.time())

    async def play(self, count: int) -> None:
        """Send so many records of the traffic, the clock ahead of them, and wait for the broker's word on each."""
        records = self._traffic.take(count)
        await self.tell_the_time()
        await self.send(records)
        for at, raw in records:
            self.sent[at].append(raw)

    @property
    def reached_s(self) -> float:
        """How far the traffic came, in event time since T0."""
        return self._traffic.reached_s

    async def tell_the_time(self) -> None:
        tick = {"schema": "clock/1", "now": T0 + self.reached_s, "speed": SPEED}
        await self._producer.send_and_wait(CLOCK, json.dumps(tick).encode(), partition=0)

    async def send(self, records: Iterable[tuple[int, bytes]]) -> list[int]:
        """Send records, and return where they stand."""
        futures = [await self._producer.send(SOURCE, raw, partition=at) for at, raw in records]
        offsets = [metadata.offset for metadata in await asyncio.gather(*futures)]
        self.num_sent += len(offsets)
        return offsets
