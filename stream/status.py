"""How a worker is doing, for its health checks: plain data, changed in place by the worker's event loop."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stream.core.changes import ShardId


@dataclass
class ShardStatus:
    """One assigned shard."""

    claimed: bool = False
    """State is loaded, and commits are expected to be accepted."""
    stalled: str | None = None
    """What is being tried again and again at the moment; None while all is well."""
    unanswered: bool = False
    """Kafka has not told for some seconds what the log holds, although it was asked."""
    halted: str | None = None
    """Why the shard waits for somebody to look; None while it does not."""
    offset: int | None = None
    """The next record to apply, as the tables hold it; None before the first commit of records."""
    start: int | None = None
    """Where the log was last sought."""
    high_watermark: int | None = None
    """The end of the log, as Kafka last told it."""

    @property
    def lag(self) -> int | None:
        """Records in the log that are not committed; None while that is not known."""
        at = self.start if self.offset is None else self.offset
        return None if at is None or self.high_watermark is None else max(0, self.high_watermark - at)


@dataclass
class Status:
    """One worker."""

    assigned: bool = False
    """Kafka has given out partitions, possibly none, and is not giving them out anew."""
    unanswered: bool = False
    """Kafka has not answered this member of its group for some seconds."""
    shards: dict[ShardId, ShardStatus] = field(default_factory=dict)

    def readiness(self) -> tuple[bool, list[str]]:
        """Whether partitions were given out, Kafka answers, every shard is claimed and nothing is tried in vain; and what is missing.

        A halted shard makes no worker unready: the other shards go on, and it has an alarm of its own.
        """
        missing = [] if self.assigned else ["Kafka has not given out partitions"]
        if self.unanswered:
            missing.append("Kafka does not answer")
        for (topic, partition), shard in sorted(self.shards.items()):
            if shard.halted is None and (reason := self._missing(shard)):
                missing.append(f"{topic}/{partition}: {reason}")
        return not missing, missing

    def _missing(self, shard: ShardStatus) -> str | None:
        if shard.stalled is not None or not shard.claimed:
            return shard.stalled or "not claimed yet"
        return "Kafka does not answer" if shard.unanswered and not self.unanswered else None
