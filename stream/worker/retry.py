"""One way to call again what Redis or Kafka cannot do now.

Rules: a call is repeated for as long as its task lives, with pauses that double from `FIRST_PAUSE` to `LONGEST_PAUSE`; an error with `retry_after` is
repeated after that many seconds at the earliest. While it waits, `Waiting` says for what: in the log when the wait begins and when it ends, and to the
health report at any time.
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


class WaitLog:
    """What the parts of a worker wait for, in the log: one line for each cause when the first part begins to wait, one when the last one ends."""

    def __init__(self) -> None:
        self._waiting: dict[str, set[Waiting]] = {}
        self._since: dict[str, float] = {}
        """By the monotonic clock."""

    def begin(self, part: Waiting, reason: str) -> None:
        """Note that a part waits, and why."""
        parts = self._waiting.setdefault(reason, set())
        if not parts:
            self._since[reason] = time.monotonic()
            log.warning("%s: %s. Nothing is lost; trying again", part.name, reason)
        parts.add(part)

    def end(self, part: Waiting, reason: str, *, over: bool = True) -> None:
        """Note that a part no longer waits for this reason; `over`: because the call succeeded."""
        parts = self._waiting[reason]
        parts.discard(part)
        if not parts:
            del self._waiting[reason]
            seconds = time.monotonic() - self._since.pop(reason)
            if over:
                log.info("%s: over after %.1f s: %s", part.name, seconds, reason)


class Waiting:
    """What one part of the worker is waiting for."""

    def __init__(self, name: str, log: WaitLog | None = None) -> None:
        """`name` of the part, for the log; parts with the same `log` share their lines."""
        self.name = name
        self.reason: str | None = None
        """Why the last call failed; None unless a call is being repeated."""
        self._log = log or WaitLog()
        self._logged = ""
        """The first reason of this wait. Further ones are shown, but are not in the log."""

    def begin(self, reason: str) -> None:
        """Note that a call failed and will be repeated."""
        if self.reason is None:
            self._logged = reason
            self._log.begin(self, reason)
        self.reason = reason

    def end(self) -> None:
        """Note that the call succeeded."""
        if self.reason is not None:
            self.reason = None
            self._log.end(self, self._logged)

    def abandon(self) -> None:
        """Note that the call is not repeated any longer, although it never succeeded."""
        if self.reason is not None:
            self.reason = None
            self._log.end(self, self._logged, over=False)


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
    try:
        return await _repeat(call, error, waiting, on_error)
    except BaseException:
        waiting.abandon()
        raise


async def _repeat(
    call: Callable[[], Awaitable[_T]], error: type[_E], waiting: Waiting, on_error: Callable[[_E], str]
) -> _T:
    pause = FIRST_PAUSE
    while True:
        try:
            answer = await call()
        except error as failure:
            waiting.begin(on_error(failure))
            after: float = getattr(failure, "retry_after", 0.0)
        else:
            waiting.end()
            return answer
        await asyncio.sleep(max(pause, after))
        pause = min(2 * pause, LONGEST_PAUSE)
