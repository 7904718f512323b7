"""Graceful stop of a command by SIGINT (Ctrl-C) or SIGTERM."""

import signal
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Final, TypeVar

_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)


_Item = TypeVar("_Item")


class Stop:
    """A request to stop."""

    def __init__(self) -> None:
        self.requested = False
        self.interrupted = False
        """True if a signal requested it."""

    def request(self) -> None:
        """Request to stop."""
        self.requested = True


@contextmanager
def stopping() -> Iterator[Stop]:
    """Within this context the first SIGINT or SIGTERM requests a stop; the next one has its usual effect. Main thread only."""
    stop = Stop()
    before = {number: signal.getsignal(number) for number in _SIGNALS}

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    def request(_number: int, _frame: FrameType | None) -> None:
        stop.requested = stop.interrupted = True
        restore()

    for number in _SIGNALS:
        signal.signal(number, request)
    try:
        yield stop
    finally:
        restore()


def until_stopped(items: Iterable[_Item], stop: Stop) -> Iterator[_Item]:
    """The items, until a stop is requested."""
    for item in items:
        yield item
        if stop.requested:
            return
