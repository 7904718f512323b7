"""Whether a worker is ready, derived from what its shards and the consumer know. Nothing is decided by what is reported here."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from stream.worker.shard_set import KAFKA_TIMEOUT
from stream.worker.shard_task import CLAIMED

if TYPE_CHECKING:
    from collections.abc import Mapping

    from stream.kafka.cursor import HaltReason
    from stream.kafka.topic_watch import InputTopic
    from stream.worker.retry import Waiting
    from stream.worker.shard_set import ShardSet
    from stream.worker.shard_task import ShardTask

_NO_ANSWER: Final = "Kafka does not answer"
_LISTED: Final = 3
"""Shards that are listed by name."""
OF_PROCESS: Final[frozenset[HaltReason]] = frozenset(
    {"newer_layout", "wrong_journey", "damaged_state", "codec", "defect", "other_application"}
)
"""Reasons to halt that are about this process or its settings: a worker of another version or with other settings may continue."""


@dataclass
class Status:
    """Health of one worker."""

    shards: ShardSet | None = None
    """None until the worker has reached Redis and Kafka."""
    waiting: Waiting | None = None
    """What the worker waits for before it has `shards`."""
    reconnecting: bool = False
    """The worker has had `shards` before: Kafka has not answered for long, and all clients are made again."""
    stopping: bool = False
    topics: Mapping[str, InputTopic] = field(default_factory=dict)
    """What Kafka last said of the input topics, by name; empty until it has answered."""

    def partitions(self, topic: str) -> int | None:
        """How many partitions an input topic has in Kafka; None if that is not known."""
        known = self.topics.get(topic)
        return None if known is None else known.partitions

    def readiness(self) -> tuple[bool, list[str]]:
        """Whether the worker does its part, and what is missing: one line for each cause.

        It is ready if Kafka has assigned partitions, possibly none, and answers, and every shard is claimed, waits for nothing, and has committed
        something. A shard that is halted by the state of its log does not make a worker unready, unless all of them are: an update must be able to bring
        a fix. One that is halted by something about this process does, so that an update stops at the first worker.
        """
        shards = self.shards
        if self.stopping:
            return False, ["the worker is stopping"]
        if shards is None:
            reason = None if self.waiting is None else self.waiting.reason
            begun = "connecting to Kafka again" if self.reconnecting else "not started yet"
            return False, [f"{begun}: {reason or 'connecting to Redis and Kafka'}"]
        silent = time.monotonic() - shards.answered_at > KAFKA_TIMEOUT
        missing = []
        if not shards.assigned and not silent:
            missing.append(shards.refused or "Kafka has not assigned partitions")
        if shards.unanswered or (silent and not shards.assigned):
            missing.append(_NO_ANSWER)
        missing.extend(topic.problem for topic in self.topics.values() if topic.problem is not None)
        causes: dict[str, list[str]] = {}
        tasks = sorted(shards.tasks.items())
        all_halted = bool(tasks) and all(task.halted is not None for _, task in tasks)
        for (topic, partition), task in tasks:
            cause = _missing(task, all_halted=all_halted)
            if cause is not None and cause not in missing:
                causes.setdefault(cause, []).append(f"{topic}/{partition}")
        missing += [f"{_listed(places)}: {cause}" for cause, places in causes.items()]
        if tasks and not missing and not shards.has_committed:
            missing.append("no shard has committed since the worker started")
        return not missing, missing


def _missing(task: ShardTask, *, all_halted: bool) -> str | None:
    """What keeps the records of a shard from being applied now, and makes its worker unready."""
    if task.halted is not None:
        return f"halted: {task.halted}" if all_halted or task.halted.reason in OF_PROCESS else None
    if task.waiting.reason is not None or task.state not in CLAIMED:
        return task.waiting.reason or f"not claimed yet ({task.state.value})"
    return task.log_view.unreadable or (_NO_ANSWER if task.log_view.unanswered else None)


def _listed(places: list[str]) -> str:
    return ", ".join(places[:_LISTED]) + (f" and {len(places) - _LISTED} more" if len(places) > _LISTED else "")
