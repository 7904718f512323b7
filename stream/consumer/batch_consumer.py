"""Faust's Kafka transport, made to deliver batches, and to read where the shards say.

Faust hands over one message per record, in tasks of their own: a thousandth of what the client can fetch. Here a message is what one fetch brought:
batches, each of one partition. And Faust reads on from Kafka's committed offsets; here every shard says from where (`stream.kafka.cursor.Cursor`), because
what was applied is known to Redis alone.

Rules of this room:

- Only `getmany` fetches, and only it seeks. Faust calls it in one task, so a fetch and a seek never overlap.
- What was fetched is delivered only if, after the fetch, the generation and the shard's position are those from before it. Otherwise it is
  dropped: who changed the position has it read again.
- A shard is fetched only while it has room (`CREDITS`), and none while much is under way: what waits in memory does not grow with the partitions.
  Faust's own back-pressure is off: it takes no partition back that it starved.
- What Kafka leaves unanswered is told (`_listen`): to aiokafka it is an error in the log and another try, without end.
- Kafka's committed offsets are a display of what Redis holds. No commit, no seek and no fetch error may end the consumer's thread.
- Nothing here knows what is in a record.
"""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, ClassVar, Final, cast

from aiokafka.client import ConnectionGroup
from aiokafka.consumer import fetcher
from aiokafka.errors import (
    IllegalStateError,
    InvalidSessionTimeoutError,
    KafkaError,
    NoOffsetForPartitionError,
    OffsetOutOfRangeError,
    UnsupportedCodecError,
)
from aiokafka.structs import OffsetAndMetadata, TopicPartition
from faust.exceptions import ImproperlyConfigured
from faust.transport.drivers import aiokafka as driver
from faust.types import TP, ConsumerMessage

from stream.consumer.record_batches import Records
from stream.core.shard.write_set import ShardId
from stream.kafka.cursor import CREDITS, Batch, Cursor, ShardHaltedError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Mapping

    import aiokafka
    from faust.types.transports import ConsumerT
    from mode.utils.times import Seconds

    from stream.worker.shard_set import Shards

log = logging.getLogger(__name__)

HELD_BACK_POLL: Final = 0.02
"""Seconds between fetches while some partition is held back: aiokafka would wait for the others' records otherwise."""
IDLE_POLL: Final = 1.0
"""Seconds that a fetch of all partitions waits for records."""
FETCH_WAIT_MS: Final = 100
"""How long a broker may hold a request for which it has no records. aiokafka has one request to a broker at a time: while that waits for idle partitions, a
busy one whose records were taken meanwhile is not asked for. With Faust's 1.5 s one busy partition among idle ones stood still half of the time."""
REST: Final = 5.0
"""Seconds without a fetch for a partition that could not be read."""
ALONE: Final = 30.0
"""Seconds after such an error in which partitions are fetched one by one: aiokafka does not tell whose error it was, and gives no other records before it."""
COMMIT_PATIENCE: Final = 2.0
"""Seconds for a commit to Kafka, which is only a display; shorter than Faust's interval between two (2.8 s)."""
SILENCE: Final = 6.0
"""Seconds without an answer after which Kafka counts as away: twice the longest interval between two heartbeats (`stream.consumer.faust_app.heartbeat`)."""
_SESSION_HINT: Final = (
    "set kafka_session_timeout within group.min.session.timeout.ms and group.max.session.timeout.ms of the brokers"
)
LISTEN_EVERY: Final = 1.0
"""Seconds between two looks at what was answered."""


class _ConsumerThread(driver.AIOKafkaConsumerThread):
    def _create_worker_consumer(self, transport: driver.Transport) -> aiokafka.AIOKafkaConsumer:
        consumer = super()._create_worker_consumer(transport)
        consumer._fetch_max_wait_ms = FETCH_WAIT_MS  # noqa: SLF001 - Faust has no setting for it
        consumer._isolation_level = "read_committed"  # noqa: SLF001 - nor for this, without transactions of its own
        fetcher.MemoryRecords = Records  # it asks nobody which class to read with
        return consumer

    async def on_thread_stop(self) -> None:
        """Close the client. While Kafka is away aiokafka awaits a task that it has canceled, and is half closed then."""
        try:
            await super().on_thread_stop()
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if self._consumer is None or (task is not None and task.cancelling()):
                raise
            await self._consumer._client.close()  # noqa: SLF001 - see above


