"""A checkout: a set of facts, judged from all that is known, in whatever order the facts arrived.

Rules: facts are ordered by (time, entityversion, type, id). Every field of the record is the first or the last fact of some kind in that order. So
adding facts is associative, commutative and idempotent, and the record stays small however many facts arrive. Identities of events are
remembered, too: a second event with the same identity changes nothing, even if its body differs.

A checkout may have several orders; facts are kept by the order id that they name. Which order a fact belongs to is decided when the checkout is assessed:
a fact without an id belongs to the order of the first completed fact; a fact whose id no completed fact has belongs to the order without an
id, if there is one.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import msgspec

from stream.core.entities.assessment import NO_LOSS, Amounts, Assessment, Opportunity, Sale, by_category
from stream.core.entities.basket import of_cart
from stream.core.entities.offers import VERDICTS, Accepted, Carried, has_offers
from stream.core.entities.reversal import FactOrder, Part, Remains, Returned, amounts_of, reduced, remains_of, sums_of
from stream.core.event import CheckoutEvent, CheckoutType, Line
from stream.core.identity import remember
from stream.core.judging.cart import (
    NOTHING,
    CartLine,
    Comparison,
    LineVerdict,
    compare,
    judge_parts,
    lines_of,
    net,
)
from stream.core.money import Exact, exponent, plain, rounded
from stream.core.result import JudgedLine

ORDERS = 32
"""Order ids that a checkout may have."""
REMEMBERED = 1000
"""Refunds that an order remembers at most, the first ones in order."""
_STARTED, _UPDATED, _COMPLETED, _ORDER_UPDATED = (
    CheckoutType.STARTED,
    CheckoutType.UPDATED,
    CheckoutType.COMPLETED,
    CheckoutType.ORDER_UPDATED,
)  # a member of an enumeration is slow to look up
NOWHERE = -1
"""Position for: there is no such fact."""


class Fact(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What one event said, as far as it is still needed."""

    order: FactOrder
    currency: str
    lines: tuple[Line, ...]
    channel: str | None
    segment: str | None
    intent: tuple[Line, ...] | None = None
    customer: str = ""
    """Of the first completed fact only."""


class Order(msgspec.Struct, array_like=True, gc=False):
    """The facts that name one order id."""

    id: str
    """Empty for the facts that name none."""
    completed: int = NOWHERE
    """First completed fact."""
    final: int = NOWHERE
    """Last completed or order-updated fact: its lines are those of the order."""
    refunds: tuple[Returned, ...] = ()
    """The first fact of each refund id, in order."""
    canceled: bool = False


class Checkout(msgspec.Struct, array_like=True, gc=False):
    """What is remembered of a checkout. New fields go to the end."""

    seen: bytes
    """Identities of events, 8 bytes each, newest arrival last. It is the first field: a record of layout 1 begins with an integer."""
    newest: int
    """Time of the newest fact."""
    started: int | None = None
    """Time of the first started fact."""
    begun: int | None = None
    """Time of the first updated or completed fact."""
    facts: list[Fact] = []
    """The facts that a position names."""
    cart: int = NOWHERE
    """First non-empty cart of started and updated."""
    intent_of_started: int = NOWHERE
    """First started fact with an explicit intent."""
    intent_of_completed: int = NOWHERE
    """First completed fact with an explicit intent."""
    channel: int = NOWHERE
    """Last fact with a channel."""
    segment: int = NOWHERE
    """Last fact with a segment."""
    orders: list[Order] = []
    opportunity: Opportunity | None = None
    """As it is counted now."""
    sale: Sale | None = None
    """As it is counted now."""
    version: int = 0
    digest: bytes = b""
    """Of the assessment that is counted and published."""
    published: bool = False
    """Some version had kinds."""
    until: int | None = None
    """The day (since the epoch) after which the record may be forgotten, as in the index of expiries."""
    basket_rules: int = 0
    """Version of the rules by which its products are counted by day (`basket.RULES`); 0: they are not."""
    has_offers: bool = False
    """Some line of an order has an offer, or had one."""
    accepted: list[Accepted] = []
    """As it is counted now."""


