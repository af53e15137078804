"""The broker of a campaign: a real Kafka, reached straight by those who watch, and through a proxy by those tested."""

from __future__ import annotations

import os
import signal
import socket
from pathlib import Path

from tests.kafka.kraft import KraftBroker

MIN_SESSION_TIMEOUT_S = 1.0
_BROKER_SESSION_S = 9.0
"""With less, a node that leads itself loses sight of itself on a busy machine, which is no fault that was asked for."""


class FaultBroker(KraftBroker):
    """A KRaft node with two listeners; clients of the first are told to come through ``proxy_port``."""

    def __init__(self, jars: Path, directory: Path, proxy_port: int) -> None:
        super().__init__(jars, directory)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            direct = f"127.0.0.1:{free.getsockname()[1]}"
        behind, self.direct_servers, self.proxied_servers = (
            self.bootstrap_servers,
            direct,
            f"127.0.0.1:{proxy_port}",
        )
        self.port_behind = int(behind.rpartition(":")[2])
        lines = dict(line.split("=", 1) for line in self._properties.read_text().splitlines())
        lines |= {
            "listeners": f"{lines['listeners']},DIRECT://{direct}",
            "advertised.listeners": f"BROKER://{self.proxied_servers},DIRECT://{direct}",
            "listener.security.protocol.map": f"{lines['listener.security.protocol.map']},DIRECT:PLAINTEXT",
            "inter.broker.listener.name": "DIRECT",
            "broker.session.timeout.ms": str(round(_BROKER_SESSION_S * 1000)),
            "group.min.session.timeout.ms": str(round(MIN_SESSION_TIMEOUT_S * 1000)),
        }
        self._properties.write_text("".join(f"{name}={value}\n" for name, value in lines.items()))

    def pause(self) -> None:
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        os.kill(self.pid, signal.SIGCONT)
