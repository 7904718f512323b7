"""Counts: vectors of integers under a key, added and taken away again.

Rules: everything that is counted is a `Cells`. Panes, windows, shards and restatements are sums and differences of them, exact in any order. A vector of
zeros is no entry. Amounts are integers in the currency's minor unit.
"""

from collections.abc import Iterable, Mapping, Sequence
from enum import IntEnum
from operator import add as plus
from operator import neg

import msgspec

SALES = "s"
"""Key (SALES, channel, segment): vector by `Count`."""
MONEY = "m"
"""Key (MONEY, channel, segment, currency): vector by `Revenue`."""
CATEGORY = "c"
"""Key (CATEGORY, category): transactions, upsells, cross-sells, downsells, any: the positions of `Count` from TRANSACTIONS to ANY."""

Key = tuple[str, ...]
Cells = dict[Key, list[int]]
"""Label values in keys are bounded (`core.registry`)."""


class Count(IntEnum):
    """Positions of a SALES vector."""

    OPPORTUNITIES = 0
    TRANSACTIONS = 1
    UPSELL = 2
    CROSS_SELL = 3
    DOWNSELL = 4
    ANY = 5
    REVERSED_ALL = 6
    REVERSED_UPSELL = 7
    REVERSED_CROSS_SELL = 8
    REVERSED_DOWNSELL = 9
    REVERSED_ANY = 10
    KNOWN = 11
    UNKNOWN = 12
    INCOMPARABLE = 13


class Revenue(IntEnum):
    """Positions of a MONEY vector."""

    INITIAL = 0
    UPSELL = 1
    CROSS_SELL = 2
    DOWNSELL = 3
    FINAL = 4
    """Of transactions with known intent, as are the four positions above."""
    TOTAL = 5
    """Of all transactions."""
    REVERSED = 6


def add(cells: Cells, key: Key, vector: Iterable[int]) -> None:
    """Add the vector to the entry of `key`."""
    entry = cells.get(key)
    if entry is None:
        fresh = [*vector]
        if any(fresh):
            cells[key] = fresh
        return
    entry[:] = map(plus, entry, vector)
    if not any(entry):
        del cells[key]


def merge(cells: Cells, other: Mapping[Key, Sequence[int]]) -> None:
    """Add all of `other` to `cells`."""
    for key, vector in other.items():
        entry = cells.get(key)
        if entry is None:
            cells[key] = [*vector]
        else:
            entry[:] = map(plus, entry, vector)
            if not any(entry):
                del cells[key]


def total(parts: Iterable[Mapping[Key, Sequence[int]]]) -> Cells:
    """The sum of some."""
    cells: Cells = {}
    for part in parts:
        merge(cells, part)
    return cells


def subtract(cells: Cells, other: Mapping[Key, Sequence[int]]) -> None:
    """Take all of `other` from `cells`."""
    for key, vector in other.items():
        add(cells, key, map(neg, vector))


_ENCODER = msgspec.msgpack.Encoder()
_CELLS = msgspec.msgpack.Decoder(list[tuple[Key, list[int]]])


def encode(cells: Cells) -> bytes:
    """Cells as bytes, the same bytes for the same cells."""
    return _ENCODER.encode(sorted(cells.items()))


def decode(data: bytes) -> Cells:
    """The inverse of `encode`."""
    return dict(_CELLS.decode(data))
