"""Every type of event that is processed: its name, its topics, its model and its meaning.

Rules: this table is the only list of types. Decoding, the metrics' label `type`, the JSON Schemas and docs/reference/events.md follow it.
"""

from collections.abc import Mapping
from typing import Final, NamedTuple

from stream.core.event import CheckoutType, CustomerType, Journey, OfferType, SubscriptionType
from stream.events.models import (
    CartCloudEvent,
    CheckoutCloudEvent,
    CloudEvent,
    CreatedCloudEvent,
    ErasedCloudEvent,
    OfferCloudEvent,
    PaymentRefundedCloudEvent,
    PlanCloudEvent,
    RefundedCloudEvent,
    SubscriptionCloudEvent,
)


class EventType(NamedTuple):
    """A type of event that is processed."""

    name: str
    journeys: tuple[Journey, ...]
    """The journeys whose topic may carry it."""
    kind: CheckoutType | SubscriptionType | OfferType | CustomerType
    """The same type as the core has it."""
    model: type[CloudEvent]
    meaning: str
    """One sentence for the JSON Schema and the documentation."""


EVENT_TYPES: Final[Mapping[str, EventType]] = {
    event_type.name: event_type
    for event_type in (
        EventType(
            "commerce.checkout.started.v1",
            ("checkout",),
            CheckoutType.STARTED,
            CartCloudEvent,
            "The first cart of a checkout.",
        ),
        EventType(
            "commerce.checkout.updated.v1",
            ("checkout",),
            CheckoutType.UPDATED,
            CartCloudEvent,
            "The cart changed. The intent stays, unless all carts before were empty.",
        ),
        EventType(
            "commerce.order.completed.v1",
            ("checkout",),
            CheckoutType.COMPLETED,
            CartCloudEvent,
            "An order was paid: `products` are its lines. All orders of a checkout are one transaction.",
        ),
        EventType(
            "commerce.order.updated.v1",
            ("checkout",),
            CheckoutType.ORDER_UPDATED,
            CartCloudEvent,
            "An order was edited, or a post-purchase offer was accepted: all lines of that order as they stand, with the units that were refunded.",
        ),
        EventType(
            "commerce.order.refunded.v1",
            ("checkout",),
            CheckoutType.REFUNDED,
            RefundedCloudEvent,
            "A refund of part of an order, or of all of it.",
        ),
        EventType(
            "commerce.order.canceled.v1",
            ("checkout",),
            CheckoutType.CANCELED,
            CheckoutCloudEvent,
            "An order was canceled: all of it is reversed.",
        ),
        EventType(
            "commerce.subscription.created.v1",
            ("subscription",),
            SubscriptionType.CREATED,
            CreatedCloudEvent,
            "The first items of a subscription: an opportunity, and a transaction unless `status` is `trialing`; with `checkout_id` neither.",
        ),
        EventType(
            "commerce.subscription.trial_converted.v1",
            ("subscription",),
            SubscriptionType.TRIAL_CONVERTED,
            PlanCloudEvent,
            "The trial became a paid subscription: a transaction.",
        ),
        EventType(
            "commerce.subscription.changed.v1",
            ("subscription",),
            SubscriptionType.CHANGED,
            PlanCloudEvent,
            "The items changed, effective now: an opportunity and a transaction; neither during a trial, nor where plans and quantities are as before.",
        ),
        EventType(
            "commerce.subscription.change_scheduled.v1",
            ("subscription",),
            SubscriptionType.CHANGE_SCHEDULED,
            PlanCloudEvent,
            "The items will change later. Nothing is counted until `changed`.",
        ),
        EventType(
            "commerce.subscription.renewed.v1",
            ("subscription",),
            SubscriptionType.RENEWED,
            SubscriptionCloudEvent,
            "The subscription was renewed for another period: an opportunity and a transaction.",
        ),
        EventType(
            "commerce.subscription.canceled.v1",
            ("subscription",),
            SubscriptionType.CANCELED,
            SubscriptionCloudEvent,
            "The subscription ends. No transaction.",
        ),
        EventType(
            "commerce.subscription.refunded.v1",
            ("subscription",),
            SubscriptionType.REFUNDED,
            PaymentRefundedCloudEvent,
            "A refund: the newest transaction before it is reversed, or a share of its amounts.",
        ),
        EventType(
            "commerce.offer.shown.v1",
            ("checkout", "subscription"),
            OfferType.SHOWN,
            OfferCloudEvent,
            "An offer was shown in a checkout, or to the customer of a subscription. Neither an opportunity nor a transaction.",
        ),
        EventType(
            "commerce.offer.declined.v1",
            ("checkout", "subscription"),
            OfferType.DECLINED,
            OfferCloudEvent,
            "The customer declined an offer. Neither an opportunity nor a transaction.",
        ),
        EventType(
            "commerce.customer.erased.v1",
            ("checkout", "subscription"),
            CustomerType.ERASED,
            ErasedCloudEvent,
            "The customer is erased: a pseudonym replaces the customer id, and all counts stay.",
        ),
    )
}
"""By name. Events of one entity with equal times apply in this order."""

TYPE_NAMES: Final[Mapping[tuple[Journey, CheckoutType | SubscriptionType | OfferType | CustomerType], str]] = {
    (journey, event_type.kind): name for name, event_type in EVENT_TYPES.items() for journey in event_type.journeys
}
"""The name of a type that was decoded from the topic of a journey."""
