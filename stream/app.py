"""The composition root of a worker: makes every part from the settings, starts them in order, stops them in reverse.

Rules: no globals and no work at import. What can be waited for is waited for: a worker that cannot reach Kafka or Redis is not ready, it does not
end. What nobody expected ends it with status 1, so that another one can take its place.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import signal
import sys
from contextlib import AsyncExitStack, suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeVar

import uvloop
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from stream.consumer.faust_app import CLIENT_ID, App, add_agent, heartbeat
from stream.events.decode import Decoder
from stream.kafka.producer import LARGEST_MESSAGE, Publisher
from stream.kafka.security import client_options, refusal
from stream.kafka.topic_ids import TopicIds
from stream.kafka.topics import Topic, TopicError, create_topics
from stream.observe.counters import Counters
from stream.observe.http import HttpServer
from stream.observe.view import View
from stream.tables.interface import IncompatibleStateError, TablesUnavailableError
from stream.tables.redis import connect
from stream.worker.clock import Clock
from stream.worker.retry import pauses
from stream.worker.shard_set import Shards
from stream.worker.shard_task import Bench
from stream.worker.status import Status
from stream.worker.watchdog import Watchdog, end_within

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine

    from stream.core.event import Journey
    from stream.settings import Settings

log = logging.getLogger(__name__)

_T = TypeVar("_T")

LOOP_PATIENCE: Final = 60.0
"""Seconds that the event loop may stand still."""
STOP_PATIENCE: Final = 25.0
"""Seconds for stopping as a whole; Kubernetes kills after 30."""
_DAY_MS: Final = 86_400_000


class Worker:
    """One worker. `start` and `stop` it in a running event loop, or have `run` do both."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.status = Status()
        self.counters = Counters()
        self.http: HttpServer | None = None
        self._ended: asyncio.Future[None] | None = None
        self._parts = AsyncExitStack()

    async def start(self) -> None:
        """Start everything; returns when the worker is a member of its group or is about to become one.

        Waits for Redis and Kafka as long as it takes.

        Raises:
            Unusable, TopicError, OSError: the settings cannot work.
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
        self._watch(view.run(), lambda: None)
        clock = Clock(tables)
        await _patiently("Redis", clock.refresh, TablesUnavailableError)
        cluster = await _patiently(
            "Kafka", partial(cluster_id, settings, security), KafkaError, why=partial(refusal, settings)
        )
        if settings.kafka_create_topics:
            await _patiently("Kafka", partial(make_topics, settings, security), KafkaError)
        publisher = Publisher(
            settings.kafka_bootstrap_servers, settings.dead_letter_topic, CLIENT_ID, security, self.counters.dead_letter
        )
        await _patiently("Kafka", publisher.start, KafkaError)
        parts.push_async_callback(publisher.stop)
        journeys: dict[str, Journey] = {
            settings.checkout_topic: "checkout",
            settings.subscription_topic: "subscription",
        }
        topics = TopicIds(settings.kafka_bootstrap_servers, journeys, CLIENT_ID, security)
        parts.push_async_callback(topics.close)
        bench = Bench(
            app_id=settings.app_id,
            cluster=cluster,
            core=settings.core(),
            labels=settings.registry(),
            tables=tables,
            clock=clock,
            decoder=Decoder(journeys, settings.future),
            publisher=publisher,
            outcome_topic=settings.outcome_topic,
            dead_letter_topic=settings.dead_letter_topic,
            instruments=self.counters,
            patience=2 * heartbeat(settings),
            topics=topics,
        )
        shards = Shards(bench, journeys, settings.cache_mb * 1_000_000, self.status, self._die)
        app = App(settings, shards)
        add_agent(app, journeys, shards)
        parts.push_async_callback(app.stop)
        await app.start()
        self._watch(app.wait_until_stopped(), lambda: app.crash_reason)
        self._watch(shards.watch(), lambda: None)

    def _watch(self, work: Coroutine[Any, Any, None], reason: Callable[[], BaseException | None]) -> None:
        """Die if this ends before it is cancelled."""

        async def watched() -> None:
            try:
                await work
            except Exception as error:  # noqa: BLE001 - whatever it is, the worker is of no use
                self._die(error)
            else:
                self._die(reason() or RuntimeError("a part of the worker ended"))

        task = asyncio.create_task(watched())
        self._parts.callback(task.cancel)

    def _die(self, error: BaseException) -> None:
        if self._ended is not None and not self._ended.done():
            self._ended.set_exception(error)

    async def wait(self) -> None:
        """Wait for the error that ends the worker; raises it."""
        assert self._ended is not None
        await asyncio.shield(self._ended)

    async def stop(self) -> None:
        """Finish what is being applied, leave the group, close everything."""
        self.status.assigned = False
        await self._parts.aclose()
        if self._ended is not None and self._ended.done():
            self._ended.exception()  # whoever stops the worker has seen it, or has no use for it

    async def serve(self) -> int:
        """Start, work until SIGTERM, SIGINT or an error, stop; returns the exit status."""
        loop = asyncio.get_running_loop()
        told = asyncio.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, told.set)
        watchdog = Watchdog(LOOP_PATIENCE)
        watchdog.start()
        working = asyncio.create_task(self._work())
        telling = asyncio.create_task(told.wait())
        await asyncio.wait({working, telling}, return_when=asyncio.FIRST_COMPLETED)
        timer = end_within(STOP_PATIENCE)
        try:
            telling.cancel()
            working.cancel()
            with suppress(asyncio.CancelledError):
                await working
        except (IncompatibleStateError, TopicError, OSError) as error:
            log.critical("%s", error)
            return 1
        except Exception:
            log.critical("the worker ends", exc_info=True)
            return 1
        finally:
            await self.stop()
            watchdog.stop()
            timer.cancel()
        log.info("stopped")
        return 0

    async def _work(self) -> None:
        await self.start()
        settle_down()
        log.info("started")
        await self.wait()


def settle_down() -> None:
    """Set the garbage collector for a process that goes on as it is."""
    gc.collect()
    gc.freeze()
    # Batches make many short-lived objects without cycles; the default looks at them a hundred times a second.
    gc.set_threshold(100_000, 20, 20)


def create_app(settings: Settings) -> Worker:
    """A worker for these settings, not started."""
    return Worker(settings)


def run(settings: Settings) -> int:
    """Run a worker until it is told to stop; returns the exit status."""
    logging.basicConfig(
        stream=sys.stderr, level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    level = settings.log_level.upper()
    logging.getLogger("stream").setLevel(level)
    if level == "INFO":
        # Faust's services tell of their inner life under the modules of our subclasses.
        logging.getLogger("stream.consumer.faust_app").setLevel(logging.WARNING)
        logging.getLogger("stream.consumer.batch_consumer").setLevel(logging.WARNING)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(create_app(settings).serve())


async def cluster_id(settings: Settings, security: dict[str, Any]) -> str:
    """Kafka's cluster id; raises `KafkaError`."""
    admin = AIOKafkaAdminClient(bootstrap_servers=settings.kafka_bootstrap_servers, **security)
    try:
        await admin.start()
        return str((await admin.describe_cluster())["cluster_id"])
    finally:
        await admin.close()


