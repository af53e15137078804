"""``coxswain worker``: counts demand, plans horizons."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from pathlib import Path

import click

from controller.commands.options import (
    EXIT_FAILURE,
    bootstrap_option,
    config_option,
    connection_of,
    read_settings,
    with_exit_codes,
)
from controller.domain.catalog import read_catalog
from controller.errors import CatalogError, SettingsError, WorkerError
from controller.interpreter import tune_interpreter
from controller.logs import get_logger
from controller.settings import Settings
from controller.yaml_file import load_yaml

log = get_logger(__name__)


@click.command("worker")
@config_option
@bootstrap_option
@with_exit_codes
def worker_command(config: Path | None, bootstrap: str | None) -> None:
    """Run a worker: it counts demand and, where it owns the demand topic, plans.

    Start as many as you like with the same settings; the partitions of the source topic are shared among them, and
    one of them plans. The topics must exist: `coxswain topics create`.

    \b
        coxswain worker --config coxswain.yaml

    Ctrl-C or SIGTERM stops it. Killing it is safe: what it counted is counted, and the plan in force stays. SIGUSR1 has
    the worker that plans make the plan in force anew.
    """
    # Until the worker takes care of them itself.
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _nothing_to_stop_yet)
    asyncio.run(_run(read_settings(config, bootstrap)))


def _nothing_to_stop_yet(*_: object) -> None:
    # Not an exception: it would come up in the midst of whatever is being set up, which then complains of its end.
    os._exit(0)


async def _run(settings: Settings) -> None:
    # Faust takes its time to be imported; a bad catalog is told of before.
    if settings.catalog is None:
        raise SettingsError("catalog", "is missing: the YAML file of the fleet that is planned for")
    catalog = read_catalog(load_yaml(settings.catalog, CatalogError))

    from controller.stream.source import source_partitions
    from controller.stream.worker import Worker

    connection = connection_of(settings, "coxswain-worker")
    partitions = await source_partitions(connection, settings.app_id)
    worker = Worker(settings, catalog, connection, partitions)
    tune_interpreter()
    try:
        await worker.run()
    except WorkerError as error:
        log.critical("worker_failed", error=str(error))
        logging.shutdown()
        # Here and not by sys.exit: asyncio waits for every task and thread to end, and what hangs in the part that
        # failed must not keep a dead worker's partitions.
        os._exit(EXIT_FAILURE)
