"""All figures of a file of events: `compute`; its judged transactions: `transactions`.

Batch and offline: every event of the file is known at once. Order of arrival matters for duplicates (the first wins),
stale subscription events, and what a customer's other subscriptions were when a first transaction arrived. sqlite
orders, selects, windows and counts; Python matches lines (`verdicts`) and tells a subscription's history. The answer
is one key partition's, with the default horizons, and knows no bounds on the number of label values: more channels,
segments, categories or currencies than the product admits are not folded into `other` here. Nothing is forgotten, unless a
`Memory` says how long things are remembered.
"""

from __future__ import annotations

import math
import sqlite3
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from oracle import records, verdicts
from oracle.verdicts import Item, Judged, Line

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from oracle.records import Event

WINDOWS = {"5m": 300, "1h": 3_600, "24h": 86_400, "30d": 2_592_000}
DAY = 24 * 3_600 * 1_000_000
LATENESS = DAY
KINDS = ("upsell", "cross_sell", "downsell")
COUNTED = (*KINDS, "any")
AMOUNTS = ("final", *KINDS)
COUNT_KPIS = {
    "upsell_cross_sell_rate": ("any", "opportunities"),
    "upsell_ratio": ("upsell", "transactions"),
    "cross_sell_rate": ("cross_sell", "transactions"),
}

_SCHEMA = """
CREATE TABLE fact (
    seq INTEGER PRIMARY KEY, journey TEXT, entity TEXT, source TEXT, id TEXT, type TEXT, rank INTEGER, time INTEGER,
    version INTEGER, channel TEXT, segment TEXT, explicit INTEGER, filled INTEGER, refund TEXT);
CREATE VIEW history AS SELECT *, ROW_NUMBER() OVER (
    PARTITION BY journey, entity ORDER BY time, version, rank, id, source) AS place FROM fact;
CREATE TABLE opportunity (journey TEXT, time INTEGER, channel TEXT, segment TEXT);
CREATE TABLE sale (
    sale INTEGER PRIMARY KEY, journey TEXT, time INTEGER, channel TEXT, segment TEXT, customer TEXT, currency TEXT,
    intent TEXT, upsell INTEGER, cross_sell INTEGER, downsell INTEGER, "any" INTEGER,
    lost_all INTEGER, lost_upsell INTEGER, lost_cross_sell INTEGER, lost_downsell INTEGER, lost_any INTEGER,
    initial_amount INTEGER, final_amount INTEGER, upsell_amount INTEGER, cross_sell_amount INTEGER,
    downsell_amount INTEGER, reversed_amount INTEGER);
CREATE TABLE sold (
    sale INTEGER, category TEXT, upsell INTEGER, cross_sell INTEGER, downsell INTEGER, "any" INTEGER);
"""


@dataclass
class Sale:
    """One judged transaction. Amounts are integers in the currency's minor unit."""

    event: Event
    seq: int
    channel: str | None
    segment: str | None
    currency: str
    intent: str
    lines: list[Judged]
    amounts: dict[str, int]
    categories: set[str]
    lost_whole: bool = False
    lost_kinds: set[str] = field(default_factory=set)
    lost_amounts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(AMOUNTS, 0))

    @property
    def kinds(self) -> set[str]:
        return {judged.kind for judged in self.lines}

    def lose_everything(self) -> None:
        self.lost_whole = True
        self.lost_kinds = _with_any(self.kinds)
        self.lost_amounts = {part: self.amounts[part] for part in AMOUNTS}


@dataclass(frozen=True)
class Memory:
    """How long a checkout, and a subscription that is over, are remembered after their newest event (seconds), and the clock."""

    retention: Mapping[str, int]
    clock: datetime


@dataclass
class Opportunity:
    journey: str
    time: int
    channel: str | None
    segment: str | None


