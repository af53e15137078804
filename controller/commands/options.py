"""What several commands share: options, and how an error becomes an exit code."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from controller import logs
from controller.errors import CoxswainError, InputError
from controller.kafka import KafkaConnection
from controller.settings import Settings, load_settings

F = TypeVar("F", bound=Callable[..., Any])

EXIT_FAILURE = 1
EXIT_BAD_INPUT = 2


def with_exit_codes(command: F) -> F:
    """Turn Coxswain's errors into one clear line on stderr: exit 2 for bad input, 1 for any other failure."""

    @functools.wraps(command)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        try:
            return command(*args, **kwargs)
        except InputError as error:
            click.echo(f"error: {error}", err=True)
            raise SystemExit(EXIT_BAD_INPUT) from None
        except CoxswainError as error:
            click.echo(f"error: {error}", err=True)
            raise SystemExit(EXIT_FAILURE) from None

    return wrapped  # type: ignore[return-value]


config_option = click.option(
    "--config",
    "config",
    type=click.Path(path_type=Path),
    help="YAML file of settings. Without it: the defaults, and COXSWAIN_* of the environment.",
)

bootstrap_option = click.option(
    "--bootstrap",
    metavar="HOST:PORT",
    help="The broker. Overrides the settings.",
)


def read_settings(config: Path | None, bootstrap: str | None = None) -> Settings:
    """Read the settings of a command, and set up its logging by them."""
    settings = load_settings(config)
    if bootstrap is not None:
        kafka = settings.kafka.model_copy(update={"bootstrap_servers": bootstrap})
        settings = settings.model_copy(update={"kafka": kafka})
    logs.configure(settings.log_level, settings.log_format)
    return settings


def connection_of(settings: Settings, client_id: str) -> KafkaConnection:
    """Return how to reach the settings' broker."""
    kafka = settings.kafka
    return KafkaConnection(kafka.bootstrap_servers, client_id=client_id, security=kafka.security_options())
