"""Creates the topics that the application needs. An existing topic is never changed."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaError, TopicAlreadyExistsError, for_code

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Mapping

_BROKERS_DEFAULT = -1
_LEADERS_SECONDS = 30


class Topic(NamedTuple):
    """A topic to create; `config` by Kafka's names (`{"retention.ms": "86400000"}`)."""

    name: str
    partitions: int
    config: Mapping[str, str] = {}


class TopicError(RuntimeError):
    """Topics could not be created; the message names each one and Kafka's reason."""


async def create_topics(
    bootstrap_servers: str,
    topics: Iterable[Topic],
    *,
    replication_factor: int = _BROKERS_DEFAULT,
    **security: Any,
) -> set[str]:
    """Create the topics that do not exist yet and return their names, once a broker knows all their leaders.

    The replication factor is the broker's default unless given. `security` is passed to `AIOKafkaAdminClient` (`security_protocol`, `ssl_context`,
    `sasl_…`).

    Raises:
        TopicError: Kafka refused a topic, or a new one has no leader within 30 s (others may have been created).
        KafkaError: Kafka cannot be reached, or refuses the connection.
    """
    wanted = [
        # With the broker's default aiokafka requires assignments, even if empty; with a replication factor it refuses them.
        NewTopic(
            t.name,
            t.partitions,
            replication_factor,
            replica_assignments={} if replication_factor == _BROKERS_DEFAULT else None,
            topic_configs=dict(t.config),
        )
        for t in topics
    ]
    if not wanted:
        return set()
    async with admin_client(bootstrap_servers, security) as admin:
        response = await admin.create_topics(wanted)
        created, refused = _outcome(response.topic_errors)
        if refused:
            raise TopicError(f"Kafka at {bootstrap_servers} refused to create topics: {'; '.join(refused)}")
        try:
            async with asyncio.timeout(_LEADERS_SECONDS):
                while not await _all_have_leaders(admin, created):  # noqa: ASYNC110 - Kafka sends no event
                    await asyncio.sleep(0.05)
        except TimeoutError:
            raise TopicError(
                f"topics at {bootstrap_servers} have no leaders {_LEADERS_SECONDS} s after their creation: {', '.join(sorted(created))}. "
                "Check that all brokers run"
            ) from None
    return created


def _outcome(topic_errors: Iterable[tuple[str, int, *tuple[str | None, ...]]]) -> tuple[set[str], list[str]]:
    """The topics that are new, and those that were refused, with the reason."""
    created: set[str] = set()
    refused: list[str] = []
    for name, code, *details in topic_errors:
        reason: type[KafkaError] = for_code(code)
        if code == 0:
            created.add(name)
        elif reason is not TopicAlreadyExistsError:
            refused.append(f"{name}: {(details and details[0]) or reason.description or reason.__name__}")
    return created, refused


async def _all_have_leaders(admin: AIOKafkaAdminClient, topics: set[str]) -> bool:
    """Whether clients can use the topics: Kafka answers the request before all brokers know the new topics."""
    if not topics:
        return True
    described = await admin.describe_topics(sorted(topics))
    return all(t["partitions"] and all(p["leader"] >= 0 for p in t["partitions"]) for t in described)


@asynccontextmanager
async def admin_client(bootstrap_servers: str, security: Mapping[str, Any]) -> AsyncIterator[AIOKafkaAdminClient]:
    """A connected admin client; `security` as of `create_topics`."""
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap_servers, **security)
    try:
        await admin.start()
        yield admin
    finally:
        await admin.close()