def apply(record: Checkout, event: CheckoutEvent, event_hash: bytes) -> None:
    """Add a fact whose identity, `event_hash`, is not among those seen."""
    kind, time = event.type, event.time
    order: FactOrder = (time, event.version, kind, event.id, event.source)
    record.newest = max(record.newest, time)
    record.seen = remember(record.seen, event_hash)
    facts = record.facts
    here = len(facts)
    lines: tuple[Line, ...] = ()
    intent, customer, replaced, kept = None, "", False, False
    if event.channel and _is_last(facts, record.channel, order):
        replaced, kept = record.channel >= 0, True
        record.channel = here
    if event.segment and _is_last(facts, record.segment, order):
        replaced, kept = replaced or record.segment >= 0, True
        record.segment = here
    if kind is _STARTED:
        record.started = time if record.started is None else min(record.started, time)
        if event.intent is not None and _is_first(facts, record.intent_of_started, order):
            replaced, kept = replaced or record.intent_of_started >= 0, True
            record.intent_of_started, intent = here, event.intent
    if kind <= _UPDATED:
        if kind is _UPDATED:
            record.begun = time if record.begun is None else min(record.begun, time)
        if event.products and _is_first(facts, record.cart, order):
            replaced, kept = replaced or record.cart >= 0, True
            record.cart, lines = here, event.products
    else:
        order_id = event.order_id or ""
        for own in record.orders:
            if own.id == order_id:
                break
        else:
            own = Order(order_id)
            record.orders = [*record.orders, own]
        if kind <= _ORDER_UPDATED:
            if _is_last(facts, own.final, order):
                replaced, kept = replaced or own.final >= 0, True
                own.final, lines = here, event.products
                record.has_offers = record.has_offers or has_offers(lines)
            if kind is _COMPLETED:
                record.begun = time if record.begun is None else min(record.begun, time)
                if _is_first(facts, first := first_completed(record), order):
                    replaced, customer = replaced or first >= 0, event.customer
                if _is_first(facts, own.completed, order):
                    replaced, kept = replaced or own.completed >= 0, True
                    own.completed = here
                if event.intent is not None and _is_first(facts, record.intent_of_completed, order):
                    replaced, kept = replaced or record.intent_of_completed >= 0, True
                    record.intent_of_completed, intent = here, event.intent
        elif event.refund is not None:
            known = {returned.refund.refund_id: returned for returned in own.refunds}
            other = known.get(event.refund.refund_id)
            if other is None or order < other.order:
                known[event.refund.refund_id] = Returned(order, event.currency, reduced(event.refund))
                own.refunds = tuple(sorted(known.values(), key=_order_of)[:REMEMBERED])
        else:
            own.canceled = True
    if kept:
        facts.append(Fact(order, event.currency, lines, event.channel, event.segment, intent, customer))
        if replaced:
            _drop_unused(record)


def has_room(record: Checkout, order_id: str | None) -> bool:
    """Whether a fact of this order may be added."""
    orders = record.orders
    return (
        not order_id
        or len(orders) < ORDERS
        or (any(order.id == order_id for order in orders) or sum(bool(order.id) for order in orders) < ORDERS)
    )


def first_completed(record: Checkout) -> int:
    """Position of the first completed fact of all orders."""
    orders = record.orders
    if len(orders) == 1:
        return orders[0].completed
    facts = record.facts
    made = [order.completed for order in orders if order.completed >= 0]
    return min(made, key=lambda at: facts[at].order) if made else NOWHERE


def is_matched(record: Checkout, event: CheckoutEvent) -> bool:
    """Whether the order that a fact is about, if it is about one, was completed by what is known."""
    if event.type <= _COMPLETED:
        return True
    completed = {order.id for order in record.orders if order.completed >= 0}
    if not completed:
        return False
    return not event.order_id or event.order_id in completed or _main(record).id == ""


def rename(record: Checkout, customer: str, name: str) -> None:
    """Replace a customer's id by another name."""
    record.facts = [
        msgspec.structs.replace(fact, customer=name) if fact.customer == customer else fact for fact in record.facts
    ]


def channel(record: Checkout) -> str | None:
    """The newest one."""
    return record.facts[record.channel].channel if record.channel >= 0 else None


def segment(record: Checkout) -> str | None:
    """The newest one."""
    return record.facts[record.segment].segment if record.segment >= 0 else None


