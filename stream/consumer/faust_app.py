"""Faust's part of the worker: the app, its settings, and the agent.

Rules: of Faust's services only those run that read from Kafka. Its producer, web server, tables, leader topic and working directory are off: the worker
has its own, or none. The agent hands batches to their shards and does nothing else. An error in it ends the process; Faust does not restart it.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

import faust
from faust.app.base import BootStrategy
from faust.assignor.partition_assignor import PartitionAssignor
from faust.tables.manager import TableManager

from stream.consumer.batch_consumer import BatchConsumer, BatchTransport
from stream.kafka.security import CLIENT_ID, faust_credentials

if TYPE_CHECKING:
    from collections.abc import Iterable

    from faust.types import AgentT, AppT, Message, StreamT, TransportT

    from stream.kafka.cursor import Batch
    from stream.settings import Settings
    from stream.worker.shard_set import ShardSet

POLLED: Final = 4
"""Full batches that one fetch delivers, at most; shards whose records arrive together are applied concurrently."""
DRAIN_TIMEOUT: Final = 10.0
"""Seconds for the batches that are being applied when the worker stops."""


class _Boot(BootStrategy):
    enable_kafka_producer = False
    enable_web = False


class _NoTables(TableManager):
    async def on_start(self) -> None:
        """Start without the second that Faust waits for applications to declare tables."""
        await self._update_channels()
        await self.recovery.start()


class App(faust.App):
    """Faust's part of the worker."""

    mundane_level = "debug"

    BootStrategy = _Boot

    def __init__(self, settings: Settings, shards: ShardSet) -> None:
        """Set everything about Faust that the settings decide."""
        session = settings.kafka_session_timeout
        self.batch_records = settings.batch_records
        """Records of one partition in one batch, at most."""
        self.polled_records = POLLED * settings.batch_records
        """Records in one fetch, at most; while as many are under way nothing is fetched."""
        super().__init__(
            settings.app_id,
            broker=[f"kafka://{server.strip()}" for server in settings.kafka_bootstrap_servers.split(",")],
            broker_client_id=CLIENT_ID,
            broker_credentials=faust_credentials(settings),
            broker_session_timeout=session,
            broker_heartbeat_interval=heartbeat(settings),
            # How long the group waits for a member that finishes its batches.
            broker_rebalance_timeout=session,
            broker_request_timeout=max(90.0, 1.5 * session),
            broker_max_poll_records=self.polled_records,
            # While Redis is unavailable nothing is fetched; that is no reason to leave the group.
            broker_max_poll_interval=10_000_000.0,
            # An offset that Kafka does not have halts the shard; a reset to another offset would lose records without notice.
            consumer_auto_offset_reset="none",
            # The partitions of a topic that was created again are not assigned until a member sees them.
            consumer_metadata_max_age_ms=10_000,
            consumer_group_instance_id=settings.kafka_group_instance_id,
            stream_wait_empty=False,
            store="memory://",
            topic_allow_declare=False,
            topic_disable_leader=True,
            web_enabled=False,
            TableManager=_NoTables,
            worker_redirect_stdouts=False,
        )
        self.shards = shards
        self.on_before_shutdown.connect(self._drain)

    async def stop(self) -> None:
        """Release the shards, leave the group, close the client.

        Raises:
            RuntimeError: the client still runs. Then the process must end: another client beside it would share the partitions with it.
        """
        await super().stop()
        consumer = self._consumer
        if isinstance(consumer, BatchConsumer) and consumer.is_alive:
            raise RuntimeError("the consumer of Kafka did not stop")

    def _new_transport(self) -> TransportT:
        return BatchTransport(self.conf.broker_consumer, self)

    @cached_property
    def assignor(self) -> PartitionAssignor:
        """Faust's sticky assignor, which Faust uses instead of round robin while `table_standby_replicas` is not 0 (it is 1 by default).

        With that setting alone the assignor would also plan a standby of each partition: then it assigns nothing to a new worker
        as long as the others hold no more than their rounded-up share (4 partitions on 3 workers as 2, 2 and 0).
        """
        return PartitionAssignor(self, replicas=0)

    async def _on_agent_error(self, agent: AgentT[Any], exc: BaseException) -> None:  # noqa: ARG002 - Faust's signature
        # Faust would restart the agent, without the batch.
        await self.crash(exc)

    def _create_directories(self) -> None:
        """Do nothing: there is no state on this machine."""

    async def _drain(self, *_: Any, **__: Any) -> None:
        # Kafka revokes no partitions when a worker stops.
        await self.shards.suspend(DRAIN_TIMEOUT)
        if self._consumer is not None and self._consumer.started:
            await self._consumer.commit()
        await self.shards.close(DRAIN_TIMEOUT)


class BatchSchema(faust.Schema[None, Any]):
    """The value of a message is a list of batches: there is nothing to decode."""

    def loads_key(self, app: AppT, message: Message, **_: Any) -> None:
        """Return None: a batch has many keys."""

    def loads_value(self, app: AppT, message: Message, **_: Any) -> Any:  # noqa: ARG002 - Faust's signature
        """Return the batches."""
        return message.value


def add_agent(app: faust.App, topics: Iterable[str], shards: ShardSet) -> AgentT[Any]:
    """Deliver the batches of these topics to their shards."""

    async def deliver(fetches: StreamT[list[Batch]]) -> None:
        async for batches in fetches:
            for batch in batches:
                shards.deliver(batch)

    # No acks: Faust would track offsets, which only Redis decides on.
    channel = app.topic(*topics, schema=BatchSchema(), acks=False)
    return app.agent(channel, name="shards")(deliver)


def heartbeat(settings: Settings) -> float:
    """Seconds between two heartbeats."""
    return min(3.0, settings.kafka_session_timeout / 3)
