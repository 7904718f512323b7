"""Faust's part of the worker: the app, its settings, and the agent.

Rules: of Faust's services only those run that read from Kafka. Its producer, web server, tables, leader topic and working directory are off: the worker
has its own, or none. The agent hands batches to their shards and does nothing else. An error in it does not restart it; it ends the process.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

import faust
from faust.app.base import BootStrategy
from faust.assignor.partition_assignor import PartitionAssignor
from faust.tables.manager import TableManager

from stream.consumer.batch_consumer import BatchTransport
from stream.kafka.security import faust_credentials

if TYPE_CHECKING:
    from collections.abc import Iterable

    from faust.types import AgentT, AppT, Message, StreamT, TransportT

    from stream.kafka.cursor import Batch
    from stream.settings import Settings
    from stream.worker.shard_set import Shards

CLIENT_ID: Final = "upsell-stream"
POLLED: Final = 4
"""Full batches that one fetch hands over, at most: shards that have their records at the same time are applied side by side."""
DRAIN_PATIENCE: Final = 10.0
"""Seconds at the end for the batches that are being applied."""


class _Boot(BootStrategy):
    enable_kafka_producer = False
    enable_web = False


class _NoTables(TableManager):
    async def on_start(self) -> None:
        """Start without the second that Faust gives applications to declare their tables."""
        await self._update_channels()
        await self.recovery.start()


class App(faust.App):
    """Faust's part of the worker."""

    mundane_level = "debug"

    BootStrategy = _Boot

    def __init__(self, settings: Settings, shards: Shards) -> None:
        """Everything about Faust that the settings decide."""
        session = settings.kafka_session_timeout
        self.batch_records = settings.batch_records
        """Records of one partition in one batch, at most."""
        self.polled_records = POLLED * settings.batch_records
        """Records in one fetch, at most; with as many under way nothing is fetched."""
        super().__init__(
            settings.app_id,
            broker=[f"kafka://{server.strip()}" for server in settings.kafka_bootstrap_servers.split(",")],
            broker_client_id=CLIENT_ID,
            broker_credentials=faust_credentials(settings),
            broker_session_timeout=session,
            broker_heartbeat_interval=heartbeat(settings),
            # How long the group waits for a member that is finishing its batches.
            broker_rebalance_timeout=session,
            broker_request_timeout=max(90.0, 1.5 * session),
            broker_max_poll_records=self.polled_records,
            # While Redis is away nothing is fetched, which is no reason to leave the group.
            broker_max_poll_interval=10_000_000.0,
            # A position that Kafka does not have is an alarm; jumping elsewhere would lose records in silence.
            consumer_auto_offset_reset="none",
            # A topic that was deleted and made anew belongs to nobody until a member sees it.
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

    def _new_transport(self) -> TransportT:
        return BatchTransport(self.conf.broker_consumer, self)

    @cached_property
    def assignor(self) -> PartitionAssignor:
        """Faust's sticky assignor, which the setting `table_standby_replicas` (1 by default) puts in the place of round robin.

        The setting alone would also make it plan for a standby of each partition: it then leaves a new worker without any
        as long as the others hold no more than their rounded-up share (4 partitions on 3 workers as 2, 2 and 0).
        """
        return PartitionAssignor(self, replicas=0)

    async def _on_agent_error(self, agent: AgentT[Any], exc: BaseException) -> None:  # noqa: ARG002 - Faust's signature
        # Faust would start the agent anew, without the batch.
        await self.crash(exc)

    def _create_directories(self) -> None:
        """Nothing: there is no state on this machine."""

    async def _drain(self, *_: Any, **__: Any) -> None:
        # Kafka does not revoke anything when a worker stops.
        await self.shards.suspend(DRAIN_PATIENCE)
        if self._consumer is not None and self._consumer.started:
            await self._consumer.commit()
        await self.shards.close(DRAIN_PATIENCE)


class BatchSchema(faust.Schema[None, Any]):
    """The value of a message is the batches themselves: there is nothing to decode."""

    def loads_key(self, app: AppT, message: Message, **_: Any) -> None:
        """Return nothing: batches have many keys."""

    def loads_value(self, app: AppT, message: Message, **_: Any) -> Any:  # noqa: ARG002 - Faust's signature
        """Return the batches."""
        return message.value


def add_agent(app: faust.App, topics: Iterable[str], shards: Shards) -> AgentT[Any]:
    """Have the batches of these topics delivered to their shards."""

    async def deliver(fetches: StreamT[list[Batch]]) -> None:
        async for batches in fetches:
            for batch in batches:
                shards.deliver(batch)

    # No acks: Faust would track them for offsets that Redis decides on.
    channel = app.topic(*topics, schema=BatchSchema(), acks=False)
    return app.agent(channel, name="shards")(deliver)


def heartbeat(settings: Settings) -> float:
    """Seconds between two heartbeats."""
    return min(3.0, settings.kafka_session_timeout / 3)
