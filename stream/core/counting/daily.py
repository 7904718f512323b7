"""Counts by day under keys that come from events: products, pairs, paths, offers. The number of keys of a day is bounded.

    day ─► pending (written with every commit) ─► records of days (written when windows move)

Rules: as for the history (`core.counting.history`), but a record takes only so many keys: the first ones in the order of the log, whatever becomes of them;
everything else is counted under `OVERFLOW`. A key keeps its place also where all that was counted under it is taken away again. So which keys have a place
does not depend on how records are cut into batches. A record has a field for each of `BUCKETS` groups of keys, compressed where it is large: with a field
for each key, Redis would take more memory.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final
from zlib import compress, crc32, decompress

import msgspec

from stream.core.config import CoreConfig
from stream.core.counting.history import History, Table, day_of
from stream.core.entities.tally import ALL, OVERFLOW, Key, Tallies, Tally

WAITING: Final = 1024
"""Keys that wait between two moves of the windows, at most; with more, they go to the records with the next batch."""
BUCKETS: Final = 32
COMPRESSED: Final = 1024
"""Bytes from which on a group is compressed."""
_ZLIB: Final = b"\x78"
"""Its first byte, with which no array begins."""
_HEAD: Final = b"#"
"""The field of a record that has what lies outside of the bound."""


class _Head(msgspec.Struct, array_like=True):
    taken: int
    """Keys that have a place."""
    rest: Tallies
    """Under `ALL` and `OVERFLOW`."""


class Daily:
    """The day records of one shard."""

    def __init__(
        self,
        config: CoreConfig,
        bounds: Mapping[str, int],
        pending: Iterable[tuple[str, Iterable[tuple[Key, Tally]]]],
        history: History,
    ) -> None:
        """Start from what is stored: `pending` by name. `bounds`: sort of record (one letter) -> keys that have a place. Days are kept as by `history`."""
        self.pending: dict[str, Tallies] = {name: dict(own) for name, own in pending}
        """What is not in the records yet, by record, in the order of the log."""
        self._bounds = bounds
        self._zone = config.time_zone
        self._is_off = config.history == "off"
        self._history = history
        self._places: dict[tuple[int, tuple[str, ...]], tuple[Tallies, ...] | None] = {}
        self._writes: dict[str, dict[bytes, bytes | None]] = {}

    def days(self, sorts: tuple[str, ...], time: int) -> tuple[Tallies, ...] | None:
        """Where to count something of a time (microseconds) in records of some sorts; None where its day is not kept."""
        ordinal = day_of(time, self._zone)
        places = self._places.get((ordinal, sorts), ())
        if places == ():
            kept = not self._is_off and self._history.is_kept(Table("d", ordinal))
            places = self._places[ordinal, sorts] = (
                tuple([self.pending.setdefault(f"{sort}:{ordinal}", {}) for sort in sorts]) if kept else None
            )
        return places

    @property
    def is_full(self) -> bool:
        """Whether what waits must go to the records."""
        return sum(map(len, self.pending.values())) > WAITING

    def fields(self) -> dict[str, list[bytes]]:
        """Fields of records that `settle` needs."""
        return {
            name: [_HEAD, *_by_bucket(own)]
            for name, own in self.pending.items()
            if own and self._history.is_kept(Table("d", _day(name)))
        }

    def settle(self, loaded: Mapping[str, Sequence[bytes | None]]) -> None:
        """Add what waits to the records, which are given as `fields` has asked for them."""
        for name, own in self.pending.items():
            if name not in loaded:
                continue
            head_data, *stored = loaded[name]
            written = self._writes.setdefault(name, {})
            buckets = {
                bucket: _decode_bucket(written.get(bucket, data))
                for bucket, data in zip(_by_bucket(own), stored, strict=True)
            }
            head = _decode_head(written.get(_HEAD, head_data))
            _merge(self._bounds[name[0]], head, buckets, own)
            written[_HEAD] = _encode(head)
            written.update({bucket: _encode(tallies) for bucket, tallies in buckets.items()})
        self.pending, self._places = {}, {}

    def drain(self, days: Iterable[str]) -> tuple[dict[str, dict[bytes, bytes | None]], list[str]]:
        """Fields of records that changed since the last call, and records to delete if these `days` (names of the history) are deleted."""
        writes, self._writes = self._writes, {}
        return writes, [f"{sort}{name[1:]}" for name in days if name[0] == "d" for sort in self._bounds]


def merged(bound: int, stored: Mapping[bytes, bytes], pending: Iterable[tuple[Key, Tally]]) -> Tallies:
    """A record as it would be if what waits were added to it; keys that count nothing any more are in it, too."""
    own = dict(pending)
    buckets = {field: _decode_bucket(data) for field, data in stored.items() if field != _HEAD}
    for bucket in _by_bucket(own):
        buckets.setdefault(bucket, {})
    head = _decode_head(stored.get(_HEAD))
    _merge(bound, head, buckets, own)
    found = dict(head.rest)
    for tallies in buckets.values():
        found.update(tallies)
    return found


def _merge(bound: int, head: _Head, buckets: Mapping[bytes, Tallies], pending: Tallies) -> None:
    for key, tally in pending.items():
        place = head.rest
        if key not in _UNBOUNDED:
            bucket = buckets[_bucket(key)]
            if key in bucket:
                place = bucket
            elif head.taken < bound:
                place = bucket
                head.taken += 1
            else:
                key = OVERFLOW  # noqa: PLW2901 - where it is counted
        known = place.get(key)
        if known is None:
            known = place[key] = Tally([], {})
        known.add(tally)


def _by_bucket(keys: Iterable[Key]) -> list[bytes]:
    return list(dict.fromkeys(_bucket(key) for key in keys if key not in _UNBOUNDED))


def _bucket(key: Key) -> bytes:
    """By the first part, because keys that have it in common compress well."""
    return b"%d" % (crc32(key[0].encode()) % BUCKETS)


def _day(name: str) -> int:
    return int(name[2:])


def _decode_bucket(data: bytes | None) -> Tallies:
    if data is None:
        return {}
    return dict(_BUCKET.decode(decompress(data) if data[:1] == _ZLIB else data))


def _decode_head(data: bytes | None) -> _Head:
    if data is None:
        return _Head(0, {})
    taken, rest = _HEAD_DECODER.decode(data)
    return _Head(taken, dict(rest))


def _encode(what: _Head | Tallies) -> bytes:
    if isinstance(what, _Head):
        return _ENCODER.encode((what.taken, [*what.rest.items()]))
    data = _ENCODER.encode([*what.items()])
    return compress(data, 1) if len(data) >= COMPRESSED else data


_UNBOUNDED: Final = (ALL, OVERFLOW)
_Entries = list[tuple[tuple[str, ...], Tally]]
_ENCODER = msgspec.msgpack.Encoder(order="deterministic")
_BUCKET = msgspec.msgpack.Decoder(_Entries)
_HEAD_DECODER = msgspec.msgpack.Decoder(tuple[int, _Entries])
