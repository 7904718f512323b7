"""Faust's agents: the loop and nothing else. What a batch is worth is decided by its shard, at once and without an error."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import faust

if TYPE_CHECKING:
    from collections.abc import Iterable

    from faust.types import AgentT, AppT, Message, StreamT

    from stream.kafka.cursor import Batch
    from stream.worker.shard_set import Shards


class BatchSchema(faust.Schema[None, Any]):
    """The value of a message is the batches themselves; there is nothing to decode."""

    def loads_key(self, app: AppT, message: Message, **_: Any) -> None:
        """Return nothing: batches have many keys."""

    def loads_value(self, app: AppT, message: Message, **_: Any) -> Any:  # noqa: ARG002 - Faust's signature
        """Return the batches."""
        return message.value


def add_agent(app: faust.App, topics: Iterable[str], shards: Shards) -> AgentT[Any]:
    """Have the records of these topics delivered to the shards."""

    async def deliver(fetches: StreamT[list[Batch]]) -> None:
        async for batches in fetches:
            for batch in batches:
                shards.deliver(batch)

    # No acks: Faust would track them for offsets that Redis decides on.
    channel = app.topic(*topics, schema=BatchSchema(), acks=False)
    return app.agent(channel, name="shards")(deliver)
