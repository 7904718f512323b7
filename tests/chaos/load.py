"""What the chaos run sends: the records of a simulated shop, and bad records, which are known by their offset."""

import asyncio
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import chain, cycle
from random import Random

import msgspec
from aiokafka import AIOKafkaProducer

from stream.events.fields import parse_time
from stream.settings import Settings
from stream.simulate.record import Emitted
from stream.simulate.shop import Shop, ShopSettings

RATE = 20.0
"""Events per simulated second."""
CLOCKS = (0, 270, 540)
"""Seconds that the producers' clocks are ahead. They differ by nine minutes; a record may be ten minutes ahead."""
LARGEST = 4 << 20
"""Largest record that Kafka accepts, in bytes as sent."""
BOMB = 48 << 20
"""Uncompressed bytes of a record that has a few kilobytes compressed."""
MEBIBYTE = 1 << 20


@dataclass(frozen=True)
class Planted:
    """One record of the run."""

    topic: str
    key: bytes
    value: bytes
    at: int
    """When it arrives in the simulation, milliseconds."""
    poison: bool


def records(settings: Settings, events: int, seed: int) -> Iterator[Planted]:
    """Records of a shop that ends about now: 5 % duplicates, 1 % bad records, up to an hour late, from producers with different clocks."""
    opening = datetime.now(UTC) - timedelta(seconds=events / RATE)
    shop = Shop(
        ShopSettings(seed=seed, rate=RATE, duplicates=0.05, disorder_seconds=3600, poison=0.01, daily_rhythm=0),
        opening,
    )
    topics = {"checkout": settings.checkout_topic, "subscription": settings.subscription_topic}
    clocks = Random(f"clocks {seed}")
    for record in chain(shop.events(events), shop.flush()):
        ahead = clocks.choice(CLOCKS)
        value = record.value if record.poison else _ahead(record, ahead)
        at = int(record.arrival.timestamp() * 1000)
        yield Planted(topics[record.topic], record.key, value, at, record.poison is not None)


def _ahead(record: Emitted, seconds: int) -> bytes:
    event = msgspec.json.decode(record.value)
    time = datetime.fromtimestamp(parse_time(event["time"]) / 1_000_000, UTC) + timedelta(seconds=seconds)
    event["time"] = time.isoformat(timespec="milliseconds")
    return msgspec.json.encode(event)


class Sender:
    """Sends records. Keeps the good ones in order, and the offsets of the bad ones.

    A record has the timestamp of the moment at which it is sent, as in production, because figures are behind if records that wait have old ones; or that of
    its arrival in the simulation, if that is later.
    """

    def __init__(
        self, bootstrap_servers: str, planted: Iterator[Planted], acknowledged: Callable[[str, int, int], None]
    ) -> None:
        """`acknowledged` is called with topic, partition and offset of each record, once Kafka has it."""
        self.good: list[bytes] = []
        self.poison: set[tuple[str, int, int]] = set()
        self.sent = 0
        self._planted = planted
        self._acknowledged = acknowledged
        self._options = {
            "bootstrap_servers": bootstrap_servers,
            "enable_idempotence": True,
            "linger_ms": 5,
            "max_request_size": 2 * BOMB,
            # Long enough for a restart of the broker.
            "request_timeout_ms": 120_000,
        }

    async def __aenter__(self):
        self._producer = AIOKafkaProducer(**self._options)
        self._gzip_producer = AIOKafkaProducer(**self._options, compression_type="gzip")
        await self._producer.start()
        await self._gzip_producer.start()
        return self

    async def __aexit__(self, *error):
        await self._producer.stop()
        await self._gzip_producer.stop()

    async def send(self, number: int, seconds: float) -> None:
        """Send the next `number` records, evenly over about `seconds`. Returns when Kafka has acknowledged them."""
        pending = []
        pause = seconds / max(1, number // 200)
        for record in self._planted:
            at = max(record.at, time.time_ns() // 1_000_000)
            future = await self._producer.send(record.topic, record.value, key=record.key, timestamp_ms=at)
            future.add_done_callback(self._acknowledge)
            pending.append((record, future))
            if len(pending) % 200 == 0:
                await asyncio.sleep(pause)
            if len(pending) == number:
                break
        for record, future in pending:
            self._note(record.poison, await future)
        self.good += [record.value for record, _ in pending if not record.poison]
        self.sent += len(pending)

    async def plant(self, topic: str, value: bytes, *, partition: int | None = None, compress: bool = False) -> None:
        """Send one bad record."""
        producer = self._gzip_producer if compress else self._producer
        future = await producer.send(topic, value, key=b"planted", partition=partition)
        future.add_done_callback(self._acknowledge)
        self._note(True, await future)

    def _acknowledge(self, future: asyncio.Future) -> None:
        if not future.cancelled() and future.exception() is None:
            where = future.result()
            self._acknowledged(where.topic, where.partition, where.offset)

    def _note(self, poison, where) -> None:
        if poison:
            self.poison.add((where.topic, where.partition, where.offset))


def large_values() -> Iterator[bytes]:
    """Values of more than 1 MiB, all of different length."""
    return (b'{"large": "' + b"x" * (MEBIBYTE + number) + b'"}' for number in cycle(range(1, 1000)))
