"""What refunds and cancellations take back of a checkout.

Rules: refunded units are found in the order that the refund names, and are taken off first. What is left is judged by the comparisons of the whole cart
(`core.judging.cart`), so nothing is compared with anything new. Money that was given back without naming products comes last, whenever it came.
"""

from collections.abc import Iterable, Iterator, Sequence
from fractions import Fraction
from typing import NamedTuple

import msgspec

from stream.core.entities.assessment import Amounts, Loss, mask
from stream.core.event import Line, Refund
from stream.core.judging.cart import (
    CartLine,
    Comparison,
    Comparisons,
    LineVerdict,
    judge_parts,
    net,
    quantity_of,
    thousandths,
)
from stream.core.money import Exact, exact, rounded
from stream.core.result import Kind

FactOrder = tuple[int, int, int, str, str]
"""(time, entityversion, type, id, source)."""
_KINDS: tuple[Kind, ...] = ("upsell", "cross_sell", "downsell")
"""Kinds of verdicts on a cart, in the order of `Amounts`."""


class Returned(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A refund."""

    order: FactOrder
    currency: str
    refund: Refund
    """With its lines reduced by `reduced`."""


class Part(msgspec.Struct, frozen=True, gc=False):
    """An order, ready to be judged."""

    currency: str
    lines: list[CartLine]
    refunds: Sequence[Returned]
    canceled: bool

    def money_back(self) -> Exact:
        """What refunds gave back without naming products."""
        return sum(
            exact(returned.refund.amount)
            for returned in self.refunds
            if returned.refund.amount is not None
            and not returned.refund.products
            and returned.currency == self.currency
        )

    def left(self) -> tuple[list[CartLine], bool]:
        """The lines with the units that are left, and whether the whole order was given back."""
        lines = self.lines
        refunds = [returned.refund for returned in self.refunds]
        left = _left(lines, [line for refund in refunds for line in refund.products or ()])
        money = self.money_back()
        given_back = (
            self.canceled
            or any(refund.products is None and refund.amount is None for refund in refunds)
            or (money > 0 and money >= net(left))
        )
        return ([line.left(0) for line in lines] if given_back else left), given_back


def sums_of(verdicts: Iterable[LineVerdict]) -> dict[Kind, Exact]:
    """Exact amounts by kind."""
    sums: dict[Kind, Exact] = dict.fromkeys(_KINDS, 0)
    for verdict in verdicts:
        sums[verdict.kind] += verdict.amount
    return sums


def amounts_of(initial: int, sums: dict[Kind, Exact], final: int, places: int) -> Amounts:
    """Exact sums, each rounded once; below 0 counts as 0. `initial` and `final` are rounded already."""
    upsell, cross_sell, downsell = (rounded(max(0, sums[kind]), places) for kind in _KINDS)
    return Amounts(initial, upsell, cross_sell, downsell, final)


class Remains(NamedTuple):
    """What refunds and cancellations took back, and what they left."""

    loss: Loss
    lines: list[CartLine]
    """The lines of all orders with the units that are left, in their order."""
    left: list[CartLine]
    """Those of the transaction's currency."""
    share: Exact | Fraction
    """The part of the money for what is left that was not given back."""
    still: list[tuple[Comparison, LineVerdict]]
    """The verdicts on `left`, as of `judge_parts`."""


def remains_of(
    parts: Sequence[Part],
    currency: str,
    comparisons: Comparisons,
    verdicts: Sequence[LineVerdict],
    places: int,
) -> Remains:
    """What refunds and cancellations took back, and left.

    Refunded units are taken off first, and what is left is judged by the same comparisons. Money that was given back without naming products gives its
    order back where it covers all that is left of it. Else all amounts that are left lose the share that it is of their net total.
    """
    remaining = [(part, *part.left()) for part in parts]
    left = [line for part, lines, _ in remaining if part.currency == currency for line in lines]
    back = sum(part.money_back() for part, _, given_back in remaining if part.currency == currency and not given_back)
    after = net(left)
    share: Exact = 1 - Fraction(back) / after if back else 1
    still = judge_parts(comparisons, left, places) if verdicts else []
    kept = [verdict for _, verdict in still]
    gross, rest = sums_of(verdicts), sums_of(kept)
    final = net([line for part in parts if part.currency == currency for line in part.lines])
    if any(line.net for part in parts for line in part.lines):
        nothing_left = not any(line.net for _, lines, _ in remaining for line in lines)
    elif any(part.lines for part in parts):  # all of it was free
        nothing_left = not any(line.units for _, lines, _ in remaining for line in lines)
    else:
        nothing_left = all(given_back for _, _, given_back in remaining)
    loss = Loss(
        nothing_left,
        mask(verdict.kind for verdict in verdicts) & ~mask(verdict.kind for verdict in kept),
        amounts_of(
            0,
            {kind: gross[kind] - rest[kind] * share for kind in _KINDS},
            rounded(final - after * share, places),
            places,
        ),
    )
    return Remains(loss, [line for _, lines, _ in remaining for line in lines], left, share, still)


_Ids = tuple[str | None, str | None, str | None]
"""variant_id, sku, product_id."""


def _ids(line: Line) -> _Ids:
    return line.variant_id, line.sku, line.product_id


def reduced(refund: Refund) -> Refund:
    """The refund with what `_left` needs of its lines: ids and units, added up where their order does not matter.

    Lines that name by one and the same kind of id take units off different lines. All others are added up only where they follow each other.
    """
    if not refund.products:
        return refund
    units: dict[tuple[int, _Ids], int] = {}
    run, way = 0, None
    for line in refund.products:
        ids = _ids(line)
        kinds = tuple([name is not None for name in ids])
        this = kinds if sum(kinds) == 1 else ids
        if this != way:
            run, way = run + 1, this
        units[run, ids] = units.get((run, ids), 0) + thousandths(line.quantity)
    lines = [
        Line(sku, variant, product, None, quantity_of(number), "0")
        for (_, (variant, sku, product)), number in units.items()
    ]
    return Refund(refund.refund_id, tuple(lines), refund.amount)


def _left(lines: list[CartLine], returned: Sequence[Line]) -> list[CartLine]:
    """The lines with the units that are left: those given back are found in order of appearance, gifts last.

    A returned line is found by the first of variant_id, sku, product_id that both lines have.
    """
    if not returned:
        return lines
    units = [line.units for line in lines]
    # Lines by (has a variant, has a sku) and by id: these decide which id is the first that both have. The next line is the last of its list, and is
    # removed once it is used up, so the work is linear in the number of lines.
    found: dict[tuple[bool, bool, int, str], list[int]] = {}
    for at in sorted(range(len(lines)), key=lambda at: (lines[at].is_gift, at), reverse=True):
        ids = lines[at].ids
        for kind, name in enumerate(ids):
            if name:
                found.setdefault((bool(ids[0]), bool(ids[1]), kind, name), []).append(at)
    for back in returned:
        given = thousandths(back.quantity)
        candidates = [found[key] for key in _keys(_ids(back)) if found.get(key)]
        while given:
            for stack in candidates:
                while stack and not units[stack[-1]]:
                    stack.pop()
            candidates = [stack for stack in candidates if stack]
            if not candidates:
                break
            at = min((stack[-1] for stack in candidates), key=lambda at: (lines[at].is_gift, at))
            taken = min(given, units[at])
            units[at] -= taken
            given -= taken
    return [line if kept == line.units else line.left(kept) for line, kept in zip(lines, units, strict=True)]


def _keys(ids: _Ids) -> Iterator[tuple[bool, bool, int, str]]:
    """Where lines are found that a returned line names: for lines with and without a variant and a sku, the first id that both have."""
    for has_variant in (True, False):
        for has_sku in (True, False):
            has = (has_variant, has_sku, True)
            for kind, name in enumerate(ids):
                if name and has[kind]:
                    yield has_variant, has_sku, kind, name
                    break
