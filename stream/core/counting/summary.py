"""What readers get of a shard: its rolling figures at one moment, stored in two parts.

Rules: the settled part is large and changes when windows move, or when much was booked; the recent part is what was booked since, by slice of time
(`core.bookings`), and is written with every commit. So a commit costs what its events cost, however many labels there are. Counts are sums:
the figures are those of both parts.
"""

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from stream.core.config import NEVER, PANES, Window
from stream.core.counting.cells import Cells, Key, merge


class Summary(msgspec.Struct, frozen=True, array_like=True):
    """The rolling figures of one shard at one moment: what readers merge."""

    journey: str
    at: int
    """The moment of the windows, microseconds, a multiple of 5 s; 0 where there are none."""
    watermark: int
    """Newest event time seen, microseconds; 0 where nothing was."""
    windows: list[tuple[str, list[tuple[Key, list[int]]]]]
    """(name, cells) in the order of the windows."""
    total: list[tuple[Key, list[int]]]
    gone: list[int] = []
    """Of each window the last pane that is gone; empty where an older version wrote it."""


class Recent(msgspec.Struct, frozen=True, array_like=True):
    """What was booked since windows and total were settled. New fields go to the end."""

    watermark: int
    """Newest event time seen, microseconds; `NEVER` where nothing was."""
    slice: int
    """Length of a slice, microseconds."""
    slices: list[tuple[int, list[tuple[Key, list[int]]]]]
    """(s, cells) of what lies in (s·slice - slice, s·slice] of the epoch."""
    forgotten: int = NEVER
    """What expired before this time is forgotten, microseconds."""

    def cells(self, length: int) -> dict[int, Cells]:
        """By slices of another length; one that is longer is taken to lie at its end, or at the newest event if that lies within."""
        slices: dict[int, Cells] = {}
        for index, cells in self.slices:
            merge(slices.setdefault(-(-min(index * self.slice, self.watermark) // length), {}), dict(cells))
        return slices


def encode_recent(watermark: int, length: int, slices: Mapping[int, Cells], forgotten: int = NEVER) -> bytes:
    """What `Recent` holds as bytes."""
    told = [(index, [*cells.items()]) for index, cells in slices.items()]
    return _ENCODER.encode(Recent(watermark, length, told, forgotten))


def decode_recent(data: bytes) -> Recent:
    """The inverse of `encode_recent`."""
    return _RECENT.decode(data)


def encode_summary(summary: Summary) -> bytes:
    """The settled part as bytes."""
    return _ENCODER.encode(summary)


def decode_summary(settled: bytes, recent: bytes) -> Summary:
    """The figures that two parts tell together."""
    summary, since = _SUMMARY.decode(settled), _RECENT.decode(recent)
    windows = []
    for position, (name, cells) in enumerate(summary.windows):
        window = Window.parse(name)
        head = window.pane_of(summary.at)
        gone = summary.gone[position] if summary.gone else head - PANES
        shown = [added for index, added in since.cells(window.pane).items() if gone < index <= head]
        windows.append((name, _sum(cells, shown)))
    total = _sum(summary.total, [dict(cells) for _, cells in since.slices])
    watermark = 0 if since.watermark == NEVER else since.watermark
    return msgspec.structs.replace(summary, watermark=watermark, windows=windows, total=total)


def _sum(cells: Sequence[tuple[Key, list[int]]], added: Iterable[Cells]) -> list[tuple[Key, list[int]]]:
    merged = dict(cells)
    for each in added:
        merge(merged, each)
    return sorted(merged.items())


_ENCODER = msgspec.msgpack.Encoder()
_SUMMARY = msgspec.msgpack.Decoder(Summary)
_RECENT = msgspec.msgpack.Decoder(Recent)
