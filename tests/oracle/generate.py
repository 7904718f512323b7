"""Hypothesis strategies for small, nasty streams of events.

Everything is drawn from tiny pools so that times, lines, identities and customers collide. What is drawn stays within
what the specification and docs/reference/semantics.md decide; where they are silent the strategies keep away:
one pool of ids per kind of id (a sku never equals a variant id), one customer per subscription, no items on canceled
and refunded subscription events, roles given for all items of an event or for none, at least one item of a quantity,
fewer label values and currencies than the bounds, and all times within 30 days.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from hypothesis import strategies as st

from oracle import records

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

ORIGIN = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
# Seconds after ORIGIN: in one pane, on the edges of panes and windows, exactly and just over the lateness of 24 h.
NEAR = (0, 0.001, 1, 5, 60, 300, 301, 3_600, 3_601, 7_200, 86_400)
FAR = (*NEAR, 86_400.5, 90_000, 172_800, 250_000, 2_500_000)
PRICES = ("0", "0.005", "0.015", "1", "1.10", "2.50", "3", "10.00", "19.99", "100", "33.3333")
DISCOUNTS = ("0", "0.01", "0.50", "1", "3.3", "1000")
CURRENCIES = ("USD", "USD", "EUR", "JPY", "KWD")
LABELS = ("", "web", "app", "store")
SEGMENTS = ("", "new", "loyal")
CATEGORIES = ("", "shoes", "care", "hats")
SKUS = ("sku-1", "sku-2", "sku-3")
VARIANTS = ("var-1", "var-2")
PRODUCTS = ("prod-1", "prod-2")
CUSTOMERS = ("cust-1", "cust-2")
ERASABLE = (*CUSTOMERS, "anon-1", "cust-3")
OFFERS = ("", "offer-1", "offer-2")
PLANS = {"plan-1": "app", "plan-2": "app", "plan-3": "seat", "plan-4": "storage", "plan-5": "seat"}
CHECKOUTS = ("c-1", "c-2", "c-3")
SUBSCRIPTIONS = {"sub-1": "cust-1", "sub-2": "cust-1", "sub-3": "cust-2"}

GARBAGE: tuple[bytes, ...] = (
    b"{",
    b"\xff\xfe",
    b"null",
    b"[]",
    b'"event"',
    b'{"specversion": "1.0"}',
    b" " * 10 + b"x" * (records.MAX_RECORD_BYTES + 1),
)
# What makes a valid event a rejected record, when put in the envelope or in its data.
BAD_ENVELOPES: tuple[dict[str, Any], ...] = (
    {"specversion": "0.3"},
    {"type": "commerce.order.completed.v2"},
    {"type": "commerce.order.shipped.v1"},
    {"id": ""},
    {"source": None},
    {"source": "/shop\0"},
    {"time": "yesterday"},
    {"time": "2026-03-01T12:00:00"},
    {"time": "0001-01-01T00:00:00+00:01"},
    {"subject": "basket/1"},
    {"livemode": "yes"},
    {"entityversion": "newest"},
    {"data": None},
    {"data": []},
)
BAD_DATA: dict[str, tuple[dict[str, Any], ...]] = {
    "products": ({"currency": "QQQQ"}, {"currency": ""}, {"channel": 7}, {"checkout_id": ""}, {"products": {}}),
    "items": ({"currency": "usd!"}, {"customer_id": ""}, {"segment": []}, {"subscription_id": 5}, {"items": "none"}),
}
BAD_LINES: tuple[dict[str, Any], ...] = (
    {"price": "-1"},
    {"price": "NaN"},
    {"price": "Infinity"},
    {"price": "1e400"},
    {"price": "ten"},
    {"price": ""},
    {"price": None},
    {"price": float("nan")},
    {"price": "99999999999.99", "quantity": 1_000_000},
    {"quantity": -1},
    {"quantity": 1.5},
    {"quantity": "1"},
    {"quantity": True},
    {"quantity": None},
    {"category": 3},
    {"sku": "", "variant_id": "", "product_id": "", "plan_id": ""},
)


def as_lines(events: Iterable[Mapping[str, Any]]) -> list[bytes]:
    """Events as the lines of a file."""
    return [json.dumps(event).encode() for event in events]


# One strategy for one list of values: Hypothesis checks every new strategy, which would be most of the time.
@lru_cache(maxsize=None, typed=True)
def _one_of(*values: Any) -> st.SearchStrategy[Any]:
    return st.sampled_from(values)


def _sparse(draw: st.DrawFn, /, **fields: st.SearchStrategy[Any]) -> dict[str, Any]:
    """Optional fields: each drawn, and left out where None came."""
    drawn = {name: draw(strategy) for name, strategy in fields.items()}
    return {name: value for name, value in drawn.items() if value is not None}


_IDS = (
    ("sku",),
    ("sku", "product_id"),
    ("sku", "variant_id", "product_id"),
    ("variant_id",),
    ("variant_id", "product_id"),
    ("product_id",),
)
_POOLS = {"sku": SKUS, "variant_id": VARIANTS, "product_id": PRODUCTS}


@st.composite
def product_lines(draw: st.DrawFn) -> dict[str, Any]:
    ids = {name: draw(st.sampled_from(_POOLS[name])) for name in draw(st.sampled_from(_IDS))}
    extra = _sparse(
        draw,
        category=_one_of(None, *CATEGORIES),
        discount=_one_of(None, None, *DISCOUNTS),
        replaces=_one_of(None, None, None, "", *SKUS, *VARIANTS, *PRODUCTS),
        offer_id=_one_of(None, None, *OFFERS),
    )
    return {
        **ids,
        **extra,
        "quantity": draw(_one_of(1, 1, 2, 3, 0)),
        "price": draw(_one_of(*PRICES)),
    }


@st.composite
def _shelved(draw: st.DrawFn, shelf: tuple[dict[str, Any], ...]) -> dict[str, Any]:
    return {**draw(st.sampled_from(shelf)), "quantity": draw(_one_of(1, 2, 3))}


@st.composite
def item_lists(draw: st.DrawFn) -> list[dict[str, Any]]:
    roles = draw(_one_of((None,), ("base", "addon")))
    items = []
    for plan in draw(st.lists(st.sampled_from(sorted(PLANS)), min_size=1, max_size=3)):
        optional = _sparse(
            draw,
            role=_one_of(*roles),
            category=_one_of(None, *CATEGORIES),
            interval_count=_one_of(None, None, 1, 3),
        )
        items.append(
            {
                "plan_id": plan,
                "product_id": PLANS[plan],
                "quantity": draw(_one_of(1, 1, 2, 5, 0)),
                "price": draw(_one_of(*PRICES)),
                "interval": draw(_one_of("month", "month", "year", "week", "day")),
                **optional,
            }
        )
    if not any(item["quantity"] for item in items):
        items[0]["quantity"] = 1
    return items


@st.composite
def _envelope(draw: st.DrawFn, kind: str, subject: str, offsets: tuple[float, ...]) -> dict[str, Any]:
    moment = ORIGIN + timedelta(seconds=draw(_one_of(*offsets)))
    if draw(_one_of(False, False, True)):
        zone = timedelta(hours=2)
        time = (moment + zone).replace(tzinfo=None).isoformat() + "+02:00"
    else:
        time = moment.replace(tzinfo=None).isoformat() + "Z"
    return {
        "specversion": "1.0",
        "source": "/shop",
        "type": kind,
        "time": time,
        "subject": subject,
        "datacontenttype": "application/json",
        **_sparse(
            draw,
            livemode=_one_of(None, None, None, None, True, False),
            entityversion=_one_of(None, None, 0, 1, 2),
        ),
    }


@st.composite
def checkout_events(
    draw: st.DrawFn,
    kind: str,
    checkout: str = "c-1",
    currency: str = "USD",
    offsets: tuple[float, ...] = NEAR,
    shelf: tuple[dict[str, Any], ...] = (),
) -> dict[str, Any]:
    """One event of a checkout, without its id; now and then in another currency. Its lines are often those of `shelf`."""
    data: dict[str, Any] = {
        "checkout_id": checkout,
        "currency": draw(_one_of(currency, currency, currency, currency, currency, "EUR")),
        **_sparse(
            draw,
            customer_id=_one_of(None, "", *CUSTOMERS),
            anonymous_id=_one_of(None, "anon-1"),
            channel=_one_of(None, *LABELS),
            segment=_one_of(None, *SEGMENTS),
        ),
    }
    lines = product_lines() | _shelved(shelf) if shelf else product_lines()
    carts = st.lists(lines, max_size=4)
    if kind == records.ORDER_REFUNDED:
        data["refund"] = {
            "refund_id": draw(_one_of("r-1", "r-2", "r-3")),
            **_sparse(
                draw,
                products=st.none() | carts,
                amount=_one_of(None, "0", "0.01", "1", "2.50", "7", "1000000"),
            ),
        }
    elif kind != records.ORDER_CANCELED:
        data["products"] = draw(carts)
        if draw(_one_of(False, False, False, True)):
            data["intent"] = {"products": draw(carts)}
    return {**draw(_envelope(kind, f"checkout/{checkout}", offsets)), "data": data}


@st.composite
def subscription_events(
    draw: st.DrawFn,
    kind: str,
    subscription: str = "sub-1",
    currencies: tuple[str, ...] = ("USD",),
    offsets: tuple[float, ...] = NEAR,
) -> dict[str, Any]:
    """One event of a subscription, without its id.

    Where the currency may change, renewals have items and only the events that put items in force bring an intent: what
    an amount without items means in another currency is nowhere said.
    """
    acts = kind in (records.CREATED, records.CONVERTED, records.CHANGED, records.RENEWED)
    data: dict[str, Any] = {
        "subscription_id": subscription,
        "customer_id": SUBSCRIPTIONS[subscription],
        "currency": draw(_one_of(*currencies)),
        **_sparse(draw, channel=_one_of(None, *LABELS), segment=_one_of(None, *SEGMENTS)),
    }
    statuses = (None, "trialing", "active") if kind == records.CREATED else (None, None, None, "active", "trialing")
    data |= _sparse(draw, status=_one_of(*statuses))
    if kind == records.RENEWED and len(currencies) == 1:
        data |= _sparse(draw, items=st.none() | item_lists())
    elif acts or kind == records.SCHEDULED:
        data["items"] = draw(item_lists())
    if acts and draw(_one_of(False, False, True)):
        data["previous"] = {"items": draw(item_lists())}
    if (acts or len(currencies) == 1) and draw(_one_of(False, False, False, False, True)):
        data["intent"] = {"items": draw(item_lists())}
    return {**draw(_envelope(kind, f"subscription/{subscription}", offsets)), "data": data}


@st.composite
def erasures(draw: st.DrawFn, customer: str) -> dict[str, Any]:
    """A customer who is to be forgotten, without an id."""
    return {**draw(_envelope(records.ERASED, f"customer/{customer}", NEAR)), "data": {"customer_id": customer}}


# How a story may begin; what follows is anything.
_CHECKOUT_OPENINGS: tuple[tuple[str, ...], ...] = (
    (records.STARTED, records.COMPLETED),
    (records.STARTED, records.COMPLETED, records.ORDER_REFUNDED),
    (records.STARTED, records.COMPLETED, records.ORDER_UPDATED),
    (records.UPDATED, records.COMPLETED),
    (),
)
_SUBSCRIPTION_OPENINGS: tuple[tuple[str, ...], ...] = (
    (records.CREATED, records.CHANGED),
    (records.CREATED, records.CONVERTED, records.CHANGED),
    (records.CREATED, records.CHANGED, records.CHANGED, records.REFUNDED),
    (records.CREATED, records.RENEWED),
    (records.CHANGED, records.CONVERTED),
    (records.CREATED,),
    (),
)


@st.composite
def _story(draw: st.DrawFn, entity: str, size: int) -> list[dict[str, Any]]:
    offsets = draw(_one_of(NEAR, NEAR, FAR))
    if entity in SUBSCRIPTIONS:
        currencies = draw(_one_of(("USD",), ("USD",), ("USD",), ("USD", "EUR")))
        kinds = _plot(_SUBSCRIPTION_OPENINGS, records.SUBSCRIPTION_TYPES)
        return [draw(subscription_events(kind, entity, currencies, offsets)) for kind in draw(kinds)[:size]]
    currency = draw(_one_of(*CURRENCIES))
    shelf = tuple(draw(st.lists(product_lines(), min_size=1, max_size=3)))
    kinds = _plot(_CHECKOUT_OPENINGS, records.CHECKOUT_TYPES)
    return [draw(checkout_events(kind, entity, currency, offsets, shelf)) for kind in draw(kinds)[:size]]


@st.composite
def _plot(draw: st.DrawFn, openings: tuple[tuple[str, ...], ...], kinds: tuple[str, ...]) -> list[str]:
    return [*draw(st.sampled_from(openings)), *draw(st.lists(st.sampled_from(kinds), max_size=3))]


@st.composite
def _stream(draw: st.DrawFn, entities: tuple[str, ...], size: int, *, erasing: bool) -> list[dict[str, Any]]:
    """Stories told at once, in some order, some events under an identity that was there before."""
    chosen = draw(st.lists(st.sampled_from(entities), min_size=1, max_size=3, unique=True))
    bodies = [event for entity in chosen for event in draw(_story(entity, size // len(chosen)))]
    if draw(st.booleans()):
        bodies = draw(st.permutations(bodies))
    for customer in draw(st.lists(st.sampled_from(ERASABLE), max_size=2)) if erasing else ():
        bodies.insert(draw(st.integers(0, len(bodies))), draw(erasures(customer)))
    events: list[dict[str, Any]] = []
    for position, body in enumerate(bodies):
        # The letter makes the order of ids differ from the order of arrival.
        event = {"id": f"{draw(_one_of('a', 'b', 'c'))}-{position:02}", **body}
        events.append(event)
        twin = draw(_one_of(*("none",) * 12, "same", "body", "source"))
        earlier = draw(st.sampled_from(events))
        if twin == "same":
            events.append(earlier)
        elif twin != "none" and earlier is not event:
            source = earlier["source"] if twin == "body" else "/other-shop"
            renamed = {**event, "id": earlier["id"], "source": source}
            if not any(_unordered(renamed, other) for other in events):
                events[-1] = renamed
    return events


def _unordered(event: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether nothing but the time may order them: two sources gave the same id to facts of one type and entity."""
    same = all(event[name] == other[name] for name in ("id", "type", "subject"))
    return same and event["source"] != other["source"]


