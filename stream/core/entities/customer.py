"""Customers: who bought what kind of thing when, so that distinct customers can be counted in any window.

Rules: a customer is known by a keyed hash alone. The record holds the purchases of the longest window, so that a withdrawn kind can be withdrawn. A
sorted set for each kind and label value holds every customer at the time of their newest purchase of that kind: a window's count is the
members between its edges. The record also names the entities that hold the customer's id as it was sent, so that the customer can be erased.
"""

from functools import lru_cache
from hashlib import blake2b

import msgspec

from stream.core.config import DAY
from stream.core.entities.assessment import ANY, CROSS_SELL, UPSELL, Sale
from stream.core.event import Item

KINDS = (("all", 0), ("upsell", UPSELL), ("cross_sell", CROSS_SELL), ("any", ANY))
"""Kinds of customers, with the bit of a purchase that makes one."""
KEPT = 512
"""Purchases that a record holds, and entities that it names, at most: beyond that the oldest go."""
CANCELED = 16
"""Canceled subscriptions that a record holds at most, the newest ones."""


class Purchase(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A transaction of a customer. Labels bounded."""

    key: bytes
    time: int
    kinds: int
    channel: str
    segment: str

    def sets(self) -> tuple[bytes, ...]:
        """Names of the sorted sets that it belongs to."""
        return _sets(self.kinds & (UPSELL | CROSS_SELL | ANY), self.channel, self.segment)


class Canceled(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """An active paid subscription that the customer canceled, and that no other one has continued."""

    time: int
    currency: str
    items: tuple[Item, ...]
    initial: tuple[Item, ...]
    """What the customer came for with it."""


class Customer(msgspec.Struct, array_like=True, gc=False):
    """What is remembered of a customer. New fields go to the end."""

    purchases: list[Purchase] = []
    """By time."""
    active: dict[str, str] = {}
    """Active paid subscriptions: id -> base product, empty where its items are unknown."""
    entities: dict[str, int] = {}
    """Entities that hold the customer's id: id -> the day (since the epoch) after which the entity may be forgotten, 0 for none."""
    erasure: int = 0
    """The day up to which a repeat of the erasure that made this record is recognised; 0 for a record that no erasure made."""
    canceled: dict[str, Canceled] = {}
    """Subscriptions by id."""

    def expiry(self, horizon: int) -> int | None:
        """When the record may be removed, microseconds, at the end of a day; None: not as things are."""
        if self.active or 0 in self.entities.values():
            return None
        bought = -(-(self.purchases[-1].time + horizon) // DAY) if self.purchases else 0
        return max(bought, self.erasure, *self.entities.values()) * DAY

    @property
    def empty(self) -> bool:
        """Whether nothing is remembered."""
        return not (self.purchases or self.active or self.entities or self.erasure or self.canceled)

    def link_entity(self, entity: str, day: int, before: int) -> bool:
        """Note that an entity holds the customer's id, and drop the entities whose day lies before `before`.

        Returns:
            Whether anything changed.
        """
        entities = self.entities
        if entities.get(entity) == day:
            return False
        if len(entities) < KEPT and entity not in entities and next(iter(entities.values()), before) >= before:
            entities[entity] = day
            return True
        kept = {name: last for name, last in entities.items() if name != entity and (not last or last >= before)}
        for oldest in list(kept)[: len(kept) - KEPT + 1] if len(kept) >= KEPT else ():
            del kept[oldest]
        kept[entity] = day
        self.entities = kept
        return True


@lru_cache(maxsize=16_384)  # asked twice an event, and customers come back
def member(customer: str, key: bytes) -> bytes:
    """The 16 bytes under which a customer is known."""
    return blake2b(customer.encode(), digest_size=16, key=key).digest()


def pseudonym(source: str, id: str, customer: str, key: bytes) -> str:  # noqa: A002 - the event's id
    """The name under which an erased customer stays in the counts. It follows from the erasure event; without that event it leads to nobody."""
    erasure = f"{source}\0{id}\0{customer}".encode()
    return f"erased-{blake2b(erasure, digest_size=12, key=key).hexdigest()}"


def set_name(kind: str, dimension: str, value: str) -> bytes:
    """Name of a sorted set."""
    return f"{kind}|{dimension}|{value}".encode()


def add_newest(record: Customer, sale: Sale, after: int) -> tuple[bytes, ...] | None:
    """Add a purchase that is newer than all others; None where it is not, or where old ones must go: then call `restate`.

    Returns:
        The sorted sets in which the customer's score is now the purchase's time.
    """
    time, purchases = sale.time, record.purchases
    if time <= after or (
        purchases and (purchases[-1].time > time or purchases[0].time <= after or len(purchases) >= KEPT)
    ):
        return None
    purchases.append(Purchase(sale.key, time, sale.kinds, sale.channel, sale.segment))
    return _sets(sale.kinds & (UPSELL | CROSS_SELL | ANY), sale.channel, sale.segment)


def restate(record: Customer, old: Sale | None, new: Sale | None, after: int) -> dict[bytes, int | None]:
    """Replace one purchase by another; either may be absent. Purchases at or before `after` are dropped.

    Returns:
        The new score in every sorted set that the change touches; None where the customer no longer belongs to it.
    """
    touched: set[bytes] = set()
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
                scores[name] = purchase.time
    return scores | dict.fromkeys(touched)


@lru_cache(maxsize=4096)
def _sets(kinds: int, channel: str, segment: str) -> tuple[bytes, ...]:
    places = (("all", "all"), ("channel", channel), ("segment", segment))
    return tuple(set_name(kind, *place) for kind, bit in KINDS if kinds & bit or not bit for place in places)


def scores(record: Customer, after: int) -> dict[bytes, int]:
    """The customer's score in every sorted set that they belong to, from purchases later than `after`."""
    return {name: purchase.time for purchase in record.purchases if purchase.time > after for name in purchase.sets()}


def merge(record: Customer, other: Customer) -> None:
    """Add what another record of the same customer holds."""
    record.purchases = sorted([*record.purchases, *other.purchases], key=_time)[-KEPT:]
    record.active |= other.active
    record.canceled = dict([*other.canceled.items(), *record.canceled.items()][-CANCELED:])
    record.entities = dict([*other.entities.items(), *record.entities.items()][-KEPT:])


def _time(purchase: Purchase) -> int:
    return purchase.time
