"""Kafka's topic ids. A topic that was deleted and created again has another id, though name and offsets may be the same.

Rules: aiokafka sends metadata requests of version 5, which has no topic ids, so version 12 (Kafka 3.1 and later) is defined here. A broker that does not
know it (older ones, the embedded one) is no error: then the answer has no ids.
"""

from __future__ import annotations

import asyncio
import math
import time
from typing import TYPE_CHECKING, Any, ClassVar, Final

from aiokafka.client import AIOKafkaClient
from aiokafka.errors import KafkaConnectionError
from aiokafka.protocol.api import Request, RequestStruct, Response
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
    from collections.abc import Iterable

FRESH: Final = 1.0
"""Seconds for which an answer is used, at most."""
FASTEST_FILL: Final = 1_000_000
"""Records per second; no partition is filled faster, because events have hundreds of bytes."""
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


class _Metadata(Request[_Question]):  # type: ignore[misc]  # aiokafka is untyped here
    API_KEY = _API_KEY

    def __init__(self, topics: tuple[str, ...]) -> None:
        self._topics = topics

    def build(self, request_struct_class: type[_Question]) -> _Question:
        return request_struct_class([(_NONE, topic, {}) for topic in self._topics], False, False, {})


class TopicIds:
    """The ids of some topics, requested with a client of its own. Many tasks of one event loop may use it at once."""

    def __init__(self, bootstrap_servers: str, topics: Iterable[str], client_id: str, security: dict[str, Any]) -> None:
        """`security` as of `stream.kafka.security.client_options`."""
        self._topics = tuple(topics)
        self._options = {
            "bootstrap_servers": bootstrap_servers,
            "client_id": client_id,
            "request_timeout_ms": _TIMEOUT_MS,
            **security,
        }
        self._client: AIOKafkaClient | None = None
        self._lock = asyncio.Lock()
        self._ids: dict[str, bytes] = {}
        self._asked = -math.inf
        """When `_ids` were requested; by the monotonic clock."""

    async def ids(self, offset: int) -> dict[str, bytes]:
        """The id of each topic that exists and has one. Records from `offset` on that were fetched before the call are of that topic.

        An earlier answer is used only if no topic can have been created again since, and filled up to `offset`.

        Raises:
            KafkaError: Kafka does not answer now.
        """
        oldest = time.monotonic() - min(FRESH, offset / FASTEST_FILL)
        async with self._lock:
            if self._asked < oldest:
                began = time.monotonic()
                try:
                    self._ids = await self._ask()
                except BaseException:
                    await self._disconnect()  # the brokers may have new addresses
                    raise
                self._asked = began
            return self._ids

    async def close(self) -> None:
        """Disconnect."""
        async with self._lock:
            await self._disconnect()

    async def _ask(self) -> dict[str, bytes]:
        if self._client is None:
            self._client = AIOKafkaClient(**self._options)
            await self._client.bootstrap()
        node = self._client.get_random_node()
        if node is None:
            raise KafkaConnectionError("no broker is known")
        try:
            answer = await self._client.send(node, _Metadata(self._topics))
        except RuntimeError:  # of aiokafka: the broker does not know this version
            return {}
        return {name: topic_id for code, name, topic_id, *_ in answer.topics if code == 0 and topic_id != _NONE}

    async def _disconnect(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            await client.close()
