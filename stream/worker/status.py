"""Whether a worker is ready, derived from what its shards and the consumer know. Nothing is decided by what is reported here."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from stream.worker.shard_task import CLAIMED, ShardState

if TYPE_CHECKING:
    from collections.abc import Mapping

    from stream.kafka.topic_watch import InputTopic
    from stream.worker.retry import Waiting
    from stream.worker.shard_set import ShardSet
    from stream.worker.shard_task import ShardTask

_NO_ANSWER: Final = "Kafka does not answer"


@dataclass
class Status:
    """Health of one worker."""

    shards: ShardSet | None = None
    """None until the worker has reached Redis and Kafka."""
    waiting: Waiting | None = None
    """What the worker waits for before it has `shards`."""
    stopping: bool = False
    topics: Mapping[str, InputTopic] = field(default_factory=dict)
    """What Kafka last said of the input topics, by name; empty until it has answered."""

    def readiness(self) -> tuple[bool, list[str]]:
        """Whether Kafka has assigned partitions and answers, every shard is claimed and waits for nothing, and all topics can be read; and what is missing.

        A halted shard does not make its worker unready: the other shards continue, and there is an alert for it.
        """
        shards = self.shards
        if self.stopping:
            return False, ["the worker is stopping"]
        if shards is None:
            reason = None if self.waiting is None else self.waiting.reason
            return False, [f"not started yet: {reason or 'connecting to Redis and Kafka'}"]
        missing = [] if shards.assigned else [shards.refused or "Kafka has not assigned partitions"]
        if shards.unanswered:
            missing.append(_NO_ANSWER)
        missing.extend(topic.problem for topic in self.topics.values() if topic.problem is not None)
        for (topic, partition), task in sorted(shards.tasks.items()):
            reason = _missing(task)
            if reason is not None and reason not in missing:
                missing.append(f"{topic}/{partition}: {reason}")
        return not missing, missing


def _missing(task: ShardTask) -> str | None:
    """Why the records of a shard are not applied now; None if they are, or if the shard is halted."""
    if task.state is ShardState.HALTED:
        return None
    if task.waiting.reason is not None or task.state not in CLAIMED:
        return task.waiting.reason or f"not claimed yet ({task.state.value})"
    return task.log_view.unreadable or (_NO_ANSWER if task.log_view.unanswered else None)
