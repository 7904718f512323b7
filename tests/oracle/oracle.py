"""All figures of a file of events: `compute`; its judged transactions: `transactions`.

Batch and offline: every event of the file is known at once. Order of arrival matters for duplicates (the first wins),
stale subscription events, the 33rd order of a checkout, and what a customer's other subscriptions were when an event
arrived. `checkout` and `subscription` judge one entity each; here the records are read, and sqlite counts. The answer
is that of one key partition, with the default horizons. There are no bounds on the number of label values: more
channels, segments, categories or currencies than the product admits do not become `other` here. Nothing is forgotten,
unless a `Memory` says how long things are remembered.
"""

from __future__ import annotations

import math
import sqlite3
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import TYPE_CHECKING, Any, NamedTuple

from oracle import checkout, records
from oracle.carts import Line
from oracle.sales import PARTS, Opportunity, Sale, with_any
from oracle.subscription import SWAP, Others, Subscription
from oracle.verdicts import KINDS, Judged, minor

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from oracle.plans import Item
    from oracle.records import Event

WINDOWS = {"5m": 300, "1h": 3_600, "24h": 86_400, "30d": 2_592_000}
DAY = 24 * 3_600 * 1_000_000
LATENESS = 3 * DAY
RULES = 2
COUNTED = (*KINDS, "any")
COUNT_KPIS = {
    "upsell_cross_sell_rate": ("any", "opportunities"),
    "upsell_ratio": ("upsell", "transactions"),
    "cross_sell_rate": ("cross_sell", "transactions"),
}

_KIND_COLUMNS = ", ".join(f'"{kind}" INTEGER' for kind in COUNTED)
_SCHEMA = f"""
CREATE TABLE opportunity (journey TEXT, time INTEGER, channel TEXT, segment TEXT);
CREATE TABLE sale (
    sale INTEGER PRIMARY KEY, journey TEXT, time INTEGER, channel TEXT, segment TEXT, customer TEXT, currency TEXT,
    intent TEXT, {_KIND_COLUMNS}, lost_all INTEGER, {", ".join(f"lost_{kind} INTEGER" for kind in COUNTED)},
    {", ".join(f"{part}_amount INTEGER" for part in ("initial", *PARTS))}, reversed_amount INTEGER);
CREATE TABLE sold (sale INTEGER, category TEXT, {_KIND_COLUMNS});
"""


@dataclass(frozen=True)
class Memory:
    """How long a checkout, and a subscription that is over, are remembered after their newest event (seconds), and the clock."""

    retention: Mapping[str, int]
    clock: datetime


@dataclass
class Reading:
    """What a file comes to."""

    records: int = 0
    rejected: int = 0
    duplicates: int = 0
    opportunities: list[Opportunity] = field(default_factory=list)
    sales: list[Sale] = field(default_factory=list)
    taken: dict[int, Event] = field(default_factory=dict)
    """The facts that count, by their position in the file."""
    offers: dict[int, Event] = field(default_factory=dict)
    """The first event about an offer of each identity, by its position in the file."""
    others: dict[int, Others] = field(default_factory=dict)


def compute(
    lines: Iterable[bytes],
    *,
    as_of: datetime | None = None,
    windows: Mapping[str, int] | None = None,
    memory: Memory | None = None,
) -> dict[str, Any]:
    """The summary of the file; with `as_of` also the windows at that time (their lengths in seconds) and `total`."""
    reading = _read(lines, memory)
    db = _figures_database(reading)
    summary: dict[str, Any] = {
        "events": reading.records,
        "rejected": reading.rejected,
        "duplicates": reading.duplicates,
        "all": _figures(db, {}, None),
        "checkout": _figures(db, {"journey": "checkout"}, None, whole=True, customers=True),
        "subscription": _figures(db, {"journey": "subscription"}, None, whole=True, customers=True),
    }
    if as_of is not None:
        now = _since_epoch(as_of)
        spans = {name: (seconds, _pane(now, seconds)) for name, seconds in (windows or WINDOWS).items()}
        summary["windows"] = {name: _dimensions(db, span) for name, span in [*spans.items(), ("total", None)]}
    return summary


def transactions(lines: Iterable[bytes]) -> list[dict[str, Any]]:
    """The last version of every judged transaction, in the order in which their first record arrived."""
    return [_outcome(sale) for sale in sorted(_read(lines).sales, key=lambda sale: sale.seq)]


