"""The composition root of a worker: creates every part from the settings, starts the parts in order, stops them in reverse.

Rules: no globals and no work at import. A worker that cannot reach Kafka or Redis waits, and is not ready meanwhile; it does not end. An unexpected error
ends it with status 1, so that another worker can take its place.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import signal
import time
from contextlib import AsyncExitStack, suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import uvloop
from aiokafka.errors import KafkaError

from stream import logs
from stream.consumer.faust_app import App, add_agent, heartbeat
from stream.consumer.liveness import CHECK_EVERY
from stream.events.decode import Decoder
from stream.kafka.errors import in_words
from stream.kafka.producer import Publisher
from stream.kafka.security import CLIENT_ID, client_options, refusal
from stream.kafka.topic_ids import TopicIds
from stream.kafka.topic_plan import planned_topics
from stream.kafka.topic_watch import TopicWatch
from stream.kafka.topics import TopicError, admin_client, create_topics
from stream.observe.counters import Counters
from stream.observe.http import HttpServer
from stream.observe.view import View
from stream.settings import variable
from stream.tables.interface import IncompatibleStateError, TablesRefusedError, TablesUnavailableError
from stream.tables.redis import CLUSTER, connect
from stream.worker.admission import Admission
from stream.worker.clock import Clock
from stream.worker.context import WorkerContext
from stream.worker.retry import LONGEST_PAUSE, Waiting, retry
from stream.worker.shard_set import ShardSet
from stream.worker.status import Status
from stream.worker.watchdog import Watchdog, end_within, watch

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Coroutine, Mapping

    from stream.kafka.topic_watch import InputTopic
    from stream.settings import Settings
    from stream.tables.redis import RedisTables

log = logging.getLogger(__name__)

SILENCE: Final = 120.0
"""Seconds without any answer to the consumer after which all of Kafka's clients are made again."""
LOOP_TIMEOUT: Final = 60.0
"""Seconds that the event loop may be blocked."""
STOP_TIMEOUT: Final = 25.0
"""Seconds for stopping as a whole; Kubernetes kills after 30."""


