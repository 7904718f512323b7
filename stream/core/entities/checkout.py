"""A checkout: a set of facts, judged from all that is known, whatever order it arrived in.

Rules: facts are ordered by (time, entityversion, type, id). Every field of the record is the least or the greatest fact of some sort in that
order, so taking facts in is associative, commutative and idempotent, and the record stays small however many facts come. Identities
are remembered besides, so that a second event with the same identity changes nothing even if its body differs.
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
"""Refunds that a checkout remembers, the first ones."""


class Fact(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What one event said, as far as it still counts."""

    order: Order
    currency: str
    lines: tuple[Line, ...]
    channel: str | None
    segment: str | None
    intent: tuple[Line, ...] | None = None
    customer: str = ""
    """Of completed facts alone."""


class Returned(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A refund."""

    order: Order
    currency: str
    refund: Refund
    """Its lines as `_remembered` has them."""


NOWHERE = -1
"""No fact has that part."""
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
    """Those that have a part below, each by its position here."""
    cart: int = NOWHERE
    """First non-empty cart of started and updated."""
    intent_of_started: int = NOWHERE
    intent_of_completed: int = NOWHERE
    first_completed: int = NOWHERE
    """First completed."""
    final: int = NOWHERE
    """Last of completed and order-updated."""
    channel: int = NOWHERE
    """Last with a channel; likewise a segment."""
    segment: int = NOWHERE
    refunds: tuple[Returned, ...] = ()
    """The first fact of each refund id, in order."""
    canceled: bool = False
    opportunity: Opportunity | None = None
    """Booked."""
    sale: Sale | None = None
    """Booked."""
    version: int = 0
    digest: bytes = b""
    """Of the assessment that is booked and published."""
    published: bool = False
    """Some version had kinds."""
    until: int | None = None
    """The day (since the epoch) after which the record may be forgotten, as the index of expiries has it."""


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
            known[event.refund.refund_id] = Returned(order, event.currency, _remembered(event.refund))
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
"""(way of naming, id)."""


def _name(back: Line) -> _Name:
    """By what a refund line names what was bought."""
    if back.sku:
        return "sku", back.sku
    return ("variant", back.variant_id) if back.variant_id else ("product", back.product_id)


def _remembered(refund: Refund) -> Refund:
    """The refund with no more of its lines than `_left` asks for: names and units, those of one name added up.

    Not across a line that names in another way (a sku, then a product, then that sku): what is left of the first may depend on what comes between.
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
    """A line of a refund: what it is called and how many, nothing else."""
    sku, variant, product = (name[1] if name[0] == way else None for way in ("sku", "variant", "product"))
    return Line(sku, variant, product, None, units, "0")


def _is_first(facts: Sequence[Fact], at: int, order: Order) -> bool:
    return at < 0 or order < facts[at].order


def _is_last(facts: Sequence[Fact], at: int, order: Order) -> bool:
    return at < 0 or order > facts[at].order


def _drop_unused(record: Checkout) -> None:
    """Leave out the facts that have no part, and of the others what none asks for."""
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
    """Put another name where a customer's id is."""
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
    """When the opportunity was; None where there is none yet."""
    if not record.open:
        return None
    return record.first if record.started is None else record.started


def _intent(record: Checkout) -> tuple[str, tuple[Line, ...]] | None:
    """Currency and lines that the customer came for."""
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
    """What refunds and cancellation took back.

    Refunded units go first, and what is left is judged against the same intent; money given back without naming products takes its share of
    the amounts that are left then.
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
    """Whether nothing is left: no line that takes part, or, of an order in which none did, no unit."""
    if any(line.takes_part for line in bought):
        return not any(line.takes_part for line in left)
    return bool(bought) and not left


def _left(bought: Iterable[Merged], returned: Iterable[Line]) -> list[Merged]:
    """The lines less the units given back, in order of appearance; a line without units is gone."""
    lines = list(bought)
    units = [line.quantity for line in lines]
    # The next line that has a name stands last, and leaves once it is used up: what is given back takes as many steps as there are lines.
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
