"""Reads records from fetched bytes as aiokafka does, with one difference: a header name that is not UTF-8 does not fail the fetch.

Rules: Kafka accepts such names. aiokafka raises an error for them with every fetch, before it returns any other record. Here aiokafka's fast reader reads
up to such a name, and its slow reader reads the rest of that batch, with the invalid bytes escaped.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any

from aiokafka.record.default_records import _DefaultRecordBatchPy
from aiokafka.record.memory_records import _MemoryRecordsPy

if TYPE_CHECKING:
    from collections.abc import Iterator


class Records(_MemoryRecordsPy):  # type: ignore[misc]  # aiokafka is untyped here
    """Replaces aiokafka's `MemoryRecords`: a sequence of batches."""

    def next_batch(self) -> Any:
        """The next batch; None after the last one."""
        data = self._next_slice
        batch = super().next_batch()
        return batch if batch is None or data[self.MAGIC_OFFSET] < _WITH_HEADERS else _Batch(batch, data)


_WITH_HEADERS = 2
"""First version of the record format that has headers."""


class _Batch:
    """A batch with the interface of aiokafka's."""

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
    """Bytes whose slices decode without errors."""

    def __getitem__(self, place: Any) -> Any:
        part = super().__getitem__(place)
        return _Bytes(part) if isinstance(place, slice) else part

    def decode(self, encoding: str = "utf-8", errors: str = "backslashreplace") -> str:
        return super().decode(encoding, errors)
