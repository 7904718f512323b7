"""The shards of this worker, as Kafka assigns them; what each of them does is its own (`stream.worker.shard_task`).

Rules: a shard that stays assigned over a rebalance keeps its claim and its memory, and is read again from its next offset. If another worker claimed it
meanwhile, its next commit is refused. Nothing here waits for Redis or Kafka without a limit.
"""

from __future__ import annotations

import asyncio
import logging
import time
from functools import partial
from typing import TYPE_CHECKING, Final

from stream.core.shard.write_set import ShardId
from stream.worker.shard_task import CLAIMED, ShardState, ShardTask

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from stream.core.event import Journey
    from stream.kafka.cursor import Batch, Cursor, ShardHaltedError
    from stream.worker.context import WorkerContext

log = logging.getLogger(__name__)

KAFKA_TIMEOUT: Final = 6.0
"""Seconds without an answer after which Kafka counts as unavailable: twice the longest interval between heartbeats (`stream.consumer.faust_app.heartbeat`)."""
_POLL: Final = 0.01


class ShardSet:
    """Tasks by shard, created in the event loop that they run in. Also what is known of the worker's membership in its consumer group."""

    def __init__(
        self,
        context: WorkerContext,
        journeys: Mapping[str, Journey],
        cache: int,
        on_error: Callable[[BaseException], None],
    ) -> None:
        """`journeys` by topic; `cache`: bytes of entities and customers in memory, over all shards; `on_error` gets the error that ends a task."""
        self.changed = asyncio.Event()
        """Set when a cursor is new or has room again; who waits for it clears it."""
        self.tasks: dict[ShardId, ShardTask] = {}
        """Of the assigned shards. To be changed here only."""
        self.assigned = False
        """Kafka has assigned partitions, possibly none, and no rebalance is under way."""
        self.refused: str | None = None
        """Why Kafka does not accept this process as a member of its group; None if it does."""
        self.unanswered = False
        """Kafka has not answered this member's heartbeats for some seconds."""
        self._committed = False
        """Whether a shard that was released since has committed."""
        self.answered_at = time.monotonic()
        """When Kafka last answered anything that the consumer asked; by the monotonic clock."""
        self._context = context
        self._journeys = journeys
        self._cache = cache
        self._on_error = on_error
        self._running: dict[ShardId, asyncio.Task[None]] = {}
        self._ending: set[asyncio.Task[None]] = set()

    @property
    def has_committed(self) -> bool:
        """Whether any shard has committed, a batch or a tick, since the worker started."""
        return self._committed or any(task.has_committed for task in self.tasks.values())

    async def register_topics(self) -> None:
        """Store how many partitions the input topics have, where that is not stored yet.

        Raises:
            TablesUnavailableError: from the tables.
        """
        if self._context.admission is not None:
            await self._context.admission.register()

    def cursor(self, shard: ShardId) -> Cursor | None:
        """Where to read a shard; None while it must not be read."""
        task = self.tasks.get(shard)
        return None if task is None else task.cursor

    def deliver(self, batch: Batch) -> None:
        """Hand a batch to its shard, if that is still assigned."""
        if (task := self.tasks.get(batch.shard)) is not None:
            task.deliver(batch)

    def halt(self, shard: ShardId, why: ShardHaltedError) -> None:
        """Halt a shard: its log cannot be read any further."""
        if (task := self.tasks.get(shard)) is not None:
            task.halt(why)

    def is_halted(self, shard: ShardId) -> bool:
        """Whether a shard waits for an operator, and needs no records."""
        task = self.tasks.get(shard)
        return task is not None and task.state is ShardState.HALTED

    def reread(self, shards: Iterable[ShardId]) -> None:
        """Read shards again from their next offsets."""
        for shard in shards:
            if (task := self.tasks.get(shard)) is not None:
                task.reread()

    def note_start(self, shard: ShardId, offset: int) -> None:
        """Note where a log was sought."""
        if (task := self.tasks.get(shard)) is not None:
            task.log_view.start = offset

    def note_read(self, shard: ShardId, end: int | None, empty: range) -> None:
        """Note that a log was read: up to where it can be, and which offsets after the last record hold none."""
        if (task := self.tasks.get(shard)) is not None:
            if task.log_view.unreadable is not None:
                log.info("%s can be read again", task)
            task.log_view.note_read(end, empty)

    def note_unreadable(self, shard: ShardId, reason: str) -> None:
        """Note that the next records of a log cannot be read now, which is tried again; `reason` for people."""
        if (task := self.tasks.get(shard)) is not None:
            if reason != task.log_view.unreadable:
                log.error("%s: %s. Nothing is lost; trying again every few seconds", task, reason)
            task.log_view.unreadable = reason

    def note_unanswered(self, shard: ShardId, unanswered: bool) -> None:  # noqa: FBT001 - what is noted
        """Note whether Kafka leaves fetches from a log unanswered."""
        if (task := self.tasks.get(shard)) is not None:
            task.log_view.unanswered = unanswered

    def note_silence(self, unanswered: bool) -> None:  # noqa: FBT001 - what is noted
        """Note whether Kafka leaves this member's heartbeats unanswered."""
        if unanswered and not self.unanswered:
            log.warning("Kafka does not answer. Nothing is lost; check that the brokers run and can be reached")
        elif self.unanswered and not unanswered:
            log.info("Kafka answers again")
        self.unanswered = unanswered

    def note_refused(self, reason: str) -> None:
        """Note that Kafka does not accept this process as a member of its group now."""
        if reason != self.refused:
            log.warning("%s", reason)
        self.refused = reason

    def offsets(self) -> dict[ShardId, int]:
        """For displays: the next offset to apply of each claimed shard that has applied anything."""
        return {
            shard: offset
            for shard, task in self.tasks.items()
            if task.offset is not None and (offset := task.log_view.next_offset(task.offset)) is not None
        }

    def assign(self, assigned: Iterable[ShardId]) -> None:
        """Have exactly these shards from now on."""
        wanted = {ShardId(*shard) for shard in assigned}
        for shard in sorted(self.tasks.keys() - wanted):
            self._release(shard)
        capacity = self._cache // (2 * max(1, len(wanted)))
        for task in self.tasks.values():
            task.set_capacity(capacity)
            task.resume()
        for shard in sorted(wanted - self.tasks.keys()):
            self._start(ShardTask(shard, self._journeys[shard.topic], self._context, self.changed, capacity))
        if self.refused is not None:
            log.info("Kafka accepts this worker as a member of its group now")
        self.assigned, self.refused = True, None
        self._context.counters.rebalance()
        self.changed.set()

    async def suspend(self, seconds: float) -> None:
        """Apply nothing further, and wait for what is being applied, but no longer than `seconds`.

        A commit that comes later is refused if another worker has claimed the shard by then.
        """
        self.assigned = False
        for shard, task in list(self.tasks.items()):
            if task.state in CLAIMED or task.state is ShardState.HALTED:
                task.suspend()
            else:
                self._release(shard)  # a claim that comes later would take the shard from its new owner
        deadline = time.monotonic() + seconds
        while any(task.state is ShardState.APPLYING and task.waiting.reason is None for task in self.tasks.values()):
            if time.monotonic() > deadline:
                log.warning(
                    "a batch was not finished within %.0f s; it is committed only if no other worker claims its shard first. Nothing is lost: that "
                    "worker reads its records again",
                    seconds,
                )
                return
            await asyncio.sleep(_POLL)

    async def close(self, seconds: float) -> None:
        """Release all shards; what is being applied has `seconds` to finish."""
        await self.suspend(seconds)
        for shard in list(self.tasks):
            self._release(shard)
        if self._ending:
            await asyncio.wait(self._ending, timeout=seconds)

    def _start(self, task: ShardTask) -> None:
        self.tasks[task.id] = task
        running = self._running[task.id] = asyncio.create_task(task.run(), name=f"shard {task}")
        running.add_done_callback(partial(self._on_end, task.id))

    def _release(self, shard: ShardId) -> None:
        task = self.tasks.pop(shard)
        log.info("%s: released", task)
        self._committed |= task.has_committed
        task.suspend()
        running = self._running.pop(shard)
        self._ending.add(running)
        running.cancel()
        self._context.counters.drop_shard(*shard)

    def _on_end(self, shard: ShardId, running: asyncio.Task[None]) -> None:
        self._ending.discard(running)
        if not running.cancelled() and (error := running.exception()) is not None:
            log.critical("%s/%d: the shard's task ended by an unexpected error", *shard, exc_info=error)
            self._on_error(error)
