"""Producers: how one is connected, and the worker's own, which publishes outcomes and dead letters.

Rules: a worker has one producer. All in-sync replicas acknowledge a message before the state that implies it is committed. The caller publishes again,
unchanged, what was not acknowledged. A message that is too large for Kafka is made smaller until it fits: an outcome becomes a dead letter; a dead
letter loses its value, then its key and the record's own headers. So no record can block its partition.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from aiokafka import AIOKafkaProducer
from aiokafka.errors import (
    KafkaError,
    KafkaTimeoutError,
    MessageSizeTooLargeError,
    TopicAuthorizationFailedError,
    UnknownError,
    UnknownTopicOrPartitionError,
)

from stream.events.outcome import HEADER_PREFIX, rejection_headers
from stream.kafka.errors import in_words

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

log = logging.getLogger(__name__)

LARGEST_MESSAGE: Final = 8 * 1024 * 1024
"""Bytes of a message, at most; the worker creates its topics with this limit. A topic that others created may have a lower one."""
OUTCOME_TOO_LARGE: Final = "outcome_too_large"
"""Reason of a dead letter that was an outcome."""
CUT: Final = f"{HEADER_PREFIX}cut-bytes"
"""Header of a dead letter whose value was removed because it was too large for Kafka: the number of bytes removed."""
TIMEOUT: Final = 30.0
"""Seconds to connect, and seconds to wait for the acknowledgements of one publication."""
BATCH: Final = 64 * 1024
"""Bytes of messages that go together, about; a larger message goes alone."""
_STOP_TIMEOUT: Final = 5.0


async def connect(bootstrap_servers: str, security: Mapping[str, Any], **options: Any) -> AIOKafkaProducer:
    """A connected producer: acknowledged by all in-sync replicas, and idempotent unless the broker has no producer ids (the embedded broker).

    `security` is what `stream.kafka.security.client_options` returns; `options` are further ones of `AIOKafkaProducer`. Stop it with `disconnect`.

    Raises:
        KafkaError: Kafka cannot be reached within 30 s, or refuses.
    """
    options = {
        "bootstrap_servers": bootstrap_servers.split(","),
        "acks": "all",
        "max_request_size": LARGEST_MESSAGE,
        **security,
        **options,
    }
    # aiokafka logs an error before it raises `UnknownError`.
    sender = logging.getLogger("aiokafka.producer.sender")
    sender.addFilter(_is_not_about_producer_ids)
    try:
        return await _started(AIOKafkaProducer(enable_idempotence=True, **options))
    except UnknownError:
        log.debug("the broker has no producer ids; a message that is sent again may be there twice")
        return await _started(AIOKafkaProducer(enable_idempotence=False, **options))
    finally:
        sender.removeFilter(_is_not_about_producer_ids)


async def disconnect(producer: AIOKafkaProducer) -> None:
    """Stop a producer once its messages are acknowledged, or after 5 s: while Kafka is unavailable a flush never ends."""
    with suppress(TimeoutError, KafkaError):
        await asyncio.wait_for(producer.stop(), _STOP_TIMEOUT)


class Message(NamedTuple):
    """A record to be published."""

    topic: str
    key: bytes | None
    value: bytes
    headers: Sequence[tuple[str, bytes]] = ()
    origin: tuple[str, int, int] | None = None
    """Of an outcome: topic, partition and offset of the record that caused it. None for a dead letter, whose headers have them."""
    alone: bool = False
    """It was too large together with others: it goes into a batch of its own, which shows whether it is."""


class UnacknowledgedError(Exception):
    """Kafka did not acknowledge `messages`; it did acknowledge the others. Publish `messages` again later."""

    def __init__(self, messages: list[Message], reason: str, shrunk: int = 0) -> None:
        """`shrunk`: so many of them were outcomes, and are dead letters now because they were too large."""
        super().__init__(f"Kafka did not acknowledge {len(messages)} messages: {reason}")
        self.messages = messages
        self.shrunk = shrunk


class Publisher:
    """The worker's producer. Start, use and stop it in one event loop."""

    def __init__(
        self,
        bootstrap_servers: str,
        dead_letter_topic: str,
        client_id: str,
        security: Mapping[str, Any],
        on_dead_letter: Callable[[str], None],
    ) -> None:
        """`security` as for `connect`; `on_dead_letter` is called with the reason of each dead letter that is made here."""
        self._bootstrap_servers = bootstrap_servers
        self._dead_letter_topic = dead_letter_topic
        self._client_id = client_id
        self._security = security
        self._on_dead_letter = on_dead_letter
        self._producer: AIOKafkaProducer | None = None
        self._replacement = asyncio.Lock()

    async def start(self) -> None:
        """Connect.

        Raises:
            KafkaError: Kafka cannot be reached, or refuses.
        """
        self._producer = await self._connect()

    async def stop(self) -> None:
        """Disconnect."""
        if self._producer is not None:
            await disconnect(self._producer)

    async def publish(self, messages: Sequence[Message]) -> None:
        """Publish, and wait until every message is acknowledged.

        Raises:
            UnacknowledgedError: some were not.
        """
        producer = self._producer
        assert producer is not None
        futures: list[asyncio.Future[Any]] = []
        left: list[Message] = []
        shrunk = 0
        reason: str | None = None
        for message in messages:
            try:
                futures.append(await _sent(producer, message))
            except MessageSizeTooLargeError as too_large:
                futures.append(_failed(too_large))
            except KafkaError as refused:
                # Kafka is unavailable and the buffer is full: each further message would wait for the same timeout.
                reason = _explained(refused, message.topic)
                break
        if futures:
            await asyncio.wait(futures, timeout=TIMEOUT)
        for message, future in zip(messages, futures, strict=False):
            error = future.exception() if future.done() else KafkaTimeoutError(f"no answer within {TIMEOUT:.0f} s")
            if error is not None:
                reason = _explained(error, message.topic)
                if not isinstance(error, MessageSizeTooLargeError):
                    left.append(message)
                elif message.alone or len(message.value) > BATCH:  # it was alone
                    left.append(self._smaller(message))
                    shrunk += message.topic != self._dead_letter_topic
                else:
                    left.append(message._replace(alone=True))
        left.extend(messages[len(futures) :])
        if reason is not None:
            # An idempotent producer that lost a message has a gap in its sequence numbers: Kafka would refuse what follows.
            await self._replace(producer)
            raise UnacknowledgedError(left, reason, shrunk)

    def _smaller(self, message: Message) -> Message:
        if message.topic != self._dead_letter_topic:
            error = f"an outcome of {len(message.value)} bytes is too large for topic {message.topic}"
            log.error(
                "%s; it is published as a dead letter instead. Raise max.message.bytes of the topic",
                error,
            )
            self._on_dead_letter(OUTCOME_TOO_LARGE)
            topic, partition, offset = message.origin or ("", "", "")
            headers = rejection_headers(
                OUTCOME_TOO_LARGE, f"{error}: raise its max.message.bytes", None, topic, str(partition), str(offset)
            )
            return Message(self._dead_letter_topic, message.key, message.value, headers)
        if message.value:
            removed = b"%d" % len(message.value)
            return message._replace(value=b"", headers=(*message.headers, (CUT, removed)))
        ours = tuple(header for header in message.headers if header[0].startswith(HEADER_PREFIX))
        return message._replace(key=None, headers=ours)

    async def _connect(self) -> AIOKafkaProducer:
        return await connect(
            self._bootstrap_servers,
            self._security,
            client_id=self._client_id,
            # All messages of a batch are handed over at once, and the commit waits for them: lingering only adds latency.
            linger_ms=0,
            max_batch_size=BATCH,
            request_timeout_ms=10_000,
        )

    async def _replace(self, failed: AIOKafkaProducer) -> None:
        async with self._replacement:
            if self._producer is not failed:
                return  # another shard has done it
            try:
                self._producer = await self._connect()
            except KafkaError as error:
                log.warning(
                    "cannot connect a new producer: %s; trying again with the next publication", in_words(error)
                )
                return
        await disconnect(failed)


