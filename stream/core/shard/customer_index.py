"""The shard's customers, and the sorted sets from which distinct ones are counted.

Rules: the records are in `core.entities.customer`; this file keeps them and the sets in step. A purchase that is newer than all others of its customer (the
usual case) stays pending until the batch ends: all members of a group of sets are scored at once then.
"""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from stream.core.config import DAY, NEVER, CoreConfig
from stream.core.entities import customer
from stream.core.entities.assessment import Sale
from stream.core.entities.customer import CANCELED, Canceled, Customer
from stream.core.event import SubscriptionEvent
from stream.core.shard.cache import DeferredCache
from stream.core.shard.event_time import EventTime


class CustomerWrites(NamedTuple):
    """The part of a `WriteSet` that is about customers, under the same names."""

    customers: dict[bytes, bytes | None]
    customer_expiry: dict[bytes, int | None]
    scores: dict[bytes, dict[bytes, int | None]]


class CustomerIndex:
    """Customers by member (the hash of their id)."""

    def __init__(self, config: CoreConfig, time: EventTime, sets: set[bytes]) -> None:
        """`sets`: names of all sorted sets that the tables hold."""
        self.records = DeferredCache(Customer)
        self.sets = sets
        self.sets_changed = False
        """There are sets that the stored state does not name."""
        self.horizon = config.horizon
        self.counted_after = NEVER if not config.forget_customers else -self.horizon
        """Purchases up to this time are in no window."""
        self._forgets = config.forget_customers
        self._key = config.customer_key
        self._swap_window = config.swap_window
        self._time = time
        self._scores: dict[bytes, dict[bytes, int | None]] = {}
        self._pending_purchases: dict[tuple[bytes, ...], dict[bytes, int]] = {}
        """Newest purchases that are not in `_scores` yet, by the sets that they go to."""
        self._pending_members: set[bytes] = set()
        """Customers with a pending purchase; at most one each."""

    def member(self, name: str) -> bytes:
        """The key of the customer with this id."""
        return customer.member(name, self._key)

    def advance(self, now: int) -> None:
        """Drop purchases from the windows that they have left by `now`."""
        if self._forgets:
            self.counted_after = now - self.horizon

    def purchase(self, old: Sale | None, new: Sale | None) -> None:
        """Replace one purchase by another; either may be absent, and they may be of two customers."""
        if old is not None and (new is None or old.member != new.member):
            self._restate(old.member, old, None)
            old = None
        if new is not None:
            self._restate(new.member, old, new)

    def link(self, member: bytes, entity: str, until: int | None) -> None:
        """Note that an entity holds the customer's id, until the day after which the entity may be forgotten (None: not as things are)."""
        record = self.records.get(member) or Customer()
        if record.link_entity(entity, 0 if until is None else until or 1, self._time.watermark // DAY):
            self.put(member, record)

    def unlink(self, member: bytes, entity: str) -> None:
        """Note that an entity no longer holds the customer's id."""
        record = self.records.get(member)
        if record is not None and record.entities.pop(entity, None) is not None:
            self.put(member, record)

    def set_active(self, entity: str, before: bytes, member: bytes, product: str) -> None:
        """List a paid subscription as active under `member`, with its base product, and no longer under `before`; b"" is nobody."""
        if before and before != member:
            record = self.records.get(before)
            if record is not None and record.active.pop(entity, None) is not None:
                self.put(before, record)
        if member:
            record = self.records.get(member) or Customer()
            if record.active.get(entity) != product:
                record.active[entity] = product
                self.put(member, record)

    def set_canceled(
        self, entity: str, before: bytes, member: bytes, canceled: Canceled | None, *, again: bool = False
    ) -> None:
        """List a subscription as canceled under `member`, or (None) no longer; and no longer under `before`.

        Only with `again` it is listed where it was not.
        """
        listed = False
        for each in dict.fromkeys((before, member)):
            record = self.records.get(each)
            if record is not None and record.canceled.pop(entity, None) is not None:
                listed = True
                self.put(each, record)
        if canceled is not None and (listed or again):
            record = self.records.get(member) or Customer()
            record.canceled[entity] = canceled
            kept = [
                (name, each)
                for name, each in record.canceled.items()
                if name == entity or ((day := record.entities.get(name)) and not self._time.is_expired(day))
            ]
            record.canceled = dict(kept[-CANCELED:])
            self.put(member, record)

    def canceled_before(self, member: bytes, event: SubscriptionEvent) -> dict[str, Canceled]:
        """Other subscriptions that the customer canceled shortly before an event, in its currency, in order of cancellation."""
        record = self.records.get(member)
        if record is None or not record.canceled:
            return {}
        found = {
            name: each
            for name, each in record.canceled.items()
            if name != event.entity
            and each.currency == event.currency
            and 0 <= event.time - each.time <= self._swap_window
            and (day := record.entities.get(name))  # none: forgotten, or active again
            and not self._time.is_expired(day)
        }
        return dict(sorted(found.items(), key=lambda item: (item[1].time, item[0])))

    def active_products(self, member: bytes, entity: str) -> tuple[str, ...]:
        """Base products of the customer's active paid subscriptions besides `entity`, sorted."""
        record = self.records.get(member)
        active = record.active if record is not None else {}
        return tuple(sorted({product for other, product in active.items() if other != entity}))

    def rename(self, old: bytes, new: bytes, record: Customer) -> None:
        """Move every score of `old` to `new`, whose record is `record`; nothing is left under `old`."""
        self._score_pending()
        for name in self.sets:
            self._scores.setdefault(name, {})[old] = None
        for name, score in customer.scores(record, self.counted_after).items():
            self._scores.setdefault(name, {})[new] = score
        self.put(old, Customer())

    def put(self, member: bytes, record: Customer) -> None:
        """Replace a record; an empty one is deleted."""
        self.records.put(member, None if record.empty else record)

    def scores(self) -> Mapping[bytes, Mapping[bytes, int | None]]:
        """Changes of the sorted sets since the last `drain`."""
        self._score_pending()
        return self._scores

    def drain(self, capacity: int) -> CustomerWrites:
        """Everything that changed since the last call; then keep at most `capacity` bytes of records."""
        self._score_pending()
        records = self.records
        for member, record in records.deferred.items():
            records.expiry[member] = None if record is None else record.expiry(self.horizon)
        changed, expiry = records.drain(capacity)
        scores, self._scores = self._scores, {}
        return CustomerWrites(changed, expiry, scores)

    def _restate(self, member: bytes, old: Sale | None, new: Sale | None) -> None:
        record = self.records.get(member) or Customer()
        if member in self._pending_members:
            self._score_pending()
        names = customer.add_newest(record, new, self.counted_after) if old is None and new is not None else None
        if names is not None and new is not None:
            self._pending_purchases.setdefault(names, {})[member] = new.time
            self._pending_members.add(member)
        else:
            for name, score in customer.restate(record, old, new, self.counted_after).items():
                self._scores.setdefault(name, {})[member] = score
                self._note_sets((name,))
        self.put(member, record)

    def _score_pending(self) -> None:
        for names, members in self._pending_purchases.items():
            for name in names:
                self._scores.setdefault(name, {}).update(members)
            self._note_sets(names)
        self._pending_purchases, self._pending_members = {}, set()

    def _note_sets(self, names: Iterable[bytes]) -> None:
        if not self.sets.issuperset(names):
            self.sets.update(names)
            self.sets_changed = True