class Worker:
    """One worker. `start` and `stop` it in a running event loop, or have `run` do both."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.status = Status()
        self.counters = Counters()
        self.http: HttpServer | None = None
        self._ended: asyncio.Future[None] | None = None
        self._parts = AsyncExitStack()
        self._kafka = AsyncExitStack()
        """The parts that are made again when Kafka has not answered for long."""
        self._disconnecting: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Start everything; returns when the worker is a member of its group or is about to become one.

        Waits until Redis and Kafka answer.

        Raises:
            IncompatibleStateError, TopicError, OSError: the settings cannot work.
        """
        settings = self.settings
        self._ended = asyncio.get_running_loop().create_future()
        try:
            await self._start(settings, client_options(settings))
        except BaseException:
            await self.stop()
            raise

    async def _start(self, settings: Settings, security: dict[str, Any]) -> None:
        parts = self._parts
        tables = connect(settings)
        parts.push_async_callback(tables.close)
        view = View(tables, settings)
        self.http = HttpServer(settings, self.counters, view, self.status.readiness)
        await self.http.start()
        parts.push_async_callback(self.http.stop)
        log.info("metrics, health and rates at %s", self.http.url)
        self._run(view.run(), parts)
        clock = Clock(tables)
        redis = self.status.waiting = Waiting("waiting for Redis")
        await retry(partial(reach, tables, clock), TablesUnavailableError, redis)
        parts.push_async_callback(self._disconnect)
        connect_kafka = partial(self._connect, tables, clock, security)
        await self._connect_or_wait(connect_kafka)
        self._run(self._reconnect_after_silence(connect_kafka), parts)

    async def _connect(self, tables: RedisTables, clock: Clock, security: dict[str, Any]) -> None:
        """Start everything that belongs to Kafka. Waits until Kafka answers; every name is resolved again.

        Raises:
            TopicError: Kafka refused to create a topic.
            KafkaError, TimeoutError: Kafka has ceased to answer meanwhile.
        """
        settings, parts = self.settings, self._kafka
        kafka = self.status.waiting = Waiting("waiting for Kafka")
        cluster = await retry(partial(cluster_id, settings, security), ConnectionError, kafka)
        if settings.kafka_create_topics:
            known = (await retry(tables.application, TablesUnavailableError, kafka)).topics
            await retry(partial(make_topics, settings, known, security), KafkaError, kafka)
        publisher = Publisher(
            settings.kafka_bootstrap_servers, settings.dead_letter_topic, CLIENT_ID, security, self.counters.dead_letter
        )
        await retry(publisher.start, KafkaError, kafka)
        parts.push_async_callback(publisher.stop)
        journeys = settings.input_topics
        watched = TopicWatch(settings.kafka_bootstrap_servers, journeys, CLIENT_ID, security, self._note_topics)
        parts.push_async_callback(watched.close)
        await retry(watched.ask, KafkaError, kafka)
        self._run(watched.run(), parts)
        topics = TopicIds(settings.kafka_bootstrap_servers, journeys, CLIENT_ID, security)
        parts.push_async_callback(topics.close)
        context = WorkerContext(
            app_id=settings.app_id,
            cluster=cluster,
            core=settings.core(),
            labels=settings.registry(),
            tables=tables,
            clock=clock,
            decoder=Decoder(journeys, settings.future, require_key=settings.require_key),
            publisher=publisher,
            outcome_topic=settings.outcome_topic,
            dead_letter_topic=settings.dead_letter_topic,
            counters=self.counters,
            fencing_backoff=2 * heartbeat(settings),
            topics=topics,
            admission=Admission(tables, journeys, settings.app_id, self.status.partitions),
        )
        shards = ShardSet(context, journeys, settings.cache_mb * 1_000_000, self._fail)
        self.status.shards = shards
        app = App(settings, shards)
        add_agent(app, journeys, shards)
        parts.push_async_callback(app.stop)
        await self._start_consumer(app, shards)
        self._run(app.wait_until_stopped(), parts, lambda: app.crash_reason)
        self._run(watch(shards, self.status, clock, self.counters, context.attention), parts)

    async def _start_consumer(self, app: App, shards: ShardSet) -> None:
        """Start Faust's app, which returns when the group has accepted this member.

        Raises:
            KafkaError, TimeoutError: Kafka has ceased to answer.
        """
        starting = asyncio.create_task(app.start())
        try:
            while not starting.done():
                await asyncio.wait({starting}, timeout=CHECK_EVERY)
                if time.monotonic() - shards.answered_at > SILENCE:
                    raise TimeoutError
        finally:
            if not starting.done():
                starting.cancel()
                await asyncio.wait({starting}, timeout=STOP_TIMEOUT / 5)
        await starting

    async def _disconnect(self) -> None:
        """Stop everything that belongs to Kafka: release the shards, leave the group, close the clients.

        It continues if its caller is cancelled; the next caller waits for its end.
        """
        if self._disconnecting is None or self._disconnecting.done():
            self._disconnecting = asyncio.create_task(self._close_kafka())
        await asyncio.shield(self._disconnecting)

    async def _close_kafka(self) -> None:
        parts, self._kafka = self._kafka, AsyncExitStack()
        await parts.aclose()
        self.status.shards = None
        self.counters.ready(False)

    async def _connect_or_wait(self, connect: Callable[[], Awaitable[None]], *refused: type[Exception]) -> None:
        """Connect; again and again if Kafka ceases to answer meanwhile, or for an error that is one of `refused`."""
        while True:
            try:
                return await connect()
            except (KafkaError, TimeoutError, *refused) as error:
                log.warning("cannot connect to Kafka: %s. Nothing is lost; trying again", in_words(error))
            await self._disconnect()
            await asyncio.sleep(LONGEST_PAUSE)

    async def _reconnect_after_silence(self, connect: Callable[[], Awaitable[None]]) -> None:
        """Connect again whenever Kafka has not answered for `SILENCE`. Never returns.

        aiokafka's consumer asks only the addresses that Kafka has named, and never the bootstrap servers again.
        """
        while True:
            await asyncio.sleep(CHECK_EVERY)
            shards = self.status.shards
            if shards is None or time.monotonic() - shards.answered_at < SILENCE:
                continue
            log.warning(
                "Kafka has not answered for %.0f s: connecting again to %s, with all names resolved again. Nothing is lost",
                SILENCE,
                variable("kafka_bootstrap_servers"),
            )
            self.status.reconnecting = True
            await self._disconnect()
            await self._connect_or_wait(connect, TopicError)
            log.info("connected to Kafka again")

    def _note_topics(self, topics: Mapping[str, InputTopic]) -> None:
        self.status.topics = topics
        for name, topic in topics.items():
            self.counters.input_topic_up(name, topic.problem is None)

    def _run(
        self,
        work: Coroutine[Any, Any, None],
        parts: AsyncExitStack,
        reason: Callable[[], BaseException | None] = lambda: None,
    ) -> None:
        """Run a part in a task of its own until `parts` are closed; the worker ends if that part ends before."""

        async def supervised() -> None:
            try:
                await work
            except Exception as error:  # noqa: BLE001 - without this part the worker does not work, whatever the error
                self._fail(error)
            else:
                self._fail(reason() or RuntimeError("a part of the worker ended"))

        task = asyncio.create_task(supervised())

        async def end() -> None:
            task.cancel()
            await asyncio.wait({task})

        parts.push_async_callback(end)

    def _fail(self, error: BaseException) -> None:
        if self._ended is not None and not self._ended.done():
            self._ended.set_exception(error)

    async def wait(self) -> None:
        """Wait for the error that ends the worker; raises it."""
        assert self._ended is not None
        await asyncio.shield(self._ended)

    async def stop(self) -> None:
        """Finish what is being applied, leave the group, close everything."""
        self.status.stopping = True
        await self._parts.aclose()
        if self._ended is not None and self._ended.done():
            self._ended.exception()  # asyncio warns of an exception that nobody has retrieved

    async def serve(self) -> int:
        """Start, work until SIGTERM, SIGINT or an error, stop; returns the exit status."""
        loop = asyncio.get_running_loop()
        signalled = asyncio.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, signalled.set)
        watchdog = Watchdog(LOOP_TIMEOUT)
        watchdog.start()
        working = asyncio.create_task(self._work())
        waiting = asyncio.create_task(signalled.wait())
        await asyncio.wait({working, waiting}, return_when=asyncio.FIRST_COMPLETED)
        timer = end_within(STOP_TIMEOUT)
        try:
            waiting.cancel()
            working.cancel()
            with suppress(asyncio.CancelledError):
                await working
        except (IncompatibleStateError, TopicError, OSError) as error:
            log.critical("%s", error)
            return 1
        except Exception:
            log.critical("the worker ends by an unexpected error", exc_info=True)
            return 1
        finally:
            await self.stop()
            watchdog.stop()
            timer.cancel()
        log.info("stopped")
        return 0

    async def _work(self) -> None:
        await self.start()
        tune_garbage_collector()
        log.info("started")
        await self.wait()


