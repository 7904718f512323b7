"""The clock of the tables: Redis is asked now and then; in between this process's monotonic clock carries the time on."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stream.tables.interface import Tables


class Clock:
    """Microseconds since the epoch, the same for all workers of the application."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables
        self._offset: int | None = None

    async def refresh(self) -> None:
        """Ask the tables.

        Raises:
            TablesUnavailableError: they cannot answer now; the clock continues from their last answer.
        """
        before = time.monotonic_ns()
        now = await self._tables.now()
        self._offset = now - (before + time.monotonic_ns()) // 2000

    def now(self) -> int:
        """The time. `refresh` must have succeeded once."""
        assert self._offset is not None
        return time.monotonic_ns() // 1000 + self._offset
