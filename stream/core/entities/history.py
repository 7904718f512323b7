"""What one event does to a subscription: the state before and after it, and the transaction that it makes.

    created         first plan: an opportunity and a transaction. With an explicit intent it is judged against that. Else, if it continues other
                    subscriptions (`previous`, or canceled at most 24 h before it), it is judged as a change from these. Else it may be an
                    additional product of the customer. Sold in a checkout it makes neither opportunity nor transaction
    trial_converted the trial became paid: a transaction, judged as the created event would have been
    changed         an opportunity and a transaction, judged against the items before it; in a trial only the items change
    renewed         the same, and it ends a trial
    canceled        ends; so does a change or renewal to no MRR, and a conversion to none
    refunded        gives back a share of the newest transaction
    scheduled       nothing

After a cancellation, created, changed and renewed come back: at most 24 h later as a change from what was canceled, later as a return without verdict, from
which current and initial items start again. In another currency nothing can be compared, and they start again, too.
"""

from collections.abc import Sequence

import msgspec

from stream.core.entities.assessment import PARTS, Amounts, Assessment, by_category
from stream.core.entities.basket import of_items
from stream.core.entities.offers import VERDICTS, Carried, has_offers
from stream.core.event import Item, SubscriptionEvent, SubscriptionType
from stream.core.identity import identity
from stream.core.judging.items import ItemVerdict, PlanTotal, additional, judge_items, merge_items, mrr, seats
from stream.core.money import ONE, Exact, exact, exponent, is_whole, plain, rounded
from stream.core.result import Intent, JudgedLine, Kind

Order = tuple[int, int, int, str, str]
"""(time, entityversion, type, id, source)."""
Items = tuple[Item, ...]

REFUNDS = 64
"""Refund ids that a subscription remembers, the newest ones."""


class SubscriptionState(msgspec.Struct, array_like=True, gc=False):
    """The result of a history up to some event. New fields go to the end."""

    items: Items | None = None
    """Current items, or those that were canceled; None while no event named any."""
    currency: str = ""
    initial: Items | None = None
    explicit: bool = False
    """`initial` is an explicit intent of the platform."""
    created: bool = False
    trial: bool = False
    paid: bool = False
    """There was a transaction, or it was sold in a checkout."""
    active: bool = False
    channel: str | None = None
    segment: str | None = None
    customer: str = ""
    newest: bytes = b""
    """Identity of the event that made the newest transaction."""
    refunded: int = 0
    """The share of that transaction that was given back, as an exact amount; may exceed `ONE`."""
    refund_ids: tuple[bytes, ...] = ()
    """Hashes of the refund ids that count."""
    seen: bool = False
    """There was an event."""
    canceled: int | None = None
    """Time of the cancellation that is in force."""
    was_paid: bool = False
    """It was active and paid just before that cancellation, and not for free."""
    basis: Items | None = None
    """What the conversion of a trial is judged as a change from; None: the initial items."""


