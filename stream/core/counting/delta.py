"""Bookings of one batch: what its steps add to the counts and take away, gathered before it goes to panes and totals.

Rules: counts are sums, so it does not matter when they are added up (`core.cells`). Most sales of a batch look alike to the counts: they are
counted by their looks first, and a look becomes a vector once. A look lies in a slice of time: the longest that lies within one pane of every window.
"""

from collections.abc import Iterator
from math import gcd

from stream.core.config import DAY, Window
from stream.core.counting.cells import CATEGORY, MONEY, SALES, Cells, add
from stream.core.entities.assessment import Opportunity, Sale

_Look = tuple[int, str, str, str, int, int, int, bool]
"""(slice, channel, segment, currency, intent, kinds, lost kinds, lost)."""


class Bookings:
    """What was booked since the last `take`."""

    def __init__(self, windows: tuple[Window, ...]) -> None:
        self.slice = gcd(*(window.pane for window in windows)) or DAY
        """Length of a slice, microseconds; slice s covers (s·slice - slice, s·slice] of the epoch."""
        self._opportunities: dict[tuple[int, str, str], int] = {}
        self._sales: dict[_Look, list[int]] = {}
        """How many, then what they came for, and bought beyond, beside and below it, final, and what of that was lost."""
        self._categories: dict[tuple[int, tuple[tuple[str, int], ...]], int] = {}

    def opportunity(self, booked: Opportunity, sign: int) -> None:
        """Count an opportunity (1), or take it back (-1)."""
        key = (-(-booked.time // self.slice), booked.channel, booked.segment)
        self._opportunities[key] = self._opportunities.get(key, 0) + sign

    def sale(self, booked: Sale, sign: int) -> None:
        """Count a transaction (1), or take it back (-1)."""
        at, loss, money = -(-booked.time // self.slice), booked.loss, booked.amounts
        look = (
            at, booked.channel, booked.segment, booked.currency, booked.intent, booked.kinds, loss.kinds, loss.transaction,
        )  # fmt: skip
        sums = self._sales.get(look)
        if sums is None:
            sums = self._sales[look] = [0] * 7
        sums[0] += sign
        sums[1] += sign * money.initial
        sums[2] += sign * money.upsell
        sums[3] += sign * money.cross_sell
        sums[4] += sign * money.downsell
        sums[5] += sign * money.final
        sums[6] += sign * loss.amounts.final
        if booked.categories:
            places = (at, booked.categories)
            self._categories[places] = self._categories.get(places, 0) + sign

    def take(self) -> dict[int, Cells]:
        """Everything booked, by slice; then start anew."""
        slices: dict[int, Cells] = {}
        for at, key, vector in self._vectors():
            add(slices.setdefault(at, {}), key, vector)
        self._opportunities, self._sales, self._categories = {}, {}, {}
        return slices

    def _vectors(self) -> Iterator[tuple[int, tuple[str, ...], list[int]]]:
        for (at, channel, segment), n in self._opportunities.items():
            if n:
                yield at, (SALES, channel, segment), [n] + [0] * 13
        for (at, channel, segment, currency, intent, kinds, lost_kinds, lost), (n, *sums) in self._sales.items():
            if n:
                vector = [0, n, *_by_kind(kinds, n), n * lost, *_by_kind(lost_kinds, n), 0, 0, 0]
                vector[11 + intent] = n
                yield at, (SALES, channel, segment), vector
            if currency:
                *parts, final, back = sums
                known = [*parts, final] if intent == 0 else [0] * 5
                yield at, (MONEY, channel, segment, currency), [*known, final, back]
        for (at, categories), n in self._categories.items():
            for category, bits in categories if n else ():
                yield at, (CATEGORY, category), [n, *_by_kind(bits, n)]


def _by_kind(bits: int, n: int) -> tuple[int, int, int, int]:
    return n * (bits & 1), n * (bits >> 1 & 1), n * (bits >> 2 & 1), n * (bits >> 3 & 1)
