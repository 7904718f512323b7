"""A worker made of the product's own parts, as `stream.app` makes it, with other clients for the servers.

The product's: shard set, shard tasks, clock, decoder, publisher, the tables with redis-py below them, the consumer's reading and seeking, `watch`.
The test's: Faust's side of the consumer, the membership of the group, and the queue between consumer and agent.
"""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import suppress
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from aiokafka.errors import (
    CorruptRecordException,
    KafkaConnectionError,
    KafkaError,
    NoOffsetForPartitionError,
    OffsetOutOfRangeError,
)
from aiokafka.structs import TopicPartition
from faust.types import TP
from simulation import kafka
from simulation.redis_server import CALL, Call, Link, Redis, SimulatedConnection
from simulation.world import Loop, World

from stream.consumer.batch_consumer import BatchConsumer
from stream.consumer.liveness import LogEnd
from stream.core.shard.write_set import ShardId
from stream.events.decode import Decoder
from stream.kafka.producer import Publisher
from stream.tables.interface import TablesUnavailableError
from stream.tables.redis import connect
from stream.worker.clock import Clock
from stream.worker.context import WorkerContext
from stream.worker.retry import Waiting, retry
from stream.worker.shard_set import ShardSet
from stream.worker.status import Status
from stream.worker.watchdog import watch

if TYPE_CHECKING:
    from collections.abc import Iterable

    from stream.kafka.cursor import Batch, Cursor
    from stream.settings import Settings

CHUNK = 12
"""Records of a partition in a fetch, at most."""
BATCH = 8
"""In a batch."""
POLLED = 24
"""Under way, about."""


class CallCounter:
    """Stands in for the worker's `Counters`: counts their calls by name."""

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}

    def __getattr__(self, name: str) -> Any:
        def count(*_: Any) -> None:
            self.counts[name] = self.counts.get(name, 0) + 1

        return count


class Consumer(BatchConsumer):
    """The transport's consumer, without Faust and without a thread: the client is the broker's lists."""

    flow_active = False
    should_stop = False

    def __init__(self, worker: Worker) -> None:
        self.app = SimpleNamespace(
            consumer_generation_id=0, shards=worker.shards, batch_records=BATCH, polled_records=POLLED
        )
        self._cursors, self._shown, self._fetched_at, self._unreadable_until = {}, {}, {}, {}
        self._isolated_until = 0.0
        self.liveness = SimpleNamespace(log_end=self._log_end)
        self._worker = worker
        self._active: set[TP] = set()
        self._places: dict[TP, int] = {}
        self._more = asyncio.Event()
        self.can_resume_flow = asyncio.Event()
        client = SimpleNamespace(_coordinator=SimpleNamespace(_coordination_task=SimpleNamespace(done=lambda: False)))
        self._thread = SimpleNamespace(_ensure_consumer=lambda: client)
        worker.broker.on_append(self._on_append)

    def _on_append(self) -> None:
        if not self._worker.loop.is_closed():
            self._worker.loop.call_soon(self._more.set)

    async def wait(self, event: asyncio.Event) -> None:
        await event.wait()

    async def revoke(self) -> None:
        """As Faust and `on_partitions_revoked` do."""
        self.flow_active = False
        self.can_resume_flow.clear()
        self._active.clear()
        await self.shards.suspend(kafka.SESSION / 2)

    async def assign(self, partitions: list[TP], generation: int) -> None:
        """As Faust and `on_partitions_assigned` do."""
        self.app.consumer_generation_id = generation
        self._active = set(partitions)
        self._places = {}
        for known in (self._cursors, self._fetched_at, self._unreadable_until):
            known.clear()
        self.shards.assign(ShardId(*partition) for partition in partitions)
        self.flow_active = True
        self.can_resume_flow.set()

    def _get_active_partitions(self) -> set[TP]:
        return self._active

    def _reach(self) -> None:
        if self._worker.unreachable:
            raise KafkaConnectionError

    async def earliest_offsets(self, *partitions: TP) -> dict[TP, int]:
        await asyncio.sleep(self._worker.world.random.uniform(0.001, 0.004))
        self._reach()
        return {TP(*partition): self._worker.broker.logs[TP(*partition)].beginning for partition in partitions}

    async def highwaters(self, *partitions: TP) -> dict[TP, int]:
        await asyncio.sleep(self._worker.world.random.uniform(0.001, 0.004))
        self._reach()
        return {TP(*partition): self._worker.broker.logs[TP(*partition)].end for partition in partitions}

    async def seek_wait(self, partitions: dict[TP, int]) -> None:
        await asyncio.sleep(0.001)
        self._places.update(partitions)

    async def _getmany(self, active_partitions: set[TP], timeout: float) -> dict[TopicPartition, list[Any]]:  # noqa: ASYNC109 - the client's signature
        worker, dice = self._worker, self._worker.world.random
        self._more.clear()
        records = self._take(active_partitions)
        if not records and timeout:
            with suppress(TimeoutError):
                async with asyncio.timeout(timeout):
                    await self._more.wait()
            records = self._take(active_partitions)
        else:
            await asyncio.sleep(dice.uniform(0.0005, 0.003))
        if worker.fetch_errors and dice.random() < worker.fetch_errors:
            raise CorruptRecordException  # after the client moved over the records, which it may do
        return records

    def _take(self, partitions: Iterable[TP]) -> dict[TopicPartition, list[Any]]:
        worker = self._worker
        records: dict[TopicPartition, list[Any]] = {}
        if worker.unreachable:
            return records
        for partition in sorted(partitions):
            log = worker.broker.logs[TP(*partition)]
            if partition not in self._places:
                raise NoOffsetForPartitionError(partition)
            place = self._places[partition]
            if not log.beginning <= place <= log.end:
                raise OffsetOutOfRangeError({TopicPartition(*partition): place})
            if fetched := log.read(place, worker.world.random.randint(1, CHUNK)):
                records[TopicPartition(*partition)] = fetched
                self._places[partition] = fetched[-1].offset + 1
        return records

    def _log_end(self, shard: ShardId) -> LogEnd:
        partition = TP(*shard)
        return LogEnd(self._worker.broker.logs[partition].end, self._places.get(partition))

    def show(self) -> dict[TP, int]:
        """What Faust would commit to Kafka now."""
        offsets = self._filter_committable_offsets([])
        self._shown.update(offsets)
        return offsets


