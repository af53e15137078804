"""librdkafka's mock cluster through ctypes: the few C functions that are needed, and nothing else.

The mock cluster is librdkafka's own test broker (``rdkafka_mock.h``). It is compiled into the library that
confluent-kafka's wheel carries, speaks Kafka's protocol on a loopback port, and lives in this process: see
:mod:`controller.broker.embedded` for the process around it.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import importlib.metadata
from collections.abc import Mapping
from pathlib import Path

from controller.errors import BrokerError

_PRODUCER = 0  # RD_KAFKA_PRODUCER: the cluster hangs on a client handle; its type does not matter
_CONF_OK = 0
_ERRORS_ONLY = b"3"  # syslog level; the handle has no bootstrap servers and would complain of it
_ERROR_BYTES = 512

_HANDLE = ctypes.c_void_p
_SIGNATURES: dict[str, tuple[object, list[object]]] = {
    "rd_kafka_conf_new": (_HANDLE, []),
    "rd_kafka_conf_set": (
        ctypes.c_int,
        [_HANDLE, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_size_t],
    ),
    "rd_kafka_new": (_HANDLE, [ctypes.c_int, _HANDLE, ctypes.c_char_p, ctypes.c_size_t]),
    "rd_kafka_destroy": (None, [_HANDLE]),
    "rd_kafka_err2str": (ctypes.c_char_p, [ctypes.c_int]),
    "rd_kafka_version_str": (ctypes.c_char_p, []),
    "rd_kafka_mock_cluster_new": (_HANDLE, [_HANDLE, ctypes.c_int]),
    "rd_kafka_mock_cluster_destroy": (None, [_HANDLE]),
    "rd_kafka_mock_cluster_bootstraps": (ctypes.c_char_p, [_HANDLE]),
    "rd_kafka_mock_topic_create": (ctypes.c_int, [_HANDLE, ctypes.c_char_p, ctypes.c_int, ctypes.c_int]),
    "rd_kafka_mock_group_initial_rebalance_delay_ms": (None, [_HANDLE, ctypes.c_int32]),
}


def find_librdkafka() -> str:
    """Return where librdkafka is: in confluent-kafka's wheel, or else in the system.

    Raises
    ------
    BrokerError
        Neither is there; the message says what to install.
    """
    try:
        files = importlib.metadata.files("confluent-kafka") or []
    except importlib.metadata.PackageNotFoundError:
        raise BrokerError(
            "the embedded broker is librdkafka's, which comes with confluent-kafka: "
            "pip install 'coxswain[embedded]'"
        ) from None
    for file in files:
        if "librdkafka" in file.name and {".so", ".dylib", ".dll"} & set(Path(file.name).suffixes):
            return str(file.locate())
    system = ctypes.util.find_library("rdkafka")
    if system is None:
        raise BrokerError(
            "confluent-kafka is installed, but without the librdkafka that its wheels carry: "
            "pip install --only-binary confluent-kafka 'coxswain[embedded]'"
        )
    return system


def _load() -> ctypes.CDLL:
    path = find_librdkafka()
    try:
        library = ctypes.CDLL(path)
        for name, (result, arguments) in _SIGNATURES.items():
            function = getattr(library, name)
            function.restype, function.argtypes = result, arguments
    except (OSError, AttributeError) as error:
        raise BrokerError(f"librdkafka at {path} cannot serve as the embedded broker: {error}") from error
    return library


class MockCluster:
    """One broker inside this process, on a free loopback port, until :meth:`close`.

    Parameters
    ----------
    topics : partitions per topic; the cluster cannot be asked for new ones later.
    initial_rebalance_delay_ms : how long a new consumer group waits for more members before its first assignment.

    Raises
    ------
    BrokerError
        librdkafka is missing, or refuses the cluster or a topic.
    """

    def __init__(self, topics: Mapping[str, int], initial_rebalance_delay_ms: int) -> None:
        for name, partitions in topics.items():
            # librdkafka takes the process down with it when it is asked for a negative number of them.
            if not name or partitions < 1:
                raise BrokerError(
                    f"topic {name!r} must have a name and at least one partition, got {partitions}"
                )
        self._library = _load()
        self._client = self._new_client()
        self._cluster: int | None = self._library.rd_kafka_mock_cluster_new(self._client, 1)
        if not self._cluster:
            self.close()
            raise BrokerError("librdkafka could not start its mock cluster")
        for name, partitions in topics.items():
            code = self._library.rd_kafka_mock_topic_create(self._cluster, name.encode(), partitions, 1)
            if code:
                reason = self._library.rd_kafka_err2str(code).decode()
                self.close()
                raise BrokerError(f"topic {name!r} with {partitions} partitions: {reason}")
        self._library.rd_kafka_mock_group_initial_rebalance_delay_ms(
            self._cluster, initial_rebalance_delay_ms
        )
        self.bootstrap_servers: str = self._library.rd_kafka_mock_cluster_bootstraps(self._cluster).decode()
        self.librdkafka_version: str = self._library.rd_kafka_version_str().decode()

    def close(self) -> None:
        """Stop the cluster; all that it held is gone."""
        if self._cluster:
            self._library.rd_kafka_mock_cluster_destroy(self._cluster)
            self._cluster = None
        if self._client:
            self._library.rd_kafka_destroy(self._client)
            self._client = None

    def _new_client(self) -> int | None:
        error = ctypes.create_string_buffer(_ERROR_BYTES)
        conf = self._library.rd_kafka_conf_new()
        code = self._library.rd_kafka_conf_set(conf, b"log_level", _ERRORS_ONLY, error, _ERROR_BYTES)
        if code != _CONF_OK:
            raise BrokerError(f"librdkafka refuses log_level: {error.value.decode()}")
        client: int | None = self._library.rd_kafka_new(_PRODUCER, conf, error, _ERROR_BYTES)
        if not client:
            raise BrokerError(f"librdkafka could not start: {error.value.decode()}")
        return client
