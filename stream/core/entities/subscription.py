"""A subscription: a history of events, put in order and judged one by one.

Rules: events are ordered by (time, entityversion, type, id). Events up to the allowed lateness older than the newest one are kept: a late event is put in
its place, and everything after it is judged again. Older events are settled: folded into a `SubscriptionState`. A transaction is compared with
the items before it (current) and with the initial intent (initial): see `core.judging.items`.
"""

from bisect import insort
from collections.abc import Sequence
from fractions import Fraction

import msgspec

from stream.core.entities.assessment import Amounts, Assessment, Opportunity, Sale, by_category
from stream.core.event import Item, SubscriptionEvent, SubscriptionType
from stream.core.identity import identity, remember, remembers
from stream.core.judging.items import ItemVerdict, PlanTotal, base_item, judge_items, merge_items, mrr
from stream.core.money import LARGEST, Exact, exponent, plain, rounded
from stream.core.result import Intent, JudgedLine, Kind, Reason

KEPT = 64
"""Events of a history that can still be put in order, at most; where more arrive within the lateness, the oldest are settled early."""


Order = tuple[int, int, int, str, str]
"""(time, entityversion, type, id, source)."""


class SubscriptionState(msgspec.Struct, array_like=True, gc=False):
    """The result of a history up to some event. New fields go to the end."""

    items: tuple[Item, ...] | None = None
    """Current items; None while no event named any."""
    currency: str = ""
    initial: tuple[Item, ...] | None = None
    explicit: bool = False
    """`initial` is an explicit intent of the platform."""
    created: bool = False
    trial: bool = False
    paid: bool = False
    """There was a transaction."""
    active: bool = False
    channel: str | None = None
    segment: str | None = None
    customer: str = ""
    newest: bytes = b""
    """Identity of the event that made the newest transaction."""
    refunded: bool = False
    """That transaction is refunded."""
    seen: bool = False
    """There was an event."""


