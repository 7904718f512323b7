"""Events as producers send them: minimal ones that tests change, and strategies for valid and invalid ones."""

import copy
import json
from datetime import datetime
from typing import Any, NamedTuple

from hypothesis import strategies as st

from stream.events.catalogue import EVENT_TYPES
from stream.events.fields import CURRENCIES

TOPICS = {"checkout-events": "checkout", "subscription-events": "subscription"}
TIME = "2026-01-05T10:00:00Z"
MICROS = 1_767_607_200_000_000


class Record(NamedTuple):
    value: bytes | None
    topic: str = "checkout-events"
    headers: tuple[tuple[str, bytes | None], ...] = ()
    timestamp: int | None = None
    key: bytes | None = b"k1"


def line(**fields: Any) -> dict[str, Any]:
    return {"sku": "S1", "quantity": 1, "price": "12.50"} | fields


def item(**fields: Any) -> dict[str, Any]:
    return {"plan_id": "pro", "product_id": "app", "quantity": 1, "price": "10.00", "interval": "month"} | fields


def event(name: str, **data: Any) -> dict[str, Any]:
    """A minimal event. `name` is its type without `commerce.` and `.v1`; a field with the value `...` is left out."""
    if name == "customer.erased":
        subject = "customer/k1"
        filled = {"customer_id": "k1"} | data
    elif name.startswith("offer"):
        of_checkout = "subscription_id" not in data
        subject = "checkout/c1" if of_checkout else f"subscription/{data['subscription_id']}"
        filled = ({"checkout_id": "c1"} if of_checkout else {}) | {"offer_id": "o1"} | data
    elif name.startswith("subscription"):
        subject = "subscription/u1"
        filled = {"customer_id": "k1", "subscription_id": "u1", "currency": "EUR", "items": [item()]} | data
    else:
        subject = "checkout/c1"
        filled = {"checkout_id": "c1", "currency": "EUR", "products": [line()]} | data
        if name == "order.refunded":
            filled = {"refund": {"refund_id": "r1"}} | filled
    return {
        "specversion": "1.0",
        "id": "e1",
        "source": "shop",
        "type": f"commerce.{name}.v1",
        "time": TIME,
        "subject": subject,
        "data": {field: value for field, value in filled.items() if value is not ...},
    }


def encoded(sent: Any) -> bytes:
    return json.dumps(sent).encode()


def binary(sent: dict[str, Any]) -> Record:
    """The event as a record in binary mode."""
    headers = [
        (f"ce_{name}", (value if isinstance(value, str) else json.dumps(value)).encode())
        for name, value in sent.items()
        if name != "data"
    ]
    return Record(encoded(sent["data"]), headers=(("content-type", b"application/json"), *headers))


# --- strategies

_texts = st.text(st.characters(codec="utf-8"), max_size=12)
_some = _texts.filter(bool)
_names = _some.filter(lambda text: "\0" not in text)
_absent = st.sampled_from([None, ""])


