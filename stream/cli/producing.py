"""A producer for commands that send a few records to partitions of their choice, and how its failures are told."""

import asyncio
from collections.abc import AsyncIterator, Coroutine, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, TypeVar

import click
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaConnectionError, KafkaError, UnknownError

from stream.kafka.security import client_options, refusal
from stream.kafka.topics import admin_client
from stream.settings import Settings

_T = TypeVar("_T")


@asynccontextmanager
async def producer(settings: Settings) -> AsyncIterator[AIOKafkaProducer]:
    """A connected producer. What was sent with it must be awaited: leaving it tells nobody of a failure.

    Raises:
        KafkaError: Kafka cannot be reached, or refuses.
    """
    try:
        connected = await _connect(settings, idempotent=True)
    except UnknownError:  # a broker without producer ids, such as the embedded one
        connected = await _connect(settings, idempotent=False)
    try:
        yield connected
    finally:
        await connected.stop()


async def partitions(settings: Settings, sender: AIOKafkaProducer, topics: Iterable[str]) -> list[set[int]]:
    """Of each topic its partitions.

    Raises:
        click.ClickException: there is no such topic. Kafka would create one that a producer asks for.
    """
    async with admin_client(settings.kafka_bootstrap_servers, client_options(settings)) as admin:
        existing = await admin.list_topics()
    for topic in topics:
        if topic not in existing:
            raise click.ClickException(f"there is no topic {topic}; look at the names of the topics in the settings")
    return [await sender.partitions_for(topic) for topic in topics]


async def _connect(settings: Settings, *, idempotent: bool) -> AIOKafkaProducer:
    made = AIOKafkaProducer(
        bootstrap_servers=settings.kafka_bootstrap_servers,
        acks="all",
        enable_idempotence=idempotent,
        linger_ms=10,
        max_request_size=8 * 1024 * 1024,
        **client_options(settings),
    )
    try:
        await made.start()
    except BaseException:
        await made.stop()
        raise
    return made


@contextmanager
def _told(settings: Settings) -> Iterator[None]:
    """Failures of Kafka as the command's.

    Raises:
        click.ClickException: Kafka cannot be reached, or did not take or give what was asked.
    """
    servers = settings.kafka_bootstrap_servers
    try:
        yield
    except KafkaConnectionError:
        raise click.ClickException(f"cannot reach Kafka at {servers}: {asyncio.run(refusal(settings))}") from None
    except KafkaError as error:
        raise click.ClickException(f"Kafka at {servers}: {error!r}") from None
    except OSError as error:  # of the network, or of a file that the settings name
        raise click.ClickException(str(error)) from None


def run(settings: Settings, work: Coroutine[Any, Any, _T]) -> _T:
    """Carry a command's work out; raises `click.ClickException` where Kafka fails it."""
    with _told(settings):
        return asyncio.run(work)
