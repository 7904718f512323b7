"""What Kafka leaves unanswered: heartbeats of the group's member, fetches of a partition, requests to join the group.

Rules: to aiokafka a missing answer is a line in the log and another attempt, without end. Here it becomes a fact that the shards and the health report
can use. aiokafka has no public way to it, so this module reads private attributes of the client; each one is named in the method that needs it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from aiokafka.client import ConnectionGroup
from aiokafka.errors import InvalidSessionTimeoutError, KafkaError
from aiokafka.structs import TopicPartition

from stream.kafka.cursor import CREDITS
from stream.kafka.errors import in_words
from stream.worker.shard_set import KAFKA_TIMEOUT

if TYPE_CHECKING:
    from collections.abc import Callable

    import aiokafka

    from stream.core.shard.write_set import ShardId
    from stream.worker.shard_set import ShardSet

CHECK_EVERY: Final = 1.0
"""Seconds between two looks at what was answered."""
_SESSION_HINT: Final = (
    "set kafka_session_timeout between the brokers' group.min.session.timeout.ms and group.max.session.timeout.ms"
)


class LogEnd(NamedTuple):
    """What the client knows about a partition's log."""

    end: int | None
    """Up to where it can be read; None before the first fetch."""
    position: int | None
    """The next offset that the client would fetch: behind the last record if what follows holds none. None if that is not certain."""


class Liveness:
    """Looks at the client, and notes in the shards what it finds."""

    def __init__(
        self,
        shards: ShardSet,
        client: Callable[[], aiokafka.AIOKafkaConsumer],
        has_no_room: Callable[[], bool],
    ) -> None:
        """`client` returns the consumer's client; `has_no_room` whether nothing is fetched because much is being applied."""
        self._shards = shards
        self._client = client
        self._has_no_room = has_no_room
        self._answered_at = 0.0
        """When Kafka last answered this member of its group; by the monotonic clock."""
        self._tokens: dict[ShardId, tuple[object, float]] = {}
        """The progress token of a shard, and since when it has been the same."""

    def forget_partitions(self) -> None:
        """Start again: Kafka has assigned partitions."""
        self._tokens.clear()

    def check(self, now: float) -> None:
        """Note whether Kafka answers this member's heartbeats, and the fetches of each shard, even if without records. `now` by the monotonic clock."""
        client = self._client()
        connections = list(client._client._conns.values())  # noqa: SLF001 - also those for metadata, which is asked for every few seconds
        for connected in connections:
            self._shards.answered_at = max(self._shards.answered_at, connected._last_action)  # noqa: SLF001 - when its last answer arrived
        coordinator = (client._coordinator.coordinator_id, ConnectionGroup.COORDINATION)  # noqa: SLF001 - who answers heartbeats
        connection = client._client._conns.get(coordinator)  # noqa: SLF001 - where the answers arrive
        if not self._shards.assigned:
            self._answered_at = now  # a rebalance may take the group longer
        elif connection is not None:
            self._answered_at = max(self._answered_at, connection._last_action)  # noqa: SLF001 - when the last one arrived
        silent = now - self._answered_at > KAFKA_TIMEOUT
        self._shards.note_silence(silent)
        no_room = self._has_no_room()
        for shard in self._shards.tasks:
            token = None if no_room else self.progress_token(shard)
            before, since = self._tokens.get(shard, (None, now))
            if token is None or token != before:
                since = now
            self._tokens[shard] = token, since
            self._shards.note_unanswered(shard, silent or now - since > KAFKA_TIMEOUT)

    def progress_token(self, shard: ShardId) -> object:
        """A value that changes whenever Kafka answers for this partition; None while no fetch is pending."""
        cursor = self._shards.cursor(shard)
        if cursor is None or cursor.outstanding >= CREDITS:
            return None
        try:
            answered = self._client().last_poll_timestamp(TopicPartition(*shard))
        except AssertionError:  # of aiokafka: the partition is no longer assigned
            return None
        return cursor, cursor.read, answered

    def log_end(self, shard: ShardId) -> LogEnd | None:
        """Where a log ends and how far the client has read; None if the partition is no longer assigned."""
        client = self._client()
        subscription = client._subscription  # noqa: SLF001 - the public ways to the position wait for Kafka
        partition = TopicPartition(*shard)
        if not subscription.is_assigned(partition):
            return None
        state = subscription.subscription.assignment.state_value(partition)
        position = state.position if state.has_valid_position else None
        if partition in client._fetcher._records:  # noqa: SLF001 - what is fetched and not yet returned
            position = None  # it may be an error, for which aiokafka moves the position before it raises it
        # A broker without transactions returns no last stable offset.
        return LogEnd(state.highwater if state.lso in (None, -1) else state.lso, position)

    def clear_refusal(self, report: Callable[[str], None]) -> None:
        """Let a member that Kafka refused try again; call it in the client's thread. `report` gets why it was refused.

        aiokafka tries again only after somebody asked for the error, and Faust never asks.
        """
        coordinator = self._client()._coordinator  # noqa: SLF001 - it keeps the error
        if coordinator._pending_exception is None:  # noqa: SLF001 - `check_errors` would also raise while the client closes
            return
        try:
            coordinator.check_errors()
        except KafkaError as error:
            hint = f" ({_SESSION_HINT})" if isinstance(error, InvalidSessionTimeoutError) else ""
            report(f"Kafka refuses this member of the group: {in_words(error)}{hint}")
