"""Input events as pydantic models: what is accepted, and the message for what is not.

Rules: an empty string or a null counts as an absent field. Unknown fields are ignored. The docstrings of fields are published in the JSON Schemas.
"""

from collections.abc import Iterable
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator
from pydantic_core import PydanticCustomError

from stream.core.event import Interval
from stream.core.judging.cart import UNIT, thousandths
from stream.core.judging.items import PER_YEAR
from stream.core.money import exact
from stream.events.fields import (
    Currency,
    Flag,
    Id,
    LineQuantity,
    Money,
    Name,
    OptionalId,
    OptionalLabel,
    Quantity,
    Refused,
    Replaces,
    Share,
    Text,
    Time,
    Version,
    check_total,
)

MAX_LINES = 2_000
"""Lines or items of one list."""


class Sendable(BaseModel):
    """A JSON object in an event."""

    model_config = ConfigDict(extra="ignore", frozen=True, use_attribute_docstrings=True)

    @model_validator(mode="before")
    @classmethod
    def _present(cls, value: object) -> object:
        if not isinstance(value, dict):
            raise PydanticCustomError("object", "should be a JSON object")
        return {name: field for name, field in value.items() if field is not None and field != ""}


_IDENTIFIED: dict[str, Any] = {
    "anyOf": [
        {"required": [name], "properties": {name: {"type": "string", "minLength": 1}}}
        for name in ("sku", "variant_id", "product_id")
    ]
}


class ProductLine(Sendable):
    """A product line of a cart or an order. Leave out shipping, tax and tips."""

    model_config = ConfigDict(json_schema_extra=_IDENTIFIED)

    sku: OptionalId = None
    variant_id: OptionalId = None
    product_id: OptionalId = None
    """Lines with the same sku, variant_id or product_id belong together."""
    name: Text | None = None
    """For people; not used in any figure."""
    category: OptionalLabel = None
    quantity: LineQuantity
    """Units, or weight or length with at most 3 decimal places, better as a string then. A line with quantity 0 is dropped."""
    price: Money
    """List price of one unit, in major units of the currency."""
    discount: Money | None = None
    """Discount on the whole line, in major units. A discount above price x quantity counts as price x quantity."""
    replaces: Replaces = None
    """The sku, variant_id or product_id of the intent line that this line replaces, or a list of such ids. An id that no intent line has is ignored."""
    offer_id: OptionalId = None
    """The offer that led to the line; copied to the outcome."""

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
    """Where no item has the role `base`, the one without a role with the highest MRR is the base."""
    category: OptionalLabel = None
    quantity: Quantity
    """Units. An item with quantity 0 is dropped."""
    price: Money
    """Price of one unit for `interval_count` intervals, in major units of the currency."""
    interval: Interval
    interval_count: Annotated[int, Field(strict=True, ge=1, le=1_000)] | None = None
    """Default 1. How many intervals the price covers: 3 with `month` is a quarter."""
    offer_id: OptionalId = None
    """The offer that led to the item; copied to the outcome."""


def check_items(items: Iterable[Item], currency: str) -> None:
    """Check the sum of the items' MRR.

    Raises:
        ValueError: more than `LARGEST` minor units of the currency.
    """
    total = 0
    for item in items:
        total += exact(item.price) * item.quantity * PER_YEAR[item.interval] // (12 * (item.interval_count or 1))
    check_total(total, currency, " a month")


def _bounded(value: Any, info: ValidationInfo) -> Any:
    """Validates a list's sum. It must come after the field `currency`; if that is wrong, only that is reported."""
    currency = info.data.get("currency")
    if value is None or currency is None:
        return value
    try:
        if isinstance(value, ItemSet):
            check_items(value.items, currency)
        elif isinstance(value, ProductIntent | Refund):
            check_total(_list_total(value.products or ()), currency)
        elif value and isinstance(value[0], Item):
            check_items(value, currency)
        else:
            check_total(_list_total(value), currency)
    except ValueError as error:
        raise PydanticCustomError("value", "{reason}", {"reason": str(error)}) from None
    return value


def _list_total(lines: Iterable[ProductLine]) -> int:
    return sum(list_total(line.price, line.quantity) for line in lines)


def list_total(price: str, quantity: int | str) -> int:
    """Price x quantity, an exact amount."""
    return exact(price) // UNIT * thousandths(quantity)


ProductLines = Annotated[list[ProductLine], Field(max_length=MAX_LINES)]
Items = Annotated[list[Item], Field(max_length=MAX_LINES)]


class ProductIntent(Sendable):
    """The customer's initial cart, if the platform records it."""

    products: ProductLines


class ItemSet(Sendable):
    """The items of a subscription at another time."""

    items: Items


class Refund(Sendable):
    """What was refunded. Without products and without amount: everything."""

    refund_id: Id
    """A second refund with the same id changes nothing."""
    products: ProductLines | None = None
    """Lines with the returned quantities. If it names lines, `amount` is ignored."""
    amount: Money | None = None
    """Money for goods that was given back without a return: no shipping, no tax, no tips."""


class PaymentRefund(Sendable):
    """How much of a subscription's newest payment was given back. Without `share`: all of it."""

    refund_id: OptionalId = None
    """A second refund with the same id changes nothing. Default: the id of the event."""
    share: Share | None = None
    """The part of the payment, from 0 to 1."""
    amount: Refused = None
    """Not allowed: cash is no share of MRR. Send `share`."""


