"""The newest sales that this worker flagged, for the live page.

Rules: only what was published and committed. Nothing that leads to a person: no customer, no order, no event. Bounded in number and in size,
whatever events hold. A new version of a sale takes the place of the one before; a shard that goes to another worker takes its sales along.
"""

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

from stream.core.result import Judged, Version

SHOWN: Final = 10
"""Sales that are shown, newest first by their own time."""
KEPT: Final = 20 * SHOWN
"""Sales that are remembered, last judged last: what is withdrawn leaves older ones to be shown."""
_PRODUCTS: Final = 3
_LENGTH: Final = 80
_FLAGS: Final = frozenset(("upsell", "cross_sell"))


class FlaggedSale(msgspec.Struct, frozen=True):
    """A transaction with an upsell or a cross-sell, as the live page shows it."""

    time: str
    """RFC 3339, UTC."""
    journey: str
    kinds: Sequence[str]
    currency: str
    upsell: str
    """Decimal string, major units, like the next."""
    cross_sell: str
    products: Sequence[str]
    """Of the judged lines; the first ones, each cut to a length."""
    reversed: bool
    """All or part of it was taken back."""


class NewestSales:
    """A bounded memory of flagged sales."""

    def __init__(self) -> None:
        """Start with none."""
        self._sales: OrderedDict[tuple[str, int, str], Judged] = OrderedDict()

    def add(self, topic: str, partition: int, versions: Iterable[Version]) -> None:
        """Take note of versions of a shard's transactions, in their order."""
        for version in versions:
            key = (topic, partition, version.transaction)
            self._sales.pop(key, None)
            if not version.withdrawn and not _FLAGS.isdisjoint(version.judged.kinds):
                self._sales[key] = version.judged
        while len(self._sales) > KEPT:
            self._sales.popitem(last=False)

    def drop_shard(self, topic: str, partition: int) -> None:
        """Forget a shard's sales: another worker will restate them."""
        for key in [key for key in self._sales if key[:2] == (topic, partition)]:
            del self._sales[key]

    def newest(self) -> list[FlaggedSale]:
        """At most `SHOWN`, newest first."""
        return [
            _sale(judged) for judged in sorted(self._sales.values(), key=lambda sale: sale.time, reverse=True)[:SHOWN]
        ]


def _sale(judged: Judged) -> FlaggedSale:
    named = dict.fromkeys((line.product_id or line.sku or "")[:_LENGTH] for line in judged.lines if line.kind in _FLAGS)
    return FlaggedSale(
        time=judged.time,
        journey=judged.journey,
        kinds=[kind for kind in judged.kinds if kind in _FLAGS],
        currency=judged.currency,
        upsell=judged.upsell,
        cross_sell=judged.cross_sell,
        products=[name for name in named if name][:_PRODUCTS],
        reversed=judged.reversed.transaction or bool(judged.reversed.kinds),
    )
