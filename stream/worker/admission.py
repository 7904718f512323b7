"""Which shards this application may claim: those of its own topics, and of those the partitions that it knows.

Rules: decided from what Redis holds, before each claim. A new partition changes where keys go: the events of a checkout that is under way would be in two
partitions and count as two checkouts. So it is not read before an operator has accepted it. And two applications with one `app_id` would add up their
figures: the one that comes later is refused while the other commits.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Final

from stream.core.config import MICROSECONDS
from stream.core.counting.summary import decode_summary
from stream.kafka.cursor import ShardHaltedError
from stream.settings import variable

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from stream.core.event import Journey
    from stream.core.shard.write_set import ShardId
    from stream.tables.interface import Application, KnownTopic, Tables

ACTIVE: Final = 600 * MICROSECONDS
"""A shard that committed within this time, in microseconds, belongs to an application that runs."""
_FRESH: Final = 5.0
"""Seconds for which what was read is used: shards that are assigned together share one read."""


class Admission:
    """Checks shards before they are claimed. Many tasks of one event loop may use it at once."""

    def __init__(
        self,
        tables: Tables,
        journeys: Mapping[str, Journey],
        app_id: str,
        partitions: Callable[[str], int | None],
    ) -> None:
        """`journeys` by input topic; `partitions` returns how many a topic has in Kafka, None if that is not known."""
        self._tables = tables
        self._journeys = journeys
        self._app_id = app_id
        self._partitions = partitions
        self._unregistered = set(journeys)
        """Topics whose number of partitions may not be stored yet."""
        self._lock = asyncio.Lock()
        self._read: tuple[float, int, Application] | None = None
        """When the application was read, by the monotonic clock, and by the tables' clock."""

    async def check(self, shard: ShardId) -> None:
        """Return if the shard may be claimed.

        Raises:
            ShardHaltedError: it must not be; checked again later, it may be.
            TablesUnavailableError: from the tables.
        """
        async with self._lock:
            now, application = await self._application()
            self._check_topics(application, now)
            known = await self._register(shard.topic, application.topics.get(shard.topic))
            if known is None or shard.partition < known.partitions:
                return
            count = self._partitions(shard.topic) or shard.partition + 1
            if not _has_applied(application, shard.topic):
                await self._tables.register_topic(shard.topic, known.journey, count, replace=True)
                self._read = None
                return
        raise ShardHaltedError(
            f"topic {shard.topic} has grown from {known.partitions} to {max(count, shard.partition + 1)} partitions. The new ones are not read: keys have "
            "moved to them, and a checkout or subscription that is under way would be split. What to do: "
            "docs/runbooks/UpsellPartitionsGrown.md",
            reason="partitions_grown",
        )

    async def register(self) -> None:
        """Store how many partitions the input topics have, where nothing is stored yet.

        Raises:
            TablesUnavailableError: from the tables.
        """
        async with self._lock:
            if self._unregistered:
                now, application = await self._application()
                if self._other_topics(application, now):
                    return
                for topic in sorted(self._unregistered):
                    await self._register(topic, application.topics.get(topic))

    async def _register(self, topic: str, known: KnownTopic | None) -> KnownTopic | None:
        if known is None and (count := self._partitions(topic)) is not None:
            known = await self._tables.register_topic(topic, self._journeys[topic], count)
            self._read = None
        if known is not None:
            self._unregistered.discard(topic)
        return known

    async def _application(self) -> tuple[int, Application]:
        if self._read is None or time.monotonic() - self._read[0] > _FRESH:
            self._read = time.monotonic(), await self._tables.now(), await self._tables.application()
        return self._read[1:]

    def _other_topics(self, application: Application, now: int) -> dict[str, int]:
        """Topics that this worker does not read and that are in use, with the time since their last commit."""
        return {
            each.shard.topic: now - each.committed_at
            for each in application.shards
            if each.shard.topic not in self._journeys and now - each.committed_at < ACTIVE
        }

    def _check_topics(self, application: Application, now: int) -> None:
        if others := self._other_topics(application, now):
            topic, age = min(others.items(), key=lambda item: item[1])
            raise ShardHaltedError(
                f"topic {topic}, which this worker does not read, was committed {max(0, age) // MICROSECONDS} s ago by a worker with the same "
                f"{variable('app_id')}, {self._app_id!r}: the figures of both would be added up. Give one of them another {variable('app_id')}. If {topic} is "
                f"no longer read, stop those workers and run `upsell-stream retire {topic}`",
                reason="other_application",
            )


def _has_applied(application: Application, topic: str) -> bool:
    """Whether any event of the topic was ever applied."""
    return any(
        each.shard.topic == topic and decode_summary(each.summary, each.recent).stream_time
        for each in application.shards
    )
