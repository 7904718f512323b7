"""A subscription: a history, put in order and judged step by step.

Rules: events are ordered by (time, entityversion, type, id). Those up to the allowed lateness older than the newest one are kept, so that one
that comes late is put in its place and everything after it is judged again; what is older is folded into a `Position` and done with. A
transaction is compared with the items before it (current) and with what the customer first came for (initial): see `core.plans`.
"""

from bisect import insort
from collections.abc import Sequence
from fractions import Fraction

import msgspec

from stream.core.entities.assessment import Amounts, Assessment, Opportunity, Sale, by_category
from stream.core.event import Item, SubscriptionEvent, SubscriptionType
from stream.core.identity import identity, remember, remembers
from stream.core.judging.items import Held, ItemVerdict, base_item, hold, judge_items, mrr
from stream.core.money import LARGEST, Exact, exponent, plain, rounded
from stream.core.result import Intent, JudgedLine, Kind, Reason

KEPT = 64
"""Events of a history that can still be put in order; where more come within the lateness, the oldest are settled early."""


Order = tuple[int, int, int, str, str]
"""(time, entityversion, type, id, source)."""


class Position(msgspec.Struct, array_like=True, gc=False):
    """Where a history stands after some of its events. New fields go to the end."""

    items: tuple[Item, ...] | None = None
    """Current; None where nothing was seen."""
    currency: str = ""
    initial: tuple[Item, ...] | None = None
    explicit: bool = False
    """`initial` is what the platform said."""
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
    """That transaction is reversed."""
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


