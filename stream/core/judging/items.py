"""The verdict on a subscription's items: what was gained, lost, restored?

The rules, as a table (`tests/core/judging/test_items.py` has cases for every row and every sentence). Items of the same plan are merged. New items are matched
to the current ones and, separately, to the initial ones: by plan, then by product, then base with base, highest MRR first, ties in order of appearance.

    new item                               gain or loss
    same plan, quantity equal              kept (a price change is no verdict)
    same plan, quantity up and MRR up      gain: the smaller of (added units at the new unit price) and (new - current MRR)
    same plan, quantity down and MRR down  loss: the smaller of (units gone at the new unit price) and (current - new MRR)
    same plan, quantity and MRR apart      kept (tiers)
    another plan, MRR up / down            gain / loss: the difference
    unmatched                              gain: its MRR

A loss is a downsell: `quantity` for the same plan, `plan` for another. Of a gain, the part above the higher of (MRR less the gain) and (the matched initial
item, at the new unit price where the plan is the same) is new, the rest is `restored`. The new part is a cross_sell `addon` where the item is matched
neither in the current nor in the initial items, else an upsell: `quantity` where the plan is that of the matched item, else `plan`. The MRR of removed
items (current and unmatched) is set against upsells, then cross-sells, then restored, largest first; what remains is one downsell `removed`. A verdict
whose amount rounds to 0 in the currency is none.

So without price changes: upsell + cross_sell + restored - downsell = new MRR - current MRR.

MRR = price x quantity, normalised to one month: year / 12, week x 52 / 12, day x 365 / 12, divided by the interval count.
"""

from collections.abc import Callable, Sequence
from functools import lru_cache

import msgspec

from stream.core.event import Interval, Item
from stream.core.money import Exact, divided, exact, rounded
from stream.core.result import Kind, Reason

PER_YEAR: dict[Interval, int] = {"day": 365, "week": 52, "month": 12, "year": 1}


class PlanTotal(msgspec.Struct, gc=False):
    """All items of one plan, added up."""

    plan_id: str
    product_id: str
    base: bool | None
    """The role as sent, until `merge_items` has decided which item is the base."""
    category: str | None
    quantity: int
    mrr: Exact
    """Exact amount per month."""
    offer_id: str | None = None


class ItemVerdict(msgspec.Struct, frozen=True, gc=False):
    """One verdict, with the items that it names."""

    kind: Kind
    reason: Reason
    item: PlanTotal | None
    """The new item; None for what was removed."""
    before: PlanTotal | None
    """The matched current item, else the matched initial one; of what was removed the current item with the highest MRR."""
    amount: Exact


_FEW = 8
"""Sets of up to so many items are cached by the thousand; of larger sets only the last few, because one step asks for the same set several times."""


def merge_items(items: tuple[Item, ...]) -> tuple[PlanTotal, ...]:
    """Items of the same plan added up, in order of first appearance. The result is cached: do not change it.

    Where no item has the role base, the one without a role with the highest MRR is the base, ties the first.
    """
    return _merge_few(items) if len(items) <= _FEW else _merge_many(items)


def _merge_items(items: tuple[Item, ...]) -> tuple[PlanTotal, ...]:
    merged: dict[str, PlanTotal] = {}
    for item in items:
        mrr = divided(exact(item.price) * item.quantity * PER_YEAR[item.interval], 12 * item.interval_count)
        seen = merged.get(item.plan_id)
        if seen is None:
            merged[item.plan_id] = PlanTotal(
                item.plan_id, item.product_id, item.base, item.category, item.quantity, mrr, item.offer_id
            )
        else:
            seen.quantity += item.quantity
            seen.mrr += mrr
            seen.category = seen.category or item.category
            seen.offer_id = seen.offer_id or item.offer_id
    plans = tuple(merged.values())
    if not any(plan.base for plan in plans):
        without_role = [plan for plan in plans if plan.base is None]
        if without_role:
            max(without_role, key=_mrr).base = True
    for plan in plans:
        plan.base = bool(plan.base)
    return plans


_merge_few = lru_cache(maxsize=4096)(_merge_items)  # an event asks several times, and sets of items repeat
_merge_many = lru_cache(maxsize=4)(_merge_items)


def mrr(items: tuple[Item, ...]) -> Exact:
    """Monthly recurring revenue of the items, exact."""
    return _mrr_of_few(items) if len(items) <= _FEW else _mrr_of(items)


def _mrr_of(items: tuple[Item, ...]) -> Exact:
    return sum([plan.mrr for plan in merge_items(items)])


_mrr_of_few = lru_cache(maxsize=4096)(_mrr_of)


def base_item(items: tuple[Item, ...]) -> PlanTotal | None:
    """The first plan that is a base, else the first."""
    plans = merge_items(items)
    return next((plan for plan in plans if plan.base), plans[0] if plans else None)


def seats(items: tuple[Item, ...]) -> dict[str, int]:
    """Quantity of each plan: what a price change leaves as it is."""
    return {plan.plan_id: plan.quantity for plan in merge_items(items)}


