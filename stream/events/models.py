"""Input events as pydantic models: what is accepted, and the words for what is not.

Rules: nothing is coerced (a quantity is a JSON integer, money a decimal string); an empty string or a null is an absent field; unknown
fields are ignored. A model keeps what was sent; the `parse_*` functions, which its validators use too, turn that into values.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from functools import lru_cache
from typing import Annotated, Any, Literal, NamedTuple

from iso4217 import Currency as Iso4217
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationInfo,
    WithJsonSchema,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from stream.core.event import CheckoutType, CustomerType, Interval, Journey, SubscriptionType
from stream.core.judging.items import PER_YEAR
from stream.core.money import LARGEST, SCALE, exact, exponent

MAX_LINES = 2_000
CURRENCIES = frozenset(currency.code for currency in Iso4217 if currency.exponent is not None)
"""ISO 4217 codes with a minor unit: not the precious metals, test codes and funds that have none."""

_MONEY = r"[0-9]{1,15}(\.[0-9]{1,10})?"
# RFC 3339 in two halves, which are remembered: seconds come in the order of time, and there are but a thousand fractions of three digits.
_TO_SECOND = r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt][0-9]{2}:[0-9]{2}:[0-5][0-9]"
_REST = r"(\.[0-9]+)?([Zz]|[+-]([01][0-9]|2[0-3]):[0-5][0-9])"
_SECOND = len("2026-01-05T10:00:00")
_REMEMBERED = len(".123456+01:00")
"""A longer rest is not remembered: a text of any length would be."""
_VERSION = r"0|[1-9][0-9]{0,15}"
_VERSION_END = 1 << 53
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FIRST, _LAST = datetime.min.replace(tzinfo=UTC) - _EPOCH, datetime.max.replace(tzinfo=UTC) - _EPOCH

_is_money = re.compile(_MONEY).fullmatch
_is_second = re.compile(_TO_SECOND).fullmatch
_is_rest = re.compile(_REST).fullmatch
_is_version = re.compile(_VERSION).fullmatch


@lru_cache(maxsize=16_384)  # prices repeat
def check_money(text: str) -> str:
    """A decimal string in major units, such as `12.50`, as it is.

    Raises:
        ValueError: not 1 to 15 digits, optionally with a point and 1 to 10 more.
    """
    if not _is_money(text):
        raise ValueError(
            'money is a plain decimal string like "12.50": at most 15 digits before the point and 10 after it, no sign, no exponent'
        )
    return text


def parse_time(text: str) -> int:
    """An RFC 3339 time as microseconds since the epoch; finer digits are cut off.

    Raises:
        ValueError: not RFC 3339, without offset, no such time (a leap second is none), or in UTC not within the years 1 to 9999.
    """
    rest = text[_SECOND:]
    fraction, offset = _parse_rest(rest) if len(rest) <= _REMEMBERED else _parse_rest.__wrapped__(rest)
    return _parse_second(text[:_SECOND], offset) + fraction


@lru_cache(maxsize=4096)
def _parse_rest(text: str) -> tuple[int, str]:
    """Microseconds, and the offset."""
    match = _is_rest(text)
    if match is None:
        raise ValueError(_NO_TIME)
    fraction, offset = match[1], match[2]
    return int(fraction[1:7].ljust(6, "0")) if fraction else 0, offset.upper()


@lru_cache(maxsize=4096)
def _parse_second(text: str, offset: str) -> int:
    if not _is_second(text):
        raise ValueError(_NO_TIME)
    since = datetime.fromisoformat(f"{text}{offset}") - _EPOCH
    if not _FIRST <= since <= _LAST:
        raise ValueError("a time lies within the years 1 to 9999 of UTC")
    return (since.days * 86_400 + since.seconds) * 1_000_000


_NO_TIME = 'a time is RFC 3339 with an offset, like "2026-01-05T10:00:00Z" or "2026-01-05T11:00:00.250+01:00"'


def parse_flag(value: bool | str) -> bool:  # noqa: FBT001 - the value itself, no option
    """A CloudEvents boolean: JSON's, or its text, which is all that a header can carry.

    Raises:
        ValueError: neither a boolean nor `true` or `false`.
    """
    if isinstance(value, bool):
        return value
    if value == "true":
        return True
    if value == "false":
        return False
    raise ValueError("should be true or false")


def parse_version(value: int | str) -> int:
    """A CloudEvents integer: JSON's, or its text.

    Raises:
        ValueError: no integer, or not from 0 to 2^53 - 1.
    """
    if isinstance(value, str) and _is_version(value):
        value = int(value)
    if type(value) is not int or not 0 <= value < _VERSION_END:
        raise ValueError("should be an integer from 0 to 2^53 - 1")
    return value


def parse_currency(code: str) -> str:
    """An ISO 4217 code.

    Raises:
        ValueError: unknown, or without a minor unit.
    """
    if code not in CURRENCIES:
        raise ValueError('should be an ISO 4217 code with a minor unit, in capitals, like "EUR"')
    return code


def check_name(text: str) -> str:
    """A part of an event's identity, as it is: parts are joined by U+0000.

    Raises:
        ValueError: it has one itself.
    """
    if "\0" in text:
        raise ValueError("should not contain U+0000")
    return text


class Sent(NamedTuple):
    """Marks a field whose type as sent is wider than the model's, for readers that work without its validators."""

    type: Any


