"""What is counted of transactions and offers under keys that come from events: counts, and amounts by currency."""

from collections.abc import Sequence
from typing import Final

import msgspec

Key = tuple[str, ...]
ALL: Final[Key] = ()
"""The key of all transactions of a day; outside the bound."""
OVERFLOW: Final[Key] = ("",)
"""The key of everything that has no place; outside the bound."""


class Tally(msgspec.Struct, array_like=True):
    """What was counted under a key."""

    counts: list[int]
    amounts: dict[str, list[int]]
    """Minor units by currency."""

    def add(self, other: "Tally") -> None:
        """Add another one."""
        self.counts = _sum(self.counts, other.counts)
        for currency, amounts in other.amounts.items():
            summed = _sum(self.amounts.get(currency, []), amounts)
            self.amounts[currency] = summed
            if not any(summed):
                del self.amounts[currency]


Tallies = dict[Key, Tally]
"""In the order in which the log names the keys."""


def book(
    tallies: Tallies, key: Key, sign: int, counts: Sequence[int], currency: str = "", amounts: Sequence[int] = ()
) -> None:
    """Add to a key (sign 1), or take away from it (-1). An empty currency has no amounts."""
    tally = tallies.get(key)
    if tally is None:
        tally = tallies[key] = Tally([sign * count for count in counts], {})
    else:
        own = tally.counts
        for at, count in enumerate(counts):
            if count:
                own[at] += sign * count
    if currency:
        money = tally.amounts.get(currency)
        if money is None:
            tally.amounts[currency] = [sign * amount for amount in amounts]
        else:
            for at, amount in enumerate(amounts):
                money[at] += sign * amount


def _sum(one: Sequence[int], other: Sequence[int]) -> list[int]:
    length = max(len(one), len(other))
    padded = [*one, *[0] * (length - len(one))]
    for at, number in enumerate(other):
        padded[at] += number
    return padded