def final_facts(record: Checkout) -> Iterator[Fact]:
    """The facts whose lines are those of an order."""
    return (record.facts[order.final] for order in record.orders if order.final >= 0)


def opportunity_time(record: Checkout) -> int | None:
    """Time of the opportunity; None while there is none."""
    return record.begun if record.started is None else record.started


def assess(record: Checkout) -> Assessment | None:
    """The judged transaction; None until an order is completed."""
    facts, orders = record.facts, record.orders
    at = orders[0].completed if len(orders) == 1 else first_completed(record)
    if at < 0:
        return None
    if len(orders) > 1:
        orders = _resolved(record)
    first = facts[at]
    currency, places = first.currency, exponent(first.currency)
    finals = [facts[order.final] for order in orders]
    all_lines = bought = lines_of(
        finals[0].lines if len(finals) == 1 else [line for each in finals for line in each.lines]
    )
    foreign = [each for each in finals if each.currency != currency]
    if foreign:
        bought = lines_of([line for each in finals if each.currency == currency for line in each.lines])
    intent = _intent(record)
    comparable = intent is not None and intent[0] == currency and not foreign
    wanted: Sequence[CartLine] = ()
    comparisons, judged = NOTHING, []
    if intent is not None and comparable:
        if len(finals) == 1 and intent[1] == finals[0].lines:
            wanted = bought  # a cart against itself: everything is kept
        else:
            wanted = lines_of(intent[1])
            comparisons = compare(wanted, bought)
            judged = judge_parts(comparisons, bought, places)
    verdicts = [verdict for _, verdict in judged]
    remains = None
    if any(order.refunds or order.canceled for order in orders):
        parts = [_part(order, facts[order.final]) for order in orders]
        remains = remains_of(parts, currency, comparisons, verdicts, places)
    final = rounded(net(bought), places)
    initial = final if wanted is bought else rounded(net(wanted), places) if wanted else 0
    return Assessment(
        first.order[4],
        first.order[3],
        first.order[0],
        first.customer,
        channel(record),
        segment(record),
        currency,
        "unknown" if intent is None else "known" if comparable else "incomparable",
        tuple([_public(verdict, places) for verdict in verdicts]),
        amounts_of(initial, sums_of(verdicts), final, places) if verdicts else Amounts(initial, 0, 0, 0, final),
        by_category(
            [line.line.category for line in all_lines if line.net],
            [(verdict.final.category, verdict.kind) for verdict in verdicts],
        ),
        NO_LOSS if remains is None else remains.loss,
        basket=of_cart(
            (wanted or ()) if comparable else None,
            bought,
            None if remains is None else remains.left,
            [(verdict, remains is not None and _is_gone(part, verdict, remains)) for part, verdict in judged],
            places,
        ),
        offers=_carried(
            [(line, each.currency == currency) for each in finals for line in lines_of(each.lines)],
            judged if comparable else None,
            remains,
            places,
        )
        if record.has_offers
        else (),
    )


def _is_gone(part: Comparison, verdict: LineVerdict, remains: Remains) -> bool:
    """Whether refunds left nothing of a verdict."""
    return not any(other is part and still.kind == verdict.kind for other, still in remains.still)


def _carried(
    lines: Sequence[tuple[CartLine, bool]],
    judged: Sequence[tuple[Comparison, LineVerdict]] | None,
    remains: Remains | None,
    places: int,
) -> tuple[Carried, ...]:
    """The offers of the lines of all orders, each with whether it is in the transaction's currency. `judged` is None where the intent is not comparable."""
    verdicts = {at: verdict.kind for part, verdict in judged or () for at in part.final}
    default = VERDICTS.index("unknown" if judged is None else "nothing")
    found: dict[str, _Sums] = {}
    for at, (line, counts) in enumerate(lines):
        offer = line.line.offer_id
        if not offer:
            continue
        sums = found.setdefault(offer, _Sums(default))
        left = line if remains is None else remains.lines[at]
        if at in verdicts:
            sums.verdict = min(sums.verdict, VERDICTS.index(verdicts[at]))
        if counts:
            sums.gross += line.net
            sums.kept += left.net * (1 if remains is None else remains.share)
        sums.is_left = sums.is_left or left.units > 0
    return tuple(
        [
            Carried.of(offer, sums.verdict, sums.gross, sums.kept, places, is_reversed=not sums.is_left)
            for offer, sums in found.items()
        ]
    )


