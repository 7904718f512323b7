"""Records that commands send to Kafka or write to a file.

Rules: a command runs its work with `run`, which reports a failure of Kafka as an error of the command.
"""

import asyncio
from collections.abc import AsyncIterator, Coroutine, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final, Self, TypeVar

import click
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaConnectionError, KafkaError, TopicAuthorizationFailedError

from stream.cli.options import INPUT, KAFKA
from stream.cli.screen import progress, quiet_clients
from stream.core.shard.write_set import ShardId
from stream.kafka.errors import in_words
from stream.kafka.producer import connect, disconnect
from stream.kafka.security import client_options, refusal
from stream.kafka.topic_lookup import TopicUnusableError, check_usable, look_up
from stream.kafka.topic_plan import planned_inputs
from stream.kafka.topics import TopicError, create_topics
from stream.settings import Settings
from stream.simulate.record import Emitted

if TYPE_CHECKING:
    from aiokafka.structs import RecordMetadata

_PROGRESS_RECORDS: Final = 500
"""Records between two updates of the progress bar."""
_WAIT: Final = 0.01
"""Seconds until the next attempt if there is no record to send yet."""
_LINGER_MS: Final = 10
_BATCH_BYTES: Final = 128 * 1024

_T = TypeVar("_T")

to_file_option: Final = click.option(
    "--to-file",
    type=click.Path(dir_okay=False, writable=True, allow_dash=True),
    metavar="FILE",
    help="Write JSON Lines to a file instead of sending to Kafka (- is standard output).",
)
SETTINGS: Final = (*KAFKA, *INPUT, "kafka_create_topics", "kafka_partitions", "kafka_replication_factor")
"""Settings of a command that sends to the input topics."""


def run(settings: Settings, work: Coroutine[Any, Any, _T]) -> _T:
    """Run a command's work with Kafka.

    Raises:
        click.ClickException: Kafka cannot be reached or refuses, or a file that the settings name cannot be read.
    """
    quiet_clients()
    servers = settings.kafka_bootstrap_servers
    try:
        return asyncio.run(work)
    except KafkaConnectionError:
        reason = asyncio.run(refusal(settings))
        raise click.ClickException(f"cannot connect to Kafka at {servers}: {reason}") from None
    except TopicAuthorizationFailedError as error:
        raise click.ClickException(
            f"Kafka at {servers} refuses this user: grant it Describe, and Read or Write, on the topic ({error})"
        ) from None
    except KafkaError as error:
        raise click.ClickException(f"Kafka at {servers} returned an error: {in_words(error)}") from None
    except (TopicError, TopicUnusableError, OSError) as error:
        raise click.ClickException(str(error)) from None


@asynccontextmanager
async def producer(settings: Settings) -> AsyncIterator[AIOKafkaProducer]:
    """A connected producer. Await what you send with it: leaving the context reports no failure.

    Raises:
        KafkaError: Kafka cannot be reached, or refuses.
    """
    connected = await _connected(settings)
    try:
        yield connected
    finally:
        await disconnect(connected)


async def _connected(settings: Settings) -> AIOKafkaProducer:
    security = client_options(settings)
    return await connect(settings.kafka_bootstrap_servers, security, linger_ms=_LINGER_MS, max_batch_size=_BATCH_BYTES)


async def partitions(settings: Settings, topics: Sequence[str]) -> list[range]:
    """The partitions of each topic.

    Raises:
        TopicUnusableError: a topic does not exist, or this user may not see it. (Kafka may create a topic that a producer asks for.)
    """
    found = await look_up(settings.kafka_bootstrap_servers, client_options(settings), topics)
    for topic in topics:
        check_usable(found[topic])
    return [range(found[topic].partitions) for topic in topics]


def deliver(records: Iterable[Emitted], settings: Settings, to_file: str | None, *, total: int | None = None) -> None:
    """Write all records to the file, or send them as fast as Kafka accepts them; print how many. Raises as `run`."""
    if to_file is not None:
        click.echo(f"{write(records, to_file, total):,} events written", err=True)
    else:
        deliver_live(records, settings, total=total)


def deliver_live(records: Iterable[Emitted | None], settings: Settings, *, total: int | None = None) -> None:
    """Send all records as `send` does; print how many. Raises as `run`."""

    async def sent() -> int:
        async with Sender(settings) as sender:
            return await send(sender, records, total=total)

    click.echo(f"{run(settings, sent()):,} events sent", err=True)


def write(records: Iterable[Emitted], name: str, total: int | None = None) -> int:
    """Write records to a file as JSON Lines (`-` is standard output). Returns their number."""
    count = 0
    with click.open_file(name, "wb") as file, progress() as bar:
        task = bar.add_task("writing", total=total)
        for count, record in enumerate(records, start=1):
            file.write(record.value + b"\n")
            if not count % _PROGRESS_RECORDS:
                bar.update(task, completed=count)
    return count


class Sender:
    """Sends records to the input topics. An asynchronous context manager; at its end Kafka has acknowledged all records."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._topics = {str(journey): topic for topic, journey in settings.input_topics.items()}
        self.acknowledged: dict[ShardId, list[range]] = {}
        """For each partition: the offsets of the acknowledged records, as few ranges as possible."""
        self._error: BaseException | None = None
        self._producer: AIOKafkaProducer

    async def __aenter__(self) -> Self:
        """Create missing topics, if the settings allow it, and connect.

        Raises:
            KafkaError, TopicError: Kafka cannot be reached, or refuses.
        """
        settings = self._settings
        if settings.kafka_create_topics:
            await create_topics(
                settings.kafka_bootstrap_servers,
                planned_inputs(settings),
                replication_factor=settings.kafka_replication_factor,
                **client_options(settings),
            )
        self._producer = await _connected(settings)
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None:
                await self.flush()
        finally:
            await disconnect(self._producer)

    async def send(self, record: Emitted) -> None:
        """Put a record into the producer's buffer; waits if the buffer is full. A record of a journey that is switched off is left out.

        Raises:
            KafkaError: Kafka refused this record or an earlier one.
        """
        if self._error is not None:
            raise self._error
        topic = self._topics.get(record.topic)
        if topic is None:
            return
        sent: asyncio.Future[RecordMetadata] = await self._producer.send(topic, record.value, key=record.key)
        sent.add_done_callback(self._note)

    async def flush(self) -> None:
        """Wait until Kafka has acknowledged all records. Raises as `send`."""
        await self._producer.flush()
        if self._error is not None:
            raise self._error

    def _note(self, sent: "asyncio.Future[RecordMetadata]") -> None:
        if sent.cancelled():
            return
        if (error := sent.exception()) is not None:
            self._error = self._error or error
            return
        place = sent.result()
        ranges = self.acknowledged.setdefault(ShardId(place.topic, place.partition), [])
        offset = place.offset
        if ranges and ranges[-1].stop == offset:
            ranges[-1] = range(ranges[-1].start, offset + 1)
        else:
            ranges.append(range(offset, offset + 1))


async def send(sender: Sender, records: Iterable[Emitted | None], *, total: int | None = None, bar: bool = True) -> int:
    """Send all records as fast as Kafka accepts them, with a progress bar if wanted. Returns their number.

    None among the records means: wait a moment.
    """
    count = 0
    with progress(shown=bar) as shown:
        task = shown.add_task("sending", total=total)
        for record in records:
            if record is None:
                shown.update(task, completed=count)
                await asyncio.sleep(_WAIT)
                continue
            await sender.send(record)
            count += 1
            if not count % _PROGRESS_RECORDS:
                shown.update(task, completed=count)
                await asyncio.sleep(0)
    return count
