"""One shard, from the moment Kafka assigns it until it is revoked: claim it, say where to read, apply batch after batch, tick when none comes.

| state     | means                                                                    | next                                                   |
| --------- | ------------------------------------------------------------------------ | ------------------------------------------------------ |
| unclaimed | assigned; the task has not started                                       | claiming                                               |
| claiming  | asks Redis for ownership, state and offset                               | reading, suspended, halted                             |
| reading   | claimed; waits for a batch, or until a tick is due                       | applying, suspended, halted                            |
| applying  | applies a batch or a tick                                                | reading, suspended, fenced, claiming (rollback), halted |
| fenced    | another worker claimed the shard; waits for Kafka to say whose it is     | claiming                                               |
| halted    | cannot continue until an operator has looked                             | claiming                                               |
| suspended | partitions are being reassigned; keeps claim and memory, applies nothing | reading, halted                                        |

Rules:

- A batch that does not start at the next offset is not applied: the shard replaces its cursor, and the log is read again from that offset.
- An unexpected error while a batch is applied halts the shard, and no other: the worker that has the shard next would meet the same error.
- A halted shard keeps its claim in Redis until another task claims it. It stays halted, unless an operator removes the cause elsewhere (`PASSING`): such
  a cause is checked again and again.
- Everything runs in one event loop; between two awaits nothing else changes.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from contextlib import suppress
from enum import Enum
from functools import partial
from typing import TYPE_CHECKING, Final

from stream.core.config import MICROSECONDS
from stream.kafka.cursor import Batch, Cursor, LogView, ShardHaltedError
from stream.kafka.log_identity import recognise
from stream.tables.interface import CommitResult, Halt, IncompatibleStateError, TablesUnavailableError
from stream.worker.pipeline import Pipeline
from stream.worker.retry import Waiting, retry
from stream.worker.session import ClaimLostError, Session

if TYPE_CHECKING:
    from collections.abc import Mapping

    from stream.core.event import Journey
    from stream.core.shard.write_set import ShardId
    from stream.kafka.cursor import HaltReason
    from stream.worker.context import WorkerContext

log = logging.getLogger(__name__)

IDLE: Final = 1.0
"""Seconds between two looks at the clock while no batch comes."""
PASSING: Final[frozenset[HaltReason]] = frozenset({"partitions_grown", "other_application"})
"""Reasons to halt that an operator removes elsewhere; they are checked again every `CHECK_AGAIN` seconds."""
CHECK_AGAIN: Final = 10.0
LOST_AFTER: Final = 10.0
"""Seconds in which a fetched batch arrives here even on a busy machine; after that it is read again."""


class ShardState(Enum):
    """What a shard's task is doing; see the table above."""

    UNCLAIMED = "unclaimed"
    CLAIMING = "claiming"
    READING = "reading"
    APPLYING = "applying"
    FENCED = "fenced"
    HALTED = "halted"
    SUSPENDED = "suspended"


TRANSITIONS: Final[Mapping[ShardState, frozenset[ShardState]]] = {
    ShardState.UNCLAIMED: frozenset({ShardState.CLAIMING}),
    ShardState.CLAIMING: frozenset({ShardState.READING, ShardState.SUSPENDED, ShardState.HALTED}),
    ShardState.READING: frozenset({ShardState.APPLYING, ShardState.SUSPENDED, ShardState.HALTED}),
    ShardState.APPLYING: frozenset(
        {ShardState.READING, ShardState.SUSPENDED, ShardState.FENCED, ShardState.CLAIMING, ShardState.HALTED}
    ),
    ShardState.FENCED: frozenset({ShardState.CLAIMING}),
    ShardState.HALTED: frozenset({ShardState.CLAIMING}),
    ShardState.SUSPENDED: frozenset({ShardState.READING, ShardState.HALTED}),
}
"""The column `next` of the table above."""
CLAIMED: Final = frozenset({ShardState.READING, ShardState.APPLYING, ShardState.SUSPENDED})
"""States in which state is loaded, and Redis is expected to accept commits."""