@dataclass(slots=True)
class _Sums:
    """What the lines of one offer add up to."""

    verdict: int
    gross: Exact = 0
    kept: Exact = 0
    is_left: bool = False


# Which facts belong together


def _main(record: Checkout) -> Order:
    """The order of the first completed fact, as far as the facts name it."""
    at = first_completed(record)
    return next(order for order in record.orders if order.completed == at)


def _resolved(record: Checkout) -> list[Order]:
    """The orders, each with all of its facts, by their first completed facts."""
    facts, main = record.facts, _main(record)
    # Facts without an id belong to the main order; where that has none itself, so do those of ids without a completed fact.
    joined = [
        order for order in record.orders if order is main or not order.id or (not main.id and order.completed < 0)
    ]
    others = [order for order in record.orders if order.completed >= 0 and order not in joined]
    if len(joined) > 1:
        refunds: dict[str, Returned] = {}
        for returned in sorted((returned for order in joined for returned in order.refunds), key=_order_of):
            refunds.setdefault(returned.refund.refund_id, returned)
        main = Order(
            main.id,
            main.completed,
            max((order.final for order in joined if order.final >= 0), key=lambda at: facts[at].order),
            tuple(refunds.values())[:REMEMBERED],
            any(order.canceled for order in joined),
        )
    return sorted([main, *others], key=lambda order: facts[order.completed].order)


def _intent(record: Checkout) -> tuple[str, tuple[Line, ...]] | None:
    """Currency and lines of the initial intent."""
    for at in (record.intent_of_completed, record.intent_of_started):
        if at >= 0:
            fact = record.facts[at]
            return fact.currency, fact.intent or ()
    if record.cart >= 0:
        fact = record.facts[record.cart]
        return fact.currency, fact.lines
    return None


def _is_first(facts: Sequence[Fact], at: int, order: FactOrder) -> bool:
    return at < 0 or order < facts[at].order


def _is_last(facts: Sequence[Fact], at: int, order: FactOrder) -> bool:
    return at < 0 or order > facts[at].order


def _order_of(returned: Returned) -> FactOrder:
    return returned.order


def _drop_unused(record: Checkout) -> None:
    """Drop the facts that no position names, and of the others what is not needed."""
    orders = record.orders
    made = first_completed(record)
    carts = {record.cart, *(order.final for order in orders)}
    intents = {record.intent_of_started, record.intent_of_completed}
    named = {*carts, *intents, record.channel, record.segment, *(order.completed for order in orders)}
    facts: list[Fact] = []
    places = {NOWHERE: NOWHERE}
    for at, fact in enumerate(record.facts):
        if at not in named:
            continue
        places[at] = len(facts)
        lines = fact.lines if at in carts else ()
        intent = fact.intent if at in intents else None
        customer = fact.customer if at == made else ""
        if lines is not fact.lines or intent is not fact.intent or customer != fact.customer:
            fact = Fact(fact.order, fact.currency, lines, fact.channel, fact.segment, intent, customer)  # noqa: PLW2901 - the same fact
        facts.append(fact)
    if len(facts) < len(record.facts):
        record.cart = places[record.cart]
        record.intent_of_started, record.intent_of_completed = (
            places[record.intent_of_started],
            places[record.intent_of_completed],
        )
        record.channel, record.segment = places[record.channel], places[record.segment]
        for order in orders:
            order.completed, order.final = places[order.completed], places[order.final]
    record.facts = facts


def _part(order: Order, final: Fact) -> Part:
    return Part(final.currency, lines_of(final.lines), order.refunds, order.canceled)


def _public(verdict: LineVerdict, places: int) -> JudgedLine:
    final, intent = verdict.final, verdict.intent
    return JudgedLine(
        kind=verdict.kind,
        reason=verdict.reason,
        product_id=final.product_id,
        sku=final.sku,
        intent_product_id=intent.product_id if intent else None,
        intent_sku=intent.sku if intent else None,
        offer_id=final.offer_id,
        amount=plain(rounded(verdict.amount, places), places),
    )
