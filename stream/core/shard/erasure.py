"""Erasure of a customer: a pseudonym takes the place of their id wherever it is held, and every count stays.

Rules: nothing is counted again and no version is emitted. The customer's record names the entities that hold the id, so an erasure touches these alone.
It does not move event time, so it makes nothing be forgotten. A repeat of the same erasure event is recognised by the record of the pseudonym.
"""

from stream.core.config import CoreConfig
from stream.core.entities import customer
from stream.core.entities.customer import Customer
from stream.core.event import ErasedEvent, Journey
from stream.core.result import APPLIED, DUPLICATE, Step
from stream.core.shard.checkouts import Checkouts
from stream.core.shard.customer_index import CustomerIndex
from stream.core.shard.event_time import EventTime, end_of_day
from stream.core.shard.subscriptions import Subscriptions


class Erasure:
    """Erases customers of one shard."""

    def __init__(
        self,
        journey: Journey,
        config: CoreConfig,
        time: EventTime,
        entities: Checkouts | Subscriptions,
        customers: CustomerIndex,
    ) -> None:
        """Of the shard's own parts."""
        self._retention = config.retention(journey)
        self._key = config.customer_key
        self._time = time
        self._entities = entities
        self._customers = customers

    def members(self, event: ErasedEvent) -> tuple[bytes, bytes]:
        """Keys of the customer and of their pseudonym; both records must be loaded."""
        return self._customers.member(event.customer), self._customers.member(self._pseudonym(event))

    def targets(self, event: ErasedEvent) -> list[bytes]:
        """Keys of the entities that hold the customer's id; they must be loaded, too. Ask when the customer is loaded."""
        record = self._customers.records.peek(self._customers.member(event.customer))
        return [] if record is None else [name.encode() for name in record.entities]

    def apply(self, event: ErasedEvent) -> Step:
        """Replace the customer's id."""
        customers, (old, new) = self._customers, self.members(event)
        earlier = customers.records.get(new)
        if earlier is not None and not self._time.is_expired(earlier.erasure):
            return DUPLICATE
        known = customers.records.get(old)
        record = known if known is not None else Customer()
        name = self._pseudonym(event)
        for entity in record.entities:
            self._entities.rename(entity.encode(), event.customer, name, new)
        if earlier is not None:
            customer.merge(record, earlier)
        if known is not None:
            customers.rename(old, new, record)
        record.erasure = end_of_day(max(event.time, self._time.stream_time) + self._retention)
        customers.put(new, record)
        return APPLIED

    def _pseudonym(self, event: ErasedEvent) -> str:
        return customer.pseudonym(event.source, event.id, event.customer, self._key)
