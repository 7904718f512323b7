"""Where simulated and replayed records go: to Kafka, at their own pace or as fast as it takes them, or to a file."""

import asyncio
from collections.abc import Awaitable, Iterable
from typing import Any, Final, Self

import click
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaConnectionError, KafkaError, UnknownError

from stream.cli.options import INPUT, KAFKA
from stream.cli.screen import progress, quiet_clients
from stream.core.shard.write_set import ShardId
from stream.kafka.security import client_options, refusal
from stream.kafka.topics import Topic, TopicError, create_topics
from stream.settings import Settings
from stream.simulate.record import Emitted

_OFTEN: Final = 500
"""Records between two looks at the progress bar."""
_WAIT: Final = 0.01
"""Seconds until asking again, where nothing is to be sent yet."""


to_file_option: Final = click.option(
    "--to-file",
    type=click.Path(dir_okay=False, writable=True, allow_dash=True),
    metavar="FILE",
    help="Write JSON Lines instead of sending (- is standard output).",
)
SETTINGS: Final = (*KAFKA, *INPUT, "kafka_create_topics", "kafka_partitions", "kafka_replication_factor")
"""Of a command that sends records."""


def deliver(
    records: Iterable[Emitted],
    settings: Settings,
    to_file: str | None,
    *,
    total: int | None = None,
) -> None:
    """Write or send all records as fast as they are taken, and say how many. Raises as `deliver_live`."""
    if to_file is not None:
        click.echo(f"{write(records, to_file, total):,} events written", err=True)
    else:
        deliver_live(records, settings, total=total)


def deliver_live(records: Iterable[Emitted | None], settings: Settings, *, total: int | None = None) -> None:
    """Send all records as `send` does, and say how many.

    Raises:
        click.ClickException: Kafka did not take them.
    """
    quiet_clients()

    async def run() -> int:
        async with Sender(settings) as sender:
            return await send(sender, records, total=total)

    try:
        click.echo(f"{asyncio.run(run()):,} events sent", err=True)
    except KafkaConnectionError:
        reason = asyncio.run(refusal(settings))
        raise click.ClickException(f"cannot send to {settings.kafka_bootstrap_servers}: {reason}") from None
    except (KafkaError, TopicError, OSError) as error:
        raise click.ClickException(f"cannot send to {settings.kafka_bootstrap_servers}: {error}") from None


def write(records: Iterable[Emitted], name: str, total: int | None = None) -> int:
    """Write records to a file as JSON Lines (`-` is standard output); returns how many."""
    count = 0
    with click.open_file(name, "wb") as file, progress() as bar:
        task = bar.add_task("writing", total=total)
        for count, record in enumerate(records, start=1):
            file.write(record.value + b"\n")
            if not count % _OFTEN:
                bar.update(task, completed=count)
    return count


class Sender:
    """Records to the input topics. Use as an async context manager; leaving it waits until Kafka has everything."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._topics = {"checkout": settings.checkout_topic, "subscription": settings.subscription_topic}
        self.ends: dict[ShardId, int] = {}
        """Of every partition that Kafka took records in: the offset after the last one."""
        self._error: BaseException | None = None
        self._producer: AIOKafkaProducer

    async def __aenter__(self) -> Self:
        """Create the topics that are missing, if the settings say so, and connect.

        Raises:
            KafkaError: Kafka cannot be reached, or refuses.
            TopicError: likewise.
        """
        settings = self._settings
        security = client_options(settings)
        if settings.kafka_create_topics:
            await create_topics(
                settings.kafka_bootstrap_servers,
                [Topic(name, settings.kafka_partitions) for name in self._topics.values()],
                replication_factor=settings.kafka_replication_factor,
                **security,
            )
        try:
            self._producer = await self._connect(security, idempotent=True)
        except UnknownError:  # a broker without producer ids, such as the embedded one
            self._producer = await self._connect(security, idempotent=False)
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None:
                await self.flush()
        finally:
            await self._producer.stop()

    async def send(self, record: Emitted) -> None:
        """Hand a record to the client, which may have to wait for Kafka.

        Raises:
            KafkaError: this one or an earlier one was not taken.
        """
        if self._error is not None:
            raise self._error
        sent: Awaitable[Any] = await self._producer.send(self._topics[record.topic], record.value, key=record.key)
        asyncio.ensure_future(sent).add_done_callback(self._note)

    async def flush(self) -> None:
        """Wait until Kafka has everything; raises as `send`."""
        await self._producer.flush()
        if self._error is not None:
            raise self._error

    def _note(self, sent: "asyncio.Future[Any]") -> None:
        if sent.cancelled():
            return
        if (error := sent.exception()) is not None:
            self._error = self._error or error
            return
        place = sent.result()
        shard = ShardId(place.topic, place.partition)
        self.ends[shard] = max(self.ends.get(shard, 0), place.offset + 1)

    async def _connect(self, security: dict[str, Any], *, idempotent: bool) -> AIOKafkaProducer:
        producer = AIOKafkaProducer(
            bootstrap_servers=self._settings.kafka_bootstrap_servers,
            acks="all",
            enable_idempotence=idempotent,
            linger_ms=10,
            max_batch_size=128 * 1024,
            **security,
        )
        try:
            await producer.start()
        except BaseException:
            await producer.stop()
            raise
        return producer


async def send(sender: Sender, records: Iterable[Emitted | None], *, total: int | None = None) -> int:
    """Send all records as fast as Kafka takes them; returns how many. Where None comes instead of a record, wait a little."""
    count = 0
    with progress() as bar:
        task = bar.add_task("sending", total=total)
        for record in records:
            if record is None:
                bar.update(task, completed=count)
                await asyncio.sleep(_WAIT)
                continue
            await sender.send(record)
            count += 1
            if not count % _OFTEN:
                bar.update(task, completed=count)
                await asyncio.sleep(0)
    return count
