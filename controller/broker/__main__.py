"""``python -m controller.broker``: the embedded broker, until it is stopped or its parent is gone.

It announces itself on standard output with one line of JSON, ``{"bootstrap_servers": "127.0.0.1:…"}``.
"""

from __future__ import annotations

import json
import os
import sys
import time

import click

from controller.broker.embedded import DEFAULT_REBALANCE_DELAY_MS, NOTICE
from controller.broker.mock_cluster import MockCluster
from controller.broker.required_topics import topics_for_worker
from controller.errors import BrokerError
from controller.logs import configure, get_logger

_LOOK_AROUND_S = 0.2


def _partitions_by_topic(_: click.Context, __: click.Parameter, values: tuple[str, ...]) -> dict[str, int]:
    topics: dict[str, int] = {}
    for value in values:
        name, _separator, partitions = value.rpartition(":")
        if not partitions.isdecimal():
            raise click.BadParameter(f"must be NAME:PARTITIONS, got {value!r}")
        topics[name] = int(partitions)
    return topics


@click.command()
@click.option(
    "--topic",
    "topics",
    multiple=True,
    callback=_partitions_by_topic,
    metavar="NAME:PARTITIONS",
    help="A topic to have; repeat it. Without any: those of the messages; a worker needs its tables' changelogs, too.",
)
@click.option(
    "--rebalance-delay-ms",
    type=click.IntRange(0, 60_000),
    default=DEFAULT_REBALANCE_DELAY_MS,
    show_default=True,
    help="How long a new consumer group waits before its first assignment.",
)
@click.option("--parent-pid", type=int, help="End when this process is no longer the parent.")
def main(topics: dict[str, int], rebalance_delay_ms: int, parent_pid: int | None) -> None:
    """Run the embedded broker: nothing durable, one worker, about 5 MB per partition."""
    configure()
    try:
        cluster = MockCluster(topics or topics_for_worker("coxswain"), rebalance_delay_ms)
    except BrokerError as error:
        click.echo(json.dumps({"error": str(error)}))
        sys.exit(1)
    get_logger("controller.broker").info(
        "embedded_broker",
        notice=NOTICE,
        bootstrap_servers=cluster.bootstrap_servers,
        librdkafka=cluster.librdkafka_version,
    )
    click.echo(json.dumps({"bootstrap_servers": cluster.bootstrap_servers}))
    try:
        # A parent that was killed says nothing. Its pid is watched rather than a pipe from it: other children that it
        # forks would keep the pipe open, and Linux's parent-death signal comes when a mere thread of it ends.
        while parent_pid is None or os.getppid() == parent_pid:
            time.sleep(_LOOK_AROUND_S)
    except KeyboardInterrupt:
        pass
    cluster.close()


if __name__ == "__main__":
    main()
