"""What only a whole file of events shows: events over several lines, ids used twice, events whose order never comes, prices in minor units.

Rules: a worker cannot see any of it, so nothing here decides what becomes of an event there.
"""

import json
from collections import defaultdict
from decimal import Decimal
from hashlib import blake2b
from typing import Final

import msgspec

from stream.core.event import CheckoutEvent, CheckoutType, ErasedEvent, Event, Journey, OfferEvent, SubscriptionEvent
from stream.core.money import exponent
from stream.core.result import Step
from stream.events.catalogue import TYPE_NAMES

_SHOWN: Final = 10
"""Unmatched events that are named."""


def spread(line: bytes) -> str | None:
    """What to do if the first line of a file shows that an event is spread over several lines; None if it does not."""
    text = line.strip()
    if not text.startswith((b"{", b"[")) or not text.endswith((b"{", b"[", b",")):
        return None
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        command = "jq -c '.[]'" if text.startswith(b"[") else "jq -c ."
        return f"the JSON goes on in the next line, but a file has one event per line: `{command}` writes it so"
    return None


class Prices:
    """Looks for prices in minor units, which a price alone does not show: in a file of them, none has decimals."""

    def __init__(self) -> None:
        self._whole = 0
        self._example: tuple[str, str] | None = None
        self._with_decimals = False

    def add(self, event: Event) -> None:
        """Look at the prices of an event."""
        if self._with_decimals or isinstance(event, ErasedEvent | OfferEvent) or not exponent(event.currency):
            return
        for line in (event.products if isinstance(event, CheckoutEvent) else event.items) or ():
            if "." in line.price:
                self._with_decimals = True
            elif line.price.strip("0"):
                self._whole += 1
                self._example = self._example or (line.price, event.currency)

    def note(self) -> str | None:
        """What to check; None if a price has decimals, or there is none."""
        if self._with_decimals or self._example is None:
            return None
        price, currency = self._example
        major = Decimal(price).scaleb(-exponent(currency))
        return (
            f'none of {self._whole:,} prices has decimals, such as "{price}" ({currency}). '
            f'Prices are in major units: if this one is {major:f} {currency}, send "{major:f}"'
        )


class Identities:
    """Finds events that are lost because another event before them has their source and id."""

    def __init__(self) -> None:
        self._first: dict[tuple[Journey, str, str, str], tuple[str, str, bytes]] = {}

    def add(self, event: Event, step: Step, place: str) -> str | None:
        """What is wrong with the event of a line, which was applied; None if nothing is, or it is the first one sent again."""
        if isinstance(event, ErasedEvent) or step.result == "test":
            return None
        journey = _journey(event)
        name = TYPE_NAMES[journey, event.type]
        digest = blake2b(msgspec.msgpack.encode(event), digest_size=16).digest()
        found = name, digest
        before, *first = self._first.setdefault((journey, event.entity, event.source, event.id), (place, *found))
        if step.result != "duplicate" or tuple(first) == found:
            return None
        other = "the same type and another body" if first[0] == name else f"the type {first[0]}"
        return (
            f"{before} has the same source and id, and {other}: a worker keeps that one and ignores this one. "
            "Give each event an id of its own; only the same event, sent again, has the same one"
        )


class Unmatched:
    """Collects refunds, cancellations and edits whose order or payment is not among the events."""

    def __init__(self) -> None:
        self._waiting: list[tuple[str, CheckoutEvent | SubscriptionEvent]] = []
        self._orders: defaultdict[str, set[str]] = defaultdict(set)
        self._payments: dict[str, int] = {}

    def add(self, event: Event, step: Step, place: str) -> None:
        """Remember the event of a line, which was applied."""
        if not isinstance(event, CheckoutEvent | SubscriptionEvent) or step.result == "test":
            return
        if step.result == "unmatched":
            self._waiting.append((place, event))
        elif isinstance(event, CheckoutEvent):
            if event.type is CheckoutType.COMPLETED:
                self._orders[event.entity].add(event.order_id or "")
        elif step.versions:
            self._payments[event.entity] = min(event.time, self._payments.get(event.entity, event.time))

    def note(self) -> str | None:
        """Which events wait; None if none does."""
        places = [place for place, event in self._waiting if not self._has_come(event)]
        if not places:
            return None
        more = f" and {len(places) - _SHOWN:,} more" if len(places) > _SHOWN else ""
        return (
            f"{', '.join(places[:_SHOWN])}{more}: no completed order, or payment, with this id is in the files. "
            "Look at checkout_id, order_id and subscription_id, unless it was sent before"
        )

    def _has_come(self, event: CheckoutEvent | SubscriptionEvent) -> bool:
        if isinstance(event, SubscriptionEvent):
            return self._payments.get(event.entity, event.time + 1) <= event.time
        orders = self._orders.get(event.entity, set())
        return bool(orders) and (not event.order_id or not orders.isdisjoint({event.order_id, ""}))


def _journey(event: CheckoutEvent | SubscriptionEvent | OfferEvent) -> Journey:
    if isinstance(event, OfferEvent):
        return event.journey
    return "checkout" if isinstance(event, CheckoutEvent) else "subscription"
