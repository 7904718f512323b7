"""How records travel from the transport to the shard that applies them.

Rules: a `Cursor` is made by the shard, for every seek a new one; whoever wants the shard read elsewhere replaces it, and what was read from
an older one is ignored by identity. A `Batch` says which offsets it answers for, not only which records it holds: a log may have gaps
(compaction, transaction markers), so the first record's offset is no start.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

    from stream.core.shard.write_set import ShardId

CREDITS: Final = 2
"""Batches of one shard between the log and Redis: one being applied, one waiting."""


class ShardHaltedError(Exception):
    """A shard must not go on before somebody has looked: the message says why, and what to do."""


class Cursor:
    """A place in the log that a shard is read from, and how far the reading has come.

    `offset` is the next record to apply; None where nothing was ever applied: then the log is read from its beginning.
    With `verify` the record before it is read too, where the log still has it, so that the shard can recognise its log.
    """

    __slots__ = ("_applied", "_verify", "offset", "outstanding", "read", "sought")

    def __init__(self, offset: int | None, *, verify: bool) -> None:
        self.offset = offset
        self.sought: int | None = None
        """Where the reading began; None until the log was sought."""
        self.read: int | None = None
        """The next offset to fetch; None until the log was sought."""
        self.outstanding = 0
        """Batches fetched and not yet applied."""
        self._applied = 0
        self._verify = verify

    def start(self, beginning: int) -> int:
        """The offset to seek to in a log whose first record has the offset `beginning`.

        Raises:
            Halted: records that were never applied are gone from the log.
        """
        if self.offset is None:
            return beginning
        if self.offset < beginning:
            raise ShardHaltedError(
                f"the log begins at {beginning}, but the next record to apply is {self.offset}: {beginning - self.offset} records were deleted "
                "before they were read (retention), or the topic was made anew. Nothing was skipped; see docs/how-to/operations.md, 'A halted shard'"
            )
        return self.offset - 1 if self._verify and self.offset > beginning else self.offset

    def seek(self, start: int) -> None:
        """Note that the log was sought, at what `start` said."""
        self.sought = self.read = self._applied = start

    def take(self, shard: ShardId, records: Sequence[Any]) -> Batch:
        """Count a fetch of one or more consecutive records; they are answered for from where the last fetch ended."""
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

    def pass_over(self, end: int) -> None:
        """Note that no record lies between what was applied, which is all that was fetched, and `end`."""
        self.read = self._applied = end

    @property
    def under_way(self) -> int:
        """Offsets fetched and not yet applied: as many records, but for gaps in the log."""
        return 0 if self.read is None else self.read - self._applied


class Batch(NamedTuple):
    """Consecutive records of one shard: aiokafka's `ConsumerRecord`s, at least one."""

    shard: ShardId
    cursor: Cursor
    start: int
    end: int
    """One past the last record's offset."""
    records: Sequence[Any]
