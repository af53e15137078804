"""What lets the worker's clients in, as Faust wants to be told of it."""

from __future__ import annotations

from faust.auth import Credentials, SASLCredentials, SSLCredentials

from controller.kafka import KafkaConnection


def faust_credentials(connection: KafkaConnection) -> Credentials | None:
    """Return the connection's TLS and SASL options for ``broker_credentials``; None where there are none."""
    security = connection.security
    context, mechanism = security.get("ssl_context"), security.get("sasl_mechanism")
    if mechanism is not None:
        return SASLCredentials(
            mechanism=mechanism,
            ssl_context=context,
            username=security["sasl_plain_username"],
            password=security["sasl_plain_password"],
        )
    return None if context is None else SSLCredentials(context=context)
