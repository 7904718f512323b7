"""The shards of this worker: which ones there are follows Kafka's assignment, what they do is theirs (`stream.worker.shard_task`).

Rules: a shard that stays assigned over a rebalance keeps its claim and its memory, and is read anew from its next offset; if another
worker had it meanwhile, the next commit is refused and says so. Nothing here waits for Redis or Kafka without a limit.
"""

from __future__ import annotations

import asyncio
import logging
import time
from functools import partial
from typing import TYPE_CHECKING, Final

from stream.core.shard.write_set import ShardId
from stream.tables.interface import TablesUnavailableError
from stream.worker.shard_task import Runner

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from stream.core.event import Journey
    from stream.kafka.cursor import Batch, Cursor
    from stream.worker.shard_task import Bench
    from stream.worker.status import Status

log = logging.getLogger(__name__)

WATCH_EVERY: Final = 1.0
"""Seconds between two looks at the tables' clock and at the shards' progress."""
STUCK_AFTER: Final = 60.0
"""Seconds without a commit, with records waiting and nothing to wait for, after which the process is of no use."""
_POLL: Final = 0.01


class StuckError(RuntimeError):
    """Records are waiting, Redis and Kafka answer, and nothing is committed."""


class Shards:
    """Runners by shard, created in the event loop that they run in. `die` is called with the error of a runner that ended by one."""

    def __init__(
        self,
        bench: Bench,
        journeys: Mapping[str, Journey],
        cache: int,
        status: Status,
        die: Callable[[BaseException], None],
    ) -> None:
        """`journeys` by topic; `cache` bytes of entities and customers are kept in memory over all shards."""
        self.status = status
        self.changed = asyncio.Event()
        """Set when a position was made or has room again; who waits for it clears it."""
        self._bench = bench
        self._journeys = journeys
        self._cache = cache
        self._die = die
        self._runners: dict[ShardId, Runner] = {}
        self._tasks: dict[ShardId, asyncio.Task[None]] = {}
        self._ending: set[asyncio.Task[None]] = set()

    def cursor(self, shard: ShardId) -> Cursor | None:
        """Where a shard is to be read; None while it is not to be."""
        runner = self._runners.get(shard)
        return None if runner is None else runner.cursor

    def deliver(self, batch: Batch) -> None:
        """Hand a batch to its shard, if this worker still has it."""
        if (runner := self._runners.get(batch.shard)) is not None:
            runner.deliver(batch)

    def halt(self, shard: ShardId, reason: str) -> None:
        """The shard's log cannot be read on."""
        if (runner := self._runners.get(shard)) is not None:
            runner.halt(reason)

    def is_halted(self, shard: ShardId) -> bool:
        """Whether the shard waits for somebody to look, and wants no records."""
        runner = self._runners.get(shard)
        return runner is not None and runner.status.halted is not None

    def reread(self, shards: Iterable[ShardId]) -> None:
        """Read these again from what they have applied."""
        for shard in shards:
            if (runner := self._runners.get(shard)) is not None:
                runner.reread()

    def see_start(self, shard: ShardId, offset: int) -> None:
        """Note where the shard's log was sought."""
        if (runner := self._runners.get(shard)) is not None:
            runner.status.start = offset

    def see_log(self, shard: ShardId, end: int | None, empty: range) -> None:
        """Note that the shard's log was read: up to where it may be, and which offsets behind what was read hold no record."""
        if (runner := self._runners.get(shard)) is not None:
            runner.status.end, runner.status.empty, runner.status.unreadable = end, empty, None

    def see_unreadable(self, shard: ShardId, reason: str) -> None:
        """Note that the next records of the shard's log cannot be read now."""
        if (runner := self._runners.get(shard)) is not None:
            runner.status.unreadable = reason

    def see_unanswered(self, shard: ShardId | None, unanswered: bool) -> None:  # noqa: FBT001 - what is seen
        """Note whether Kafka leaves unanswered what is asked about a shard; or what this member of its group tells it, for None."""
        if shard is None:
            if unanswered and not self.status.unanswered:
                log.warning("Kafka does not answer; nothing is lost")
            self.status.unanswered = unanswered
        elif (runner := self._runners.get(shard)) is not None:
            runner.status.unanswered = unanswered

    def see_refused(self, reason: str) -> None:
        """Note that Kafka does not take this process into its group now."""
        if reason != self.status.refused:
            log.warning("%s; trying again", reason)
        self.status.refused = reason

    def offsets(self) -> dict[ShardId, int]:
        """For displays: the next offset to apply of each claimed shard that has applied anything."""
        return {
            shard: reached
            for shard, runner in self._runners.items()
            if runner.status.claimed
            and runner.status.offset is not None
            and (reached := runner.status.reached) is not None
        }

    def assign(self, assigned: Iterable[ShardId]) -> None:
        """Have exactly these shards from now on."""
        wanted = {ShardId(*shard) for shard in assigned}
        for shard in sorted(self._runners.keys() - wanted):
            self._drop(shard)
        capacity = self._cache // (2 * max(1, len(wanted)))
        for runner in self._runners.values():
            runner.bound(capacity)
            runner.resume()
        for shard in sorted(wanted - self._runners.keys()):
            runner = Runner(shard, self._journeys[shard.topic], self._bench, self.changed, capacity)
            self._runners[shard] = runner
            self.status.shards[shard] = runner.status
            task = asyncio.create_task(runner.run(), name=f"shard {runner}")
            self._tasks[shard] = task
            task.add_done_callback(partial(self._ended, shard))
        self.status.assigned, self.status.refused = True, None
        self._bench.instruments.rebalance()
        self.changed.set()

    async def suspend(self, seconds: float) -> None:
        """Apply nothing further, and wait for what is being applied, but no longer than this.

        A commit that comes later is refused if another worker has claimed the shard by then.
        """
        self.status.assigned = False
        for shard, runner in list(self._runners.items()):
            if runner.status.claimed or runner.status.halted is not None:
                runner.suspend()
            else:
                self._drop(shard)  # so that a late claim takes nothing from the new owner
        deadline = time.monotonic() + seconds
        while any(runner.busy and runner.status.stalled is None for runner in self._runners.values()):
            if time.monotonic() > deadline:
                log.warning("a batch is still being applied; it counts only if no other worker claims its shard first")
                return
            await asyncio.sleep(_POLL)

    async def close(self, seconds: float) -> None:
        """Let go of everything, finishing what is being applied within this time."""
        await self.suspend(seconds)
        for shard in list(self._runners):
            self._drop(shard)
        if self._ending:
            await asyncio.wait(self._ending, timeout=seconds)

    async def watch(self) -> None:
        """Keep the clock right and the gauges fresh, and notice a worker that has stopped working. Never returns.

        Raises:
            StuckError: this process is of no use any more.
        """
        instruments = self._bench.instruments
        while True:
            try:
                await self._bench.clock.refresh()
            except TablesUnavailableError as retry:
                log.debug("the tables' clock: %s", retry)
            for shard, runner in self._runners.items():
                lag = runner.status.lag
                if lag is None:
                    continue
                instruments.lag(*shard, lag)
                if runner.is_stuck(STUCK_AFTER):
                    raise StuckError(
                        f"{runner}: {lag} records are waiting and nothing was committed for {STUCK_AFTER:.0f} s"
                    )
            instruments.ready(self.status.readiness()[0])
            await asyncio.sleep(WATCH_EVERY)

    def _drop(self, shard: ShardId) -> None:
        runner = self._runners.pop(shard)
        log.info("%s: let go", runner)
        runner.suspend()
        task = self._tasks.pop(shard)
        self._ending.add(task)
        task.cancel()
        del self.status.shards[shard]
        self._bench.instruments.drop_shard(*shard)

    def _ended(self, shard: ShardId, task: asyncio.Task[None]) -> None:
        self._ending.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.critical("shard %s/%d ended", *shard, exc_info=error)
            self._die(error)
