"""Bookings of one batch: what its steps add to the counts and take away, gathered before it goes to panes and totals.

Rules: counts are sums, so it does not matter when they are added up (`core.cells`). Most sales of a batch look alike to the counts: they are
counted by their looks first, and a look becomes a vector once. A look lies in a slice of time: the longest that lies within one pane of every window.
"""

from collections.abc import Iterator
from math import gcd

from stream.core.assessment import Opportunity, Sale
from stream.core.cells import CATEGORY, MONEY, SALES, Cells, add
from stream.core.config import DAY, Window

_Look = tuple[int, str, str, int, int, bool, int]
"""(slice, channel, segment, kinds, lost kinds, lost, intent)."""


class Bookings:
    """What was booked since the last `take`."""

    def __init__(self, windows: tuple[Window, ...]) -> None:
        self.slice = gcd(*(window.pane for window in windows)) or DAY
        """Length of a slice, microseconds; slice s covers (s·slice - slice, s·slice] of the epoch."""
        self._opportunities: dict[tuple[int, str, str], int] = {}
        self._sales: dict[_Look, int] = {}
        self._money: dict[tuple[int, str, str, str], list[int]] = {}
        self._categories: dict[tuple[int, str, int], int] = {}

    def opportunity(self, booked: Opportunity, sign: int) -> None:
        """Count an opportunity (1), or take it back (-1)."""
        key = (-(-booked.time // self.slice), booked.channel, booked.segment)
        self._opportunities[key] = self._opportunities.get(key, 0) + sign

    def sale(self, booked: Sale, sign: int) -> None:
        """Count a transaction (1), or take it back (-1)."""
        at, channel, segment, loss = -(-booked.time // self.slice), booked.channel, booked.segment, booked.loss
        look = (at, channel, segment, booked.kinds, loss.kinds, loss.transaction, booked.intent)
        self._sales[look] = self._sales.get(look, 0) + sign
        if booked.currency:
            money = booked.amounts
            place = (at, channel, segment, booked.currency)
            sums = self._money.get(place)
            if sums is None:
                sums = self._money[place] = [0] * 7
            if booked.intent == 0:
                sums[0] += sign * money.initial
                sums[1] += sign * money.upsell
                sums[2] += sign * money.cross_sell
                sums[3] += sign * money.downsell
                sums[4] += sign * money.final
            sums[5] += sign * money.final
            sums[6] += sign * loss.amounts.final
        categories = self._categories
        for category, bits in booked.categories:
            key = (at, category, bits)
            categories[key] = categories.get(key, 0) + sign

    def take(self) -> dict[int, Cells]:
        """Everything booked, by slice; then start anew."""
        slices: dict[int, Cells] = {}
        for at, key, vector in self._vectors():
            add(slices.setdefault(at, {}), key, vector)
        self._opportunities, self._sales, self._money, self._categories = {}, {}, {}, {}
        return slices

    def _vectors(self) -> Iterator[tuple[int, tuple[str, ...], list[int]]]:
        for (at, channel, segment), n in self._opportunities.items():
            if n:
                yield at, (SALES, channel, segment), [n] + [0] * 13
        for (at, channel, segment, kinds, lost_kinds, lost, intent), n in self._sales.items():
            if n:
                vector = [0, n, *_by_kind(kinds, n), n * lost, *_by_kind(lost_kinds, n), 0, 0, 0]
                vector[11 + intent] = n
                yield at, (SALES, channel, segment), vector
        for (at, channel, segment, currency), sums in self._money.items():
            yield at, (MONEY, channel, segment, currency), sums
        for (at, category, bits), n in self._categories.items():
            if n:
                yield at, (CATEGORY, category), [n, *_by_kind(bits, n)]


def _by_kind(bits: int, n: int) -> tuple[int, int, int, int]:
    return n * (bits & 1), n * (bits >> 1 & 1), n * (bits >> 2 & 1), n * (bits >> 3 & 1)
