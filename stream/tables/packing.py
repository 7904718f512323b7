"""Packed arguments and replies of the scripts: one string for thousands of values.

Rules: a separate value on the wire costs a microsecond and more on either side; packing avoids that. Lua reads MessagePack as Redis' `cmsgpack` defines it:
byte strings are `raw`, with any bytes in them (msgspec writes `bin`, which `cmsgpack` refuses). Integers become Lua numbers, which are doubles: exact
below 2^53. No Redis command gets more than `CHUNK` values, because Lua's `unpack` is limited.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain, repeat
from struct import Struct
from typing import TypeVar

import msgspec

_V = TypeVar("_V")

CHUNK = 1000
"""Values in one Redis command, at most."""
READ = 32
"""Values in one command that reads. The script checks the size of its answer after each such command."""

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


def array(items: Sequence[bytes]) -> bytes:
    """An array of packed items."""
    return _array(len(items)) + b"".join(items)


def chunks(values: Sequence[_V], size: int = CHUNK) -> Iterator[Sequence[_V]]:
    """`values` in chunks of at most `size`."""
    for begin in range(0, len(values), size):
        yield values[begin : begin + size]


class Writes:
    """Commands that a script executes in order. Each names its key by the position (from 1) among the script's keys."""

    def __init__(self) -> None:
        self._writes: list[bytes] = []

    def hash(self, key: int, fields: Mapping[bytes, bytes | None]) -> None:
        """Set fields of a hash; None deletes."""
        put = [part for field, value in fields.items() if value is not None for part in (field, value)]
        self._strings(b"HSET", key, put)
        if len(put) < 2 * len(fields):
            self._strings(b"HDEL", key, [field for field, value in fields.items() if value is None])

    def scores(self, key: int, members: Mapping[bytes, int | None]) -> None:
        """Set scores (integers below 2^53) of a sorted set's members; None removes."""
        put = [member for member, score in members.items() if score is not None]
        values = [score for score in members.values() if score is not None]
        for chunk, scores in zip(chunks(put, CHUNK // 2), chunks(values, CHUNK // 2), strict=True):
            heads = map(_int64, repeat(_INT64), scores)
            packed = b"".join(chain.from_iterable(zip(heads, map(_header, map(len, chunk)), chunk, strict=True)))
            self._write(b"ZADD", key, 2 * len(chunk), packed)
        if len(put) < len(members):
            self._strings(b"ZREM", key, [member for member, score in members.items() if score is None])

    def pack(self) -> bytes:
        """All commands: an array of arrays (command, key, argument, ...)."""
        return array(self._writes)

    def _strings(self, command: bytes, key: int, arguments: Sequence[bytes]) -> None:
        for chunk in chunks(arguments):
            self._write(command, key, len(chunk), _packed(chunk))

    def _write(self, command: bytes, key: int, count: int, arguments: bytes) -> None:
        self._writes.append(_array(2 + count) + raw(command) + integer(key) + arguments)


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


def pack_keys(groups: Iterable[Sequence[bytes]]) -> bytes:
    """For each group of keys an array of chunks to read."""
    return array([array([raws(chunk) for chunk in chunks(keys, READ)]) for keys in groups])
