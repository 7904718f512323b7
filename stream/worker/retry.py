"""How long to wait before the same thing is tried again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

FIRST: Final = 0.05
LONGEST: Final = 2.0


def pauses() -> Iterator[float]:
    """Seconds, without end: doubling from `FIRST` to `LONGEST`."""
    pause = FIRST
    while True:
        yield pause
        pause = min(2 * pause, LONGEST)
