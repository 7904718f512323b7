"""Records out of fetched bytes, as aiokafka reads them, but for one thing: a header's name that is not UTF-8 fails no fetch.

Rules: Kafka takes such a name from clients that send what they are given, and aiokafka's error for it would come again with every fetch, before any other
record. Here the client's fast reader reads until it meets one, and its slow one reads the rest of that batch, with escapes in the name.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any

from aiokafka.record.default_records import _DefaultRecordBatchPy
from aiokafka.record.memory_records import _MemoryRecordsPy

if TYPE_CHECKING:
    from collections.abc import Iterator


class Records(_MemoryRecordsPy):  # type: ignore[misc]  # aiokafka is untyped here
    """In the place of aiokafka's `MemoryRecords`: batches, one behind the other."""

    def next_batch(self) -> Any:
        """The next batch; None after the last one."""
        data = self._next_slice
        batch = super().next_batch()
        return batch if batch is None or data[self.MAGIC_OFFSET] < _WITH_HEADERS else _Batch(batch, data)


_WITH_HEADERS = 2
"""The first version of the format that has headers."""


class _Batch:
    """A batch as aiokafka has it."""

    def __init__(self, batch: Any, data: memoryview) -> None:
        self._batch, self._data = batch, data

    def __getattr__(self, name: str) -> Any:
        return getattr(self._batch, name)

    def __next__(self) -> Any:
        return next(self._batch)

    def __iter__(self) -> Iterator[Any]:
        read = 0
        try:
            for record in self._batch:
                read += 1
                yield record
        except UnicodeDecodeError:
            yield from islice(_SlowBatch(self._data), read, None)


class _SlowBatch(_DefaultRecordBatchPy):  # type: ignore[misc]  # aiokafka is untyped here
    def _maybe_uncompress(self) -> None:
        super()._maybe_uncompress()
        self._buffer: bytearray = _Bytes(self._buffer)


class _Bytes(bytearray):
    """Bytes of which any part is text."""

    def __getitem__(self, place: Any) -> Any:
        part = super().__getitem__(place)
        return _Bytes(part) if isinstance(place, slice) else part

    def decode(self, encoding: str = "utf-8", errors: str = "backslashreplace") -> str:
        return super().decode(encoding, errors)
