"""Which lines are an upsell, a cross-sell, a downsell: the matching, with exact fractions.

Nothing is rounded here. A judged line carries its exact amount, and None on the intent's side where it had no match.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from oracle.records import INTERVALS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator


@dataclass(frozen=True, eq=False)
class Line:
    """One merged product line; `listed` and `discount` are of the whole line."""

    sku: str | None
    variant: str | None
    product: str | None
    category: str | None
    replaces: str | None
    offer: str | None
    quantity: int
    listed: Fraction
    discount: Fraction

    @property
    def net(self) -> Fraction:
        return self.listed - self.discount

    @property
    def unit(self) -> Fraction:
        return self.listed / self.quantity

    @property
    def takes_part(self) -> bool:
        return self.quantity > 0 and self.listed > 0 and self.net > 0


@dataclass(frozen=True, eq=False)
class Item:
    """One merged plan; `mrr` is of the whole item, per month."""

    plan: str
    product: str
    base: bool
    category: str | None
    quantity: int
    mrr: Fraction

    @property
    def unit(self) -> Fraction:
        return self.mrr / self.quantity


@dataclass(frozen=True, eq=False)
class Judged:
    kind: str
    reason: str
    final: Any
    intent: Any
    amount: Fraction


def merge_lines(raw: Iterable[dict[str, Any]]) -> list[Line]:
    merged: dict[tuple[str, str], Line] = {}
    for line in raw:
        key = next((name, line[name]) for name in ("sku", "variant_id", "product_id") if line[name])
        listed = line["price"] * line["quantity"]
        discount = min(line["discount"], listed)
        if key not in merged:
            merged[key] = Line(
                sku=line["sku"],
                variant=line["variant_id"],
                product=line["product_id"],
                category=line["category"],
                replaces=line["replaces"],
                offer=line["offer_id"],
                quantity=line["quantity"],
                listed=listed,
                discount=discount,
            )
            continue
        so_far = merged[key]
        merged[key] = replace(
            so_far,
            category=so_far.category or line["category"],
            replaces=so_far.replaces or line["replaces"],
            offer=so_far.offer or line["offer_id"],
            quantity=so_far.quantity + line["quantity"],
            listed=so_far.listed + listed,
            discount=so_far.discount + discount,
        )
    return list(merged.values())


def merge_items(raw: Iterable[dict[str, Any]]) -> list[Item]:
    merged: dict[str, Item] = {}
    for position, item in enumerate(raw):
        mrr = item["price"] * item["quantity"] * INTERVALS[item["interval"]] / item["interval_count"]
        if item["plan_id"] not in merged:
            merged[item["plan_id"]] = Item(
                plan=item["plan_id"],
                product=item["product_id"],
                base=item["role"] == "base" or (item["role"] is None and position == 0),
                category=item["category"],
                quantity=item["quantity"],
                mrr=mrr,
            )
            continue
        so_far = merged[item["plan_id"]]
        merged[item["plan_id"]] = replace(
            so_far,
            category=so_far.category or item["category"],
            quantity=so_far.quantity + item["quantity"],
            mrr=so_far.mrr + mrr,
        )
    return list(merged.values())


def give_back(lines: list[Line], refunds: Iterable[dict[str, Any]]) -> list[Line]:
    """The lines less the refunded units; list total and discount shrink with the units."""
    left = [line.quantity for line in lines]
    for refund in refunds:
        units = refund["quantity"]
        for place, line in enumerate(lines):
            if refund["sku"]:
                same = line.sku == refund["sku"]
            elif refund["variant_id"]:
                same = line.variant == refund["variant_id"]
            else:
                same = line.product == refund["product_id"]
            if same:
                taken = min(units, left[place])
                left[place] -= taken
                units -= taken
    return [
        replace(
            line,
            quantity=units,
            listed=line.listed * units / line.quantity,
            discount=line.discount * units / line.quantity,
        )
        for line, units in zip(lines, left, strict=True)
    ]


def judge_checkout(intent: list[Line], final: list[Line]) -> list[Judged]:
    intent = [line for line in intent if line.takes_part]
    final = [line for line in final if line.takes_part]
    wanted_products = {line.product for line in intent if line.product}
    judged: dict[Line, Judged | None] = {}
    for number, line, wanted in _pairs(final, intent, _CHECKOUT_PASSES, lambda line: line.unit):
        if number == 1:
            reason, step = "quantity", line.quantity - wanted.quantity
        else:
            reason, step = "variant" if number == 2 else "substitute", line.listed - wanted.listed
        if step > 0:
            judged[line] = Judged("upsell", reason, line, wanted, max(Fraction(0), line.net - wanted.net))
        elif step < 0:
            judged[line] = Judged("downsell", reason, line, wanted, max(Fraction(0), wanted.net - line.net))
        else:
            judged[line] = None
    for line in final:
        if line not in judged and line.product in wanted_products:
            judged[line] = Judged("upsell", "quantity", line, None, line.net)
        elif line not in judged:
            judged[line] = Judged("cross_sell", "addition", line, None, line.net)
    return [verdict for line in final if (verdict := judged[line])]


def judge_subscription(current: list[Item], initial: list[Item], new: list[Item]) -> list[Judged]:
    old_of = {item: old for _, item, old in _pairs(new, current, _PLAN_PASSES, lambda item: item.mrr)}
    first_of = {item: old for _, item, old in _pairs(new, initial, _PLAN_PASSES, lambda item: item.mrr)}
    judged = []
    for item in new:
        old = old_of.get(item)
        if old is None:
            if item.mrr > 0 and item.plan not in {first.plan for first in initial}:
                judged.append(Judged("cross_sell", "addon", item, None, item.mrr))
            continue
        before = _at_new_price(old, item)
        once = _at_new_price(first_of[item], item) if item in first_of else Fraction(0)
        if old.plan == item.plan:
            reason, step = "quantity", Fraction(item.quantity - old.quantity)
        else:
            reason, step = "plan", item.mrr - old.mrr
        if step > 0 and item.mrr > once:
            judged.append(Judged("upsell", reason, item, old, item.mrr - max(before, once)))
        elif step < 0:
            judged.append(Judged("downsell", reason, item, old, before - item.mrr))
    return judged


def _at_new_price(old: Item, new: Item) -> Fraction:
    return new.unit * old.quantity if old.plan == new.plan else old.mrr


def _same_line(line: Line, wanted: Line) -> bool:
    if line.sku and wanted.sku:
        return line.sku == wanted.sku
    if line.variant and wanted.variant:
        return line.variant == wanted.variant
    if line.sku or wanted.sku or line.variant or wanted.variant:
        return False
    return line.product == wanted.product


_CHECKOUT_PASSES: tuple[Callable[[Any, Any], bool], ...] = (
    lambda line, wanted: line.replaces in (wanted.sku, wanted.variant, wanted.product) and bool(line.replaces),
    _same_line,
    lambda line, wanted: line.product == wanted.product and bool(line.product),
    lambda line, wanted: line.category == wanted.category and bool(line.category),
)
_PLAN_PASSES: tuple[Callable[[Any, Any], bool], ...] = (
    lambda item, old: item.plan == old.plan,
    lambda item, old: item.product == old.product,
    lambda item, old: item.base and old.base,
)


def _pairs(
    takers: list[Any],
    offered: list[Any],
    passes: tuple[Callable[[Any, Any], bool], ...],
    worth: Callable[[Any], Fraction],
) -> Iterator[tuple[int, Any, Any]]:
    """(pass, new, old) of each match. Sorting is stable, so equals stay in order of appearance."""
    takers = sorted(takers, key=worth, reverse=True)
    offered = sorted(offered, key=worth, reverse=True)
    for number, fits in enumerate(passes):
        for taker in list(takers):
            found = next((one for one in offered if fits(taker, one)), None)
            if found is not None:
                takers.remove(taker)
                offered.remove(found)
                yield number, taker, found