def judge_items(
    current: tuple[Item, ...], new: tuple[Item, ...], initial: tuple[Item, ...], places: int
) -> list[ItemVerdict]:
    """The verdicts in order of the new items, for each its new part before its restored part; what was removed is last.

    `places` are the decimal places of the currency.
    """
    currents, news, initials = merge_items(current), merge_items(new), merge_items(initial)
    befores, firsts = _match(currents, news), _match(initials, news)
    verdicts: list[ItemVerdict] = []
    for at, item in enumerate(news):
        before, first = befores.get(at), firsts.get(at)
        change = _change(item, before)
        if change < 0:
            reason: Reason = "quantity" if before is not None and before.plan_id == item.plan_id else "plan"
            verdicts.append(ItemVerdict("downsell", reason, item, before, -change))
        elif change > 0:
            came_for = 0 if first is None else _at_price_of(item, first)
            added = max(0, item.mrr - max(item.mrr - change, came_for))
            matched = before or first
            verdicts.append(_added(item, matched, added))
            verdicts.append(ItemVerdict("restored", "restored", item, matched, change - added))
    matched_plans = {before.plan_id for before in befores.values()}
    removed = [item for item in currents if item.plan_id not in matched_plans]
    if removed:
        _set_off(verdicts, removed)
    return [verdict for verdict in verdicts if rounded(verdict.amount, places)]


def additional(items: tuple[Item, ...], others: Sequence[str], places: int) -> list[ItemVerdict]:
    """The one verdict on another subscription of a customer who has active paid ones of the base products `others`."""
    base = base_item(items)
    if base is None or not rounded(mrr(items), places):
        return []
    if base.product_id in others:
        return [ItemVerdict("upsell", "quantity", base, None, mrr(items))]
    return [ItemVerdict("cross_sell", "additional_product", base, None, mrr(items))]


def _added(item: PlanTotal, matched: PlanTotal | None, amount: Exact) -> ItemVerdict:
    if matched is None:
        return ItemVerdict("cross_sell", "addon", item, None, amount)
    reason: Reason = "quantity" if matched.plan_id == item.plan_id else "plan"
    return ItemVerdict("upsell", reason, item, matched, amount)


def _change(item: PlanTotal, before: PlanTotal | None) -> Exact:
    """The gain (above 0) or loss (below 0) of the table; 0 is kept."""
    if before is None:
        return item.mrr
    change = item.mrr - before.mrr
    if before.plan_id != item.plan_id:
        return change
    units = item.quantity - before.quantity
    if units > 0 and change > 0:
        return min(divided(units * item.mrr, item.quantity), change)
    if units < 0 and change < 0:
        return max(divided(units * item.mrr, item.quantity), change)
    return 0


def _at_price_of(item: PlanTotal, initial: PlanTotal) -> Exact:
    return divided(item.mrr * initial.quantity, item.quantity) if initial.plan_id == item.plan_id else initial.mrr


def _set_off(verdicts: list[ItemVerdict], removed: Sequence[PlanTotal]) -> None:
    """Take the MRR of removed items off what was gained; what remains of it is a downsell."""
    gone = sum([item.mrr for item in removed])
    for kind in ("upsell", "cross_sell", "restored"):
        gains = [at for at, verdict in enumerate(verdicts) if verdict.kind == kind]
        for at in sorted(gains, key=lambda at: verdicts[at].amount, reverse=True):
            taken = min(gone, verdicts[at].amount)
            gone -= taken
            verdicts[at] = msgspec.structs.replace(verdicts[at], amount=verdicts[at].amount - taken)
    verdicts.append(ItemVerdict("downsell", "removed", None, max(removed, key=_mrr), gone))


def _match(old: Sequence[PlanTotal], new: Sequence[PlanTotal]) -> dict[int, PlanTotal]:
    """Position of each matched new item -> the old item that it continues."""
    # A plan stands once on either side, so the first pass needs no order.
    free = {item.plan_id: item for item in old}
    matched: dict[int, PlanTotal] = {}
    for at, item in enumerate(new):
        same = free.pop(item.plan_id, None)
        if same is not None:
            matched[at] = same
    if not free or len(matched) == len(new):
        return matched
    highest_new = sorted((at for at in range(len(new)) if at not in matched), key=lambda at: new[at].mrr, reverse=True)
    for name in _PASSES:
        offered: dict[str, list[PlanTotal]] = {}
        for item in sorted(free.values(), key=_mrr, reverse=True):
            key = name(item)
            if key is not None:
                offered.setdefault(key, []).append(item)
        for items in offered.values():
            items.reverse()  # the last one is taken first: the highest MRR, of equal ones the first to appear
        for at in highest_new:
            key = name(new[at])
            if at not in matched and key is not None and offered.get(key):
                matched[at] = offered[key].pop()
                del free[matched[at].plan_id]
    return matched


def _mrr(item: PlanTotal) -> Exact:
    return item.mrr


_PASSES: tuple[Callable[[PlanTotal], str | None], ...] = (
    lambda item: item.product_id,
    lambda item: "base" if item.base else None,
)
