"""A checkout: a set of facts, judged from all that is known, in whatever order the facts arrived.

Rules: facts are ordered by (time, entityversion, type, id). Every field of the record is the first or the last fact of some kind in that order. So
adding facts is associative, commutative and idempotent, and the record stays small however many facts arrive. Identities of events are
remembered, too: a second event with the same identity changes nothing, even if its body differs.
"""

from collections.abc import Iterable, Sequence
from fractions import Fraction

import msgspec

from stream.core.entities.assessment import (
    NO_LOSS,
    Amounts,
    Assessment,
    Loss,
    Opportunity,
    Sale,
    by_category,
    mask,
)
from stream.core.event import CheckoutEvent, CheckoutType, Line, Refund
from stream.core.identity import remember
from stream.core.judging.cart import LineVerdict, Merged, judge, kept_whole, merge
from stream.core.money import Exact, exact, exponent, plain, rounded
from stream.core.result import JudgedLine, Kind

Order = tuple[int, int, int, str, str]
"""(time, entityversion, type, id, source)."""

REMEMBERED = 1000
"""Refunds that a checkout remembers at most, the first ones in order."""


class Fact(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What one event said, as far as it is still needed."""

    order: Order
    currency: str
    lines: tuple[Line, ...]
    channel: str | None
    segment: str | None
    intent: tuple[Line, ...] | None = None
    customer: str = ""
    """Of completed facts only."""


class Returned(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A refund."""

    order: Order
    currency: str
    refund: Refund
    """With its lines reduced by `_reduced`."""


NOWHERE = -1
"""Position for: there is no such fact."""
_STARTED, _UPDATED, _COMPLETED, _ORDER_UPDATED = (
    CheckoutType.STARTED,
    CheckoutType.UPDATED,
    CheckoutType.COMPLETED,
    CheckoutType.ORDER_UPDATED,
)


class Checkout(msgspec.Struct, array_like=True, gc=False):
    """What is remembered of a checkout. New fields go to the end."""

    newest: int
    """Time of the newest fact."""
    first: int
    """Time of the first fact."""
    seen: bytes = b""
    """Identities, 8 bytes each, newest arrival last."""
    started: int | None = None
    """Time of the first started fact."""
    open: bool = False
    """A started, updated or completed fact exists: there is an opportunity."""
    facts: list[Fact] = []
    """The facts that a position below names."""
    cart: int = NOWHERE
    """First non-empty cart of started and updated."""
    intent_of_started: int = NOWHERE
    intent_of_completed: int = NOWHERE
    first_completed: int = NOWHERE
    """First completed fact."""
    final: int = NOWHERE
    """Last completed or order-updated fact: its lines are the final ones."""
    channel: int = NOWHERE
    """Last fact with a channel."""
    segment: int = NOWHERE
    """Last fact with a segment."""
    refunds: tuple[Returned, ...] = ()
    """The first fact of each refund id, in order."""
    canceled: bool = False
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


def apply(record: Checkout, event: CheckoutEvent, event_hash: bytes) -> None:
    """Add a fact whose identity, `event_hash`, is not among those seen."""
    kind, time = event.type, event.time
    order: Order = (time, event.version, kind, event.id, event.source)
    record.newest = max(record.newest, time)
    record.first = min(record.first, time)
    record.seen = remember(record.seen, event_hash)
    facts = record.facts
    here = len(facts)
    lines: tuple[Line, ...] = ()
    intent, customer, moved = None, "", False
    if event.channel and _is_last(facts, record.channel, order):
        record.channel = here
    if event.segment and _is_last(facts, record.segment, order):
        record.segment = here
    if kind <= _COMPLETED:
        record.open = True
    if kind <= _UPDATED:
        if kind == _STARTED:
            record.started = time if record.started is None else min(record.started, time)
            if event.intent is not None and _is_first(facts, record.intent_of_started, order):
                moved = record.intent_of_started >= 0
                record.intent_of_started, intent = here, event.intent
        if event.products and _is_first(facts, record.cart, order):
            moved = moved or record.cart >= 0
            record.cart, lines = here, event.products
    elif kind <= _ORDER_UPDATED:
        if _is_last(facts, record.final, order):
            moved = record.final >= 0
            record.final, lines = here, event.products
        if kind == _COMPLETED:
            if _is_first(facts, record.first_completed, order):
                moved = moved or record.first_completed >= 0
                record.first_completed, customer = here, event.customer
            if event.intent is not None and _is_first(facts, record.intent_of_completed, order):
                moved = moved or record.intent_of_completed >= 0
                record.intent_of_completed, intent = here, event.intent
    elif event.refund is not None:
        known = {returned.refund.refund_id: returned for returned in record.refunds}
        other = known.get(event.refund.refund_id)
        if other is None or order < other.order:
            known[event.refund.refund_id] = Returned(order, event.currency, _reduced(event.refund))
            record.refunds = tuple(sorted(known.values(), key=_order)[:REMEMBERED])
    else:
        record.canceled = True
    parts = {
        NOWHERE,
        record.cart,
        record.final,
        record.intent_of_started,
        record.intent_of_completed,
        record.first_completed,
        record.channel,
        record.segment,
    }
    if here in parts:
        facts.append(Fact(order, event.currency, lines, event.channel, event.segment, intent, customer))
        if moved or len(parts) <= len(facts):
            _drop_unused(record)


_Name = tuple[str, str | None]
"""(kind of id, id)."""


def _name(back: Line) -> _Name:
    """The id by which a refund line names what was bought."""
    if back.sku:
        return "sku", back.sku
    return ("variant", back.variant_id) if back.variant_id else ("product", back.product_id)


def _reduced(refund: Refund) -> Refund:
    """The refund with what `_left` needs of its lines: ids and units, units of the same id added up.

    Lines are not added up across a line that names by another kind of id (a sku, then a product, then that sku): the result may depend on their order.
    """
    if not refund.products:
        return refund
    units: dict[tuple[int, _Name], int] = {}
    turn, way = 0, ""
    for line in refund.products:
        name = _name(line)
        if name[0] != way:
            turn, way = turn + 1, name[0]
        units[turn, name] = units.get((turn, name), 0) + line.quantity
    return Refund(refund.refund_id, tuple([_named(name, given) for (_, name), given in units.items()]), refund.amount)


def _named(name: _Name, units: int) -> Line:
    """A line of a refund with an id and units only."""
    sku, variant, product = (name[1] if name[0] == way else None for way in ("sku", "variant", "product"))
    return Line(sku, variant, product, None, units, "0")


def _is_first(facts: Sequence[Fact], at: int, order: Order) -> bool:
    return at < 0 or order < facts[at].order


def _is_last(facts: Sequence[Fact], at: int, order: Order) -> bool:
    return at < 0 or order > facts[at].order


def _drop_unused(record: Checkout) -> None:
    """Drop the facts that no position names, and of the others what is not needed."""
    carts = (record.cart, record.final)
    intents = (record.intent_of_started, record.intent_of_completed)
    parts = (*carts, *intents, record.first_completed, record.channel, record.segment)
    facts: list[Fact] = []
    places = {NOWHERE: NOWHERE}
    for at, fact in enumerate(record.facts):
        if at not in parts:
            continue
        places[at] = len(facts)
        lines = fact.lines if at in carts else ()
        intent = fact.intent if at in intents else None
        customer = fact.customer if at == record.first_completed else ""
        if lines is not fact.lines or intent is not fact.intent or customer != fact.customer:
            fact = Fact(fact.order, fact.currency, lines, fact.channel, fact.segment, intent, customer)  # noqa: PLW2901 - the same fact
        facts.append(fact)
    if len(facts) < len(record.facts):
        record.cart, record.final, record.first_completed = (
            places[record.cart],
            places[record.final],
            places[record.first_completed],
        )
        record.intent_of_started, record.intent_of_completed = (places[at] for at in intents)
        record.channel, record.segment = places[record.channel], places[record.segment]
    record.facts = facts


def rename(record: Checkout, customer: str, name: str) -> None:
    """Replace a customer's id by another name."""
    if record.first_completed >= 0 and record.facts[record.first_completed].customer == customer:
        record.facts[record.first_completed] = msgspec.structs.replace(
            record.facts[record.first_completed], customer=name
        )


def _order(fact: Returned) -> Order:
    return fact.order


def channel(record: Checkout) -> str | None:
    """The newest one."""
    return record.facts[record.channel].channel if record.channel >= 0 else None


def segment(record: Checkout) -> str | None:
    """The newest one."""
    return record.facts[record.segment].segment if record.segment >= 0 else None


def final(record: Checkout) -> Fact | None:
    """The fact whose lines are the final ones."""
    return record.facts[record.final] if record.final >= 0 else None


def opportunity_time(record: Checkout) -> int | None:
    """Time of the opportunity; None while there is none."""
    if not record.open:
        return None
    return record.first if record.started is None else record.started


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


def assess(record: Checkout) -> Assessment | None:
    """The judged transaction; None until an order is completed."""
    if record.first_completed < 0:
        return None
    facts = record.facts
    first_completed, final = facts[record.first_completed], facts[record.final]
    bought = merge(final.lines)
    places = exponent(final.currency)
    intent = _intent(record)
    comparable = intent is not None and intent[0] == final.currency
    same = intent is not None and comparable and intent[1] == final.lines and kept_whole(bought)
    wanted = bought if same else merge(intent[1]) if intent is not None and comparable else []
    verdicts = judge(wanted, bought) if comparable and not same else []
    amount = rounded(_net(bought), places)
    upsell, cross_sell, downsell = _kinds(verdicts) if verdicts else (0, 0, 0)
    return Assessment(
        first_completed.order[4],
        first_completed.order[3],
        first_completed.order[0],
        first_completed.customer,
        channel(record),
        segment(record),
        final.currency,
        "unknown" if intent is None else "known" if comparable else "incomparable",
        tuple([_public(verdict, places) for verdict in verdicts]),
        Amounts(
            amount if same else rounded(_net(wanted), places),
            rounded(upsell, places),
            rounded(cross_sell, places),
            rounded(downsell, places),
            amount,
        ),
        by_category(
            [line.category for line in bought if line.net],
            [(verdict.final.category, verdict.kind) for verdict in verdicts],
        ),
        _loss(record, final.currency, wanted if comparable else None, bought, verdicts)
        if record.refunds or record.canceled
        else NO_LOSS,
    )


def _kinds(verdicts: Iterable[LineVerdict]) -> tuple[Exact, Exact, Exact]:
    """Exact amounts of upsells, cross-sells and downsells."""
    sums: dict[Kind, Exact] = {"upsell": 0, "cross_sell": 0, "downsell": 0}
    for verdict in verdicts:
        sums[verdict.kind] += verdict.amount
    return sums["upsell"], sums["cross_sell"], sums["downsell"]


def _net(lines: Iterable[Merged]) -> Exact:
    return sum([line.net for line in lines])


def _public(verdict: LineVerdict, places: int) -> JudgedLine:
    intent = verdict.intent
    return JudgedLine(
        kind=verdict.kind,
        reason=verdict.reason,
        product_id=verdict.final.product_id,
        sku=verdict.final.sku,
        intent_product_id=intent.product_id if intent else None,
        intent_sku=intent.sku if intent else None,
        offer_id=verdict.final.offer_id,
        amount=plain(rounded(verdict.amount, places), places),
    )


def _loss(
    record: Checkout,
    currency: str,
    wanted: Sequence[Merged] | None,
    bought: Sequence[Merged],
    verdicts: Sequence[LineVerdict],
) -> Loss:
    """What refunds and a cancellation took back.

    Refunded units are taken off first, and what is left is judged against the same intent. Money that was given back without naming products then takes
    its share of the amounts that are left.
    """
    kinds = mask(verdict.kind for verdict in verdicts)
    refunds = [returned.refund for returned in record.refunds]
    left = _left(bought, [line for refund in refunds for line in refund.products or ()])
    still = judge(wanted, left) if wanted is not None else []
    after = _net(left)
    remaining = _kinds(still)
    money = [
        exact(returned.refund.amount)
        for returned in record.refunds
        if returned.refund.amount is not None and returned.refund.products is None and returned.currency == currency
    ]
    back = sum(money)
    share: Exact = 1
    if (
        record.canceled
        or any(refund.products is None and refund.amount is None for refund in refunds)
        or _all_given_back(bought, left)
        or (money and back >= after)
    ):
        share, still = 0, []
    elif back:
        share = 1 - Fraction(back) / after
    places = exponent(currency)
    lost: dict[Kind, int] = {}
    parts: tuple[Kind, ...] = ("upsell", "cross_sell", "downsell")
    for kind, amount, kept in zip(parts, _kinds(verdicts), remaining, strict=True):
        reduced = amount - kept * share
        lost[kind] = rounded(reduced, places) if reduced > 0 else 0
    return Loss(
        transaction=share == 0,
        kinds=kinds & ~mask(verdict.kind for verdict in still),
        amounts=Amounts(final=rounded(_net(bought) - after * share, places), **lost),
    )


def _all_given_back(bought: Sequence[Merged], left: Sequence[Merged]) -> bool:
    """Whether nothing is left: no line that counts, or no unit where no line of the order counted."""
    if any(line.counts for line in bought):
        return not any(line.counts for line in left)
    return bool(bought) and not left


def _left(bought: Iterable[Merged], returned: Iterable[Line]) -> list[Merged]:
    """The lines less the units given back, in order of appearance; lines without units are left out."""
    lines = list(bought)
    units = [line.quantity for line in lines]
    # Per name, the next line is the last of its list, and is removed once it is used up: so the work is linear in the number of lines.
    named: dict[_Name, list[int]] = {}
    for at in reversed(range(len(lines))):
        line = lines[at]
        for name in (("sku", line.sku), ("variant", line.variant_id), ("product", line.product_id)):
            named.setdefault(name, []).append(at)
    for back in returned:
        given, places = back.quantity, named.get(_name(back))
        while given and places:
            at = places[-1]
            taken = min(given, units[at])
            units[at] -= taken
            given -= taken
            if not units[at]:
                places.pop()
    return [line if kept == line.quantity else line.left(kept) for line, kept in zip(lines, units, strict=True) if kept]
