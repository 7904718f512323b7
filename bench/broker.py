"""Create topics and fill them."""

import asyncio
from collections.abc import Iterable, Mapping
from itertools import islice
from zlib import crc32

from aiokafka import AIOKafkaProducer

from bench.dataset import Record
from stream.kafka.topics import Topic, create_topics


async def fill(bootstrap_servers: str, topics: Mapping[str, str], records: Iterable[Record], partitions: int) -> None:
    """Create topics (by the records' `topic`) and produce into them, in order within a partition."""
    await create_topics(bootstrap_servers, [Topic(name, partitions) for name in topics.values()])
    async with producer(bootstrap_servers) as sender:
        left = iter(records)
        while chunk := list(islice(left, 20_000)):
            await asyncio.gather(
                *[
                    await sender.send(topics[topic], value, key=key, partition=crc32(key) % partitions)
                    for topic, key, value in chunk
                ]
            )


def producer(bootstrap_servers: str) -> AIOKafkaProducer:
    """A producer with the settings of a typical shop: small batches, sent soon."""
    return AIOKafkaProducer(bootstrap_servers=bootstrap_servers, linger_ms=5, max_batch_size=128 * 1024)
