"""What a checkout and a subscription have in common: an id, a customer, a channel, and events that are numbered from 1.

Rules: only `_record` and `_show` and `_decline` make records, so every event of a journey has the same key and the next number.
"""

from abc import ABC, abstractmethod
from typing import Any, ClassVar, Final

from stream.simulate.customers import Customer
from stream.simulate.offers import Offer, OfferLog
from stream.simulate.record import Emitted, Topic
from stream.simulate.world import Session, World

SHOWN: Final = "commerce.offer.shown.v1"
DECLINED: Final = "commerce.offer.declined.v1"


class Journey(ABC):
    """One checkout or one subscription, with its events from the first to the last."""

    topic: ClassVar[Topic]

    def __init__(self, world: World, number: int, customer: Customer | None, channel: str) -> None:
        self._world = world
        self._suffix = f"{world.run}-{number:07d}"
        self._id = f"{self.topic}-{self._suffix}"
        self._customer = customer or world.customers.guest(self._id)
        self._channel = channel
        self._labels = (channel, self._customer.segment or "unknown")
        self._behaviour = world.behaviour_of(self._customer.segment, channel)
        self._events = 0
        self._offers = OfferLog(world.truth.offers, self.topic)

    @abstractmethod
    def run(self) -> Session:
        """Yield the records of this journey."""

    @property
    @abstractmethod
    def currency(self) -> str:
        """Currency of the next event."""

    def _ids(self, kind: str) -> dict[str, str]:  # noqa: ARG002 - a checkout's ids depend on it
        """Ids that an event of this type carries besides the customer's."""
        return {f"{self.topic}_id": self._id}

    def _names_segment(self) -> bool:
        """Whether the next event names the customer's segment."""
        return True

    def _record(self, kind: str, **details: Any) -> Emitted:
        """The next event, at the current simulated time."""
        self._events += 1
        customer = self._customer
        data: dict[str, Any] = {**customer.labels, **self._ids(kind), "channel": self._channel}
        if customer.segment is not None and self._names_segment():
            data["segment"] = customer.segment
        data["currency"] = self.currency
        data |= details
        return self._world.record(
            self.topic,
            kind,
            entity=self._id,
            number=self._events,
            customer=customer.name,
            channel=self._channel,
            data=data,
        )

    def _show(self, offer: Offer, slot: str | None) -> Emitted:
        """The event that an offer is shown, now."""
        self._offers.show(self._world.now, offer.id, slot)
        return self._about(SHOWN, offer, slot)

    def _decline(self, offer: Offer, slot: str | None) -> Emitted:
        """The event that an offer is declined, now. It was shown first in this slot."""
        self._offers.decline(self._world.now, offer.id)
        return self._about(DECLINED, offer, slot)

    def _slot_of(self, offer: Offer) -> str | None:
        """Where an offer is shown. Not every event says so."""
        return None if self._world.chance(0.05) else self._world.pick(offer.slots)

    def _about(self, kind: str, offer: Offer, slot: str | None) -> Emitted:
        self._events += 1
        data: dict[str, Any] = {f"{self.topic}_id": self._id, "offer_id": offer.id}
        if slot is not None:
            data["slot"] = slot
        return self._world.record(
            self.topic,
            kind,
            entity=self._id,
            number=self._events,
            customer=self._customer.name,
            channel=self._channel,
            data=data,
            about_offer=True,
        )