@dataclass
class Reading:
    """What a file comes to."""

    records: int = 0
    rejected: int = 0
    duplicates: int = 0
    opportunities: list[Opportunity] = field(default_factory=list)
    sales: list[Sale] = field(default_factory=list)


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
    for seq, line in enumerate(lines):
        if not line.strip():
            continue
        reading.records += 1
        event = records.parse(line.rstrip(b"\r\n"))
        if event is None:
            reading.rejected += 1
        elif event.live:
            events[seq] = event
    accepted = _accept(events, reading, _Lives(memory))
    arrived = {seq: event for seq, event in accepted.items() if event.type != records.ERASED}
    erasures = {seq: event.entity for seq, event in accepted.items() if event.type == records.ERASED}
    taken = _named(arrived, erasures)
    db = _fact_database(taken)
    for (entity,) in db.execute("SELECT DISTINCT entity FROM fact WHERE journey = 'checkout'").fetchall():
        _tell_checkout(db, entity, taken, reading)
    siblings = _siblings(db, arrived, erasures)
    for (entity,) in db.execute("SELECT DISTINCT entity FROM fact WHERE journey = 'subscription'").fetchall():
        history = Subscription(siblings)
        for seq in _history(db, entity, before=max(taken) + 1):
            history.take(seq, taken[seq])
        reading.opportunities += history.opportunities
        reading.sales += history.sales
    return reading


def _accept(events: dict[int, Event], reading: Reading, lives: _Lives) -> dict[int, Event]:
    """Arrival: the first of an identity wins; a subscription refuses what is too old. What is refused leaves no trace."""
    taken: dict[int, Event] = {}
    seen: set[tuple[str, str, str, str]] = set()
    newest: dict[str, int] = {}
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
        seen.add(identity)
        taken[seq] = event
        lives.note(named, event)
    return taken


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
    history = Subscription({})
    for event in sorted(life, key=lambda event: (event.time, event.version, event.rank, event.id, event.source)):
        history.take(0, event)
    return history.began and not history.canceled


def _named(arrived: dict[int, Event], erasures: dict[int, str], before: float = math.inf) -> dict[int, Event]:
    """The events that arrived before a record, as they are known then: whoever was erased since is a customer of another name."""
    named = {}
    for seq, event in arrived.items():
        since = [
            erased for erased, customer in erasures.items() if customer == event.customer and seq < erased < before
        ]
        if seq < before:
            named[seq] = replace(event, customer=f"erased-{min(since)}") if since else event
    return named


def _fact_database(taken: dict[int, Event]) -> sqlite3.Connection:
    db = sqlite3.connect(":memory:")
    db.executescript(_SCHEMA)
    db.executemany(
        "INSERT INTO fact VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?)",
        [
            (
                seq,
                event.journey,
                event.entity,
                event.source,
                event.id,
                event.type,
                event.rank,
                event.time,
                event.version,
                event.channel,
                event.segment,
                event.intent is not None,
                bool(event.lines),
                event.refund_id,
            )
            for seq, event in taken.items()
        ],
    )
    return db


# --- a checkout: a set of facts


def _tell_checkout(db: sqlite3.Connection, entity: str, taken: dict[int, Event], reading: Reading) -> None:
    def first(condition: str, *values: str, newest: bool = False) -> Event | None:
        order = "DESC" if newest else "ASC"
        row = db.execute(
            f"SELECT seq FROM history WHERE journey = 'checkout' AND entity = ? AND {condition} "
            f"ORDER BY place {order} LIMIT 1",
            (entity, *values),
        ).fetchone()
        return taken[row[0]] if row else None

    def label(name: str) -> str | None:
        event = first(f"{name} IS NOT NULL", newest=True)
        return getattr(event, name) if event else None

    channel, segment = label("channel"), label("segment")
    if first("type IN (?, ?, ?)", records.STARTED, records.UPDATED, records.COMPLETED):
        at = first("type = ?", records.STARTED) or first("TRUE")
        assert at is not None
        reading.opportunities.append(Opportunity("checkout", at.time, channel, segment))

    completed = first("type = ?", records.COMPLETED)
    if completed is None:
        return
    last = first("type IN (?, ?)", records.COMPLETED, records.ORDER_UPDATED, newest=True)
    assert last is not None
    explicit = first("type = ? AND explicit", records.COMPLETED) or first("type = ? AND explicit", records.STARTED)
    cart = first("type IN (?, ?) AND filled", records.STARTED, records.UPDATED)
    source = explicit or cart
    final = verdicts.merge_lines(last.lines or [])
    wanted: list[Line]
    if source is None:
        intent, wanted = "unknown", []
    elif source.currency != last.currency:
        intent, wanted = "incomparable", []
    else:
        intent, wanted = "known", verdicts.merge_lines((explicit.intent if explicit else source.lines) or [])
    lines, amounts = _judge_checkout(intent, wanted, final, last.currency)
    (arrived,) = db.execute(
        "SELECT MIN(seq) FROM fact WHERE journey = 'checkout' AND entity = ? AND type = ?",
        (entity, records.COMPLETED),
    ).fetchone()
    sale = Sale(
        event=completed,
        seq=arrived,
        channel=channel,
        segment=segment,
        currency=last.currency,
        intent=intent,
        lines=lines,
        amounts=amounts,
        categories={line.category for line in final if line.takes_part and line.category},
    )
    if first("type = ?", records.ORDER_CANCELED):
        sale.lose_everything()
    refunds = db.execute(
        "SELECT MIN(place), seq FROM history WHERE journey = 'checkout' AND entity = ? AND type = ? GROUP BY refund",
        (entity, records.ORDER_REFUNDED),
    ).fetchall()
    _give_back(sale, wanted, final, [taken[seq] for _, seq in sorted(refunds)])
    reading.sales.append(sale)


