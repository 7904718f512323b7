"""Hypothesis strategies for small, nasty streams of events.

Everything is drawn from tiny pools so that times, lines, identities and customers collide. Carts and items usually
follow from those before them, by a few changes, so that each row of the tables of verdicts is met often. What is drawn stays
within what the specification and docs/reference/semantics.md decide. Where they are silent the strategies keep away:

- One pool of ids per kind of id: a sku never equals a variant id, a plan has one product.
- One customer per subscription; fewer label values and currencies than the bounds; at most 3 orders of a checkout.
- No items on canceled and refunded subscription events. `previous` always has an item with a quantity.
- Where a subscription's currency may change, renewals have items, and only events that put items in force have an
  intent: what an amount without items means in another currency is not specified.
- Decimal quantities have at most 3 digits after the point as they are written, and no exponent. `share` is a string.
- All times lie within 30 days, and no stream is long enough for the limits of what an entity remembers.
- Facts that only their source could order are left out.

With `offers`, a stream also has what offers and drivers need: events about offers, items with an offer, long names and long carts. There:

- No event about an offer has the identity of another event, unless it is the same event delivered again.
- What a limit of a day makes `other` does not occur; that of the offers of one entity is reached.
"""

from __future__ import annotations

import itertools
import json
import math
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from hypothesis import strategies as st

from oracle import records

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

ORIGIN = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
# Seconds after ORIGIN: in one pane, on the edges of panes and windows, exactly and just over 24 h (swaps, returns) and
# 72 h (lateness). GAPS lie between the events of a stream that arrives in the order of time.
NEAR = (0, 0.001, 1, 5, 60, 300, 301, 3_600, 3_601, 7_200, 86_400)
FAR = (*NEAR, 86_400.5, 90_000, 172_800, 259_200, 259_200.5, 350_000, 2_500_000)
GAPS = (0, 1, 60, 3_600, 50_000, 86_400, 86_401, 100_000)
# Some that are free or below a cent, and some that differ by less than a cent.
PRICES = ("10.00", "15", "20", "20", "30", "19.99", "2.50", "1.10", "100", "33.3333", "33.334", "0.005", "0.015", "0")
DISCOUNTS = ("0", "0.01", "0.50", "1", "3.3", "1000")
CURRENCIES = ("USD", "USD", "EUR", "JPY", "KWD")
LABELS = ("", "web", "app", "store")
SEGMENTS = ("", "new", "loyal")
CATEGORIES = ("", "shoes", "care", "hats")
SKUS = ("sku-1", "sku-2", "sku-3", "sku-4", "sku-5")
VARIANTS = ("var-1", "var-2", "var-3")
PRODUCTS = ("prod-1", "prod-2", "prod-3")
NEW_SKUS = ("sku-6", "sku-7", "sku-8")
QUANTITIES = (1, 1, 1, 2, 3, 0, 0.5, 1.125, "2", "0.250")
ORDERS: tuple[tuple[str | None, ...], ...] = (
    (None,),
    (None,),
    ("o-1",),
    ("o-1", "o-2"),
    ("o-1", "o-2", "o-3"),
    (None, "o-1"),
    (None, "o-1", "o-2"),
)
SHARES = (None, None, "", "0", "0.001", "0.25", "0.5", "0.9", "1")
CUSTOMERS = ("cust-1", "cust-2")
ERASABLE = (*CUSTOMERS, "anon-1", "cust-3")
OFFERS = ("", "offer-1", "offer-2")
# The last one is of no line or item. An entity may have more than it has places for.
MORE_OFFERS = ("offer-1", "offer-2", "offer-3", "other", "offer-9")
CROWDS = (*(0,) * 7, 61, 64)
SLOTS = (None, None, "", "cart", "cart", "e-mail", "unknown")
# Who is shown offers and never buys, by the name that begins like the others' names.
ONLOOKERS = ("c-9", "sub-9")
LONG_NAMES = {name: f"{name}-{'long-' * 12}" for name in ("sku-3", "prod-2", "sku-6", "plan-2", "plan-4")}
PLANS = {"plan-1": "app", "plan-2": "app", "plan-3": "seat", "plan-4": "storage", "plan-5": "seat", "plan-6": "desk"}
CHECKOUTS = ("c-1", "c-2", "c-3")
SUBSCRIPTIONS = {"sub-1": "cust-1", "sub-2": "cust-1", "sub-3": "cust-2", "sub-4": "cust-1"}

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
BAD_QUANTITIES: dict[str, tuple[Any, ...]] = {
    "products": ("1.2345", 0.0625, "-1", "1e3", "one", -0.5, [1]),
    "items": (1.5, "1", "0.5", [1]),
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
    ("sku",),
    ("sku", "product_id"),
    ("sku", "product_id"),
    ("sku", "product_id"),
    ("sku", "variant_id", "product_id"),
    ("variant_id",),
    ("variant_id", "product_id"),
    ("product_id",),
)
_POOLS = {"sku": SKUS, "variant_id": VARIANTS, "product_id": PRODUCTS}
_NAMES = _one_of(*SKUS, *VARIANTS, *PRODUCTS)


