"""What became of the offers of a file of events, from the contract alone: `offers`.

An offer belongs to one checkout or subscription, the entity. Of one entity and offer the first shown and the first declined event count, each on its own
day, and the first transaction that has the offer in its final lines or items, on the day of the transaction. The order of arrival matters for one thing
alone: which offers of an entity have a place of their own.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from oracle import checkout, oracle, records
from oracle.verdicts import NOTHING, minor

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import tzinfo

    from oracle.oracle import Reading
    from oracle.records import Event
    from oracle.sales import Sale

JOURNEYS = ("checkout", "subscription")
VERDICTS = ("upsell", "cross_sell", "downsell", "restored", "nothing", "unknown")
STRONGEST = ("upsell", "cross_sell", "restored", "downsell")
"""Where the lines of one offer have different verdicts, the first of these counts."""
MOST = 64
"""Offers of an entity with a place of their own."""
OTHER = "other"
UNKNOWN = "unknown"
SHOWN, DECLINED = records.OFFER_TYPES

Days = dict[str, dict[tuple[str, str], dict[str, Any]]]


@dataclass
class Row:
    """The counts of an offer in a slot on a day. Money is in minor units."""

    shown: int = 0
    declined: int = 0
    reversed: int = 0
    by_verdict: dict[str, int] = field(default_factory=lambda: dict.fromkeys(VERDICTS, 0))
    gross: dict[str, int] = field(default_factory=dict)
    kept: dict[str, int] = field(default_factory=dict)

    def accept(self, sale: Sale, offers: set[str]) -> None:
        """Count that the sale is the first to have an offer, or several that count as one."""
        lines = [good for good in sale.goods if good.offer in offers]
        kinds = {kind for good in lines for kind in good.kinds}
        verdict = next((kind for kind in STRONGEST if kind in kinds), "nothing")
        self.by_verdict[verdict if sale.intent == "known" else "unknown"] += 1
        self.reversed += not any(good.has_units_left for good in lines)
        counted = [good for good in lines if good.counts]
        gross = sum((good.net for good in counted), NOTHING)
        kept = sum((good.left for good in counted), NOTHING) * sale.keep
        for sums, amount in ((self.gross, gross), (self.kept, kept)):
            sums[sale.currency] = sums.get(sale.currency, 0) + minor(amount, sale.currency)

    def document(self) -> dict[str, Any]:
        """The row as it is compared; a currency without any money is left out."""
        currencies = [currency for currency in sorted(self.gross) if self.gross[currency] or self.kept[currency]]
        return {
            "shown": self.shown,
            "declined": self.declined,
            "accepted": sum(self.by_verdict.values()),
            "by_verdict": dict(self.by_verdict),
            "reversed": self.reversed,
            "gross": {currency: oracle._decimal(self.gross[currency], currency) for currency in currencies},
            "kept": {currency: oracle._decimal(self.kept[currency], currency) for currency in currencies},
        }


def offers(lines: Iterable[bytes], zone: tzinfo = UTC) -> dict[str, Days]:
    """Journey -> day (ISO date) -> (offer, slot) -> row, without the rows in which nothing was counted."""
    reading = oracle._read(lines)
    rows: dict[tuple[str, str, str, str], Row] = {}
    about_offers: dict[tuple[str, str], list[Event]] = {}
    sales_of: dict[tuple[str, str], list[Sale]] = {}
    for event in reading.offers.values():
        about_offers.setdefault((event.journey, event.entity), []).append(event)
    for sold in reading.sales:
        sales_of.setdefault((sold.event.journey, sold.event.entity), []).append(sold)
    places = _places(reading)
    for journey, entity in about_offers.keys() | sales_of.keys():
        events = about_offers.get((journey, entity), [])
        sales = sales_of.get((journey, entity), [])
        own = places[journey, entity]
        named = {event.offer for event in events} | {good.offer for sale in sales for good in sale.goods}
        ids = {name for name in named if name is not None}
        for offer in (own & ids) | {OTHER}:
            meant = {offer} if offer in own else ids - own
            in_order = sorted((event for event in events if event.offer in meant), key=oracle._order)
            shown = next((event for event in in_order if event.type == SHOWN), None)
            declined = next((event for event in in_order if event.type == DECLINED), None)
            sale = next((sale for sale in sales if any(good.offer in meant for good in sale.goods)), None)
            slot = UNKNOWN if shown is None else shown.slot or UNKNOWN
            if shown is not None:
                rows.setdefault((journey, day_of(shown.time, zone), offer, slot), Row()).shown += 1
            if declined is not None:
                said_in = slot if shown is not None else declined.slot or UNKNOWN
                rows.setdefault((journey, day_of(declined.time, zone), offer, said_in), Row()).declined += 1
            if sale is not None:
                rows.setdefault((journey, day_of(sale.event.time, zone), offer, slot), Row()).accept(sale, meant)
    found: dict[str, Days] = {journey: {} for journey in JOURNEYS}
    for (journey, day, offer, slot), row in rows.items():
        found[journey].setdefault(day, {})[offer, slot] = row.document()
    return found


def added_up(days: Iterable[Any]) -> Any:
    """Several days as one, those of `offers` or those of `drivers` of one journey."""
    whole: dict[Any, Any] = {}
    for day in days:
        for key, value in day.items():
            before = whole.get(key)
            if isinstance(value, dict):
                whole[key] = added_up([before or {}, value])
            elif before is None:
                whole[key] = value
            else:
                whole[key] = before + value if isinstance(value, int) else f"{Decimal(before) + Decimal(value):f}"
    return whole


def day_of(time: int, zone: tzinfo) -> str:
    """The day of a time in microseconds since the epoch."""
    return (records.EPOCH + timedelta(microseconds=time)).astimezone(zone).date().isoformat()


def _places(reading: Reading) -> dict[tuple[str, str], set[str]]:
    """Of each entity the first 64 offers, in the order in which events about them, and transactions that have them, came."""
    events: dict[tuple[str, str], dict[int, Event]] = {}
    for seq, event in sorted([*reading.taken.items(), *reading.offers.items()], key=lambda each: each[0]):
        events.setdefault((event.journey, event.entity), {})[seq] = event
    found = {}
    for entity, of_entity in events.items():
        mentioned: set[str | None] = {event.offer for event in of_entity.values()}
        for event in of_entity.values():
            mentioned |= {line["offer_id"] for line in [*(event.lines or []), *(event.previous or [])]}
        own = dict.fromkeys(name for name in mentioned if name is not None and name != OTHER)
        if len(own) > MOST:
            own = {}
            for seq, event in of_entity.items():
                facts = {at: each for at, each in of_entity.items() if at <= seq and each.offer is None}
                named = [event.offer] if event.offer is not None else _carried(reading, facts, event)
                own |= dict.fromkeys(name for name in named if name is not None and name != OTHER)
        found[entity] = set(list(own)[:MOST])
    return found


def _carried(reading: Reading, facts: dict[int, Event], newest: Event) -> list[str | None]:
    """The offers in the transactions of an entity as they are known when its newest fact has arrived, in order."""
    if newest.journey == "checkout":
        sale = checkout.sale_of(sorted(facts.values(), key=oracle._order), 0)
        sales = [] if sale is None else [sale]
    else:
        sales = oracle._subscription(facts, newest.entity, reading.others).sales
    return [good.offer for sale in sales for good in sale.goods]
