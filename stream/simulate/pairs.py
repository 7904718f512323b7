"""What is bought with what: the pairs that the shop plants, and the counts of all pairs in carts.

Rules: nothing here reads an event. A pair is a product of the intent and a product that is a cross-sell in the same transaction, of known intent. Products
go by their product_id, else their sku, else their variant_id. Days are those of UTC.
"""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from stream.simulate.catalogue import Family

MOST: Final = 8
"""Lines of an order, those with the highest net total, of which a cross-sell makes pairs."""


class Basket(NamedTuple):
    """The products of one transaction with known intent."""

    intent: frozenset[str]
    cross_sells: frozenset[str]
    paired: frozenset[str]
    """Those of `cross_sells` that make pairs."""


def product_of(family: Family, tier: int) -> str:
    """The name by which a product is counted."""
    labels = family.variants[tier].labels
    return labels.get("product_id") or labels.get("sku") or labels["variant_id"]


@dataclass(slots=True)
class _Day:
    transactions: int = 0
    intent: Counter[str] = field(default_factory=Counter)
    cross_sell: Counter[str] = field(default_factory=Counter)
    pairs: Counter[tuple[str, str]] = field(default_factory=Counter)


class PairCounts:
    """The counts of all checkouts, by day."""

    def __init__(self) -> None:
        self._days: dict[str, _Day] = {}

    def count(self, day: str, basket: Basket | None, sign: int) -> None:
        """Add or subtract a transaction; None has no known intent."""
        if basket is None:
            return
        counts = self._days.setdefault(day, _Day())
        counts.transactions += sign
        for product in basket.intent:
            counts.intent[product] += sign
        for product in basket.cross_sells:
            counts.cross_sell[product] += sign
        for product in basket.paired:
            for wanted in basket.intent:
                counts.pairs[wanted, product] += sign

    def document(self) -> dict[str, dict[str, Any]]:
        """By day: N as `transactions`, n(A) in `intent`, n(B) in `cross_sell`, n(A, B) in `pairs`; without zeros."""
        return {
            day: {
                "transactions": counts.transactions,
                "intent": {name: number for name, number in sorted(counts.intent.items()) if number},
                "cross_sell": {name: number for name, number in sorted(counts.cross_sell.items()) if number},
                "pairs": [
                    {"intent": wanted, "cross_sell": product, "transactions": number}
                    for (wanted, product), number in sorted(counts.pairs.items())
                    if number
                ],
            }
            for day, counts in sorted(self._days.items())
            if counts.transactions
        }


class PairLog:
    """The products of the transaction of one checkout."""

    def __init__(self, counts: PairCounts) -> None:
        self._counts = counts
        self._basket: Basket | None = None

    def restate(self, day: str, basket: Basket | None) -> None:
        """Count the transaction, which is of this day, as it is now, in the place of what was counted before."""
        if basket != self._basket:
            self._counts.count(day, self._basket, -1)
            self._counts.count(day, basket, 1)
            self._basket = basket
