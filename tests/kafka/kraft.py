"""A real Apache Kafka for tests: one KRaft node on this machine's Java, its jars fetched through Maven and kept."""

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
from pathlib import Path
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
        fetched.rename(jars)  # at once: a folder that is there is whole
    return jars


def _version() -> str:
    namespace = {"m": "http://maven.apache.org/POM/4.0.0"}
    version = ET.parse(POM).findtext(".//m:dependency[m:artifactId='kafka_2.13']/m:version", None, namespace)  # noqa: S314
    assert version is not None
    return version


class KraftBroker:
    """One broker that is its own controller, for the length of a ``with`` block."""

    def __init__(self, jars: Path, directory: Path) -> None:
        self._jars = jars
        self._directory = directory
        self._process: subprocess.Popen[bytes] | None = None
        broker, controller = _free_ports()
        self.bootstrap_servers = f"127.0.0.1:{broker}"
        self._properties = directory / "server.properties"
        self._log = directory / "kafka.log"
        self._properties.write_text(
            f"""\
process.roles=broker,controller
node.id=1
controller.quorum.bootstrap.servers=127.0.0.1:{controller}
listeners=BROKER://127.0.0.1:{broker},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=BROKER://127.0.0.1:{broker}
listener.security.protocol.map=BROKER:PLAINTEXT,CONTROLLER:PLAINTEXT
inter.broker.listener.name=BROKER
controller.listener.names=CONTROLLER
log.dirs={directory / "data"}
offsets.topic.replication.factor=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
group.initial.rebalance.delay.ms=0
auto.create.topics.enable=false
broker.heartbeat.interval.ms=500
broker.session.timeout.ms=2000
"""
        )

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Format the storage where that is still to be done, start, and wait until clients are served."""
        if not (self._directory / "data").exists():
            cluster_id = urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
            # By "=", since an id may begin with a dash.
            formatting = self._java(
                "kafka.tools.StorageTool", "format", "--standalone", f"--cluster-id={cluster_id}", "-c"
            )
            if formatting.wait() != 0:
                raise RuntimeError(
                    f"Kafka's storage was not formatted:\n{self._log.read_text(errors='replace')}"
                )
        self._log.unlink(missing_ok=True)
        self._process = self._java("kafka.Kafka")
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


def _free_ports() -> tuple[int, int]:
    with socket.socket() as first, socket.socket() as second:
        first.bind(("127.0.0.1", 0))
        second.bind(("127.0.0.1", 0))
        return first.getsockname()[1], second.getsockname()[1]
