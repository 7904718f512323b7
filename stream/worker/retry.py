"""One way to call again what Redis or Kafka cannot do now.

Rules: a call is repeated for as long as its task lives, with pauses that double from `FIRST_PAUSE` to `LONGEST_PAUSE`. While it waits, `Waiting` says for
what: in the log when the wait begins and when it ends, and to the health report at any time.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING, Final, TypeVar

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

log = logging.getLogger(__name__)

FIRST_PAUSE: Final = 0.05
LONGEST_PAUSE: Final = 2.0
"""Seconds."""

_T = TypeVar("_T")
_E = TypeVar("_E", bound=Exception)


class Waiting:
    """What one part of the worker is waiting for."""

    def __init__(self, name: str) -> None:
        """`name` of the part, for the log."""
        self.reason: str | None = None
        """Why the last call failed; None unless a call is being repeated."""
        self._name = name
        self._since = 0.0

    def begin(self, reason: str) -> None:
        """Note that a call failed and will be repeated."""
        if self.reason is None:
            self._since = time.monotonic()
            log.warning("%s: %s. Nothing is lost; trying again", self._name, reason)
        self.reason = reason

    def end(self) -> None:
        """Note that the call succeeded."""
        if self.reason is not None:
            log.info("%s: over after %.1f s", self._name, time.monotonic() - self._since)
            self.reason = None


async def retry(
    call: Callable[[], Awaitable[_T]],
    error: type[_E],
    waiting: Waiting,
    on_error: Callable[[_E], str] = str,
) -> _T:
    """Call until it succeeds, and return its answer. `on_error` gets each `error` that is raised and returns the reason to show.

    Raises:
        Exception: whatever else the call raises.
    """
    pause = FIRST_PAUSE
    while True:
        try:
            answer = await call()
        except error as failure:
            waiting.begin(on_error(failure))
        else:
            waiting.end()
            return answer
        await asyncio.sleep(pause)
        pause = min(2 * pause, LONGEST_PAUSE)
