"""Names that are not known: which name was probably meant, and which fields of an event are unknown.

Rules: nothing here decides whether an event is accepted; a worker asks only about records that are already rejected. Names come from outside, so
only their first characters are compared, and of an object only the first unknown names.
"""

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from difflib import get_close_matches
from functools import lru_cache
from itertools import islice
from typing import Any, Final, NamedTuple, get_args

from pydantic import BaseModel

from stream.events.catalogue import EVENT_TYPES
from stream.events.models import CheckoutData, CloudEvent, SubscriptionData

CLOUDEVENTS_ATTRIBUTES: Final = (
    "datacontenttype",
    "dataschema",
    "dataref",
    "partitionkey",
    "recordedtime",
    "sequence",
    "traceparent",
    "tracestate",
)
"""Attributes of CloudEvents and of its documented extensions that are allowed and not used."""


class Unknown(NamedTuple):
    """A field that is not known."""

    path: str
    """Such as `data.products[0].productId`."""
    meant: str | None
    """The field of the same object that was probably meant."""


@lru_cache(maxsize=1024)  # a wrong producer repeats its names
def nearest(name: str, known: tuple[str, ...]) -> str | None:
    """The known name that is most similar, whatever the case and the separators; None if no name is similar."""
    folded = {_fold(each): each for each in known}
    plain = _fold(name[:_COMPARED])
    for synonym in (plain, *_SYNONYMS.get(plain, ())):
        if synonym in folded:
            return folded[synonym]
    close = get_close_matches(plain, folded, 1, _SIMILAR)
    return folded[close[0]] if close else None


def meant_by(found: Iterable[str], wanted: Collection[str], known: tuple[str, ...]) -> tuple[str, str] | None:
    """Of the names that were found, the first unknown one by which one of the wanted names was meant, and that name."""
    unknown = (name for name in found if name not in known)
    for name in islice(unknown, _ASKED):
        meant = nearest(name[:_COMPARED], known)
        if meant is not None and meant in wanted:
            return name, meant
    return None


def nearest_types(name: str) -> tuple[str, ...]:
    """The known types that were probably meant: those that other systems call so, else the one that differs by one typing error."""
    plain = _fold(_stem(name[:_COMPARED]))
    if (meant := _TYPES_ELSEWHERE.get(plain)) is not None:
        return meant
    return tuple(each for each in EVENT_TYPES if _is_slip(plain, _fold(_stem(each))))[:1]


def known_version(name: str) -> str | None:
    """The known type that differs from this one only in its version; None if there is none."""
    stem, dot, version = name.rpartition(".v")
    return next(
        (each for each in EVENT_TYPES if dot and version.isdecimal() and each.rpartition(".v")[0] == stem), None
    )


def unknown_fields(model: type[BaseModel], value: Any, path: str = "") -> Iterator[Unknown]:
    """The fields of a valid JSON object, and of the objects in it, that its model does not have."""
    if isinstance(value, list):
        for number, each in enumerate(value):
            yield from unknown_fields(model, each, f"{path}[{number}]")
        return
    if not isinstance(value, dict):
        return
    known = fields_of(model)
    for name, inner in value.items():
        here = f"{path}.{_shown(name)}" if path else _shown(name)
        if name not in known:
            yield Unknown(
                here, f"refund.{name}" if name in REFUND and "refund" in known else nearest(name[:_COMPARED], known)
            )
        elif (part := model_at(model, (name,))) is not None:
            yield from unknown_fields(part, inner, here)


def fields_of(model: type[BaseModel]) -> tuple[str, ...]:
    """The names of a model's fields; of an event also the attributes that are allowed and not used."""
    return (*model.model_fields, *(CLOUDEVENTS_ATTRIBUTES if issubclass(model, CloudEvent) else ()))


def model_at(model: type[BaseModel] | None, path: Iterable[str | int]) -> type[BaseModel] | None:
    """The model of the object at a path of field names and indexes below a model; None if there is no object."""
    for part in path:
        if isinstance(part, str) and model is not None:
            field = model.model_fields.get(part)
            model = None if field is None else _model_in(field.annotation)
    return model


def looks_like_data(value: Mapping[str, Any]) -> bool:
    """Whether an object that is no CloudEvent has the fields of `data`."""
    known = {*CheckoutData.model_fields, *SubscriptionData.model_fields}
    return any(nearest(name[:_COMPARED], tuple(sorted(known))) in _TELLING for name in islice(value, _ASKED))


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for part in get_args(annotation) if (found := _model_in(part)) is not None), None)


