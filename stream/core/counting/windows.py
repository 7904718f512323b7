"""Rolling windows: panes of event time, and their running sum.

Rules: pane p covers (p·size - size, p·size] of the epoch; the window whose head is pane h is the panes h - 59 … h. Time comes from
outside and never runs back: `advance` moves the head, drops panes that fell out, and takes in panes that lay ahead of it. A pane that is gone stays
gone, also where a restart finds the time run back: nothing is booked to it, since what is taken back there was dropped with it. Sums are exact, so
adding and taking away in any order gives what adding up the panes gives.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence

from stream.core.config import PANES, Window
from stream.core.counting.cells import Cells, decode, encode, merge, subtract

NONE = -(2**62)
"""A pane before all panes."""


class RollingWindow:
    """One window of one shard."""

    def __init__(self, window: Window, stored: Iterable[tuple[int, bytes]] = (), gone: int = NONE) -> None:
        self.window = window
        self.gone = gone
        """The last pane that is gone."""
        self.sum: Cells = {}
        """The window at its head."""
        self._panes = {index: decode(data) for index, data in stored}
        self._head: int | None = None
        self._dirty: set[int] = set()

    def edges(self) -> tuple[int, int]:
        """(after, until] of the window at its head, microseconds."""
        until = (self._head or 0) * self.window.pane
        return min(max(until - self.window.length, self.gone * self.window.pane), until), until

    def advance(self, now: int) -> None:
        """Move the head to the pane of `now`; a time before the head changes nothing."""
        head = self.window.pane_of(now)
        if self._head is not None and head <= self._head:
            return
        self.gone = max(self.gone, head - PANES)
        gone = [index for index in self._panes if index <= self.gone]
        if self._head is None:
            for index in self._panes.keys() - gone:
                if index <= head:
                    merge(self.sum, self._panes[index])
        else:
            for index in gone:
                if index <= self._head:
                    subtract(self.sum, self._panes[index])
            for index in range(max(self._head, head - PANES) + 1, head + 1):
                merge(self.sum, self._panes.get(index, {}))
        for index in gone:
            del self._panes[index]
        self._dirty.update(gone)
        self._head = head

    def book(self, index: int, cells: Mapping[tuple[str, ...], Sequence[int]]) -> None:
        """Add to a pane, if it still exists."""
        if self._head is None or index <= self.gone:
            return
        merge(self._panes.setdefault(index, {}), cells)
        if index <= self._head:
            merge(self.sum, cells)
        self._dirty.add(index)

    def take(self) -> Iterator[tuple[int, bytes | None]]:
        """Panes changed since the last call, None where nothing is left."""
        for index in sorted(self._dirty):
            cells = self._panes.get(index)
            if not cells:
                self._panes.pop(index, None)
            yield index, encode(cells) if cells else None
        self._dirty.clear()
