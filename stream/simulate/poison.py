"""Bad records: each is a good event with one defect.

Rules: the contract sends every kind of bad record to the dead letters. A bad record names a checkout that no other record names, so if it
were accepted by mistake, only the count of rejected records would be wrong. No record contains a line break.
"""

from collections.abc import Callable
from typing import Any, Final

import msgspec

Event = dict[str, Any]


def _line(event: Event) -> Event:
    found: Event = event["data"]["products"][0]
    return found


def _missing_currency(event: Event) -> None:
    del event["data"]["currency"]


def _nan_price(event: Event) -> None:
    _line(event)["price"] = "NaN"


def _negative_price(event: Event) -> None:
    _line(event)["price"] = "-19.90"


def _absurd_exponent(event: Event) -> None:
    _line(event)["price"] = "1e9999"


def _wrong_type(event: Event) -> None:
    _line(event)["quantity"] = "a few"


def _too_many_decimals(event: Event) -> None:
    _line(event)["quantity"] = "1.2345"


def _wrong_list(event: Event) -> None:
    _line(event)["replaces"] = ["X-2", 3]


def _unknown_type(event: Event) -> None:
    event["type"] = "commerce.checkout.pondered.v1"


def _newer_version(event: Event) -> None:
    event["type"] = "commerce.checkout.started.v2"


def _not_cloudevents(event: Event) -> None:
    for attribute in ("specversion", "id", "source", "type"):
        del event[attribute]


_DEFECTS: Final[dict[str, Callable[[Event], None]]] = {
    "missing_field": _missing_currency,
    "nan_price": _nan_price,
    "negative_price": _negative_price,
    "absurd_exponent": _absurd_exponent,
    "wrong_type": _wrong_type,
    "too_many_decimals": _too_many_decimals,
    "wrong_list": _wrong_list,
    "unknown_type": _unknown_type,
    "newer_version": _newer_version,
    "not_cloudevents": _not_cloudevents,
}
POISON_KINDS: Final = ("not_json", *_DEFECTS)
"""Kinds of defects."""


def poisoned(kind: str, *, number: int, run: str, source: str, time: str, currency: str) -> bytes:
    """The value of a bad record of this kind. `number` makes its ids unique."""
    checkout = f"checkout-{run}-x{number:06d}"
    event: Event = {
        "specversion": "1.0",
        "id": f"{checkout}-1",
        "source": source,
        "type": "commerce.checkout.started.v1",
        "time": time,
        "subject": f"checkout/{checkout}",
        "data": {
            "customer_id": f"customer-x{number:06d}",
            "checkout_id": checkout,
            "currency": currency,
            "products": [{"sku": "X-1", "product_id": "x", "quantity": 1, "price": "19.90"}],
        },
    }
    if kind == "not_json":
        return msgspec.json.encode(event)[:-20]
    _DEFECTS[kind](event)
    return msgspec.json.encode(event)
