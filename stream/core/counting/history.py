"""History: what was counted in each hour and on each day, for each pair of channel and segment.

    Delta ─► pending (written with every commit) ─► records of hours and days (written when windows move)

Rules: the cells are those of the windows, without categories; distinct customers are not in it. Hours are UTC, days are those of a time zone. What is
counted waits in quarters of an hour, which lie within one hour and, in every time zone of today, within one day. Records are loaded when something is
added to them, never at a claim. A restatement changes the records that are still kept, and leaves those alone that are not. A record that was dropped
stays dropped, also where a restart finds that time ran back: what would be taken from it was dropped with it.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, tzinfo
from functools import lru_cache
from typing import Final, Literal, NamedTuple
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec

from stream.core.config import MICROSECONDS, QUARTER, CoreConfig
from stream.core.counting.cells import MONEY, SALES, Cells, merge, padded

HOUR: Final = 3600 * MICROSECONDS
PENDING: Final = 1024
"""Cells that wait between two moves of the windows, at most; with more, they go to the records with the next batch."""
DELETED: Final = 8
"""Records of hours, and as many of days, that one commit deletes at most."""

_FIRST, _LAST = (round(datetime(year, 1, 1, tzinfo=UTC).timestamp()) for year in (2, 9999))
"""Between them every moment has a date in every time zone, seconds."""

Step = Literal["h", "d"]
"""hour, day"""


class Table(NamedTuple):
    """The record of one hour or day, which has a field for each cell."""

    step: Step
    number: int
    """Hours since the epoch, or the proleptic ordinal of the date."""

    @property
    def name(self) -> str:
        """Name in the tables."""
        return f"{self.step}:{self.number}"

    @classmethod
    def parse(cls, name: str) -> "Table":
        """The inverse of `name`."""
        step, _, number = name.partition(":")
        return cls("h" if step == "h" else "d", int(number))

    def begin(self, zone: tzinfo) -> int:
        """Its first moment, microseconds since the epoch. `zone` is that of the days."""
        if self.step == "h":
            return self.number * HOUR
        return _midnight(self.number, zone)

    def end(self, zone: tzinfo) -> int:
        """The first moment after it."""
        return self._replace(number=self.number + 1).begin(zone)


@lru_cache(maxsize=256)
def _midnight(ordinal: int, zone: tzinfo) -> int:
    midnight = datetime.combine(date.fromordinal(ordinal), datetime.min.time(), zone)
    return round(midnight.astimezone(UTC).timestamp()) * MICROSECONDS


@lru_cache(maxsize=4096)
def tables_of(quarter: int, zone: tzinfo) -> tuple[Table, Table]:
    """The hour and the day of a quarter."""
    moment = datetime.fromtimestamp(min(max(quarter * QUARTER // MICROSECONDS, _FIRST), _LAST), zone)
    return Table("h", quarter * QUARTER // HOUR), Table("d", moment.date().toordinal())


def day_of(time: int, zone: tzinfo) -> int:
    """The proleptic ordinal of the date of a time, microseconds since the epoch."""
    return tables_of(time // QUARTER, zone)[1].number


def _zone(name: str) -> tzinfo:
    try:
        return ZoneInfo(name)
    except ZoneInfoNotFoundError:
        return UTC


class HistoryState(msgspec.Struct, frozen=True, array_like=True):
    """What a shard's own record says of its history."""

    since: int = 0
    """The history is complete from here on, microseconds; 0: from the first event."""
    dropped: tuple[int, int] = (0, 0)
    """Number of the newest hour, and of the newest day, that may be incomplete because they were dropped."""
    deleted: tuple[int, int] = (0, 0)
    """Of those that were dropped, the newest ones whose records are deleted; 0: there are none."""
    zone: str = "UTC"
    """Time zone of the days."""


