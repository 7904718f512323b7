"""Outcomes and dead letters to Kafka.

Rules: one producer for the whole worker. What is published is acknowledged by all in-sync replicas before the state that implies it is
committed; a message that was not is published again, by the caller, as it is. A message that is too large for Kafka shrinks until
it fits: an outcome becomes a dead letter, a dead letter loses its value, then its headers and key. So no record can block its partition.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError, KafkaTimeoutError, MessageSizeTooLargeError, UnknownError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

log = logging.getLogger(__name__)

LARGEST_MESSAGE: Final = 8 * 1024 * 1024
"""Bytes; what the topics are created for. A topic made by others may take less."""

_PATIENCE: Final = 30.0
_STOP_PATIENCE: Final = 5.0
_PREFIX: Final = "upsell-"
OUTCOME_TOO_LARGE: Final = "outcome_too_large"
"""Why an outcome is a dead letter."""
CUT: Final = "upsell-cut-bytes"
"""Header of a dead letter whose value was too large for Kafka: how many bytes are missing."""


class Message(NamedTuple):
    """A record to be published."""

    topic: str
    key: bytes | None
    value: bytes
    headers: Sequence[tuple[str, bytes]] = ()
    origin: tuple[str, int, int] | None = None
    """Topic, partition and offset of the record that an outcome is of; None of a dead letter, whose headers say it."""


class UnacknowledgedError(Exception):
    """Kafka did not acknowledge `messages`; those that are not among them it did. Publish them again later."""

    def __init__(self, messages: list[Message], reason: str) -> None:
        super().__init__(f"{len(messages)} messages were not acknowledged: {reason}")
        self.messages = messages


class Publisher:
    """The worker's producer. `start` it in the event loop that it is used in, `stop` it there."""

    def __init__(
        self,
        bootstrap_servers: str,
        dead_letter_topic: str,
        client_id: str,
        security: dict[str, Any],
        tell: Callable[[str], None],
    ) -> None:
        """`security` as of `stream.kafka.security.client_options`; `tell` is told the reason of each dead letter that is made here."""
        self._options: dict[str, Any] = {
            "bootstrap_servers": bootstrap_servers.split(","),
            "client_id": client_id,
            "acks": "all",
            # A commit waits for its messages, which are all there at once: others would only be waited for.
            "linger_ms": 0,
            "max_batch_size": 64 * 1024,
            "max_request_size": LARGEST_MESSAGE,
            "request_timeout_ms": 10_000,
            **security,
        }
        self._dead_letter_topic = dead_letter_topic
        self._tell = tell
        self._idempotent = True
        self._producer: AIOKafkaProducer | None = None
        self._renewal = asyncio.Lock()

    async def start(self) -> None:
        """Connect.

        Raises:
            KafkaError: Kafka cannot be reached, or refuses.
        """
        # aiokafka calls the refusal below an error before it raises it.
        sender = logging.getLogger("aiokafka.producer.sender")
        sender.addFilter(_is_no_refusal)
        try:
            self._producer = await self._connect()
        except UnknownError:
            # A broker without producer ids (the embedded one). A retried message may then be there twice, with the same id.
            log.debug("this broker has no idempotent producers: a retried message may be published twice")
            self._idempotent = False
            self._producer = await self._connect()
        finally:
            sender.removeFilter(_is_no_refusal)

    async def stop(self) -> None:
        """Disconnect, once what was sent is acknowledged or given up."""
        if self._producer is not None:
            await _stop(self._producer)

    async def publish(self, messages: Sequence[Message]) -> None:
        """Publish and wait until every message is acknowledged.

        Raises:
            Unacknowledged: some were not.
        """
        producer = self._producer
        assert producer is not None
        futures: list[asyncio.Future[Any]] = []
        left: list[Message] = []
        reason: BaseException | None = None
        for message in messages:
            try:
                futures.append(
                    await producer.send(message.topic, message.value, message.key, headers=[*message.headers])
                )
            except MessageSizeTooLargeError as too_large:
                futures.append(_failed(too_large))
            except KafkaError as refused:
                # Kafka is away and the buffer full: the next message would wait as long in vain.
                reason = refused
                break
        if futures:
            await asyncio.wait(futures, timeout=_PATIENCE)
        for message, future in zip(messages, futures, strict=False):
            error = future.exception() if future.done() else KafkaTimeoutError(f"no answer in {_PATIENCE:.0f} s")
            if error is not None:
                reason = error
                left.append(self._smaller(message) if isinstance(error, MessageSizeTooLargeError) else message)
        left.extend(messages[len(futures) :])
        if reason is not None:
            # An idempotent producer that lost a message has a gap in its sequence: Kafka refuses what follows.
            await self._renew(producer)
            raise UnacknowledgedError(left, repr(reason))

    def _smaller(self, message: Message) -> Message:
        size = b"%d" % len(message.value)
        if message.topic != self._dead_letter_topic:
            error = f"an outcome of {len(message.value)} bytes is too large for topic {message.topic}"
            log.error("%s; it becomes a dead letter", error)
            self._tell(OUTCOME_TOO_LARGE)
            topic, partition, offset = message.origin or ("", "", "")
            added = {
                "reason": OUTCOME_TOO_LARGE,
                "error": f"{error}: raise its max.message.bytes",
                "source-topic": topic,
                "source-partition": str(partition),
                "source-offset": str(offset),
            }
            headers = tuple([(f"{_PREFIX}{name}", text.encode()) for name, text in added.items()])
            return Message(self._dead_letter_topic, message.key, message.value, headers)
        ours = tuple(header for header in message.headers if header[0].startswith(_PREFIX))
        if message.value:
            return message._replace(value=b"", headers=(*message.headers, (CUT, size)))
        return message._replace(key=None, headers=ours)

    async def _connect(self) -> AIOKafkaProducer:
        producer = AIOKafkaProducer(enable_idempotence=self._idempotent, **self._options)
        try:
            async with asyncio.timeout(_PATIENCE):
                await producer.start()
        except TimeoutError as error:
            await _stop(producer)
            raise KafkaTimeoutError(f"no producer in {_PATIENCE:.0f} s") from error
        except BaseException:
            await _stop(producer)
            raise
        return producer

    async def _renew(self, broken: AIOKafkaProducer) -> None:
        async with self._renewal:
            if self._producer is not broken:
                return  # another shard was faster
            try:
                self._producer = await self._connect()
            except KafkaError as error:
                log.warning("cannot renew the producer now: %r", error)
                return
        await _stop(broken)


def _is_no_refusal(record: logging.LogRecord) -> bool:
    return "InitProducerIdRequest" not in str(record.msg)


def _failed(error: BaseException) -> asyncio.Future[Any]:
    future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    future.set_exception(error)
    return future


async def _stop(producer: AIOKafkaProducer) -> None:
    # Stopping flushes, which has no end while Kafka is away.
    with suppress(TimeoutError, KafkaError):
        await asyncio.wait_for(producer.stop(), _STOP_PATIENCE)
