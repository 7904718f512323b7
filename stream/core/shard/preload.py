"""What a batch needs before it is applied: the first phase of the conversation between worker and core.

    preload = shard.preload(events)
    while (request := preload.request) is not None:
        preload.receive(...)               # what the tables hold of the request; its labels are registered first
    steps = shard.apply(preload.events)

Rules: nothing here reads or waits. One request is usual, and none where everything is in memory. A second one asks for what the first answer
named: customers and offers of the entities that were loaded, and entities that an erasure or an offer reaches. Labels of all events of a batch are
requested at once, in the order of the log, whatever becomes of the events: so which labels get a place does not depend on how records are cut into
batches.
"""

from collections.abc import Mapping, Sequence
from itertools import takewhile
from types import MappingProxyType

import msgspec

from stream.core.counting.aggregates import Aggregates
from stream.core.event import CheckoutType, ErasedEvent, Event, OfferEvent, SubscriptionEvent
from stream.core.labels import Label, LabelRegistry
from stream.core.shard.checkouts import Checkouts
from stream.core.shard.customer_index import CustomerIndex
from stream.core.shard.erasure import Erasure
from stream.core.shard.offers import Offers, is_key, key_of
from stream.core.shard.subscriptions import Subscriptions


class Request(msgspec.Struct, frozen=True):
    """What is missing. At least one of the four is not empty."""

    entities: Sequence[bytes] = ()
    """Keys of records to load, also of those about offers."""
    customers: Sequence[bytes] = ()
    """Keys of records to load."""
    labels: Sequence[Label] = ()
    """Values that the application's registry must decide on."""
    history: Mapping[str, Sequence[bytes]] = {}
    """Record of the history (by name) -> fields to load."""


class Preload:
    """The open questions about one batch."""

    request: Request | None
    """What to fetch next; None when the events can be applied."""

    def __init__(
        self,
        events: Sequence[Event],
        entities: Checkouts | Subscriptions,
        offers: Offers,
        customers: CustomerIndex,
        *,
        labels: LabelRegistry,
        erasure: Erasure,
        aggregates: Aggregates,
    ) -> None:
        """Find out what the events need of what is not in memory."""
        self.events = events
        """The events that can be applied now, at least the first one: fewer than given where their records are many bytes."""
        self._entities = entities
        self._offers = offers
        self._customers = customers
        self._labels = labels
        self._erasure = erasure
        self._aggregates = aggregates
        self._erasures = [event for event in events if isinstance(event, ErasedEvent)]
        self._has_offers = any(isinstance(event, OfferEvent) for event in events)
        named = [event for event in events if not isinstance(event, ErasedEvent | OfferEvent)]
        live = [event for event in named if event.livemode]
        keys = dict.fromkeys([event.entity.encode() for event in named])
        missing = [*entities.records.missing(keys), *self._missing_offers(), *self._missing_entities()]
        self._ask(missing, self._missing_customers(), labels.unregistered(live), aggregates.missing())

    def receive(
        self,
        entities: Sequence[bytes | None],
        customers: Sequence[bytes | None],
        history: Mapping[str, Sequence[bytes | None]] = MappingProxyType({}),
    ) -> None:
        """Add records as the tables hold them, in the order of the request: all of them, or the first ones where they are many bytes.

        At least one record, and customers only once all entities are there. What is left out is requested again, or its events are left out. Of the
        history every field is given.
        """
        request = self.request
        assert request is not None
        if request.history:
            self._aggregates.settle(history)
        labels: dict[Label, None] = {}
        found = False
        for key, data in zip(request.entities, entities, strict=False):
            if is_key(key):
                self._offers.records.load(key, data)
            else:
                labels.update(dict.fromkeys(self._entities.load(key, data)))
            found = found or data is not None
        for key, data in zip(request.customers, customers, strict=False):
            self._customers.records.load(key, data)
        if left := set(request.entities[len(entities) :]):
            self._leave_out(left)
        more = found or bool(left) or len(customers) < len(request.customers)
        self._ask(
            [*self._missing_offers(), *self._missing_entities()] if more else [],
            self._missing_customers() if more else [],
            [label for label in labels if self._labels.is_unregistered(*label)],
        )

    def _ask(
        self,
        entities: Sequence[bytes],
        customers: Sequence[bytes],
        labels: Sequence[Label],
        history: Mapping[str, Sequence[bytes]] = MappingProxyType({}),
    ) -> None:
        if not (entities or customers) and self._erasures:
            entities = self._missing_targets()
        self.request = None
        if entities or customers or labels or history:
            self.request = Request(entities, customers, labels, history)

    def _missing_customers(self) -> list[bytes]:
        """Customers that the events name, and that the entities in memory are linked to."""
        wanted: dict[bytes, None] = {}
        member, linked = self._customers.member, self._entities.records.linked
        for event in self.events:
            if isinstance(event, ErasedEvent):
                wanted.update(dict.fromkeys(self._erasure.members(event)))
                continue
            if isinstance(event, OfferEvent):
                continue
            if isinstance(event, SubscriptionEvent) or event.type is CheckoutType.COMPLETED:
                wanted[member(event.customer)] = None
            if others := linked(event.entity.encode()):
                wanted.update(dict.fromkeys(others))
        return self._customers.records.missing(wanted)

    def _missing_offers(self) -> list[bytes]:
        """Records of offers that the events need."""
        needs = self._entities.needs_offers
        keys = [
            key_of(event.entity.encode())
            for event in self.events
            if not isinstance(event, ErasedEvent) and (isinstance(event, OfferEvent) or needs(event))  # type: ignore[arg-type]  # of the shard's journey
        ]
        return self._offers.records.missing(dict.fromkeys(keys)) if keys else []

    def _missing_entities(self) -> list[bytes]:
        """Entities that accepted an offer of which an event says where it was shown; asked for once their offers are in memory."""
        if not self._has_offers:
            return []
        offers = self._offers
        about = [event for event in self.events if isinstance(event, OfferEvent)]
        unknown = set(offers.records.missing([key_of(event.entity.encode()) for event in about]))
        keys = [
            event.entity.encode()
            for event in about
            if key_of(event.entity.encode()) not in unknown and offers.is_accepted(event)
        ]
        return self._entities.records.missing(dict.fromkeys(keys))

    def _missing_targets(self) -> list[bytes]:
        """Entities that erasures reach; asked for once their customers are in memory."""
        targets = (key for event in self._erasures for key in self._erasure.targets(event))
        return self._entities.records.missing(dict.fromkeys(targets))

    def _leave_out(self, missing: set[bytes]) -> None:
        """Keep the events before the first one of which a record was not loaded."""
        self.events = list(takewhile(lambda event: missing.isdisjoint(_keys(event)), self.events))
        self._erasures = [event for event in self.events if isinstance(event, ErasedEvent)]


def _keys(event: Event) -> tuple[bytes, ...]:
    """Keys of all records of an entity."""
    if isinstance(event, ErasedEvent):
        return ()
    entity = event.entity.encode()
    return entity, key_of(entity)
