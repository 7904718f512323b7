"""Bad records, each of one sort, made from an event that would have been good.

Rules: every sort is one that the contract sends to the dead letters. A bad record names a checkout that occurs nowhere else, so nothing would
come of it even if it were accepted by mistake, but the count of rejected records. No record contains a line break.
"""

from collections.abc import Callable
from typing import Any, Final

import msgspec

Event = dict[str, Any]


def _line(event: Event) -> Event:
    found: Event = event["data"]["products"][0]
    return found


def _without_currency(event: Event) -> None:
    del event["data"]["currency"]


def _nan(event: Event) -> None:
    _line(event)["price"] = "NaN"


def _negative(event: Event) -> None:
    _line(event)["price"] = "-19.90"


def _absurd(event: Event) -> None:
    _line(event)["price"] = "1e9999"


def _wordy(event: Event) -> None:
    _line(event)["quantity"] = "a few"


def _unknown(event: Event) -> None:
    event["type"] = "commerce.checkout.pondered.v1"


def _newer(event: Event) -> None:
    event["type"] = "commerce.checkout.started.v2"


def _bare(event: Event) -> None:
    for attribute in ("specversion", "id", "source", "type"):
        del event[attribute]


_CORRUPTIONS: Final[dict[str, Callable[[Event], None]]] = {
    "missing_field": _without_currency,
    "nan_price": _nan,
    "negative_price": _negative,
    "absurd_exponent": _absurd,
    "wrong_type": _wordy,
    "unknown_type": _unknown,
    "newer_version": _newer,
    "not_cloudevents": _bare,
}
SORTS: Final = ("not_json", *_CORRUPTIONS)
"""What can be wrong with a record."""


def poisoned(sort: str, *, number: int, run: str, source: str, time: str, currency: str) -> bytes:
    """The value of a bad record of this sort; `number` makes it the only one of its kind."""
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
    if sort == "not_json":
        return msgspec.json.encode(event)[:-20]
    _CORRUPTIONS[sort](event)
    return msgspec.json.encode(event)