class CheckoutData(Sendable):
    """`data` of the events of a checkout and its order."""

    customer_id: OptionalId = None
    anonymous_id: OptionalId = None
    """Id of a visitor without a customer_id."""
    checkout_id: Id
    order_id: OptionalId = None
    """The order that an order event is about. Default: that of the first completed event. A checkout has at most 32."""
    channel: OptionalLabel = None
    segment: OptionalLabel = None
    currency: Currency
    products: ProductLines | None = None
    coupon: Text | None = None
    intent: ProductIntent | None = None

    _within_bounds = field_validator("products", "intent")(_bounded)

    @property
    def subject(self) -> str:
        """The only `subject` that the envelope may have."""
        return f"checkout/{self.checkout_id}"


class CartData(CheckoutData):
    """`data` of the events that always have lines."""

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
    """`trialing` on the first event: not paid yet. All other values are ignored."""
    items: Items | None = None
    """The complete new items."""
    previous: ItemSet | None = None
    """The items before this event, where the state is not known. On `created`: what the subscription replaces."""
    intent: ItemSet | None = None
    """What the customer came for, if the platform records it."""

    _within_bounds = field_validator("items", "previous", "intent")(_bounded)

    @property
    def subject(self) -> str:
        """The only `subject` that the envelope may have."""
        return f"subscription/{self.subscription_id}"


class PlanData(SubscriptionData):
    """`data` of the events that always have items."""

    items: Items
    """The complete new items."""


class CreatedData(PlanData):
    """`data` of the first event of a subscription."""

    checkout_id: OptionalId = None
    """The checkout in which the subscription was sold: that has the opportunity and the transaction."""


class PaymentRefundedData(SubscriptionData):
    """`data` of a refund of a subscription."""

    refund: PaymentRefund | None = None


_OF_ONE_ENTITY: dict[str, Any] = {
    "oneOf": [
        {"required": [name], "properties": {name: {"type": "string", "minLength": 1}}}
        for name in ("checkout_id", "subscription_id")
    ]
}


class OfferData(Sendable):
    """`data` of the events about an offer."""

    model_config = ConfigDict(json_schema_extra=_OF_ONE_ENTITY)

    checkout_id: OptionalId = None
    """The checkout in which the offer was shown; only on the topic of checkout events."""
    subscription_id: OptionalId = None
    """The subscription whose customer was shown the offer; only on the topic of subscription events."""
    offer_id: Id
    """The same id as in the line or the item that the offer led to."""
    slot: OptionalLabel = None
    """Where the offer was shown, such as `cart` or `thank-you-page`."""

    @model_validator(mode="after")
    def _of_one_entity(self) -> "OfferData":
        if self.checkout_id is None and self.subscription_id is None:
            raise PydanticCustomError("no_entity", "needs checkout_id or subscription_id")
        if self.checkout_id is not None and self.subscription_id is not None:
            raise PydanticCustomError("two_entities", "should have checkout_id or subscription_id, not both")
        return self

    @property
    def subject(self) -> str:
        """The only `subject` that the envelope may have."""
        return f"checkout/{self.checkout_id}" if self.checkout_id else f"subscription/{self.subscription_id}"


class ErasedData(Sendable):
    """`data` of an erasure."""

    customer_id: Id
    """The customer's id, as in the other events."""

    @property
    def subject(self) -> str:
        """The only `subject` that the envelope may have."""
        return f"customer/{self.customer_id}"


class Identity(Sendable):
    """The attributes that every CloudEvent has."""

    specversion: Literal["1.0"]
    id: Name
    """Together with `source`: the identity of the event within its checkout or subscription."""
    source: Name
    type: Text


class CloudEvent(Identity):
    """A complete event. The subclasses below define `data`."""

    time: Time
    """Event time, RFC 3339 with an offset."""
    livemode: Flag | None = None
    """Default true. False marks a test event: it is validated and counted as a test event, and changes no figure."""
    entityversion: Version | None = None
    """Default 0. Orders events with equal times."""
    data: CheckoutData | SubscriptionData | OfferData | ErasedData
    # After `data`: a validator sees only the fields before its own.
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
    """An event of a checkout or an order that may have lines."""

    data: CheckoutData


class CartCloudEvent(CloudEvent):
    """An event with the lines of a cart or an order."""

    data: CartData


class RefundedCloudEvent(CloudEvent):
    """A refund of an order."""

    data: RefundedData


class SubscriptionCloudEvent(CloudEvent):
    """An event of a subscription that may have items."""

    data: SubscriptionData


class PlanCloudEvent(CloudEvent):
    """An event with the items of a subscription."""

    data: PlanData


class CreatedCloudEvent(CloudEvent):
    """The first event of a subscription."""

    data: CreatedData


class PaymentRefundedCloudEvent(CloudEvent):
    """A refund of a subscription."""

    data: PaymentRefundedData


class OfferCloudEvent(CloudEvent):
    """An event about an offer."""

    data: OfferData


class ErasedCloudEvent(CloudEvent):
    """The erasure of a customer."""

    data: ErasedData
