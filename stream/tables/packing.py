"""Arguments and replies of the scripts, packed: one for thousands of values.

Rules: a value of its own on the wire costs a microsecond and more on either side, hence this room. What Lua reads is MessagePack as
Redis' `cmsgpack` knows it: byte strings as `raw`, with any bytes in them (msgspec writes them as `bin`, which `cmsgpack` refuses).
Integers become Lua numbers, which are doubles: exact below 2^53. No Redis command gets more than `CHUNK` values, because Lua's `unpack` has
an end.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from struct import Struct

import msgspec

CHUNK = 1000
"""Values in one Redis command, at most."""

_INT64 = 0xD3
_int64 = Struct(">Bq").pack
_lengths = msgspec.msgpack.Decoder(list[int]).decode


@lru_cache(maxsize=4096)
def _header(length: int) -> bytes:
    return b"\xdb" + length.to_bytes(4, "big")


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
    return _array(len(values)) + b"".join([part for value in values for part in (_header(len(value)), value)])


def array(items: Sequence[bytes]) -> bytes:
    """An array of packed items."""
    return _array(len(items)) + b"".join(items)


def chunks(values: Sequence[bytes]) -> Iterator[Sequence[bytes]]:
    """`values` in pieces that one Redis command takes."""
    for begin in range(0, len(values), CHUNK):
        yield values[begin : begin + CHUNK]


class Writes:
    """Commands for a script to execute in order, each on a key named by its position (from 1) among the script's keys."""

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
        put = [(member, score) for member, score in members.items() if score is not None]
        for begin in range(0, len(put), CHUNK // 2):
            chunk = put[begin : begin + CHUNK // 2]
            parts = [part for member, score in chunk for part in (_int64(_INT64, score), _header(len(member)), member)]
            self._write(b"ZADD", key, 2 * len(chunk), b"".join(parts))
        if len(put) < len(members):
            self._strings(b"ZREM", key, [member for member, score in members.items() if score is None])

    def pack(self) -> bytes:
        """All of them: an array of arrays (command, key, argument, ...)."""
        return array(self._writes)

    def _strings(self, command: bytes, key: int, arguments: Sequence[bytes]) -> None:
        for chunk in chunks(arguments):
            self._write(command, key, len(chunk), raws(chunk)[len(_array(0)) :])

    def _write(self, command: bytes, key: int, count: int, arguments: bytes) -> None:
        self._writes.append(_array(2 + count) + raw(command) + integer(key) + arguments)


def unpack(lengths: bytes, data: bytes) -> list[bytes | None]:
    """Values that a script returned one behind the other, with their lengths; length -1 is None."""
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
    """For each group of keys: an array of chunks."""
    return array([array([raws(chunk) for chunk in chunks(keys)]) for keys in groups])
