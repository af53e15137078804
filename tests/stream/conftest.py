"""A world of one worker on the embedded broker."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from controller.broker import EmbeddedBroker, topics_for_worker
from controller.stream.tables import table_partitions

MakeWorld = Callable[..., AbstractAsyncContextManager[Any]]


@pytest.fixture
def make_world(harness: ModuleType, tmp_path: Path) -> MakeWorld:
    """Opens a world on an embedded broker of its own: ``make_world(partitions, **changes of the settings)``."""

    @asynccontextmanager
    async def opened(partitions: int = 1, **changes: Any) -> AsyncIterator[Any]:
        topics = topics_for_worker("test", partitions, table_partitions(partitions))
        with EmbeddedBroker(topics) as broker:
            async with harness.World(
                broker.bootstrap_servers, tmp_path, partitions, **changes
            ).open() as world:
                yield world

    return opened