# --- reading: which facts count


def _since_epoch(time: datetime) -> int:
    return (time - records.EPOCH) // timedelta(microseconds=1)


def _read(lines: Iterable[bytes], memory: Memory | None = None) -> Reading:
    reading = Reading()
    events: dict[int, Event] = {}
    about_offers: dict[tuple[str, str, str, str], tuple[int, Event]] = {}
    for seq, line in enumerate(lines):
        if not line.strip():
            continue
        reading.records += 1
        event = records.parse(line.rstrip(b"\r\n"))
        if event is None:
            reading.rejected += 1
        elif event.live and event.type not in records.OFFER_TYPES:
            events[seq] = event
        elif event.live:  # an offer is no fact
            about_offers.setdefault((event.journey, event.entity, event.source, event.id), (seq, event))
    accepted, forgotten = _accept(events, reading, _Lives(memory))
    arrived = {seq: event for seq, event in accepted.items() if event.type != records.ERASED}
    erasures = {seq: event.entity for seq, event in accepted.items() if event.type == records.ERASED}
    reading.offers = dict(about_offers.values())
    reading.taken = taken = _named(arrived, erasures)
    for entity in _entities(taken, "checkout"):
        facts = _history(taken, "checkout", entity)
        opportunity = checkout.opportunity_of([taken[seq] for seq in facts])
        if opportunity:
            reading.opportunities.append(opportunity)
        completed = [seq for seq in facts if taken[seq].type == records.COMPLETED]
        sale = checkout.sale_of([taken[seq] for seq in facts], min(completed, default=0))
        if sale:
            reading.sales.append(sale)
    reading.others = others = _others(arrived, erasures, forgotten)
    for entity in _entities(taken, "subscription"):
        history = _subscription(taken, entity, others)
        reading.opportunities += history.opportunities
        reading.sales += history.sales
    return reading


def _accept(events: dict[int, Event], reading: Reading, lives: _Lives) -> tuple[dict[int, Event], dict[int, set[str]]]:
    """Arrival: the first of an identity wins; a subscription refuses what is too old, a checkout one order too many.

    What is refused leaves no trace. The second answer: which subscriptions were forgotten when an event arrived.
    """
    taken: dict[int, Event] = {}
    forgotten: dict[int, set[str]] = {}
    seen: set[tuple[str, str, str, str]] = set()
    newest: dict[str, int] = {}
    orders: dict[str, set[str]] = {}
    for seq, named in events.items():
        event = lives.of(named)
        identity = (event.journey, event.entity, event.source, event.id)
        if identity in seen:
            reading.duplicates += 1
            continue
        if event.journey == "subscription":
            if newest.get(event.entity, event.time) - event.time > LATENESS:
                continue
            newest[event.entity] = max(newest.get(event.entity, event.time), event.time)
        if event.type in checkout.ORDER_TYPES and event.order:
            known = orders.setdefault(event.entity, set())
            if event.order not in known and len(known) == checkout.MOST_ORDERS:
                reading.rejected += 1
                continue
            known.add(event.order)
        seen.add(identity)
        taken[seq] = event
        forgotten[seq] = lives.forgotten(event.time)
        lives.note(named, event)
    return taken, forgotten