class ShardTask:
    """The task of one shard. `run` never returns: it ends when it is cancelled, or by an unexpected error outside a batch."""

    def __init__(
        self,
        id: ShardId,  # noqa: A002 - the shard's id
        journey: Journey,
        context: WorkerContext,
        changed: asyncio.Event,
        capacity: int,
    ) -> None:
        """`changed` is set whenever the cursor changes or has room again; `capacity` as of `Shard`."""
        self.id = id
        self.state = ShardState.UNCLAIMED
        self.halted: ShardHaltedError | None = None
        """Why the shard is halted, and what to do; None in every other state."""
        self.has_committed = False
        """Whether this task has ever committed."""
        self.cursor: Cursor | None = None
        """Where to read the shard; None while it must not be read."""
        self.log_view = LogView()
        self.waiting = Waiting(f"{self}: waiting", context.waits)
        self._journey: Journey = journey
        self._context = context
        self._changed = changed
        self._capacity = capacity
        self._pipeline = Pipeline(id, journey, context, self.waiting, self._oldest_after)
        self._session: Session | None = None
        self._suspended = False
        self._assigned_at = time.monotonic()
        """When Kafka last assigned the shard to this worker; this and the next two by the monotonic clock."""
        self._progressed_at = time.monotonic()
        """When a batch was last committed, or there was none to commit."""
        self._missing_since: float | None = None
        """Since when a fetched batch has not arrived here; None while none is missing."""
        self._fault: ShardHaltedError | None = None
        """Why the log cannot be read any further."""
        self._queue: deque[Batch] = deque()
        self._applying: Batch | None = None
        """The batch that is being applied."""
        self._wake = asyncio.Event()

    @property
    def offset(self) -> int | None:
        """The next record to apply, as Redis has it; None before the first commit of records, and while the shard is not claimed."""
        return None if self._session is None else self._session.offset

    @property
    def lag(self) -> int | None:
        """Records in the log that are not committed; None while that is not known."""
        return None if self._session is None else self.log_view.lag(self._session.offset)

    async def run(self) -> None:
        """Hold the shard."""
        try:
            while True:
                try:
                    session = await self._claim()
                    await self._work_until_lost(session)
                except ShardHaltedError as halted:
                    await self._stay_halted(halted)
                except IncompatibleStateError as error:
                    await self._stay_halted(ShardHaltedError(str(error), reason="newer_layout"))
        finally:
            self._release()

    def deliver(self, batch: Batch) -> None:
        """Queue a batch, unless it was read through an older cursor."""
        if batch.cursor is self.cursor:
            self._queue.append(batch)
            self._missing_since = None
            self._wake.set()

    def set_capacity(self, capacity: int) -> None:
        """Keep no more than so many bytes of entities, and as many of customers, in memory between batches."""
        self._capacity = capacity
        if self._session is not None:
            self._session.shard.capacity = capacity

    def suspend(self) -> None:
        """Finish what is being applied, then apply nothing until `resume`."""
        self._suspended = True
        self._abandon_cursor()
        if self.state is ShardState.READING:
            self._enter(ShardState.SUSPENDED)

    def resume(self) -> None:
        """Continue after `suspend`; Kafka has assigned the shard to this worker again."""
        self._suspended = False
        self._assigned_at = time.monotonic()
        if self.state is ShardState.SUSPENDED:
            self._enter(ShardState.READING)
        self._wake.set()

    def halt(self, why: ShardHaltedError) -> None:
        """Halt once the present batch is applied: the log cannot be read any further."""
        self._fault = why
        self._abandon_cursor()
        self._wake.set()

    def reread(self) -> None:
        """Read again from the next offset: what was fetched may be lost."""
        self._abandon_cursor()
        self._wake.set()

    def is_stuck(self, seconds: float) -> bool:
        """Whether records have been in the log for so long without a commit, although Redis and Kafka answer."""
        blocked = self.waiting.reason is not None or self.log_view.unreadable is not None or self.log_view.unanswered
        if blocked or self._suspended or self.state not in CLAIMED or not self.lag:
            self._progressed_at = time.monotonic()
        return time.monotonic() - self._progressed_at > seconds

    def oldest_unapplied(self) -> float | None:
        """Age in seconds of the oldest record that is not applied, by its Kafka timestamp; 0 if all are. None while the shard is not claimed."""
        if self._session is None:
            return None
        batch = self._applying or (self._queue[0] if self._queue else None)
        time_of = self._since(self._session.offset) if batch is None else _timestamp(batch)
        return max(0.0, (self._context.clock.now() - time_of) / MICROSECONDS) if time_of else 0.0

    def _oldest_after(self, offset: int | None) -> int:
        """When the oldest record came that is left if all before `offset` are applied, microseconds; 0: there is none."""
        return _timestamp(self._queue[0]) if self._queue else self._since(offset)

    def _since(self, offset: int | None) -> int:
        since = self.log_view.waiting_since(offset)
        return 0 if since is None else self._context.clock.now() - round((time.monotonic() - since) * MICROSECONDS)

    async def _claim(self) -> Session:
        self._enter(ShardState.CLAIMING)
        if (admission := self._context.admission) is not None:
            await retry(partial(admission.check, self.id), TablesUnavailableError, self.waiting)
        session = await Session.claim(self.id, self._journey, self._context, self._capacity, self.waiting)
        self._session = session
        session.shard.capacity = self._capacity
        self._progressed_at = time.monotonic()
        self._enter_idle()
        if self.halted is not None:
            self.halted = None
            self._context.counters.halted(*self.id, False)
        log.info("%s: claimed, next offset %s", self, "none" if session.offset is None else session.offset)
        return session

    async def _work_until_lost(self, session: Session) -> None:
        """Apply batches and ticks until the claim is lost; returns when the shard may be claimed again."""
        try:
            while True:
                batch = await self._next_work(session)
                self._enter(ShardState.APPLYING)
                await self._work(session, batch)
                self._enter_idle()
        except ClaimLostError as lost:
            self._release()
            if lost.result is CommitResult.STOLEN:
                await self._back_off_after_fencing()
            else:
                log.warning(
                    "%s: Redis was rolled back (a restart without its newest data?); claiming again, and reading from the offset that it has now",
                    self,
                )

    async def _next_work(self, session: Session) -> Batch | None:
        """The next batch to apply; None when a tick is due."""
        while True:
            self._wake.clear()
            if self._fault is not None:
                await session.check_topic()  # which is the better answer, if it raises
                raise self._fault
            if not self._suspended:
                if self.cursor is None:
                    # With every cursor the log is recognised again: the topic may have been deleted and created while it stayed assigned.
                    verify = session.offset is not None and session.identity.fingerprint is not None
                    self.cursor = Cursor(session.offset, verify=verify)
                    self._changed.set()
                if self._queue:
                    batch = self._validate(session, self._queue.popleft())
                    if batch is not None:
                        return batch
                    continue
                if self._is_batch_missing(self.cursor):
                    log.warning(
                        "%s: fetched records did not arrive within %.0f s; reading them again", self, LOST_AFTER
                    )
                    self._abandon_cursor()
                    continue
                if session.shard.is_due(self._context.clock.now()):
                    return None
            with suppress(TimeoutError):
                async with asyncio.timeout(IDLE):
                    await self._wake.wait()

    def _validate(self, session: Session, batch: Batch) -> Batch | None:
        """The part of a batch to apply; None if there is none, or if the batch does not start at the next offset: then the cursor is abandoned.

        Raises:
            ShardHaltedError: the log is not the one that the state was made from.
        """
        cursor = batch.cursor
        expected = cursor.sought if session.offset is None else session.offset
        assert expected is not None
        if batch.start == expected:
            return batch
        if cursor.verify and batch.start == expected - 1:
            recognise(session.identity, batch.start, batch.records)
            cursor.verify = False
            records = batch.records[1:] if batch.records[0].offset == batch.start else batch.records
            if records:
                return batch._replace(start=expected, records=records)
            self._finish(batch)
            return None
        log.warning(
            "%s: fetched records start at offset %d instead of %d. Nothing is lost; reading again from %d",
            self,
            batch.start,
            expected,
            expected,
        )
        self._abandon_cursor()
        return None

    def _is_batch_missing(self, cursor: Cursor) -> bool:
        """Whether a fetched batch has not arrived for `LOST_AFTER`. With all credits in use no later batch would reveal the gap."""
        now = time.monotonic()
        if not cursor.outstanding:
            self._missing_since = None
        elif self._missing_since is None:
            self._missing_since = now
        return self._missing_since is not None and now - self._missing_since > LOST_AFTER

    async def _work(self, session: Session, batch: Batch | None) -> None:
        """Apply a batch, or a tick for None."""
        self._applying = batch
        try:
            if batch is None:
                await self._pipeline.tick(session, self.cursor, self.log_view)
                self.has_committed = True
                return
            number = await self._pipeline.apply(session, batch)
        except (ClaimLostError, IncompatibleStateError, ShardHaltedError):
            raise
        except Exception as error:
            log.exception("%s: cannot continue", self)
            what = "a tick" if batch is None else f"the records {batch.start} to {batch.end - 1}"
            raise ShardHaltedError(
                f"{what} cannot be applied: {error!r}. This is a defect; please report it", reason="defect"
            ) from error
        finally:
            self._applying = None
        self.has_committed = True
        self._progressed_at = time.monotonic()
        if number < len(batch.records):
            batch, rest = batch.cursor.split(batch, number)
            if batch.cursor is self.cursor:
                self._queue.appendleft(rest)
        self._finish(batch)

    async def _back_off_after_fencing(self) -> None:
        """Wait until Kafka has had time to revoke the shard, and as long as Kafka does not answer.

        If Kafka has just assigned it, there is nothing to wait for: the other worker claimed it before, as no session ends so soon.
        """
        self._enter(ShardState.FENCED)
        self._context.counters.fenced()
        log.warning(
            "%s: another worker has claimed the shard. Nothing is lost; claiming it back if Kafka does not revoke it. If this repeats, see "
            "docs/runbooks/UpsellFenced.md",
            self,
        )
        backoff = self._context.fencing_backoff
        if time.monotonic() - self._assigned_at > backoff:
            await asyncio.sleep(backoff)
            while self.log_view.unanswered:  # noqa: ASYNC110 - the consumer notes it now and then
                await asyncio.sleep(IDLE)

    def _finish(self, batch: Batch) -> None:
        batch.cursor.finish(batch)
        self._changed.set()

    def _abandon_cursor(self) -> None:
        self.cursor = None
        self.log_view.empty = range(0)  # aiokafka also steps over records that it could not read
        self._missing_since = None
        self._queue.clear()

    def _release(self) -> None:
        self._abandon_cursor()
        self._session = None

    async def _stay_halted(self, halted: ShardHaltedError) -> None:
        """Be halted; returns when the shard may be claimed again."""
        nonce = None if self._session is None else self._session.nonce
        if self.halted is None:
            log.error("%s: halted: %s", self, halted)
        self._release()
        self.halted, self._fault = halted, None
        self._enter(ShardState.HALTED)
        self._context.counters.halted(*self.id, True)
        await self._store_halt(halted, nonce)
        if halted.reason not in PASSING:
            await asyncio.Event().wait()
        await asyncio.sleep(CHECK_AGAIN)
        while self._suspended:
            self._wake.clear()
            await self._wake.wait()

    async def _store_halt(self, halted: ShardHaltedError, nonce: bytes | None) -> None:
        """Let every worker see that the shard is halted. Not where another application works well on other topics."""
        context, tables = self._context, self._context.tables
        if halted.reason == "other_application":
            return
        if nonce is None:  # halted before it was claimed, so it has the owner that it had
            (owner,) = await retry(lambda: tables.owners([self.id]), TablesUnavailableError, self.waiting)
            nonce = owner.nonce
        halt = Halt(halted.reason, str(halted), context.clock.now())
        await retry(lambda: tables.halt(self.id, nonce, halt), TablesUnavailableError, self.waiting)

    def _enter_idle(self) -> None:
        self._enter(ShardState.SUSPENDED if self._suspended else ShardState.READING)

    def _enter(self, state: ShardState) -> None:
        assert state in TRANSITIONS[self.state], f"{self}: from {self.state.value} to {state.value}"
        self.state = state

    def __str__(self) -> str:
        return f"{self.id.topic}/{self.id.partition}"


def _timestamp(batch: Batch) -> int:
    """Kafka's timestamp of the first record, microseconds; 0 if it has none."""
    milliseconds: int = batch.records[0].timestamp
    return max(0, milliseconds) * 1000