@st.composite
def product_lines(draw: st.DrawFn) -> dict[str, Any]:
    ids = {name: draw(st.sampled_from(_POOLS[name])) for name in draw(st.sampled_from(_IDS))}
    extra = _sparse(
        draw,
        category=_one_of(None, *CATEGORIES),
        discount=_one_of(None, None, None, *DISCOUNTS),
        replaces=_one_of(None, None, None, None, None, "", *SKUS, *VARIANTS, *PRODUCTS) | _some_names,
        offer_id=_one_of(None, None, *OFFERS),
    )
    return {
        **ids,
        **extra,
        "quantity": draw(_one_of(*QUANTITIES)),
        "price": draw(_one_of(*PRICES)),
    }


_some_names = st.lists(_NAMES | st.just(""), max_size=3)


@st.composite
def _other_quantity(draw: st.DrawFn, line: dict[str, Any]) -> list[dict[str, Any]]:
    """More, fewer, or equally many units, often at another price."""
    return [{**line, "quantity": draw(_one_of(*QUANTITIES, 5)), "price": draw(_one_of(line["price"], *PRICES))}]


@st.composite
def _other_variant(draw: st.DrawFn, line: dict[str, Any]) -> list[dict[str, Any]]:
    """The same product under another sku or variant_id, in place of the line or beside it."""
    shared = next(name for name in ("product_id", "variant_id", "sku") if name in line)
    other = {"sku": draw(_one_of(*SKUS)), shared: line[shared], "quantity": 1, "price": draw(_one_of(*PRICES))}
    return [other, line] if draw(st.booleans()) else [other]


@st.composite
def _substitute(draw: st.DrawFn, line: dict[str, Any]) -> list[dict[str, Any]]:
    """Something else of the same category."""
    category = {name: value for name, value in line.items() if name == "category"}
    return [{"sku": draw(_one_of(*NEW_SKUS)), **category, "quantity": 1, "price": draw(_one_of(*PRICES))}]


@st.composite
def _replacement(draw: st.DrawFn, line: dict[str, Any]) -> list[dict[str, Any]]:
    """A new line that names the old one, alone or with others."""
    name = next(line[kind] for kind in ("sku", "variant_id", "product_id") if kind in line)
    replaces = draw(st.just(name) | st.tuples(st.just(name), _NAMES).map(list))
    other = draw(product_lines())
    return [{**other, "sku": draw(_one_of(*NEW_SKUS)), "replaces": replaces}]


@st.composite
def _with_gift(draw: st.DrawFn, line: dict[str, Any]) -> list[dict[str, Any]]:
    """A free unit of the same thing beside it."""
    gift = {**line, "quantity": 1, **draw(_one_of("price", "discount").map(lambda way: _FREE[way]))}
    return draw(st.permutations([line, gift]))


_FREE: dict[str, dict[str, Any]] = {"price": {"price": "0"}, "discount": {"discount": "1000"}}
_CHANGES = (_other_quantity, _other_variant, _substitute, _replacement, _with_gift)


