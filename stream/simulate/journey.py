"""What a checkout and a subscription have in common: an id, a customer, a channel, and events that are numbered from 1.

Rules: only `_record` makes records, so every event of a journey has the same customer, the same key and the next number.
"""

from abc import ABC, abstractmethod
from typing import Any, ClassVar

from stream.simulate.customers import Customer
from stream.simulate.record import Emitted, Topic
from stream.simulate.world import Session, World


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
        self._behaviour = world.behaviour_of(self._customer.segment)
        self._events = 0

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
