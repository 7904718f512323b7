"""Faust's Kafka transport, changed to deliver batches and to read where the shards say.

Faust delivers one message per record, each in tasks of its own: a thousandth of what the client can fetch. Here a message is the result of one fetch:
batches, each of one partition. And Faust continues from Kafka's committed offsets; here each shard says where to read (`stream.kafka.cursor.Cursor`),
because only Redis knows what was applied.

Rules of this room:

- Only `getmany` fetches, and only it seeks. Faust calls it in one task, so a fetch and a seek never overlap.
- Fetched records are delivered only if the generation and the shard's cursor are still the same after the fetch. Otherwise they are dropped; the new
  cursor reads them again.
- A shard is fetched only while it has room (`CREDITS`), and none is fetched while many records are under way: memory does not grow with the number
  of partitions. Faust's own back-pressure is off: it never resumes a partition that it has paused for long.
- Kafka's committed offsets only display what Redis holds. No error of a commit, a seek or a fetch may end the consumer's thread.
- Nothing here knows what is in a record.
"""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, ClassVar, Final, cast

from aiokafka.consumer import fetcher
from aiokafka.errors import (
    IllegalStateError,
    KafkaError,
    NoOffsetForPartitionError,
    OffsetOutOfRangeError,
    UnsupportedCodecError,
)
from aiokafka.structs import OffsetAndMetadata
from faust.exceptions import ImproperlyConfigured
from faust.transport.drivers import aiokafka as driver
from faust.types import TP, ConsumerMessage

from stream.consumer.liveness import CHECK_EVERY, Liveness
from stream.consumer.membership import Membership
from stream.consumer.record_batches import Records
from stream.core.shard.write_set import ShardId
from stream.kafka.cursor import CREDITS, Batch, Cursor, ShardHaltedError
from stream.kafka.errors import in_words
from stream.worker.shard_set import KAFKA_TIMEOUT

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Mapping

    import aiokafka
    from faust.types.transports import ConsumerT
    from mode.utils.times import Seconds

    from stream.worker.shard_set import ShardSet

log = logging.getLogger(__name__)

HELD_BACK_POLL: Final = 0.02
"""Seconds between fetches while some partition is held back: aiokafka would otherwise wait for records of the others."""
IDLE_POLL: Final = 1.0
"""Seconds that a fetch of all partitions waits for records."""
FETCH_WAIT_MS: Final = 100
"""How long a broker may hold a request for which it has no records. aiokafka has one pending request per broker: while that waits for idle partitions, a busy
partition whose records were taken meanwhile is not requested. With Faust's 1.5 s a busy partition among idle ones made no progress half of the time."""
UNREADABLE_BACKOFF: Final = 5.0
"""Seconds without a fetch for a partition that could not be read."""
ISOLATION_PERIOD: Final = 30.0
"""Seconds after such an error in which partitions are fetched one by one: aiokafka does not say which partition an error belongs to, and returns no other
records before it."""
COMMIT_TIMEOUT: Final = 2.0
"""Seconds for a commit to Kafka, which is only a display; shorter than Faust's interval between two (2.8 s)."""

LEAVE_TIMEOUT: Final = 10.0
"""Seconds to leave the group and close the client."""
CLOSE_TIMEOUT: Final = 2.0
"""The same while Kafka does not answer."""


class _ConsumerThread(driver.AIOKafkaConsumerThread):
    membership: Membership | None = None

    async def on_start(self) -> None:
        """Connect."""
        await super().on_start()
        if self._consumer is not None:
            consumer = cast("BatchConsumer", self.consumer)
            instance_id = self.app.conf.consumer_group_instance_id
            self.membership = Membership(self._consumer._coordinator, instance_id, consumer.on_fenced)  # noqa: SLF001 - aiokafka has no public way to it
            self.membership.attach()

    def _create_worker_consumer(self, transport: driver.Transport) -> aiokafka.AIOKafkaConsumer:
        consumer = super()._create_worker_consumer(transport)
        consumer._fetch_max_wait_ms = FETCH_WAIT_MS  # noqa: SLF001 - Faust has no setting for it
        consumer._isolation_level = "read_committed"  # noqa: SLF001 - Faust sets it only together with its own transactions
        fetcher.MemoryRecords = Records  # aiokafka has no setting for the class that reads records
        return consumer

    async def on_thread_stop(self) -> None:
        """Leave the group and close the client, within a limit: to leave aiokafka waits for Kafka as long as for any answer, more than a minute.

        While Kafka is unavailable aiokafka also awaits a task that it has cancelled, and is closed only in part.
        """
        silent = time.monotonic() - cast("BatchConsumer", self.consumer).shards.answered_at > KAFKA_TIMEOUT
        try:
            async with asyncio.timeout(CLOSE_TIMEOUT if silent else LEAVE_TIMEOUT):
                await super().on_thread_stop()
        except TimeoutError:
            log.warning("left the group without Kafka's answer; it keeps this member until its session ends")
            await self._close_client()
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if self._consumer is None or (task is not None and task.cancelling()):
                raise
            await self._close_client()

    async def _close_client(self) -> None:
        """Close the part that is still open. The tasks that are left are cancelled with the thread's loop."""
        if self._consumer is not None:
            with suppress(TimeoutError, asyncio.CancelledError):
                async with asyncio.timeout(CLOSE_TIMEOUT):
                    await self._consumer._client.close()  # noqa: SLF001 - see above


