"""Workers as separate processes, and what tests do with them."""

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
"""Seconds to wait for any condition, enough for a busy machine."""


_START = "from stream.cli.root import cli; cli()"


def environment(settings: Settings) -> dict[str, str]:
    """The environment variables for these settings, with lists and tables in the form that users write."""
    given = settings.model_dump(mode="json", exclude_defaults=True)
    given |= {name: settings.password(name) for name in given if is_secret(name)}
    return {"PATH": os.environ["PATH"]} | {f"UPSELL_{name.upper()}": _written(value) for name, value in given.items()}


def _written(value: object) -> str:
    if not isinstance(value, list):
        return str(value)
    return json.dumps(value) if any(isinstance(part, dict) for part in value) else ",".join(map(str, value))


class Worker:
    """One worker process; its output is in `log`."""

    def __init__(self, settings: Settings, log: Path, code: Path | None = None, before: str | None = None) -> None:
        """`code`: directory with the code to run, where it is not this version's. `before`: statements to execute first, which set shorter times."""
        self.log = log
        self._stopping = False
        with log.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, *(["-m", "stream"] if before is None else ["-c", f"{before}; {_START}"]), "worker"],
                env=environment(settings) | ({"PYTHONPATH": str(code)} if code else {}),
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
        """URL of its web server. Raises `IndexError` before it is logged."""
        return self.said.partition("rates at ")[2].split()[0]

    async def get(self, path: str) -> str:
        """Fetch a page of its web server."""

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
        """The shards that it has claimed and not released, by its log."""
        shards: set[str] = set()
        for line in self.said.splitlines():
            shard, _, what = line.partition(" INFO stream.")[2].partition(": ")[2].partition(": ")
            if what.startswith("claimed"):
                shards.add(shard)
            elif what in ("released", "let go"):  # as the version before says it
                shards.discard(shard)
        return shards if self.process.poll() is None else set()

    @property
    def wanted(self) -> bool:
        """Whether no test has asked it to end."""
        return not self._stopping

    def check(self) -> None:
        """Fail if it ended by itself."""
        if self.process.poll() is not None and self.wanted:
            raise AssertionError(f"a worker ended with {self.process.returncode}:\n{self.said}")

    async def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Ask it to end, and return its exit status."""
        self._stopping = True
        self.process.send_signal(number)
        return await asyncio.to_thread(self.process.wait, LIMIT)

    def pause(self) -> None:
        """Freeze it (SIGSTOP)."""
        self.process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        self.process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        self._stopping = True
        self.process.kill()
        self.process.wait()


class Group:
    """The workers of one application. Other tests may use the same servers."""

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
        """Create the topics with these numbers of partitions. Without this the workers create them."""
        await create_topics(
            self.settings.kafka_bootstrap_servers,
            [Topic(self.settings.checkout_topic, checkout), Topic(self.settings.subscription_topic, subscription)],
        )

    async def recreate_topic(self, topic: str) -> None:
        """Delete a topic and create an empty one with the same name and one partition."""
        async with _admin(self.settings.kafka_bootstrap_servers) as admin:
            await admin.delete_topics([topic])
            async with asyncio.timeout(LIMIT):
                while topic in await admin.list_topics():  # noqa: ASYNC110 - Kafka sends no event when it is done
                    await asyncio.sleep(0.05)
        await create_topics(self.settings.kafka_bootstrap_servers, [Topic(topic, 1)])

    async def delete_records(self, topic: str, before: int) -> None:
        """Delete the records before an offset in the first partition of a topic, as retention would."""
        async with _admin(self.settings.kafka_bootstrap_servers) as admin:
            await admin.delete_records({TopicPartition(topic, 0): RecordsToDelete(before)})

    def start(self, code: Path | None = None, before: str | None = None) -> Worker:
        """Start a worker, of this version or of the one whose code is in a directory; `before` as of `Worker`."""
        worker = Worker(self.settings, self._directory / f"worker-{len(self.workers)}.log", code, before)
        self.workers.append(worker)
        return worker

    async def begin(self, events: Iterable[Sent]) -> Worker:
        """Create topics of one partition, start a worker, and wait until it has applied these events."""
        await self.create_topics(1, 1)
        worker = self.start()
        await self.send(events)
        await self.applied()
        return worker

    async def send(self, events: Iterable[Sent], pause: float = 0.0, compression: str | None = None) -> None:
        """Send events, with a pause in seconds after every hundred."""
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
        """Wait until the tables have the totals of everything that was sent."""
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
        """Wait until a worker logs that the first shard of a topic is halted, and return the reason."""
        await self.until_said(worker, f"{topic}/0: halted: ")
        return worker.said.partition(f"{topic}/0: halted: ")[2].splitlines()[0]

    async def until_said(self, worker: Worker, text: str) -> None:
        """Wait until a worker has logged this text."""
        await self.until(lambda: text in worker.said)

    async def until_committed(self, more: int) -> None:
        """Wait until the shards of the checkout topic have committed this many more records."""
        tables = connect(self.settings)
        shards = [ShardId(self.settings.checkout_topic, number) for number in range(64)]

        async def committed() -> int:
            return sum(owner.offset or 0 for owner in await tables.owners(shards))

        try:
            goal = await committed() + more
            async with asyncio.timeout(LIMIT):
                while await committed() < goal:
                    self.check()
                    await asyncio.sleep(0.02)
        finally:
            await tables.close()

    async def until_shared(self, condition: Callable[[list[int]], bool]) -> None:
        """Wait until the result of `shares` satisfies a condition."""
        await self.until(lambda: condition(self.shares()))

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until a condition is true. Fails if a worker ends by itself or `LIMIT` passes."""
        async with asyncio.timeout(LIMIT):
            while not condition():
                self.check()
                await asyncio.sleep(0.05)

    def shares(self) -> list[int]:
        """Number of shards of each running worker, largest first."""
        running = [worker for worker in self.workers if worker.process.poll() is None]
        return sorted((len(worker.shards) for worker in running), reverse=True)

    def check(self) -> None:
        """Fail if a worker ended by itself."""
        for worker in self.workers:
            worker.check()


@contextmanager
def group(bootstrap_servers: str, redis_url: str, prefix: str, directory: Path, **settings) -> Iterator[Group]:
    """A group whose workers are killed at the end of the block. Their logs are printed, so that a failed test shows them."""
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
    """All records of a topic, partition by partition."""
    async with AIOKafkaConsumer(bootstrap_servers=bootstrap_servers, auto_offset_reset="earliest") as consumer:
        await consumer._client.force_metadata_update()
        await consumer.topics()
        partitions = [TopicPartition(topic, number) for number in sorted(consumer.partitions_for_topic(topic))]
        consumer.assign(partitions)
        records = []
        # The end of the log comes from the fetches: the embedded broker answers a direct request for it wrongly.
        behind = set(partitions)
        while behind:
            for fetched in (await consumer.getmany(*behind, timeout_ms=200)).values():
                records += fetched
            for tp in list(behind):
                end = consumer.highwater(tp)
                if end is not None and await consumer.position(tp) >= end:
                    behind.remove(tp)
        return records


async def until_ready(worker, status, *texts):
    """Wait until a worker has this readiness, with these texts in its reasons."""
    found = (0, "")
    try:
        async with asyncio.timeout(LIMIT):
            while found[0] != status or not all(text in found[1] for text in texts):
                worker.check()
                await asyncio.sleep(0.1)
                if "rates at " in worker.said:
                    found = await worker.readiness()
    except TimeoutError:
        raise AssertionError(found) from None
