"""How to reach a Kafka cluster, in one value that every client of ours takes, and how its failures are told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiokafka.errors import KafkaError

from controller.errors import BrokerError, SettingsError

SECURITY_OPTIONS = frozenset(
    {
        "security_protocol",
        "ssl_context",
        "sasl_mechanism",
        "sasl_plain_username",
        "sasl_plain_password",
        "sasl_kerberos_service_name",
        "sasl_kerberos_domain_name",
        "sasl_oauth_token_provider",
    }
)
"""aiokafka's own names for them."""


@dataclass(frozen=True, slots=True)
class KafkaConnection:
    """Where a cluster is, and how to be let in.

    Parameters
    ----------
    bootstrap_servers : ``host:port``, several separated by commas.
    client_id : how the broker's logs and quotas name this client.
    security : any of :data:`SECURITY_OPTIONS`. Never shown in a representation of this value.

    Raises
    ------
    SettingsError
        No server is named, or an option is not one of these.
    """

    bootstrap_servers: str
    client_id: str = "coxswain"
    security: Mapping[str, Any] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        if not self.bootstrap_servers.strip():
            raise SettingsError("bootstrap_servers", "at least one host:port", self.bootstrap_servers)
        unknown = sorted(self.security.keys() - SECURITY_OPTIONS)
        if unknown:
            raise SettingsError("security", f"options are {', '.join(sorted(SECURITY_OPTIONS))}", unknown)

    def aiokafka_kwargs(self) -> dict[str, Any]:
        """Return the arguments that aiokafka's clients, consumers, producers and admin clients all take."""
        return {
            "bootstrap_servers": self.bootstrap_servers,
            "client_id": self.client_id,
            **self.security,
        }


@asynccontextmanager
async def broker_errors(connection: KafkaConnection, what: str, timeout_s: float) -> AsyncIterator[None]:
    """Turn what goes wrong between us and a broker, time running out included, into one error that says where.

    Raises
    ------
    BrokerError
        Instead of aiokafka's errors, of the operating system's, and after ``timeout_s``.
    """
    try:
        async with asyncio.timeout(timeout_s):
            yield
    except TimeoutError:
        raise BrokerError(
            f"{what} at {connection.bootstrap_servers}: no answer for {timeout_s:g} s"
        ) from None
    except (KafkaError, OSError) as error:
        raise BrokerError(f"{what} at {connection.bootstrap_servers}: {error}") from error


def is_cancelled() -> bool:
    """Whether the task that asks was cancelled.

    aiokafka's clients swallow that while they stop. A loop that goes on after it has to ask, or never ends.
    """
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
