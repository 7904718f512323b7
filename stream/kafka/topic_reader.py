"""Reads a topic from outside the consumer group: from a time on, or its newest records, without reading what lies before.

Rules: nothing is committed, and no topic is created. What is written after the reading began is left out.
"""

from __future__ import annotations

import time
from collections import defaultdict
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaTimeoutError

from stream.kafka.topic_lookup import check_usable, look_up

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Mapping

SILENCE: Final = 30.0
"""Seconds without any answer after which reading fails."""
_FETCHED: Final = 16 * 1024 * 1024
"""Bytes of one partition in one answer, about. Not every broker returns a message that is larger."""
_MOST: Final = 10_000
"""Records of one partition that are read before it is looked whether they are enough."""


@asynccontextmanager
async def topic_reader(
    bootstrap_servers: str, security: dict[str, Any], topics: Iterable[str]
) -> AsyncIterator[TopicReader]:
    """A reader of all partitions of these topics. `security` as of `stream.kafka.security.client_options`.

    Raises:
        TopicUnusableError: a topic does not exist, or this user may not see it.
        KafkaError: Kafka cannot be reached, or refuses.
    """
    found = await look_up(bootstrap_servers, security, topics)
    for topic in found.values():
        check_usable(topic)
    partitions = [TopicPartition(topic.name, number) for topic in found.values() for number in range(topic.partitions)]
    async with AIOKafkaConsumer(
        bootstrap_servers=bootstrap_servers,
        auto_offset_reset="earliest",
        enable_auto_commit=False,
        max_partition_fetch_bytes=_FETCHED,
        fetch_max_wait_ms=100,
        **security,
    ) as consumer:
        consumer.assign(partitions)
        yield TopicReader(consumer, partitions)


class TopicReader:
    """Made by `topic_reader`. One call at a time."""

    def __init__(self, consumer: AIOKafkaConsumer, partitions: list[TopicPartition]) -> None:
        self._consumer = consumer
        self._partitions = partitions

    async def beginnings(self) -> dict[TopicPartition, int]:
        """The offset of the first record that Kafka still has, for each partition."""
        beginnings: dict[TopicPartition, int] = await self._consumer.beginning_offsets(self._partitions)
        return beginnings

    async def ends(self) -> dict[TopicPartition, int]:
        """The offset after the newest record, for each partition."""
        ends: dict[TopicPartition, int] = await self._consumer.end_offsets(self._partitions)
        return ends

    async def records(self, since: int | None, stopped: Callable[[], bool]) -> AsyncGenerator[ConsumerRecord]:
        """All records with a timestamp of `since` (microseconds) or later, those of one partition in their order; until `stopped`.

        Raises:
            KafkaError: Kafka refuses to be read, or has not answered for 30 s.
        """
        async for record in self._read(await self._starts(since), None, stopped):
            if since is None or record.timestamp * 1_000 >= since:
                yield record

    async def newest(
        self, count: int, since: int | None = None, wanted: Callable[[ConsumerRecord], bool] = lambda _: True
    ) -> dict[TopicPartition, list[ConsumerRecord]]:
        """The newest wanted records of each partition, at most `count` of each, newest first; `since` as of `records`.

        The log is read backwards, so what is older than the result is not read. Raises as `records`.
        """
        first = await self._starts(since)
        found: dict[TopicPartition, list[ConsumerRecord]] = {partition: [] for partition in self._partitions}
        size = count
        ends = await self.ends()
        starts = {partition: max(start, ends[partition] - size) for partition, start in first.items()}
        stops = None
        while starts:
            fetched: defaultdict[TopicPartition, list[ConsumerRecord]] = defaultdict(list)
            async for record in self._read(starts, stops, lambda: False):
                if (since is None or record.timestamp * 1_000 >= since) and wanted(record):
                    fetched[TopicPartition(record.topic, record.partition)].append(record)
            for partition, records in fetched.items():
                found[partition] = (found[partition] + records[::-1])[:count]
            stops = {
                partition: start
                for partition, start in starts.items()
                if len(found[partition]) < count and start > first[partition]
            }
            size = min(2 * size, _MOST)
            starts = {partition: max(first[partition], stop - size) for partition, stop in stops.items()}
        return found

    async def _starts(self, since: int | None) -> dict[TopicPartition, int]:
        """Where to begin. Partitions without a record since then are left out."""
        if since is None:
            return await self.beginnings()
        times = dict.fromkeys(self._partitions, max(0, since // 1_000))
        found = await self._consumer.offsets_for_times(times)
        return {partition: place.offset for partition, place in found.items() if place is not None}

    async def _read(
        self,
        starts: Mapping[TopicPartition, int],
        stops: Mapping[TopicPartition, int] | None,
        stopped: Callable[[], bool],
    ) -> AsyncGenerator[ConsumerRecord]:
        """The records from the starts to before the stops; None for the ends of the partitions as they are now."""
        consumer = self._consumer
        left = set(starts)
        until = dict(stops or await self.ends())
        # Some brokers return too low an end offset, and the right one with the first fetch.
        unseen = set(left) if stops is None else set()
        for partition, start in starts.items():
            consumer.seek(partition, start)
        answered = time.monotonic()
        while left and not stopped():
            fetched = await consumer.getmany(*left, timeout_ms=200)
            before = len(left) + len(unseen)
            for partition in list(left):
                if partition in unseen and (end := consumer.highwater(partition)) is not None:
                    until[partition] = max(until[partition], end)
                    unseen.discard(partition)
                for record in fetched.get(partition, ()):
                    if record.offset < until[partition] and not stopped():
                        yield record
                if partition not in unseen and await consumer.position(partition) >= until[partition]:
                    left.discard(partition)
            if fetched or len(left) + len(unseen) < before:
                answered = time.monotonic()
            elif time.monotonic() - answered > SILENCE:
                topics = ", ".join(sorted({partition.topic for partition in left}))
                raise KafkaTimeoutError(f"no answer for {SILENCE:.0f} s while {topics} was read")
