"""Workers as processes of their own, and what a test does around them."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete
from support.traffic import Sent, expected, found

from stream.core.shard.write_set import ShardId
from stream.kafka.topics import Topic, create_topics
from stream.settings import Settings, is_secret
from stream.tables.interface import TablesUnavailableError
from stream.tables.redis import connect

LIMIT = 120.0
"""Seconds for anything to come true, on a busy machine."""


def environment(settings: Settings) -> dict[str, str]:
    """The environment of a process of the product's, lists and tables written as users write them."""
    given = settings.model_dump(mode="json", exclude_defaults=True)
    given |= {name: settings.password(name) for name in given if is_secret(name)}
    return {"PATH": os.environ["PATH"]} | {f"UPSELL_{name.upper()}": _written(value) for name, value in given.items()}


def _written(value: object) -> str:
    if not isinstance(value, list):
        return str(value)
    return json.dumps(value) if any(isinstance(part, dict) for part in value) else ",".join(map(str, value))


class Worker:
    """One process; what it says is in `log`."""

    def __init__(self, settings: Settings, log: Path) -> None:
        self.log = log
        self._stopping = False
        with log.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "stream", "worker"],
                env=environment(settings),
                cwd=log.parent,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    @property
    def said(self) -> str:
        return self.log.read_text(errors="replace")

    @property
    def url(self) -> str:
        """Where it serves, once it said so."""
        return self.said.partition("rates at ")[2].split()[0]

    async def get(self, path: str) -> str:
        """A page of its web server."""

        def read() -> str:
            with urllib.request.urlopen(self.url + path, timeout=30) as answer:
                return answer.read().decode()

        return await asyncio.to_thread(read)

    async def readiness(self) -> tuple[int, str]:
        """Status and body of its `/readyz`."""
        try:
            return 200, await self.get("/readyz")
        except urllib.error.HTTPError as answer:
            with answer:
                return answer.code, answer.read().decode()

    @property
    def shards(self) -> set[str]:
        """What it has claimed and not let go, by its own account."""
        shards: set[str] = set()
        for line in self.said.splitlines():
            shard, _, what = line.partition(" INFO stream.")[2].partition(": ")[2].partition(": ")
            if what.startswith("claimed"):
                shards.add(shard)
            elif what == "let go":
                shards.discard(shard)
        return shards if self.process.poll() is None else set()

    @property
    def wanted(self) -> bool:
        """Nobody has asked it to end."""
        return not self._stopping

    def check(self) -> None:
        """Fail if it ended without being asked to."""
        if self.process.poll() is not None and self.wanted:
            raise AssertionError(f"a worker ended with {self.process.returncode}:\n{self.said}")

    async def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Ask it to end; returns its exit status."""
        self._stopping = True
        self.process.send_signal(number)
        return await asyncio.to_thread(self.process.wait, LIMIT)

    def pause(self) -> None:
        """Freeze it."""
        self.process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        self.process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        self._stopping = True
        self.process.kill()
        self.process.wait()


class Group:
    """The workers of one application, on servers that others may use too."""

    def __init__(self, bootstrap_servers: str, redis_url: str, prefix: str, directory: Path, **settings) -> None:
        self.settings = Settings(
            kafka_bootstrap_servers=bootstrap_servers,
            redis_url=redis_url,
            app_id=f"{prefix}app",
            redis_prefix=prefix,
            checkout_topic=f"{prefix}checkout",
            subscription_topic=f"{prefix}subscription",
            outcome_topic=f"{prefix}outcomes",
            dead_letter_topic=f"{prefix}dead-letters",
            http_port=0,
            **{"kafka_session_timeout": 6.0, **settings},
        )
        self.sent: list[Sent] = []
        self.workers: list[Worker] = []
        self._directory = directory
        self._topics = {
            "checkout-events": self.settings.checkout_topic,
            "subscription-events": self.settings.subscription_topic,
        }

    async def create_topics(self, checkout: int, subscription: int) -> None:
        """Topics with so many partitions; without this the workers make their own."""
        await create_topics(
            self.settings.kafka_bootstrap_servers,
            [Topic(self.settings.checkout_topic, checkout), Topic(self.settings.subscription_topic, subscription)],
        )

    async def recreate_topic(self, topic: str) -> None:
        """Delete a topic and make an empty one of the same name, with one partition."""
        async with _admin(self.settings.kafka_bootstrap_servers) as admin:
            await admin.delete_topics([topic])
            async with asyncio.timeout(LIMIT):
                while topic in await admin.list_topics():  # noqa: ASYNC110 - Kafka tells nobody when it is done
                    await asyncio.sleep(0.05)
        await create_topics(self.settings.kafka_bootstrap_servers, [Topic(topic, 1)])

    async def delete_records(self, topic: str, before: int) -> None:
        """Have the first partition of a topic forget what lies before an offset, as retention would."""
        async with _admin(self.settings.kafka_bootstrap_servers) as admin:
            await admin.delete_records({TopicPartition(topic, 0): RecordsToDelete(before)})

    def start(self) -> Worker:
        worker = Worker(self.settings, self._directory / f"worker-{len(self.workers)}.log")
        self.workers.append(worker)
        return worker

    async def begin(self, events: Iterable[Sent]) -> Worker:
        """A worker on topics of one partition, which has applied these events."""
        await self.create_topics(1, 1)
        worker = self.start()
        await self.send(events)
        await self.applied()
        return worker

    async def send(self, events: Iterable[Sent], pause: float = 0.0, compression: str | None = None) -> None:
        """Send, waiting so long after every hundred events."""
        async with AIOKafkaProducer(
            bootstrap_servers=self.settings.kafka_bootstrap_servers,
            linger_ms=5,
            max_batch_size=100_000,
            compression_type=compression,
        ) as producer:
            for event in events:
                await producer.send(self._topics[event.topic], event.value, key=event.key)
                self.sent.append(event)
                if pause and len(self.sent) % 100 == 0:
                    await producer.flush()
                    await asyncio.sleep(pause)

    async def applied(self) -> None:
        """Wait until the tables hold all that was sent, and nothing else."""
        want = expected(self.sent)
        have = None
        tables = connect(self.settings)
        try:
            async with asyncio.timeout(LIMIT):
                while have != want:
                    self.check()
                    with suppress(TablesUnavailableError):
                        have = found(await tables.summaries())
                    await asyncio.sleep(0.05)
        except TimeoutError:
            assert have == want
        finally:
            await tables.close()

    async def until_halted(self, worker: Worker, topic: str) -> str:
        """Wait until a worker says that the first shard of a topic is halted; returns why."""
        async with asyncio.timeout(LIMIT):
            while f"{topic}/0: halted: " not in worker.said:
                worker.check()
                await asyncio.sleep(0.05)
        return worker.said.partition(f"{topic}/0: halted: ")[2].splitlines()[0]

    async def until_committed(self, more: int) -> None:
        """Wait until the shards of the checkout topic are so many records further than now."""
        tables = connect(self.settings)
        shards = [ShardId(self.settings.checkout_topic, number) for number in range(64)]

        async def reached() -> int:
            return sum(owner.offset or 0 for owner in await tables.owners(shards))

        try:
            goal = await reached() + more
            async with asyncio.timeout(LIMIT):
                while await reached() < goal:
                    self.check()
                    await asyncio.sleep(0.02)
        finally:
            await tables.close()

    async def until_shared(self, condition: Callable[[list[int]], bool]) -> None:
        """Wait until the numbers of shards that the running workers hold, most first, are so."""
        async with asyncio.timeout(LIMIT):
            while not condition(self.shares()):
                self.check()
                await asyncio.sleep(0.05)

    def shares(self) -> list[int]:
        running = [worker for worker in self.workers if worker.process.poll() is None]
        return sorted((len(worker.shards) for worker in running), reverse=True)

    def check(self) -> None:
        for worker in self.workers:
            worker.check()


@contextmanager
def group(bootstrap_servers: str, redis_url: str, prefix: str, directory: Path, **settings) -> Iterator[Group]:
    """A group whose workers end with the block; what they said is shown when the test fails."""
    workers = Group(bootstrap_servers, redis_url, prefix, directory, **settings)
    try:
        yield workers
    finally:
        for worker in workers.workers:
            worker.kill()
            print(f"--- {worker.log.name}\n{worker.said[-4000:]}")  # noqa: T201 - pytest shows it when a test fails


@asynccontextmanager
async def _admin(bootstrap_servers: str) -> AsyncIterator[AIOKafkaAdminClient]:
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap_servers)
    await admin.start()
    try:
        yield admin
    finally:
        await admin.close()


async def read_topic(bootstrap_servers: str, topic: str) -> list:
    """Every record that the topic holds now, partition by partition."""
    async with AIOKafkaConsumer(bootstrap_servers=bootstrap_servers, auto_offset_reset="earliest") as consumer:
        await consumer._client.force_metadata_update()
        await consumer.topics()
        partitions = [TopicPartition(topic, number) for number in sorted(consumer.partitions_for_topic(topic))]
        consumer.assign(partitions)
        records = []
        # The end of a log is known from fetches only: the embedded broker's answer to who asks for it is another one.
        behind = set(partitions)
        while behind:
            for fetched in (await consumer.getmany(*behind, timeout_ms=200)).values():
                records += fetched
            for tp in list(behind):
                end = consumer.highwater(tp)
                if end is not None and await consumer.position(tp) >= end:
                    behind.remove(tp)
        return records
