"""Settings of the core: windows, how long things are remembered, and the key of the hash that hides customers."""

import re
from datetime import UTC, tzinfo
from typing import Literal

import msgspec

from stream.core.event import Journey

MICROSECONDS = 1_000_000
DAY = 86_400 * MICROSECONDS
QUARTER = 900 * MICROSECONDS
"""A quarter of an hour, in which the history waits: it lies within one hour, and within one day of every time zone of today."""
PANES = 60
"""Panes in a window."""
STEP = 5 * MICROSECONDS
"""Windows move in steps of this length."""
NEVER = -(2**62)
"""A time before all others, microseconds."""
AHEAD = DAY
"""How far ahead of the clock an event may move the watermark; one that is further ahead has a wrong clock."""


class Window(msgspec.Struct, frozen=True):
    """A rolling window: name as users write it, length in microseconds."""

    name: str
    length: int

    @property
    def pane(self) -> int:
        """Length of one pane, microseconds; window lengths are whole minutes, so this is whole seconds."""
        return self.length // PANES

    def pane_of(self, time: int) -> int:
        """The pane in which a time lies: pane p covers (p·pane - pane, p·pane] of the epoch."""
        return -(-time // self.pane)

    @classmethod
    def parse(cls, name: str) -> "Window":
        """Read `5m`, `1h`, `24h`, `30d`.

        Raises:
            ValueError: not a number with m, h or d, or not between 1 minute and 400 days.
        """
        match = re.fullmatch(r"([1-9][0-9]{0,6})([mhd])", name)
        if match is None:
            raise ValueError(f"{name!r} is no window; write a whole number with m, h or d, like 5m, 1h, 30d")
        minutes = int(match[1]) * {"m": 1, "h": 60, "d": 1440}[match[2]]
        if not 1 <= minutes <= 400 * 1440:
            raise ValueError(f"{name!r} is not between 1m and 400d")
        return cls(name, minutes * 60 * MICROSECONDS)


DEFAULT_WINDOWS = tuple(Window.parse(name) for name in ("5m", "1h", "24h", "30d"))


class CoreConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Settings of the core. Durations in microseconds."""

    windows: tuple[Window, ...] = DEFAULT_WINDOWS
    checkout_retention: int = 30 * DAY
    """A checkout is forgotten this long after its newest fact, by event time."""
    subscription_retention: int = 400 * DAY
    """A subscription is forgotten this long after its newest event, once it is no longer active."""
    lateness: int = 3 * DAY
    """How much older than its newest event an event of a subscription may be: payment platforms repeat a delivery for three days."""
    swap_window: int = DAY
    """How long after a cancellation a change still follows on what was canceled, of the same subscription or of another one."""
    customer_key: bytes = b""
    """Key of the hash under which customers are counted."""
    forget: bool = True
    """False (offline): nothing expires, and a late event finds its record, however late it is."""
    forget_customers: bool = True
    """False (offline): distinct customers are kept for ever, whatever the windows."""

    time_zone: tzinfo = UTC
    """Of the days of the history."""
    hours_kept: int = 8 * DAY
    """How long the history keeps hours."""
    days_kept: int = 35 * DAY
    """How long the history keeps days."""
    history: Literal["stored", "waiting", "off"] = "stored"
    """Offline there are no records of the history: what is counted waits for ever; without a moment there is no history."""

    emit_all: bool = False
    """True (offline): steps report every version of a transaction, also those that are not published."""

    def retention(self, journey: Journey) -> int:
        """How long a journey's entities are remembered."""
        return self.checkout_retention if journey == "checkout" else self.subscription_retention

    @property
    def horizon(self) -> int:
        """Length of the longest window; 0 without windows."""
        return max((window.length for window in self.windows), default=0)
