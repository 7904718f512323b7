"""A checkout: a set of facts, judged from all that is known, whatever order it arrived in.

Rules: facts are ordered by (time, entityversion, type, id). Every field of the record is the least or the greatest fact of some sort in that
order, so taking facts in is associative, commutative and idempotent, and the record stays small however many facts come. Identities
are remembered besides, so that a second event with the same identity changes nothing even if its body differs.
"""

from collections.abc import Iterable, Sequence
from fractions import Fraction
from typing import TypeVar

import msgspec

from stream.core.assessment import (
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
from stream.core.money import Exact, exact, exponent, plain, rounded
from stream.core.result import JudgedLine, Kind
from stream.core.verdict import LineVerdict, Merged, judge, kept_whole, merge

Order = tuple[int, int, int, str, str]
"""(time, entityversion, type, id, source)."""

REMEMBERED = 1000
"""Refunds that a checkout remembers, the first ones."""


class Cart(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Lines as some fact gave them."""

    order: Order
    currency: str
    lines: tuple[Line, ...]


class Label(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A label's value as some fact gave it."""

    order: Order
    value: str


class Made(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """The fact that made the transaction."""

    order: Order
    customer: str


class Returned(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A refund."""

    order: Order
    currency: str
    refund: Refund


Fact = TypeVar("Fact", Cart, Label, Made, Returned)


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
    cart: Cart | None = None
    """First non-empty cart of started and updated."""
    intent_of_started: Cart | None = None
    intent_of_completed: Cart | None = None
    made: Made | None = None
    final: Cart | None = None
    """Last of completed and order-updated."""
    channel: Label | None = None
    segment: Label | None = None
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


def take_in(record: Checkout, event: CheckoutEvent, mark: bytes) -> None:
    """Add a fact whose identity, `mark`, is not among those seen."""
    order: Order = (event.time, event.version, event.type, event.id, event.source)
    time = event.time
    record.newest = max(record.newest, time)
    record.first = min(record.first, time)
    record.seen = remember(record.seen, mark)
    if event.channel:
        record.channel = _last(record.channel, Label(order, event.channel))
    if event.segment:
        record.segment = _last(record.segment, Label(order, event.segment))
    match event.type:
        case CheckoutType.STARTED:
            record.open = True
            record.started = time if record.started is None else min(record.started, time)
            if event.products:
                record.cart = _first(record.cart, Cart(order, event.currency, event.products))
            if event.intent is not None:
                record.intent_of_started = _first(record.intent_of_started, Cart(order, event.currency, event.intent))
        case CheckoutType.UPDATED:
            record.open = True
            if event.products:
                record.cart = _first(record.cart, Cart(order, event.currency, event.products))
        case CheckoutType.COMPLETED:
            record.open = True
            record.made = _first(record.made, Made(order, event.customer))
            record.final = _last(record.final, Cart(order, event.currency, event.products))
            if event.intent is not None:
                record.intent_of_completed = _first(
                    record.intent_of_completed, Cart(order, event.currency, event.intent)
                )
        case CheckoutType.ORDER_UPDATED:
            record.final = _last(record.final, Cart(order, event.currency, event.products))
        case CheckoutType.REFUNDED if event.refund is not None:
            known = {returned.refund.refund_id: returned for returned in record.refunds}
            returned = Returned(order, event.currency, event.refund)
            known[event.refund.refund_id] = _first(known.get(event.refund.refund_id), returned)
            record.refunds = tuple(sorted(known.values(), key=_order)[:REMEMBERED])
        case _:
            record.canceled = True


def rename(record: Checkout, customer: str, name: str) -> None:
    """Put another name where a customer's id is."""
    if record.made is not None and record.made.customer == customer:
        record.made = Made(record.made.order, name)


def _order(fact: Returned) -> Order:
    return fact.order


def _first(known: Fact | None, new: Fact) -> Fact:
    return new if known is None or new.order < known.order else known


def _last(known: Fact | None, new: Fact) -> Fact:
    return new if known is None or new.order > known.order else known


def opportunity_time(record: Checkout) -> int | None:
    """When the opportunity was; None where there is none yet."""
    if not record.open:
        return None
    return record.first if record.started is None else record.started


def assess(record: Checkout) -> Assessment | None:
    """The judged transaction; None until an order is completed."""
    made, final = record.made, record.final
    if made is None or final is None:
        return None
    bought = merge(final.lines)
    places = exponent(final.currency)
    intent = record.intent_of_completed or record.intent_of_started or record.cart
    comparable = intent is not None and intent.currency == final.currency
    same = intent is not None and comparable and intent.lines == final.lines and kept_whole(bought)
    wanted = bought if same else merge(intent.lines) if intent is not None and comparable else []
    verdicts = judge(wanted, bought) if comparable and not same else []
    amount = rounded(_net(bought), places)
    upsell, cross_sell, downsell = _kinds(verdicts) if verdicts else (0, 0, 0)
    return Assessment(
        made.order[4],
        made.order[3],
        made.order[0],
        made.customer,
        record.channel.value if record.channel else None,
        record.segment.value if record.segment else None,
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
            [line.category for line in bought if line.takes_part],
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
    return sum([line.listed - line.discount for line in lines])


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
    share = Fraction(1)
    if (
        record.canceled
        or any(refund.products is None and refund.amount is None for refund in refunds)
        or (any(refund.products for refund in refunds) and not any(line.takes_part for line in left))
        or (money and back >= after)
    ):
        share, still = Fraction(0), []
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


def _left(bought: Iterable[Merged], returned: Iterable[Line]) -> list[Merged]:
    """The lines less the units given back, in order of appearance; a line without units is gone."""
    lines = list(bought)
    units = [line.quantity for line in lines]
    named: dict[tuple[str, str | None], list[int]] = {}
    for at, line in enumerate(lines):
        for name in (("sku", line.sku), ("variant", line.variant_id), ("product", line.product_id)):
            named.setdefault(name, []).append(at)
    for back in returned:
        name = (
            ("sku", back.sku)
            if back.sku
            else ("variant", back.variant_id)
            if back.variant_id
            else ("product", back.product_id)
        )
        given = back.quantity
        for at in named.get(name, ()):
            taken = min(given, units[at])
            units[at] -= taken
            given -= taken
    return [line if kept == line.quantity else line.left(kept) for line, kept in zip(lines, units, strict=True) if kept]
