"""One shard, from claim to loss: claims it, says where to read, applies batch after batch, ticks when none comes.

Rules of this room:

- Redis is the truth. What a claim returns is what the shard goes on from; Kafka's committed offsets are not looked at.
- Outcomes and dead letters are acknowledged by Kafka before the commit that implies them. So what was loaded for a batch must be of the same time as the
  memory: if the shard was taken, or the tables went back, nothing of the batch is told.
- A batch that starts elsewhere than at the next offset is not applied: the shard asks to be read anew from there.
- While the tables or Kafka cannot answer, the same call is made again, with backoff, for as long as the task lives. A commit keeps its
  batch id, so that one which did happen is recognised.
- After a commit that was refused the memory is worthless: the shard is loaded again.
- An error that nobody expected halts the shard: the others go on.
- Everything runs in one event loop; between two awaits nothing else looks.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections import Counter, deque
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Final, TypeVar

from aiokafka.errors import KafkaError

from stream.core.shard.shard import Shard
from stream.events.catalogue import TYPE_NAMES
from stream.events.decode import Rejected
from stream.events.outcome import OUTCOME_HEADERS, dead_letter, outcome_event
from stream.kafka.cursor import Batch, Cursor, ShardHaltedError
from stream.kafka.log_identity import LogIdentity, recognise, resume
from stream.kafka.producer import Message, UnacknowledgedError
from stream.tables.interface import Claim, Commit, CommitResult, IncompatibleStateError, Owner, TablesUnavailableError
from stream.worker.retry import pauses
from stream.worker.status import ShardStatus

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from stream.core.config import CoreConfig
    from stream.core.event import Event, Journey
    from stream.core.labels import LabelRegistry
    from stream.core.result import Step
    from stream.core.shard.write_set import ShardId
    from stream.events.decode import Decoder
    from stream.kafka.producer import Publisher
    from stream.kafka.topic_ids import TopicIds
    from stream.tables.interface import Tables
    from stream.worker.clock import Clock
    from stream.worker.instruments import Instruments

log = logging.getLogger(__name__)

_T = TypeVar("_T")

IDLE: Final = 1.0
"""Seconds between two looks at the clock while no batch comes."""
LOST_AFTER: Final = 10.0
"""Seconds in which a batch that was fetched comes here even on a busy machine; one that does not is read again."""
FORGET_AT_LEAST: Final = 100
"""Entities (and customers) that one commit may forget, whatever its size; more where it has more records."""
FORGET_EVERY: Final = 1.0
"""Seconds between two questions for what has expired, after an answer that nothing had."""


@dataclass(frozen=True)
class Bench:
    """What all shards of a worker share."""

    app_id: str
    cluster: str
    """Kafka's cluster id."""
    core: CoreConfig
    labels: LabelRegistry
    tables: Tables
    clock: Clock
    decoder: Decoder
    publisher: Publisher
    outcome_topic: str
    dead_letter_topic: str
    instruments: Instruments
    patience: float
    """Seconds that a worker whose shard was taken leaves it to the other before it claims again."""
    topics: TopicIds | None = None
    """Kafka's topic ids; None where there is no Kafka to tell them."""