class Entry(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """An event that can still be put in order."""

    event: SubscriptionEvent
    others: tuple[str, ...] | None
    """Base products of the customer's other active paid subscriptions when this event arrived."""

    @property
    def order(self) -> Order:
        """Its place in the history."""
        return place(self.event)


class Effect(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What one event leads to: an opportunity, a transaction, both or neither."""

    time: int
    channel: str | None
    segment: str | None
    opportunity: bool = False
    sale: Assessment | None = None


class Contribution(msgspec.Struct, array_like=True, gc=False):
    """What one event contributes to the counts."""

    effect: Effect
    reversed: bool = False
    opportunity: Opportunity | None = None
    sale: Sale | None = None
    version: int = 0
    digest: bytes = b""
    published: bool = False

    @property
    def assessment(self) -> Assessment | None:
        """Its transaction as judged; None where it made none."""
        sale = self.effect.sale
        return msgspec.structs.replace(sale, loss=sale.all_lost()) if sale is not None and self.reversed else sale


class Subscription(msgspec.Struct, array_like=True, gc=False):
    """What is remembered of a subscription. New fields go to the end."""

    newest: int
    """Time of the newest event."""
    settled: SubscriptionState
    """After everything that can no longer be put in order."""
    state: SubscriptionState
    """After everything."""
    entries: list[Entry]
    """In order."""
    contributions: dict[bytes, Contribution]
    """By identity of the event: of `entries`, and of the settled transaction that may still be refunded."""
    member: bytes = b""
    """Key of the customer under whom it is listed as active and paid; empty while it is not."""
    settled_to: Order | None = None
    """Place of the last event that is settled."""
    seen: bytes = b""
    """Identities, newest arrival last."""
    until: int | None = None
    """The day (since the epoch) after which the record may be forgotten, as in the index of expiries; None while it is active."""


def place(event: SubscriptionEvent) -> Order:
    """An event's place in the history."""
    return event.time, event.version, event.type, event.id, event.source


def is_stale(record: Subscription, event: SubscriptionEvent, lateness: int) -> bool:
    """Whether an event is too old to be put in order."""
    settled = record.settled_to is not None and place(event) <= record.settled_to
    return settled or event.time < record.newest - lateness


def knows(record: Subscription, event: SubscriptionEvent) -> bool:
    """Whether an event with this identity was applied before."""
    return remembers(record.seen, identity(event.source, event.id))


def customers(record: Subscription) -> set[str]:
    """Every customer whose id the record holds."""
    names = {entry.event.customer for entry in record.entries}
    names.update((record.state.customer, record.settled.customer))
    names.update(
        contributions.effect.sale.customer
        for contributions in record.contributions.values()
        if contributions.effect.sale is not None
    )
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
    for contributions in record.contributions.values():
        if contributions.effect.sale is not None and contributions.effect.sale.customer == customer:
            contributions.effect = replace(contributions.effect, sale=contributions.effect.sale.renamed(name))


Effects = dict[bytes, tuple[Effect, bool]]
"""What events lead to, and whether their transaction is refunded, by identity of the event."""


def apply(
    record: Subscription, event: SubscriptionEvent, others: tuple[str, ...], lateness: int
) -> tuple[Effects, bool]:
    """Put an event in its place in the history.

    Returns:
        The effects of the event and of every event whose effect it may have changed; and whether it is a refund without a transaction before it.
    """
    first_sale = event.type in (SubscriptionType.CREATED, SubscriptionType.TRIAL_CONVERTED)
    entry = Entry(event, others if first_sale else None)
    if not record.entries or entry.order > record.entries[-1].order:
        start, following = record.state, [entry]
        record.entries.append(entry)
    else:
        insort(record.entries, entry, key=_order)
        start, following = record.settled, record.entries
    record.newest = max(record.newest, event.time)
    record.seen = remember(record.seen, identity(event.source, event.id))
    state = msgspec.structs.replace(start)
    kept = record.contributions.get(state.newest)
    effects: Effects = {state.newest: (kept.effect, state.refunded)} if kept is not None else {}
    unmatched = False
    for each in following:
        if each is entry:
            unmatched = event.type is SubscriptionType.REFUNDED and not state.newest
        _walk(state, each, effects)
    record.state = state
    _settle(record, record.newest - lateness)
    return effects, unmatched


def _order(entry: Entry) -> Order:
    return entry.order


def _walk(state: SubscriptionState, entry: Entry, effects: Effects) -> None:
    effect, refund = advance(state, entry)
    event_hash = identity(entry.event.source, entry.event.id)
    if effect.sale is not None:
        state.newest, state.refunded = event_hash, False
    effects[event_hash] = effect, False
    if refund and state.newest and not state.refunded:
        state.refunded = True
        if state.newest in effects:
            effects[state.newest] = effects[state.newest][0], True


def _settle(record: Subscription, before: int) -> None:
    """Settle the events that can no longer be put in order."""
    while record.entries and (record.entries[0].event.time < before or len(record.entries) > KEPT):
        entry = record.entries.pop(0)
        record.settled_to = entry.order
        _walk(record.settled, entry, {})


def drop_settled_contributions(record: Subscription) -> None:
    """Keep the contributions of events that can still be put in order, and of the transaction that may still be refunded."""
    kept = {identity(entry.event.source, entry.event.id) for entry in record.entries} | {record.settled.newest}
    record.contributions = {event_hash: each for event_hash, each in record.contributions.items() if event_hash in kept}


def advance(state: SubscriptionState, entry: Entry) -> tuple[Effect, bool]:
    """Apply one event in order; changes `state`. Returns its effect, and whether it refunds the newest transaction."""
    event = entry.event
    effect = Effect(event.time, event.channel or state.channel, event.segment or state.segment)
    if event.type is SubscriptionType.CREATED and state.created:
        return effect, False
    if event.type is SubscriptionType.TRIAL_CONVERTED and state.paid and not state.trial:
        return effect, False
    state.channel, state.segment, state.customer = effect.channel, effect.segment, event.customer
    if event.intent is not None and not state.explicit:
        state.initial, state.explicit = event.intent, True
    if not state.seen:
        state.seen, state.trial = True, event.trialing
    match event.type:
        case SubscriptionType.CREATED:
            return _created(state, entry, effect), False
        case SubscriptionType.TRIAL_CONVERTED:
            return _converted(state, entry, effect), False
        case SubscriptionType.CHANGED | SubscriptionType.RENEWED:
            return _changed(state, entry, effect), False
        case SubscriptionType.CANCELED:
            _learn(state, event)
            state.active = state.trial = False
            return effect, False
        case SubscriptionType.REFUNDED:
            _learn(state, event)
            return effect, True
        case SubscriptionType.CHANGE_SCHEDULED:
            return effect, False


def _learn(state: SubscriptionState, event: SubscriptionEvent) -> None:
    """Use the items of an event that changes none, where no current items are known."""
    known = event.items if event.items is not None else event.previous
    if state.items is None and known is not None:
        state.items, state.currency = known, event.currency
        if state.initial is None:
            state.initial = event.previous if event.previous is not None else known


def _created(state: SubscriptionState, entry: Entry, effect: Effect) -> Effect:
    event, items = entry.event, entry.event.items or ()
    other_currency = _changes_currency(state, event)
    if not state.explicit:
        state.initial = items
    first = not state.paid
    state.created, state.items, state.currency, state.active = True, items, event.currency, True
    state.trial = event.trialing
    if event.trialing:
        return msgspec.structs.replace(effect, opportunity=True)
    sale = _first_sale(state, entry, state.initial, first=first, other_currency=other_currency)
    return msgspec.structs.replace(effect, opportunity=True, sale=sale)


def _converted(state: SubscriptionState, entry: Entry, effect: Effect) -> Effect:
    event, items = entry.event, entry.event.items or ()
    other_currency = _changes_currency(state, event)
    known = state.initial if state.initial is not None else event.previous
    first = not state.paid
    if state.initial is None:
        state.initial = event.previous if event.previous is not None else items
    state.items, state.currency, state.active, state.trial = items, event.currency, True, False
    return msgspec.structs.replace(
        effect, sale=_first_sale(state, entry, known, first=first, other_currency=other_currency)
    )


def _first_sale(
    state: SubscriptionState, entry: Entry, intent: tuple[Item, ...] | None, *, first: bool, other_currency: bool
) -> Assessment:
    """The first transaction of a paid subscription: judged against the intent, or as an additional product."""
    state.paid = True
    items = entry.event.items or ()
    if other_currency:
        return _sale(state, entry, "incomparable", items=items, initial=None)
    base = base_item(items)
    if first and not state.explicit and entry.others and base is not None:
        kind: Kind = "cross_sell" if base.product_id not in entry.others else "upsell"
        reason: Reason = "additional_product" if kind == "cross_sell" else "quantity"
        whole = ItemVerdict(kind, reason, base, None, mrr(items))
        return _sale(
            state, entry, "known", items=items, initial=intent if intent is not None else items, verdicts=[whole]
        )
    if intent is None:
        return _sale(state, entry, "unknown", items=items, initial=None)
    return _sale(
        state,
        entry,
        "known",
        items=items,
        initial=intent,
        verdicts=judge_items(intent, items, state.initial or ()),
    )


def _changed(state: SubscriptionState, entry: Entry, effect: Effect) -> Effect:
    event = entry.event
    renewal = event.type is SubscriptionType.RENEWED
    trial = state.trial
    other_currency = _changes_currency(state, event)
    before = state.items if state.items is not None else event.previous
    items = event.items if event.items is not None or other_currency else before
    if state.initial is None:
        state.initial = event.previous if event.previous is not None else items
    state.items, state.currency, state.active = items, event.currency, True
    if trial and not renewal:
        return effect
    state.trial, state.paid = False, True
    after = items or ()
    if other_currency:
        sale = _sale(state, entry, "incomparable", items=after, initial=None)
    elif before is None:
        sale = _sale(state, entry, "unknown", items=after, initial=None)
    elif renewal and _seats(before) == _seats(after):
        sale = _sale(state, entry, "known", items=after, initial=before)
    else:
        verdicts = judge_items(before, after, state.initial or ())
        sale = _sale(state, entry, "known", items=after, initial=before, verdicts=verdicts)
    return msgspec.structs.replace(effect, opportunity=True, sale=sale)


def _changes_currency(state: SubscriptionState, event: SubscriptionEvent) -> bool:
    """Whether the event has another currency than the current items; if so, the initial ones are replaced."""
    if state.items is None or state.currency == event.currency:
        return False
    state.explicit = event.intent is not None
    state.initial = event.intent if event.intent is not None else event.items
    return True


def _seats(items: tuple[Item, ...]) -> set[tuple[str, int]]:
    return {(held.plan_id, held.quantity) for held in merge_items(items)}


def _sale(
    state: SubscriptionState,
    entry: Entry,
    intent: Intent,
    *,
    items: tuple[Item, ...],
    initial: tuple[Item, ...] | None,
    verdicts: Sequence[ItemVerdict] = (),
) -> Assessment:
    event = entry.event
    places = exponent(event.currency)
    sums: dict[Kind, Fraction] = {"upsell": Fraction(0), "cross_sell": Fraction(0), "downsell": Fraction(0)}
    for verdict in verdicts:
        sums[verdict.kind] += verdict.amount
    return Assessment(
        source=event.source,
        event_id=event.id,
        time=event.time,
        customer=event.customer,
        channel=state.channel,
        segment=state.segment,
        currency=event.currency,
        intent=intent,
        lines=tuple(_public(verdict, places) for verdict in verdicts),
        amounts=Amounts(
            initial=_bounded(mrr(initial), places) if initial is not None else 0,
            final=_bounded(mrr(items), places),
            **{kind: _bounded(amount, places) for kind, amount in sums.items()},
        ),
        categories=by_category(
            (held.category for held in merge_items(items)),
            ((verdict.item.category, verdict.kind) for verdict in verdicts),
        ),
    )


def _public(verdict: ItemVerdict, places: int) -> JudgedLine:
    before: PlanTotal | None = verdict.before
    return JudgedLine(
        kind=verdict.kind,
        reason=verdict.reason,
        product_id=verdict.item.product_id,
        sku=verdict.item.plan_id,
        intent_product_id=before.product_id if before else None,
        intent_sku=before.plan_id if before else None,
        offer_id=None,
        amount=plain(_bounded(verdict.amount, places), places),
    )


def _bounded(amount: Exact, places: int) -> int:
    """Rounded, and at most `LARGEST`: many old units at the new price of one have no bound of their own."""
    return min(rounded(amount, places), LARGEST)
