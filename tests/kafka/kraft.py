"""A real Apache Kafka for tests: KRaft nodes on this machine's Java, its jars fetched through Maven and kept."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import time
import uuid
import xml.etree.ElementTree as ET
from base64 import urlsafe_b64encode
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Self

HERE = Path(__file__).parent
POM = HERE / "pom.xml"
_STARTED = "Kafka Server started"


class CannotHaveKafka(Exception):  # noqa: N818 - a reason to skip, not a fault
    """There is no Java, no Maven, or Maven could not fetch the jars."""


def fetch_jars() -> Path:
    """Return the folder with Kafka's jars, fetched on the first call and kept in the cache.

    The cache is $COXSWAIN_CACHE, or .cache in the repository.
    """
    for tool in ("java", "mvn"):
        if shutil.which(tool) is None:
            raise CannotHaveKafka(f"{tool} is not on the PATH")
    cache = Path(os.environ.get("COXSWAIN_CACHE") or HERE.parents[1] / ".cache")
    jars = cache / f"kafka-{_version()}"
    if jars.is_dir():
        return jars
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache) as scratch:
        fetched = Path(scratch) / "jars"
        command = ["mvn", "-q", "-B", "-f", str(POM), "dependency:copy-dependencies"]
        command += ["-DincludeScope=runtime", f"-DoutputDirectory={fetched}"]
        maven = subprocess.run(command, capture_output=True, text=True, check=False)
        if maven.returncode != 0:
            raise CannotHaveKafka(f"mvn could not fetch the jars of {POM.name}: {maven.stdout[-1000:]}")
        try:
            fetched.rename(jars)  # at once: a folder that is there is whole
        except OSError:
            if not jars.is_dir():  # else somebody else was faster
                raise
    return jars


def _version() -> str:
    namespace = {"m": "http://maven.apache.org/POM/4.0.0"}
    version = ET.parse(POM).findtext(".//m:dependency[m:artifactId='kafka_2.13']/m:version", None, namespace)  # noqa: S314
    assert version is not None
    return version


@dataclass(frozen=True)
class Listener:
    """One more way in: ``name`` in lower case letters, and what goes after ``listener.name.NAME.``."""

    name: str
    protocol: str
    options: Mapping[str, str] = field(default_factory=dict)


class KraftBroker:
    """One broker that is its own controller, for the length of a ``with`` block.

    Parameters
    ----------
    listeners : besides the plain one; each gets a port, see :meth:`address`.
    properties : more of ``server.properties``.
    format_arguments : of the storage tool, such as users.
    controller_port : of a member of a quorum, whose ``controller.quorum.voters`` are among the properties.
    """

    def __init__(
        self,
        jars: Path,
        directory: Path,
        *,
        listeners: Sequence[Listener] = (),
        properties: Mapping[str, str] = MappingProxyType({}),
        format_arguments: Sequence[str] = (),
        controller_port: int | None = None,
    ) -> None:
        self._jars = jars
        self._directory = directory
        self._process: subprocess.Popen[bytes] | None = None
        broker, own_controller, *others = free_ports(2 + len(listeners))
        controller = own_controller if controller_port is None else controller_port
        alone = {"controller.quorum.bootstrap.servers": f"127.0.0.1:{controller}"}
        ports = dict(zip((listener.name for listener in listeners), others, strict=True))
        self._ports = {"broker": broker, **ports}
        self.bootstrap_servers = self.address("broker")
        self._properties = directory / "server.properties"
        self._log = directory / "kafka.log"
        self._format_arguments = [*(["--standalone"] if controller_port is None else []), *format_arguments]
        addresses = [f"{name.upper()}://127.0.0.1:{port}" for name, port in self._ports.items()]
        protocols = [f"{listener.name.upper()}:{listener.protocol}" for listener in listeners]
        written = {
            "process.roles": "broker,controller",
            "node.id": "1",
            **(alone if controller_port is None else {}),
            "listeners": ",".join([*addresses, f"CONTROLLER://127.0.0.1:{controller}"]),
            "advertised.listeners": ",".join(addresses),
            "listener.security.protocol.map": ",".join(
                ["BROKER:PLAINTEXT", "CONTROLLER:PLAINTEXT", *protocols]
            ),
            "inter.broker.listener.name": "BROKER",
            "controller.listener.names": "CONTROLLER",
            "log.dirs": str(directory / "data"),
            "offsets.topic.replication.factor": "1",
            "transaction.state.log.replication.factor": "1",
            "transaction.state.log.min.isr": "1",
            "group.initial.rebalance.delay.ms": "0",
            "auto.create.topics.enable": "false",
            "broker.heartbeat.interval.ms": "500",
            "broker.session.timeout.ms": "2000",
            **{
                f"listener.name.{listener.name}.{option}": value
                for listener in listeners
                for option, value in listener.options.items()
            },
            **properties,
        }
        self._properties.write_text("".join(f"{name}={value}\n" for name, value in written.items()))

    def address(self, listener: str) -> str:
        """Return ``host:port`` of a listener."""
        return f"127.0.0.1:{self._ports[listener]}"

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Format the storage where that is still to be done, start, and wait until clients are served."""
        self.launch(urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("="))
        self.wait_until_started()

    def launch(self, cluster_id: str) -> None:
        """Format the storage where that is still to be done, and start."""
        if not (self._directory / "data").exists():
            # By "=", since an id may begin with a dash.
            formatting = self._java(
                "kafka.tools.StorageTool",
                "format",
                f"--cluster-id={cluster_id}",
                *self._format_arguments,
                "-c",
            )
            if formatting.wait() != 0:
                raise RuntimeError(
                    f"Kafka's storage was not formatted:\n{self._log.read_text(errors='replace')}"
                )
        self._log.unlink(missing_ok=True)
        self._process = self._java("kafka.Kafka")

    def wait_until_started(self) -> None:
        """Wait until clients are served."""
        assert self._process is not None
        while _STARTED not in (log := self._log.read_text(errors="replace")):
            if self._process.poll() is not None:
                raise RuntimeError(f"Kafka ended at its start:\n{log[-3000:]}")
            time.sleep(0.05)

    def kill(self) -> None:
        """SIGKILL; what was acknowledged is in the page cache, and there after another start."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.kill()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def _java(self, main_class: str, *arguments: str) -> subprocess.Popen[bytes]:
        command = [
            "java",
            "-Xmx512m",
            "-XX:+UseSerialGC",
            "-XX:TieredStopAtLevel=1",
            "-cp",
            f"{self._jars}/*",
        ]
        with self._log.open("ab") as log:
            return subprocess.Popen(
                [*command, main_class, *arguments, str(self._properties)],
                stdout=log,
                stderr=subprocess.STDOUT,
            )


class KraftCluster:
    """Brokers that are a quorum, for the length of a ``with`` block; what is acknowledged outlives any one of them."""

    def __init__(self, jars: Path, directory: Path, brokers: int = 3) -> None:
        quorum = free_ports(brokers)
        voters = ",".join(f"{node}@127.0.0.1:{port}" for node, port in enumerate(quorum, 1))
        self.brokers: list[KraftBroker] = []
        for node, port in enumerate(quorum, 1):
            (folder := directory / f"node-{node}").mkdir()
            self.brokers.append(
                KraftBroker(
                    jars,
                    folder,
                    properties={
                        "node.id": str(node),
                        "controller.quorum.voters": voters,
                        "offsets.topic.replication.factor": str(brokers),
                        "offsets.topic.num.partitions": "4",
                        "min.insync.replicas": str(brokers - 1),
                    },
                    controller_port=port,
                )
            )
        self.bootstrap_servers = ",".join(broker.bootstrap_servers for broker in self.brokers)

    def __enter__(self) -> Self:
        cluster_id = urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        try:
            for broker in self.brokers:
                broker.launch(cluster_id)
            for broker in self.brokers:
                broker.wait_until_started()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for broker in self.brokers:
            broker.kill()


def free_ports(count: int) -> list[int]:
    """Return ports that nobody listens on, for now."""
    with ExitStack() as stack:
        held = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in held:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in held]
