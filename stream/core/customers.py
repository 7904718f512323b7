"""Customers: who bought what sort of thing when, so that distinct ones can be counted in any window.

Rules: a customer is known by a keyed hash alone. Their record holds the purchases of the longest window, so that a withdrawn
kind can be withdrawn; a sorted set for each kind and label value holds every customer at the time of their newest purchase of that kind, and a
window's count is the members between its edges.
"""

from collections.abc import Iterator
from hashlib import blake2b

import msgspec

from stream.core.assessment import ANY, CROSS_SELL, UPSELL, Sale

KINDS = (("all", 0), ("upsell", UPSELL), ("cross_sell", CROSS_SELL), ("any", ANY))
"""Kinds of customers, with the bit of a purchase that makes one."""
KEPT = 512
"""Purchases that a customer's record holds; where there are more, the oldest go."""


class Purchase(msgspec.Struct, frozen=True, array_like=True):
    """A transaction of a customer. Labels bounded."""

    key: bytes
    time: int
    kinds: int
    channel: str
    segment: str

    def sets(self) -> Iterator[tuple[str, str, str]]:
        """(kind, dimension, value) of every set that it belongs to."""
        for kind, bit in KINDS:
            if self.kinds & bit or not bit:
                yield kind, "all", "all"
                yield kind, "channel", self.channel
                yield kind, "segment", self.segment


class Customer(msgspec.Struct, array_like=True):
    """What is remembered of a customer. New fields go to the end."""

    purchases: list[Purchase] = []
    """By time."""
    active: dict[str, str] = {}
    """Active paid subscriptions: id -> base product, empty where its items are unknown."""


def member(customer: str, key: bytes) -> bytes:
    """The 16 bytes under which a customer is known."""
    return blake2b(customer.encode(), digest_size=16, key=key).digest()


def set_name(kind: str, dimension: str, value: str) -> bytes:
    """Name of a sorted set."""
    return f"{kind}|{dimension}|{value}".encode()


def restate(record: Customer, old: Sale | None, new: Sale | None, after: int) -> dict[bytes, int | None]:
    """Replace one purchase by another; either may be absent. Purchases at or before `after` are dropped.

    Returns:
        The new score in every set that the change touches; None where the customer no longer belongs to it.
    """
    touched: set[tuple[str, str, str]] = set()
    kept = []
    for purchase in record.purchases:
        if old is not None and purchase.key == old.key:
            touched.update(purchase.sets())
        elif purchase.time > after:
            kept.append(purchase)
    if new is not None and new.time > after:
        purchase = Purchase(new.key, new.time, new.kinds, new.channel, new.segment)
        touched.update(purchase.sets())
        kept.append(purchase)
        kept.sort(key=_time)
        del kept[:-KEPT]
    record.purchases = kept
    scores: dict[bytes, int | None] = {}
    for purchase in reversed(kept):
        if not touched:
            break
        for name in purchase.sets():
            if name in touched:
                touched.remove(name)
                scores[set_name(*name)] = purchase.time
    return scores | {set_name(*name): None for name in touched}


def _time(purchase: Purchase) -> int:
    return purchase.time