def _worded(parse: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """The parser as a validator; its message without pydantic's prefix."""

    def validate(value: Any) -> Any:
        try:
            return parse(value)
        except ValueError as error:
            raise PydanticCustomError("value", "{reason}", {"reason": str(error)}) from None

    return validate


def _checked(parse: Callable[[str], object]) -> AfterValidator:
    """Holds a string against a parser and keeps it."""

    def check(text: str) -> str:
        parse(text)
        return text

    return AfterValidator(_worded(check))


def _money_as_text(value: Any) -> Any:
    if isinstance(value, int | float) and not isinstance(value, bool):
        raise PydanticCustomError("money_number", 'send money as a string like "12.50": a JSON number may lose digits')
    return value


Text = Annotated[str, Field(strict=True)]
OptionalId = Annotated[str, Field(strict=True, max_length=256)] | None
OptionalLabel = Annotated[str, Field(strict=True, max_length=128)] | None
Id = Annotated[str, Field(strict=True, min_length=1, max_length=256)]
Name = Annotated[
    str,
    Field(strict=True, min_length=1, max_length=256, json_schema_extra={"pattern": r"^[^\u0000]*$"}),
    _checked(check_name),
]
Quantity = Annotated[int, Field(strict=True, ge=0, le=1_000_000_000)]
Money = Annotated[
    str,
    Field(strict=True),
    BeforeValidator(_money_as_text),
    _checked(check_money),
    WithJsonSchema({"type": "string", "pattern": f"^{_MONEY}$", "examples": ["12.50"]}),
]
Currency = Annotated[
    str,
    Field(strict=True),
    _checked(parse_currency),
    WithJsonSchema({"type": "string", "pattern": "^[A-Z]{3}$", "examples": ["EUR"]}),
]
Time = Annotated[
    str,
    Field(strict=True),
    _checked(parse_time),
    WithJsonSchema({"type": "string", "format": "date-time", "pattern": f"^{_TO_SECOND}{_REST}$"}),
]
Flag = Annotated[
    bool,
    Sent(bool | str),
    BeforeValidator(_worded(parse_flag)),
    WithJsonSchema({"enum": [True, False, "true", "false"]}),
]
Version = Annotated[
    int,
    Sent(int | str),
    BeforeValidator(_worded(parse_version)),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "integer", "minimum": 0, "maximum": _VERSION_END - 1},
                {"type": "string", "pattern": f"^({_VERSION})$"},
            ]
        }
    ),
]


