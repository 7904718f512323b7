"""Events of one checkout or one subscription in short form, and how the core judges them."""

from stream.core.config import CoreConfig
from stream.core.event import CheckoutEvent, CheckoutType, Refund, Share, SubscriptionEvent, SubscriptionType
from stream.core.labels import LabelRegistry
from stream.core.offline import Offline

MINUTE = 60_000_000
HOUR = 60 * MINUTE
START = 1_750_000_000_000_000


class Story:
    """Applies events one by one. Keeps the last version of every transaction that was not withdrawn, and all results."""

    def __init__(self, as_of=None, config=None):
        self.offline = Offline(config or CoreConfig(), LabelRegistry(), as_of)
        self.results = []
        self.sales = {}
        self._events = {}
        """By transaction, the event that made it."""
        self._number = 0

    def apply(self, event):
        step = self.offline.apply(event)
        self.results.append(step.result)
        for version in step.versions:
            self.sales.pop(self._events.get(version.transaction), None)
            if not version.withdrawn:
                self.sales[version.judged.event_id] = version.judged
                self._events[version.transaction] = version.judged.event_id
        return step

    def checkout(
        self, type, products=(), *, at=0, id=None, checkout="c1", order=None, customer="anna", refund=None, **more
    ):
        """Apply an event of a checkout. `at` is in minutes, `order` an order id; `refund` is (id, lines or None, amount or None)."""
        if refund is not None:
            name, lines, amount = refund
            refund = Refund(name, None if lines is None else tuple(lines), amount)
        time = START + round(at * MINUTE)
        return self._apply(
            CheckoutEvent,
            CheckoutType[type.upper()],
            time,
            id,
            checkout,
            customer,
            products=tuple(products),
            refund=refund,
            order_id=order,
            **more,
        )

    def subscription(self, type, items=None, *, at=0, id=None, subscription="s1", customer="anna", refund=None, **more):
        """Apply an event of a subscription. `at` is in hours; `refund` is (id or None, share)."""
        if refund is not None:
            more["refund"] = Share(*refund)
        items = None if items is None else tuple(items)
        time = START + round(at * HOUR)
        return self._apply(
            SubscriptionEvent, SubscriptionType[type.upper()], time, id, subscription, customer, items=items, **more
        )

    def _apply(self, event, type, time, id, entity, customer, **more):
        self._number += 1
        given = {"source": "shop", "id": id or f"e{self._number}", "version": 0, "currency": "EUR"} | more
        for name in ("intent", "previous"):
            if given.get(name) is not None:
                given[name] = tuple(given[name])
        return self.apply(event(type=type, time=time, entity=entity, customer=customer, **given))

    def sale(self):
        """The only transaction."""
        (judged,) = self.sales.values()
        return judged

    def judgement(self, event_id=None):
        """A transaction as `intent | lines | initial -> final`."""
        judged = self.sale() if event_id is None else self.sales[event_id]
        lines = ", ".join(f"{line.kind} {line.reason} {line.amount}" for line in judged.lines)
        return f"{judged.intent} | {lines} | {judged.initial} -> {judged.final}"

    def reversal(self, event_id=None):
        """The reversed part of a transaction, as `transaction? kinds amounts`."""
        judged = self.sale() if event_id is None else self.sales[event_id]
        amounts = " ".join(f"{part}={amount}" for part, amount in judged.reversed.amounts.items() if float(amount))
        parts = ["transaction"] * judged.reversed.transaction + judged.reversed.kinds + [amounts]
        return " ".join(part for part in parts if part)

    def counts(self, journey=None):
        """The figures of a journey, or of both."""
        return self.offline.figures().summary()[journey or "all"]