class Turn(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What one event amounts to."""

    time: int
    channel: str | None
    segment: str | None
    opportunity: bool = False
    sale: Assessment | None = None


class Booked(msgspec.Struct, array_like=True, gc=False):
    """What an event has contributed."""

    turn: Turn
    reversed: bool = False
    opportunity: Opportunity | None = None
    sale: Sale | None = None
    version: int = 0
    digest: bytes = b""
    published: bool = False

    @property
    def assessment(self) -> Assessment | None:
        """What is said of its transaction, if it made one."""
        sale = self.turn.sale
        return msgspec.structs.replace(sale, loss=sale.all_lost()) if sale is not None and self.reversed else sale


class Subscription(msgspec.Struct, array_like=True, gc=False):
    """What is remembered of a subscription. New fields go to the end."""

    newest: int
    """Time of the newest event."""
    settled: Position
    """After everything that can no longer be put in order."""
    position: Position
    """After everything."""
    entries: list[Entry]
    """In order."""
    booked: dict[bytes, Booked]
    """By identity of the event: of `entries`, and of the transaction that may still be refunded."""
    member: bytes = b""
    """The customer under whom it is listed as active and paid."""
    settled_to: Order | None = None
    """Place of the last event that is settled."""
    seen: bytes = b""
    """Identities, newest arrival last."""
    until: int | None = None
    """The day (since the epoch) after which the record may be forgotten, as the index of expiries has it; None while it is active."""


def place(event: SubscriptionEvent) -> Order:
    """An event's place in the history."""
    return event.time, event.version, event.type, event.id, event.source


def is_stale(record: Subscription, event: SubscriptionEvent, lateness: int) -> bool:
    """Whether an event is too old to be put in order."""
    settled = record.settled_to is not None and place(event) <= record.settled_to
    return settled or event.time < record.newest - lateness


def knows(record: Subscription, event: SubscriptionEvent) -> bool:
    """Whether an event with this identity was taken in before."""
    return remembers(record.seen, identity(event.source, event.id))


def customers(record: Subscription) -> set[str]:
    """Every customer whose id the record holds."""
    names = {entry.event.customer for entry in record.entries}
    names.update((record.position.customer, record.settled.customer))
    names.update(booked.turn.sale.customer for booked in record.booked.values() if booked.turn.sale is not None)
    names.discard("")
    return names


def rename(record: Subscription, customer: str, name: str) -> None:
    """Put another name wherever a customer's id is."""
    replace = msgspec.structs.replace
    for position in (record.settled, record.position):
        if position.customer == customer:
            position.customer = name
    record.entries = [
        replace(entry, event=replace(entry.event, customer=name)) if entry.event.customer == customer else entry
        for entry in record.entries
    ]
    for booked in record.booked.values():
        if booked.turn.sale is not None and booked.turn.sale.customer == customer:
            booked.turn = replace(booked.turn, sale=booked.turn.sale.renamed(name))


Turns = dict[bytes, tuple[Turn, bool]]
"""What events amount to, and whether that is reversed, by identity of the event."""


def take_in(
    record: Subscription, event: SubscriptionEvent, others: tuple[str, ...], lateness: int
) -> tuple[Turns, bool]:
    """Put an event in its place.

    Returns:
        What the event, and every other that it may have changed, amounts to now; and whether it is a refund before which there was no transaction.
    """
    first_sale = event.type in (SubscriptionType.CREATED, SubscriptionType.TRIAL_CONVERTED)
    entry = Entry(event, others if first_sale else None)
    if not record.entries or entry.order > record.entries[-1].order:
        start, walked = record.position, [entry]
        record.entries.append(entry)
    else:
        insort(record.entries, entry, key=_order)
        start, walked = record.settled, record.entries
    record.newest = max(record.newest, event.time)
    record.seen = remember(record.seen, identity(event.source, event.id))
    position = msgspec.structs.replace(start)
    kept = record.booked.get(position.newest)
    turns: Turns = {position.newest: (kept.turn, position.refunded)} if kept is not None else {}
    unmatched = False
    for each in walked:
        if each is entry:
            unmatched = event.type is SubscriptionType.REFUNDED and not position.newest
        _walk(position, each, turns)
    record.position = position
    _settle(record, record.newest - lateness)
    return turns, unmatched


def _order(entry: Entry) -> Order:
    return entry.order


def _walk(position: Position, entry: Entry, turns: Turns) -> None:
    turn, refund = advance(position, entry)
    mark = identity(entry.event.source, entry.event.id)
    if turn.sale is not None:
        position.newest, position.refunded = mark, False
    turns[mark] = turn, False
    if refund and position.newest and not position.refunded:
        position.refunded = True
        if position.newest in turns:
            turns[position.newest] = turns[position.newest][0], True


def _settle(record: Subscription, before: int) -> None:
    """Fold what can no longer be put in order."""
    while record.entries and (record.entries[0].event.time < before or len(record.entries) > KEPT):
        entry = record.entries.pop(0)
        record.settled_to = entry.order
        _walk(record.settled, entry, {})


def advance(position: Position, entry: Entry) -> tuple[Turn, bool]:
    """Take one event in order; changes `position`. Returns what it amounts to, and whether it takes the newest transaction back."""
    event = entry.event
    turn = Turn(event.time, event.channel or position.channel, event.segment or position.segment)
    if event.type is SubscriptionType.CREATED and position.created:
        return turn, False
    if event.type is SubscriptionType.TRIAL_CONVERTED and position.paid and not position.trial:
        return turn, False
    position.channel, position.segment, position.customer = turn.channel, turn.segment, event.customer
    if event.intent is not None and not position.explicit:
        position.initial, position.explicit = event.intent, True
    if not position.seen:
        position.seen, position.trial = True, event.trialing
    match event.type:
        case SubscriptionType.CREATED:
            return _created(position, entry, turn), False
        case SubscriptionType.TRIAL_CONVERTED:
            return _converted(position, entry, turn), False
        case SubscriptionType.CHANGED | SubscriptionType.RENEWED:
            return _changed(position, entry, turn), False
        case SubscriptionType.CANCELED:
            _learn(position, event)
            position.active = position.trial = False
            return turn, False
        case SubscriptionType.REFUNDED:
            _learn(position, event)
            return turn, True
        case SubscriptionType.CHANGE_SCHEDULED:
            return turn, False


def _learn(position: Position, event: SubscriptionEvent) -> None:
    """Take over the items of an event that changes none, where none are known."""
    known = event.items if event.items is not None else event.previous
    if position.items is None and known is not None:
        position.items, position.currency = known, event.currency
        if position.initial is None:
            position.initial = event.previous if event.previous is not None else known


def _created(position: Position, entry: Entry, turn: Turn) -> Turn:
    event, items = entry.event, entry.event.items or ()
    foreign = _start_anew(position, event)
    if not position.explicit:
        position.initial = items
    first = not position.paid
    position.created, position.items, position.currency, position.active = True, items, event.currency, True
    position.trial = event.trialing
    if event.trialing:
        return msgspec.structs.replace(turn, opportunity=True)
    sale = _first_sale(position, entry, position.initial, first=first, foreign=foreign)
    return msgspec.structs.replace(turn, opportunity=True, sale=sale)


def _converted(position: Position, entry: Entry, turn: Turn) -> Turn:
    event, items = entry.event, entry.event.items or ()
    foreign = _start_anew(position, event)
    known = position.initial if position.initial is not None else event.previous
    first = not position.paid
    if position.initial is None:
        position.initial = event.previous if event.previous is not None else items
    position.items, position.currency, position.active, position.trial = items, event.currency, True, False
    return msgspec.structs.replace(turn, sale=_first_sale(position, entry, known, first=first, foreign=foreign))


def _first_sale(
    position: Position, entry: Entry, intent: tuple[Item, ...] | None, *, first: bool, foreign: bool
) -> Assessment:
    """The transaction that begins a paid subscription: judged against the intent, or as an additional product."""
    position.paid = True
    items = entry.event.items or ()
    if foreign:
        return _sale(position, entry, "incomparable", items=items, initial=None)
    base = base_item(items)
    if first and not position.explicit and entry.others and base is not None:
        kind: Kind = "cross_sell" if base.product_id not in entry.others else "upsell"
        reason: Reason = "additional_product" if kind == "cross_sell" else "quantity"
        whole = ItemVerdict(kind, reason, base, None, mrr(items))
        return _sale(
            position, entry, "known", items=items, initial=intent if intent is not None else items, verdicts=[whole]
        )
    if intent is None:
        return _sale(position, entry, "unknown", items=items, initial=None)
    return _sale(
        position,
        entry,
        "known",
        items=items,
        initial=intent,
        verdicts=judge_items(intent, items, position.initial or ()),
    )


def _changed(position: Position, entry: Entry, turn: Turn) -> Turn:
    event = entry.event
    renewal = event.type is SubscriptionType.RENEWED
    trial = position.trial
    foreign = _start_anew(position, event)
    before = position.items if position.items is not None else event.previous
    items = event.items if event.items is not None or foreign else before
    if position.initial is None:
        position.initial = event.previous if event.previous is not None else items
    position.items, position.currency, position.active = items, event.currency, True
    if trial and not renewal:
        return turn
    position.trial, position.paid = False, True
    after = items or ()
    if foreign:
        sale = _sale(position, entry, "incomparable", items=after, initial=None)
    elif before is None:
        sale = _sale(position, entry, "unknown", items=after, initial=None)
    elif renewal and _seats(before) == _seats(after):
        sale = _sale(position, entry, "known", items=after, initial=before)
    else:
        verdicts = judge_items(before, after, position.initial or ())
        sale = _sale(position, entry, "known", items=after, initial=before, verdicts=verdicts)
    return msgspec.structs.replace(turn, opportunity=True, sale=sale)


def _start_anew(position: Position, event: SubscriptionEvent) -> bool:
    """Whether the event comes in another currency than what is current; if so, current and initial are forgotten."""
    if position.items is None or position.currency == event.currency:
        return False
    position.explicit = event.intent is not None
    position.initial = event.intent if event.intent is not None else event.items
    return True


def _seats(items: tuple[Item, ...]) -> set[tuple[str, int]]:
    return {(held.plan_id, held.quantity) for held in hold(items)}


def _sale(
    position: Position,
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
        channel=position.channel,
        segment=position.segment,
        currency=event.currency,
        intent=intent,
        lines=tuple(_public(verdict, places) for verdict in verdicts),
        amounts=Amounts(
            initial=_stated(mrr(initial), places) if initial is not None else 0,
            final=_stated(mrr(items), places),
            **{kind: _stated(amount, places) for kind, amount in sums.items()},
        ),
        categories=by_category(
            (held.category for held in hold(items)), ((verdict.item.category, verdict.kind) for verdict in verdicts)
        ),
    )


def _public(verdict: ItemVerdict, places: int) -> JudgedLine:
    before: Held | None = verdict.before
    return JudgedLine(
        kind=verdict.kind,
        reason=verdict.reason,
        product_id=verdict.item.product_id,
        sku=verdict.item.plan_id,
        intent_product_id=before.product_id if before else None,
        intent_sku=before.plan_id if before else None,
        offer_id=None,
        amount=plain(_stated(verdict.amount, places), places),
    )


def _stated(amount: Exact, places: int) -> int:
    """Rounded, and cut: what is valued at a new price has no bound of its own, many old units at a price meant for one."""
    return min(rounded(amount, places), LARGEST)
