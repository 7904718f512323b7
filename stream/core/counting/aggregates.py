"""Everything that a shard counts: a batch's delta, the recent cells, the rolling windows and the total.

    sale, opportunity ─► Delta ─► recent cells (written with every commit) ─► windows and total (written when they are settled)

Rules: counts are sums, so it does not matter when they are added up. They stay recent until windows move or until there are more than `RECENT` cells:
a commit writes the recent cells, and costs what its events cost, however many labels there are. Readers add both parts up.
"""

from collections.abc import Mapping, Sequence

from stream.core.config import STEP, CoreConfig
from stream.core.counting.cells import Cells, merge, total
from stream.core.counting.daily import Daily
from stream.core.counting.delta import Delta
from stream.core.counting.history import History, Table
from stream.core.counting.summary import Summary
from stream.core.counting.windows import RollingWindow
from stream.core.event import Journey

RECENT = 512
"""Recent cells between two moves of the windows, at most: beyond that they are settled with the commit."""


class Aggregates:
    """The counts of one shard."""

    def __init__(
        self,
        config: CoreConfig,
        windows: Sequence[RollingWindow],
        total: Cells,
        recent: dict[int, Cells],
        *,
        history: History,
        daily: Daily,
        orphans: Sequence[bytes] = (),
    ) -> None:
        """Start from what is stored: `recent` by slices of `Delta.slice`, `orphans` panes to be deleted."""
        self.history = history
        self.daily = daily
        self.windows = windows
        self.total = total
        self.at = 0
        """The moment of the windows, microseconds, a multiple of 5 s; 0 before the first `advance`."""
        self.unsettled = True
        """State or summary in the tables are not as they are here."""
        self.moved = False
        """Windows moved since the last `drain`."""
        self._has_records = config.history == "stored"
        self._is_due = False
        self._delta = Delta(tuple(rolling.window for rolling in windows))
        self.opportunity = self._delta.opportunity
        """Count an opportunity (1), or take it back (-1)."""
        self.sale = self._delta.sale
        """Count a transaction (1), or take it back (-1)."""
        self._recent = recent
        self._shortest_first = sorted(windows, key=_length)
        self._orphans = list(orphans)

    def is_due(self, now: int) -> bool:
        """Whether `advance` would move the windows."""
        return now - now % STEP > self.at

    def advance(self, now: int) -> bool:
        """Move the windows to `now` (microseconds, floored to 5 s). A time that is not later changes nothing and returns False."""
        if not self.is_due(now):
            return False
        self.at = now - now % STEP
        self.moved, self.unsettled = True, True
        for window in self.windows:
            window.advance(self.at)
        self._settle()
        self.history.advance(self.at)
        self._is_due = True
        return True

    def missing(self) -> dict[str, list[bytes]]:
        """Fields of records of the history to load before the next batch is applied (record -> fields).

        What waits is added to them whenever the windows have moved, or if it is much. Empty if nothing must be added now.
        """
        history, daily = self.history, self.daily
        if not self._has_records or not (self._is_due or history.is_full or daily.is_full):
            return {}
        fields = history.fields() | daily.fields()
        if not fields:
            self.settle({})
        return fields

    def settle(self, loaded: Mapping[str, Sequence[bytes | None]]) -> None:
        """Add what waits to the records of the history, whose fields are given as `missing` has asked for them."""
        self.history.settle(loaded)
        self.daily.settle(loaded)
        self._is_due = False

    def edges(self) -> list[tuple[int, int]]:
        """(after, until] of each window, microseconds."""
        return [window.edges() for window in self.windows]

    def summary(self, journey: Journey, stream_time: int) -> Summary:
        """All figures at the present moment of the windows, settled and recent."""
        self._settle()
        return self.settled_summary(journey, stream_time)

    def settled_summary(self, journey: Journey, stream_time: int) -> Summary:
        """The settled part of the figures."""
        return Summary(
            journey=journey,
            at=self.at,
            stream_time=stream_time,
            windows=[(window.window.name, sorted(window.sum.items())) for window in self.windows],
            total=sorted(self.total.items()),
            dropped_through=[window.dropped_through for window in self.windows],
        )

    def past(self) -> dict[Table, Cells]:
        """What waits for the history, by hour and by day."""
        self._gather()
        return self.history.cells()

    def drain(self) -> tuple[dict[bytes, bytes | None], int, dict[int, Cells]]:
        """Panes that changed since the last call, then the length of a slice and the recent cells by slice."""
        self._gather()
        if sum(map(len, self._recent.values())) > RECENT:
            self._settle()
        panes: dict[bytes, bytes | None] = dict.fromkeys(self._orphans)
        self._orphans = []
        for window in self.windows:
            panes.update({f"{window.window.name}|{index}".encode(): data for index, data in window.drain()})
        return panes, self._delta.slice, self._recent

    def _gather(self) -> None:
        """Add the delta to the recent cells."""
        slices, quarters = self._delta.drain()
        for quarter, cells in quarters.items():
            self.history.add(quarter, cells)
        for index, cells in slices.items():
            known = self._recent.get(index)
            if known is None:
                self._recent[index] = cells
            else:
                merge(known, cells)

    def _settle(self) -> None:
        """Add everything recent to windows and total."""
        self._gather()
        if not self._recent:
            return
        recent = slices = self._recent
        self._recent, self.unsettled = {}, True
        length = self._delta.slice
        for window in self._shortest_first:
            pane = window.window.pane
            if pane % length:
                slices, length = recent, self._delta.slice
            slices, length = _lengthened(slices, pane // length), pane
            for index, cells in slices.items():
                window.add(index, cells)
        for cells in slices.values():
            merge(self.total, cells)


def _length(rolling: RollingWindow) -> int:
    return rolling.window.length


def _lengthened(slices: dict[int, Cells], factor: int) -> dict[int, Cells]:
    """The cells in slices `factor` times as long."""
    if factor == 1:
        return slices
    groups: dict[int, list[Cells]] = {}
    for index, cells in slices.items():
        groups.setdefault(-(-index // factor), []).append(cells)
    # Mostly a batch lies in one slice, which is not copied: nobody changes it.
    return {index: group[0] if len(group) == 1 else total(group) for index, group in groups.items()}