def _judge_checkout(
    intent: str, wanted: list[Line], final: list[Line], currency: str
) -> tuple[list[Judged], dict[str, int]]:
    lines = verdicts.judge_checkout(wanted, final) if intent == "known" else []
    return lines, _amounts(_net(wanted), _net(final), lines, currency)


def _give_back(sale: Sale, wanted: list[Line], final: list[Line], refunds: list[Event]) -> None:
    by_units = [refund for refund in refunds if refund.refund_lines]
    by_amount = [refund for refund in refunds if refund.refund_lines is None and refund.refund_amount is not None]
    if any(refund.refund_lines is None and refund.refund_amount is None for refund in refunds):
        sale.lose_everything()
    by_amount = [refund for refund in by_amount if refund.currency == sale.currency]
    if sale.lost_whole or not (by_units or by_amount):
        return
    kept = verdicts.give_back(final, [line for refund in by_units for line in refund.refund_lines or []])
    lines, _ = _judge_checkout(sale.intent, wanted, kept, sale.currency)
    # Nothing is left without a line that counts; where none ever counted, without a unit.
    counts = [line.takes_part for line in final]
    still = [line.takes_part if any(counts) else line.quantity > 0 for line in kept]
    if by_units and final and not any(still):
        sale.lose_everything()
        return
    if by_amount:
        given = sum((refund.refund_amount or Fraction(0) for refund in by_amount), Fraction(0))
        if given >= _net(kept):
            sale.lose_everything()
            return
        share = given / _net(kept)
    else:
        share = Fraction(0)
    sale.lost_kinds = _with_any(sale.kinds) - _with_any({judged.kind for judged in lines})
    # What is lost is exact until it is rounded, once, like the judgement itself.
    for part in AMOUNTS:
        remains = (1 - share) * _exact(part, kept, lines)
        sale.lost_amounts[part] = _minor(max(Fraction(0), _exact(part, final, sale.lines) - remains), sale.currency)


def _net(lines: list[Line]) -> Fraction:
    return sum((line.net for line in lines), Fraction(0))


def _exact(part: str, final: list[Line], lines: list[Judged]) -> Fraction:
    if part == "final":
        return _net(final)
    return sum((judged.amount for judged in lines if judged.kind == part), Fraction(0))


# --- a subscription: a history


