"""Ends a process whose event loop no longer turns.

Kafka's heartbeats are sent by a thread of their own, so a wedged loop stays a member of the group and keeps its partitions from the others.
"""

from __future__ import annotations

import asyncio
import faulthandler
import logging
import os
import threading
from typing import Final

log = logging.getLogger(__name__)

EXIT_STATUS: Final = 1
_LOOKS: Final = 12


class Watchdog:
    """A thread that looks at the event loop it was started in."""

    def __init__(self, seconds: float) -> None:
        """`seconds`: how long the loop may stand still."""
        self._seconds = seconds
        self._stopped = threading.Event()

    def start(self) -> None:
        """Begin to look."""
        loop = asyncio.get_running_loop()
        threading.Thread(target=self._watch, args=(loop,), name="watchdog", daemon=True).start()

    def stop(self) -> None:
        """Look no more."""
        self._stopped.set()

    def _watch(self, loop: asyncio.AbstractEventLoop) -> None:
        turned = threading.Event()
        missed = 0
        # Several looks, not one long wait: a process that was frozen and goes on has missed one of them, not all.
        while not self._stopped.wait(self._seconds / _LOOKS):
            missed = 0 if turned.is_set() else missed + 1
            if missed > _LOOKS:
                end_process(f"the event loop has stood still for {self._seconds:.0f} s")
            turned.clear()
            try:
                loop.call_soon_threadsafe(turned.set)
            except RuntimeError:  # closed
                return


def end_within(seconds: float) -> threading.Timer:
    """End the process after this time, unless the timer is cancelled before: stopping must not hang."""
    timer = threading.Timer(seconds, end_process, (f"the worker did not stop within {seconds:.0f} s",))
    timer.daemon = True
    timer.start()
    return timer


def end_process(reason: str) -> None:
    """End the process as it is. Nothing is lost: what was not committed is read again by whoever is next."""
    try:
        log.critical("%s; ending the process", reason)
        faulthandler.dump_traceback(all_threads=True)
    finally:  # there may be no standard error
        os._exit(EXIT_STATUS)
