"""The examples of docs/verdicts.md, and those in its notation in docs/reference/events.md, are judged as the pages say.

An example is a block of text: events in short form, and after `=>` what becomes of them. A block about a subscription names days, one about a checkout
does not. The page explains the notation to its readers; what the test does with it is in `_EVENTS`, `_sent` and `_outcome`.
"""

import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pytest
from oracle import oracle

from stream.core.config import CoreConfig
from stream.core.labels import LabelRegistry
from stream.core.offline import Offline
from stream.core.result import Intent, Kind, Reason
from stream.events.decode import Rejected, decode_line

DOCS = Path(__file__).parents[1] / "docs"
PAGE = (DOCS / "verdicts.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"^### (\d+)\. (.*)\n((?:(?!#).*\n)*)", PAGE, re.MULTILINE)
"""Number, title and text of each example."""
OTHERS = [
    block
    for page in (PAGE.partition("\n### 1. ")[0], (DOCS / "reference" / "events.md").read_text(encoding="utf-8"))
    for block in re.findall(r"^```text\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
]
"""Blocks that are no numbered example."""
TIMES = "\N{MULTIPLICATION SIGN}"
_START = datetime(2026, 3, 1, 10, tzinfo=UTC)
_EVENTS = {
    "started": "checkout.started",
    "cart updated": "checkout.updated",
    "completed": "order.completed",
    "order updated": "order.updated",
    "refunded": "order.refunded",
    "canceled": "order.canceled",
    "day created": "subscription.created",
    "day converted": "subscription.trial_converted",
    "day changed": "subscription.changed",
    "day scheduled": "subscription.change_scheduled",
    "day renewed": "subscription.renewed",
    "day canceled": "subscription.canceled",
    "day refunded": "subscription.refunded",
}
_LINE_FIELDS = {"product": "product_id", "variant": "variant_id", "category": "category", "less": "discount"}
_ABOUT_THE_EVENT = {"trialing": "status", "sold in": "checkout_id", "customer": "customer_id", "in": "currency"}


class Sent(NamedTuple):
    """An event of an example."""

    event: dict[str, Any]
    expected: list[str]
    """What the page says after it."""


def parsed(block: str) -> list[Sent]:
    """The events of a block."""
    found: list[tuple[str, list[str], list[str]]] = []
    for row in block.splitlines():
        if row.startswith("=> "):
            found[-1][2].append(row.removeprefix("=> "))
        elif row.startswith("   "):
            found[-1][1].append(row.strip())
        else:
            label, *content = re.split(r" {2,}", row)
            found.append((label, content, []))
    return [
        Sent(_sent(number, label, content), expected)
        for number, (label, content, expected) in enumerate(found, start=1)
    ]


def _sent(number: int, label: str, content: list[str]) -> dict[str, Any]:
    on_day = re.fullmatch(r"day (\d+)(?: (\d\d):(\d\d))? (.*)", label)
    if on_day is not None:
        days, hour, minute, rest = on_day.groups()
        time = _START + timedelta(days=int(days) - 1, hours=int(hour or 10) - 10, minutes=int(minute or 0))
        name, _, entity = rest.partition(" ")
        name, journey, entity = f"day {name}", "subscription", entity or "sub-1"
        data: dict[str, Any] = {"subscription_id": entity, "customer_id": "k-1", "currency": "EUR"}
    else:
        name, _, order = label.partition(" o-")
        time, journey, entity = _START + timedelta(minutes=number), "checkout", "c-1"
        data = {"checkout_id": entity, "customer_id": "k-1", "currency": "EUR"}
        if order:
            data["order_id"] = f"o-{order}"
    listed = "items" if journey == "subscription" else "products"
    refund: dict[str, Any] = {"refund_id": f"r-{number}"}
    for text in content:
        _add(text, data, refund, listed)
    if name == "refunded":
        if "products" in data:
            refund["products"] = data.pop("products")
        data["refund"] = refund
    elif name == "day refunded":
        data["refund"] = refund
    return {
        "specversion": "1.0",
        "id": f"e-{number}",
        "source": "shop",
        "type": f"commerce.{_EVENTS[name]}.v1",
        "time": time.isoformat(),
        "subject": f"{journey}/{entity}",
        "data": data,
    }


def _add(text: str, data: dict[str, Any], refund: dict[str, Any], listed: str) -> None:
    """Add what one text of an event says to its data."""
    where, _, rest = text.rpartition(": ")
    holder = data.setdefault(where, {}) if where else data
    if rest == "nothing":
        holder[listed] = []
    elif f" {TIMES} " in rest:
        holder.setdefault(listed, []).append(_item(rest) if listed == "items" else _line(rest))
    elif found := re.fullmatch(r"(share|amount|refund_id) (\S+)", text):
        refund[found[1]] = found[2]
    elif found := re.fullmatch(r"(trialing|sold in|customer|in) ?(\S*)", text):
        data[_ABOUT_THE_EVENT[found[1]]] = found[2] or found[1]
    else:
        assert text == "everything", text


def _line(text: str) -> dict[str, Any]:
    first, *more = text.split(", ")
    sku, quantity, _, price = first.split(" ")
    line: dict[str, Any] = {"sku": sku, "quantity": int(quantity) if quantity.isdecimal() else quantity, "price": price}
    for field in more:
        word, value = field.split(" ", 1)
        if word == "replaces":
            line["replaces"] = value.split(" + ")
        else:
            line[_LINE_FIELDS[word]] = value
    return line


def _item(text: str) -> dict[str, Any]:
    first, *more = text.split(", ")
    plan, quantity, _, price, _, interval = first.split(" ")
    item: dict[str, Any] = {"plan_id": plan, "product_id": plan, "quantity": int(quantity), "price": price}
    item["interval"] = interval
    for field in more:
        if field in ("base", "addon"):
            item["role"] = field
        else:
            item["product_id"] = field.removeprefix("product ")
    return item


def judged(events: list[dict[str, Any]]) -> list[list[str]]:
    """What becomes of each event, in the notation of the page; of a checkout it stands after the last one."""
    sales, others = applied(events)
    if events[0]["subject"].startswith("checkout/"):
        return [[] for _ in events[1:]] + [line for sale in sales.values() for line in [_outcome(sale)]]
    return [
        _outcome(sales[event["id"]]) if sales.get(event["id"]) else [other]
        for event, other in zip(events, others, strict=True)
    ]


def applied(events: list[dict[str, Any]]) -> tuple[dict[str, Any], list[str]]:
    """The judged transactions by the id of their event, and what each event is where it makes none."""
    offline = Offline(CoreConfig(), LabelRegistry())
    sales, others, opportunities = {}, [], 0
    for event in events:
        decoded = decode_line(json.dumps(event).encode())
        assert not isinstance(decoded, Rejected), decoded
        step = offline.apply(decoded)
        sales.update({version.judged.event_id: version.judged for version in step.versions})
        before, opportunities = opportunities, offline.figures().summary()["all"]["opportunities"]
        found = "opportunity only" if opportunities > before else "not counted"
        others.append(found if step.result == "applied" else step.result)
    return sales, others


def _outcome(sale: Any) -> list[str]:
    verdicts = ", ".join(f"{line.kind} {line.reason} {line.amount} ({_named(line)})" for line in sale.lines)
    told = f"{sale.initial} → {sale.final}: {verdicts or 'no verdict'}"
    if sale.intent != "known":
        told += f", intent {sale.intent}"
    amounts = ", ".join(f"{part} {amount}" for part, amount in sale.reversed.amounts.items() if float(amount))
    kinds = [*["transaction"] * sale.reversed.transaction, *sale.reversed.kinds]
    if not (amounts or kinds):
        return [told]
    return [told, f"reversed {', '.join(kinds) or 'no kind'}: {amounts or 'no amount'}"]


def _named(line: Any) -> str:
    return " → ".join(name for name in (line.intent_sku, line.sku or "gone") if name)


def block_of(text: str) -> str:
    """The only block of an example."""
    (block,) = re.findall(r"^```text\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return str(block)


@pytest.mark.parametrize(("title", "text"), [example[1:] for example in EXAMPLES], ids=[each[1] for each in EXAMPLES])
def test_an_example_is_judged_as_the_page_says(title, text):
    sent = parsed(block_of(text))
    assert judged([each.event for each in sent]) == [each.expected for each in sent], title


@pytest.mark.parametrize("block", OTHERS)
def test_a_block_without_a_number_is_judged_as_it_says(block):
    sent = parsed(block)
    assert judged([each.event for each in sent]) == [each.expected for each in sent]


@pytest.mark.parametrize(("title", "text"), [example[1:] for example in EXAMPLES], ids=[each[1] for each in EXAMPLES])
def test_the_oracle_judges_an_example_alike(title, text):
    events = [each.event for each in parsed(block_of(text))]
    found = [msgspec.to_builtins(sale) | {"version": None} for sale in applied(events)[0].values()]
    lines = [json.dumps(event).encode() for event in events]
    assert found == [sale | {"version": None} for sale in oracle.transactions(lines)], title


def test_there_are_thirty_examples_or_more_in_order():
    assert [number for number, *_ in EXAMPLES] == [str(at + 1) for at in range(len(EXAMPLES))]
    assert len(EXAMPLES) >= 30


def test_every_kind_and_reason_and_every_intent_has_an_example():
    shown = "\n".join(block_of(text) for *_, text in EXAMPLES)
    found = {tuple(pair) for pair in re.findall(r"(upsell|cross_sell|downsell|restored) ([a-z_]+) [\d.]+ \(", shown)}
    assert {kind for kind, _ in found} == set(Kind.__args__)
    assert {reason for _, reason in found} == set(Reason.__args__)
    assert {("upsell", reason) for reason in ("quantity", "variant", "substitute", "plan")} <= found
    assert {("downsell", reason) for reason in ("quantity", "variant", "substitute", "plan", "removed")} <= found
    assert set(re.findall(r"intent (\w+)$", shown, re.MULTILINE)) == set(Intent.__args__) - {"known"}


def test_every_row_of_both_tables_names_its_examples():
    numbers = {number for number, *_ in EXAMPLES}
    tables = re.findall(r"^\|.*\| examples \|\n\|[ |-]+\n((?:\|.*\n)+)", PAGE, re.MULTILINE)
    assert len(tables) == 2
    for row in "".join(tables).splitlines():
        named = re.findall(r"\d+", row.rstrip("|").rpartition("|")[2])
        assert named, row
        assert set(named) <= numbers, row


def test_what_is_only_close_to_the_notation_is_an_error():
    for wrong in (
        "started  A 1 x 10.00",
        f"begun  A 1 {TIMES} 10.00",
        f"started  A 1 {TIMES} 10.00, blue",
        f"day 1 created  A 1 {TIMES} 10.00 a fortnight",
    ):
        with pytest.raises((AssertionError, KeyError, ValueError)):
            judged([each.event for each in parsed(wrong)])
