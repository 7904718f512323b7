"""Entities as layout 1 stored them, and what becomes of them.

Rules: a record of layout 1 begins with an integer, a newer one with bytes, so a record tells its layout by itself. Upgrading changes no count: an entity keeps
what it contributes, and is judged by the present rules with its next event. What layout 1 did not store is filled in as said below.
"""

import msgspec

from stream.core.entities.assessment import Opportunity, Sale
from stream.core.entities.checkout import NOWHERE, Checkout, Fact, Order
from stream.core.entities.history import Effect, Entry, Items, SubscriptionState
from stream.core.entities.history import Order as Place
from stream.core.entities.reversal import Returned
from stream.core.entities.subscription import Contribution, Subscription
from stream.core.money import ONE


class _Checkout(msgspec.Struct, array_like=True, gc=False):
    newest: int
    first: int
    seen: bytes = b""
    started: int | None = None
    open: bool = False
    facts: list[Fact] = []
    cart: int = NOWHERE
    intent_of_started: int = NOWHERE
    intent_of_completed: int = NOWHERE
    made: int = NOWHERE
    final: int = NOWHERE
    channel: int = NOWHERE
    segment: int = NOWHERE
    refunds: tuple[Returned, ...] = ()
    canceled: bool = False
    opportunity: Opportunity | None = None
    sale: Sale | None = None
    version: int = 0
    digest: bytes = b""
    published: bool = False
    until: int | None = None


class _State(msgspec.Struct, array_like=True, gc=False):
    items: Items | None = None
    currency: str = ""
    initial: Items | None = None
    explicit: bool = False
    created: bool = False
    trial: bool = False
    paid: bool = False
    active: bool = False
    channel: str | None = None
    segment: str | None = None
    customer: str = ""
    newest: bytes = b""
    refunded: bool = False
    seen: bool = False


class _Contribution(msgspec.Struct, array_like=True, gc=False):
    effect: Effect
    reversed: bool = False
    opportunity: Opportunity | None = None
    sale: Sale | None = None
    version: int = 0
    digest: bytes = b""
    published: bool = False


class _Subscription(msgspec.Struct, array_like=True, gc=False):
    newest: int
    settled: _State
    state: _State
    entries: list[Entry]
    contributions: dict[bytes, _Contribution]
    member: bytes = b""
    settled_to: Place | None = None
    seen: bytes = b""
    until: int | None = None


def upgrade_checkout(data: bytes) -> Checkout:
    """A checkout of layout 1. Facts of layout 1 name no order, so they are those of the order without an id. Its opportunity keeps its time."""
    old = _decode_checkout(data)
    orders = (
        [Order("", old.made, old.final, old.refunds, old.canceled)]
        if old.made >= 0 or old.final >= 0 or old.refunds or old.canceled
        else []
    )
    return Checkout(
        old.seen,
        old.newest,
        old.started,
        old.first if old.open else None,
        old.facts,
        old.cart,
        old.intent_of_started,
        old.intent_of_completed,
        old.channel,
        old.segment,
        orders,
        old.opportunity,
        old.sale,
        old.version,
        old.digest,
        old.published,
        old.until,
    )


def upgrade_subscription(data: bytes) -> Subscription:
    """A subscription of layout 1. Layout 1 did not store when a subscription was canceled: it counts as canceled with its newest event."""
    old = _decode_subscription(data)
    return Subscription(
        old.seen,
        old.newest,
        _upgrade_state(old.settled, old.settled_to[0] if old.settled_to is not None else old.newest),
        _upgrade_state(old.state, old.newest),
        old.entries,
        {
            event_hash: Contribution(
                each.effect,
                ONE if each.reversed else 0,
                each.opportunity,
                each.sale,
                each.version,
                each.digest,
                each.published,
            )
            for event_hash, each in old.contributions.items()
        },
        old.member,
        old.settled_to,
        old.until,
    )


def _upgrade_state(old: _State, newest: int) -> SubscriptionState:
    is_canceled = (old.created or old.paid) and not old.active
    return SubscriptionState(
        old.items,
        old.currency,
        old.initial,
        old.explicit,
        old.created,
        old.trial,
        old.paid,
        old.active,
        old.channel,
        old.segment,
        old.customer,
        old.newest,
        ONE if old.refunded else 0,
        (),
        old.seen,
        newest if is_canceled else None,
        False,
        None,
    )


_decode_checkout = msgspec.msgpack.Decoder(_Checkout).decode
_decode_subscription = msgspec.msgpack.Decoder(_Subscription).decode