class Subscription:
    """The state of one subscription after each event, in the order of facts.

    `siblings` tells, for an event that may make the first transaction, the base products of the customer's other active
    paid subscriptions when it arrived.
    """

    def __init__(self, siblings: Mapping[int, list[str | None]]) -> None:
        self.siblings = siblings
        self.opportunities: list[Opportunity] = []
        self.sales: list[Sale] = []
        self.seen = self.created = self.trial = self.began = self.canceled = False
        self.channel: str | None = None
        self.segment: str | None = None
        self.currency: str | None = None
        self.customer: str | None = None
        self.current: list[Item] | None = None
        self.initial: list[Item] | None = None
        self.explicit: list[Item] | None = None

    @property
    def active_paid(self) -> bool:
        return bool(self.sales) and not self.canceled and not self.trial

    @property
    def base_product(self) -> str | None:
        base = _base_item(self.current or [])
        return base.product if base else None

    def take(self, seq: int, event: Event) -> None:
        if event.type == records.CREATED and self.created:
            return
        if event.type == records.CONVERTED and self.sales and not self.trial:
            return
        self.channel = event.channel or self.channel
        self.segment = event.segment or self.segment
        self.customer = event.customer
        items = None if event.lines is None else verdicts.merge_items(event.lines)
        previous = None if event.previous is None else verdicts.merge_items(event.previous)
        intent = None if event.intent is None else verdicts.merge_items(event.intent)
        acts = event.type in (records.CREATED, records.CONVERTED, records.CHANGED, records.RENEWED)
        anew = acts and self.current is not None and event.currency != self.currency
        if anew:
            self.explicit = None
        if self.explicit is None:
            self.explicit = intent

        if event.type in (records.CONVERTED, records.RENEWED, records.CANCELED):
            self.trial = False
        elif event.type == records.CREATED or not self.seen:
            self.trial = event.status == "trialing"
        if event.type == records.CANCELED:
            self.canceled = True
        elif acts:
            self.began, self.canceled = True, False

        before = self.current if self.current is not None else previous
        came_for = self.initial
        if anew or event.type == records.CREATED:
            self.initial = items
        elif self.initial is None and event.type != records.SCHEDULED:
            self.initial = previous if previous is not None else items
        if event.type == records.CREATED:
            came_for = items
        after = items if items is not None or anew else before

        if acts:
            if event.type != records.CONVERTED and not (event.type == records.CHANGED and self.trial):
                self.opportunities.append(Opportunity("subscription", event.time, self.channel, self.segment))
            if not (event.type in (records.CREATED, records.CHANGED) and self.trial):
                self._sell(seq, event, before, after, previous if came_for is None else came_for, anew=anew)
            self.current, self.currency = after, event.currency
        elif event.type != records.SCHEDULED and self.current is None:
            self.current, self.currency = after, event.currency
        if event.type == records.REFUNDED and self.sales:
            self.sales[-1].lose_everything()
        self.created = self.created or event.type == records.CREATED
        self.seen = True

    def _sell(
        self,
        seq: int,
        event: Event,
        before: list[Item] | None,
        after: list[Item] | None,
        came_for: list[Item] | None,
        *,
        anew: bool,
    ) -> None:
        new = after or []
        first = event.type in (records.CREATED, records.CONVERTED)
        against: list[Item] | None
        if not first:
            against = before
        elif self.explicit is not None:
            against = self.explicit
        else:
            against = came_for
        others = self.siblings.get(seq, [])
        lines: list[Judged] = []
        if anew:
            against = None
        elif first and not self.sales and self.explicit is None and others:
            lines = [_additional(new, others)]
            against = new if against is None else against
        elif against is not None and not (event.type == records.RENEWED and _plans(against) == _plans(new)):
            initial = self.explicit if self.explicit is not None else self.initial
            lines = verdicts.judge_subscription(against, initial or [], new)
        self.sales.append(
            Sale(
                event=event,
                seq=seq,
                channel=self.channel,
                segment=self.segment,
                currency=event.currency,
                intent="incomparable" if anew else "unknown" if against is None else "known",
                lines=lines,
                amounts=_amounts(_mrr(against or []), _mrr(new), lines, event.currency),
                categories={item.category for item in new if item.category},
            )
        )


def _additional(items: list[Item], others: list[str | None]) -> Judged:
    base = _base_item(items)
    if base is not None and base.product in others:
        return Judged("upsell", "quantity", base, None, _mrr(items))
    return Judged("cross_sell", "additional_product", base, None, _mrr(items))


def _siblings(db: sqlite3.Connection, taken: dict[int, Event], erasures: dict[int, str]) -> dict[int, list[str | None]]:
    """For each created and trial_converted event: its customer's other active paid subscriptions when it arrived."""
    found: dict[int, list[str | None]] = {}
    for seq, event in taken.items():
        if event.type not in (records.CREATED, records.CONVERTED):
            continue
        found[seq] = []
        known = _named(taken, erasures, before=seq)
        rows = db.execute(
            "SELECT DISTINCT entity FROM fact WHERE journey = 'subscription' AND entity <> ? AND seq < ?",
            (event.entity, seq),
        ).fetchall()
        for (entity,) in rows:
            other = Subscription({})
            for earlier in _history(db, entity, before=seq):
                other.take(earlier, known[earlier])
            if other.customer == event.customer and other.active_paid:
                found[seq].append(other.base_product)
    return found


