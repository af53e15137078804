"""A real Apache Kafka: $KAFKA_BOOTSTRAP if set, else a node of our own; else a skip that says why."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest


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
