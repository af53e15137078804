"""Make the topics on a real Kafka, and compare those that are there with what they must be."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Literal

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import NoError, TopicAlreadyExistsError, UnknownTopicOrPartitionError, for_code

from controller.broker.required_topics import RequiredTopic
from controller.errors import BrokerError
from controller.kafka import KafkaConnection, broker_errors

DEFAULT_TIMEOUT_S = 30.0
_CLEANUP = "cleanup.policy"
_MIN_INSYNC = "min.insync.replicas"
_POLL_S = 0.1


@dataclass(frozen=True, slots=True)
class TopicReport:
    """A required topic as it is on the broker.

    ``partitions``, ``replication_factor`` and ``config`` are None and empty where it is missing. ``differences`` says
    in words what is not as required; a topic that differs is never changed, since partitions cannot be taken back
    and a cleanup policy decides over data.
    """

    required: RequiredTopic
    state: Literal["created", "present", "missing"]
    partitions: int | None
    replication_factor: int | None
    config: dict[str, str]
    differences: tuple[str, ...]

    @property
    def is_as_required(self) -> bool:
        """Whether the topic is there and nothing about it differs."""
        return self.state != "missing" and not self.differences


async def describe_topics(
    connection: KafkaConnection, required: Sequence[RequiredTopic], timeout_s: float = DEFAULT_TIMEOUT_S
) -> list[TopicReport]:
    """Return how each required topic stands, in their order.

    Raises
    ------
    BrokerError
        The broker cannot be reached, or refuses.
    """
    async with _admin(connection, "describing topics", timeout_s) as admin:
        return await _describe(admin, required, frozenset())


async def create_topics(
    connection: KafkaConnection,
    required: Sequence[RequiredTopic],
    replication_factor: int,
    timeout_s: float = DEFAULT_TIMEOUT_S,
) -> list[TopicReport]:
    """Make the required topics that are missing, and return how each one stands then; harmless when repeated.

    Parameters
    ----------
    required : as :func:`controller.broker.required_topics` gives them.
    replication_factor : copies of each partition. From 3 on, a write needs two of them (``min.insync.replicas``), so
        that one broker can be lost without losing a plan.

    Raises
    ------
    BrokerError
        The broker cannot be reached, or refuses a topic; the message names it.
    """
    async with _admin(connection, "creating topics", timeout_s) as admin:
        before = await _describe(admin, required, frozenset())
        missing = [report.required for report in before if report.state == "missing"]
        created = await _create(admin, missing, replication_factor) if missing else frozenset()
        # The controller has answered, but brokers hear of its new topics one after the other.
        reports = await _describe(admin, required, created)
        while any(report.state == "missing" for report in reports):
            await asyncio.sleep(_POLL_S)
            reports = await _describe(admin, required, created)
        return reports


@asynccontextmanager
async def _admin(
    connection: KafkaConnection, what: str, timeout_s: float
) -> AsyncIterator[AIOKafkaAdminClient]:
    async with broker_errors(connection, what, timeout_s):
        admin = AIOKafkaAdminClient(**connection.aiokafka_kwargs())
        try:
            await admin.start()
            yield admin
        finally:
            await admin.close()


async def _create(
    admin: AIOKafkaAdminClient, missing: Sequence[RequiredTopic], replication_factor: int
) -> frozenset[str]:
    """Return the names of those that were made; another who made one first is no error."""
    durable = {_MIN_INSYNC: "2"} if replication_factor >= 3 else {}
    response = await admin.create_topics(
        [
            NewTopic(
                topic.name,
                topic.partitions,
                replication_factor,
                topic_configs={_CLEANUP: topic.cleanup, **durable, **topic.config},
            )
            for topic in missing
        ]
    )
    created = set()
    for name, code, *message in response.topic_errors:
        error = for_code(code)
        if error is NoError:
            created.add(name)
        elif error is not TopicAlreadyExistsError:
            raise BrokerError(f"topic {name}: {message[0] if message and message[0] else error.__name__}")
    return frozenset(created)


async def _describe(
    admin: AIOKafkaAdminClient, required: Sequence[RequiredTopic], created: frozenset[str]
) -> list[TopicReport]:
    # All topics are asked for, not these by name: asking by name makes a broker that creates topics by itself do so.
    found = {
        topic["topic"]: topic["partitions"]
        for topic in await admin.describe_topics()
        if for_code(topic["error_code"]) is NoError
    }
    present = [topic.name for topic in required if topic.name in found]
    configs = await _configs(admin, present) if present else {}
    return [
        _report(topic, found[topic.name], configs[topic.name], topic.name in created)
        if topic.name in configs
        else TopicReport(topic, "missing", None, None, {}, ())
        for topic in required
    ]


async def _configs(admin: AIOKafkaAdminClient, names: Sequence[str]) -> dict[str, dict[str, str]]:
    """Return the configuration of each topic that is known to whichever broker is asked."""
    resources = [ConfigResource(ConfigResourceType.TOPIC, name) for name in names]
    configs: dict[str, dict[str, str]] = {}
    for response in await admin.describe_configs(resources):
        for code, message, _type, name, entries, *_ in response.resources:
            error = for_code(code)
            if error is UnknownTopicOrPartitionError:
                continue  # another broker told us of it
            if error is not NoError:
                raise BrokerError(f"configuration of topic {name}: {message or error.__name__}")
            configs[name] = {entry[0]: entry[1] for entry in entries}
    return configs


def _report(
    topic: RequiredTopic,
    partitions: list[dict[str, list[int]]],
    config: dict[str, str],
    was_created: bool,
) -> TopicReport:
    replication_factor = min(len(partition["replicas"]) for partition in partitions)
    differences = []
    if len(partitions) != topic.partitions:
        differences.append(f"has {len(partitions)} partitions, must have {topic.partitions}")
    for name, value in {_CLEANUP: topic.cleanup, **topic.config}.items():
        if config.get(name) != value:
            differences.append(f"{name} is {config.get(name)}, must be {value}")
    shown = {name: config[name] for name in (_CLEANUP, _MIN_INSYNC, *topic.config) if name in config}
    state: Literal["created", "present"] = "created" if was_created else "present"
    return TopicReport(topic, state, len(partitions), replication_factor, shown, tuple(differences))
