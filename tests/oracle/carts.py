"""The verdicts of a checkout: families of lines, what is bought in place of what, and what is left after reversals.

`compare` finds what is compared with what; `judge` gives the verdicts. After a reversal the same comparisons are
judged again, with fewer units on the final side.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from oracle.verdicts import NOTHING, Judged, with_money

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from fractions import Fraction

Key = tuple[str | None, ...]


@dataclass(frozen=True, eq=False)
class Line:
    """One product line as it was sent. `discount` is that of the whole line, at most its list total."""

    sku: str | None
    variant: str | None
    product: str | None
    category: str | None
    replaces: tuple[str, ...]
    offer: str | None
    quantity: Fraction
    price: Fraction
    discount: Fraction

    @property
    def listed(self) -> Fraction:
        return self.price * self.quantity

    @property
    def net(self) -> Fraction:
        return self.listed - self.discount

    @property
    def name(self) -> str:
        """The product by which it is counted."""
        return self.product or self.sku or self.variant or ""

    @property
    def is_gift(self) -> bool:
        """List or net total 0: the line takes no part in verdicts and categories."""
        return self.listed == 0 or self.net == 0


@dataclass(frozen=True, eq=False)
class Comparison:
    """Lines of the intent and final lines that are judged together.

    `how` is "units" (a family on both sides), "whole" (compared by list totals alone) or "addition" (nothing in the
    intent). `key` gives the key of each line of the family.
    """

    how: str
    intent: list[Line]
    final: list[Line]
    key: Callable[[Line], Key]
    category: str | None


@dataclass(frozen=True, eq=False)
class Comparisons:
    """All comparisons of two carts that are not `kept`, and the net total of the removed families of each category."""

    parts: list[Comparison]
    removed: dict[str, Fraction]


def lines_of(raw: Iterable[dict[str, Any]]) -> list[Line]:
    return [
        Line(
            sku=line["sku"],
            variant=line["variant_id"],
            product=line["product_id"],
            category=line["category"],
            replaces=line["replaces"],
            offer=line["offer_id"],
            quantity=line["quantity"],
            price=line["price"],
            discount=min(line["discount"], line["price"] * line["quantity"]),
        )
        for line in raw
    ]


def listed(lines: Iterable[Line]) -> Fraction:
    return sum((line.listed for line in lines), NOTHING)


def net(lines: Iterable[Line]) -> Fraction:
    return sum((line.net for line in lines), NOTHING)


# --- what is compared with what


def compare(intent: list[Line], final: list[Line]) -> Comparisons:
    wanted = [line for line in intent if not line.is_gift]
    bought = [line for line in final if not line.is_gift]
    parts: list[Comparison] = []
    only_intent: list[Comparison] = []
    only_final: list[Comparison] = []
    for family in _families(wanted, bought):
        ours = Comparison(
            how="units",
            intent=[line for line in wanted if line in family],
            final=[line for line in bought if line in family],
            key=_key_of(family),
            category=_dearest(family).category,
        )
        if ours.intent and ours.final:
            parts.append(ours)
        else:
            (only_final if ours.final else only_intent).append(ours)

    # Substitutes within a category: one to one, the highest list total first on both sides.
    for category in sorted({one.category for one in only_final if one.category}):
        ours_final = _by_listed([one for one in only_final if one.category == category], lambda one: one.final)
        ours_intent = _by_listed([one for one in only_intent if one.category == category], lambda one: one.intent)
        for new, old in zip(ours_final, ours_intent, strict=False):
            only_final.remove(new)
            only_intent.remove(old)
            parts.append(replace(new, how="whole", intent=old.intent))

    # What is left over on both sides, where the customer bought something else.
    left_intent = [line for one in only_intent for line in one.intent]
    left_final = [line for one in only_final for line in one.final]
    if left_intent and left_final and net(left_intent) * 2 > net(wanted):
        everything = Comparison(
            how="whole",
            intent=[line for line in wanted if line in left_intent],
            final=[line for line in bought if line in left_final],
            key=_all_ids,
            category=None,
        )
        parts.append(everything)
        only_intent, only_final = [], []

    parts += [replace(one, how="addition") for one in only_final]
    removed: dict[str, Fraction] = {}
    for one in only_intent:
        if one.category:
            removed[one.category] = removed.get(one.category, NOTHING) + net(one.intent)
    return Comparisons([one for one in parts if _verdict(one, one.final)], removed)


def _families(intent: list[Line], final: list[Line]) -> list[list[Line]]:
    """Connected lines, in order of appearance; the lines of the intent appear before the final ones."""
    families: list[list[Line]] = []
    for line in [*intent, *final]:
        joined = [family for family in families if any(_belong_together(line, other, intent) for other in family)]
        families = [family for family in families if family not in joined]
        families.append([*(other for family in joined for other in family), line])
    order = {line: place for place, line in enumerate([*intent, *final])}
    families = [sorted(family, key=lambda line: order[line]) for family in families]
    return sorted(families, key=lambda family: order[family[0]])


def _belong_together(line: Line, other: Line, intent: list[Line]) -> bool:
    if any(mine and mine == theirs for mine, theirs in zip(_all_ids(line), _all_ids(other), strict=True)):
        return True
    return _replaces(line, other, intent) or _replaces(other, line, intent)


def _replaces(final: Line, wanted: Line, intent: list[Line]) -> bool:
    return final not in intent and wanted in intent and any(name in final.replaces for name in _all_ids(wanted) if name)


def _all_ids(line: Line) -> Key:
    return line.variant, line.sku, line.product


def _key_of(family: list[Line]) -> Callable[[Line], Key]:
    if all(line.variant for line in family):
        return lambda line: (line.variant,)
    if all(line.sku for line in family):
        return lambda line: (line.sku,)
    if all(line.product for line in family):
        return lambda line: (line.product,)
    return _all_ids


def _dearest(lines: list[Line]) -> Line:
    """The line with the highest unit price, ties the first."""
    return max(lines, key=lambda line: line.price)


def _by_listed(found: list[Comparison], side: Callable[[Comparison], list[Line]]) -> list[Comparison]:
    return sorted(found, key=lambda one: listed(side(one)), reverse=True)


# --- the verdicts


def judge(
    comparisons: Comparisons, final: list[Line], currency: str, left: dict[Line, Line] | None = None
) -> list[Judged]:
    """The verdicts, in the order of the final lines that they name. `left` holds what remains of each final line."""
    found: dict[Comparison, Judged] = {}
    for one in comparisons.parts:
        lines = one.final if left is None else [left[line] for line in one.final if left[line].quantity]
        judged = _verdict(one, lines)
        if judged:
            found[one] = judged
    place = {line: number for number, line in enumerate(final if left is None else left.values())}
    in_order = sorted(found, key=lambda one: place[found[one].final])
    for category, removed in comparisons.removed.items():
        rest = removed
        substitutes = [
            one
            for one in in_order
            if one.category == category and (found[one].kind, found[one].reason) == ("upsell", "substitute")
        ]
        for one in sorted(substitutes, key=lambda one: found[one].amount, reverse=True):
            taken = min(rest, found[one].amount)
            rest -= taken
            found[one] = replace(found[one], amount=found[one].amount - taken)
    return with_money([found[one] for one in in_order], currency)


def _verdict(one: Comparison, final: list[Line]) -> Judged | None:
    """The row of the table that holds, with the amount before removed lines; None: kept, or nothing is left."""
    if not final:
        return None
    if one.how == "addition":
        return Judged("cross_sell", "addition", _dearest(final), None, net(final))
    up = listed(final) - listed(one.intent)
    if one.how == "whole":
        gained, lost = final, one.intent
        reason = "substitute"
    else:
        units = {one.key(line): NOTHING for line in [*one.intent, *one.final]}
        for line in final:
            units[one.key(line)] += line.quantity
        for line in one.intent:
            units[one.key(line)] -= line.quantity
        gained = [line for line in final if units[one.key(line)] > 0]
        lost = [line for line in one.intent if units[one.key(line)] < 0]
        # A key of which nothing is bought, or nothing was wanted, gained or lost units as well.
        some_gained, some_lost = any(step > 0 for step in units.values()), any(step < 0 for step in units.values())
        if not (some_gained or some_lost):
            return None
        if some_gained != some_lost and (up > 0) != some_gained:
            return None
        reason = "variant" if some_gained and some_lost else "quantity"
        if any(
            one.key(line) != one.key(wanted) and _replaces(line, wanted, one.intent)
            for line in final
            for wanted in one.intent
        ):
            reason = "substitute"
    named, instead = _dearest(gained or final), _dearest(lost or one.intent)
    worth = net(final) - net(one.intent)
    if up > 0:
        return Judged("upsell", reason, named, instead, max(NOTHING, worth))
    if up < 0:
        return Judged("downsell", reason, named, instead, max(NOTHING, -worth))
    return None


def part_of(comparisons: Comparisons, line: Line) -> list[Line]:
    """The final lines that are compared together with this one; none where it takes part in no verdict."""
    return next((one.final for one in comparisons.parts if line in one.final), [])


# --- what is left after refunds


def give_back(order: list[Line], refunds: Iterable[dict[str, Any]]) -> list[Line]:
    """The lines of one order less the refunded units; list total and discount shrink in proportion."""
    left = {line: line.quantity for line in order}
    gifts_last = sorted(order, key=lambda line: line.is_gift)
    for refund in refunds:
        units = refund["quantity"]
        for line in gifts_last:
            if _is_refunded(line, refund):
                taken = min(units, left[line])
                left[line] -= taken
                units -= taken
    return [
        replace(line, quantity=units, discount=line.discount * units / line.quantity) for line, units in left.items()
    ]


def nothing_of(order: list[Line]) -> list[Line]:
    """The lines of an order that was given back as a whole."""
    return [replace(line, quantity=NOTHING, discount=NOTHING) for line in order]


def _is_refunded(line: Line, refund: dict[str, Any]) -> bool:
    """By the first of variant_id, sku, product_id that both lines have."""
    for mine, theirs in (
        (line.variant, refund["variant_id"]),
        (line.sku, refund["sku"]),
        (line.product, refund["product_id"]),
    ):
        if mine and theirs:
            return bool(mine == theirs)
    return False
