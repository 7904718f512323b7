"""What Kafka says of a topic when it is asked by name: whether it exists and may be read, its partitions, its id.

Rules: no question creates a topic. aiokafka sends metadata requests of version 5, which has neither topic ids nor what the user may do, so version 12 (Kafka
3.1 and later) is defined here. A broker that does not know it (older ones, the embedded one) is no error: then the answer has neither.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Final, NamedTuple

from aiokafka.client import AIOKafkaClient
from aiokafka.errors import KafkaConnectionError
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.metadata import MetadataRequest_v4, MetadataRequest_v5
from aiokafka.protocol.types import (
    AbstractType,
    Boolean,
    CompactArray,
    CompactString,
    Int16,
    Int32,
    Schema,
    TaggedFields,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

_TIMEOUT_MS: Final = 10_000
_NONE: Final = bytes(16)
_API_KEY: Final = 3
_API_VERSION: Final = 12


class _Uuid(AbstractType[bytes]):  # type: ignore[misc]  # aiokafka is untyped here
    @classmethod
    def encode(cls, value: bytes) -> bytes:
        return value

    @classmethod
    def decode(cls, data: Any) -> bytes:
        read: bytes = data.read(16)
        return read


class _Answer(Response):  # type: ignore[misc]  # aiokafka is untyped here
    API_KEY: ClassVar[int] = _API_KEY
    API_VERSION: ClassVar[int] = _API_VERSION
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "brokers",
            CompactArray(
                ("node_id", Int32),
                ("host", CompactString("utf-8")),
                ("port", Int32),
                ("rack", CompactString("utf-8")),
                ("tags", TaggedFields),
            ),
        ),
        ("cluster_id", CompactString("utf-8")),
        ("controller_id", Int32),
        (
            "topics",
            CompactArray(
                ("error_code", Int16),
                ("name", CompactString("utf-8")),
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
        ("tags", TaggedFields),
    )


class _Question(RequestStruct):  # type: ignore[misc]  # aiokafka is untyped here
    FLEXIBLE_VERSION = True
    API_KEY = _API_KEY
    API_VERSION = _API_VERSION
    RESPONSE_TYPE = _Answer
    SCHEMA = Schema(
        (
            "topics",
            CompactArray(("topic_id", _Uuid), ("name", CompactString("utf-8")), ("tags", TaggedFields)),
        ),
        ("allow_auto_topic_creation", Boolean),
        ("include_topic_authorized_operations", Boolean),
        ("tags", TaggedFields),
    )


class _Metadata(Request[MetadataRequest_v4 | MetadataRequest_v5 | _Question]):  # type: ignore[misc]  # aiokafka is untyped here
    API_KEY = _API_KEY

    def __init__(self, topics: Sequence[str]) -> None:
        self._topics = topics

    def build(self, request_struct_class: type[Any]) -> Any:
        if request_struct_class is _Question:
            return _Question([(_NONE, topic, {}) for topic in self._topics], False, True, {})
        return request_struct_class([*self._topics], False)


class TopicMetadata(NamedTuple):
    """What Kafka says of one topic."""

    name: str
    error: int
    """Kafka's error code; 0 if the topic exists and may be described."""
    partitions: int
    id: bytes | None
    """None if the broker returns none."""
    operations: int | None
    """What the user may do, one bit for each of Kafka's `AclOperation`; None if the broker does not say."""


class MetadataClient:
    """A client for questions about topics. It connects with the first one, and after each failure again, to the bootstrap servers."""

    def __init__(self, bootstrap_servers: str, client_id: str, security: dict[str, Any]) -> None:
        """`security` as of `stream.kafka.security.client_options`."""
        self._options = {
            "bootstrap_servers": bootstrap_servers,
            "client_id": client_id,
            "request_timeout_ms": _TIMEOUT_MS,
            **security,
        }
        self._client: AIOKafkaClient | None = None

    async def topics(self, names: Sequence[str]) -> list[TopicMetadata]:
        """What Kafka says of these topics. One call at a time.

        Raises:
            KafkaError: Kafka does not answer now.
        """
        try:
            return await self._ask(names)
        except BaseException:
            await self.close()  # the brokers may have new addresses
            raise

    async def close(self) -> None:
        """Disconnect."""
        client, self._client = self._client, None
        if client is not None:
            await client.close()

    async def _ask(self, names: Sequence[str]) -> list[TopicMetadata]:
        if self._client is None:
            self._client = AIOKafkaClient(**self._options)
            await self._client.bootstrap()
        node = self._client.get_random_node()
        if node is None:
            raise KafkaConnectionError("no broker is known")
        answer = await self._client.send(node, _Metadata(names))
        if not isinstance(answer, _Answer):
            return [
                TopicMetadata(name, error, len(partitions), None, None)
                for error, name, _, partitions, *_ in answer.topics
            ]
        return [
            TopicMetadata(
                name,
                error,
                len(partitions),
                None if topic_id == _NONE else topic_id,
                operations if operations >= 0 else None,
            )
            for error, name, topic_id, _, partitions, operations, *_ in answer.topics
        ]