def _history(db: sqlite3.Connection, entity: str, *, before: int) -> list[int]:
    """The facts of a subscription that arrived before a record, in the order of facts."""
    rows = db.execute(
        "SELECT seq FROM history WHERE journey = 'subscription' AND entity = ? AND seq < ? ORDER BY place",
        (entity, before),
    ).fetchall()
    return [seq for (seq,) in rows]


def _base_item(items: list[Item]) -> Item | None:
    return next((item for item in items if item.base), items[0] if items else None)


def _plans(items: list[Item]) -> set[tuple[str, int]]:
    return {(item.plan, item.quantity) for item in items}


def _mrr(items: list[Item]) -> Fraction:
    return sum((item.mrr for item in items), Fraction(0))


# --- amounts


def _amounts(initial: Fraction, final: Fraction, lines: list[Judged], currency: str) -> dict[str, int]:
    amounts = {"initial": _minor(initial, currency), "final": _minor(final, currency)}
    for kind in KINDS:
        exact = sum((judged.amount for judged in lines if judged.kind == kind), Fraction(0))
        amounts[kind] = _minor(exact, currency)
    return amounts


def _minor(amount: Fraction, currency: str) -> int:
    """Rounded half even, as Fraction does, to the currency's minor unit; nothing is stated beyond the largest amount."""
    return min(round(amount * Fraction(10) ** records.exponent(currency)), records.LARGEST)


def _decimal(minor: int, currency: str) -> str:
    return f"{Decimal(minor).scaleb(-records.exponent(currency)):f}"


def _with_any(kinds: set[str]) -> set[str]:
    return kinds | {"any"} if kinds & {"upsell", "cross_sell"} else kinds


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
        "offer_id": final.offer if isinstance(final, Line) else None,
        "amount": _decimal(_minor(judged.amount, currency), currency),
    }


def _sku(of: Line | Item | None) -> str | None:
    """A plan stands where a checkout has a sku."""
    if of is None:
        return None
    return of.sku if isinstance(of, Line) else of.plan


# --- figures: counting in SQL

Span = tuple[int, int] | None  # length in seconds and newest pane of a window; None: all time


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
        kinds = _with_any(sale.kinds)
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
            *(sale.amounts[part] for part in ("initial", *AMOUNTS)),
            sale.lost_amounts["final"],
        )
        db.execute(f"INSERT INTO sale VALUES ({','.join('?' * len(row))})", row)
        for category in sale.categories:
            own = _with_any(
                {judged.kind for judged in sale.lines if judged.final and judged.final.category == category}
            )
            db.execute("INSERT INTO sold VALUES (?,?,?,?,?,?)", (number, category, *(kind in own for kind in COUNTED)))
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
    if span is not None:
        conditions.append("pane(time, ?) BETWEEN ? - 59 AND ?")
        values += [span[0], span[1], span[1]]
    return " AND ".join(conditions), values


def _dimensions(db: sqlite3.Connection, span: Span) -> dict[str, Any]:
    timed = span is not None
    where, values = _where({}, span)
    found: dict[str, Any] = {
        "all": _figures(db, {}, span),
        "checkout": _figures(db, {"journey": "checkout"}, span, whole=True, customers=timed),
        "subscription": _figures(db, {"journey": "subscription"}, span, whole=True, customers=timed),
    }
    for dimension in ("channel", "segment"):
        named = db.execute(
            f"SELECT {dimension} FROM opportunity WHERE {where} UNION SELECT {dimension} FROM sale WHERE {where}",
            values * 2,
        ).fetchall()
        found[dimension] = {
            name: _figures(db, {dimension: name}, span, segment=dimension == "segment") for (name,) in named
        }
    found["category"] = {
        name: _category(db, name, span)
        for (name,) in db.execute(
            f"SELECT DISTINCT category FROM sold JOIN sale USING (sale) WHERE {where}", values
        ).fetchall()
    }
    return found


def _category(db: sqlite3.Connection, category: str, span: Span) -> dict[str, Any]:
    where, values = _where({"category": category}, span)
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
    parts = ("initial", "upsell", "cross_sell", "downsell", "final")
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


def _ratio(above: int, below: int) -> float | None:
    # A document has the double nearest to the ratio, rounded to six places: a tie in decimal digits may be none in binary ones.
    return round(float(Fraction(above, below)), 6) if below else None
