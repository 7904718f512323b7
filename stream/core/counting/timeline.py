"""What readers get of the history: the hours or the days of all shards, added up.

Rules: figures are sums of cells, as in `core.counting.figures`. Customers are not in them. A period that is not over, or that begins before the history
is complete, is partial.
"""

from collections.abc import Iterable, Mapping
from contextlib import suppress
from datetime import UTC, datetime, tzinfo

import msgspec

from stream.core.config import MICROSECONDS
from stream.core.counting.cells import Cells, merge
from stream.core.counting.figures import JOURNEYS, WindowFigures
from stream.core.counting.history import Table
from stream.core.event import Journey


class ShardPast(msgspec.Struct, frozen=True):
    """What one shard contributes."""

    journey: Journey
    since: int
    """The history is complete from here on, microseconds; 0: from the first event."""
    cells: Mapping[Table, Cells]


class Timeline:
    """Hours, or days, of all shards."""

    def __init__(self, shards: Iterable[ShardPast]) -> None:
        """Add up shards."""
        self._cells: dict[tuple[Journey, Table], Cells] = {}
        self._since: dict[Journey, int] = {}
        for shard in shards:
            self._since[shard.journey] = max(shard.since, self._since.get(shard.journey, 0))
            for table, cells in shard.cells.items():
                merge(self._cells.setdefault((shard.journey, table), {}), cells)

    @property
    def tables(self) -> set[tuple[Journey, Table]]:
        """The hours or days in which something was counted."""
        return {place for place, cells in self._cells.items() if cells}

    @property
    def journeys(self) -> tuple[Journey, ...]:
        """The journeys that have a shard; both if there is none."""
        return tuple(journey for journey in JOURNEYS if journey in self._since) or JOURNEYS

    def since(self, journey: Journey) -> int:
        """From when on the history of a journey is complete, microseconds; 0: from the first event."""
        return self._since.get(journey, 0)

    def cells(self, journey: Journey, tables: Iterable[Table]) -> Cells:
        """The sum of some hours or days."""
        found: Cells = {}
        for table in tables:
            merge(found, self._cells.get((journey, table), {}))
        return found

    def figures(self, journey: Journey, tables: Iterable[Table]) -> WindowFigures:
        """The figures of some hours or days together."""
        return WindowFigures(self.cells(journey, tables), None, revenue=True)


def rfc3339(time: int, zone: tzinfo = UTC) -> str:
    """A time in microseconds as RFC 3339, with the offset of the zone; in UTC if the zone has no such date, as in the last hours of the year 9999."""
    seconds, microseconds = divmod(time, MICROSECONDS)
    moment = datetime.fromtimestamp(seconds, UTC)
    with suppress(OverflowError):
        moment = moment.astimezone(zone)
    moment = moment.replace(microsecond=microseconds)
    return moment.isoformat().replace("+00:00", "Z")
