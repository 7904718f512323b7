"""The verdicts of a subscription: new items against the current and the initial ones, by gains and losses of MRR."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from oracle.records import INTERVALS
from oracle.verdicts import NOTHING, Judged, with_money

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from fractions import Fraction


@dataclass(frozen=True, eq=False)
class Item:
    """One plan. `mrr` is that of the whole item, per month."""

    plan: str
    product: str
    role: str | None
    category: str | None
    quantity: int
    mrr: Fraction
    offer: str | None = None

    @property
    def unit(self) -> Fraction:
        return self.mrr / self.quantity


def items_of(raw: Iterable[dict[str, Any]]) -> list[Item]:
    return merge(
        Item(
            plan=item["plan_id"],
            product=item["product_id"],
            role=item["role"],
            category=item["category"],
            quantity=item["quantity"],
            mrr=item["price"] * item["quantity"] * INTERVALS[item["interval"]] / item["interval_count"],
            offer=item.get("offer_id"),
        )
        for item in raw
    )


def merge(items: Iterable[Item]) -> list[Item]:
    """One item for each plan: product and role of the first, the first category and offer, quantities and MRR added up."""
    merged: dict[str, Item] = {}
    for item in items:
        so_far = merged.get(item.plan)
        merged[item.plan] = (
            item
            if so_far is None
            else replace(
                so_far,
                category=so_far.category or item.category,
                quantity=so_far.quantity + item.quantity,
                mrr=so_far.mrr + item.mrr,
                offer=so_far.offer or item.offer,
            )
        )
    return list(merged.values())


def total_mrr(items: Iterable[Item] | None) -> Fraction:
    return sum((item.mrr for item in items or ()), NOTHING)


def quantities(items: Iterable[Item]) -> dict[str, int]:
    return {item.plan: item.quantity for item in items}


def base_items(items: list[Item]) -> list[Item]:
    """Those with the role base; where there are none, the one without a role with the highest MRR, ties the first."""
    named = [item for item in items if item.role == "base"]
    without_role = [item for item in items if item.role is None]
    return named or ([max(without_role, key=lambda item: item.mrr)] if without_role else [])


def base_item(items: list[Item]) -> Item | None:
    """The item whose product is the base product: the first base item, else the first item."""
    return next(iter([*base_items(items), *items]), None)


def judge(current: list[Item], initial: list[Item], new: list[Item], currency: str) -> list[Judged]:
    """The verdicts in the order of the new items, a new part before what is restored; `removed` is the last."""
    current_of, initial_of = _matches(new, current), _matches(new, initial)
    found: list[Judged] = []
    for item in new:
        old, first = current_of.get(item), initial_of.get(item)
        step = _gain_or_loss(item, old)
        if step < 0:
            assert old is not None
            reason = "quantity" if old.plan == item.plan else "plan"
            found.append(Judged("downsell", reason, item, old, -step))
        if step > 0:
            came_for = (
                NOTHING if first is None else first.quantity * item.unit if first.plan == item.plan else first.mrr
            )
            fresh = max(NOTHING, item.mrr - max(item.mrr - step, came_for))
            matched = old or first
            if matched is None:
                found.append(Judged("cross_sell", "addon", item, None, fresh))
            else:
                reason = "quantity" if matched.plan == item.plan else "plan"
                found.append(Judged("upsell", reason, item, matched, fresh))
            found.append(Judged("restored", "restored", item, matched, step - fresh))

    removed = [item for item in current if item not in current_of.values()]
    rest = total_mrr(removed)
    for kind in ("upsell", "cross_sell", "restored"):
        largest_first = sorted((one for one in found if one.kind == kind), key=lambda one: one.amount, reverse=True)
        for one in largest_first:
            taken = min(rest, one.amount)
            rest -= taken
            found[found.index(one)] = replace(one, amount=one.amount - taken)
    if rest:
        found.append(Judged("downsell", "removed", None, max(removed, key=lambda item: item.mrr), rest))
    return with_money(found, currency)


def additional(items: list[Item], others: list[str | None], currency: str) -> list[Judged]:
    """The one verdict on another product of a customer; `others` are the base products that the customer has."""
    base = base_item(items)
    known = base is not None and base.product in others
    kind, reason = ("upsell", "quantity") if known else ("cross_sell", "additional_product")
    return with_money([Judged(kind, reason, base, None, total_mrr(items))], currency)


def _gain_or_loss(item: Item, old: Item | None) -> Fraction:
    """What the table says: a gain is positive, a loss negative, 0 is kept."""
    if old is None:
        return item.mrr
    step = item.mrr - old.mrr
    if old.plan != item.plan:
        return step
    units = item.quantity - old.quantity
    if units > 0 and step > 0:
        return min(units * item.unit, step)
    if units < 0 and step < 0:
        return max(units * item.unit, step)
    return NOTHING


def _matches(new: list[Item], old: list[Item]) -> dict[Item, Item]:
    """By plan_id, then product_id, then base with base; the highest MRR first on both sides, ties in order of appearance."""
    new_bases, old_bases = base_items(new), base_items(old)
    passes: tuple[Callable[[Item, Item], bool], ...] = (
        lambda item, other: item.plan == other.plan,
        lambda item, other: item.product == other.product,
        lambda item, other: item in new_bases and other in old_bases,
    )
    matched: dict[Item, Item] = {}
    for fits in passes:
        for item in sorted(new, key=lambda item: item.mrr, reverse=True):
            offered = [other for other in old if other not in matched.values() and fits(item, other)]
            if item not in matched and offered:
                matched[item] = max(offered, key=lambda other: other.mrr)
    return matched
