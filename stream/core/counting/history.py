"""History: what was counted in each hour and on each day, for each pair of channel and segment.

    Delta ─► pending (written with every commit) ─► records of hours and days (written when windows move)

Rules: the cells are those of the windows, without categories; distinct customers are not in it. Hours are UTC, days are those of a time zone. What is
counted waits in quarters of an hour, which lie within one hour and, in every time zone of today, within one day. Records are loaded when something is
added to them, never at a claim. A restatement changes the records that are still kept, and leaves those alone that are not.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, date, datetime, tzinfo
from functools import lru_cache
from typing import Final, Literal, NamedTuple

import msgspec

from stream.core.config import MICROSECONDS, QUARTER, CoreConfig
from stream.core.counting.cells import Cells, Key, add, merge, padded

HOUR: Final = 3600 * MICROSECONDS
PENDING: Final = 1024
"""Cells that wait between two moves of the windows, at most; with more, they go to the records with the next batch."""
DROPPED: Final = 8
"""Records of hours and days that one commit deletes, at most."""

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
    moment = datetime.fromtimestamp(quarter * QUARTER // MICROSECONDS, zone)
    return Table("h", quarter * QUARTER // HOUR), Table("d", moment.date().toordinal())


class History:
    """The history of one shard."""

    def __init__(
        self, config: CoreConfig, pending: dict[int, Cells], tables: Iterable[Table], since: int | None
    ) -> None:
        """Start from what is stored: `pending` by quarter, the `tables` that exist, `since` as below (None: not known yet)."""
        self.tables = set(tables)
        """Records that exist."""
        self.since = since
        """From when on the history is complete, microseconds; 0: from the first event. Older versions kept none."""
        self.pending = pending
        """What is not in the records yet, by quarter; quarter q covers [q·QUARTER, q·QUARTER + QUARTER) of the epoch."""
        self.changed = False
        """`tables` or `since` changed since the last `drain`."""
        self._zone = config.time_zone
        self._kept = {"h": config.hours_kept, "d": config.days_kept}
        self._at = 0
        self._is_due = False
        self._settles = config.settle_history
        self._writes: dict[str, dict[bytes, bytes | None]] = {}
        self._dropped: list[str] = []

    def add(self, quarter: int, cells: Cells) -> None:
        """Count cells in a quarter."""
        known = self.pending.get(quarter)
        if known is None:
            self.pending[quarter] = cells
        else:
            merge(known, cells)

    def advance(self, at: int) -> None:
        """Note that the windows have moved to `at` (microseconds): what waits goes to the records with the next batch or tick."""
        self._at = at
        self._is_due = True
        if self.since is None:
            self.since, self.changed = at, True

    def missing(self) -> dict[str, list[bytes]]:
        """Fields of records to load before the next batch is applied; empty if nothing must be added to them now."""
        if not self._settles or not (self._is_due or sum(map(len, self.pending.values())) > PENDING):
            return {}
        missing = {table.name: [*map(field_of, cells)] for table, cells in self._by_table().items()}
        if not missing:
            self.settle({})
        return missing

    def settle(self, loaded: Mapping[str, Sequence[bytes | None]]) -> None:
        """Add what waits to the records, which are given as `missing` has asked for them."""
        for table, cells in self._by_table().items():
            fields = self._writes.setdefault(table.name, {})
            for (key, vector), data in zip(cells.items(), loaded[table.name], strict=True):
                stored: Cells = {} if data is None else {key: decode_vector(key, data)}
                add(stored, key, vector)
                fields[field_of(key)] = encode_vector(stored[key]) if key in stored else None
            if table not in self.tables:
                self.tables.add(table)
                self.changed = True
        self.pending, self._is_due = {}, False
        for table in sorted(table for table in self.tables if not self._is_kept(table))[:DROPPED]:
            self.tables.discard(table)
            self._dropped.append(table.name)
            self._writes.pop(table.name, None)
            self.changed = True

    def drain(self) -> tuple[dict[str, dict[bytes, bytes | None]], list[str]]:
        """Fields of records that changed since the last call (None: deleted), and records to delete."""
        writes, self._writes = self._writes, {}
        dropped, self._dropped = self._dropped, []
        self.changed = False
        return writes, dropped

    def cells(self) -> dict[Table, Cells]:
        """What waits, by hour and by day."""
        return self._by_table()

    def _by_table(self) -> dict[Table, Cells]:
        found: dict[Table, Cells] = {}
        for quarter, cells in self.pending.items():
            for table in tables_of(quarter, self._zone):
                if self._is_kept(table):
                    merge(found.setdefault(table, {}), cells)
        return found

    def _is_kept(self, table: Table) -> bool:
        return table.end(self._zone) + self._kept[table.step] > self._at


def field_of(key: Key) -> bytes:
    """A cell's key as the field of a record."""
    return _ENCODER.encode(key)


def key_of(field: bytes) -> Key:
    """The inverse of `field_of`."""
    return _KEY.decode(field)


def encode_vector(vector: Sequence[int]) -> bytes:
    """A cell's vector as bytes, without zeros at its end."""
    length = len(vector)
    while length and not vector[length - 1]:
        length -= 1
    return _ENCODER.encode(vector[:length])


def decode_vector(key: Key, data: bytes) -> list[int]:
    """The inverse of `encode_vector`."""
    return padded([(key, _VECTOR.decode(data))])[key]


_ENCODER = msgspec.msgpack.Encoder()
_KEY = msgspec.msgpack.Decoder(tuple[str, ...])
_VECTOR = msgspec.msgpack.Decoder(list[int])
