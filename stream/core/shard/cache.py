"""A shard's records in memory, as bytes, so that fewer are loaded.

Rules: the cache holds what is stored, or what the next commit stores. It holds bytes because their size is known whatever the records say, and because
a record that is encoded right after its change is still in the processor's cache. None stands for a record that does not exist. Every reader gets a
copy of its own; a change counts once it is put.
"""

from collections.abc import Callable, Iterable
from typing import Generic, TypeVar

import msgspec

OVERHEAD = 200
"""Bytes that Python takes for a record besides its data: two objects and a place in a dictionary, about."""

Record = TypeVar("Record")
_encode = msgspec.msgpack.Encoder().encode


class Cache(Generic[Record]):
    """Records by key, least recently used first, encoded when they are put."""

    def __init__(self, kind: type[Record], upgrade: Callable[[bytes], Record] | None = None) -> None:
        """Start empty. `upgrade` reads what an older version stored."""
        self.expiry: dict[bytes, int | None] = {}
        """Expiries that changed since the last `drain`, microseconds; None takes a record off the index."""
        self.marked: set[bytes] = set()
        """Keys of records in memory that the owner of the cache marked: those of checkouts and subscriptions with offers."""
        self._decode = msgspec.msgpack.Decoder(kind).decode
        self._upgrade = upgrade or self._decode
        self._records: dict[bytes, bytes | None] = {}
        self._size = 0
        self._changed: dict[bytes, bytes | None] = {}
        self._links: dict[bytes, tuple[bytes, ...]] = {}

    def missing(self, keys: Iterable[bytes]) -> list[bytes]:
        """The keys that must be loaded: neither in memory nor known not to exist."""
        records = self._records
        return [key for key in keys if key not in records]

    def load(self, key: bytes, data: bytes | None) -> None:
        """Add a record as it is stored."""
        self._keep(key, data)

    def peek(self, key: bytes) -> Record | None:
        """The record, not to be changed. It must be in memory, or known not to exist."""
        data = self._records[key]
        if data is None:
            return None
        try:
            return self._decode(data)
        except msgspec.ValidationError:
            return self._upgrade(data)

    def get(self, key: bytes) -> Record | None:
        """The record, which becomes the most recently used. It must be in memory, or known not to exist."""
        data = self._records.pop(key)
        self._records[key] = data
        if data is None:
            return None
        try:
            return self._decode(data)
        except msgspec.ValidationError:
            return self._upgrade(data)

    def put(self, key: bytes, record: Record | None) -> None:
        """Replace the record."""
        data = None if record is None else _encode(record)
        self._keep(key, data)
        self._changed[key] = data

    def link(self, key: bytes, others: tuple[bytes, ...]) -> None:
        """Note which records of the other cache the record's next event may change, so that they are found without decoding it."""
        if others:
            self._links[key] = others
        else:
            self._links.pop(key, None)

    def linked(self, key: bytes) -> tuple[bytes, ...]:
        """The links of a record; none where it is not in memory."""
        return self._links.get(key, ())

    def has_changed(self, key: bytes) -> bool:
        """Whether the record was put since the last `drain`."""
        return key in self._changed

    def drain(self, capacity: int) -> tuple[dict[bytes, bytes | None], dict[bytes, int | None]]:
        """Changed records and changed expiries; then evict the least recently used records beyond `capacity` bytes."""
        changed, self._changed = self._changed, {}
        expiry, self.expiry = self.expiry, {}
        if self._size > capacity:
            evicted = []
            for key, data in self._records.items():
                if self._size <= capacity:
                    break
                evicted.append(key)
                self._size -= _size(key, data)
            for key in evicted:
                del self._records[key]
                self._links.pop(key, None)
            self.marked.difference_update(evicted)
        return changed, expiry

    def _keep(self, key: bytes, data: bytes | None) -> None:
        records = self._records
        if key in records:
            before = records[key]
            self._size += (len(data) if data else 0) - (len(before) if before else 0)
        else:
            self._size += _size(key, data)
        records[key] = data


class DeferredCache(Cache[Record]):
    """A cache for records that one batch changes many times: they are encoded when they are drained."""

    def __init__(self, kind: type[Record]) -> None:
        """Start empty."""
        super().__init__(kind)
        self.deferred: dict[bytes, Record | None] = {}
        """Records that were put since the last `drain`."""

    def peek(self, key: bytes) -> Record | None:
        """The record, not to be changed."""
        return self.deferred[key] if key in self.deferred else super().peek(key)

    def get(self, key: bytes) -> Record | None:
        """The record, as of a `Cache`; one that was put is the same object until it is drained."""
        return self.deferred[key] if key in self.deferred else super().get(key)

    def put(self, key: bytes, record: Record | None) -> None:
        """Replace the record."""
        self.deferred[key] = record

    def has_changed(self, key: bytes) -> bool:
        """Whether the record was put since the last `drain`."""
        return key in self.deferred

    def drain(self, capacity: int) -> tuple[dict[bytes, bytes | None], dict[bytes, int | None]]:
        """Changed records and changed expiries, as of a `Cache`."""
        deferred, self.deferred = self.deferred, {}
        for key, record in deferred.items():
            super().put(key, record)
        return super().drain(capacity)


def _size(key: bytes, data: bytes | None) -> int:
    return OVERHEAD + len(key) + (len(data) if data is not None else 0)
