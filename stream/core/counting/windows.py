"""Rolling windows: panes of event time, and their running sum.

    pane p covers (p·size - size, p·size] of the epoch        size = length of the window / 60

       dropped_through                      head
             │                               │
    ─ dropped ┤ 60 panes: the window's sum   ├ ahead: kept, not in the sum ─►

Rules: time comes from outside and never runs backwards: `advance` moves the head, drops panes that fell out, and adds panes that lay ahead of it. A
dropped pane stays dropped, also where a restart finds that time ran back: nothing is added to it, because what would be taken back there was dropped
with it. Sums are exact, so adding and taking away in any order gives what adding up the panes gives.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence

from stream.core.config import PANES, Window
from stream.core.counting.cells import Cells, decode, encode, merge, subtract

NONE = -(2**62)
"""A pane before all panes."""


class RollingWindow:
    """One window of one shard."""

    def __init__(self, window: Window, stored: Iterable[tuple[int, bytes]] = (), dropped_through: int = NONE) -> None:
        self.window = window
        self.dropped_through = dropped_through
        """Newest pane that may be incomplete: dropped, or older than the window itself."""
        self.sum: Cells = {}
        """The sum of the panes of the window."""
        self._panes = {index: decode(data) for index, data in stored}
        self._head: int | None = None
        self._changed: set[int] = set()

    def edges(self) -> tuple[int, int]:
        """(after, until] of the window, microseconds."""
        until = (self._head or 0) * self.window.pane
        return min(max(until - self.window.length, self.dropped_through * self.window.pane), until), until

    def advance(self, now: int) -> None:
        """Move the head to the pane of `now`; a time before the head changes nothing."""
        head = self.window.pane_of(now)
        if self._head is not None and head <= self._head:
            return
        self.dropped_through = max(self.dropped_through, head - PANES)
        dropped = [index for index in self._panes if index <= self.dropped_through]
        if self._head is None:
            for index in self._panes.keys() - dropped:
                if index <= head:
                    merge(self.sum, self._panes[index])
        else:
            for index in dropped:
                if index <= self._head:
                    subtract(self.sum, self._panes[index])
            for index in range(max(self._head, head - PANES) + 1, head + 1):
                merge(self.sum, self._panes.get(index, {}))
        for index in dropped:
            del self._panes[index]
        self._changed.update(dropped)
        self._head = head

    def add(self, index: int, cells: Mapping[tuple[str, ...], Sequence[int]]) -> None:
        """Add to a pane, unless it was dropped."""
        if self._head is None or index <= self.dropped_through:
            return
        merge(self._panes.setdefault(index, {}), cells)
        if index <= self._head:
            merge(self.sum, cells)
        self._changed.add(index)

    def drain(self) -> Iterator[tuple[int, bytes | None]]:
        """Panes that changed since the last call; None where nothing is left."""
        for index in sorted(self._changed):
            cells = self._panes.get(index)
            if not cells:
                self._panes.pop(index, None)
            yield index, encode(cells) if cells else None
        self._changed.clear()
