"""The verdict on a subscription's items: seats, plans, add-ons.

The rules, as a table (`tests/core/judging/test_items.py` has a case for every row and every sentence):

Items of the same plan are merged. New items are matched to the current items (and, separately, to the initial ones) by plan, then by product, then base
with base, highest MRR first, ties in order of appearance. Items of the same plan are compared at the new price: the old one counts as the new
unit MRR x its old quantity. So a price change is no verdict.

    new item                       verdict              amount
    same plan, quantity up         upsell quantity      new - max(current, initial); where new is not above initial: restored, no verdict
    other plan, MRR up             upsell plan          as above
    same plan, quantity down       downsell quantity    current - new
    other plan, MRR down           downsell plan        current - new
    unmatched                      cross_sell addon     its MRR; where that is 0, or the plan was among the initial: no verdict
    (old item unmatched            removed: no verdict)

MRR = price x quantity, normalised to one month: year / 12, week x 52 / 12, day x 365 / 12, divided by the interval count.
"""

from collections.abc import Callable, Sequence
from fractions import Fraction
from functools import lru_cache

import msgspec

from stream.core.event import Interval, Item
from stream.core.money import exact
from stream.core.result import Kind, Reason

PER_YEAR: dict[Interval, int] = {"day": 365, "week": 52, "month": 12, "year": 1}
_MONTHLY = {interval: Fraction(times, 12) for interval, times in PER_YEAR.items()}


class PlanTotal(msgspec.Struct, gc=False):
    """All items of one plan, added up."""

    plan_id: str
    product_id: str
    base: bool
    category: str | None
    quantity: int
    mrr: Fraction
    """Exact amount per month."""


class ItemVerdict(msgspec.Struct, frozen=True, gc=False):
    """The verdict on one new item."""

    kind: Kind
    reason: Reason
    item: PlanTotal
    before: PlanTotal | None
    """The matched current item."""
    amount: Fraction


_FEW = 8
"""Sets of up to so many items are cached by the thousand; of larger sets only the last few, because one step asks for the same set several times."""


def merge_items(items: tuple[Item, ...]) -> tuple[PlanTotal, ...]:
    """Items of the same plan added up, in order of first appearance. The result is cached: do not change it."""
    return _merge_few(items) if len(items) <= _FEW else _merge_many(items)


def _merge_items(items: tuple[Item, ...]) -> tuple[PlanTotal, ...]:
    held: dict[str, PlanTotal] = {}
    for item in items:
        mrr = exact(item.price) * item.quantity * _MONTHLY[item.interval] / item.interval_count
        seen = held.get(item.plan_id)
        if seen is None:
            held[item.plan_id] = PlanTotal(item.plan_id, item.product_id, item.base, item.category, item.quantity, mrr)
        else:
            seen.quantity += item.quantity
            seen.mrr += mrr
            seen.category = seen.category or item.category
    return tuple(held.values())


_merge_few = lru_cache(maxsize=4096)(_merge_items)  # an event asks several times, and sets of items repeat
_merge_many = lru_cache(maxsize=4)(_merge_items)


def mrr(items: tuple[Item, ...]) -> Fraction:
    """Monthly recurring revenue of the items, exact."""
    return _mrr_of_few(items) if len(items) <= _FEW else _mrr_of(items)


def _mrr_of(items: tuple[Item, ...]) -> Fraction:
    return sum((held.mrr for held in merge_items(items)), Fraction(0))


_mrr_of_few = lru_cache(maxsize=4096)(_mrr_of)


def base_item(items: tuple[Item, ...]) -> PlanTotal | None:
    """The first plan with role base, else the first."""
    held = merge_items(items)
    return next((item for item in held if item.base), held[0] if held else None)


def judge_items(current: tuple[Item, ...], new: tuple[Item, ...], initial: tuple[Item, ...]) -> list[ItemVerdict]:
    """The verdicts on the new items, in order of their appearance."""
    held, now, first = merge_items(current), merge_items(new), merge_items(initial)
    befores, firsts = _match(held, now), _match(first, now)
    initial_plans = {item.plan_id for item in first}
    verdicts = []
    for at, item in enumerate(now):
        before, origin = befores.get(at), firsts.get(at)
        if before is None:
            if item.mrr > 0 and item.plan_id not in initial_plans:
                verdicts.append(ItemVerdict("cross_sell", "addon", item, None, item.mrr))
            continue
        same_plan = before.plan_id == item.plan_id
        reason: Reason = "quantity" if same_plan else "plan"
        change = item.quantity - before.quantity if same_plan else item.mrr - before.mrr
        worth = _at_price_of(item, before)
        floor = _at_price_of(item, origin) if origin is not None else Fraction(0)
        if change > 0 and item.mrr > floor:
            verdicts.append(ItemVerdict("upsell", reason, item, before, item.mrr - max(worth, floor)))
        elif change < 0:
            verdicts.append(ItemVerdict("downsell", reason, item, before, worth - item.mrr))
    return verdicts


def _at_price_of(item: PlanTotal, old: PlanTotal) -> Fraction:
    return item.mrr * old.quantity / item.quantity if old.plan_id == item.plan_id else old.mrr


def _match(old: Sequence[PlanTotal], new: Sequence[PlanTotal]) -> dict[int, PlanTotal]:
    """Position of each matched new item -> the old item it stands for."""
    dearest_old = sorted(old, key=_mrr, reverse=True)
    dearest_new = sorted(range(len(new)), key=lambda at: new[at].mrr, reverse=True)
    matched: dict[int, PlanTotal] = {}
    taken: set[str] = set()
    for name in _PASSES:
        free: dict[str, list[PlanTotal]] = {}
        for item in reversed(dearest_old):
            key = name(item)
            if key is not None and item.plan_id not in taken:
                free.setdefault(key, []).append(item)
        for at in dearest_new:
            key = name(new[at])
            if at not in matched and key is not None and free.get(key):
                matched[at] = free[key].pop()
                taken.add(matched[at].plan_id)
    return matched


def _mrr(item: PlanTotal) -> Fraction:
    return item.mrr


_PASSES: tuple[Callable[[PlanTotal], str | None], ...] = (
    lambda item: item.plan_id,
    lambda item: item.product_id,
    lambda item: "base" if item.base else None,
)