class Runner:
    """The task of one shard. `run` never returns; it ends by cancellation, or by an error that nobody expected."""

    def __init__(self, id: ShardId, journey: Journey, bench: Bench, changed: asyncio.Event, capacity: int) -> None:  # noqa: A002 - the shard's id
        self.id = id
        self.status = ShardStatus()
        self.cursor: Cursor | None = None
        """Where the shard wants to be read; None while it does not want to be."""
        self.busy = False
        """A batch or a tick is being applied."""
        self.progressed = time.monotonic()
        """When a batch was last committed, or none was waiting; by the monotonic clock."""
        self._journey = journey
        self._bench = bench
        self._changed = changed
        self._capacity = capacity
        self._active = True
        self._assigned = time.monotonic()
        """When Kafka last said that the shard is ours."""
        self._fault: ShardHaltedError | None = None
        self._queue: deque[Batch] = deque()
        self._awaited: float | None = None
        """Since when a batch that was fetched has been on its way here; by the monotonic clock."""
        self._wake = asyncio.Event()
        self._verified = False
        self._forget_after = 0.0
        self._shard: Shard
        self._claim: Claim
        self._source: LogIdentity
        self._next: int | None = None

    async def run(self) -> None:
        """Hold the shard."""
        try:
            while True:
                await self._take()
                ended = await self._work()
                self._let_go()
                if ended is CommitResult.STOLEN:
                    self._bench.instruments.fenced()
                    log.warning("%s: another worker has taken the shard", self)
                    await self._leave_to_the_other()
                else:
                    log.warning("%s: the tables went back in time; reading again from what they hold", self)
        except (ShardHaltedError, IncompatibleStateError) as reason:
            self._halt(str(reason))
            await asyncio.Event().wait()
        finally:
            self._let_go()

    def deliver(self, batch: Batch) -> None:
        """Queue a batch, unless it was read from a position that is no longer wanted."""
        if batch.cursor is self.cursor:
            self._queue.append(batch)
            self._awaited = None
            self._wake.set()

    def bound(self, capacity: int) -> None:
        """Keep no more than so many bytes of entities, and as many of customers, between batches."""
        self._capacity = capacity
        if self.status.claimed:
            self._shard.capacity = capacity

    def suspend(self) -> None:
        """Apply no further batch; what is being applied is finished."""
        self._active = False
        self._abandon_cursor()

    def resume(self) -> None:
        """Go on after `suspend`."""
        self._active = True
        self._assigned = time.monotonic()
        self._wake.set()

    def halt(self, reason: str) -> None:
        """Stop for good once the present batch is applied: the log cannot be read on."""
        self._fault = ShardHaltedError(reason)
        self._abandon_cursor()
        self._wake.set()

    def reread(self) -> None:
        """Be read again from the next offset: what was fetched may be lost."""
        self._abandon_cursor()
        self._wake.set()

    def is_stuck(self, seconds: float) -> bool:
        """Whether records have been waiting this long although there is nothing to wait for."""
        status = self.status
        waits = status.stalled is not None or status.unreadable is not None or status.unanswered
        if waits or not (self._active and status.claimed and status.lag):
            self.progressed = time.monotonic()
        return time.monotonic() - self.progressed > seconds

    async def _leave_to_the_other(self) -> None:
        """Give Kafka the time to tell that the shard is another's.

        None is needed where it has just told that it is ours: then the other had it before, as nobody's session ends so soon.
        """
        if time.monotonic() - self._assigned > self._bench.patience:
            await asyncio.sleep(self._bench.patience)
            while self.status.unanswered:  # noqa: ASYNC110 - looked for now and then, by the transport
                await asyncio.sleep(IDLE)

    async def _take(self) -> None:
        bench = self._bench
        nonce = secrets.token_bytes(16)
        claim = await self._patiently(lambda: bench.tables.claim(self.id, nonce))
        await self._admit(())
        try:
            self._source = resume(bench.cluster, claim.source)
            self._shard = Shard(self.id, self._journey, bench.core, bench.labels, claim.stored, self._capacity)
        except ValueError as error:  # of a newer version, of the other journey, or damaged
            raise ShardHaltedError(f"the stored state cannot be read: {error}") from error
        self._claim = claim
        self._next = claim.offset
        await self._recognise_topic()
        self.status.claimed = True
        self.status.offset = claim.offset
        self.progressed = time.monotonic()
        log.info("%s: claimed, next offset %s", self, "none" if claim.offset is None else claim.offset)

    async def _work(self) -> CommitResult:
        """Apply batches and ticks until a commit is refused."""
        while True:
            batch = await self._await_work()
            self.busy = True
            try:
                result = await (self._tick() if batch is None else self._apply(batch))
            except (IncompatibleStateError, ShardHaltedError):
                raise
            except Exception as error:
                # A defect met here would be met again by whoever has the shard next: better one shard that waits than all workers in a loop.
                log.exception("%s: cannot go on", self)
                where = "a tick" if batch is None else f"the records {batch.start} to {batch.end - 1}"
                raise ShardHaltedError(
                    f"{where} cannot be applied: {error!r}. This is a defect; please report it"
                ) from error
            finally:
                self.busy = False
            if result in (CommitResult.REWOUND, CommitResult.STOLEN):
                return result

    async def _await_work(self) -> Batch | None:
        """The next batch to apply; None when a tick is due."""
        while True:
            self._wake.clear()
            if self._fault is not None:
                raise self._fault
            if self._active:
                if self.cursor is None:
                    # Anew each time: what was assigned all along may have been deleted and made again meanwhile.
                    self._verified = self._next is None or self._source.fingerprint is None
                    self.cursor = Cursor(self._next, verify=not self._verified)
                    self._changed.set()
                if self._queue and (batch := self._checked(self._queue.popleft())):
                    return batch
                if self._queue or self.cursor is None:
                    continue
                if self._is_one_lost(self.cursor):
                    continue
                if self._shard.is_due(self._bench.clock.now()):
                    return None
            try:
                async with asyncio.timeout(IDLE):
                    await self._wake.wait()
            except TimeoutError:
                pass

    def _is_one_lost(self, cursor: Cursor) -> bool:
        """Whether a batch did not come here, and the position is left for that: with no room for others, none would show the gap."""
        now = time.monotonic()
        if not cursor.outstanding:
            self._awaited = None
        elif self._awaited is None:
            self._awaited = now
        elif now - self._awaited > LOST_AFTER:
            log.warning("%s: records that were fetched did not come here; reading again", self)
            self._abandon_cursor()
            return True
        return False

    def _checked(self, batch: Batch) -> Batch | None:
        """What of a batch is to be applied; None if nothing is, or if it does not follow on what was applied."""
        expected = batch.cursor.sought if self._next is None else self._next
        assert expected is not None
        if batch.start == expected:
            return batch
        if not self._verified and batch.start == expected - 1:
            recognise(self._source, batch.start, batch.records)
            self._verified = True
            records = batch.records[1:] if batch.records[0].offset == batch.start else batch.records
            if records:
                return batch._replace(start=expected, records=records)
            self._finish(batch)
            return None
        log.warning("%s: a batch starts at %d, not at %d; reading again", self, batch.start, expected)
        self._abandon_cursor()
        return None

    async def _apply(self, batch: Batch) -> CommitResult:
        bench, shard = self._bench, self._shard
        began = time.monotonic()
        now = bench.clock.now()
        await self._recognise_topic()
        shard.advance(now)
        decoded = [bench.decoder.decode(record) for record in batch.records]
        events = [event for event in decoded if not isinstance(event, Rejected)]
        loaded = await self._load(events)
        if isinstance(loaded, CommitResult):
            return loaded
        if len(loaded) < len(events):
            first = next(number for number, event in enumerate(decoded) if event is events[len(loaded)])
            batch, rest = batch.cursor.split(batch, first)
            if batch.cursor is self.cursor:
                self._queue.appendleft(rest)
            del decoded[first:]
        messages: list[Message] = []
        steps: list[tuple[Event, Step]] = []
        rejected: list[Rejected] = []
        applied = iter(shard.apply(loaded))
        for record, event in zip(batch.records, decoded, strict=True):
            if isinstance(event, Rejected):
                rejected.append(event)
                value, headers = dead_letter(record, event, self.id.partition, record.offset)
                messages.append(Message(bench.dead_letter_topic, record.key, value, headers))
                continue
            step = next(applied)
            steps.append((event, step))
            messages.extend(
                Message(
                    bench.outcome_topic,
                    record.key,
                    outcome_event(version, bench.app_id),
                    OUTCOME_HEADERS,
                    (*self.id, record.offset),
                )
                for version in step.versions
                if version.publish
            )
        await self._forget(len(batch.records))
        await self._publish(messages)
        result = await self._commit(batch.end, self._source.after(batch.records[-1]), now)
        if result in (CommitResult.APPLIED, CommitResult.REPEATED):
            self.progressed = time.monotonic()
            bench.instruments.commit(len(batch.records), time.monotonic() - began)
            self._count(steps, rejected)
            self._finish(batch)
        return result

    async def _tick(self) -> CommitResult:
        now = self._bench.clock.now()
        self._shard.advance(now)
        await self._forget(0)
        end, cursor = self._stored, self.cursor
        if (
            cursor is not None
            and end is not None
            and end in self.status.empty
            and not cursor.outstanding
            and cursor.read in (end, end - 1)
        ):
            # What follows holds no record, and the one before was recognised or is not there. Retention may take that, and is not to look as if it
            # had taken a record.
            end = self.status.empty.stop
            cursor.pass_over(end)
        return await self._commit(end, self._source, now)

    async def _commit(self, end: int | None, source: LogIdentity, now: int) -> CommitResult:
        commit = Commit(
            shard=self.id,
            nonce=self._claim.nonce,
            epoch=self._claim.epoch,
            batch=secrets.token_bytes(16),
            start=self._stored,
            end=end,
            source=source.encode(),
            now=now,
            changes=self._shard.drain(),
        )
        result = await self._patiently(lambda: self._bench.tables.commit(commit))
        if result in (CommitResult.APPLIED, CommitResult.REPEATED):
            self.status.offset = self._next = end
            self._source = source
        return result

    @property
    def _stored(self) -> int | None:
        """The offset that the tables hold."""
        return self.status.offset

    async def _load(self, events: Sequence[Event]) -> Sequence[Event] | CommitResult:
        """Bring what the events need into the shard's memory.

        Returns the events that can be applied now, at least the first: where they need many bytes, not all. Or how a commit would be refused by
        now, if what was loaded is of another time than the memory.
        """
        preload = self._shard.preload(events)
        while (request := preload.request) is not None:
            loaded = await self._patiently(
                partial(self._bench.tables.load, self.id, request.entities, request.customers)
            )
            if (refusal := self._refusal(loaded.owner)) is not None:
                return refusal
            if request.labels:
                await self._admit(request.labels)
            preload.receive(loaded.entities, loaded.customers)
        return preload.events

    def _refusal(self, owner: Owner) -> CommitResult | None:
        """How a commit would be refused; None where it would not be."""
        claim = self._claim
        if owner.nonce is not None and owner.nonce != claim.nonce and owner.epoch >= claim.epoch:
            return CommitResult.STOLEN
        return None if owner == Owner(claim.nonce, claim.epoch, self._stored) else CommitResult.REWOUND

    async def _admit(self, labels: Sequence[tuple[str, str]]) -> None:
        """Bring labels before the application's registry, and once more those that it has lost although shards in memory count under them."""
        tables, registry = self._bench.tables, self._bench.labels
        asked: set[tuple[str, str]] = set()
        while True:
            admitted = await self._patiently(partial(tables.admit, labels, registry.bounds()))
            labels = [label for label in registry.missing_from(admitted) if label not in asked]
            if not labels:
                registry.update(admitted)
                return
            asked.update(labels)

    async def _forget(self, records: int) -> None:
        """Let the shard forget what has expired, at most as much as could have been added."""
        if time.monotonic() < self._forget_after:
            return
        bench, shard = self._bench, self._shard
        entities_before, customers_before = shard.expired_before()
        limit = max(FORGET_AT_LEAST, records)
        entities, customers = await self._patiently(
            lambda: bench.tables.expired(self.id, entities_before, customers_before, limit)
        )
        if len(entities) < limit and len(customers) < limit:
            self._forget_after = time.monotonic() + FORGET_EVERY
        shard.remove(entities, customers)

    async def _publish(self, messages: list[Message]) -> None:
        wait = pauses()
        while messages:
            try:
                await self._bench.publisher.publish(messages)
                break
            except UnacknowledgedError as failure:
                self._stall(str(failure))
                messages = failure.messages
                await asyncio.sleep(next(wait))
        self.status.stalled = None

    async def _recognise_topic(self) -> None:
        """Halt if the topic is another one by now."""
        topics = self._bench.topics
        if topics is None:
            return
        wait = pauses()
        while True:
            try:
                ids = await topics.ids(self._next or 0)
            except KafkaError as error:
                self._stall(f"Kafka does not tell the topic's id: {error!r}")
                await asyncio.sleep(next(wait))
            else:
                self.status.stalled = None
                self._source = self._source.of(ids.get(self.id.topic))
                return

    async def _patiently(self, call: Callable[[], Awaitable[_T]]) -> _T:
        """The answer of the tables, however long it takes them."""
        wait = pauses()
        while True:
            try:
                answer = await call()
            except TablesUnavailableError as retry:
                self._bench.instruments.commit_failure(retry.reason)
                self._stall(str(retry))
                await asyncio.sleep(next(wait))
            else:
                self.status.stalled = None
                return answer

    def _stall(self, reason: str) -> None:
        if self.status.stalled is None:
            log.warning("%s: waiting, nothing is lost: %s", self, reason)
        self.status.stalled = reason

    def _finish(self, batch: Batch) -> None:
        batch.cursor.finish(batch)
        self._changed.set()

    def _abandon_cursor(self) -> None:
        self.cursor = None
        self.status.empty = range(0)  # aiokafka also steps over what it could not read
        self._awaited = None
        self._queue.clear()

    def _let_go(self) -> None:
        self._abandon_cursor()
        self.status.claimed = False

    def _halt(self, reason: str) -> None:
        log.error("%s: halted: %s", self, reason)
        self._let_go()
        self.status.halted = reason
        self._bench.instruments.halted(*self.id, True)

    def _count(self, steps: Sequence[tuple[Event, Step]], rejected: Sequence[Rejected]) -> None:
        instruments = self._bench.instruments
        topic = self.id.topic
        now = self._bench.clock.now()
        for name, number in Counter(rejection.type for rejection in rejected).items():
            instruments.event(topic, name, "rejected", number)
        for rejection in rejected:
            instruments.dead_letter(rejection.reason)
        for (sort, outcome), number in Counter((event.type, step.result) for event, step in steps).items():
            instruments.event(topic, TYPE_NAMES[self._journey, sort], outcome, number)
        counted = Counter(chain.from_iterable(step.counted for _, step in steps))
        for (kind, channel, segment), number in counted.items():
            instruments.transactions(kind, self._journey, channel, segment, number)
        for label in chain.from_iterable(step.overflow for _, step in steps):
            instruments.overflow(label)
        if published := [version for _, step in steps for version in step.versions if version.publish]:
            instruments.judged(*self.id, published)
        instruments.delays([(now - event.time) / 1_000_000 for event, _ in steps])

    def __str__(self) -> str:
        return f"{self.id.topic}/{self.id.partition}"
