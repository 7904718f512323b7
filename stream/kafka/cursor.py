"""How records travel from the consumer to the shard that applies them, and what is known of the shard's log.

Rules: a shard's task makes a new `Cursor` for every seek. To be read from another offset it replaces its cursor; batches that were read through
an older cursor are recognised by identity and dropped. A `Batch` states the range of offsets it covers, besides the records it holds:
a log may have gaps (compaction, markers of transactions), so the offset of the first record is not the start of the range.
"""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

    from stream.core.shard.write_set import ShardId

_ENDS: Final = 1000
"""Ends of a log that are remembered; with more, every other one is forgotten."""
CREDITS: Final = 2
"""Batches of one shard between Kafka and Redis, at most: one that is applied, one that waits."""
NOTHING_SKIPPED: Final = "No record was skipped. What to do: docs/how-to/operations.md, 'A halted shard'"
"""How the message of a `ShardHaltedError` about a log ends."""


HaltReason = Literal[
    "newer_layout",
    "wrong_journey",
    "damaged_state",
    "codec",
    "defect",
    "other_application",
    "partitions_grown",
    "topic_recreated",
    "records_deleted",
    "log_truncated",
    "other_cluster",
]
"""Why a shard is halted. The first six are of the process: another worker may continue with the shard. The others are of the log."""


class ShardHaltedError(Exception):
    """A shard must not continue before an operator has looked; the message says why, and what to do."""

    def __init__(self, text: str, *, reason: HaltReason = "defect") -> None:
        super().__init__(text)
        self.reason: HaltReason = reason


class Cursor:
    """A place in the log that a shard is read from, and how far the reading has come.

    `offset` is the next record to apply; None if none was ever applied: then the log is read from its beginning.
    `verify`: the record before `offset` is read too, if the log still has it, so that the shard can recognise its log. The shard's task sets it to
    False once that is done.
    """

    __slots__ = ("_applied", "offset", "outstanding", "read", "sought", "verify")

    def __init__(self, offset: int | None, *, verify: bool) -> None:
        self.offset = offset
        self.verify = verify
        self.sought: int | None = None
        """The offset that was sought; None before the seek."""
        self.read: int | None = None
        """The next offset to fetch; None before the seek."""
        self.outstanding = 0
        """Batches fetched and not yet applied."""
        self._applied = 0

    def start(self, beginning: int) -> int:
        """The offset to seek to in a log whose first record has the offset `beginning`.

        Raises:
            ShardHaltedError: records that were never applied are no longer in the log.
        """
        if self.offset is None:
            return beginning
        if self.offset < beginning:
            raise _deleted(self.offset, beginning)
        return self.offset - 1 if self.verify and self.offset > beginning else self.offset

    def missing(self, beginning: int, end: int) -> ShardHaltedError | None:
        """What is lost in a log from `beginning` to `end` that does not have the offset of a fetch; None if nothing is: then seek again.

        Nothing is lost if retention has deleted what was read again only to recognise the log, or if what is gone was never applied and can be read
        again from the next record to apply.
        """
        following = max(self._applied, self.offset or 0)
        if end < following:
            return ShardHaltedError(
                f"the log ends at {end}, but the next record to apply is {following}: the log was truncated (unclean leader election, or a "
                f"broker restored from a backup), and Kafka has lost {following - end} records that the figures contain. If Kafka is older than 3.1, "
                f"the topic may also have been created again. {NOTHING_SKIPPED}",
                reason="log_truncated",
            )
        return _deleted(following, beginning) if following < beginning else None

    def seek(self, start: int) -> None:
        """Note that the consumer has sought to `start`."""
        self.sought = self.read = self._applied = start

    def record_fetch(self, shard: ShardId, records: Sequence[Any]) -> Batch:
        """The batch of one or more consecutive records that were fetched. It covers the offsets from the end of the fetch before."""
        assert self.read is not None
        start, self.read = self.read, records[-1].offset + 1
        self.outstanding += 1
        return Batch(shard, self, start, self.read, records)

    def split(self, batch: Batch, number: int) -> tuple[Batch, Batch]:
        """A batch as two: its first `number` records, at least one, and the others, at least one."""
        self.outstanding += 1
        at = batch.records[number].offset
        return batch._replace(end=at, records=batch.records[:number]), batch._replace(
            start=at, records=batch.records[number:]
        )

    def finish(self, batch: Batch) -> None:
        """Note that a batch was applied."""
        self.outstanding -= 1
        self._applied = batch.end

    def pass_over(self, offset: int | None, empty: range) -> int | None:
        """The next offset to apply: `offset`, or the end of `empty` if `offset` lies in that range of offsets without a record.

        It stays at `offset` while a batch is outstanding and while the record before it is still to be recognised.
        """
        if offset is None or offset not in empty or self.outstanding or self.read not in (offset, offset - 1):
            return offset
        self.read = self._applied = empty.stop
        return empty.stop

    @property
    def under_way(self) -> int:
        """Offsets fetched and not yet applied; as many records, unless the log has gaps."""
        return 0 if self.read is None else self.read - self._applied


def _deleted(following: int, beginning: int) -> ShardHaltedError:
    return ShardHaltedError(
        f"the log begins at {beginning}, but the next record to apply is {following}: {beginning - following} records were deleted before they "
        f"were read (retention), or the topic was created again. {NOTHING_SKIPPED}",
        reason="records_deleted",
    )


class Batch(NamedTuple):
    """Consecutive records of one shard: aiokafka's `ConsumerRecord`s, at least one."""

    shard: ShardId
    cursor: Cursor
    start: int
    end: int
    """One past the offset of the last record."""
    records: Sequence[Any]


@dataclass
class LogView:
    """What the consumer has learned about one shard's log."""

    start: int | None = None
    """The offset that was sought last."""
    end: int | None = None
    """Up to where the log can be read: its end, or the beginning of the oldest open transaction."""
    empty: range = range(0)
    """Offsets that were read and hold no record: markers of transactions, and what aborted transactions wrote."""
    unreadable: str | None = None
    """Why the next records cannot be read, which is tried again and again; None while they can."""
    unanswered: bool = False
    """Kafka has not answered fetches from this log for some seconds."""
    _ends: deque[tuple[float, int]] = field(default_factory=deque)
    """When the log was first seen to end behind an offset (by the monotonic clock), and that end; both grow."""

    def note_read(self, end: int | None, empty: range) -> None:
        """The log was read up to its end or until a batch was full."""
        if end is not None and (not self._ends or end > self._ends[-1][1]):
            if len(self._ends) == _ENDS:
                self._ends = deque([*self._ends][::2])
            self._ends.append((time.monotonic(), end))
        self.end, self.empty, self.unreadable = end, empty, None

    def next_offset(self, offset: int | None) -> int | None:
        """The next offset that can hold a record to apply, if `offset` is the next one to apply; None before the log was sought."""
        at = self.start if offset is None else offset
        return self.empty.stop if at in self.empty else at

    def waiting_since(self, offset: int | None) -> float | None:
        """When the record at `offset`, the next one to apply, was first seen to be in the log; by the monotonic clock. None: it is not there yet.

        An earlier `offset` must not be asked for afterwards.
        """
        at = self.next_offset(offset)
        if at is None:
            return None
        while self._ends and self._ends[0][1] <= at:
            self._ends.popleft()
        return self._ends[0][0] if self._ends else None

    def lag(self, offset: int | None) -> int | None:
        """Records in the log from `offset`, the next one to apply; None while that is not known."""
        at = self.next_offset(offset)
        return None if at is None or self.end is None else max(0, self.end - at)