class BatchConsumer(driver.Consumer):
    """The worker's consumer. Its app has the worker's `shards`."""

    mundane_level = "debug"

    def __post_init__(self) -> None:
        super().__post_init__()
        self._cursors: dict[TP, Cursor] = {}
        """What was sought last."""
        self._shown: dict[TP, int] = {}
        """Offsets that were committed to Kafka."""
        self._asked: dict[TP, float] = {}
        """When a partition was fetched last; this and the next two by the monotonic clock."""
        self._resting: dict[TP, float] = {}
        """Until when a partition is not fetched."""
        self._alone_until = 0.0
        self._answered = 0.0
        """When Kafka last answered this member of its group."""
        self._seen: dict[ShardId, tuple[object, float]] = {}
        """How a shard looks, by `_looks`, and since when."""

    @property
    def shards(self) -> Shards:
        """The shards of this worker."""
        shards: Shards = self.app.shards  # type: ignore[attr-defined]  # of `stream.consumer.faust_app.App`
        return shards

    def _new_consumer_thread(self) -> driver.AIOKafkaConsumerThread:
        return _ConsumerThread(self, loop=self.loop, beacon=self.beacon)

    async def on_started(self) -> None:
        """Refuse to run with another assignor than Faust's sticky one, which settings can silently take away."""
        if self._thread._assignor is not self.app.assignor:  # noqa: SLF001 - there is no other way to see it
            raise ImproperlyConfigured("Faust's assignor is not in use; leave table_standby_replicas at its default")
        self.add_future(self._listen())

    # Flow control is by credits.

    def on_buffer_full(self, tp: TP) -> None:
        """Nothing: see the rules."""

    def on_buffer_drop(self, tp: TP) -> None:
        """Nothing: see the rules."""

    def verify_event_path(self, now: float, tp: TP) -> None:
        """Nothing: Faust's check knows only committed messages. `Shards.watch` looks for progress."""

    # Assignment

    async def on_partitions_revoked(self, revoked: set[TP]) -> None:
        """Let the shards finish, but for no longer than half a session: the group waits for us."""
        await super().on_partitions_revoked(revoked)
        await self.shards.suspend(self.app.conf.broker_session_timeout / 2)

    async def on_partitions_assigned(self, assigned: set[TP], generation_id: int = 0) -> None:
        """Take over the new assignment; it is read once Faust lets the flow go on."""
        await super().on_partitions_assigned(assigned, generation_id)
        for known in (self._cursors, self._asked, self._resting, self._seen):
            known.clear()
        self.shards.assign(ShardId(*tp) for tp in assigned)

    async def perform_seek(self) -> None:
        """Nothing: `getmany` seeks."""

    # Reading

    async def sleep(self, n: Seconds) -> None:
        """Yield where Faust sleeps for no time: its own way makes a task and cancels it, which takes a few turns of a busy loop."""
        await (super().sleep(n) if n else asyncio.sleep(0))

    async def getmany(self, timeout: float) -> AsyncIterator[tuple[TP, ConsumerMessage]]:  # noqa: ASYNC109 - Faust's signature
        """Fetch once, and yield at most one message, with the batches of all partitions.

        Raises:
            KafkaError: this process is no member of its group any more, and will not be again.
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
        size: int = self.app.batch_records  # type: ignore[attr-defined]  # of `stream.consumer.faust_app.App`
        batches = [
            wanted[tp].take(ShardId(*tp), fetched[begin : begin + size])
            for tp, fetched in records.items()
            if self.shards.cursor(ShardId(*tp)) is wanted[tp]
            for begin in range(0, len(fetched), size)
        ]
        for tp in ready:
            if self.shards.cursor(ShardId(*tp)) is (cursor := wanted[tp]) and (told := self._told(tp)) is not None:
                end, place = told
                # The client's place lies beyond the last record where what follows is none.
                self.shards.see_log(ShardId(*tp), end, range(cursor.read or 0, place or 0))
        if batches:
            yield TP(*batches[0].shard), self._message(batches)
        if held_back and not records:
            await self._wait_for_change(HELD_BACK_POLL)

    def _ready(self, wanted: Mapping[TP, Cursor]) -> set[TP]:
        now = time.monotonic()
        if self._is_much_under_way():
            return set()
        ready = {
            tp
            for tp, cursor in wanted.items()
            if cursor.read is not None and cursor.outstanding < CREDITS and self._resting.get(tp, 0.0) <= now
        }
        if ready and now < self._alone_until:
            ready = {min(ready, key=lambda tp: (self._asked.get(tp, 0.0), tp))}
        self._asked.update(dict.fromkeys(ready, now))
        return ready

    def _is_much_under_way(self) -> bool:
        most: int = self.app.polled_records  # type: ignore[attr-defined]  # of `stream.consumer.faust_app.App`
        cursors = map(self.shards.cursor, self.shards.status.shards)
        return sum(cursor.under_way for cursor in cursors if cursor is not None) >= most

    def _check_membership(self) -> None:
        # aiokafka tells of the end of this task only through methods that Faust goes around. Without it nobody sends heartbeats,
        # and the partitions belong to others.
        coordination = self._thread._ensure_consumer()._coordinator._coordination_task  # noqa: SLF001 - see above
        if coordination.done() and not self.should_stop:
            raise KafkaError("the client has given up its membership of the group; its log says why")

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
                    self.shards.halt(ShardId(*tp), str(reason))
            await self.seek_wait(starts)
        except (IllegalStateError, TimeoutError, KafkaError) as error:
            # Assigned no more, or Kafka is away. Whoever is still wanted then is sought in the next round.
            log.warning("cannot seek now: %r", error)
            await self._wait_for_change(IDLE_POLL)
            return
        for tp, start in starts.items():
            if new[tp].offset is None and start > 0:
                log.warning(
                    "%s/%d is read from the beginning of its log, which is at %d: what was older is gone from Kafka and is in no figure",
                    *tp, start,
                )  # fmt: skip
            new[tp].seek(start)
            self.shards.see_start(ShardId(*tp), start)
            self._cursors[tp] = new[tp]

    async def _fetch(self, ready: set[TP], seconds: float) -> Mapping[TP, list[Any]]:
        try:
            return await self._getmany(active_partitions=ready, timeout=seconds)
        except NoOffsetForPartitionError:
            pass  # from before the first seek
        except OffsetOutOfRangeError as error:
            for tp, offset in error.args[0].items():
                if await self._may_seek_again(tp, offset):
                    self.shards.reread([ShardId(*tp)])
                    continue
                self.shards.halt(
                    ShardId(*tp),
                    f"Kafka has no offset {offset}: the topic was made anew, or its records were deleted before they were read. "
                    "Nothing was skipped; see docs/how-to/operations.md, 'A halted shard'",
                )
        except Exception as error:  # noqa: BLE001 - bytes of others: what a library says of them is as unforeseen as they are
            self._alone_until = time.monotonic() + ALONE
            if len(ready) == 1:
                self._on_unreadable(next(iter(ready)), error)
            # Some errors move aiokafka's position over the record in question.
            self.shards.reread(ShardId(*tp) for tp in sorted(ready))
        return {}

    async def _may_seek_again(self, tp: TP, offset: int) -> bool:
        """Whether nothing is lost although Kafka does not have an offset that was fetched.

        It may have been wanted before the last assignment; or it is that of the record before the next one, which was only to be recognised,
        and which retention took after the log was sought.
        """
        cursor = self._cursors.get(tp)
        if cursor is None:
            return True
        if cursor.offset is None or offset >= cursor.offset:
            return False
        try:
            beginnings = await self.earliest_offsets(tp)
        except (IllegalStateError, TimeoutError, KafkaError) as error:
            log.warning("cannot look where the log begins: %r", error)
            return True  # it is sought again, and met again if it is there to be met
        return bool(beginnings[tp] > offset)

    def _on_unreadable(self, tp: TP, error: Exception) -> None:
        if isinstance(error, UnsupportedCodecError):
            self.shards.halt(
                ShardId(*tp), f"{error}: install the package that decompresses it (cramjam), and start the worker again"
            )
        else:
            # Others' errors may quote what they were about.
            told = repr(error) if isinstance(error, KafkaError) else type(error).__name__
            log.error("%s/%d cannot be read, trying again in %.0f s: %s", *tp, REST, told)
            self.shards.see_unreadable(ShardId(*tp), f"cannot be read: {told}")
            self._resting[tp] = time.monotonic() + REST

    async def _wait_for_change(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self.shards.changed.wait()
        except TimeoutError:
            pass

    def _told(self, tp: TP) -> tuple[int | None, int | None] | None:
        """Up to where a log may be read, and the client's place in it; None where the partition is not assigned any more."""
        client = self._thread._ensure_consumer()  # noqa: SLF001 - Faust has no way to it
        assigned = client._subscription  # noqa: SLF001 - nothing public tells the place without waiting
        partition = TopicPartition(*tp)
        if not assigned.is_assigned(partition):
            return None
        state = assigned.subscription.assignment.state_value(partition)
        place = state.position if state.has_valid_position else None
        if partition in client._fetcher._records:  # noqa: SLF001 - likewise
            place = None  # what is fetched and not given out may be an error, for which the place was moved before it is told
        # A broker that knows no transactions tells no end of what is stable.
        return state.highwater if state.lso in (None, -1) else state.lso, place

    def _message(self, batches: list[Batch]) -> ConsumerMessage:
        """To Faust, the first batch's last record. One message for all, because Faust makes tasks for each, and waits for them a few turns of a busy loop."""
        first = batches[0]
        tp = TP(*first.shard)
        last = first.records[-1]
        value = cast("bytes", batches)  # `stream.consumer.faust_app.BatchSchema` takes it as it is
        return ConsumerMessage(
            tp.topic, tp.partition, first.end - 1, last.timestamp / 1000, last.timestamp_type, [], None, value, None,
            tp=tp, generation_id=self.app.consumer_generation_id,
        )  # fmt: skip

    # Silence

    async def _listen(self) -> None:
        while not self.should_stop:
            with suppress(RuntimeError):  # its loop is closed
                self._thread.thread_loop.call_soon_threadsafe(self._take_errors)
            self._look_for_answers(time.monotonic())
            await self.sleep(LISTEN_EVERY)

    def _take_errors(self) -> None:
        """Let a member that Kafka refused try again, which aiokafka does only once somebody was told; Faust asks for nothing. In the client's thread."""
        coordinator = self._thread._ensure_consumer()._coordinator  # noqa: SLF001 - see above
        if coordinator._pending_exception is None:  # noqa: SLF001 - it may also be ending
            return
        try:
            coordinator.check_errors()
        except KafkaError as error:
            hint = f" ({_SESSION_HINT})" if isinstance(error, InvalidSessionTimeoutError) else ""
            reason = f"Kafka refuses this member of the group: {error!r}{hint}"
            self.loop.call_soon_threadsafe(self.shards.see_refused, reason)

    def _look_for_answers(self, now: float) -> None:
        """Tell the shards whether Kafka answers the heartbeats of its group's member, and whoever waits for records, though it be with none."""
        client = self._thread._ensure_consumer()  # noqa: SLF001 - nothing public tells when a heartbeat was answered
        coordinator = (client._coordinator.coordinator_id, ConnectionGroup.COORDINATION)  # noqa: SLF001 - likewise
        connection = client._client._conns.get(coordinator)  # noqa: SLF001 - likewise
        if not self.shards.status.assigned:
            self._answered = now  # giving partitions out may take the group longer
        elif connection is not None:
            self._answered = max(self._answered, connection._last_action)  # noqa: SLF001 - likewise
        away = now - self._answered > SILENCE
        self.shards.see_unanswered(None, away)
        full = self._is_much_under_way()
        for shard in self.shards.status.shards:
            looks = None if full else self._looks(shard)
            before, since = self._seen.get(shard, (None, now))
            if looks is None or looks != before:
                since = now
            self._seen[shard] = looks, since
            self.shards.see_unanswered(shard, away or now - since > SILENCE)

    def _looks(self, shard: ShardId) -> object:
        """Another one after every answer about a shard; None while it waits for none."""
        cursor = self.shards.cursor(shard)
        if cursor is None or cursor.outstanding >= CREDITS:
            return None
        try:
            told = self._thread._ensure_consumer().last_poll_timestamp(TopicPartition(*shard))  # noqa: SLF001 - Faust has no way to it
        except AssertionError:  # aiokafka's word for: not assigned any more
            return None
        return cursor, cursor.read, told

    # Display

    def _filter_committable_offsets(self, tps: Iterable[TP]) -> dict[TP, int]:  # noqa: ARG002 - Faust's signature
        stored = {TP(*shard): offset for shard, offset in self.shards.offsets().items()}
        return {tp: offset for tp, offset in stored.items() if self._shown.get(tp) != offset}

    async def _commit(self, offsets: Mapping[TP, int]) -> bool:
        try:
            async with asyncio.timeout(COMMIT_PATIENCE):
                await self._thread.call_thread(self._commit_in_thread, offsets)
        except (TimeoutError, KafkaError) as error:
            log.debug("offsets not shown in Kafka: %r", error)
            return False
        self._shown.update(offsets)
        return True

    async def _commit_in_thread(self, offsets: Mapping[TP, int]) -> None:
        # The limit is here too: a promise of the thread's queue that nobody awaits any more would keep one of its two workers.
        async with asyncio.timeout(COMMIT_PATIENCE):
            await self._thread._ensure_consumer().commit(  # noqa: SLF001 - Faust's own commit ends the consumer on errors
                {driver.ensure_aiokafka_TP(tp): OffsetAndMetadata(offset, "") for tp, offset in offsets.items()}
            )


class BatchTransport(driver.Transport):
    """aiokafka, in batches."""

    Consumer: ClassVar[type[ConsumerT]] = BatchConsumer
