"""What the core judges: validated events, one immutable struct for each journey, and two for both.

Rules: every event was validated (`stream.events`). Empty strings are None, lines and items with quantity 0 are left out, prices and discounts are
non-negative decimal strings in major units (`core.money` computes with them), times are microseconds since the epoch (UTC). A shard stores these
structs as arrays, so fields are never reordered and new ones go to the end.
"""

from enum import Enum, IntEnum
from typing import ClassVar, Literal

import msgspec

Journey = Literal["checkout", "subscription"]
Interval = Literal["day", "week", "month", "year"]


class CheckoutType(IntEnum):
    """Types of `checkout-events`, in their order where all else is equal."""

    STARTED = 0
    UPDATED = 1
    COMPLETED = 2
    ORDER_UPDATED = 3
    REFUNDED = 4
    CANCELED = 5


class SubscriptionType(IntEnum):
    """Types of `subscription-events`, in their order where all else is equal."""

    CREATED = 0
    TRIAL_CONVERTED = 1
    CHANGED = 2
    CHANGE_SCHEDULED = 3
    RENEWED = 4
    CANCELED = 5
    REFUNDED = 6


class OfferType(IntEnum):
    """Types of events about offers, on both topics, in their order where all else is equal: after every other type."""

    SHOWN = 100
    DECLINED = 101


class CustomerType(Enum):
    """Types of events about a customer, on both topics."""

    ERASED = "erased"


class Line(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A product line of a cart or an order."""

    sku: str | None
    variant_id: str | None
    product_id: str | None
    category: str | None
    quantity: int | str
    """Units, above 0; a decimal string where they are not whole (at most three decimal places)."""
    price: str
    """Unit list price, major units."""
    discount: str = "0"
    """Off the whole line, major units, as sent (it may exceed the list total)."""
    replaces: str | tuple[str, ...] | None = None
    """Ids of intent lines that the line stands for."""
    offer_id: str | None = None


class Item(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """An item of a subscription."""

    plan_id: str
    product_id: str
    base: bool | None
    """Role base (True) or addon (False); None where the event has none: `core.judging.items` decides which item is the base then."""
    category: str | None
    quantity: int
    price: str
    """Per unit and interval, major units."""
    interval: Interval
    interval_count: int = 1
    offer_id: str | None = None


class Refund(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """The `refund` of an order: what was given back, in units or in money."""

    refund_id: str
    products: tuple[Line, ...] | None = None
    """None where the refund names none; empty where all of them have quantity 0."""
    amount: str | None = None


class Share(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """The `refund` of a subscription's payment."""

    refund_id: str | None = None
    """None: the event's id stands for it."""
    share: str = "1"
    """The part of the payment that was given back: a decimal string from 0 to 1."""


class CheckoutEvent(msgspec.Struct, frozen=True, gc=False):
    """One event of a checkout."""

    type: CheckoutType
    source: str
    id: str
    time: int
    """Event time, microseconds since the epoch."""
    version: int
    """`entityversion`; 0 where absent."""
    entity: str
    """The checkout id."""
    customer: str
    """`customer_id`, else `anonymous_id`, else the checkout id."""
    currency: str
    products: tuple[Line, ...] = ()
    """Lines that remain after quantity 0 is dropped."""
    intent: tuple[Line, ...] | None = None
    """None: the platform does not say; (): nothing was intended."""
    refund: Refund | None = None
    """On REFUNDED, and only there."""
    channel: str | None = None
    segment: str | None = None
    livemode: bool = True
    order_id: str | None = None
    """Of facts about an order; None where they name none."""


class SubscriptionEvent(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One event of a subscription. A subscription stores its recent events, so this is an array."""

    type: SubscriptionType
    source: str
    id: str
    time: int
    version: int
    entity: str
    """The subscription id."""
    customer: str
    currency: str
    items: tuple[Item, ...] | None = None
    """The full new set; None where the event does not say."""
    previous: tuple[Item, ...] | None = None
    intent: tuple[Item, ...] | None = None
    trialing: bool = False
    """`status` is `trialing`."""
    channel: str | None = None
    segment: str | None = None
    livemode: bool = True
    in_checkout: bool = False
    """Created in a checkout (`checkout_id`), which has the opportunity and the transaction."""
    refund: Share | None = None
    """On REFUNDED, and only there; None: all of the payment."""


class OfferEvent(msgspec.Struct, frozen=True, gc=False):
    """An offer was shown to a customer, or the customer declined it."""

    journey: Journey
    """Of the entity: an offer may be shown in a checkout, or to a subscriber."""
    entity: str
    """The checkout id or the subscription id."""
    shown: bool
    """False: it was declined."""
    offer_id: str
    slot: str | None
    """Where it was shown; None where the event does not say."""
    time: int
    """Event time, microseconds since the epoch."""
    version: int
    """`entityversion`; 0 where absent."""
    id: str
    source: str
    livemode: bool = True

    @property
    def type(self) -> OfferType:
        """Its type."""
        return OfferType.SHOWN if self.shown else OfferType.DECLINED


class ErasedEvent(msgspec.Struct, frozen=True):
    """A customer is to be erased."""

    type: ClassVar = CustomerType.ERASED
    source: str
    id: str
    time: int
    customer: str
    livemode: bool = True


Event = CheckoutEvent | SubscriptionEvent | OfferEvent | ErasedEvent
