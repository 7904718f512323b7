"""Packed arguments and replies of the scripts: one string for thousands of values.

Rules: a separate value on the wire costs a microsecond and more on either side; packing avoids that. Lua reads MessagePack as Redis' `cmsgpack` defines it:
byte strings are `raw`, with any bytes in them (msgspec writes `bin`, which `cmsgpack` refuses). Integers become Lua numbers, which are doubles: exact
below 2^53. No Redis command gets more than `CHUNK` fields, because Lua's `unpack` is limited.
"""

from __future__ import annotations

from collections import defaultdict
from itertools import chain, repeat
from struct import Struct
from typing import TYPE_CHECKING, NamedTuple, TypeVar, cast
from zlib import crc32

import msgspec

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from stream.tables.keys import Buckets

_V = TypeVar("_V")

CHUNK = 500
"""Fields in one Redis command, at most."""

_INT64 = 0xD3
_int64 = Struct(">Bq").pack
_lengths = msgspec.msgpack.Decoder(list[int]).decode


class _Headers(dict[int, bytes]):
    """The bytes before a byte string, by its length; computed once."""

    def __missing__(self, length: int) -> bytes:
        header = self[length] = b"\xdb" + length.to_bytes(4, "big")
        return header


_header = _Headers().__getitem__


def _array(length: int) -> bytes:
    return b"\xdd" + length.to_bytes(4, "big")


def raw(value: bytes) -> bytes:
    """One byte string."""
    return _header(len(value)) + value


def integer(value: int) -> bytes:
    """One integer."""
    return _int64(_INT64, value)


def raws(values: Sequence[bytes]) -> bytes:
    """An array of byte strings."""
    return _array(len(values)) + _packed(values)


def _packed(values: Sequence[bytes]) -> bytes:
    # No Python code runs per value; that makes it twice as fast.
    return b"".join(chain.from_iterable(zip(map(_header, map(len, values)), values, strict=True)))


def integers(values: Sequence[int]) -> bytes:
    """An array of integers."""
    return _array(len(values)) + b"".join(map(_int64, repeat(_INT64), values))


def array(items: Sequence[bytes]) -> bytes:
    """An array of packed items."""
    return _array(len(items)) + b"".join(items)


class _Parts(NamedTuple):
    """The fields of one command, in the order of the keys that it is executed for."""

    fields: list[bytes]
    positions: list[int]
    """Of the keys."""
    sizes: list[int]
    """Number of fields of each key."""


class Writes:
    """Commands that a script executes in order, and the script's keys."""

    def __init__(self, *keys: bytes) -> None:
        """`keys`: the script's first keys; those of the commands follow them."""
        self.keys = list(keys)
        self._writes: list[bytes] = []

    def position(self, key: bytes) -> int:
        """Add a key, and return its position (from 1) among the script's keys."""
        self.keys.append(key)
        return len(self.keys)

    def hash(self, table: bytes | Buckets, fields: Mapping[bytes, bytes | None]) -> None:
        """Set fields of a hash; None deletes."""
        put, gone = _put(fields)
        parts = self._split(table, put)
        values = map(put.__getitem__, parts.fields)
        pairs = list(chain.from_iterable(zip(parts.fields, values, strict=True)))
        self._write(b"HSET", parts, 2, _packed(pairs))
        self.delete(b"HDEL", table, gone)

    def scores(self, table: bytes | Buckets, members: Mapping[bytes, int | None]) -> None:
        """Set scores (integers below 2^53) of a sorted set's members; None removes."""
        put, gone = _put(members)
        parts = self._split(table, put)
        heads = map(_int64, repeat(_INT64), map(put.__getitem__, parts.fields))
        headers = map(_header, map(len, parts.fields))
        arguments = b"".join(chain.from_iterable(zip(heads, headers, parts.fields, strict=True)))
        self._write(b"ZADD", parts, 2, arguments)
        self.delete(b"ZREM", table, gone)

    def delete(self, command: bytes, table: bytes | Buckets, fields: Collection[bytes]) -> None:
        """Delete fields of a hash (HDEL) or members of a sorted set (ZREM)."""
        parts = self._split(table, fields)
        self._write(command, parts, 1, _packed(parts.fields))

    def pack(self) -> bytes:
        """All commands: for each its name, the keys that it is executed for, how many arguments each of them gets, and all arguments."""
        return array(self._writes)

    def _split(self, table: bytes | Buckets, fields: Collection[bytes]) -> _Parts:
        """`fields` in the order of the keys that they belong to."""
        if not fields:
            return _Parts([], [], [])
        if isinstance(table, bytes):
            return _Parts(list(fields), *_chunks([self.position(table)], [len(fields)]))
        groups: defaultdict[int, list[bytes]] = defaultdict(list)
        shift = table.shift
        for code, field in zip(map(crc32, fields), fields, strict=True):
            groups[code >> shift].append(field)
        positions = [self.position(table.key(number)) for number in groups]
        return _Parts(list(chain.from_iterable(groups.values())), *_chunks(positions, list(map(len, groups.values()))))

    def _write(self, command: bytes, parts: _Parts, width: int, arguments: bytes) -> None:
        """Add a command with `width` arguments for each field."""
        if parts.fields:
            sizes = integers([width * size for size in parts.sizes])
            packed = _array(width * len(parts.fields)) + arguments
            self._writes.append(array([raw(command), integers(parts.positions), sizes, packed]))


def _put(values: Mapping[bytes, _V | None]) -> tuple[Mapping[bytes, _V], Collection[bytes]]:
    """The values to set, and the fields to delete."""
    if None not in values.values():
        return cast("Mapping[bytes, _V]", values), ()
    put = {field: value for field, value in values.items() if value is not None}
    return put, [field for field, value in values.items() if value is None]


def _chunks(positions: list[int], sizes: list[int]) -> tuple[list[int], list[int]]:
    """The same with no size above `CHUNK`: a key that has more fields occurs several times."""
    if max(sizes) <= CHUNK:
        return positions, sizes
    pairs = [
        (position, min(CHUNK, size - begin))
        for position, size in zip(positions, sizes, strict=True)
        for begin in range(0, size, CHUNK)
    ]
    return [position for position, _ in pairs], [size for _, size in pairs]


def unpack(lengths: bytes, data: bytes) -> list[bytes | None]:
    """The values that a script returned as one string, with their lengths; length -1 is None."""
    values: list[bytes | None] = []
    begin = 0
    for length in _lengths(lengths):
        if length < 0:
            values.append(None)
        else:
            values.append(data[begin : begin + length])
            begin += length
    return values


def pack_fields(positions: Sequence[int], fields: Sequence[bytes]) -> bytes:
    """Fields to read, each with the position of its key."""
    return array([integers(positions), raws(fields)])
