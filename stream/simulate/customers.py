"""Who comes: customers who come back, and passers-by who never do.

Rules: a customer's segment, home currency and key never change. Some come much more often than others. Times are milliseconds since the
epoch.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random


@dataclass(slots=True, eq=False)
class Customer:
    """Somebody in the shop."""

    name: str
    """What the customer counts as, and the key of all their records."""
    labels: dict[str, str]
    """How their events name them; empty where only the checkout is known."""
    segment: str | None
    currency: str
    returns: bool = True
    """False: never seen again."""
    trials: int = 0
    """Running trials."""
    paid: dict[str, str] = field(default_factory=dict)
    """Base product of each active paid subscription, by subscription."""
    touched: int = 0
    """When a subscription of theirs last started, ended or changed its base; 0: never."""
    newest: str = ""
    """Their subscription that started last."""
    unsure: bool = False
    """A subscription of theirs was refunded, and whether it still counts as paid is open: they take no other."""


class Customers:
    """The known customers, made as they first appear, and passers-by."""

    def __init__(self, rng: Random, count: int, segments: Sequence[str], currencies: Sequence[str], run: str) -> None:
        self._rng = rng
        self._count = count
        self._segments = segments
        self._currencies = currencies
        self._run = run
        self._known: dict[int, Customer] = {}
        self._passers_by = 0

    def known(self) -> Customer:
        """A customer with an id; a tenth of them make a third of all visits."""
        number = int(self._count * self._rng.random() ** 2)
        customer = self._known.get(number)
        if customer is None:
            name = f"customer-{number:06d}"
            customer = self._known[number] = Customer(name, {"customer_id": name}, self._segment(), self._currency())
        return customer

    def passer_by(self, checkout: str) -> Customer:
        """Somebody without an account: known by a browser, or by nothing but their checkout."""
        self._passers_by += 1
        segment = self._segment() if self._rng.random() < 0.5 else None
        if self._rng.random() < 0.3:
            return Customer(checkout, {}, segment, self._currency(), returns=False)
        name = f"browser-{self._run}-{self._passers_by:06d}"
        return Customer(name, {"anonymous_id": name}, segment, self._currency(), returns=False)

    def _segment(self) -> str:
        # The first segment is the largest; the last the smallest.
        return self._segments[int(len(self._segments) * self._rng.random() ** 1.5)]

    def _currency(self) -> str:
        if len(self._currencies) == 1 or self._rng.random() < 0.8:
            return self._currencies[0]
        return self._rng.choice(self._currencies[1:])
