"""What readers get of a shard: its rolling figures at one moment, stored in two parts.

Rules: the settled part is large and changes when windows move, or when much was booked; the recent part is what was booked since, by slice of time
(`core.bookings`), and is written with every commit. So a commit costs what its events cost, however many labels there are. Counts are sums:
the figures are those of both parts.
"""

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType

import msgspec

from stream.core.config import NEVER, PANES, Window
from stream.core.counting.cells import Cells, Key, merge, padded
from stream.core.entities.tally import Tallies, Tally

Waiting = list[tuple[str, list[tuple[tuple[str, ...], Tally]]]]
"""(record of a day, its entries), in the order of the log (`core.counting.daily`)."""


class Summary(msgspec.Struct, frozen=True, array_like=True):
    """The rolling figures of one shard at one moment: what readers merge."""

    journey: str
    at: int
    """The moment of the windows, microseconds, a multiple of 5 s; 0 where there are none."""
    stream_time: int
    """Newest event time seen, microseconds; 0 where no event was."""
    windows: list[tuple[str, list[tuple[Key, list[int]]]]]
    """(name, cells) in the order of the windows."""
    total: list[tuple[Key, list[int]]]
    dropped_through: list[int] = []
    """Of each window the newest pane that may be incomplete; empty where an older version wrote it."""


class Recent(msgspec.Struct, frozen=True, array_like=True):
    """What was counted since windows and total were settled."""

    stream_time: int
    """Newest event time seen, microseconds; `NEVER` where no event was."""
    slice: int
    """Length of a slice, microseconds."""
    slices: list[tuple[int, list[tuple[Key, list[int]]]]]
    """(s, cells) of what lies in (s·slice - slice, s·slice] of the epoch."""
    watermark: int = NEVER
    """What expired before this time is forgotten, microseconds."""
    history: list[tuple[int, list[tuple[Key, list[int]]]]] = []
    """(quarter, cells) of what is not in the records of hours and days yet."""
    daily: Waiting = []
    """What is not in the other records of days yet."""

    def cells(self, length: int) -> dict[int, Cells]:
        """The cells by slices of another length. A stored slice that is longer counts at its end, or at the newest event if that lies within it."""
        slices: dict[int, Cells] = {}
        for index, cells in self.slices:
            merge(slices.setdefault(-(-min(index * self.slice, self.stream_time) // length), {}), padded(cells))
        return slices


def encode_recent(
    stream_time: int,
    length: int,
    slices: Mapping[int, Cells],
    watermark: int,
    history: Mapping[int, Cells] = MappingProxyType({}),
    daily: Mapping[str, Tallies] = MappingProxyType({}),
) -> bytes:
    """The recent part as bytes; see `Recent` for the arguments."""
    cells, waiting = ([(index, [*cells.items()]) for index, cells in parts.items()] for parts in (slices, history))
    days = [(name, [*tallies.items()]) for name, tallies in daily.items() if tallies]
    return _ENCODER.encode(Recent(stream_time, length, cells, watermark, waiting, days))


def decode_recent(data: bytes) -> Recent:
    """The inverse of `encode_recent`."""
    return _RECENT.decode(data)


def encode_summary(summary: Summary) -> bytes:
    """The settled part as bytes."""
    return _ENCODER.encode(summary)


def decode_summary(settled: bytes, recent: bytes) -> Summary:
    """The figures: both parts added up."""
    summary, since = _SUMMARY.decode(settled), _RECENT.decode(recent)
    windows = []
    for position, (name, cells) in enumerate(summary.windows):
        window = Window.parse(name)
        head = window.pane_of(summary.at)
        dropped = summary.dropped_through[position] if summary.dropped_through else head - PANES
        added = [pane for index, pane in since.cells(window.pane).items() if dropped < index <= head]
        windows.append((name, _sum(cells, added)))
    total = _sum(summary.total, [padded(cells) for _, cells in since.slices])
    stream_time = 0 if since.stream_time == NEVER else since.stream_time
    return msgspec.structs.replace(summary, stream_time=stream_time, windows=windows, total=total)


def _sum(cells: Sequence[tuple[Key, list[int]]], added: Iterable[Cells]) -> list[tuple[Key, list[int]]]:
    merged = padded(cells)
    for each in added:
        merge(merged, each)
    return sorted(merged.items())


_ENCODER = msgspec.msgpack.Encoder()
_SUMMARY = msgspec.msgpack.Decoder(Summary)
_RECENT = msgspec.msgpack.Decoder(Recent)
