"""Records of a shard that are kept in memory, as bytes, so that fewer are loaded.

Rules: what is here is what is stored, or what the next commit stores. Bytes, because the memory that they take is known whatever they say, and because a
record that is encoded right after it was changed is still at hand for the processor. None stands for a record that does not exist. Who reads a record
gets one of their own; a change counts once it is put.
"""

from collections.abc import Iterable, Mapping
from typing import Generic, TypeVar

import msgspec

OVERHEAD = 200
"""Bytes that Python takes for a record beyond its own: two objects and a place in a dictionary, about."""

Kept = TypeVar("Kept")
_encode = msgspec.msgpack.Encoder().encode


class Cache(Generic[Kept]):
    """Records by key, least recently used first. They are encoded when they are put."""

    def __init__(self, kind: type[Kept]) -> None:
        """Start with none."""
        self.expiry: dict[bytes, int | None] = {}
        """What changed of the expiries since the last `take`."""
        self._decode = msgspec.msgpack.Decoder(kind).decode
        self._records: dict[bytes, bytes | None] = {}
        self._size = 0
        self._changed: dict[bytes, bytes | None] = {}
        self._concerned: dict[bytes, tuple[bytes, ...]] = {}

    def missing(self, keys: Iterable[bytes]) -> list[bytes]:
        """Those of the keys that are neither here nor known not to exist."""
        records = self._records
        return [key for key in keys if key not in records]

    def provide(self, stored: Mapping[bytes, bytes | None]) -> None:
        """Take in records as they are stored."""
        for key, data in stored.items():
            self._keep(key, data)

    def look(self, key: bytes) -> Kept | None:
        """The record, not to be changed."""
        data = self._records[key]
        return None if data is None else self._decode(data)

    def concern(self, key: bytes, others: tuple[bytes, ...]) -> None:
        """Note which records of another sort the record's next event may change, so that they are found without decoding it."""
        if others:
            self._concerned[key] = others
        else:
            self._concerned.pop(key, None)

    def concerned(self, key: bytes) -> tuple[bytes, ...]:
        """What was noted; nothing of a record that is not here."""
        return self._concerned.get(key, ())

    def use(self, key: bytes) -> Kept | None:
        """The record, which becomes the most recently used. It must be here, or known not to exist."""
        data = self._records.pop(key)
        self._records[key] = data
        return None if data is None else self._decode(data)

    def put(self, key: bytes, record: Kept | None) -> None:
        """Replace the record."""
        data = None if record is None else _encode(record)
        self._keep(key, data)
        self._changed[key] = data

    def has_changed(self, key: bytes) -> bool:
        """Whether the record was put since the last `take`."""
        return key in self._changed

    def take(self, capacity: int) -> tuple[dict[bytes, bytes | None], dict[bytes, int | None]]:
        """Changed records, and changed expiries; then forget the least recently used beyond so many bytes."""
        changed, self._changed = self._changed, {}
        expiry, self.expiry = self.expiry, {}
        if self._size > capacity:
            left = []
            for key, data in self._records.items():
                if self._size <= capacity:
                    break
                left.append(key)
                self._size -= _size(key, data)
            for key in left:
                del self._records[key]
                self._concerned.pop(key, None)
        return changed, expiry

    def _keep(self, key: bytes, data: bytes | None) -> None:
        records = self._records
        if key in records:
            before = records[key]
            self._size += (len(data) if data else 0) - (len(before) if before else 0)
        else:
            self._size += _size(key, data)
        records[key] = data


class LateCache(Cache[Kept]):
    """The same for records that a batch changes again and again: they are encoded when they are taken."""

    def __init__(self, kind: type[Kept]) -> None:
        """Start with none."""
        super().__init__(kind)
        self.late: dict[bytes, Kept | None] = {}
        """What was put since the last `take`."""

    def use(self, key: bytes) -> Kept | None:
        """As of a `Cache`, but what was put is the same object until it is taken."""
        return self.late[key] if key in self.late else super().use(key)

    def put(self, key: bytes, record: Kept | None) -> None:
        """Replace the record."""
        self.late[key] = record

    def has_changed(self, key: bytes) -> bool:
        """Whether the record was put since the last `take`."""
        return key in self.late

    def take(self, capacity: int) -> tuple[dict[bytes, bytes | None], dict[bytes, int | None]]:
        """As of a `Cache`."""
        late, self.late = self.late, {}
        for key, record in late.items():
            super().put(key, record)
        return super().take(capacity)


def _size(key: bytes, data: bytes | None) -> int:
    return OVERHEAD + len(key) + (len(data) if data is not None else 0)