def checkout_streams(size: int = 9, *, erasing: bool = False) -> st.SearchStrategy[list[dict[str, Any]]]:
    """About `size` events of up to three checkouts, in the order of arrival; with `erasing`, customers are erased among them."""
    return _stream(CHECKOUTS, size, erasing=erasing)


def subscription_streams(size: int = 9, *, erasing: bool = False) -> st.SearchStrategy[list[dict[str, Any]]]:
    """About `size` events of up to three subscriptions of two customers, in the order of arrival."""
    return _stream(tuple(SUBSCRIPTIONS), size, erasing=erasing)


def streams(size: int = 12) -> st.SearchStrategy[list[dict[str, Any]]]:
    """Both journeys in one file."""
    return _stream((*CHECKOUTS, *SUBSCRIPTIONS), size, erasing=True)


@st.composite
def rejected_lines(draw: st.DrawFn) -> bytes:
    """One record that is no event."""
    wrong = draw(_one_of("bytes", "envelope", "data", "line"))
    if wrong == "bytes":
        return draw(st.sampled_from(GARBAGE))
    event = {"id": "bad", **draw(checkout_events(records.STARTED) | subscription_events(records.CREATED))}
    if wrong == "envelope":
        event |= draw(st.sampled_from(BAD_ENVELOPES))
    else:
        name = "products" if "checkout_id" in event["data"] else "items"
        if wrong == "data":
            bad = draw(st.sampled_from(BAD_DATA[name]))
        else:
            good = draw(product_lines() if name == "products" else item_lists().map(lambda items: items[0]))
            bad = {name: [good, {**good, **draw(st.sampled_from(BAD_LINES))}]}
        event["data"] = {**event["data"], **bad}
    return json.dumps(event).encode()


@st.composite
def files(draw: st.DrawFn, size: int = 14) -> list[bytes]:
    """A file of both journeys with rejected records and blank lines strewn in."""
    lines = as_lines(draw(streams(size)))
    for record in draw(st.lists(rejected_lines() | st.just(b""), max_size=3)):
        lines.insert(draw(st.integers(0, len(lines))), record)
    return lines


def moments() -> st.SearchStrategy[datetime]:
    """Times to look at the windows at, on whole 5 s: on and around the edges that the events lie on."""
    seconds = sorted({int(offset) // 5 * 5 + step for offset in FAR for step in (0, 5, 300, 3_600, 86_400)})
    return st.sampled_from([ORIGIN + timedelta(seconds=second) for second in seconds])
