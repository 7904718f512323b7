"""Ends a process that no longer works although nothing it depends on is missing, so that another worker takes its shards.

Two cases: the event loop is blocked (`Watchdog`, a thread), or records are waiting and nothing is committed (`watch`). aiokafka sends heartbeats from a
thread of its own, so a process with a blocked loop would remain a member of its group and keep its partitions.
"""

from __future__ import annotations

import asyncio
import faulthandler
import logging
import os
import threading
from typing import TYPE_CHECKING, Final

from stream.tables.interface import TablesUnavailableError

if TYPE_CHECKING:
    from stream.observe.counters import Counters
    from stream.worker.attention import AttentionLog
    from stream.worker.clock import Clock
    from stream.worker.shard_set import ShardSet
    from stream.worker.status import Status

log = logging.getLogger(__name__)

EXIT_STATUS: Final = 1
WATCH_EVERY: Final = 1.0
"""Seconds between two looks at the shards' progress."""
STUCK_AFTER: Final = 60.0
"""Seconds without a commit, with records waiting and Redis and Kafka answering, after which the process ends."""
_CHECKS: Final = 12


class StuckError(RuntimeError):
    """Records are waiting, Redis and Kafka answer, and nothing is committed."""


async def watch(shards: ShardSet, status: Status, clock: Clock, counters: Counters, attention: AttentionLog) -> None:
    """Refresh the clock and the gauges of lag and readiness once a second, and check that the shards make progress. Never returns.

    Raises:
        StuckError: a shard has made no progress for `STUCK_AFTER`.
    """
    while True:
        try:
            await clock.refresh()
        except TablesUnavailableError as error:
            log.debug("cannot refresh the clock: %s", error)
        try:
            await shards.register_topics()
        except TablesUnavailableError as error:
            log.debug("cannot store how many partitions the topics have: %s", error)
        for shard, task in shards.tasks.items():
            lag = task.lag
            if lag is None:
                continue
            counters.lag(*shard, lag)
            counters.oldest_unapplied(*shard, task.oldest_unapplied() or 0.0)
            if task.is_stuck(STUCK_AFTER):
                raise StuckError(f"{task}: {lag} records are waiting and nothing was committed for {STUCK_AFTER:.0f} s")
        counters.ready(status.readiness()[0])
        attention.flush()
        await asyncio.sleep(WATCH_EVERY)


class Watchdog:
    """A thread that checks the event loop in which it was started."""

    def __init__(self, seconds: float) -> None:
        """`seconds`: how long the loop may be blocked."""
        self._seconds = seconds
        self._stopped = threading.Event()

    def start(self) -> None:
        """Start checking."""
        loop = asyncio.get_running_loop()
        threading.Thread(target=self._watch, args=(loop,), name="watchdog", daemon=True).start()

    def stop(self) -> None:
        """Stop checking."""
        self._stopped.set()

    def _watch(self, loop: asyncio.AbstractEventLoop) -> None:
        answered = threading.Event()
        missed = 0
        # Several short waits instead of a long one: a process that was frozen and continues has missed one of them, not all.
        while not self._stopped.wait(self._seconds / _CHECKS):
            missed = 0 if answered.is_set() else missed + 1
            if missed > _CHECKS:
                end_process(f"the event loop was blocked for {self._seconds:.0f} s")
            answered.clear()
            try:
                loop.call_soon_threadsafe(answered.set)
            except RuntimeError:  # closed
                return


def end_within(seconds: float) -> threading.Timer:
    """End the process after `seconds`, unless the returned timer is cancelled before: stopping must not hang."""
    timer = threading.Timer(seconds, end_process, (f"the worker did not stop within {seconds:.0f} s",))
    timer.daemon = True
    timer.start()
    return timer


def end_process(reason: str) -> None:
    """End the process at once, with the stacks of all threads in its log. Nothing is lost: records that are not committed are read again."""
    try:
        log.critical("%s; ending the process", reason)
        faulthandler.dump_traceback(all_threads=True)
    finally:  # also if standard error is closed
        os._exit(EXIT_STATUS)