@st.composite
def _final_carts(draw: st.DrawFn, wanted: tuple[dict[str, Any], ...]) -> list[dict[str, Any]]:
    """What is bought by somebody who came for `wanted`: each line kept, dropped or changed, and some additions."""
    if draw(_one_of(False, False, False, True)):
        return [draw(_something_else()) for _ in range(draw(_one_of(1, 2)))]
    bought: list[dict[str, Any]] = []
    for line in wanted:
        change = draw(_one_of("keep", "keep", "drop", *range(len(_CHANGES))))
        if change == "keep":
            bought.append(line)
        elif change != "drop":
            bought += draw(_CHANGES[change](line))
    return bought + draw(st.lists(product_lines(), max_size=2))


@st.composite
def _something_else(draw: st.DrawFn) -> dict[str, Any]:
    category = _sparse(draw, category=_one_of(None, None, *CATEGORIES))
    return {"sku": draw(_one_of(*NEW_SKUS)), **category, "quantity": 1, "price": draw(_one_of(*PRICES))}


@st.composite
def _shelved(draw: st.DrawFn, shelf: tuple[dict[str, Any], ...]) -> dict[str, Any]:
    return {**draw(st.sampled_from(shelf)), "quantity": draw(_one_of(1, 2, 3, 0.5))}


