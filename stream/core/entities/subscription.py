"""A subscription: a history of events, put in order.

Rules: events are ordered by (time, entityversion, type, id). Events up to the allowed lateness older than the newest one are kept: a late event is put in
its place, and everything after it is judged again. Older events are settled: folded into a `SubscriptionState`. What one event does to the
state, and which transaction it makes, is in `core.entities.history`.
"""

from bisect import insort

import msgspec

from stream.core.entities.assessment import Assessment, Opportunity, Sale
from stream.core.entities.history import Effect, Entry, Order, SubscriptionState, Swap, advance
from stream.core.entities.offers import Accepted, has_offers
from stream.core.event import SubscriptionEvent, SubscriptionType
from stream.core.identity import identity, remember, remembers
from stream.core.money import ONE

KEPT = 64
"""Events of a history that can still be put in order, at most; where more arrive within the lateness, the oldest are settled early."""


class Contribution(msgspec.Struct, array_like=True, gc=False):
    """What one event contributes to the counts."""

    effect: Effect
    refunded: int = 0
    """The share of its transaction that was given back, as an exact amount."""
    opportunity: Opportunity | None = None
    sale: Sale | None = None
    version: int = 0
    digest: bytes = b""
    published: bool = False
    basket_rules: int = 0
    """As of `Checkout`."""

    @property
    def assessment(self) -> Assessment | None:
        """Its transaction as judged; None where it made none."""
        sale = self.effect.sale
        return sale.lost(self.refunded) if sale is not None else None


class Subscription(msgspec.Struct, array_like=True, gc=False):
    """What is remembered of a subscription. New fields go to the end."""

    seen: bytes
    """Identities of events, 8 bytes each, newest arrival last. It is the first field: a record of layout 1 begins with an integer."""
    newest: int
    """Time of the newest event."""
    settled: SubscriptionState
    """After everything that can no longer be put in order."""
    state: SubscriptionState
    """After everything."""
    entries: list[Entry]
    """Events that can still be put in order, in order."""
    contributions: dict[bytes, Contribution]
    """By identity of the event: of `entries`, and of the settled transaction that may still be refunded."""
    member: bytes = b""
    """Key of the customer under whom it is listed as active and paid; empty while it is not."""
    settled_to: Order | None = None
    """Place of the last event that is settled."""
    until: int | None = None
    """The day (since the epoch) after which the record may be forgotten, as in the index of expiries; None while it is active."""
    has_offers: bool = False
    """Some item has an offer, or had one."""
    accepted: list[Accepted] = []
    """As it is counted now."""


class Applied(msgspec.Struct, frozen=True, gc=False):
    """What became of an event."""

    effects: dict[bytes, tuple[Effect, int]]
    """By identity, of the event and of every event whose effect it may have changed: effect, and the share of its transaction that was refunded."""
    unmatched: bool = False
    """It is a refund without a transaction before it."""
    unchanged: bool = False
    """It is a change to what was there before."""
    swaps: bool = False
    """It continues the subscriptions that the customer has just canceled, if there are any."""
    order: tuple[bytes, ...] = ()
    """Where items have offers: the identities of all events that may have a contribution, in order."""


def is_stale(record: Subscription, event: SubscriptionEvent, lateness: int) -> bool:
    """Whether an event is too old to be put in order."""
    settled = record.settled_to is not None and Entry(event, None).order <= record.settled_to
    return settled or event.time < record.newest - lateness


def knows(record: Subscription, event: SubscriptionEvent) -> bool:
    """Whether an event with this identity was applied before."""
    return remembers(record.seen, identity(event.source, event.id))


def customers(record: Subscription) -> set[str]:
    """Every customer whose id the record holds."""
    names = {entry.event.customer for entry in record.entries}
    names.update((record.state.customer, record.settled.customer))
    names.update(each.effect.sale.customer for each in record.contributions.values() if each.effect.sale is not None)
    names.discard("")
    return names


