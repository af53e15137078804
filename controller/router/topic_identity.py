"""Ask a cluster who it is: its id, and the id of the planner-claims topic.

A topic that was deleted and made again under its old name has another id and offsets from 0, which is what a fence must
know. Topic ids came with version 10 of Kafka's Metadata request; aiokafka stops at version 5, so that the one version
needed is described here (kafka.apache.org/protocol, Metadata).
"""

from __future__ import annotations

import uuid
from io import BytesIO

from aiokafka.client import AIOKafkaClient
from aiokafka.errors import IncompatibleBrokerVersion, KafkaError
from aiokafka.protocol.abstract import AbstractType
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import Boolean, CompactArray, CompactString, Int16, Int32, Schema, TaggedFields

from controller.kafka import KafkaConnection
from controller.logs import get_logger
from controller.router.fence import LogIdentity
from schemas import Topic

_log = get_logger(__name__)
_NO_ID = uuid.UUID(int=0)


class _Uuid(AbstractType[uuid.UUID]):  # type: ignore[misc]  # aiokafka carries no types
    """Sixteen bytes; Kafka's zero id stands for none."""

    @classmethod
    def encode(cls, value: uuid.UUID) -> bytes:
        return value.bytes

    @classmethod
    def decode(cls, data: BytesIO) -> uuid.UUID:
        return uuid.UUID(bytes=data.read(16))


class _MetadataResponse(Response):  # type: ignore[misc]
    API_KEY = 3
    API_VERSION = 10
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "brokers",
            CompactArray(
                ("node_id", Int32),
                ("host", CompactString()),
                ("port", Int32),
                ("rack", CompactString()),
                ("tags", TaggedFields),
            ),
        ),
        ("cluster_id", CompactString()),
        ("controller_id", Int32),
        (
            "topics",
            CompactArray(
                ("error_code", Int16),
                ("name", CompactString()),
                ("topic_id", _Uuid),
                ("is_internal", Boolean),
                (
                    "partitions",
                    CompactArray(
                        ("error_code", Int16),
                        ("partition", Int32),
                        ("leader", Int32),
                        ("leader_epoch", Int32),
                        ("replicas", CompactArray(Int32)),
                        ("isr", CompactArray(Int32)),
                        ("offline_replicas", CompactArray(Int32)),
                        ("tags", TaggedFields),
                    ),
                ),
                ("authorized_operations", Int32),
                ("tags", TaggedFields),
            ),
        ),
        ("authorized_operations", Int32),
        ("tags", TaggedFields),
    )


class _MetadataRequestStruct(RequestStruct):  # type: ignore[misc]
    API_KEY = 3
    API_VERSION = 10
    FLEXIBLE_VERSION = True
    RESPONSE_TYPE = _MetadataResponse
    SCHEMA = Schema(
        (
            "topics",
            CompactArray(("topic_id", _Uuid), ("name", CompactString()), ("tags", TaggedFields)),
        ),
        ("allow_auto_topic_creation", Boolean),
        ("include_cluster_authorized_operations", Boolean),
        ("include_topic_authorized_operations", Boolean),
        ("tags", TaggedFields),
    )


class _TopicIdRequest(Request[_MetadataRequestStruct]):  # type: ignore[misc]
    API_KEY = 3

    def __init__(self, topic: str) -> None:
        self._topic = topic

    def build(self, request_struct_class: type[_MetadataRequestStruct]) -> _MetadataRequestStruct:
        return request_struct_class([(_NO_ID, self._topic, {})], False, False, False, {})


async def read_identity(connection: KafkaConnection) -> LogIdentity:
    """Return what the cluster says of itself; what it does not tell is None.

    An old broker knows no topic ids, and one that cannot be reached tells nothing at all: neither is an error, since
    an identity that is not known proves nothing (:meth:`LogIdentity.difference`).
    """
    client = AIOKafkaClient(**connection.aiokafka_kwargs())
    try:
        await client.bootstrap()
        node = client.get_random_node()
        if node is None:
            return LogIdentity()
        response = await client.send(node, _TopicIdRequest(Topic.PLANNER_CLAIMS))
    except (IncompatibleBrokerVersion, NotImplementedError):
        _log.info("topic_ids_unknown", reason="the broker is older than Kafka 2.8")
        return LogIdentity()
    except (KafkaError, OSError) as error:
        _log.warning("log_identity_unknown", reason=str(error))
        return LogIdentity()
    finally:
        await client.close()
    topic_ids = {topic[1]: topic[2] for topic in response.topics if topic[0] == 0 and topic[2] != _NO_ID}
    claims = topic_ids.get(Topic.PLANNER_CLAIMS)
    return LogIdentity(response.cluster_id, None if claims is None else str(claims))
