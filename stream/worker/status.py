"""How a worker is doing, for its health checks: plain data, changed in place by the worker's event loop."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stream.core.shard.write_set import ShardId


@dataclass
class ShardStatus:
    """One assigned shard."""

    claimed: bool = False
    """State is loaded, and commits are expected to be accepted."""
    stalled: str | None = None
    """What is being tried again and again at the moment; None while all is well."""
    unanswered: bool = False
    """Kafka has not told for some seconds what the log holds, although it was asked."""
    unreadable: str | None = None
    """Why the log's next records cannot be read, which is tried again and again; None while they can."""
    halted: str | None = None
    """Why the shard waits for somebody to look; None while it does not."""
    offset: int | None = None
    """The next record to apply, as the tables hold it; None before the first commit of records."""
    start: int | None = None
    """Where the log was last sought."""
    end: int | None = None
    """Up to where the log may be read, as Kafka last told it: its end, or where the oldest open transaction begins."""
    empty: range = range(0)
    """Offsets that were read and hold no record: markers of transactions, and what aborted ones wrote."""

    @property
    def reached(self) -> int | None:
        """The next offset that can hold a record to apply; None where nothing was read."""
        at = self.start if self.offset is None else self.offset
        return self.empty.stop if at in self.empty else at

    @property
    def lag(self) -> int | None:
        """Records in the log that are not committed; None while that is not known."""
        at = self.reached
        return None if at is None or self.end is None else max(0, self.end - at)


@dataclass
class Status:
    """One worker."""

    assigned: bool = False
    """Kafka has given out partitions, possibly none, and is not giving them out anew."""
    refused: str | None = None
    """Why Kafka does not take this process into its group; None while it does."""
    unanswered: bool = False
    """Kafka has not answered this member of its group for some seconds."""
    shards: dict[ShardId, ShardStatus] = field(default_factory=dict)

    def readiness(self) -> tuple[bool, list[str]]:
        """Whether partitions were given out, Kafka answers, every shard is claimed and nothing is tried in vain; and what is missing.

        A halted shard makes no worker unready: the other shards go on, and it has an alarm of its own.
        """
        missing = [] if self.assigned else [self.refused or "Kafka has not given out partitions"]
        if self.unanswered:
            missing.append("Kafka does not answer")
        for (topic, partition), shard in sorted(self.shards.items()):
            if shard.halted is None and (reason := self._missing(shard)):
                missing.append(f"{topic}/{partition}: {reason}")
        return not missing, missing

    def _missing(self, shard: ShardStatus) -> str | None:
        if shard.stalled is not None or not shard.claimed:
            return shard.stalled or "not claimed yet"
        if shard.unreadable is not None:
            return shard.unreadable
        return "Kafka does not answer" if shard.unanswered and not self.unanswered else None
