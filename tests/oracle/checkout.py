"""A checkout: a set of facts, with one opportunity and one transaction, judged from all facts together."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from oracle import carts, records
from oracle.sales import Good, Opportunity, Sale
from oracle.verdicts import KINDS, NOTHING, total

if TYPE_CHECKING:
    from fractions import Fraction

    from oracle.carts import Line
    from oracle.records import Event

ORDER_TYPES = (records.COMPLETED, records.ORDER_UPDATED, records.ORDER_REFUNDED, records.ORDER_CANCELED)
MOST_ORDERS = 32


@dataclass
class Order:
    """One order of the checkout: the lines of its last completed or updated fact, and what was reversed."""

    facts: list[Event] = field(default_factory=list)

    @property
    def last(self) -> Event:
        return self._of(records.COMPLETED, records.ORDER_UPDATED)[-1]

    @property
    def is_canceled(self) -> bool:
        return bool(self._of(records.ORDER_CANCELED))

    @property
    def refunds(self) -> list[Event]:
        """The first fact of each refund_id."""
        first: dict[str | None, Event] = {}
        for fact in self._of(records.ORDER_REFUNDED):
            first.setdefault(fact.refund_id, fact)
        return list(first.values())

    def _of(self, *types: str) -> list[Event]:
        return [fact for fact in self.facts if fact.type in types]


def opportunity_of(facts: list[Event]) -> Opportunity | None:
    """`facts` are in order. At the first started fact, else at the first updated or completed one."""
    at = _first(facts, records.STARTED) or _first(facts, records.UPDATED, records.COMPLETED)
    return Opportunity("checkout", at.time, _newest(facts, "channel"), _newest(facts, "segment")) if at else None


def sale_of(facts: list[Event], seq: int) -> Sale | None:
    """`facts` are in order; `seq` is the position of the first completed fact that arrived."""
    first = _first(facts, records.COMPLETED)
    if first is None:
        return None
    orders = _orders(facts, first)
    lines = {name: carts.lines_of(order.last.lines or []) for name, order in orders.items()}
    counted = [name for name, order in orders.items() if order.last.currency == first.currency]
    final = [line for name in counted for line in lines[name]]

    source, wanted = _intent(facts)
    if source is None:
        intent = "unknown"
    elif source.currency != first.currency or len(counted) < len(orders):
        intent = "incomparable"
    else:
        intent = "known"
    if intent != "known":
        wanted = []
    comparisons = carts.compare(wanted, final)
    sale = Sale(
        event=first,
        seq=seq,
        channel=_newest(facts, "channel"),
        segment=_newest(facts, "segment"),
        currency=first.currency,
        intent=intent,
        initial=carts.net(wanted),
        final=carts.net(final),
        lines=carts.judge(comparisons, final, first.currency) if intent == "known" else [],
        categories={
            line.category for of_order in lines.values() for line in of_order if line.category and not line.is_gift
        },
        wanted=[(line.name, line.net) for line in wanted],
        goods=[],
    )

    left, shared, returned = {}, NOTHING, set()
    for name, order in orders.items():
        left[name], amount, is_returned = _left_of(order, lines[name])
        if is_returned:
            returned.add(name)
        elif name in counted:
            shared += amount
    left_of = {line: rest for name in counted for line, rest in zip(lines[name], left[name], strict=True)}
    net_left = carts.net(left_of.values())
    sale.keep = keep = 1 - shared / net_left if shared else 1 - NOTHING
    judged = carts.judge(comparisons, final, first.currency, left_of) if intent == "known" else []
    parts = {"final": net_left, **{kind: total(judged, kind) for kind in KINDS}}
    sale.reverse({part: amount * keep for part, amount in parts.items()}, {one.kind for one in judged})
    sale.lost_whole = _is_reversed(
        [line for of_order in lines.values() for line in of_order],
        [line for of_order in left.values() for line in of_order],
        all_returned=len(returned) == len(orders),
    )
    for name in orders:
        for line, rest in zip(lines[name], left[name], strict=True):
            together = carts.part_of(comparisons, line)
            kinds = frozenset(one.kind for one in sale.lines if one.final in together)
            sale.goods.append(
                Good(line.name, line.offer, line.net, rest.net, rest.quantity > 0, name in counted, kinds)
            )
    for one in sale.lines:
        rests = [left_of[line] for line in carts.part_of(comparisons, one.final)]
        if not any(still.kind == one.kind and still.final in rests for still in judged):
            sale.gone.append(one)
    return sale


def _first(facts: list[Event], *types: str) -> Event | None:
    return next((fact for fact in facts if fact.type in types), None)


def _newest(facts: list[Event], label: str) -> str | None:
    return next((getattr(fact, label) for fact in reversed(facts) if getattr(fact, label)), None)


def _orders(facts: list[Event], first: Event) -> dict[str | None, Order]:
    """The orders that have a completed fact, by the first of it. None is the order without an id."""
    completed = [fact for fact in facts if fact.type == records.COMPLETED]
    of_first = first.order
    named = {fact.order or of_first for fact in completed}

    def order_of(fact: Event) -> str | None:
        if fact.order is None:
            return of_first
        if fact.order not in named and of_first is None:
            return None
        return fact.order

    orders: dict[str | None, Order] = {order_of(fact): Order() for fact in completed}
    for fact in facts:
        if fact.type in ORDER_TYPES and order_of(fact) in orders:
            orders[order_of(fact)].facts.append(fact)
    return orders


def _intent(facts: list[Event]) -> tuple[Event | None, list[Line]]:
    """The fact that gives the intent, and its lines."""
    for kind in (records.COMPLETED, records.STARTED):
        for fact in facts:
            if fact.type == kind and fact.intent is not None:
                return fact, carts.lines_of(fact.intent)
    for fact in facts:
        if fact.type in (records.STARTED, records.UPDATED) and fact.lines:
            return fact, carts.lines_of(fact.lines)
    return None, []


# --- reversals


def _left_of(order: Order, lines: list[Line]) -> tuple[list[Line], Fraction, bool]:
    """What is left of an order's lines, the amount given back beside that, and whether the whole order was."""
    by_units, amount = [], NOTHING
    is_returned = order.is_canceled
    for refund in order.refunds:
        names_products = refund.refund_lines is not None and not refund.refund_empty
        if names_products:
            by_units += refund.refund_lines or []
        elif refund.refund_amount is not None:
            if refund.currency == order.last.currency:
                amount += refund.refund_amount
        elif not refund.refund_empty:
            is_returned = True
    left = carts.give_back(lines, by_units)
    if amount > 0 and amount >= carts.net(left):
        is_returned = True
    return (carts.nothing_of(lines) if is_returned else left), amount, is_returned


def _is_reversed(gross: list[Line], left: list[Line], *, all_returned: bool) -> bool:
    """Nothing with a net total is left; where all of it was free, no unit; where there was no line, no order."""
    if any(line.net for line in gross):
        return not any(line.net for line in left)
    if gross:
        return not any(line.quantity for line in left)
    return all_returned
