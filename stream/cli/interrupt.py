"""Ctrl-C as a request: what is under way comes to a clean end first."""

import signal
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Final, TypeVar

_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)


_Item = TypeVar("_Item")


class Stop:
    """Whether it is time to stop."""

    def __init__(self) -> None:
        self.requested = False
        self.interrupted = False
        """It was a signal that asked."""

    def request(self) -> None:
        """Ask to stop."""
        self.requested = True


@contextmanager
def stopping() -> Iterator[Stop]:
    """Inside, the first SIGINT or SIGTERM only asks to stop; the next one acts as it did before. Main thread only."""
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
    """The items, up to the one after which it is time to stop."""
    for item in items:
        yield item
        if stop.requested:
            return
