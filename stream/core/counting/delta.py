"""What a batch adds to the counts and takes away, before it goes to windows and total.

Rules: counts are sums, so it does not matter when they are added up (`core.counting.cells`). Most sales of a batch look alike to the counts. They are
counted per profile first, and each profile becomes a vector once. Profiles are kept apart by slice of time: the longest slice that lies within
one pane of every window.
"""

from collections.abc import Iterator
from math import gcd

from stream.core.config import DAY, QUARTER, Window
from stream.core.counting.cells import CATEGORY, MONEY, SALES, Cells, Count, add
from stream.core.entities.assessment import ANY, Opportunity, Sale

_Profile = tuple[int, str, str, str, int, int, int, bool, bool]
"""(moment, channel, segment, currency, intent, kinds, reversed kinds, reversed, in the history): all that the counts see of a sale. A moment is
twice the slice, plus 1 for the first moment of a quarter of an hour, which is the last one of its slice."""


def slice_length(windows: tuple[Window, ...]) -> int:
    """Length of a slice, microseconds; slice s covers (s·length - length, s·length] of the epoch.

    It lies within one pane of every window and within a quarter of an hour. Without windows it is a day: then there is no history either.
    """
    return gcd(*(window.pane for window in windows), QUARTER) if windows else DAY


class Delta:
    """What was counted since the last `drain`."""

    def __init__(self, windows: tuple[Window, ...]) -> None:
        """Start empty."""
        self.slice = slice_length(windows)
        self._opportunities: dict[tuple[int, str, str, bool], int] = {}
        self._sales: dict[_Profile, list[int]] = {}
        """Number of sales, then the sums of their amounts: initial, upsell, cross-sell, downsell, restored, final, and what of final was reversed."""
        self._categories: dict[tuple[int, tuple[tuple[str, int], ...]], int] = {}

    def opportunity(self, opportunity: Opportunity, sign: int) -> None:
        """Count an opportunity (1), or take it back (-1)."""
        time = opportunity.time
        moment = 2 * -(-time // self.slice) + (not time % QUARTER)
        key = (moment, opportunity.channel, opportunity.segment, opportunity.in_history)
        self._opportunities[key] = self._opportunities.get(key, 0) + sign

    def sale(self, sale: Sale, sign: int) -> None:
        """Count a transaction (1), or take it back (-1)."""
        time, loss, money = sale.time, sale.loss, sale.amounts
        moment = 2 * -(-time // self.slice) + (not time % QUARTER)
        profile = (
            moment, sale.channel, sale.segment, sale.currency, sale.intent, sale.kinds, loss.kinds, loss.transaction,
            sale.in_history,
        )  # fmt: skip
        sums = self._sales.get(profile)
        if sums is None:
            sums = self._sales[profile] = [0] * 8
        sums[0] += sign
        sums[1] += sign * money.initial
        sums[2] += sign * money.upsell
        sums[3] += sign * money.cross_sell
        sums[4] += sign * money.downsell
        sums[5] += sign * money.restored
        sums[6] += sign * money.final
        sums[7] += sign * loss.amounts.final
        if sale.categories:
            key = (moment, sale.categories)
            self._categories[key] = self._categories.get(key, 0) + sign

    def drain(self) -> tuple[dict[int, Cells], dict[int, Cells]]:
        """Everything counted since the last call, by slice; and what of it is in the history, by quarter of an hour."""
        slices: dict[int, Cells] = {}
        quarters: dict[int, Cells] = {}
        for moment, key, vector, in_history in self._vectors():
            at = moment >> 1
            add(slices.setdefault(at, {}), key, vector)
            if in_history:
                quarter = (at * self.slice - 1 + (moment & 1)) // QUARTER
                add(quarters.setdefault(quarter, {}), key, vector)
        self._opportunities, self._sales, self._categories = {}, {}, {}
        return slices, quarters

    def _vectors(self) -> Iterator[tuple[int, tuple[str, ...], list[int], bool]]:
        for (at, channel, segment, in_history), n in self._opportunities.items():
            if n:
                yield at, (SALES, channel, segment), [n] + [0] * (len(Count) - 1), in_history
        for profile, (n, *sums) in self._sales.items():
            at, channel, segment, currency, intent, kinds, lost_kinds, lost, in_history = profile
            if n:
                upsell, cross_sell, downsell, any_, restored = _by_kind(kinds, n)
                lost_upsell, lost_cross_sell, lost_downsell, lost_any, lost_restored = _by_kind(lost_kinds, n)
                vector = [
                    0, n, upsell, cross_sell, downsell, any_,
                    n * lost, lost_upsell, lost_cross_sell, lost_downsell, lost_any,
                    0, 0, 0, restored, lost_restored, 0 if currency else n,
                ]  # fmt: skip
                vector[Count.KNOWN + intent] = n
                yield at, (SALES, channel, segment), vector, in_history
            if currency:
                *parts, restored, final, back = sums
                vector = [0, 0, 0, 0, 0, final, back, 0, 0, 0]
                if intent == 0:
                    of_any, plain = (final, 0) if kinds & ANY else (0, final)
                    vector = [*parts, final, final, back, restored, of_any, plain]
                yield at, (MONEY, channel, segment, currency), vector, in_history
        for (at, categories), n in self._categories.items():
            for category, bits in categories if n else ():
                yield at, (CATEGORY, category), [n, *_by_kind(bits, n)], False


def _by_kind(bits: int, n: int) -> tuple[int, int, int, int, int]:
    """Of each bit of a mask: upsell, cross-sell, downsell, any, restored."""
    return n * (bits & 1), n * (bits >> 1 & 1), n * (bits >> 2 & 1), n * (bits >> 3 & 1), n * (bits >> 4 & 1)