def _fold(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


def _stem(name: str) -> str:
    """A type without what all types have: `order.completed`."""
    return re.sub(r"[._-]?v[0-9]+$", "", name.lower()).removeprefix("commerce.")


def _is_slip(one: str, other: str) -> bool:
    """Whether two names are the same, but for one character that was added, left out or replaced, or two that were exchanged."""
    same = next(
        (place for place, (left, right) in enumerate(zip(one, other, strict=False)) if left != right),
        min(len(one), len(other)),
    )
    rest, others = one[same:], other[same:]
    return (
        rest[1:] == others[1:]
        or rest[1:] == others
        or rest == others[1:]
        or (rest[:2] == others[1::-1] and rest[2:] == others[2:])
    )


def _shown(name: str) -> str:
    """A name from outside, safe to print and not too long."""
    return name if name.isidentifier() and len(name) <= _COMPARED else ascii(name[:_COMPARED])


TYPES_ELSEWHERE: Final[Mapping[str, tuple[str, ...]]] = {
    "commerce.checkout.started.v1": (
        *("cart.created", "cart.started", "checkout.created", "checkout.begin", "begin_checkout"),
        *("carts/create", "checkouts/create"),
    ),
    "commerce.checkout.updated.v1": (
        *("cart.updated", "cart.changed", "checkout.changed", "add_to_cart", "remove_from_cart"),
        *("carts/update", "checkouts/update"),
    ),
    "commerce.order.completed.v1": (
        *("order.paid", "order.placed", "order.created", "checkout.completed", "purchase"),
        *("orders/paid", "orders/create", "checkout.session.completed"),
    ),
    "commerce.order.updated.v1": ("order.edited", "order.changed", "order.amended", "orders/updated", "orders/edited"),
    "commerce.order.refunded.v1": ("order.returned", "refunds/create"),
    "commerce.order.canceled.v1": ("order.voided", "orders/cancelled"),
    "commerce.subscription.created.v1": (
        *("subscription.started", "customer.subscription.created", "subscription_contracts/create"),
    ),
    "commerce.subscription.trial_converted.v1": ("trial.converted", "subscription.converted"),
    "commerce.subscription.changed.v1": (
        *("subscription.updated", "subscription.upgraded", "subscription.downgraded", "subscription.plan_changed"),
        *("customer.subscription.updated", "subscription_contracts/update"),
    ),
    "commerce.subscription.change_scheduled.v1": (
        *("subscription.update_scheduled", "subscription.downgrade_scheduled", "subscription_schedule.created"),
    ),
    "commerce.subscription.renewed.v1": (
        *("subscription.renewal", "subscription.charged", "subscription_billing_attempts/success"),
    ),
    "commerce.subscription.canceled.v1": (
        *("subscription.deleted", "subscription.expired", "subscription.ended", "subscription.terminated"),
        *("customer.subscription.deleted",),
    ),
    "commerce.offer.shown.v1": ("offer.viewed", "offer.displayed", "offer.presented"),
    "commerce.offer.declined.v1": ("offer.rejected", "offer.dismissed", "offer.refused"),
    "commerce.customer.erased.v1": ("customer.redacted", "customers/redact"),
}
"""Type -> what shops, Stripe and Shopify call the same. The table in docs/how-to/check-events.md has them."""
REFUNDS_ELSEWHERE: Final = ("refund.created", "charge.refunded")
"""What other systems call a refund, of an order or of a subscription."""
_TYPES_ELSEWHERE: Final[Mapping[str, tuple[str, ...]]] = {
    _fold(_stem(name)): (meant,) for meant, names in TYPES_ELSEWHERE.items() for name in names
} | dict.fromkeys(
    (_fold(name) for name in REFUNDS_ELSEWHERE), ("commerce.order.refunded.v1", "commerce.subscription.refunded.v1")
)
_COMPARED = 80
"""Characters of a name."""
_ASKED = 20
"""Unknown names of one object."""
_SIMILAR = 0.75
"""Ratio of `difflib`: `customer` is `customer_id`, `sku_id` is `sku`; `state` is not `status`."""
_TELLING = {"checkout_id", "subscription_id", "products", "items"}
_LINES = ("products", "items")
REFUND: Final = ("refund_id", "amount", "share")
"""Fields of `refund` that no object around it has."""
_SYNONYMS: Mapping[str, tuple[str, ...]] = {
    **dict.fromkeys(("lineitems", "lines", "orderlines", "orderitems", "cart", "cartitems", "basket"), _LINES),
    "items": ("products",),
    "products": ("items",),
    **dict.fromkeys(("amount", "unitprice", "unitamount", "listprice", "pricecents", "priceincents"), ("price",)),
    **dict.fromkeys(("qty", "count", "units"), ("quantity",)),
    **dict.fromkeys(("user", "userid", "clientid", "buyerid"), ("customerid",)),
    **dict.fromkeys(("visitorid", "sessionid", "deviceid"), ("anonymousid",)),
    **dict.fromkeys(("cartid", "basketid"), ("checkoutid",)),
    **dict.fromkeys(("ordernumber", "ordername"), ("orderid",)),
    **dict.fromkeys(("timestamp", "occurredat", "createdat", "eventtime"), ("time",)),
    **dict.fromkeys(("eventtype", "eventname", "event"), ("type",)),
    **dict.fromkeys(("payload", "body"), ("data",)),
    "eventid": ("id",),
    "id": ("refundid",),
    "database64": ("data",),
}
"""Names that other systems use for the same thing, without case and separators."""
