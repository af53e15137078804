"""A worker that has not read its fleet's topics yet counts nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from controller.kafka import KafkaConnection
from controller.settings import Settings
from controller.stream.worker import Worker
from tests.planning import CATALOG

PATIENCE_S = 20.0


class Stream:
    """An agent's stream, of nothing; it remembers that it was asked for events."""

    is_asked = False

    async def events(self) -> AsyncIterator[Any]:
        self.is_asked = True
        return
        yield


async def test_nothing_is_counted_before_the_catalog_in_force_is_known() -> None:
    worker, stream = Worker(Settings(), CATALOG, KafkaConnection("nowhere:1"), 1), Stream()
    counting = asyncio.create_task(worker._count(stream))
    for _ in range(50):
        await asyncio.sleep(0)
    assert not stream.is_asked
    worker._is_news_known.set()
    await asyncio.wait_for(counting, PATIENCE_S)
    assert stream.is_asked