async def _sent(producer: AIOKafkaProducer, message: Message) -> asyncio.Future[Any]:
    """Hand a message to the producer, which puts it into a batch with others, or into one of its own."""
    sent: asyncio.Future[Any]
    if not message.alone:
        sent = await producer.send(message.topic, message.value, message.key, headers=[*message.headers])
        return sent
    batch = producer.create_batch()
    if batch.append(key=message.key, value=message.value, timestamp=None, headers=[*message.headers]) is None:
        raise MessageSizeTooLargeError(f"{len(message.value)} bytes")
    batch.close()
    await producer.partitions_for(message.topic)  # waits until they are known
    partition = producer._partition(message.topic, None, None, None, message.key, None)  # noqa: SLF001 - as `send` chooses it
    sent = await producer.send_batch(batch, message.topic, partition=partition)
    return sent


async def _started(producer: AIOKafkaProducer) -> AIOKafkaProducer:
    try:
        async with asyncio.timeout(TIMEOUT):
            await producer.start()
    except TimeoutError as error:
        await disconnect(producer)
        raise KafkaTimeoutError(f"the producer did not connect within {TIMEOUT:.0f} s") from error
    except BaseException:
        await disconnect(producer)
        raise
    return producer


def _is_not_about_producer_ids(record: logging.LogRecord) -> bool:
    return "InitProducerIdRequest" not in str(record.msg)


def _explained(error: BaseException, topic: str) -> str:
    if isinstance(error, UnknownTopicOrPartitionError):
        return f"topic {topic} does not exist: create it"
    if isinstance(error, TopicAuthorizationFailedError):
        return f"this user may not write to topic {topic}: grant Write and Describe on it"
    return in_words(error)


def _failed(error: BaseException) -> asyncio.Future[Any]:
    future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    future.set_exception(error)
    return future
