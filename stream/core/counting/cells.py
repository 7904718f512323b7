"""Counts: vectors of integers under a key, added and taken away again.

Rules: everything that is counted is a `Cells`. Panes, windows, shards and restatements are sums and differences of them, exact in any order. A vector of
zeros is no entry. Amounts are integers in the currency's minor unit. Vectors are stored: new positions go to the end, and stored vectors are padded.
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
"""Key (CATEGORY, category): vector by `Categorized`."""

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
    RESTORED = 14
    REVERSED_RESTORED = 15
    OTHER_CURRENCY = 16
    """In a currency beyond the bound: their amounts are in no figure."""


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
    RESTORED = 7
    """Of transactions with known intent."""
    TOTAL_ANY = 8
    """Of transactions that are an upsell or a cross-sell."""
    TOTAL_PLAIN = 9
    """Of transactions with known intent that are neither. TOTAL_ANY and TOTAL_PLAIN add up to FINAL, unless an older version, which had neither, counted."""


class Categorized(IntEnum):
    """Positions of a CATEGORY vector: transactions with a line in the category, and by the kind of such a line."""

    TRANSACTIONS = 0
    UPSELL = 1
    CROSS_SELL = 2
    DOWNSELL = 3
    ANY = 4
    RESTORED = 5


LENGTHS = {SALES: len(Count), MONEY: len(Revenue), CATEGORY: len(Categorized)}
"""Length of a vector by the first part of its key."""


def padded(entries: Iterable[tuple[Key, list[int]]]) -> Cells:
    """Stored entries as cells. A vector that an older version wrote may be shorter than today's: what it lacks is 0."""
    cells: Cells = {}
    for key, vector in entries:
        lacking = LENGTHS[key[0]] - len(vector)
        cells[key] = vector if lacking <= 0 else vector + [0] * lacking
    return cells


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
    return padded(_CELLS.decode(data))
