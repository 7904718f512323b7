"""The logic of the Python peers: a checkout's intent, the verdict on its order, and what that adds to a minute's counts.

It implements the rules of docs/reference/semantics.md on plain dicts, as a program for this task alone would. Events count in their order of arrival;
refunds and cancellations are left out. Amounts are integers, in ten-thousandths.
"""

from datetime import datetime
from decimal import Decimal
from typing import Any, TypedDict

KINDS = ("upsell", "cross_sell", "downsell", "restored", "any")
_LEAST = 51
"""Ten-thousandths of a euro from which an amount does not round to nothing."""


class State(TypedDict):
    """A checkout."""

    intent: list[Any] | None
    explicit: bool
    channel: str
    segment: str
    minute: int | None
    kinds: list[str]
    orders: dict[str, list[Any]]
    """The lines of each order, by its id."""


class Delta(TypedDict):
    """What one event adds to the counts of a minute, a channel and a segment."""

    minute: int
    channel: str
    segment: str
    counts: dict[str, int]


def apply(state: State | None, event: dict[str, Any]) -> tuple[State | None, Delta | None]:
    """The checkout after the event, and what to add to the counts."""
    kind, data = event["type"], event["data"]
    state = state or State(
        intent=None, explicit=False, channel="unknown", segment="unknown", minute=None, kinds=[], orders={}
    )
    state["channel"] = data.get("channel") or state["channel"]
    state["segment"] = data.get("segment") or state["segment"]
    if data.get("intent"):
        state["intent"], state["explicit"] = data["intent"]["products"], True
    if kind in ("commerce.checkout.started.v1", "commerce.checkout.updated.v1"):
        if state["intent"] is None and data["products"]:
            state["intent"] = data["products"]
        return state, None
    if kind not in ("commerce.order.completed.v1", "commerce.order.updated.v1"):
        return state, None
    before = state["kinds"]
    counts = dict.fromkeys(KINDS, 0) | {"transactions": 0}
    orders = state["orders"]
    if state["minute"] is None:
        state["minute"] = int(datetime.fromisoformat(event["time"]).timestamp()) // 60 * 60
        counts["transactions"] = 1
    # Without an id it is about the order that was completed first.
    orders[data.get("order_id") or next(iter(orders), "")] = data["products"]
    final = [line for lines in orders.values() for line in lines]
    state["kinds"] = [] if state["intent"] is None else judge(state["intent"], final)
    for name in before:
        counts[name] -= 1
    for name in state["kinds"]:
        counts[name] += 1
    return state, Delta(minute=state["minute"], channel=state["channel"], segment=state["segment"], counts=counts)


class Line:
    """A line with a price."""

    def __init__(self, line: dict[str, Any], *, is_final: bool) -> None:
        self.ids = (line.get("variant_id"), line.get("sku"), line.get("product_id"))
        self.category = line.get("category")
        named = line.get("replaces") or ()
        self.replaces = {named} if isinstance(named, str) else set(named)
        self.is_final = is_final
        self.quantity = int(Decimal(str(line["quantity"])) * 1000)
        self.price = int(Decimal(line["price"]) * 10_000)
        self.listed = self.price * self.quantity // 1000
        self.net = self.listed - min(self.listed, int(Decimal(line.get("discount") or 0) * 10_000))

    def belongs_to(self, other: "Line") -> bool:
        """Whether both are of one family."""
        if any(mine and mine == theirs for mine, theirs in zip(self.ids, other.ids, strict=True)):
            return True
        return self.is_final and not other.is_final and bool(self.replaces.intersection(other.ids))


Family = list[Line]


def judge(intent: list[Any], final: list[Any]) -> list[str]:
    """The kinds of all orders."""
    lines = [Line(line, is_final=False) for line in intent] + [Line(line, is_final=True) for line in final]
    families: list[Family] = []
    for line in lines:
        if line.net > 0:
            joined = [
                each for each in families if any(line.belongs_to(other) or other.belongs_to(line) for other in each)
            ]
            families = [each for each in families if each not in joined]
            families.append([*(other for each in joined for other in each), line])
    kinds: dict[str, int] = {}
    substitutes: list[tuple[str | None, int]] = []
    gone, added = [], []
    for family in families:
        if not any(line.is_final for line in family):
            gone.append(family)
        elif all(line.is_final for line in family):
            added.append(family)
        elif _moved(family):
            replaced = any(line.replaces for line in family)
            _compare(family, kinds, substitutes if replaced else None)
    added.sort(key=_listed, reverse=True)
    gone.sort(key=_listed, reverse=True)
    for new in list(added):
        old = next((each for each in gone if _category(new) and _category(each) == _category(new)), None)
        if old is not None:
            added.remove(new)
            gone.remove(old)
            _compare([*old, *new], kinds, substitutes)
    wanted = sum(line.net for line in lines if not line.is_final)
    if added and 2 * sum(line.net for family in gone for line in family) > wanted:
        _compare([line for family in (*gone, *added) for line in family], kinds, None)
        gone, added = [], []
    if added:
        kinds["cross_sell"] = 1
    removed: dict[str | None, int] = {}
    for family in gone:
        removed[_category(family)] = removed.get(_category(family), 0) + sum(line.net for line in family)
    for category, amount in sorted(substitutes, key=lambda each: each[1], reverse=True):
        taken = min(amount, removed.get(category, 0)) if category else 0
        removed[category] = removed.get(category, 0) - taken
        if amount - taken >= _LEAST:
            kinds["upsell"] = 1
    if kinds.keys() & {"upsell", "cross_sell"}:
        kinds["any"] = 1
    return sorted(kinds)


def _moved(family: Family) -> bool:
    """Whether units came or went, and the list total did not move against them."""
    key = next((kind for kind in range(3) if all(line.ids[kind] for line in family)), None)
    units: dict[Any, int] = {}
    for line in family:
        name = line.ids if key is None else line.ids[key]
        units[name] = units.get(name, 0) + (line.quantity if line.is_final else -line.quantity)
    more, less = any(change > 0 for change in units.values()), any(change < 0 for change in units.values())
    return (more and less) or (more and _listed_change(family) > 0) or (less and _listed_change(family) < 0)


def _compare(family: Family, kinds: dict[str, int], substitutes: list[tuple[str | None, int]] | None) -> None:
    """Note the kind of an upsell or a downsell with money, or an upsell from which removed lines will be taken."""
    change = _listed_change(family)
    amount = sum(line.net if line.is_final else -line.net for line in family)
    if change > 0 and substitutes is not None:
        substitutes.append((_category(family), amount))
    elif change > 0 and amount >= _LEAST:
        kinds["upsell"] = 1
    elif change < 0 and -amount >= _LEAST:
        kinds["downsell"] = 1


def _listed_change(family: Family) -> int:
    return sum(line.listed if line.is_final else -line.listed for line in family)


def _listed(family: Family) -> int:
    return sum(line.listed for line in family)


def _category(family: Family) -> str | None:
    category: str | None = max(family, key=lambda line: line.price).category
    return category