class Swap(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What a customer canceled shortly before a new subscription: all of it together."""

    items: Items
    initial: Items


class Entry(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """An event that can still be put in order."""

    event: SubscriptionEvent
    others: tuple[str, ...] | None
    """Base products of the customer's other active paid subscriptions when this event arrived; None where its type does not ask."""
    swap: Swap | None = None
    """What the customer had canceled shortly before when this event arrived."""

    @property
    def order(self) -> Order:
        """Its place in the history."""
        event = self.event
        return event.time, event.version, event.type, event.id, event.source


class Effect(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What one event leads to: an opportunity, a transaction, both or neither."""

    time: int
    channel: str | None
    segment: str | None
    opportunity: bool = False
    sale: Assessment | None = None
    unchanged: bool = False
    """A change to what was there before."""


def advance(state: SubscriptionState, entry: Entry, window: int) -> tuple[Effect, bool]:
    """Apply one event in order; changes `state`.

    `window` is how long after a cancellation a change still follows on what was canceled, microseconds.

    Returns:
        Its effect, and whether it continues other subscriptions, if the customer has just canceled any.
    """
    event = entry.event
    effect = Effect(event.time, event.channel or state.channel, event.segment or state.segment)
    items = event.items
    if event.type is SubscriptionType.RENEWED and not items:
        items = None
    if _is_ignored(state, event, items):
        return effect, False
    state.channel, state.segment, state.customer = effect.channel, effect.segment, event.customer
    if event.intent is not None and not state.explicit:
        state.initial, state.explicit, state.basis = event.intent, True, None
    if not state.seen:
        state.seen, state.trial = True, event.trialing
    match event.type:
        case SubscriptionType.CREATED:
            return _created(state, entry, effect, window)
        case SubscriptionType.TRIAL_CONVERTED:
            return _converted(state, entry, effect), False
        case SubscriptionType.CHANGED | SubscriptionType.RENEWED:
            return _changed(state, event, items, effect, window), False
        case SubscriptionType.CANCELED:
            _learn(state, event)
            _cancel(state, event.time)
        case SubscriptionType.REFUNDED:
            _learn(state, event)
            _refund(state, event)
        case SubscriptionType.CHANGE_SCHEDULED:
            pass
    return effect, False


# Which events change nothing, and which end the subscription


def _is_ignored(state: SubscriptionState, event: SubscriptionEvent, items: Items | None) -> bool:
    canceled = state.canceled is not None
    match event.type:
        case SubscriptionType.CREATED:
            return state.created and not canceled
        case SubscriptionType.TRIAL_CONVERTED:
            return (state.paid and not state.trial) or (canceled and _ends(state, event, items))
        case SubscriptionType.CHANGED | SubscriptionType.RENEWED:
            return canceled and _ends(state, event, items)
        case SubscriptionType.CANCELED:
            return canceled
    return False


def _ends(state: SubscriptionState, event: SubscriptionEvent, items: Items | None) -> bool:
    """Whether an event takes the subscription to no MRR, which is a cancellation."""
    if items is None or mrr(items):
        return False
    if event.type is SubscriptionType.TRIAL_CONVERTED:
        return True
    before = _before(state, event)
    is_in_trial = event.type is SubscriptionType.CHANGED and state.trial
    return before is not None and mrr(before) > 0 and not is_in_trial


def _cancel(state: SubscriptionState, time: int) -> None:
    state.was_paid = state.active and state.paid and not state.trial and mrr(state.items or ()) > 0
    state.canceled, state.active, state.trial, state.basis = time, False, False, None


def _end(state: SubscriptionState, event: SubscriptionEvent) -> None:
    """Cancel by an event that has items of its own: those before it are what was canceled."""
    if state.items is None and event.previous is not None:
        state.items, state.currency = event.previous, event.currency
    if state.initial is None:
        state.initial = state.items
    _cancel(state, event.time)


def _learn(state: SubscriptionState, event: SubscriptionEvent) -> None:
    """Use the items of an event that changes none, where no current items are known."""
    known = event.items if event.items is not None else event.previous
    if state.items is None and known is not None:
        state.items, state.currency = known, event.currency
        if state.initial is None:
            state.initial = event.previous if event.previous is not None else known


def _refund(state: SubscriptionState, event: SubscriptionEvent) -> None:
    """Give back a share of the newest transaction; of one refund id only the first one counts."""
    if not state.newest:
        return
    refund = event.refund
    name = identity("refund", refund.refund_id if refund is not None and refund.refund_id is not None else event.id)
    if name in state.refund_ids:
        return
    state.refund_ids = (*state.refund_ids, name)[-REFUNDS:]
    state.refunded += ONE if refund is None else exact(refund.share)


# What is judged


def _created(state: SubscriptionState, entry: Entry, effect: Effect, window: int) -> tuple[Effect, bool]:
    event, items = entry.event, entry.event.items or ()
    own, first = event.intent, not state.paid
    before = _before(state, event)
    swaps = False
    sale: Assessment | None
    if state.canceled is not None and event.time - state.canceled > window:
        sale = _returned(state, event, items)
        state.basis = None
    elif _is_other_currency(state, event):
        sale = _incomparable(state, event, items)
    elif own is not None or (state.explicit and state.canceled is None):
        if own is not None and state.canceled is not None:
            state.initial, state.explicit = own, True
        intent = state.initial or ()
        sale = _judged(state, event, intent, items, intent)
    elif state.canceled is not None:
        sale = _compared(state, event, before, items)
        state.basis = before
        if state.initial is None:
            state.initial = before if before is not None else items
    elif event.previous:
        swaps = True
        state.basis = state.initial = event.previous
        sale = _judged(state, event, event.previous, items, event.previous)
    elif entry.swap is not None:
        swaps = True
        state.basis, state.initial = entry.swap.items, entry.swap.initial
        sale = _judged(state, event, entry.swap.items, items, entry.swap.initial)
    else:
        swaps = True
        state.initial = items
        is_additional = first and bool(entry.others)
        sale = (
            _additional(state, event, items, entry.others or ())
            if is_additional
            else _sale(state, event, "known", items, initial=items)
        )
    state.created = True
    _put_in_force(state, event, items)
    state.trial = event.trialing
    if not event.trialing:
        state.basis = None
    if event.in_checkout:
        state.paid = True
        return effect, swaps
    if event.trialing:
        return msgspec.structs.replace(effect, opportunity=True), swaps
    state.paid = True
    return msgspec.structs.replace(effect, opportunity=True, sale=sale), swaps


def _converted(state: SubscriptionState, entry: Entry, effect: Effect) -> Effect:
    event, items = entry.event, entry.event.items or ()
    if _ends(state, event, items):
        _end(state, event)
        return effect
    first = not state.paid
    if state.initial is None:
        state.initial = event.previous
    if _is_other_currency(state, event):
        sale = _incomparable(state, event, items)
    elif state.basis is not None:
        sale = _judged(state, event, state.basis, items, state.initial or ())
    elif not state.explicit and first and entry.others:
        sale = _additional(state, event, items, entry.others)
    else:
        sale = _compared(state, event, state.initial, items)
    if state.initial is None:
        state.initial = items
    _put_in_force(state, event, items)
    state.trial, state.paid, state.basis = False, True, None
    return msgspec.structs.replace(effect, sale=sale)


def _changed(
    state: SubscriptionState, event: SubscriptionEvent, given: Items | None, effect: Effect, window: int
) -> Effect:
    renewal = event.type is SubscriptionType.RENEWED
    before = _before(state, event)
    if _ends(state, event, given):
        _end(state, event)
        return effect
    is_return = state.canceled is not None and event.time - state.canceled > window
    other_currency = _is_other_currency(state, event)
    # What the items before cost in another currency is not known.
    items = given if given is not None or (other_currency and not is_return) else before
    if (
        not is_return
        and not other_currency
        and not renewal
        and before is not None
        and seats(before) == seats(items or ())
    ):
        if state.initial is None:
            state.initial = before
        _put_in_force(state, event, items)
        return msgspec.structs.replace(effect, unchanged=True)
    after = items or ()
    if is_return:
        sale = _returned(state, event, after)
    elif other_currency:
        sale = _incomparable(state, event, after)
    else:
        if state.initial is None:
            state.initial = event.previous if event.previous is not None else items
        sale = _compared(state, event, before, after)
    in_trial = state.trial and not renewal
    _put_in_force(state, event, items)
    if in_trial:
        return effect
    state.trial, state.paid, state.basis = False, True, None
    return msgspec.structs.replace(effect, opportunity=True, sale=sale)


def _before(state: SubscriptionState, event: SubscriptionEvent) -> Items | None:
    """The items before an event; None where they are unknown."""
    return state.items if state.items is not None else event.previous


def _put_in_force(state: SubscriptionState, event: SubscriptionEvent, items: Items | None) -> None:
    state.items, state.currency, state.active, state.canceled = items, event.currency, True, None


def _is_other_currency(state: SubscriptionState, event: SubscriptionEvent) -> bool:
    return state.items is not None and state.currency != event.currency


def _restart(state: SubscriptionState, event: SubscriptionEvent, items: Items) -> None:
    """Begin again with the items of the event, or with its own intent."""
    state.explicit = event.intent is not None
    state.initial = event.intent if event.intent is not None else items
    state.basis = None


def _returned(state: SubscriptionState, event: SubscriptionEvent, items: Items) -> Assessment:
    """A return, later than a change from what was canceled: no verdict, but for an intent of its own."""
    _restart(state, event, items)
    if event.intent is not None:
        return _judged(state, event, event.intent, items, event.intent)
    return _sale(state, event, "known", items, initial=items)


def _incomparable(state: SubscriptionState, event: SubscriptionEvent, items: Items) -> Assessment:
    _restart(state, event, items)
    return _sale(state, event, "incomparable", items)


def _compared(state: SubscriptionState, event: SubscriptionEvent, before: Items | None, items: Items) -> Assessment:
    """Judged as a change from the items before, where these are known."""
    if before is None:
        return _sale(state, event, "unknown", items)
    return _judged(state, event, before, items, state.initial or ())


def _judged(
    state: SubscriptionState, event: SubscriptionEvent, current: Items, items: Items, initial: Items
) -> Assessment:
    verdicts = judge_items(current, items, initial, exponent(event.currency))
    return _sale(state, event, "known", items, initial=current, verdicts=verdicts)


def _additional(
    state: SubscriptionState, event: SubscriptionEvent, items: Items, others: tuple[str, ...]
) -> Assessment:
    return _sale(state, event, "known", items, verdicts=additional(items, others, exponent(event.currency)))


def _sale(
    state: SubscriptionState,
    event: SubscriptionEvent,
    intent: Intent,
    items: Items,
    *,
    initial: Items | None = None,
    verdicts: Sequence[ItemVerdict] = (),
) -> Assessment:
    """The transaction; `initial` is what it was judged against."""
    places = exponent(event.currency)
    plans = merge_items(items)
    sums: dict[Kind, Exact] = dict.fromkeys(("upsell", "cross_sell", "downsell", "restored"), 0)
    for verdict in verdicts:
        sums[verdict.kind] += verdict.amount
    final = mrr(items)
    exact_parts: dict[str, Exact] = {"final": final, **dict(sums.items())}
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
            initial=rounded(mrr(initial), places) if initial is not None else 0,
            final=rounded(final, places),
            **{kind: rounded(amount, places) for kind, amount in sums.items()},
        ),
        categories=by_category(
            (plan.category for plan in plans),
            ((verdict.item.category, verdict.kind) for verdict in verdicts if verdict.item is not None),
        ),
        exact=()
        if all(is_whole(amount, places) for amount in exact_parts.values())
        else tuple(str(exact_parts[part]) for part in PARTS),
        basket=of_items(merge_items(initial or ()) if intent == "known" else None, plans, verdicts, places),
        offers=_carried(plans, verdicts if intent == "known" else None, places, is_whole_set=initial is None)
        if has_offers(items)
        else (),
    )


def _carried(
    plans: Sequence[PlanTotal], verdicts: Sequence[ItemVerdict] | None, places: int, *, is_whole_set: bool
) -> tuple[Carried, ...]:
    """The offers of the items; `verdicts` is None where the intent is not known. `is_whole_set`: a verdict is one on all items together."""
    judged: dict[str, int] = {}
    for verdict in verdicts or ():
        if verdict.item is not None:
            at = VERDICTS.index(verdict.kind)
            for plan in plans if is_whole_set else [verdict.item]:
                judged[plan.plan_id] = min(at, judged.get(plan.plan_id, at))
    default = VERDICTS.index("unknown" if verdicts is None else "nothing")
    found: dict[str, Carried] = {}
    for plan in plans:
        if plan.offer_id:
            own = Carried.of(
                plan.offer_id, judged.get(plan.plan_id, default), plan.mrr, plan.mrr, places, is_reversed=False
            )
            known = found.get(plan.offer_id)
            found[plan.offer_id] = own if known is None else known.joined(own, places)
    return tuple(found.values())


def _public(verdict: ItemVerdict, places: int) -> JudgedLine:
    item, before = verdict.item, verdict.before
    return JudgedLine(
        kind=verdict.kind,
        reason=verdict.reason,
        product_id=item.product_id if item else None,
        sku=item.plan_id if item else None,
        intent_product_id=before.product_id if before else None,
        intent_sku=before.plan_id if before else None,
        offer_id=item.offer_id if item else None,
        amount=plain(rounded(verdict.amount, places), places),
    )