def _optional(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({}, optional={name: values | _absent for name, values in fields.items()})


_money = st.decimals(0, 10**6, places=4).map(lambda amount: format(amount, "f")) | st.sampled_from(
    ["0", "007.50", "999999.9999999999"]
)
_units = st.integers(0, 3) | st.just(100)
_parts = st.decimals(0, 1_000, places=3).map(lambda amount: format(amount, "f")) | st.sampled_from(["2", "007.5", "0"])
_quantities = _units | _parts | _parts.map(float)
_shares = st.decimals(0, 1, places=4).map(lambda share: format(share, "f")) | st.sampled_from(
    ["0", "1", "1.000", "0.0000000001"]
)
_identities = st.sampled_from([("sku",), ("variant_id",), ("product_id",), ("sku", "variant_id", "product_id")])


@st.composite
def _lines(draw: st.DrawFn) -> dict[str, Any]:
    given_ids = {name: draw(_some) for name in draw(_identities)}
    optional = draw(
        _optional(
            name=_texts,
            category=_texts,
            discount=_money,
            replaces=_texts | st.lists(_texts, max_size=3),
            offer_id=_texts,
            more=st.just([1]),
        )
    )
    return optional | given_ids | {"quantity": draw(_quantities), "price": draw(_money)}


@st.composite
def _items(draw: st.DrawFn) -> dict[str, Any]:
    optional = draw(
        _optional(
            role=st.sampled_from(["base", "addon"]),
            category=_texts,
            interval_count=st.integers(1, 1_000),
            offer_id=_texts,
        )
    )
    interval = draw(st.sampled_from(["day", "week", "month", "year"]))
    required = {"quantity": draw(_units), "price": draw(_money), "interval": interval}
    return optional | required | {"plan_id": draw(_some), "product_id": draw(_some)}


_products = st.lists(_lines(), max_size=3)
_item_lists = st.lists(_items(), max_size=3)
# One day within the years 1 to 9999: an offset must not move a time out of them.
_FIRST, _LAST = map(datetime.fromisoformat, ("0001-01-02", "9999-12-30"))
_moments = st.datetimes(_FIRST, _LAST).map(lambda moment: moment.isoformat())


@st.composite
def events(draw: st.DrawFn) -> dict[str, Any]:
    """Any valid event."""
    name = draw(st.sampled_from(sorted(EVENT_TYPES)))
    journey = draw(st.sampled_from(EVENT_TYPES[name].journeys))
    entity = draw(_some)
    common = {"currency": draw(st.sampled_from(sorted(CURRENCIES)))}
    labels = _optional(channel=_texts, segment=_texts, more=st.just({"a": [None, 1.5]}))
    if name.startswith("commerce.customer"):
        journey, data = "customer", {"customer_id": entity} | common
    elif name.startswith("commerce.offer"):
        other = "subscription_id" if journey == "checkout" else "checkout_id"
        data = {f"{journey}_id": entity, "offer_id": draw(_some)} | draw(
            _optional(slot=_texts) | st.fixed_dictionaries({other: _absent})
        )
    elif journey == "checkout":
        data = draw(_optional(customer_id=_texts, anonymous_id=_texts, order_id=_texts, coupon=_texts))
        data |= draw(_optional(intent=st.fixed_dictionaries({"products": _products}), products=_products))
        data |= {"checkout_id": entity} | common
        if name.endswith("refunded.v1"):
            data["refund"] = {"refund_id": draw(_some)} | draw(_optional(products=_products, amount=_money))
        elif "canceled" not in name:
            data["products"] = draw(_products)
    else:
        sets = st.fixed_dictionaries({"items": _item_lists})
        data = draw(_optional(intent=sets, previous=sets, items=_item_lists, status=st.just("trialing") | _texts))
        data |= {"subscription_id": entity, "customer_id": draw(_some)} | common
        if not name.endswith(("renewed.v1", "canceled.v1", "refunded.v1")):
            data["items"] = draw(_item_lists)
        if name.endswith("created.v1"):
            data |= draw(_optional(checkout_id=_texts))
        if name.endswith("refunded.v1"):
            data |= draw(_optional(refund=_optional(refund_id=_texts, share=_shares, amount=_absent)))
    envelope = draw(
        _optional(
            livemode=st.sampled_from([True, False, "true", "false"]),
            entityversion=st.integers(0, 2**53 - 1) | st.just("17"),
            datacontenttype=st.just("application/json"),
        )
    )
    offset = draw(st.sampled_from(["Z", "z", "+00:00", "-11:30", "+14:00"]))
    return envelope | {
        "specversion": "1.0",
        "id": draw(_names),
        "source": draw(_names),
        "type": name,
        "time": draw(_moments) + offset,
        "subject": f"{journey}/{entity}",
        "data": draw(labels) | data,
    }


JUNK = [
    None, "", " ", "x", "y" * 257, "1e5", "-1", "+1", ".5", "1.", "NaN", "12.50", "1234567890123456", "0.12345678901",
    "true", "\0", "\ud800", "\N{GRINNING FACE}", "usd", "EUR", "XAU", "commerce.order.completed.v2", "٣", "12.50\n",
    "2026-01-05", "2026-01-05T10:00:00", "2026-01-05 10:00:00Z", "2026-01-05T10:00:00+0100", "2026-02-30T10:00:00Z",
    "2026-01-05T24:00:00Z", "2026-01-05T10:00:60Z", "0000-01-05T10:00:00Z", "2026-01-05T10:00:00,5Z",
    "1", "0.375", "0.1234", "1.001", 0.375, 0.1234, 1.001, 2.0,
    0, 1, -1, 2**53, 10**9 + 1, 10**30, 1.5, -0.0, 1e300, True, False, [], {}, [{}], [None], ["x"], ["x", ""], {"products": None},
]  # fmt: skip


@st.composite
def mutated_events(draw: st.DrawFn) -> dict[str, Any]:
    """An event with up to three values replaced by junk or removed, and in half of the cases another type."""
    sent = copy.deepcopy(draw(events()))
    for _ in range(draw(st.integers(1, 3))):
        holders = list(_holders(sent))
        holder = holders[draw(st.integers(0, len(holders) - 1))]
        keys = list(holder) if isinstance(holder, dict) else list(range(len(holder)))
        if not keys:
            continue
        key = draw(st.sampled_from(keys))
        if draw(st.integers(0, 3)):
            holder[key] = copy.deepcopy(draw(st.sampled_from(JUNK)))
        else:
            del holder[key]
    if draw(st.booleans()):
        sent["type"] = draw(st.sampled_from(sorted(EVENT_TYPES)))
    return sent


def _holders(value: Any) -> Any:
    if isinstance(value, dict | list) and value:
        yield value
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _holders(inner)
