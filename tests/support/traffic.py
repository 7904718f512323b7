"""Simple traffic for tests of the worker: complete checkouts and subscriptions, and the totals that they must give."""

import json
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from stream.core.config import CoreConfig
from stream.core.counting.figures import JOURNEYS, TOTAL, Figures, ShardFigures
from stream.core.counting.summary import decode_summary
from stream.core.event import Event
from stream.core.labels import LabelRegistry
from stream.core.offline import Offline
from stream.events.decode import Rejected, decode_line
from stream.tables.interface import ShardSummary

CHECKOUT = "checkout-events"
SUBSCRIPTION = "subscription-events"
SECOND = 1_000_000
START = 1_767_607_200
"""Time of the first event, in seconds: 2026-01-05T10:00:00Z."""


class Sent(NamedTuple):
    """A record to send."""

    topic: str
    key: bytes
    value: bytes


def checkouts(count: int, first: int = 0) -> Iterator[Sent]:
    """Two events each. Every second checkout has an upsell, every fifth a cross-sell."""
    for number in range(first, first + count):
        cart = [_line("S1", 1 + number % 2)]
        yield _checkout(number, "checkout.started", [_line("S1", 1)])
        yield _checkout(number, "order.completed", cart if number % 5 else [*cart, _line("X9", 1)])


def subscriptions(count: int, first: int = 0) -> Iterator[Sent]:
    """Two events each: created and changed. Every third change adds a seat."""
    for number in range(first, first + count):
        yield _subscription(number, "created", 1)
        yield _subscription(number, "changed", 1 if number % 3 else 2)


def erasure(customer: int) -> Sent:
    """The erasure of the customer of the checkout with this number."""
    return Sent(
        CHECKOUT,
        b"k%d" % customer,
        _event(f"customer/k{customer}", "customer.erased", customer, {"customer_id": f"k{customer}"}),
    )


def junk(count: int) -> Iterator[Sent]:
    """Records that are not events."""
    for number in range(count):
        yield Sent(CHECKOUT, b"c%d" % number, b"no event %d" % number)


def expected(sent: Iterable[Sent]) -> dict[str, dict]:
    """The totals by journey, computed in memory."""
    offline = Offline(CoreConfig(), LabelRegistry())
    for event in map(_decoded, sent):
        if event is not None:
            offline.apply(event)
    return _totals(offline.figures())


def found(summaries: Iterable[ShardSummary]) -> dict[str, dict]:
    """The totals by journey, from the tables."""
    return _totals(Figures(ShardFigures(decode_summary(shard.summary, shard.recent)) for shard in summaries))


def _totals(figures: Figures) -> dict[str, dict]:
    totals = {journey: figures.select(TOTAL, journey).plain() for journey in JOURNEYS}
    for total in totals.values():
        # Distinct customers are counted only in windows, so `total` has neither them nor their rates. Rates and amounts are no sums.
        total.pop("customers", None)
        del total["rates"], total["amounts"]
    return totals


def _decoded(sent: Sent) -> Event | None:
    event = decode_line(sent.value)
    return None if isinstance(event, Rejected) else event


def _checkout(number: int, name: str, products: list[dict]) -> Sent:
    data = {"checkout_id": f"c{number}", "customer_id": f"k{number}", "currency": "EUR", "products": products}
    return Sent(CHECKOUT, b"k%d" % number, _event(f"checkout/c{number}", name, number, data))


def _subscription(number: int, name: str, seats: int) -> Sent:
    item = {"plan_id": "pro", "product_id": "app", "quantity": seats, "price": "10.00", "interval": "month"}
    data = {"subscription_id": f"u{number}", "customer_id": f"k{number}", "currency": "EUR", "items": [item]}
    return Sent(SUBSCRIPTION, b"k%d" % number, _event(f"subscription/u{number}", f"subscription.{name}", number, data))


def _line(sku: str, quantity: int) -> dict:
    return {"sku": sku, "product_id": sku, "quantity": quantity, "price": "10.00"}


def _event(subject: str, name: str, number: int, data: dict) -> bytes:
    seconds = number % 3600
    return json.dumps(
        {
            "specversion": "1.0",
            "id": f"{name}-{number}",
            "source": "shop",
            "type": f"commerce.{name}.v1",
            "time": f"2026-01-05T10:{seconds // 60:02}:{seconds % 60:02}Z",
            "subject": subject,
            "data": data,
        }
    ).encode()