class _Lives:
    """Which checkout, or subscription, of a name an event belongs to: when one is forgotten, the next event begins another of the same name."""

    def __init__(self, memory: Memory | None) -> None:
        self._memory = memory
        self._life: dict[tuple[str, str], list[Event]] = {}
        self._number: dict[tuple[str, str], int] = {}
        self._end_of_day: dict[tuple[str, str], int] = {}
        """When the day ends after which one may be forgotten."""
        self._newest: dict[str, int] = {}
        """Time of the newest event of a journey that is no more than a day ahead of the clock."""

    def of(self, event: Event) -> Event:
        """The event, of an entity whose name also tells which of its lives that is."""
        name = event.journey, event.entity
        if self._memory is None or event.journey not in self._memory.retention:
            return event
        if self._is_over(name, event.time):
            self._number[name] = self._number.get(name, 0) + 1
            self._life[name] = []
        return replace(event, entity=f"{event.entity}/{self._number.get(name, 0)}")

    def note(self, named: Event, event: Event) -> None:
        """An event was accepted."""
        name = named.journey, named.entity
        if self._memory is None or event.journey not in self._memory.retention:
            return
        life = self._life.setdefault(name, [])
        life.append(event)
        until = max(each.time for each in life) + self._retention(event.journey)
        if event.journey in self._newest:
            until = max(until, self._newest[event.journey])
        self._end_of_day[name] = math.ceil(Fraction(until, DAY)) * DAY
        if event.time <= _since_epoch(self._memory.clock) + DAY:
            self._newest[event.journey] = max(event.time, self._newest.get(event.journey, event.time))

    def forgotten(self, time: int) -> set[str]:
        """The subscriptions that an event of this time does not find: those that are over, and the earlier lives of a name."""
        found = set()
        for (journey, name), number in self._number.items():
            if journey == "subscription":
                found |= {f"{name}/{earlier}" for earlier in range(number)}
        over = [key for key in self._life if key[0] == "subscription" and self._is_over(key, time)]
        return found | {f"{name}/{self._number.get((journey, name), 0)}" for journey, name in over}

    def _is_over(self, name: tuple[str, str], time: int) -> bool:
        life = self._life.get(name)
        if not life or (name[0] == "subscription" and _is_active(life)):
            return False
        if time > max(event.time for event in life) + self._retention(name[0]):
            return True
        newest = self._newest.get(name[0])
        return newest is not None and newest - LATENESS > self._end_of_day[name]

    def _retention(self, journey: str) -> int:
        assert self._memory is not None
        return self._memory.retention[journey] * 1_000_000


def _is_active(life: list[Event]) -> bool:
    """Whether a subscription goes on, a trial included."""
    history = Subscription("", {})
    for event in sorted(life, key=_order):
        history.take(0, event)
    return history.began and not history.cancellation


def _named(arrived: dict[int, Event], erasures: dict[int, str], before: float = math.inf) -> dict[int, Event]:
    """The events that arrived before a record, as they are known then: a customer who was erased since has another name."""
    named = {}
    for seq, event in arrived.items():
        since = [
            erased for erased, customer in erasures.items() if customer == event.customer and seq < erased < before
        ]
        if seq < before:
            named[seq] = replace(event, customer=f"erased-{min(since)}") if since else event
    return named


def _order(event: Event) -> tuple[int, int, int, str, str]:
    return event.time, event.version, event.rank, event.id, event.source


def _entities(taken: Mapping[int, Event], journey: str) -> list[str]:
    return list(dict.fromkeys(event.entity for event in taken.values() if event.journey == journey))


def _history(taken: Mapping[int, Event], journey: str, entity: str) -> list[int]:
    """The facts of one checkout or subscription, in the order of facts."""
    ours = [seq for seq, event in taken.items() if (event.journey, event.entity) == (journey, entity)]
    return sorted(ours, key=lambda seq: _order(taken[seq]))


def _subscription(taken: Mapping[int, Event], entity: str, others: Mapping[int, Others]) -> Subscription:
    subscription = Subscription(entity, others)
    for seq in _history(taken, "subscription", entity):
        subscription.take(seq, taken[seq])
    return subscription


def _others(arrived: dict[int, Event], erasures: dict[int, str], forgotten: dict[int, set[str]]) -> dict[int, Others]:
    """What the customer's other subscriptions were when each created and trial_converted event arrived.

    In the order of arrival, because each cancellation is used up by the first created event that continues it.
    """
    found: dict[int, Others] = {}
    used_up: set[tuple[str, int]] = set()
    for seq, event in arrived.items():
        if event.type not in (records.CREATED, records.CONVERTED):
            continue
        known = _named(arrived, erasures, before=seq)
        base_products, canceled = [], []
        for entity in _entities(known, "subscription"):
            if entity == event.entity or entity in forgotten[seq]:
                continue
            other = _subscription(known, entity, found)
            if other.customer != event.customer:
                continue
            if other.is_active_paid:
                base_products.append(other.base_product)
            if other.cancellation and other.cancellation.was_paid:
                canceled.append(other.cancellation)
        swapped = [
            one
            for one in sorted(canceled, key=lambda one: (one.time, one.entity))
            if 0 <= event.time - one.time <= SWAP
            and one.currency == event.currency
            and (one.entity, one.time) not in used_up
        ]
        found[seq] = Others(base_products)
        if seq in _subscription({**known, seq: event}, event.entity, found).looked_for_swaps:
            found[seq] = Others(base_products, swapped)
            used_up |= {(one.entity, one.time) for one in swapped}
    return found