async def make_topics(settings: Settings, security: dict[str, Any]) -> None:
    """Create the topics that are missing; raises `TopicError` or `KafkaError`."""
    sources = [
        Topic(name, settings.kafka_partitions) for name in (settings.checkout_topic, settings.subscription_topic)
    ]
    largest = {"max.message.bytes": str(LARGEST_MESSAGE)}
    retention = {"retention.ms": str(settings.outcome_retention_days * _DAY_MS)}
    outputs = [
        Topic(settings.outcome_topic, settings.kafka_partitions, largest | retention),
        Topic(settings.dead_letter_topic, settings.kafka_partitions, largest),
    ]
    created = await create_topics(
        settings.kafka_bootstrap_servers,
        [*sources, *outputs],
        replication_factor=settings.kafka_replication_factor,
        **security,
    )
    if created:
        log.info("created topics %s", ", ".join(sorted(created)))


async def _patiently(
    server: str,
    call: Callable[[], Awaitable[_T]],
    *waitable: type[Exception],
    why: Callable[[], Awaitable[str]] | None = None,
) -> _T:
    """The answer of a server that may not be there yet; `why` knows more than the error."""
    for pause in pauses():
        try:
            return await call()
        except waitable as error:
            log.warning("waiting for %s: %s", server, error if why is None else await why())
            await asyncio.sleep(pause)
    raise AssertionError("pauses never end")
