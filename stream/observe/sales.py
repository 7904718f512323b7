"""The newest sales with an upsell or a cross-sell of this worker, for the live page.

Rules: only sales that were published and committed. No data that identifies a person: no customer, order or event id. The number and size of sales
are bounded. A new version of a sale replaces the older one. When a shard moves to another worker, its sales are removed here.
"""

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

from stream.core.result import Judged, Version

SHOWN: Final = 10
"""Largest number of sales on the page."""
KEPT: Final = 20 * SHOWN
"""Largest number of sales in memory. More than `SHOWN`, so that older sales can replace withdrawn ones on the page."""
_PRODUCTS: Final = 3
_LENGTH: Final = 80
_FLAGS: Final = frozenset(("upsell", "cross_sell"))


class FlaggedSale(msgspec.Struct, frozen=True):
    """A transaction with an upsell or a cross-sell, for the live page."""

    time: str
    """RFC 3339, UTC."""
    journey: str
    kinds: Sequence[str]
    currency: str
    upsell: str
    """Decimal string in major units; so is `cross_sell`."""
    cross_sell: str
    products: Sequence[str]
    """Products of the first flagged lines; long names are cut."""
    reversed: bool
    """The sale was reversed, in part or completely."""


class NewestSales:
    """A bounded memory of flagged sales."""

    def __init__(self) -> None:
        """Without sales."""
        self._sales: OrderedDict[tuple[str, int, str], Judged] = OrderedDict()

    def add(self, topic: str, partition: int, versions: Iterable[Version]) -> None:
        """Add versions of a shard's transactions, in their order."""
        for version in versions:
            key = (topic, partition, version.transaction)
            self._sales.pop(key, None)
            if not version.withdrawn and not _FLAGS.isdisjoint(version.judged.kinds):
                self._sales[key] = version.judged
        while len(self._sales) > KEPT:
            self._sales.popitem(last=False)

    def drop_shard(self, topic: str, partition: int) -> None:
        """Remove the sales of a shard that moves to another worker."""
        for key in [key for key in self._sales if key[:2] == (topic, partition)]:
            del self._sales[key]

    def newest(self) -> list[FlaggedSale]:
        """At most `SHOWN` sales, newest first by their own time."""
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