class BatchConsumer(driver.Consumer):
    """The worker's consumer. Its app is `stream.consumer.faust_app.App`, which has the worker's `shards`."""

    mundane_level = "debug"

    def __post_init__(self) -> None:
        super().__post_init__()
        self.liveness = Liveness(self.shards, self._client, self._has_no_room)
        self._cursors: dict[TP, Cursor] = {}
        """The cursor to which each partition was sought last."""
        self._shown: dict[TP, int] = {}
        """Offsets that were committed to Kafka."""
        self._fetched_at: dict[TP, float] = {}
        """When a partition was fetched last; this and the next two by the monotonic clock."""
        self._unreadable_until: dict[TP, float] = {}
        """Until when a partition is not fetched."""
        self._isolated_until = 0.0

    @property
    def shards(self) -> ShardSet:
        """The shards of this worker."""
        shards: ShardSet = self.app.shards  # type: ignore[attr-defined]  # of `stream.consumer.faust_app.App`
        return shards

    def _new_consumer_thread(self) -> driver.AIOKafkaConsumerThread:
        return _ConsumerThread(self, loop=self.loop, beacon=self.beacon)

    @property
    def is_alive(self) -> bool:
        """Whether the client's thread runs."""
        thread = self._thread._thread  # noqa: SLF001 - Faust has no public way to it
        return thread is not None and thread.is_alive()

    def _client(self) -> aiokafka.AIOKafkaConsumer:
        return self._thread._ensure_consumer()  # noqa: SLF001 - Faust has no public way to the client

    async def on_started(self) -> None:
        """Refuse to run with an assignor other than Faust's sticky one, which a setting can replace without notice."""
        if self._thread._assignor is not self.app.assignor:  # noqa: SLF001 - there is no public way to it
            raise ImproperlyConfigured(
                "Faust's sticky assignor is not in use; leave table_standby_replicas at its default"
            )
        self.add_future(self._check_liveness())

    # Flow control is by credits.

    def on_buffer_full(self, tp: TP) -> None:
        """Do nothing: see the rules."""

    def on_buffer_drop(self, tp: TP) -> None:
        """Do nothing: see the rules."""

    def verify_event_path(self, now: float, tp: TP) -> None:
        """Do nothing: Faust's check knows only committed messages. `stream.worker.watchdog.watch` looks for progress."""

    # Assignment

    async def on_partitions_revoked(self, revoked: set[TP]) -> None:
        """Let the shards finish, but for no longer than half a session: the group waits for this member."""
        await super().on_partitions_revoked(revoked)
        await self.shards.suspend(self.app.conf.broker_session_timeout / 2)

    async def on_partitions_assigned(self, assigned: set[TP], generation_id: int = 0) -> None:
        """Take over the new assignment; it is read once Faust resumes the flow."""
        await super().on_partitions_assigned(assigned, generation_id)
        for known in (self._cursors, self._fetched_at, self._unreadable_until):
            known.clear()
        self.liveness.forget_partitions()
        self.shards.assign(ShardId(*tp) for tp in assigned)

    async def perform_seek(self) -> None:
        """Do nothing: `getmany` seeks."""

    # Reading

    async def sleep(self, n: Seconds) -> None:
        """Yield where Faust sleeps for no time: its own way creates and cancels a task, which takes several turns of a busy loop."""
        await (super().sleep(n) if n else asyncio.sleep(0))

    async def getmany(self, timeout: float) -> AsyncIterator[tuple[TP, ConsumerMessage]]:  # noqa: ASYNC109 - Faust's signature
        """Fetch once, and yield at most one message, with the batches of all partitions.

        Raises:
            KafkaError: this process is no longer a member of its group, and will not join it again.
        """
        self._check_membership()
        if not self.flow_active:
            await self.wait(self.can_resume_flow)  # type: ignore[arg-type]  # Faust passes the same
        self.shards.changed.clear()
        # A copy: Faust changes the set in place, and to aiokafka an empty one means every partition.
        active = set(self._get_active_partitions())
        generation = self.app.consumer_generation_id
        wanted = {tp: cursor for tp in sorted(active) if (cursor := self.shards.cursor(ShardId(*tp))) is not None}
        await self._seek_new(wanted)
        ready = self._ready(wanted)
        if not ready:
            await self._wait_for_change(IDLE_POLL)
            return
        held_back = any(not self.shards.is_halted(ShardId(*tp)) for tp in active - ready)
        records = await self._fetch(ready, 0 if held_back else timeout)
        if not self.flow_active or self.should_stop or self.app.consumer_generation_id != generation:
            return
        batches = self._batches(records, wanted)
        self._note_logs(ready, wanted)
        if batches:
            yield TP(*batches[0].shard), self._message(batches)
        if held_back and not records:
            await self._wait_for_change(HELD_BACK_POLL)

    def _ready(self, wanted: Mapping[TP, Cursor]) -> set[TP]:
        """The partitions to fetch now."""
        now = time.monotonic()
        if self._has_no_room():
            return set()
        ready = {
            tp
            for tp, cursor in wanted.items()
            if cursor.read is not None and cursor.outstanding < CREDITS and self._unreadable_until.get(tp, 0.0) <= now
        }
        if ready and now < self._isolated_until:
            ready = {min(ready, key=lambda tp: (self._fetched_at.get(tp, 0.0), tp))}
        self._fetched_at.update(dict.fromkeys(ready, now))
        return ready

    def _has_no_room(self) -> bool:
        """Whether as many records are under way as one fetch may bring."""
        most: int = self.app.polled_records  # type: ignore[attr-defined]  # of `stream.consumer.faust_app.App`
        cursors = map(self.shards.cursor, self.shards.tasks)
        return sum(cursor.under_way for cursor in cursors if cursor is not None) >= most

    def _batches(self, records: Mapping[TP, list[Any]], wanted: Mapping[TP, Cursor]) -> list[Batch]:
        """What was fetched, as batches; without partitions that have another cursor by now."""
        size: int = self.app.batch_records  # type: ignore[attr-defined]  # of `stream.consumer.faust_app.App`
        return [
            wanted[tp].record_fetch(ShardId(*tp), fetched[begin : begin + size])
            for tp, fetched in records.items()
            if self.shards.cursor(ShardId(*tp)) is wanted[tp]
            for begin in range(0, len(fetched), size)
        ]

    def _note_logs(self, ready: Iterable[TP], wanted: Mapping[TP, Cursor]) -> None:
        """Note for each partition that was fetched where its log ends."""
        for tp in ready:
            shard, cursor = ShardId(*tp), wanted[tp]
            if self.shards.cursor(shard) is cursor and (log_end := self.liveness.log_end(shard)) is not None:
                self.shards.note_read(shard, log_end.end, range(cursor.read or 0, log_end.position or 0))

    def _check_membership(self) -> None:
        # aiokafka reports the end of this task only through methods that Faust does not call. Without the task nobody sends heartbeats,
        # and the partitions belong to others.
        coordination = self._client()._coordinator._coordination_task  # noqa: SLF001 - see above
        if coordination.done() and not self.should_stop:
            raise KafkaError("the client has ended its membership of the consumer group; its log says why")

    async def _seek_new(self, wanted: Mapping[TP, Cursor]) -> None:
        new = {tp: cursor for tp, cursor in wanted.items() if self._cursors.get(tp) is not cursor}
        if not new:
            return
        try:
            beginnings = await self.earliest_offsets(*new)
            starts: dict[TP, int] = {}
            for tp, cursor in new.items():
                try:
                    starts[tp] = cursor.start(beginnings[tp])
                except ShardHaltedError as reason:
                    self.shards.halt(ShardId(*tp), reason)
            await self.seek_wait(starts)
        except (IllegalStateError, TimeoutError, KafkaError) as error:
            # No longer assigned, or Kafka is unavailable. Partitions that still want it are sought in the next round.
            log.warning(
                "cannot ask Kafka where to read %d partitions: %s. Nothing is lost; trying again",
                len(new),
                in_words(error),
            )
            await self._wait_for_change(IDLE_POLL)
            return
        for tp, start in starts.items():
            if new[tp].offset is None and start > 0:
                log.warning(
                    "%s/%d is read from the beginning of its log, offset %d: older records are no longer in Kafka, and no figure has them",
                    *tp, start,
                )  # fmt: skip
            new[tp].seek(start)
            self.shards.note_start(ShardId(*tp), start)
            self._cursors[tp] = new[tp]

    async def _fetch(self, ready: set[TP], seconds: float) -> Mapping[TP, list[Any]]:
        try:
            return await self._getmany(active_partitions=ready, timeout=seconds)
        except NoOffsetForPartitionError:
            pass  # from before the first seek
        except OffsetOutOfRangeError as error:
            for tp in error.args[0]:
                if (lost := await self._lost(tp)) is None:
                    self.shards.reread([ShardId(*tp)])
                else:
                    self.shards.halt(ShardId(*tp), lost)
        except Exception as error:  # noqa: BLE001 - any bytes may be in a log, and libraries raise any error for them
            self._isolated_until = time.monotonic() + ISOLATION_PERIOD
            if len(ready) == 1:
                self._on_unreadable(next(iter(ready)), error)
            # Some errors move aiokafka's position past the record that caused them.
            self.shards.reread(ShardId(*tp) for tp in sorted(ready))
        return {}

    async def _lost(self, tp: TP) -> ShardHaltedError | None:
        """Why the shard must halt because Kafka does not have an offset that was fetched; None to seek again: a real gap will be reported again."""
        cursor = self._cursors.get(tp)
        if cursor is None:  # the fetch is from before the last assignment
            return None
        try:
            beginnings, ends = await self.earliest_offsets(tp), await self.highwaters(tp)
        except (IllegalStateError, TimeoutError, KafkaError) as error:
            log.warning("cannot ask where the log of %s/%d begins and ends: %s; trying again", *tp, in_words(error))
            return None
        return cursor.missing(beginnings[tp], ends[tp])

    def _on_unreadable(self, tp: TP, error: Exception) -> None:
        if isinstance(error, UnsupportedCodecError):
            self.shards.halt(
                ShardId(*tp),
                ShardHaltedError(
                    f"{error}: install the package that decompresses it (cramjam), then restart the worker",
                    reason="codec",
                ),
            )
        else:
            # Errors of libraries other than aiokafka may quote the record.
            reason = repr(error) if isinstance(error, KafkaError) else type(error).__name__
            self.shards.note_unreadable(ShardId(*tp), f"cannot be read: {reason}")
            self._unreadable_until[tp] = time.monotonic() + UNREADABLE_BACKOFF

    async def _wait_for_change(self, seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self.shards.changed.wait()

    def _message(self, batches: list[Batch]) -> ConsumerMessage:
        """All batches in one message, because Faust creates and awaits tasks for each message. To Faust it is the last record of the first batch."""
        first = batches[0]
        tp = TP(*first.shard)
        last = first.records[-1]
        value = cast("bytes", batches)  # `stream.consumer.faust_app.BatchSchema` takes it as it is
        return ConsumerMessage(
            tp.topic, tp.partition, first.end - 1, last.timestamp / 1000, last.timestamp_type, [], None, value, None,
            tp=tp, generation_id=self.app.consumer_generation_id,
        )  # fmt: skip

    async def _check_liveness(self) -> None:
        while not self.should_stop:
            with suppress(RuntimeError):  # the loop of the client's thread is closed
                self._thread.thread_loop.call_soon_threadsafe(self.liveness.clear_refusal, self._report_refusal)
            self.liveness.check(time.monotonic())
            await self.sleep(CHECK_EVERY)

    def _report_refusal(self, reason: str) -> None:
        """Called in the client's thread."""
        membership = cast("_ConsumerThread", self._thread).membership
        known = None if membership is None else membership.refusal
        self.loop.call_soon_threadsafe(self.shards.note_refused, f"{known or reason}; trying again")

    def on_fenced(self, reason: str) -> None:
        """Leave the shards to another process with the same group.instance.id. Called in the client's thread."""

        def leave() -> None:
            self.shards.note_refused(reason)
            self.add_future(self.shards.close(self.app.conf.broker_session_timeout / 2))

        self.loop.call_soon_threadsafe(leave)

    # Display

    def _filter_committable_offsets(self, tps: Iterable[TP]) -> dict[TP, int]:  # noqa: ARG002 - Faust's signature
        stored = {TP(*shard): offset for shard, offset in self.shards.offsets().items()}
        return {tp: offset for tp, offset in stored.items() if self._shown.get(tp) != offset}

    async def _commit(self, offsets: Mapping[TP, int]) -> bool:
        try:
            async with asyncio.timeout(COMMIT_TIMEOUT):
                await self._thread.call_thread(self._commit_in_thread, offsets)
        except (TimeoutError, KafkaError) as error:
            log.debug("offsets are not committed to Kafka: %r", error)
            return False
        self._shown.update(offsets)
        return True

    async def _commit_in_thread(self, offsets: Mapping[TP, int]) -> None:
        # The limit is here too: a call in the thread's queue that nobody awaits any longer would occupy one of its two workers.
        async with asyncio.timeout(COMMIT_TIMEOUT):
            # Faust's own commit ends the consumer on errors.
            await self._client().commit(
                {driver.ensure_aiokafka_TP(tp): OffsetAndMetadata(offset, "") for tp, offset in offsets.items()}
            )


class BatchTransport(driver.Transport):
    """aiokafka, in batches."""

    Consumer: ClassVar[type[ConsumerT]] = BatchConsumer
