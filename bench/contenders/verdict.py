"""The logic of the Python peers: a checkout's intent, the verdict on its order, and what that adds to a minute's counts.

It implements the rules of docs/reference/semantics.md on plain dicts, as a program for this task alone would. Events count in their order of arrival;
refunds and cancellations are left out. Amounts are integers, in ten-thousandths.
"""

from datetime import datetime
from decimal import Decimal
from typing import Any, TypedDict

KINDS = ("upsell", "cross_sell", "downsell", "any")


class State(TypedDict):
    """A checkout."""

    intent: list[Any] | None
    explicit: bool
    channel: str
    segment: str
    minute: int | None
    kinds: list[str]


class Delta(TypedDict):
    """What one event adds to the counts of a minute, a channel and a segment."""

    minute: int
    channel: str
    segment: str
    counts: dict[str, int]


def apply(state: State | None, event: dict[str, Any]) -> tuple[State | None, Delta | None]:
    """The checkout after the event, and what to add to the counts."""
    kind, data = event["type"], event["data"]
    state = state or State(intent=None, explicit=False, channel="unknown", segment="unknown", minute=None, kinds=[])
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
    if kind == "commerce.order.completed.v1":
        state["minute"] = int(datetime.fromisoformat(event["time"]).timestamp()) // 60 * 60
        counts["transactions"] = 1
    assert state["minute"] is not None
    intent = state["intent"]
    state["kinds"] = [] if intent is None else judge(intent, data["products"])
    for name in before:
        counts[name] -= 1
    for name in state["kinds"]:
        counts[name] += 1
    return state, Delta(minute=state["minute"], channel=state["channel"], segment=state["segment"], counts=counts)


class Line:
    """All lines with the same key, merged."""

    def __init__(self, line: dict[str, Any]) -> None:
        self.sku = line.get("sku")
        self.variant = line.get("variant_id")
        self.product = line.get("product_id")
        self.category = line.get("category")
        self.replaces = line.get("replaces")
        self.quantity = 0
        self.listed = 0
        self.net = 0

    def add(self, line: dict[str, Any]) -> None:
        listed = int(Decimal(line["price"]) * 10_000) * line["quantity"]
        self.quantity += line["quantity"]
        self.listed += listed
        self.net += listed - min(listed, int(Decimal(line.get("discount") or 0) * 10_000))


def judge(intent: list[Any], final: list[Any]) -> list[str]:
    """The kinds of an order."""
    wanted, bought = _merged(intent), _merged(final)
    products = {line.product for line in wanted if line.product}
    kinds = set()
    for number in range(4):
        for line in list(bought):
            match = next((other for other in wanted if _matches(number, line, other)), None)
            if match is None:
                continue
            wanted.remove(match)
            bought.remove(line)
            before, after = (match.quantity, line.quantity) if number == 1 else (match.listed, line.listed)
            if after != before:
                kinds.add("upsell" if after > before else "downsell")
    for line in bought:
        kinds.add("upsell" if line.product in products else "cross_sell")
    if kinds & {"upsell", "cross_sell"}:
        kinds.add("any")
    return sorted(kinds)


def _merged(lines: list[Any]) -> list[Line]:
    merged: dict[str, Line] = {}
    for line in lines:
        if line["quantity"]:
            key = line.get("sku") or line.get("variant_id") or line["product_id"]
            merged.setdefault(key, Line(line)).add(line)
    parts = [line for line in merged.values() if line.listed > 0 and line.net > 0]
    return sorted(parts, key=lambda line: line.listed / line.quantity, reverse=True)


def _matches(number: int, final: Line, intent: Line) -> bool:
    if number == 0:
        return bool(final.replaces) and final.replaces in (intent.sku, intent.variant, intent.product)
    if number == 1:
        if final.sku and intent.sku:
            return final.sku == intent.sku
        if final.variant and intent.variant:
            return final.variant == intent.variant
        bare = not (final.sku or final.variant or intent.sku or intent.variant)
        return bare and final.product == intent.product
    if number == 2:
        return bool(final.product) and final.product == intent.product
    return bool(final.category) and final.category == intent.category