# --- outcomes


def _decimal(minor: int, currency: str) -> str:
    return f"{Decimal(minor).scaleb(-records.exponent(currency)):f}"


def _outcome(sale: Sale) -> dict[str, Any]:
    money = {part: _decimal(amount, sale.currency) for part, amount in sale.amounts.items()}
    return {
        "event_id": sale.event.id,
        "subject": f"{sale.event.journey}/{sale.event.entity}",
        "time": _iso(sale.event.time),
        "journey": sale.event.journey,
        "customer": sale.event.customer,
        "channel": sale.channel,
        "segment": sale.segment,
        "currency": sale.currency,
        "intent": sale.intent,
        "kinds": sorted(sale.kinds),
        "lines": [_outcome_line(judged, sale.currency) for judged in sale.lines],
        **money,
        "reversed": {
            "transaction": sale.lost_whole,
            "kinds": sorted(sale.lost_kinds - {"any"}),
            "amounts": {part: _decimal(lost, sale.currency) for part, lost in sale.lost_amounts.items()},
        },
        "rules": RULES,
    }


def _iso(time: int) -> str:
    return (records.EPOCH + timedelta(microseconds=time)).isoformat().replace("+00:00", "Z")


def _outcome_line(judged: Judged, currency: str) -> dict[str, Any]:
    final, intent = judged.final, judged.intent
    return {
        "kind": judged.kind,
        "reason": judged.reason,
        "product_id": final.product if final else None,
        "sku": _sku(final),
        "intent_product_id": intent.product if intent else None,
        "intent_sku": _sku(intent),
        "offer_id": final.offer if final else None,
        "amount": _decimal(minor(judged.amount, currency), currency),
    }


def _sku(of: Line | Item | None) -> str | None:
    """A plan stands where a checkout has a sku."""
    if of is None:
        return None
    return of.sku if isinstance(of, Line) else of.plan


# --- figures: counting in SQL


class Between(NamedTuple):
    """A time from its first moment to the one after its last, microseconds."""

    begin: int
    end: int


Span = tuple[int, int] | Between | None  # length in seconds and newest pane of a window; or a time; None: all time


def _figures_database(reading: Reading) -> sqlite3.Connection:
    db = sqlite3.connect(":memory:")
    db.executescript(_SCHEMA)
    db.create_function("pane", 2, _pane, deterministic=True)
    db.executemany(
        "INSERT INTO opportunity VALUES (?,?,?,?)",
        [
            (found.journey, found.time, found.channel or "unknown", found.segment or "unknown")
            for found in reading.opportunities
        ],
    )
    for number, sale in enumerate(reading.sales):
        kinds = with_any(sale.kinds)
        row = (
            number,
            sale.event.journey,
            sale.event.time,
            sale.channel or "unknown",
            sale.segment or "unknown",
            sale.event.customer,
            sale.currency,
            sale.intent,
            *(kind in kinds for kind in COUNTED),
            sale.lost_whole,
            *(kind in sale.lost_kinds for kind in COUNTED),
            *(sale.amounts[part] for part in ("initial", *PARTS)),
            sale.lost_amounts["final"],
        )
        db.execute(f"INSERT INTO sale VALUES ({','.join('?' * len(row))})", row)
        for category in sale.categories:
            own = with_any({judged.kind for judged in sale.lines if judged.final and judged.final.category == category})
            row = (number, category, *(kind in own for kind in COUNTED))
            db.execute(f"INSERT INTO sold VALUES ({','.join('?' * len(row))})", row)
    return db


