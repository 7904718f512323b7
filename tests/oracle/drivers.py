"""What sells, from the contract alone: the products, paths and pairs of a file of events (`drivers`), and how strong a pair is (`strength`).

Everything is counted on the day of the transaction. A product goes by its name: product_id, else sku, else variant_id; a plan by its plan_id.
"""

from __future__ import annotations

from datetime import UTC
from fractions import Fraction
from typing import TYPE_CHECKING, Any, NamedTuple

from oracle import oracle
from oracle.offers import JOURNEYS, OTHER, day_of
from oracle.plans import Item
from oracle.verdicts import NOTHING, minor

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import tzinfo

    from oracle.carts import Line
    from oracle.sales import Sale
    from oracle.verdicts import Judged

LONGEST = 64
"""Characters of a name; a longer one is `other`."""
PAIRED = 8
"""Lines of a cart that make pairs, those of the highest net total."""

Pair = tuple[str, str]


class Strength(NamedTuple):
    """None: without a denominator."""

    support: Fraction | None
    confidence: Fraction | None
    lift: Fraction | None


def drivers(lines: Iterable[bytes], zone: tzinfo = UTC) -> dict[str, dict[str, dict[str, Any]]]:
    """Journey -> day (ISO date) -> the counts of the day."""
    found: dict[str, dict[str, dict[str, Any]]] = {journey: {} for journey in JOURNEYS}
    for sale in oracle._read(lines).sales:
        days = found[sale.event.journey]
        empty = {"transactions": 0, "reversed": 0, "known": 0, "products": {}, "paths": {}, "pairs": {}}
        _count(days.setdefault(day_of(sale.event.time, zone), empty), sale)
    for days in found.values():
        for day in days.values():
            for rows in (day["products"], day["paths"], day["pairs"]):
                for row in rows.values():
                    row["amounts"] = {
                        currency: oracle._decimal(amount, currency)
                        for currency, amount in sorted(row["amounts"].items())
                        if amount
                    }
    return found


def strength(day: Mapping[str, Any], pair: Pair) -> Strength:
    """Support, confidence and lift of a pair (A, B) by the counts of a day, or of several days added up."""
    wanted, added = pair
    count, known = day["pairs"].get(pair, {}).get("transactions", 0), day["known"]
    with_wanted = day["products"].get(wanted, {}).get("intent", 0)
    with_added = day["products"].get(added, {}).get("cross_sell", 0)
    return Strength(
        support=Fraction(count, known) if known else None,
        confidence=Fraction(count, with_wanted) if with_wanted else None,
        lift=Fraction(count * known, with_wanted * with_added) if with_wanted and with_added else None,
    )


def _count(day: dict[str, Any], sale: Sale) -> None:
    day["transactions"] += 1
    day["reversed"] += sale.lost_whole
    day["known"] += sale.intent == "known"

    bought = [(_name(good.name), good) for good in sale.goods if good.counts and good.net]
    for product in dict(bought):
        goods = [good for name, good in bought if name == product]
        row = _product(day, product)
        _add(row, sale, sum((good.net for good in goods), NOTHING), is_reversed=not any(good.left for good in goods))
    if sale.intent != "known":
        return

    wanted = [(_name(name), net) for name, net in sale.wanted if net]
    for product in dict(wanted):
        _product(day, product)["intent"] += 1
    added = [(_name(_line_name(one.final)), one) for one in sale.lines if one.kind == "cross_sell"]
    for product in dict(added):
        _product(day, product)["cross_sell"] += 1

    led: dict[tuple[str, str, str], list[Judged]] = {}
    for one in sale.lines:
        if one.kind == "upsell" and one.intent is not None:
            path = _name(_line_name(one.intent)), _name(_line_name(one.final)), one.reason
            led.setdefault(path, []).append(one)
    for path, verdicts in led.items():
        amount = sum((one.amount for one in verdicts), NOTHING)
        _add(_row(day["paths"], path), sale, amount, is_reversed=all(one in sale.gone for one in verdicts))

    of_intent = _largest(wanted)
    of_final = _largest([(name, good.net) for name, good in bought])
    for product in dict(added):
        verdicts = [one for name, one in added if name == product]
        amount = sum((one.amount for one in verdicts), NOTHING)
        for other in of_intent if product in of_final else ():
            pair = _row(day["pairs"], (other, product))
            _add(pair, sale, amount, is_reversed=all(one in sale.gone for one in verdicts))


def _name(name: str) -> str:
    return name if len(name) <= LONGEST else OTHER


def _line_name(line: Line | Item) -> str:
    return line.plan if isinstance(line, Item) else line.name


def _largest(lines: list[tuple[str, Fraction]]) -> set[str]:
    """The names of the lines with the highest net totals; ties in order of appearance."""
    return {name for name, _ in sorted(lines, key=lambda line: line[1], reverse=True)[:PAIRED]}


def _row(rows: dict[Any, dict[str, Any]], key: Any) -> dict[str, Any]:
    row: dict[str, Any] = rows.setdefault(key, {"transactions": 0, "reversed": 0, "amounts": {}})
    return row


def _product(day: dict[str, Any], name: str) -> dict[str, Any]:
    empty = {"transactions": 0, "reversed": 0, "intent": 0, "cross_sell": 0, "amounts": {}}
    row: dict[str, Any] = day["products"].setdefault(name, empty)
    return row


def _add(row: dict[str, Any], sale: Sale, amount: Fraction, *, is_reversed: bool) -> None:
    row["transactions"] += 1
    row["reversed"] += is_reversed
    row["amounts"][sale.currency] = row["amounts"].get(sale.currency, 0) + minor(amount, sale.currency)