def tune_garbage_collector() -> None:
    """Set the garbage collector for a process that has started and runs for long."""
    gc.collect()
    gc.freeze()
    # Batches create many short-lived objects without cycles; with the default the collector would run a hundred times a second.
    gc.set_threshold(100_000, 20, 20)


def create_app(settings: Settings) -> Worker:
    """A worker for these settings, not started."""
    return Worker(settings)


def run(settings: Settings) -> int:
    """Run a worker until SIGTERM, SIGINT or an error; returns the exit status."""
    logs.configure(settings.log_format, settings.log_level)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(create_app(settings).serve())


async def reach(tables: RedisTables, clock: Clock) -> None:
    """Ask Redis for the first time.

    Raises:
        IncompatibleStateError: Redis refuses, or it is a cluster; says what to do. Once the worker runs, a refusal is waited for instead.
        TablesUnavailableError: it cannot answer now.
    """
    try:
        await clock.refresh()
        is_cluster = await tables.is_cluster()
        if not is_cluster:
            await tables.summaries()
    except TablesRefusedError as refused:
        raise IncompatibleStateError(str(refused)) from refused
    if is_cluster:
        raise IncompatibleStateError(f"redis_url: {CLUSTER}")


async def cluster_id(settings: Settings, security: dict[str, Any]) -> str:
    """Kafka's cluster id.

    Raises:
        ConnectionError: Kafka cannot be reached, or refuses; says why, and what to do.
    """
    try:
        async with admin_client(settings.kafka_bootstrap_servers, security) as admin:
            return str((await admin.describe_cluster())["cluster_id"])
    except KafkaError as error:
        raise ConnectionError(await refusal(settings)) from error


async def make_topics(settings: Settings, known: Collection[str], security: dict[str, Any]) -> None:
    """Create the topics that are missing, but no input topic that is `known`: one that was deleted must not come back with other partitions by itself.

    Raises:
        TopicError: Kafka refused to create a topic.
        KafkaError: Kafka cannot be reached.
    """
    created = await create_topics(
        settings.kafka_bootstrap_servers,
        [topic for topic in planned_topics(settings) if topic.name not in known],
        replication_factor=settings.kafka_replication_factor,
        **security,
    )
    if created:
        log.info("created topics %s", ", ".join(sorted(created)))
