"""The shop's visitors: known customers, who return, and guests, who do not.

Rules: a customer's segment, home currency and record key never change. Some customers visit much more often than others. Times are
milliseconds since the epoch.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Final, NamedTuple

from stream.simulate.items import Items

SWAP: Final = 24 * 3_600_000
"""How long after a cancellation what follows continues it, in milliseconds."""


class Canceled(NamedTuple):
    """A paid subscription that the customer canceled."""

    time: int
    currency: str
    items: Items
    initial: Items
    """What the customer once came for."""


@dataclass(slots=True, eq=False)
class Customer:
    """One visitor."""

    name: str
    """Identifies the customer in counts, and is the key of all their records."""
    labels: dict[str, str]
    """Ids in the customer's events; empty if they carry only the checkout's id."""
    segment: str | None
    currency: str
    returns: bool = True
    """False: this is the only visit."""
    trials: int = 0
    """Number of running trials."""
    paid: dict[str, str] = field(default_factory=dict)
    """Base product of each active paid subscription, by subscription id."""
    changed_at: int = 0
    """Time when a subscription of the customer last started, ended or changed its base; 0: never."""
    newest_subscription: str = ""
    """Id of the subscription that started last."""
    canceled: dict[str, Canceled] = field(default_factory=dict)
    """What a new subscription would continue, by subscription id."""

    def pending(self, now: int, currency: str) -> list[str]:
        """The subscriptions that one of this currency that is created now continues, in order of their cancellation."""
        for name in [name for name, each in self.canceled.items() if now - each.time > SWAP]:
            del self.canceled[name]
        names = [name for name, each in self.canceled.items() if each.currency == currency]
        return sorted(names, key=lambda name: self.canceled[name].time)


class Customers:
    """Creates known customers at their first visit, and guests."""

    def __init__(self, rng: Random, count: int, segments: Sequence[str], currencies: Sequence[str], run: str) -> None:
        self._rng = rng
        self._count = count
        self._segments = segments
        self._currencies = currencies
        self._run = run
        self._known: dict[int, Customer] = {}
        self._guests = 0

    def known(self) -> Customer:
        """A random customer with an id. A tenth of the customers make a third of all visits."""
        number = int(self._count * self._rng.random() ** 2)
        customer = self._known.get(number)
        if customer is None:
            name = f"customer-{number:06d}"
            customer = self._known[number] = Customer(name, {"customer_id": name}, self._segment(), self._currency())
        return customer

    def guest(self, checkout: str) -> Customer:
        """A new visitor without an account: identified by a browser id, or only by the checkout's id."""
        self._guests += 1
        segment = self._segment() if self._rng.random() < 0.5 else None
        if self._rng.random() < 0.3:
            return Customer(checkout, {}, segment, self._currency(), returns=False)
        name = f"browser-{self._run}-{self._guests:06d}"
        return Customer(name, {"anonymous_id": name}, segment, self._currency(), returns=False)

    def _segment(self) -> str:
        # The first segment is the largest, the last one the smallest.
        return self._segments[int(len(self._segments) * self._rng.random() ** 1.5)]

    def _currency(self) -> str:
        if len(self._currencies) == 1 or self._rng.random() < 0.8:
            return self._currencies[0]
        return self._rng.choice(self._currencies[1:])
