"""The tables' clock without a round trip for every look: asked now and then, carried on by this process's monotonic one."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stream.tables.interface import Tables


class Clock:
    """Microseconds since the epoch, as all workers of the application see them."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables
        self._offset: int | None = None

    async def refresh(self) -> None:
        """Ask the tables.

        Raises:
            Retry: they cannot answer now; the clock goes on from what they said last.
        """
        before = time.monotonic_ns()
        now = await self._tables.now()
        self._offset = now - (before + time.monotonic_ns()) // 2000

    def now(self) -> int:
        """The time; `refresh` must have succeeded once."""
        assert self._offset is not None
        return time.monotonic_ns() // 1000 + self._offset
