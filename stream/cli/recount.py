"""What the core computes from the records in the input topics, without a worker: the figures that the workers must have.

Rules: shards share nothing, so each partition is counted by itself, in the order of its log. Windows stand at the moment of the worker's windows.
"""

from bisect import bisect_right
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from operator import attrgetter
from typing import Any, Final

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition

from stream.core.config import Window
from stream.core.counting.figures import Figures, ShardFigures
from stream.core.counting.summary import Summary
from stream.core.offline import Offline
from stream.core.result import TOO_MANY_ORDERS
from stream.core.shard.write_set import ShardId
from stream.events.decode import Decoder, Rejected
from stream.kafka.security import client_options
from stream.settings import Settings

_WAIT_MS: Final = 200


class Recount:
    """Figures of records that are given one by one."""

    def __init__(self, settings: Settings, moments: Mapping[ShardId, int]) -> None:
        """`moments`: for each shard, where the windows of its worker stand, microseconds since the epoch."""
        self._decoder = Decoder(settings.input_topics, settings.future, require_key=settings.require_key)
        self._results: Counter[str] = Counter()
        self._shards = {
            shard: Offline(settings.core(), settings.registry(), moment, forget=True)
            for shard, moment in moments.items()
        }

    def add(self, record: ConsumerRecord) -> None:
        """Apply one record. Those of a partition must come in the order of its log."""
        event = self._decoder.decode(record)
        if isinstance(event, Rejected):
            self._results["rejected"] += 1
            return
        step = self._shards[ShardId(record.topic, record.partition)].apply(event)
        self._results["rejected" if step is TOO_MANY_ORDERS else step.result] += 1

    def summary(self, *, ever: bool) -> dict[str, Any]:
        """The summary, as `classify --summary --json` prints it. `ever`: with all customers, otherwise with those of the longest window."""
        shards = (shard for offline in self._shards.values() for shard in offline.shard_figures())
        return summary_of(self._results, shards if ever else map(recent, shards))


def summary_of(results: Mapping[str, int], shards: Iterable[ShardFigures]) -> dict[str, Any]:
    """The summary of shards, with the number of records by result."""
    return {
        "events": sum(results.values()),
        "rejected": results.get("rejected", 0),
        "duplicates": results.get("duplicate", 0),
        **Figures(shards).summary(),
    }


def longest_window(summary: Summary) -> tuple[int, Window]:
    """The longest window of a shard, and its place among them."""
    windows = [Window.parse(name) for name, _ in summary.windows]
    return max(enumerate(windows), key=lambda window: window[1].length)


def recent(shard: ShardFigures) -> ShardFigures:
    """The same shard, with the customers of the longest window in place of all customers: a worker forgets the others."""
    place, _ = longest_window(shard.summary)
    customers = {name: counts[place] for name, counts in shard.customers.items()}
    return ShardFigures(shard.summary, shard.customers, customers)


def _consumer(settings: Settings) -> AIOKafkaConsumer:
    return AIOKafkaConsumer(
        bootstrap_servers=settings.kafka_bootstrap_servers,
        auto_offset_reset="earliest",
        enable_auto_commit=False,
        **client_options(settings),
    )


async def ends_of(settings: Settings, shards: Iterable[ShardId]) -> dict[ShardId, int]:
    """For each partition, the offset after its last record.

    Raises:
        KafkaError: Kafka cannot be reached, or refuses.
    """
    async with _consumer(settings) as consumer:
        places = [TopicPartition(*shard) for shard in shards]
        consumer.assign(places)
        ends: dict[TopicPartition, int] = await consumer.end_offsets(places)
        for place, end in ends.items():
            consumer.seek(place, end)
        # Some brokers return too low an end offset there, and the right one with the first fetch.
        while any(consumer.highwater(place) is None for place in places):
            await consumer.getmany(timeout_ms=_WAIT_MS)
        return {ShardId(*place): max(end, consumer.highwater(place)) for place, end in ends.items()}


async def records(settings: Settings, ends: Mapping[ShardId, int]) -> AsyncIterator[ConsumerRecord]:
    """All records before these offsets, each partition in the order of its log.

    Raises:
        KafkaError: Kafka cannot be reached, or refuses.
    """
    async with _consumer(settings) as consumer:
        left = {TopicPartition(*shard): end for shard, end in ends.items() if end}
        consumer.assign(list(left))
        while left:
            for partition, fetched in (await consumer.getmany(*left, timeout_ms=_WAIT_MS)).items():
                for record in fetched:
                    if record.offset < left[partition]:
                        yield record
            left = {place: end for place, end in left.items() if await consumer.position(place) < end}


def contains(ranges: Sequence[range], offset: int) -> bool:
    """Whether an offset is in one of the ranges, which are sorted and do not overlap."""
    place = bisect_right(ranges, offset, key=attrgetter("start"))
    return place > 0 and offset in ranges[place - 1]