class Worker:
    """One process."""

    def __init__(
        self, number: int, world: World, redis: Redis, broker: kafka.Broker, settings: Settings, cluster: str
    ) -> None:
        self.number = number
        self.world, self.redis, self.broker = world, redis, broker
        self.settings, self.cluster = settings, cluster
        self.loop = Loop(world)
        self.link = Link(world, redis)
        self.unreachable = False
        """Kafka cannot be reached from here."""
        self.fetch_errors = 0.0
        self.losing_batches = 0.0
        """The share of batches that are lost between consumer and agent."""
        self.alive = True
        self.counters = CallCounter()
        self.shards: ShardSet
        self.consumer: Consumer
        self._queue: deque[Batch] = deque()
        self._queued: asyncio.Event
        world.loops.append(self.loop)
        self._main = self.loop.spawn(self._run(), "main")

    def kill(self) -> None:
        """As with SIGKILL."""
        self.alive = False
        self.world.loops.remove(self.loop)
        self.link.cut()

    def stop(self) -> None:
        """As with SIGTERM."""
        self.loop.call_soon(self._stopping.set)

    def freeze(self) -> None:
        self.loop.frozen = True

    def thaw(self) -> None:
        self.loop.frozen = False

    async def _run(self) -> None:
        self._stopping = asyncio.Event()
        try:
            working = asyncio.create_task(self._work())
            stopping = asyncio.create_task(self._stopping.wait())
            await asyncio.wait([working, stopping], return_when=asyncio.FIRST_COMPLETED)
            if working.done():
                await working
            working.cancel()
            await asyncio.wait([working])
        except Exception as error:  # noqa: BLE001 - any error is a problem
            self.die(error)

    def die(self, error: BaseException) -> None:
        self.world.problem(f"worker {self.number} ended: {error!r}")

    async def _work(self) -> None:
        settings = self.settings
        tables = connect(settings)
        tables._pool.connection_class = SimulatedConnection
        tables._pool.connection_kwargs["link"] = self.link
        ask = tables._script

        async def script(name: str, *arguments: Any) -> Any:
            CALL.set(Call(name))
            return await ask(name, *arguments)

        tables._script = script
        clock = Clock(tables)
        await retry(clock.refresh, TablesUnavailableError, Waiting("waiting for Redis"))
        publisher = Publisher("kafka", settings.dead_letter_topic, "simulated", {}, self.counters.dead_letter)
        publisher._connect = self._connect
        await retry(publisher.start, KafkaError, Waiting("waiting for Kafka"))
        journeys = {settings.checkout_topic: "checkout", settings.subscription_topic: "subscription"}
        context = WorkerContext(
            app_id=settings.app_id, cluster=self.cluster, core=settings.core(), labels=settings.registry(), tables=tables, clock=clock,
            decoder=Decoder(journeys, settings.future, require_key=settings.require_key), publisher=publisher, outcome_topic=settings.outcome_topic,
            dead_letter_topic=settings.dead_letter_topic, counters=self.counters, fencing_backoff=2 * kafka.HEARTBEAT,
        )  # fmt: skip
        self.shards = ShardSet(context, journeys, settings.cache_mb * 1_000_000, self.die)
        self.consumer = Consumer(self)
        self._queued = asyncio.Event()
        watching = watch(self.shards, Status(self.shards), clock, self.counters, context.attention)
        parts = [asyncio.create_task(part) for part in (self._belong(), self._read(), self._deliver(), watching)]
        try:
            ended, _ = await asyncio.wait(parts, return_when=asyncio.FIRST_COMPLETED)
            for part in ended:
                part.result()
            raise AssertionError("a part of the worker ended")
        except asyncio.CancelledError:
            # Faust drains before it stops the consumer, and leaves the group in the end.
            await self.shards.suspend(10.0)
            self.broker.group.committed.update(self.consumer.show())
            await self.shards.close(10.0)
            raise
        finally:
            for part in parts:
                part.cancel()
            await asyncio.wait(parts)
            if not self.unreachable:
                self.broker.group.leave(self.number)
            await publisher.stop()
            await tables.close()

    async def _connect(self) -> kafka.Producer:
        producer = kafka.Producer(self.broker, self.world, self.loop)
        await producer.start()
        return producer

    async def _belong(self) -> None:
        """Be a member of the group."""
        group = self.broker.group
        while True:
            await asyncio.sleep(0.005)
            if self.unreachable:
                await asyncio.sleep(0.5)
                continue
            joined: asyncio.Future[tuple[int, list[TP]]] = self.loop.create_future()
            group.join(self.number, lambda *answer, joined=joined: self._answer(joined, answer))
            generation, partitions = await joined
            await self.consumer.assign(partitions, generation)
            while True:
                await asyncio.sleep(kafka.HEARTBEAT)
                if self.unreachable:
                    continue
                group.committed.update(self.consumer.show())
                if not group.heartbeat(self.number, generation):
                    break
            await self.consumer.revoke()

    def _answer(self, future: asyncio.Future[Any], answer: Any) -> None:
        def arrive() -> None:
            if not self.loop.is_closed():
                self.loop.call_soon(lambda: future.done() or future.set_result(answer))

        self.world.after(0.002, arrive)

    async def _read(self) -> None:
        lost: dict[TP, Cursor] = {}
        while True:
            async for _, message in self.consumer.getmany(timeout=1.0):
                batches: list[Batch] = message.value
                for batch in batches:
                    partition = TP(*batch.shard)
                    if (
                        self.losing_batches > self.world.random.random()
                        # A gap is seen by the next batch: there must be one to come, and room for it.
                        and batch.cursor is not lost.get(partition)
                        and batch.end < self.broker.ends[partition]
                    ):
                        lost[partition] = batch.cursor
                        continue
                    self._queue.append(batch)
                    self._queued.set()
            await asyncio.sleep(0)

    async def _deliver(self) -> None:
        while True:
            await self._queued.wait()
            self._queued.clear()
            while self._queue:
                await asyncio.sleep(0)
                self.shards.deliver(self._queue.popleft())