@st.composite
def item_lists(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Items of which one has a quantity. Roles are given for all, for none or for some."""
    roles = draw(_one_of((None,), ("base", "addon"), (None, "addon"), (None, None, "base", "addon")))
    plans = draw(st.lists(st.sampled_from(sorted(PLANS)), min_size=1, max_size=3))
    items = [draw(_items(plan, roles)) for plan in plans]
    if not any(item["quantity"] for item in items):
        items[0]["quantity"] = 1
    return items


@st.composite
def _items(draw: st.DrawFn, plan: str, roles: tuple[str | None, ...]) -> dict[str, Any]:
    optional = _sparse(
        draw,
        role=_one_of(*roles),
        category=_one_of(None, *CATEGORIES),
        interval_count=_one_of(None, None, 1, 3),
    )
    return {
        "plan_id": plan,
        "product_id": PLANS[plan],
        "quantity": draw(_one_of(1, 1, 2, 5, 0)),
        "price": draw(_one_of(*PRICES)),
        "interval": draw(_one_of("month", "month", "month", "year", "week", "day")),
        **optional,
    }


@st.composite
def _next_items(draw: st.DrawFn, items: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The items after a change: other quantities, prices (tiers) and plans, add-ons that come and go, or none."""
    change = draw(
        _one_of("same", "price", "units", "units", "plan", "plan", "add", "drop", "drop", "reverse", "none", "new")
    )
    chosen = draw(st.sampled_from(items)) if items else {}
    rest = [item for item in items if item is not chosen]
    if change == "new" or not items:
        return draw(item_lists())
    if change == "price":
        return [{**chosen, "price": draw(_one_of(*PRICES))}, *rest]
    if change == "units":
        price = draw(_one_of(chosen["price"], chosen["price"], *PRICES))
        return [{**chosen, "quantity": draw(_one_of(1, 2, 3, 5)), "price": price}, *rest]
    if change == "plan":
        same_product = [plan for plan, product in sorted(PLANS.items()) if product == chosen["product_id"]]
        plan = draw(st.sampled_from(same_product) | st.sampled_from(sorted(PLANS)))
        return [{**chosen, "plan_id": plan, "product_id": PLANS[plan], "price": draw(_one_of(*PRICES))}, *rest]
    if change == "add":
        return [*items, draw(_items(draw(st.sampled_from(sorted(PLANS))), (None, "addon")))]
    if change == "drop":
        return rest or items
    if change == "reverse":
        return items[::-1]
    if change == "none":
        way = draw(_one_of("quantity", "price", "list"))
        if way == "list":
            return []
        return [{**item, way: 0 if way == "quantity" else "0"} for item in items]
    return items


def _utc(offset: float) -> str:
    return (ORIGIN + timedelta(seconds=offset)).replace(tzinfo=None).isoformat() + "Z"


@st.composite
def _envelope(draw: st.DrawFn, kind: str, subject: str, offsets: tuple[float, ...]) -> dict[str, Any]:
    offset = draw(_one_of(*offsets))
    moment = ORIGIN + timedelta(seconds=offset)
    if draw(_one_of(False, False, True)):
        zone = timedelta(hours=2)
        time = (moment + zone).replace(tzinfo=None).isoformat() + "+02:00"
    else:
        time = _utc(offset)
    return {
        "specversion": "1.0",
        "source": "/shop",
        "type": kind,
        "time": time,
        "subject": subject,
        "datacontenttype": "application/json",
        **_sparse(
            draw,
            livemode=_one_of(*(None,) * 20, True, "true", "false", False),
            entityversion=_one_of(None, None, None, 0, 1, 2, "1"),
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
    bought: tuple[dict[str, Any], ...] = (),
    orders: tuple[str | None, ...] = (None,),
) -> dict[str, Any]:
    """One event of a checkout, without its id; now and then in another currency.

    Its lines are often those of `shelf`, or of `bought` once there is an order, all of them or a part.
    """
    is_cart = kind in (records.STARTED, records.UPDATED)
    data: dict[str, Any] = {
        "checkout_id": checkout,
        "currency": draw(_one_of(*(currency,) * 11, "EUR")),
        **_sparse(
            draw,
            customer_id=_one_of(None, "", *CUSTOMERS),
            anonymous_id=_one_of(None, "anon-1"),
            channel=_one_of(None, *LABELS),
            segment=_one_of(None, *SEGMENTS),
            order_id=st.none() if is_cart else st.sampled_from((None, *orders)),
        ),
    }
    known = shelf if is_cart else bought
    lines = product_lines() | _shelved(known) if known else product_lines()
    carts = st.lists(lines, max_size=4)
    if known:
        half = len(known) // 2
        parts = [known] if is_cart else [known, known, known[:half], known[half:]]
        whole_or_part = st.sampled_from(parts).map(list)
        carts = carts | whole_or_part | whole_or_part | whole_or_part
    if kind == records.ORDER_REFUNDED:
        given_back = st.lists(product_lines() | _shelved(known), max_size=2) if known else carts
        data["refund"] = {
            "refund_id": draw(_one_of("r-1", "r-2", "r-3")),
            **_sparse(
                draw,
                products=st.none() | st.just([]) | given_back | given_back,
                amount=_one_of(None, None, "0", "0.01", "1", "2.50", "7", "1000000"),
            ),
        }
    elif kind != records.ORDER_CANCELED:
        data["products"] = draw(carts)
        if draw(_one_of(*(False,) * 7, True)):
            data["intent"] = {"products": draw(st.lists(lines, max_size=3))}
    return {**draw(_envelope(kind, f"checkout/{checkout}", offsets)), "data": data}


@st.composite
def subscription_events(
    draw: st.DrawFn,
    kind: str,
    subscription: str = "sub-1",
    currencies: tuple[str, ...] = ("USD",),
    offsets: tuple[float, ...] = NEAR,
    past: tuple[list[dict[str, Any]], ...] = (),
    items: tuple[list[dict[str, Any]], ...] = (),
) -> dict[str, Any]:
    """One event of a subscription, without its id. Its items often follow from the newest of the `past`, or are one of it; or they are one of `items`.

    These are worth something.
    """
    acts = kind in (records.CREATED, records.CONVERTED, records.CHANGED, records.RENEWED)
    one_currency = len(currencies) == 1
    data: dict[str, Any] = {
        "subscription_id": subscription,
        "customer_id": SUBSCRIPTIONS[subscription],
        "currency": draw(_one_of(*currencies)),
        **_sparse(draw, channel=_one_of(None, *LABELS), segment=_one_of(None, *SEGMENTS)),
    }
    statuses = (
        (None, None, "trialing", "active") if kind == records.CREATED else (None, None, None, "active", "trialing")
    )
    data |= _sparse(draw, status=_one_of(*statuses))
    new = item_lists()
    if items:
        new = st.sampled_from(items)
    elif past:
        new = _next_items(past[-1]) | _next_items(past[-1]) | st.sampled_from(past)
    if kind == records.RENEWED and one_currency:
        data |= _sparse(draw, items=st.none() | new)
    elif kind == records.RENEWED:
        data["items"] = draw(new.filter(_has_units))
    elif acts or kind == records.SCHEDULED:
        data["items"] = draw(new)
    if kind == records.CREATED:
        data |= _sparse(draw, checkout_id=_one_of(None, None, None, None, None, "", "c-1"))
    if acts and draw(_one_of(False, False, False, True)):
        data["previous"] = {"items": draw(item_lists())}
    may_have_intent = one_currency or (acts and _has_worth(data["items"]))
    if may_have_intent and draw(_one_of(False, False, False, False, False, True)):
        data["intent"] = {"items": draw(item_lists() | st.just([]))}
    if kind == records.REFUNDED and draw(_one_of(False, True, True)):
        data["refund"] = _sparse(draw, refund_id=_one_of(None, "", "r-1", "r-2"), share=_one_of(*SHARES))
    return {**draw(_envelope(kind, f"subscription/{subscription}", offsets)), "data": data}


def _has_units(items: list[dict[str, Any]]) -> bool:
    return any(item["quantity"] for item in items)


def _worth(items: list[dict[str, Any]]) -> float:
    return math.fsum(item["quantity"] * float(item["price"]) for item in items)


def _has_worth(items: list[dict[str, Any]]) -> bool:
    return _worth(items) > 0


@st.composite
def erasures(draw: st.DrawFn, customer: str) -> dict[str, Any]:
    """A customer who is to be forgotten, without an id."""
    return {**draw(_envelope(records.ERASED, f"customer/{customer}", NEAR)), "data": {"customer_id": customer}}


# How a story may begin; what follows is anything.
_CHECKOUT_OPENINGS: tuple[tuple[str, ...], ...] = (
    (records.STARTED, records.COMPLETED),
    (records.STARTED, records.COMPLETED, records.ORDER_REFUNDED),
    (records.STARTED, records.COMPLETED, records.COMPLETED),
    (records.STARTED, records.COMPLETED, records.COMPLETED, records.ORDER_REFUNDED),
    (records.STARTED, records.COMPLETED, records.COMPLETED, records.ORDER_CANCELED),
    (records.STARTED, records.COMPLETED, records.ORDER_UPDATED),
    (records.STARTED, records.COMPLETED, records.ORDER_REFUNDED, records.ORDER_REFUNDED),
    (records.UPDATED, records.COMPLETED),
    (),
)
_SUBSCRIPTION_OPENINGS: tuple[tuple[str, ...], ...] = (
    (records.CREATED, records.CHANGED),
    (records.CREATED, records.CHANGED, records.CHANGED, records.CHANGED),
    (records.CREATED, records.CONVERTED, records.CHANGED),
    (records.CREATED, records.CHANGED, records.CHANGED, records.REFUNDED),
    (records.CREATED, records.CHANGED, records.REFUNDED, records.REFUNDED),
    (records.CREATED, records.CHANGED, records.CANCELED),
    (records.CREATED, records.CANCELED, records.CREATED, records.CHANGED),
    (records.CREATED, records.CHANGED, records.CANCELED, records.CREATED),
    (records.CREATED, records.CANCELED, records.CHANGED, records.CHANGED),
    (records.CREATED, records.CANCELED, records.RENEWED),
    (records.CREATED, records.CANCELED),
    (records.CREATED, records.CANCELED),
    (records.CREATED, records.RENEWED),
    (records.CHANGED, records.CONVERTED),
    (records.CREATED, records.CONVERTED),
    (),
)


@st.composite
def _story(draw: st.DrawFn, entity: str, size: int) -> list[dict[str, Any]]:
    offsets = draw(_one_of(NEAR, NEAR, FAR))
    if entity in SUBSCRIPTIONS:
        return draw(_history(entity, size, offsets))
    currency = draw(_one_of(*CURRENCIES))
    shelf = tuple(draw(st.lists(product_lines(), min_size=1, max_size=4)))
    shelf = ({**shelf[0], "quantity": draw(_one_of(1, 2))}, *shelf[1:])
    bought = tuple(draw(_final_carts(shelf)))
    orders = draw(st.sampled_from(ORDERS))
    kinds = _plot(_CHECKOUT_OPENINGS, records.CHECKOUT_TYPES)
    return [
        draw(checkout_events(kind, entity, currency, offsets, shelf, bought, orders)) for kind in draw(kinds)[:size]
    ]


@st.composite
def _history(draw: st.DrawFn, entity: str, size: int, offsets: tuple[float, ...]) -> list[dict[str, Any]]:
    """The events of a subscription; the items of each follow from those before it that are worth something."""
    currencies = draw(_one_of(("USD",), ("USD",), ("USD",), ("USD",), ("USD", "EUR")))
    kinds = draw(_plot(_SUBSCRIPTION_OPENINGS, records.SUBSCRIPTION_TYPES))[:size]
    if draw(_one_of(False, False, True)):
        few = draw(_few_lists())
        turns = itertools.cycle(draw(_one_of((1, 0), (0, 1), (1, 0, 2), (0, 1, 2))))
        return [
            draw(subscription_events(kind, entity, currencies, offsets, items=(few[turn],)))
            for kind, turn in zip(kinds, turns, strict=False)
        ]
    past: list[list[dict[str, Any]]] = []
    events = []
    for kind in kinds:
        events.append(draw(subscription_events(kind, entity, currencies, offsets, tuple(past))))
        items = events[-1]["data"].get("items") or []
        if _has_worth(items):
            past.append(items)
    return events


@st.composite
def _few_lists(draw: st.DrawFn) -> tuple[list[dict[str, Any]], ...]:
    """Three lists of items that are worth something: one of them is often what the customer once came for."""
    first = draw(item_lists().filter(_has_worth))
    second = draw(_next_items(first).filter(_has_worth))
    lower, higher = sorted((first, second), key=_worth)
    return lower, higher, draw(_next_items(higher).filter(_has_worth))


@st.composite
def _successors(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Subscriptions of one customer, one after the other: swaps, additional products, returns."""
    few = draw(_few_lists())
    currencies = draw(_one_of(("USD",), ("USD",), ("USD", "EUR")))
    ending = (records.CREATED, records.CANCELED)
    before = (ending, ending, (records.CREATED, records.CHANGED, records.CANCELED), (records.CREATED, records.CHANGED))
    after = ((records.CREATED,), (records.CREATED, records.CONVERTED), (records.CREATED, records.CHANGED), ending)
    told = [("sub-1", kind) for kind in draw(st.sampled_from(before))]
    if draw(st.booleans()):
        told = draw(st.permutations([*told, *(("sub-4", kind) for kind in ending)]))
    told += [("sub-2", kind) for kind in draw(st.sampled_from(after))]
    told += draw(st.lists(st.tuples(_one_of("sub-1", "sub-4"), _one_of(*records.SUBSCRIPTION_TYPES)), max_size=3))
    return [draw(subscription_events(kind, entity, currencies, NEAR, items=few)) for entity, kind in told]


@st.composite
def _plot(draw: st.DrawFn, openings: tuple[tuple[str, ...], ...], kinds: tuple[str, ...]) -> list[str]:
    return [*draw(st.sampled_from(openings)), *draw(st.lists(st.sampled_from(kinds), max_size=4))]


@st.composite
def _stream(
    draw: st.DrawFn, entities: tuple[str, ...], size: int, *, erasing: bool, offers: bool
) -> list[dict[str, Any]]:
    """Stories told at once, in some order, some events under an identity that was there before.

    Half of the streams arrive in the order of time, so that what happens to one subscription is known to the next.
    """
    if "sub-1" in entities and draw(_one_of(False, False, True)):
        bodies = draw(_successors())
    else:
        chosen = draw(st.lists(st.sampled_from(entities), min_size=1, max_size=3, unique=True))
        bodies = [event for entity in chosen for event in draw(_story(entity, max(size // len(chosen), 5)))]
    order = draw(_one_of("told", "mixed", "timed", "timed"))
    if order == "mixed":
        bodies = draw(st.permutations(bodies))  # restated, unmatched and stale
    if order == "timed":
        gaps = draw(st.lists(_one_of(*GAPS), min_size=len(bodies), max_size=len(bodies)))
        for body, offset in zip(bodies, itertools.accumulate(gaps), strict=True):
            body["time"] = _utc(offset)
    if offers:
        bodies = draw(_with_offers(bodies))
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
    if offers:
        here = list(dict.fromkeys(body["subject"].split("/")[1] for body in bodies if body["type"] != records.ERASED))
        onlookers = [name for name in ONLOOKERS if any(name[0] == entity[0] for entity in entities)]
        events = draw(_among(events, [*here, *onlookers]))
    return events


# --- what offers and drivers need


@st.composite
def _with_offers(draw: st.DrawFn, bodies: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The same facts, with items that an offer brought, and now and then with long names and long lists."""
    # What the lines call offer-2 has another name in some streams.
    renamed = {"offer-2": draw(_one_of(*MORE_OFFERS[1:4]))}
    renamed |= {name: LONG_NAMES[name] for name in LONG_NAMES if draw(_one_of(*(False,) * 4, True))}
    brought: dict[tuple[str, str], str | None] = {}
    before: dict[str, int] = {}
    changed = []
    for body in bodies:
        text = json.dumps(body)
        for name, other in renamed.items():
            text = text.replace(f'"{name}"', f'"{other}"')
        event = json.loads(text)
        data = event["data"]
        # Its first events bring no offer, and now and then a later one does not.
        if event["subject"] not in before:
            before[event["subject"]] = draw(_one_of(0, 0, 1, 2, 3))
        is_bare = before[event["subject"]] > 0 or draw(_one_of(False, False, False, False, True))
        before[event["subject"]] -= 1
        for holder in (data, data.get("previous"), data.get("intent")):
            for item in (holder or {}).get("items") or []:
                key = event["subject"], item["plan_id"]
                if key not in brought:
                    brought[key] = draw(_one_of(None, "", *MORE_OFFERS[:-1]))
                if brought[key] is not None and not is_bare:
                    item["offer_id"] = brought[key]
        if event["type"] == records.REFUNDED and draw(st.booleans()):
            data["refund"] = {**data.get("refund", {}), "share": draw(_one_of("0.25", "0.5", "1"))}
        more = draw(_one_of(*(False,) * 9, True))
        if more and data.get("products"):
            data["products"] += [{"sku": f"sku-{20 + step}", "quantity": 1, "price": f"{step}.50"} for step in range(8)]
        if more and data.get("items"):
            data["items"] += [
                {"plan_id": f"plan-{20 + step}", "product_id": f"add-{step}", "role": "addon", "quantity": 1}
                | {"price": f"{step}.50", "interval": "month"}
                for step in range(8)
            ]
        changed.append(event)
    return changed


@st.composite
def offer_events(
    draw: st.DrawFn, entity: str, offsets: tuple[float, ...] = NEAR, names: tuple[str, ...] = MORE_OFFERS
) -> dict[str, Any]:
    """An offer is shown or declined, without the event's id."""
    journey = "subscription" if entity.startswith("sub") else "checkout"
    body = draw(_envelope(draw(_one_of(*records.OFFER_TYPES)), f"{journey}/{entity}", offsets))
    offer = draw(_one_of(*names))
    data = {f"{journey}_id": entity, "offer_id": offer, **_sparse(draw, slot=_one_of(*SLOTS))}
    return {**body, "data": data}


@st.composite
def _among(draw: st.DrawFn, events: list[dict[str, Any]], entities: list[str]) -> list[dict[str, Any]]:
    """The events, with others about offers strewn in: early and late ones, repeats, and some that little orders."""
    told: list[dict[str, Any]] = []
    carried: dict[str, list[str]] = {entity: [] for entity in entities}
    for each in events:
        for line in [*(each["data"].get("products") or []), *(each["data"].get("items") or [])]:
            if line.get("offer_id"):
                carried[each["subject"].split("/")[1]].append(line["offer_id"])
    for number in range(draw(st.integers(1, 8))):
        entity = draw(st.sampled_from(entities))
        names = tuple(carried[entity]) if carried[entity] and draw(st.booleans()) else MORE_OFFERS
        body = draw(offer_events(entity, draw(_one_of(NEAR, NEAR, FAR)), names))
        event = {"id": f"{draw(_one_of('a', 'b', 'c'))}-offer-{number:02}", **body}
        told.append(event)
        slot = {"slot": draw(_one_of("cart", "e-mail", "banner"))}
        twin = draw(_one_of("none", "none", "none", "same", "version", "source"))
        if twin == "same":
            told.append(event)
        elif twin == "version":
            version = {"entityversion": draw(_one_of(0, 1, 2, 3))}
            told.append({**event, **version, "id": f"b-twin-{number:02}", "data": {**event["data"], **slot}})
        elif twin == "source":
            told.append({**event, "source": draw(_one_of("/an-app", "/web")), "data": {**event["data"], **slot}})
    mixed = list(events)
    for event in told:
        mixed.insert(draw(st.integers(0, len(mixed))), event)
    at, crowd = draw(st.integers(0, len(mixed))), draw(_one_of(*CROWDS))
    return [*mixed[:at], *_crowd(entities[0], crowd), *mixed[at:]]


def _crowd(entity: str, count: int) -> list[dict[str, Any]]:
    """An entity is shown many offers."""
    journey = "subscription" if entity.startswith("sub") else "checkout"
    envelope = {"specversion": "1.0", "source": "/shop", "type": records.OFFER_TYPES[0], "time": _utc(5)}
    return [
        {**envelope, "id": f"crowd-{number:02}", "subject": f"{journey}/{entity}"}
        | {"data": {f"{journey}_id": entity, "offer_id": f"crowd-{number:02}"}}
        for number in range(count)
    ]


def _unordered(event: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether nothing but the time may order them: two sources gave the same id to facts of one type and entity."""
    same = all(event[name] == other[name] for name in ("id", "type", "subject"))
    return same and event["source"] != other["source"]


def checkout_streams(
    size: int = 12, *, erasing: bool = False, offers: bool = False
) -> st.SearchStrategy[list[dict[str, Any]]]:
    """About `size` events of up to three checkouts, in the order of arrival.

    With `erasing`, customers are erased among them; with `offers`, offers are shown and declined, also to somebody who never buys.
    """
    return _stream(CHECKOUTS, size, erasing=erasing, offers=offers)


def subscription_streams(
    size: int = 12, *, erasing: bool = False, offers: bool = False
) -> st.SearchStrategy[list[dict[str, Any]]]:
    """About `size` events of up to three subscriptions of two customers, in the order of arrival; the rest as above."""
    return _stream(tuple(SUBSCRIPTIONS), size, erasing=erasing, offers=offers)


def streams(size: int = 14, *, offers: bool = False) -> st.SearchStrategy[list[dict[str, Any]]]:
    """Both journeys in one file."""
    return _stream((*CHECKOUTS, *SUBSCRIPTIONS), size, erasing=True, offers=offers)


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
        name = "products" if event["subject"].startswith("checkout/") else "items"
        if wrong == "data":
            bad = draw(st.sampled_from(BAD_DATA[name]))
        else:
            good = draw(product_lines() if name == "products" else item_lists().map(lambda items: items[0]))
            quantities = _one_of(*range(len(BAD_QUANTITIES[name]))).map(lambda place: BAD_QUANTITIES[name][place])
            wrong_field = st.sampled_from(BAD_LINES) | quantities.map(lambda quantity: {"quantity": quantity})
            bad = {name: [good, {**good, **draw(wrong_field)}]}
        event["data"] = {**event["data"], **bad}
    return json.dumps(event).encode()


@st.composite
def files(draw: st.DrawFn, size: int = 16, *, offers: bool = False) -> list[bytes]:
    """A file of both journeys with rejected records and blank lines strewn in."""
    lines = as_lines(draw(streams(size, offers=offers)))
    for record in draw(st.lists(rejected_lines() | st.just(b""), max_size=3)):
        lines.insert(draw(st.integers(0, len(lines))), record)
    return lines


def moments() -> st.SearchStrategy[datetime]:
    """Times to look at the windows at, on whole 5 s: on and around the edges that the events lie on."""
    seconds = sorted({int(offset) // 5 * 5 + step for offset in FAR for step in (0, 5, 300, 3_600, 86_400)})
    return st.sampled_from([ORIGIN + timedelta(seconds=second) for second in seconds])