def rename(record: Subscription, customer: str, name: str) -> None:
    """Replace a customer's id by another name, everywhere in the record."""
    replace = msgspec.structs.replace
    for state in (record.settled, record.state):
        if state.customer == customer:
            state.customer = name
    record.entries = [
        replace(entry, event=replace(entry.event, customer=name)) if entry.event.customer == customer else entry
        for entry in record.entries
    ]
    for each in record.contributions.values():
        if each.effect.sale is not None and each.effect.sale.customer == customer:
            each.effect = replace(each.effect, sale=each.effect.sale.renamed(name))


def apply(
    record: Subscription,
    event: SubscriptionEvent,
    others: tuple[str, ...],
    swap: Swap | None,
    lateness: int,
    swap_window: int,
) -> Applied:
    """Put an event in its place in the history.

    Args:
        record: The subscription; it is changed.
        event: An event that is neither known nor stale.
        others: Base products of the customer's other active paid subscriptions.
        swap: What the customer has canceled at most `swap_window` before.
        lateness: How much older than the newest event an event may be, microseconds.
        swap_window: How long after a cancellation a change still follows on what was canceled, microseconds.
    """
    first_sale = event.type in (SubscriptionType.CREATED, SubscriptionType.TRIAL_CONVERTED)
    entry = Entry(event, others if first_sale else None, swap)
    if not record.entries or entry.order > record.entries[-1].order:
        start, following = record.state, [entry]
        record.entries.append(entry)
    else:
        insort(record.entries, entry, key=_order)
        start, following = record.settled, record.entries
    record.has_offers = record.has_offers or has_offers(event.items or ()) or has_offers(event.previous or ())
    record.newest = max(record.newest, event.time)
    record.seen = remember(record.seen, identity(event.source, event.id))
    state = msgspec.structs.replace(start)
    kept = record.contributions.get(state.newest)
    effects = {state.newest: (kept.effect, state.refunded)} if kept is not None else {}
    unmatched = unchanged = swaps = False
    for each in following:
        had_transaction = bool(state.newest)
        effect, is_swap = _step(state, each, effects, swap_window)
        if each is entry:
            unmatched = event.type is SubscriptionType.REFUNDED and not had_transaction
            unchanged, swaps = effect.unchanged, is_swap
    if swap is not None and not swaps:
        # Whatever the history becomes, this event continues nothing: what it could have continued is left for others.
        record.entries[record.entries.index(entry)] = Entry(event, entry.others)
    record.state = state
    order: tuple[bytes, ...] = ()
    if record.has_offers:
        order = (record.settled.newest, *[_identity(each) for each in record.entries])
    _settle(record, record.newest - lateness, swap_window)
    return Applied(effects, unmatched, unchanged, swaps, order)


def drop_settled_contributions(record: Subscription) -> None:
    """Keep the contributions of events that can still be put in order, and of the transaction that may still be refunded."""
    if len(record.contributions) == len(record.entries) + (record.settled.newest in record.contributions):
        return
    kept = {_identity(entry) for entry in record.entries} | {record.settled.newest}
    record.contributions = {event_hash: each for event_hash, each in record.contributions.items() if event_hash in kept}


def _identity(entry: Entry) -> bytes:
    return identity(entry.event.source, entry.event.id)


def _order(entry: Entry) -> Order:
    return entry.order


def _step(
    state: SubscriptionState, entry: Entry, effects: dict[bytes, tuple[Effect, int]], swap_window: int
) -> tuple[Effect, bool]:
    """Apply one event of the history; its effect, and whether it is a swap."""
    newest = state.newest
    effect, swaps = advance(state, entry, swap_window)
    event_hash = _identity(entry)
    if effect.sale is not None:
        state.newest, state.refunded = event_hash, 0
    effects[event_hash] = effect, 0
    if state.refunded and newest in effects:
        effects[newest] = effects[newest][0], min(state.refunded, ONE)
    return effect, swaps


def _settle(record: Subscription, before: int, swap_window: int) -> None:
    """Settle the events that can no longer be put in order."""
    while record.entries and (record.entries[0].event.time < before or len(record.entries) > KEPT):
        entry = record.entries.pop(0)
        record.settled_to = entry.order
        _step(record.settled, entry, {}, swap_window)
