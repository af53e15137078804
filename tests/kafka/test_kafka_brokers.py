"""Three brokers, three copies of everything, two of which must be in sync: one of them may die."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from controller.broker import required_topics
from controller.broker.admin import describe_topics
from controller.kafka import KafkaConnection

pytestmark = [pytest.mark.kafka, pytest.mark.slow]


@pytest.fixture
def cluster(kraft: ModuleType, kafka_jars: Path, tmp_path: Path) -> Iterator[Any]:
    with kraft.KraftCluster(kafka_jars, tmp_path) as brokers:
        yield brokers


async def test_a_worker_counts_on_exactly_when_a_broker_that_leads_its_partitions_is_killed(
    cluster: Any, make_world_at: Any, harness: ModuleType, oracle: ModuleType, checks: ModuleType
) -> None:
    async with make_world_at(cluster.bootstrap_servers, 3, 3) as world:
        topics = await describe_topics(KafkaConnection(cluster.bootstrap_servers), required_topics(3))
        assert {(t.replication_factor, t.config["min.insync.replicas"]) for t in topics} == {(3, "2")}
        worker, traffic = await world.start_planner(), harness.Traffic(3)
        while len(world.feed.plans) < 2:
            await world.play(traffic, 100)
            await world.all_but(300)
        leader = world.producer.client.cluster.leader_for_partition(
            next(tp for tp in world.feed.consumer.assignment() if tp.topic == harness.PLANS)
        )
        cluster.brokers[leader - 1].kill()
        before = len(world.feed.plans)
        while len(world.feed.plans) < before + 3:
            await world.play(traffic, 100)
            await world.all_but(300)
        await world.all_but(0)
        assert await worker.terminate() == 0
        recounted = await checks.recount(world, harness, oracle)
        checks.assert_counts_are_exact(world.feed, recounted)
        checks.assert_every_snapshot_is_exact(world.feed, recounted)
        checks.assert_refusals_are_all_in_dead_letters(world.feed, recounted)
        checks.assert_one_planner_at_a_time(world.feed.plans)
