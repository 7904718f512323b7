"""What the owner of a shard reports with each commit, for everybody who looks at the application: see `stream.tables.interface.ShardHealth`."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final

from stream.core.config import MICROSECONDS
from stream.tables.interface import ShardHealth

if TYPE_CHECKING:
    from collections.abc import Mapping

PANE: Final = 60 * MICROSECONDS
"""Length of the intervals in which records that need attention are counted, microseconds."""
KEPT: Final = 60
"""Intervals that are kept: an hour."""


class HealthReport:
    """The recent counts of one shard, continued from what the owner before has stored."""

    def __init__(self, stored: ShardHealth) -> None:
        self._panes = {start: Counter(counts) for start, counts in stored.recent}

    def count(self, names: Mapping[str, int], now: int) -> None:
        """Count records by what `ShardHealth.recent` names; `now` in microseconds."""
        start = now - now % PANE
        self._panes.setdefault(start, Counter()).update({name: number for name, number in names.items() if number})

    def report(self, oldest_unapplied: int, unread_since: int, now: int) -> ShardHealth:
        """For `Commit.health`; `oldest_unapplied` and `unread_since` as of `ShardHealth`."""
        if self._panes:
            self._panes = {start: counts for start, counts in self._panes.items() if start > now - KEPT * PANE}
        recent = tuple((start, dict(counts)) for start, counts in self._panes.items())
        return ShardHealth(oldest_unapplied, recent, unread_since)
