"""A real Apache Kafka: $KAFKA_BOOTSTRAP if set, else a node of our own; else a skip that says why."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from aiokafka.admin import AIOKafkaAdminClient

MakeWorld = Callable[..., AbstractAsyncContextManager[Any]]


@pytest.fixture(scope="session")
def kafka_jars(kraft: ModuleType) -> Path:
    """The folder with Kafka's jars."""
    try:
        jars: Path = kraft.fetch_jars()
    except kraft.CannotHaveKafka as reason:
        pytest.skip(f"no Apache Kafka: {reason}")
    return jars


@pytest.fixture(scope="session")
def kafka_node(kraft: ModuleType) -> Any:
    """The class of a broker of one's own, to be killed and started again: ``kafka_node(kafka_jars, directory)``."""
    return kraft.KraftBroker


@pytest.fixture(scope="session")
def own_kafka_bootstrap(
    kafka_jars: Path, kafka_node: Any, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """Where our own node is, whatever $KAFKA_BOOTSTRAP says: for tests that take topics away."""
    with kafka_node(kafka_jars, tmp_path_factory.mktemp("kafka")) as broker:
        yield broker.bootstrap_servers


@pytest.fixture(scope="session")
def kafka_bootstrap(request: pytest.FixtureRequest) -> str:
    """Where a Kafka is that all tests share: names of topics and groups must be a test's own.

    $KAFKA_BOOTSTRAP must name a cluster for tests: Coxswain's topics are made on it.
    """
    return os.environ.get("KAFKA_BOOTSTRAP") or str(request.getfixturevalue("own_kafka_bootstrap"))


@pytest.fixture
def make_world_at(harness: ModuleType, tmp_path: Path) -> MakeWorld:
    """Opens a world on a cluster, whose topics `coxswain topics create` makes anew.

    ``make_world_at(bootstrap, partitions, replication_factor, **changes of the settings)``.
    """

    @asynccontextmanager
    async def opened(
        bootstrap: str, partitions: int, replication_factor: int = 1, **changes: Any
    ) -> AsyncIterator[Any]:
        made = harness.World(bootstrap, tmp_path, partitions, **changes)
        await _take_topics_away(harness, bootstrap)
        command = [sys.executable, "-m", "controller", "topics", "create", "--config", str(made.settings)]
        subprocess.run(
            [*command, "--partitions", str(partitions), "--replication-factor", str(replication_factor)],
            check=True,
        )
        async with made.open():
            yield made

    return opened


async def _take_topics_away(harness: ModuleType, bootstrap: str) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        own = [name for name in await admin.list_topics() if not name.startswith("__")]
        await admin.delete_topics(own)
        await harness.until_topics_are_gone(admin, own)
    finally:
        await admin.close()


@pytest.fixture
def make_kafka_world(harness: ModuleType, make_world_at: MakeWorld, own_kafka_bootstrap: str) -> MakeWorld:
    """The same on our own node, which is left without topics: ``make_kafka_world(partitions, **changes)``."""

    @asynccontextmanager
    async def opened(partitions: int, **changes: Any) -> AsyncIterator[Any]:
        async with make_world_at(own_kafka_bootstrap, partitions, **changes) as world:
            yield world
        await _take_topics_away(harness, own_kafka_bootstrap)

    return opened
