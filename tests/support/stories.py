"""Events of one checkout or one subscription as short stories, and what the core makes of them."""

from stream.core.config import CoreConfig
from stream.core.event import CheckoutEvent, CheckoutType, Refund, SubscriptionEvent, SubscriptionType
from stream.core.labels import LabelRegistry
from stream.core.offline import Offline

MINUTE = 60_000_000
HOUR = 60 * MINUTE
START = 1_750_000_000_000_000


class Story:
    """Takes in events one by one; remembers the last version of every transaction, and all results."""

    def __init__(self, as_of=None, config=None):
        self.offline = Offline(config or CoreConfig(), LabelRegistry(), as_of)
        self.results = []
        self.sales = {}
        self._number = 0

    def apply(self, event):
        step = self.offline.apply(event)
        self.results.append(step.result)
        for version in step.versions:
            self.sales[version.judged.event_id] = version.judged
        return step

    def checkout(self, type, products=(), *, at=0, id=None, checkout="c1", customer="anna", refund=None, **more):
        """`at` is in minutes; `refund` is (id, lines or None, amount or None)."""
        self._number += 1
        if refund is not None:
            name, lines, amount = refund
            refund = Refund(name, None if lines is None else tuple(lines), amount)
        return self.apply(
            CheckoutEvent(
                type=CheckoutType[type.upper()],
                source="shop",
                id=id or f"e{self._number}",
                time=START + round(at * MINUTE),
                version=more.pop("version", 0),
                entity=checkout,
                customer=customer,
                currency=more.pop("currency", "EUR"),
                products=tuple(products),
                intent=None if more.get("intent") is None else tuple(more["intent"]),
                refund=refund,
                **{name: value for name, value in more.items() if name != "intent"},
            )
        )

    def subscription(self, type, items=None, *, at=0, id=None, subscription="s1", customer="anna", **more):
        """`at` is in hours."""
        self._number += 1
        return self.apply(
            SubscriptionEvent(
                type=SubscriptionType[type.upper()],
                source="shop",
                id=id or f"e{self._number}",
                time=START + round(at * HOUR),
                version=more.pop("version", 0),
                entity=subscription,
                customer=customer,
                currency=more.pop("currency", "EUR"),
                items=None if items is None else tuple(items),
                **{
                    name: tuple(value) if name in {"intent", "previous"} and value is not None else value
                    for name, value in more.items()
                },
            )
        )

    def sale(self):
        """The only transaction."""
        (judged,) = self.sales.values()
        return judged

    def told(self, event_id=None):
        """A transaction as `kinds | lines | initial final`."""
        judged = self.sale() if event_id is None else self.sales[event_id]
        lines = ", ".join(f"{line.kind} {line.reason} {line.amount}" for line in judged.lines)
        return f"{judged.intent} | {lines} | {judged.initial} -> {judged.final}"

    def lost(self, event_id=None):
        """What was reversed, as `transaction? kinds amounts`."""
        judged = self.sale() if event_id is None else self.sales[event_id]
        amounts = " ".join(f"{part}={amount}" for part, amount in judged.reversed.amounts.items() if float(amount))
        parts = ["transaction"] * judged.reversed.transaction + judged.reversed.kinds + [amounts]
        return " ".join(part for part in parts if part)

    def counts(self, journey=None):
        """The figure set of everything."""
        return self.offline.figures().summary()[journey or "all"]
