"""Whether topics can be used, for commands. "Does not exist" and "this user may not see it" are different answers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aiokafka.errors import KafkaError, TopicAuthorizationFailedError, UnknownTopicOrPartitionError, for_code

from stream.kafka.metadata import MetadataClient, TopicMetadata
from stream.kafka.security import CLIENT_ID

if TYPE_CHECKING:
    from collections.abc import Iterable


class TopicUnusableError(RuntimeError):
    """A topic does not exist, or this user may not use it. Says what to do."""


async def look_up(bootstrap_servers: str, security: dict[str, Any], topics: Iterable[str]) -> dict[str, TopicMetadata]:
    """Kafka's answer about each of these topics; none is created. `security` as of `stream.kafka.security.client_options`.

    Raises:
        KafkaError: Kafka cannot be reached, or refuses the connection.
    """
    client = MetadataClient(bootstrap_servers, CLIENT_ID, security)
    try:
        return {topic.name: topic for topic in await client.topics(list(topics))}
    finally:
        await client.close()


def check_usable(topic: TopicMetadata) -> None:
    """Pass if the topic exists and this user may see it.

    Raises:
        TopicUnusableError: otherwise; says why, and what to do.
    """
    error: type[KafkaError] = for_code(topic.error)
    if error is UnknownTopicOrPartitionError:
        raise TopicUnusableError(f"topic {topic.name} does not exist; check the names of the topics in the settings")
    if error is TopicAuthorizationFailedError:
        raise TopicUnusableError(
            f"topic {topic.name} may not be seen by this user, and Kafka does not say whether it exists; grant Describe and Read on it"
        )
    if topic.error:
        raise TopicUnusableError(
            f"Kafka does not describe topic {topic.name} ({error.__name__}); check that the brokers with its partitions run"
        )
