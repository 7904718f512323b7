"""Whether the input topics exist and may be read, and how many partitions they have.

Rules: to a consumer a topic that does not exist, or that may not be read, is a topic without records. So Kafka is asked about each one by name, again and
again. While Kafka does not answer, the newest answer stays.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from aiokafka.errors import (
    KafkaError,
    TopicAuthorizationFailedError,
    UnknownTopicOrPartitionError,
    for_code,
)

from stream.kafka.metadata import MetadataClient
from stream.settings import variable

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from stream.core.event import Journey
    from stream.kafka.metadata import TopicMetadata

log = logging.getLogger(__name__)

WATCH_EVERY: Final = 15.0
"""Seconds between two questions."""
_READ, _DESCRIBE = 1 << 3, 1 << 8  # of Kafka's `AclOperation`


@dataclass(frozen=True)
class InputTopic:
    """What Kafka says of an input topic."""

    name: str
    partitions: int | None
    """None if Kafka does not say."""
    problem: str | None
    """For people: the topic, why it cannot be read, and what to do; None if it can be read."""


class TopicWatch:
    """Asks about the input topics with a client of its own."""

    def __init__(
        self,
        bootstrap_servers: str,
        topics: Mapping[str, Journey],
        client_id: str,
        security: dict[str, Any],
        on_answer: Callable[[Mapping[str, InputTopic]], None],
    ) -> None:
        """`topics`: journeys by topic; `security` as of `stream.kafka.security.client_options`; `on_answer` gets each answer, with all topics."""
        self._topics = topics
        self._client = MetadataClient(bootstrap_servers, client_id, security)
        self._on_answer = on_answer
        self._problems: dict[str, str | None] = dict.fromkeys(topics)

    async def ask(self) -> None:
        """Ask once.

        Raises:
            KafkaError: Kafka does not answer now.
        """
        answer = await self._client.topics(list(self._topics))
        topics = {topic.name: describe(topic, self._topics[topic.name]) for topic in answer}
        for name, topic in topics.items():
            before, self._problems[name] = self._problems[name], topic.problem
            if topic.problem is not None and topic.problem != before:
                log.warning("%s. Until then no record of it is counted", topic.problem)
            elif topic.problem is None and before is not None:
                log.info("topic %s can be read now", name)
        self._on_answer(topics)

    async def run(self) -> None:
        """Ask every `WATCH_EVERY` seconds. Never returns."""
        while True:
            await asyncio.sleep(WATCH_EVERY)
            try:
                await self.ask()
            except KafkaError as error:
                log.debug("cannot ask about the input topics: %r", error)

    async def close(self) -> None:
        """Disconnect."""
        await self._client.close()


def describe(topic: TopicMetadata, journey: Journey) -> InputTopic:
    """What an answer about the topic of a journey means."""
    setting = variable(f"{journey}_topic")
    error: type[KafkaError] = for_code(topic.error)
    problem = None
    if error is UnknownTopicOrPartitionError:
        problem = f"topic {topic.name} does not exist: create it, or correct {setting}"
    elif error is TopicAuthorizationFailedError:
        problem = (
            f"topic {topic.name} may not be seen by this user, and Kafka does not say whether it exists: grant Read and Describe on it, or correct "
            f"{setting}"
        )
    elif topic.error:
        problem = f"Kafka does not describe topic {topic.name} ({error.__name__}): check that the brokers with its partitions run"
    elif topic.operations is not None and topic.operations & _DESCRIBE and not topic.operations & _READ:
        problem = f"topic {topic.name} may not be read by this user: grant Read and Describe on it"
    return InputTopic(topic.name, None if topic.error else topic.partitions, problem)
