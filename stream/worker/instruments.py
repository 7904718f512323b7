"""What the worker counts, as its parts see it; `stream.observe` implements it for Prometheus."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from stream.core.result import Version


class Instruments(Protocol):
    """Counters and gauges of one worker. Times are in seconds."""

    def event(self, topic: str, type: str | None, result: str, count: int = 1) -> None:  # noqa: A002 - the label's name
        """So many records of one topic, type and result were committed; None where the type could not be read."""

    def dead_letter(self, reason: str) -> None:
        """One record was rejected, and committed as such."""

    def transactions(self, kind: str, journey: str, channel: str, segment: str, number: int) -> None:
        """So many transactions were newly counted under a kind."""

    def judged(self, topic: str, partition: int, versions: Sequence[Version]) -> None:
        """Versions of a shard's transactions that were published, and are committed now."""

    def overflow(self, label: str) -> None:
        """A label value did not fit and became `other`."""

    def commit(self, events: int, seconds: float) -> None:
        """A batch was committed."""

    def commit_failure(self, reason: str) -> None:
        """A commit could not be made now; it is tried again."""

    def delays(self, seconds: Sequence[float]) -> None:
        """From event time to commit, one for each event."""

    def lag(self, topic: str, partition: int, records: int) -> None:
        """Records in the log that are not committed."""

    def drop_shard(self, topic: str, partition: int) -> None:
        """The shard went to another worker: its gauges here end."""

    def fenced(self) -> None:
        """A commit was refused because another worker owns the shard."""

    def halted(self, topic: str, partition: int, halted: bool) -> None:  # noqa: FBT001 - a gauge of 0 and 1
        """The shard waits for somebody to look, or no longer does."""

    def rebalance(self) -> None:
        """Partitions were given out anew."""

    def ready(self, ready: bool) -> None:  # noqa: FBT001 - a gauge of 0 and 1
        """The worker does its work, or does not."""
