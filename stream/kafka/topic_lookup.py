"""Asks Kafka about topics by name.

Rules: a topic is never created by asking. "Does not exist" and "this user may not see it" are different answers; a list of all topics would leave out
both kinds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from aiokafka.errors import KafkaError, TopicAuthorizationFailedError, UnknownTopicOrPartitionError, for_code
from aiokafka.protocol.metadata import MetadataRequest

if TYPE_CHECKING:
    from collections.abc import Iterable

    from aiokafka.admin import AIOKafkaAdminClient


class TopicState(NamedTuple):
    """Kafka's answer about one topic."""

    partitions: frozenset[int]
    """Empty if there is an error."""
    error: type[KafkaError] | None = None

    @property
    def is_missing(self) -> bool:
        """Whether there is no such topic."""
        return self.error is UnknownTopicOrPartitionError

    @property
    def is_refused(self) -> bool:
        """Whether this user may not see the topic, so that Kafka does not say whether it exists."""
        return self.error is TopicAuthorizationFailedError


class TopicUnusableError(RuntimeError):
    """A topic does not exist, or this user may not use it. Says what to do."""


async def look_up(admin: AIOKafkaAdminClient, topics: Iterable[str]) -> dict[str, TopicState]:
    """Kafka's answer about each of these topics.

    Raises:
        KafkaError: Kafka cannot be reached, or refuses the connection.
    """
    names = list(topics)
    if not names:
        return {}  # Kafka would answer about all topics
    answer = await admin._send_request(  # noqa: SLF001 - the client's own methods let Kafka create the topics
        MetadataRequest(names, allow_auto_topic_creation=False)
    )
    return {
        topic["topic"]: TopicState(
            frozenset(partition["partition"] for partition in topic["partitions"]),
            for_code(topic["error_code"]) if topic["error_code"] else None,
        )
        for topic in answer.to_object()["topics"]
    }


def check_usable(name: str, state: TopicState) -> None:
    """Pass if the topic can be used.

    Raises:
        TopicUnusableError: it cannot; says why, and what to do.
    """
    if state.is_missing:
        raise TopicUnusableError(f"topic {name} does not exist; check the names of the topics in the settings")
    if state.is_refused:
        raise TopicUnusableError(
            f"Kafka does not let this user see topic {name}, so it is unknown whether it exists; grant the user Describe and Read on the topic"
        )
    if state.error is not None:
        raise TopicUnusableError(
            f"Kafka has no answer about topic {name} now ({state.error.__name__}); try again when its brokers run"
        )
