"""The embedded broker as a child process: started, awaited, and gone with its parent."""

from __future__ import annotations

import json
import os
import selectors
import subprocess
import sys
import time
from collections.abc import Mapping
from types import TracebackType
from typing import IO, Self

from controller.broker.mock_cluster import find_librdkafka
from controller.errors import BrokerError

NOTICE = (
    "This is the embedded broker: librdkafka's mock cluster, for a first run and for tests. Nothing in it is durable; "
    "it keeps about 5 MB per partition and drops the rest without a word; it serves one worker; it has no "
    "transactions, no compaction and no way to add topics. For anything else, run Apache Kafka."
)
"""What the embedded broker is, and what it is not."""

DEFAULT_REBALANCE_DELAY_MS = 300
"""Kafka's own 3 s would be most of a short run."""
_START_TIMEOUT_S = 30.0
_STOP_TIMEOUT_S = 5.0


class EmbeddedBroker:
    """A broker for the length of a ``with`` block, in a process of its own.

    ::

        with EmbeddedBroker(topics_for_worker("coxswain")) as broker:
            connect(broker.bootstrap_servers)

    The process is its own session, so that Ctrl-C in a terminal stops its users first, and it ends by itself when its
    parent is gone, however the parent died.

    Parameters
    ----------
    topics : partitions per topic. The broker takes no more later.
    rebalance_delay_ms : how long a new consumer group waits before its first assignment.
    start_timeout_s : how long it may take to announce itself.

    Raises
    ------
    BrokerError
        On entry: confluent-kafka is missing, or the broker did not start.
    """

    def __init__(
        self,
        topics: Mapping[str, int],
        *,
        rebalance_delay_ms: int = DEFAULT_REBALANCE_DELAY_MS,
        start_timeout_s: float = _START_TIMEOUT_S,
    ) -> None:
        self._topics = dict(topics)
        self._rebalance_delay_ms = rebalance_delay_ms
        self._start_timeout_s = start_timeout_s
        self._process: subprocess.Popen[bytes] | None = None
        self._bootstrap_servers: str | None = None

    @property
    def bootstrap_servers(self) -> str:
        """Where clients connect to: ``host:port``."""
        if self._bootstrap_servers is None:
            raise BrokerError("the embedded broker is not running: enter its `with` block first")
        return self._bootstrap_servers

    @property
    def pid(self) -> int:
        """The broker's process, for those who want to see what happens without it."""
        if self._process is None:
            raise BrokerError("the embedded broker is not running: enter its `with` block first")
        return self._process.pid

    def __enter__(self) -> Self:
        find_librdkafka()
        command = [sys.executable, "-m", "controller.broker", "--parent-pid", str(os.getpid())]
        command += ["--rebalance-delay-ms", str(self._rebalance_delay_ms)]
        for name, partitions in self._topics.items():
            command += ["--topic", f"{name}:{partitions}"]
        self._process = subprocess.Popen(  # noqa: S603 - our own interpreter and module
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, start_new_session=True
        )
        try:
            self._bootstrap_servers = self._await_announcement(self._process)
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()

    def _await_announcement(self, process: subprocess.Popen[bytes]) -> str:
        assert process.stdout is not None  # noqa: S101 - it was opened with a pipe
        line = _read_line(process.stdout, self._start_timeout_s)
        if line is None:
            raise BrokerError(f"the embedded broker said nothing for {self._start_timeout_s:g} s")
        if not line:
            raise BrokerError(f"the embedded broker ended at its start, with exit code {process.wait()}")
        said = json.loads(line)
        if "error" in said:
            raise BrokerError(f"the embedded broker did not start: {said['error']}")
        return str(said["bootstrap_servers"])

    def _stop(self) -> None:
        process, self._process, self._bootstrap_servers = self._process, None, None
        if process is None:
            return
        # Nothing in it is worth a graceful end; a stopped process (SIGSTOP) takes this signal too.
        process.kill()
        process.wait(_STOP_TIMEOUT_S)
        if process.stdout is not None:
            process.stdout.close()


def _read_line(pipe: IO[bytes], timeout_s: float) -> bytes | None:
    """Return the first line of a pipe, empty at its end; None where it is not there in time."""
    deadline = time.monotonic() + timeout_s
    read = b""
    with selectors.DefaultSelector() as selector:
        selector.register(pipe, selectors.EVENT_READ)
        while not read.endswith(b"\n"):
            if not selector.select(max(0.0, deadline - time.monotonic())):
                return None
            chunk = os.read(pipe.fileno(), 4096)
            if not chunk:
                return b""
            read += chunk
    return read