class Sendable(BaseModel):
    """A JSON object of an event."""

    model_config = ConfigDict(extra="ignore", frozen=True, use_attribute_docstrings=True)

    @model_validator(mode="before")
    @classmethod
    def _present(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            raise PydanticCustomError("object", "should be a JSON object")
        return {name: field for name, field in value.items() if field is not None and field != ""}


_IDENTIFIED: dict[str, Any] = {
    "anyOf": [
        {"required": [name], "properties": {name: {"minLength": 1}}} for name in ("sku", "variant_id", "product_id")
    ]
}


class ProductLine(Sendable):
    """A line of a cart or an order. Shipping, tax and tips are no lines."""

    model_config = ConfigDict(json_schema_extra=_IDENTIFIED)

    sku: OptionalId = None
    variant_id: OptionalId = None
    product_id: OptionalId = None
    name: Text | None = None
    """For people; not used."""
    category: OptionalLabel = None
    quantity: Quantity
    """Units. A line with quantity 0 is dropped."""
    price: Money
    """Unit list price in major units."""
    discount: Money | None = None
    """Off the whole line, in major units; more than the list total counts as the list total."""
    replaces: OptionalId = None
    """The sku, variant_id or product_id of the intent line that this line stands for."""
    offer_id: OptionalId = None
    """Which offer brought the line; carried to the outcome."""

    @model_validator(mode="after")
    def _identified(self) -> "ProductLine":
        if self.sku is None and self.variant_id is None and self.product_id is None:
            raise PydanticCustomError("unidentified", "needs at least one of sku, variant_id and product_id")
        return self


class Item(Sendable):
    """An item of a subscription."""

    plan_id: Id
    product_id: Id
    role: Literal["base", "addon"] | None = None
    """By default the first item (of those with a quantity) is base and every other one addon."""
    category: OptionalLabel = None
    quantity: Quantity
    """Units. An item with quantity 0 is dropped."""
    price: Money
    """Per unit and interval, in major units."""
    interval: Interval
    interval_count: Annotated[int, Field(strict=True, ge=1, le=1_000)] | None = None
    """By default 1. The price is for so many intervals: 3 with `month` is a quarter."""


_LARGEST_EXACT = {code: LARGEST * 10 ** (SCALE - exponent(code)) for code in CURRENCIES}


def check_total(total: int, currency: str, per: str = "") -> None:
    """Hold what one list adds up to, as an exact amount, against the bound. `per` is for the words.

    Raises:
        ValueError: it exceeds `LARGEST` minor units of the currency.
    """
    if total > _LARGEST_EXACT[currency]:
        major, largest = (Decimal(amount).scaleb(-SCALE).normalize() for amount in (total, _LARGEST_EXACT[currency]))
        raise ValueError(f"price x quantity adds up to {major:f} {currency}{per}; at most {largest:f} is allowed")


def check_items(items: Iterable["Item"], currency: str) -> None:
    """Hold the items' MRR against the bound.

    Raises:
        ValueError: it exceeds `LARGEST` minor units of the currency.
    """
    total = 0
    for item in items:
        total += exact(item.price) * item.quantity * PER_YEAR[item.interval] // (12 * (item.interval_count or 1))
    check_total(total, currency, " a month")


def _bounded(value: Any, info: ValidationInfo) -> Any:
    """A validator of fields that stand after `currency`; where that is wrong, it alone is told."""
    currency = info.data.get("currency")
    if value is None or currency is None:
        return value
    try:
        if isinstance(value, ItemSet):
            check_items(value.items, currency)
        elif isinstance(value, ProductIntent | Refund):
            check_total(_listed(value.products or ()), currency)
        elif value and isinstance(value[0], Item):
            check_items(value, currency)
        else:
            check_total(_listed(value), currency)
    except ValueError as error:
        raise PydanticCustomError("value", "{reason}", {"reason": str(error)}) from None
    return value


def _listed(lines: Iterable[ProductLine]) -> int:
    return sum(exact(line.price) * line.quantity for line in lines)


ProductLines = Annotated[list[ProductLine], Field(max_length=MAX_LINES)]
Items = Annotated[list[Item], Field(max_length=MAX_LINES)]


class ProductIntent(Sendable):
    """What the customer came for, where the platform itself knows."""

    products: ProductLines


class ItemSet(Sendable):
    """The items of a subscription at another moment."""

    items: Items


class Refund(Sendable):
    """What was given back. With neither products nor amount: everything."""

    refund_id: Id
    """A second refund with the same id changes nothing."""
    products: ProductLines | None = None
    """Lines with the returned quantities. Where products are named, the amount is not used."""
    amount: Money | None = None


class CheckoutData(Sendable):
    """`data` of the events of a checkout and its order."""

    customer_id: OptionalId = None
    anonymous_id: OptionalId = None
    """A visitor whose customer_id is not known."""
    checkout_id: Id
    order_id: OptionalId = None
    channel: OptionalLabel = None
    segment: OptionalLabel = None
    currency: Currency
    products: ProductLines | None = None
    coupon: Text | None = None
    intent: ProductIntent | None = None

    _within_bounds = field_validator("products", "intent")(_bounded)

    @property
    def subject(self) -> str:
        """What the envelope's `subject` must be."""
        return f"checkout/{self.checkout_id}"


class CartData(CheckoutData):
    """`data` of the events that bring lines."""

    products: ProductLines
    """All lines; an empty list is an empty cart."""


class RefundedData(CheckoutData):
    """`data` of a refund."""

    refund: Refund

    _refund_within_bounds = field_validator("refund")(_bounded)


class SubscriptionData(Sendable):
    """`data` of the events of a subscription."""

    customer_id: Id
    subscription_id: Id
    channel: OptionalLabel = None
    segment: OptionalLabel = None
    currency: Currency
    status: OptionalLabel = None
    """`trialing` on a first event: not paid yet. Other values say nothing."""
    items: Items | None = None
    """The full new set."""
    previous: ItemSet | None = None
    """The items before this event."""
    intent: ItemSet | None = None
    """What the customer came for, where the platform itself knows."""

    _within_bounds = field_validator("items", "previous", "intent")(_bounded)

    @property
    def subject(self) -> str:
        """What the envelope's `subject` must be."""
        return f"subscription/{self.subscription_id}"


class PlanData(SubscriptionData):
    """`data` of the events that bring items."""

    items: Items
    """The full new set."""


class ErasedData(Sendable):
    """`data` of an erasure."""

    customer_id: Id
    """The customer as other events name them."""

    @property
    def subject(self) -> str:
        """What the envelope's `subject` must be."""
        return f"customer/{self.customer_id}"


class Identity(Sendable):
    """What makes an object a CloudEvent."""

    specversion: Literal["1.0"]
    id: Name
    """With `source` the identity of the event within its checkout or subscription."""
    source: Name
    type: Text


class CloudEvent(Identity):
    """A whole event; its kinds below say what `data` is."""

    time: Time
    """When it happened, RFC 3339 with an offset."""
    livemode: Flag | None = None
    """By default true. False: a test event; it is checked and counted as one, and changes nothing."""
    entityversion: Version | None = None
    """By default 0. Orders events of the same time."""
    data: CheckoutData | SubscriptionData | ErasedData
    # After `data`, because a validator sees only the fields before its own.
    subject: Text
    """`checkout/<checkout_id>`, `subscription/<subscription_id>` or `customer/<customer_id>`."""

    @field_validator("subject")
    @classmethod
    def _names_the_entity(cls, subject: str, info: ValidationInfo) -> str:
        data = info.data.get("data")
        if data is not None and subject != data.subject:
            raise PydanticCustomError("subject", "should be {subject}", {"subject": repr(data.subject[:80])})
        return subject


class CheckoutCloudEvent(CloudEvent):
    """An event that may bring lines."""

    data: CheckoutData


class CartCloudEvent(CloudEvent):
    """An event that brings the lines of a cart or an order."""

    data: CartData


class RefundedCloudEvent(CloudEvent):
    """A refund of an order."""

    data: RefundedData


class SubscriptionCloudEvent(CloudEvent):
    """An event that may bring the items of a subscription."""

    data: SubscriptionData


class PlanCloudEvent(CloudEvent):
    """An event that brings the items of a subscription."""

    data: PlanData


class ErasedCloudEvent(CloudEvent):
    """An erasure."""

    data: ErasedData


class EventType(NamedTuple):
    """A type of event that is processed."""

    name: str
    journeys: tuple[Journey, ...]
    """Those on whose topics it belongs."""
    kind: CheckoutType | SubscriptionType | CustomerType
    model: type[CloudEvent]
    meaning: str


EVENT_TYPES: Mapping[str, EventType] = {
    event_type.name: event_type
    for event_type in (
        EventType(
            "commerce.checkout.started.v1",
            ("checkout",),
            CheckoutType.STARTED,
            CartCloudEvent,
            "The cart as the customer first brought it.",
        ),
        EventType(
            "commerce.checkout.updated.v1",
            ("checkout",),
            CheckoutType.UPDATED,
            CartCloudEvent,
            "The cart changed; the intent stays, unless no non-empty cart was seen before.",
        ),
        EventType(
            "commerce.order.completed.v1",
            ("checkout",),
            CheckoutType.COMPLETED,
            CartCloudEvent,
            "Paid: `products` are the final lines of one transaction.",
        ),
        EventType(
            "commerce.order.updated.v1",
            ("checkout",),
            CheckoutType.ORDER_UPDATED,
            CartCloudEvent,
            "The order was edited, or a post-purchase offer accepted: the full new lines of the same transaction.",
        ),
        EventType(
            "commerce.order.refunded.v1",
            ("checkout",),
            CheckoutType.REFUNDED,
            RefundedCloudEvent,
            "Something, or everything, was given back.",
        ),
        EventType(
            "commerce.order.canceled.v1",
            ("checkout",),
            CheckoutType.CANCELED,
            CheckoutCloudEvent,
            "The whole order is reversed.",
        ),
        EventType(
            "commerce.subscription.created.v1",
            ("subscription",),
            SubscriptionType.CREATED,
            PlanCloudEvent,
            "The first plan: an opportunity, and a transaction unless `status` is `trialing`.",
        ),
        EventType(
            "commerce.subscription.trial_converted.v1",
            ("subscription",),
            SubscriptionType.TRIAL_CONVERTED,
            PlanCloudEvent,
            "The trial became paid: a transaction.",
        ),
        EventType(
            "commerce.subscription.changed.v1",
            ("subscription",),
            SubscriptionType.CHANGED,
            PlanCloudEvent,
            "The items changed, effective now: an opportunity and a transaction; in a trial neither.",
        ),
        EventType(
            "commerce.subscription.change_scheduled.v1",
            ("subscription",),
            SubscriptionType.CHANGE_SCHEDULED,
            PlanCloudEvent,
            "The items will change later: counted nowhere until `changed`.",
        ),
        EventType(
            "commerce.subscription.renewed.v1",
            ("subscription",),
            SubscriptionType.RENEWED,
            SubscriptionCloudEvent,
            "A further period: an opportunity and a transaction.",
        ),
        EventType(
            "commerce.subscription.canceled.v1",
            ("subscription",),
            SubscriptionType.CANCELED,
            SubscriptionCloudEvent,
            "The subscription ends; no transaction.",
        ),
        EventType(
            "commerce.subscription.refunded.v1",
            ("subscription",),
            SubscriptionType.REFUNDED,
            SubscriptionCloudEvent,
            "The newest transaction of the subscription is reversed.",
        ),
        EventType(
            "commerce.customer.erased.v1",
            ("checkout", "subscription"),
            CustomerType.ERASED,
            ErasedCloudEvent,
            "The customer is to be forgotten: a pseudonym takes their place, and all counts stay.",
        ),
    )
}
"""Every type that is processed, by name, in the order of facts."""
