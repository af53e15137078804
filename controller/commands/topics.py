"""``coxswain topics``: makes the topics, and shows how they are."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from controller.broker.admin import TopicReport, create_topics, describe_topics
from controller.broker.required_topics import RequiredTopic, required_topics
from controller.commands.options import (
    EXIT_FAILURE,
    bootstrap_option,
    config_option,
    connection_of,
    read_settings,
    with_exit_codes,
)
from controller.stream.tables import table_partitions
from schemas.topics import DEFAULT_SOURCE_PARTITIONS


@click.group("topics")
def topics_command() -> None:
    """Make the topics that Coxswain needs, or show how they are."""


partitions_option = click.option(
    "--partitions",
    default=DEFAULT_SOURCE_PARTITIONS,
    show_default=True,
    type=click.IntRange(min=1),
    help="Of llm.request-rate.v1: as many workers can share the counting.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print a JSON list instead of a table.")


@topics_command.command("create")
@partitions_option
@click.option(
    "--replication-factor",
    default=3,
    show_default=True,
    type=click.IntRange(min=1),
    help="Copies of each partition; 3 where plans matter, 1 on a single broker.",
)
@json_option
@config_option
@bootstrap_option
@with_exit_codes
def create_command(
    partitions: int, replication_factor: int, as_json: bool, config: Path | None, bootstrap: str | None
) -> None:
    """Make the topics that are missing, each with its partitions and cleanup policy. Others are left as they are.

    \b
        coxswain topics create --partitions 8 --replication-factor 3

    Exit code 1 where a topic that exists is not as it must be.
    """
    settings = read_settings(config, bootstrap)
    required = required_topics(partitions, settings.app_id, table_partitions(partitions))
    connection = connection_of(settings, "coxswain-topics")
    _show(asyncio.run(create_topics(connection, required, replication_factor)), as_json)


@topics_command.command("describe")
@partitions_option
@json_option
@config_option
@bootstrap_option
@with_exit_codes
def describe_command(partitions: int, as_json: bool, config: Path | None, bootstrap: str | None) -> None:
    """Show the topics as they are, and where they differ from what they must be.

    Exit code 1 where one is missing or differs.
    """
    settings = read_settings(config, bootstrap)
    required: Sequence[RequiredTopic] = required_topics(
        partitions, settings.app_id, table_partitions(partitions)
    )
    _show(asyncio.run(describe_topics(connection_of(settings, "coxswain-topics"), required)), as_json)


def _show(reports: Sequence[TopicReport], as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps([asdict(report) for report in reports], default=str))
    else:
        table = Table(
            "topic", "state", "partitions", "copies", "cleanup", "differs", box=None, pad_edge=False
        )
        for report in reports:
            table.add_row(
                report.required.name,
                report.state,
                "" if report.partitions is None else str(report.partitions),
                "" if report.replication_factor is None else str(report.replication_factor),
                report.config.get("cleanup.policy", ""),
                "; ".join(report.differences),
            )
        Console().print(table)
    if not all(report.is_as_required for report in reports):
        raise SystemExit(EXIT_FAILURE)
