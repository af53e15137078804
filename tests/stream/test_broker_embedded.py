"""The embedded broker: it serves, it says what is wrong, and it never outlives its parent."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from controller.broker import EmbeddedBroker, topics_for_worker
from controller.broker import mock_cluster as mock_cluster_module
from controller.errors import BrokerError

pytestmark = pytest.mark.stream


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def test_a_record_comes_back_from_the_partition_and_offset_it_was_acknowledged_at() -> None:
    with EmbeddedBroker({"numbers": 3}) as broker:
        producer = AIOKafkaProducer(bootstrap_servers=broker.bootstrap_servers)
        await producer.start()
        try:
            sent = [await producer.send_and_wait("numbers", b"%d" % n, partition=2) for n in range(5)]
        finally:
            await producer.stop()
        consumer = AIOKafkaConsumer(bootstrap_servers=broker.bootstrap_servers, enable_auto_commit=False)
        await consumer.start()
        try:
            consumer.assign([TopicPartition("numbers", 2)])
            await consumer.seek_to_beginning()
            received = [await consumer.getone() for _ in range(5)]
        finally:
            await consumer.stop()
    assert [(r.offset, r.value) for r in received] == [(m.offset, b"%d" % n) for n, m in enumerate(sent)]


async def test_a_group_of_one_member_is_assigned_every_partition() -> None:
    with EmbeddedBroker({"numbers": 3}, rebalance_delay_ms=0) as broker:
        consumer = AIOKafkaConsumer("numbers", bootstrap_servers=broker.bootstrap_servers, group_id="one")
        await consumer.start()
        try:
            assert {tp.partition for tp in consumer.assignment()} == {0, 1, 2}
        finally:
            await consumer.stop()


def test_leaving_the_block_ends_the_process_and_frees_the_port_even_after_it_was_stopped() -> None:
    with EmbeddedBroker({"numbers": 1}) as broker:
        pid = broker.pid
        host, port = broker.bootstrap_servers.rsplit(":", 1)
        os.kill(pid, signal.SIGSTOP)
    assert not _alive(pid)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((host, int(port)))


def test_the_broker_ends_when_its_parent_is_killed() -> None:
    parent = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import time\nfrom controller.broker import EmbeddedBroker\n"
            "with EmbeddedBroker({'numbers': 1}) as broker:\n"
            "    print(broker.pid, flush=True)\n    time.sleep(600)\n",
        ],
        stdout=subprocess.PIPE,
    )
    assert parent.stdout is not None
    with parent.stdout:
        pid = int(parent.stdout.readline())
        parent.kill()
        parent.wait()
    for _ in range(200):
        if not _alive(pid):
            return
        time.sleep(0.05)
    os.kill(pid, signal.SIGKILL)
    pytest.fail("the broker outlived its parent by 10 s")


def test_a_topic_that_cannot_be_is_named_across_the_process_border() -> None:
    with (
        pytest.raises(BrokerError, match=r"'none' .* at least one partition, got 0"),
        EmbeddedBroker({"none": 0}),
    ):
        pass


def test_without_confluent_kafka_the_error_names_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise mock_cluster_module.importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(mock_cluster_module.importlib.metadata, "files", missing)
    with pytest.raises(BrokerError, match=r"pip install 'coxswain\[embedded\]'"), EmbeddedBroker({"a": 1}):
        pass


def test_outside_its_block_the_broker_has_no_address() -> None:
    with pytest.raises(BrokerError, match="not running"):
        _ = EmbeddedBroker({"a": 1}).bootstrap_servers


def test_a_worker_finds_every_topic_it_needs_before_it_starts() -> None:
    topics = topics_for_worker("app", source_partitions=6, tables={"totals": 6, "planner": 1})
    assert topics["llm.request-rate.v1"] == 6
    assert topics["llm.demand.v1"] == topics["llm.plans.v1"] == topics["app-__assignor-__leader"] == 1
    assert topics["app-totals-changelog"] == 6
    assert topics["app-planner-changelog"] == 1
