"""Kafka's topic ids. A topic that was deleted and created again has another id, though name and offsets may be the same."""

from __future__ import annotations

import asyncio
import math
import time
from typing import TYPE_CHECKING, Any, Final

from stream.kafka.metadata import MetadataClient

if TYPE_CHECKING:
    from collections.abc import Iterable

FRESH: Final = 1.0
"""Seconds for which an answer is used, at most."""
FASTEST_FILL: Final = 1_000_000
"""Records per second; no partition is filled faster, because events have hundreds of bytes."""


class TopicIds:
    """The ids of some topics, requested with a client of its own. Many tasks of one event loop may use it at once."""

    def __init__(self, bootstrap_servers: str, topics: Iterable[str], client_id: str, security: dict[str, Any]) -> None:
        """`security` as of `stream.kafka.security.client_options`."""
        self._topics = tuple(topics)
        self._client = MetadataClient(bootstrap_servers, client_id, security)
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
                self._ids = await self._ask()
                self._asked = began
            return self._ids

    async def close(self) -> None:
        """Disconnect."""
        async with self._lock:
            await self._client.close()

    async def _ask(self) -> dict[str, bytes]:
        answer = await self._client.topics(self._topics)
        return {topic.name: topic.id for topic in answer if topic.error == 0 and topic.id is not None}