def _pane(time: int, window: int) -> int:
    """The pane of a time in microseconds: 60 to a window of so many seconds, each closed at its end."""
    return -(-time * 60 // (window * 1_000_000))


def _where(only: Mapping[str, str], span: Span) -> tuple[str, list[Any]]:
    conditions = ["TRUE"]
    values: list[Any] = []
    for column, value in only.items():
        conditions.append(f"{column} = ?")
        values.append(value)
    if isinstance(span, Between):
        conditions.append("time >= ? AND time < ?")
        values += span
    elif span is not None:
        conditions.append("pane(time, ?) BETWEEN ? - 59 AND ?")
        values += [span[0], span[1], span[1]]
    return " AND ".join(conditions), values


def _dimensions(db: sqlite3.Connection, span: Span) -> dict[str, Any]:
    timed = span is not None
    found: dict[str, Any] = {
        "all": _figures(db, {}, span),
        "checkout": _figures(db, {"journey": "checkout"}, span, whole=True, customers=timed),
        "subscription": _figures(db, {"journey": "subscription"}, span, whole=True, customers=timed),
    }
    found |= _breakdowns(db, {}, span)
    found["by"] = {
        journey: _breakdowns(db, {"journey": journey}, span, whole=True, customers=timed)
        for journey in ("checkout", "subscription")
    }
    return found


def _breakdowns(
    db: sqlite3.Connection, only: Mapping[str, str], span: Span, *, whole: bool = False, customers: bool = False
) -> dict[str, Any]:
    where, values = _where(only, span)
    found: dict[str, Any] = {}
    for dimension in ("channel", "segment"):
        named = db.execute(
            f"SELECT {dimension} FROM opportunity WHERE {where} UNION SELECT {dimension} FROM sale WHERE {where}",
            values * 2,
        ).fetchall()
        found[dimension] = {
            name: _figures(
                db, {**only, dimension: name}, span, whole=whole, customers=customers, segment=dimension == "segment"
            )
            for (name,) in named
        }
    found["category"] = {
        name: _category(db, {**only, "category": name}, span)
        for (name,) in db.execute(
            f"SELECT DISTINCT category FROM sold JOIN sale USING (sale) WHERE {where}", values
        ).fetchall()
    }
    return found


def _category(db: sqlite3.Connection, only: Mapping[str, str], span: Span) -> dict[str, Any]:
    where, values = _where(only, span)
    sums = ", ".join(f'COALESCE(SUM(sold."{kind}"), 0)' for kind in COUNTED)
    count, *kinds = db.execute(
        f"SELECT COUNT(*), {sums} FROM sold JOIN sale USING (sale) WHERE {where}", values
    ).fetchone()
    by_kind = dict(zip(COUNTED, kinds, strict=True))
    return {
        "transactions": count,
        "kind_transactions": by_kind,
        "rates": {
            "upsell_ratio": _ratio(by_kind["upsell"], count),
            "cross_sell_rate": _ratio(by_kind["cross_sell"], count),
        },
    }


def _figures(
    db: sqlite3.Connection,
    only: Mapping[str, str],
    span: Span,
    *,
    whole: bool = False,
    customers: bool = False,
    segment: bool = False,
) -> dict[str, Any]:
    """The figure set S. `whole`: with revenue (one journey only)."""
    where, values = _where(only, span)

    def one(query: str) -> int:
        return int(db.execute(query, values).fetchone()[0])

    def sales(condition: str) -> int:
        return one(f"SELECT COUNT(*) FROM sale WHERE {where} AND {condition}")

    found: dict[str, Any] = {
        "opportunities": one(f"SELECT COUNT(*) FROM opportunity WHERE {where}"),
        "transactions": sales("TRUE"),
        "kind_transactions": {kind: sales(f'"{kind}"') for kind in COUNTED},
        "reversed_transactions": {kind: sales(f"lost_{kind}") for kind in ("all", *COUNTED)},
        "intents": {intent: sales(f"intent = '{intent}'") for intent in ("known", "unknown", "incomparable")},
    }
    counts = {
        "opportunities": found["opportunities"],
        "transactions": found["transactions"],
        **found["kind_transactions"],
    }
    rates = {kpi: _ratio(counts[above], counts[below]) for kpi, (above, below) in COUNT_KPIS.items()}
    if segment:
        rates["cross_sell_ratio"] = rates["cross_sell_rate"]
    if whole:
        found["revenue"], more = _revenue(db, where, values)
        rates |= more
        found["amounts"], rates["order_value_lift"] = _money_kpis(db, where, values, found)
    if customers:
        found["customers"] = _customers(db, only, span)
        buyers = found["customers"]["all"]
        for kind in ("upsell", "cross_sell", "any"):
            rates[f"customer_{kind}_rate"] = _ratio(found["customers"][kind], buyers)
    found["rates"] = rates
    return found


def _customers(db: sqlite3.Connection, only: Mapping[str, str], span: Span) -> dict[str, int]:
    """A customer counts for a kind where the newest of their transactions of that kind lies in the window."""
    everywhere, values = _where(only, None)
    within, bounds = _where({}, span)
    found = {}
    for kind in ("all", "upsell", "cross_sell", "any"):
        having = "TRUE" if kind == "all" else f'"{kind}"'
        newest = f"SELECT MAX(time) AS time FROM sale WHERE {everywhere} AND {having} GROUP BY customer"
        found[kind] = int(db.execute(f"SELECT COUNT(*) FROM ({newest}) WHERE {within}", values + bounds).fetchone()[0])
    return found


def _revenue(
    db: sqlite3.Connection, where: str, values: list[Any]
) -> tuple[dict[str, dict[str, str]], dict[str, float | None]]:
    parts = ("initial", *KINDS, "final")
    known = ", ".join(f"SUM(CASE WHEN intent = 'known' THEN {part}_amount ELSE 0 END)" for part in parts)
    rows = db.execute(
        f"SELECT currency, {known}, SUM(final_amount), SUM(reversed_amount) "
        f"FROM sale WHERE {where} GROUP BY currency ORDER BY currency",
        values,
    ).fetchall()
    revenue = {}
    comparable = []
    for currency, *sums in rows:
        minor = dict(zip((*parts, "total", "reversed"), sums, strict=True))
        if not any(sums):
            continue
        revenue[currency] = {part: _decimal(amount, currency) for part, amount in minor.items()}
        if any(minor[part] for part in parts):
            comparable.append(minor)
    rates: dict[str, float | None] = {"upsell_revenue_ratio": None, "upsell_revenue_share": None}
    if len(comparable) == 1:
        (minor,) = comparable
        rates["upsell_revenue_ratio"] = _ratio(minor["final"], minor["initial"])
        rates["upsell_revenue_share"] = _ratio(minor["upsell"], minor["initial"])
    return revenue, rates


def _money_kpis(
    db: sqlite3.Connection, where: str, values: list[Any], found: Mapping[str, Any]
) -> tuple[dict[str, dict[str, str] | None], float | None]:
    """The KPIs of money, and the lift; each None without a denominator, and unless exactly one currency has a total."""
    names = ("revenue_per_opportunity", "average_order_value", "extra_revenue_per_transaction")
    totals = db.execute(
        f"SELECT currency, SUM(final_amount) FROM sale WHERE {where} GROUP BY currency HAVING SUM(final_amount) > 0",
        values,
    ).fetchall()
    if len(totals) != 1:
        return dict.fromkeys(names), None
    ((currency, total),) = totals
    (extra,) = db.execute(
        f"SELECT SUM(CASE WHEN intent = 'known' THEN upsell_amount + cross_sell_amount ELSE 0 END) FROM sale WHERE {where} AND currency = ?",
        [*values, currency],
    ).fetchone()
    divided = {
        "revenue_per_opportunity": (total, found["opportunities"]),
        "average_order_value": (total, found["transactions"]),
        "extra_revenue_per_transaction": (extra, found["transactions"]),
    }
    places = records.exponent(currency) + 2
    step = Decimal(1).scaleb(-places)
    amounts: dict[str, dict[str, str] | None] = {}
    for name, (above, below) in divided.items():
        amounts[name] = None
        if below:
            value = Fraction(above, below) / 10 ** records.exponent(currency)
            units = round(value * 10**places)  # half even, of a Fraction
            amounts[name] = {"currency": currency, "value": f"{(units * step):.{places}f}"}
    averages = []
    for condition in ('"any"', "intent = 'known' AND NOT \"any\""):
        number, amount = db.execute(
            f"SELECT COUNT(*), COALESCE(SUM(final_amount), 0) FROM sale WHERE {where} AND {condition}", values
        ).fetchone()
        averages.append(Fraction(amount, number) if number else None)
    flagged, others = averages
    lift = None if flagged is None or not others else round(float(flagged / others), 6)
    return amounts, lift


def _ratio(above: int, below: int) -> float | None:
    # A document has the double nearest to the ratio, rounded to six places: a tie in decimal digits may be none in binary ones.
    return round(float(Fraction(above, below)), 6) if below else None
