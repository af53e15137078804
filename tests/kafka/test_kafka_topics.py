"""Topics on a real Kafka: made as required, left alone afterwards, and compared honestly."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from controller.broker import RequiredTopic, required_topics
from controller.broker.admin import create_topics, describe_topics
from controller.errors import BrokerError
from controller.kafka import KafkaConnection

pytestmark = pytest.mark.kafka


async def test_all_topics_of_a_worker_are_made_as_required_and_making_them_again_changes_nothing(
    kafka_bootstrap: str,
) -> None:
    connection = KafkaConnection(kafka_bootstrap)
    app = f"app-{uuid.uuid4().hex}"
    wanted = required_topics(4, app, {"totals": 4, "planner": 1})
    first = await create_topics(connection, wanted, replication_factor=1)
    assert [report.required for report in first] == list(wanted)
    assert all(report.is_as_required and report.replication_factor == 1 for report in first)
    assert {r.required.name for r in first if r.state == "created"} >= {f"{app}-totals-changelog"}
    again = await create_topics(connection, wanted, replication_factor=1)
    assert {report.state for report in again} == {"present"}
    assert [report.config for report in again] == [report.config for report in first]
    by_name = {report.required.name: report for report in again}
    assert by_name["llm.plans.v1"].config["cleanup.policy"] == "delete"
    assert by_name["llm.demand.v1"].config["cleanup.policy"] == "compact"
    assert by_name[f"{app}-totals-changelog"].partitions == 4


async def test_a_topic_that_differs_is_reported_in_words_and_not_changed(kafka_bootstrap: str) -> None:
    connection = KafkaConnection(kafka_bootstrap)
    name = f"t-{uuid.uuid4().hex}"
    await create_topics(connection, [RequiredTopic(name, 2, "delete", {"retention.ms": "1000"})], 1)
    wanted = RequiredTopic(name, 3, "compact", {"retention.ms": "2000"})
    for reports in (
        await create_topics(connection, [wanted], 1),
        await describe_topics(connection, [wanted]),
    ):
        assert reports[0].state == "present"
        assert not reports[0].is_as_required
        assert reports[0].differences == (
            "has 2 partitions, must have 3",
            "cleanup.policy is delete, must be compact",
            "retention.ms is 1000, must be 2000",
        )


async def test_describing_a_missing_topic_does_not_make_it(kafka_bootstrap: str) -> None:
    connection = KafkaConnection(kafka_bootstrap)
    wanted = [RequiredTopic(f"t-{uuid.uuid4().hex}", 1, "delete")]
    for _ in range(2):
        (report,) = await describe_topics(connection, wanted)
        assert (report.state, report.is_as_required) == ("missing", False)


async def test_topics_that_a_broker_has_not_heard_of_yet_are_waited_for(
    kafka_bootstrap: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask, asked = AIOKafkaAdminClient.describe_configs, []

    async def late(admin: AIOKafkaAdminClient, resources: list[ConfigResource]) -> Any:
        """Ask of other topics the first time: what a broker answers that hears of a new one a moment later."""
        asked.append([resource.name for resource in resources])
        if len(asked) == 1:
            nobodys = [ConfigResource(ConfigResourceType.TOPIC, f"{name}-no") for name in asked[0]]
            return await ask(admin, nobodys)
        return await ask(admin, resources)

    monkeypatch.setattr(AIOKafkaAdminClient, "describe_configs", late)
    wanted = [RequiredTopic(f"t-{uuid.uuid4().hex}", 1, "delete")]
    (report,) = await create_topics(KafkaConnection(kafka_bootstrap), wanted, 1)
    assert (report.state, report.is_as_required) == ("created", True)
    assert asked == [[wanted[0].name]] * 2


async def test_more_copies_than_brokers_is_refused_by_the_topics_name(kafka_bootstrap: str) -> None:
    wanted = [RequiredTopic(f"t-{uuid.uuid4().hex}", 1, "delete")]
    with pytest.raises(BrokerError, match=f"topic {wanted[0].name}: .*replication"):
        await create_topics(KafkaConnection(kafka_bootstrap), wanted, replication_factor=99)