class History:
    """The history of one shard."""

    def __init__(self, config: CoreConfig, state: HistoryState, pending: dict[int, Cells], newest: int | None) -> None:
        """Start from what is stored: `pending` by quarter, `newest` the time of the newest event (None: there is none)."""
        self.since = state.since
        """The history is complete from here on, microseconds; 0: from the first event. Older versions kept none."""
        self.pending = pending
        """What is not in the records yet, by quarter; quarter q covers [q·QUARTER, q·QUARTER + QUARTER) of the epoch."""
        self._zone = config.time_zone
        self._kept = (config.hours_kept, config.days_kept)
        hour, day = state.dropped
        if newest is not None:
            newest_hour, newest_day = tables_of(newest // QUARTER, self._zone)
            hour, day = min(hour, newest_hour.number), min(day, newest_day.number)
            if state.zone != str(self._zone):  # what is stored are the days of another time zone
                day = max(newest_day.number, tables_of(newest // QUARTER, _zone(state.zone))[1].number)
        self._dropped: dict[Step, int] = {"h": hour, "d": day}
        """Number of the newest record of each sort that may be incomplete."""
        self._deleted: dict[Step, int] = {"h": min(hour, state.deleted[0]), "d": min(day, state.deleted[1])}
        self._is_off = config.history == "off"
        self._writes: dict[str, dict[bytes, bytes | None]] = {}

    def add(self, quarter: int, cells: Cells) -> None:
        """Count cells in a quarter."""
        if self._is_off or not any(map(self.is_kept, tables_of(quarter, self._zone))):
            return
        known = self.pending.get(quarter)
        if known is None:
            self.pending[quarter] = cells
        else:
            merge(known, cells)

    def advance(self, at: int) -> None:
        """Move to `at` (microseconds): hours and days that are too old are dropped."""
        hours, days = (at - kept for kept in self._kept)
        hour, day = tables_of(hours // QUARTER, self._zone)[0], tables_of(days // QUARTER, self._zone)[1]
        for step, number in (hour, day):
            self._dropped[step] = max(self._dropped[step], number - 1)
            self._deleted[step] = self._deleted[step] or self._dropped[step]

    @property
    def is_full(self) -> bool:
        """Whether what waits must go to the records."""
        return sum(map(len, self.pending.values())) > PENDING

    def fields(self) -> dict[str, list[bytes]]:
        """Fields of records that `settle` needs."""
        return {table.name: [*_by_field(cells)] for table, cells in self.cells().items()}

    def settle(self, loaded: Mapping[str, Sequence[bytes | None]]) -> None:
        """Add what waits to the records, which are given as `fields` has asked for them."""
        for table, cells in self.cells().items():
            written = self._writes.setdefault(table.name, {})
            for (field, added), data in zip(_by_field(cells).items(), loaded[table.name], strict=True):
                stored = decode_cells(field, written.get(field, data))
                merge(stored, added)
                written[field] = encode_cells(stored)
        self.pending = {}

    def drain(self) -> tuple[dict[str, dict[bytes, bytes | None]], list[str]]:
        """Fields of records that changed since the last call (None: deleted), and records to delete, which may not exist."""
        writes, self._writes = self._writes, {}
        deleted: list[str] = []
        for step, through in self._deleted.items():
            until = min(self._dropped[step], through + DELETED)
            deleted += [Table(step, number).name for number in range(through + 1, until + 1)]
            self._deleted[step] = until
        return writes, deleted

    @property
    def state(self) -> HistoryState:
        """What is stored besides the records and what waits."""
        dropped, deleted = self._dropped, self._deleted
        return HistoryState(self.since, (dropped["h"], dropped["d"]), (deleted["h"], deleted["d"]), str(self._zone))

    def cells(self) -> dict[Table, Cells]:
        """What waits, by hour and by day, where these are kept."""
        found: dict[Table, Cells] = {}
        for quarter, cells in self.pending.items():
            for table in tables_of(quarter, self._zone):
                if self.is_kept(table):
                    merge(found.setdefault(table, {}), cells)
        return {table: cells for table, cells in found.items() if cells}

    def is_kept(self, table: Table) -> bool:
        """Whether an hour or day is not too old."""
        return table.number > self._dropped[table.step]


def _by_field(cells: Cells) -> dict[bytes, Cells]:
    """Cells by the field of a record that holds them: one for each pair of channel and segment."""
    fields: dict[bytes, Cells] = {}
    for key, vector in cells.items():
        fields.setdefault(_ENCODER.encode(key[1:3]), {})[key] = vector
    return fields


def encode_cells(cells: Cells) -> bytes | None:
    """The cells of one field as bytes, without zeros at the ends of vectors; None if there are none."""
    if not cells:
        return None
    sales: list[int] = []
    money: list[tuple[str, list[int]]] = []
    for key, vector in sorted(cells.items()):
        if key[0] == SALES:
            sales = _trimmed(vector)
        else:
            money.append((key[3], _trimmed(vector)))
    return _ENCODER.encode((sales, money))


def decode_cells(field: bytes, data: bytes | None) -> Cells:
    """The inverse of `encode_cells`."""
    if data is None:
        return {}
    (channel, segment), (sales, money) = _FIELD.decode(field), _RECORD.decode(data)
    cells = padded(((MONEY, channel, segment, currency), vector) for currency, vector in money)
    return padded([((SALES, channel, segment), sales)]) | cells if sales else cells


def _trimmed(vector: Sequence[int]) -> list[int]:
    length = len(vector)
    while length and not vector[length - 1]:
        length -= 1
    return [*vector[:length]]


_ENCODER = msgspec.msgpack.Encoder()
_FIELD = msgspec.msgpack.Decoder(tuple[str, str])
_RECORD = msgspec.msgpack.Decoder(tuple[list[int], list[tuple[str, list[int]]]])
