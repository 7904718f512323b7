"""The planted truth: the counts that a perfect observer of the same records would reach.

Rules: the generator reports each transaction (`PlantedSale`) when it yields the record for it; nothing here reads an event. When a
transaction changes, its old values are subtracted and its new values are added, so the counts are right after every record, not only at
the end. Amounts arrive rounded to the currency's exponent; sums add rounded amounts.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from fractions import Fraction
from typing import Any, Final, Literal

import msgspec
from msgspec.structs import replace

from stream.simulate.offers import OfferCounts
from stream.simulate.pairs import PairCounts
from stream.simulate.record import Topic, quantum, rounded

Kind = Literal["upsell", "cross_sell", "downsell", "restored"]
Intent = Literal["known", "unknown", "incomparable"]
Labels = tuple[str, str]
"""Channel and segment, `unknown` where the events name none."""

_KINDS: Final[tuple[Kind, ...]] = ("upsell", "cross_sell", "downsell", "restored")
KINDS: Final = (*_KINDS, "any")
PARTS: Final = ("initial", *_KINDS, "final", "total", "reversed")
INTENTS: Final = ("known", "unknown", "incomparable")
CUSTOMERS: Final = ("all", "upsell", "cross_sell", "any")

_AMOUNTS: Final = (*PARTS, "total_any", "total_plain")
_MONEY_KPIS: Final = {
    "revenue_per_opportunity": (("total",), "opportunities"),
    "average_order_value": (("total",), "transactions"),
    "extra_revenue_per_transaction": (("upsell", "cross_sell"), "transactions"),
}
"""Amounts that are added up, and the count that divides them."""

_ZERO: Final = Decimal(0)


def with_any(kinds: frozenset[Kind]) -> frozenset[str]:
    """The kinds, plus `any` if an upsell or a cross-sell is among them."""
    return kinds | {"any"} if "upsell" in kinds or "cross_sell" in kinds else kinds


def with_money(verdicts: Iterable[tuple[Kind, Fraction]], currency: str) -> list[tuple[Kind, Fraction]]:
    """The verdicts with an amount that does not round to 0."""
    return [(kind, amount) for kind, amount in verdicts if rounded(amount, currency)]


class PlantedSale(msgspec.Struct, frozen=True, gc=False):
    """The current state of one transaction. Amounts are in major units, rounded to the currency's exponent."""

    currency: str
    intent: Intent
    final: Decimal
    """Net total of the final lines, or MRR after the event. Reversals do not reduce it."""
    kinds: frozenset[Kind] = frozenset()
    initial: Decimal = _ZERO
    upsell: Decimal = _ZERO
    cross_sell: Decimal = _ZERO
    downsell: Decimal = _ZERO
    restored: Decimal = _ZERO
    reversed_amount: Decimal = _ZERO
    """Part of the net total that was reversed."""
    reversed: bool = False
    """The whole transaction is reversed."""
    reversed_kinds: frozenset[str] = frozenset()
    """Reversed kinds, `any` included."""

    def as_reversed(self) -> "PlantedSale":
        """The same transaction, reversed as a whole."""
        return replace(self, reversed_amount=self.final, reversed=True, reversed_kinds=with_any(self.kinds))

    @classmethod
    def judged(
        cls, currency: str, initial: Fraction, final: Fraction, verdicts: Iterable[tuple[Kind, Fraction]]
    ) -> "PlantedSale":
        """A transaction with these verdicts, of which those without money are left out. Amounts are exact."""
        amounts: dict[Kind, Fraction] = {}
        for kind, amount in with_money(verdicts, currency):
            amounts[kind] = amounts.get(kind, 0) + amount
        parts = (rounded(amounts.get(kind, Fraction(0)), currency) for kind in _KINDS)
        upsell, cross_sell, downsell, restored = parts
        return cls(
            currency,
            "known",
            rounded(final, currency),
            frozenset(amounts),
            rounded(initial, currency),
            upsell,
            cross_sell,
            downsell,
            restored,
        )


@dataclass(slots=True)
class _Tally:
    """The counts of one channel and segment of a journey, or of several."""

    counts: Counter[str] = field(default_factory=Counter)
    """Opportunities and transactions."""
    kinds: Counter[str] = field(default_factory=Counter)
    reversed: Counter[str] = field(default_factory=Counter)
    intents: Counter[str] = field(default_factory=Counter)
    revenue: dict[str, dict[str, Decimal]] = field(default_factory=dict)
    """Currency -> amounts by `_AMOUNTS`."""

    def count(self, sale: PlantedSale, sign: int) -> None:
        self.counts["transactions"] += sign
        self.intents[sale.intent] += sign
        money = self._money(sale.currency)
        money["total"] += sign * sale.final
        if sale.intent == "known":
            money["initial"] += sign * sale.initial
            money["final"] += sign * sale.final
            money["total_any" if "any" in with_any(sale.kinds) else "total_plain"] += sign * sale.final
        if sale.kinds:
            for kind in with_any(sale.kinds):
                self.kinds[kind] += sign
            money["upsell"] += sign * sale.upsell
            money["cross_sell"] += sign * sale.cross_sell
            money["downsell"] += sign * sale.downsell
            money["restored"] += sign * sale.restored
        if sale.reversed_amount:
            money["reversed"] += sign * sale.reversed_amount
        if sale.reversed:
            self.reversed["all"] += sign
        for kind in sale.reversed_kinds:
            self.reversed[kind] += sign

    @classmethod
    def of(cls, tallies: Iterable["_Tally"]) -> "_Tally":
        """The sum of some."""
        whole = cls()
        for tally in tallies:
            whole.counts.update(tally.counts)
            whole.kinds.update(tally.kinds)
            whole.reversed.update(tally.reversed)
            whole.intents.update(tally.intents)
            for currency, money in tally.revenue.items():
                sums = whole._money(currency)
                for part, amount in money.items():
                    sums[part] += amount
        return whole

    def _money(self, currency: str) -> dict[str, Decimal]:
        money = self.revenue.get(currency)
        if money is None:
            money = self.revenue[currency] = dict.fromkeys(_AMOUNTS, _ZERO * quantum(currency))
        return money


@dataclass(slots=True)
class _Buyers:
    """The customers of one journey."""

    present: dict[str, dict[str, int]] = field(default_factory=dict)
    """Transactions of each kind (`all` for every one), by customer."""
    departed: Counter[str] = field(default_factory=Counter)
    """Customers of each kind who will not come back. Only their number is kept."""

    def count(self, customer: str, sale: PlantedSale, sign: int) -> None:
        person = self.present.get(customer)
        if person is None:
            person = self.present[customer] = dict.fromkeys(CUSTOMERS, 0)
        person["all"] += sign
        for kind in with_any(sale.kinds):
            if kind in person:
                person[kind] += sign

    def distinct(self) -> dict[str, int]:
        people = self.present.values()
        return {kind: self.departed[kind] + sum(1 for person in people if person[kind] > 0) for kind in CUSTOMERS}


def _ratio(part: int | Decimal, whole: int | Decimal) -> float | None:
    return round(float(Decimal(part) / Decimal(whole)), 6) if whole else None


def _counts(tally: _Tally) -> dict[str, Any]:
    """A figure set of both journeys: without money and customers."""
    kinds, opportunities, transactions = tally.kinds, tally.counts["opportunities"], tally.counts["transactions"]
    return {
        "opportunities": opportunities,
        "transactions": transactions,
        "kind_transactions": {kind: kinds[kind] for kind in KINDS},
        "reversed_transactions": {kind: tally.reversed[kind] for kind in ("all", *KINDS)},
        "intents": {intent: tally.intents[intent] for intent in INTENTS},
        "rates": {
            "upsell_cross_sell_rate": _ratio(kinds["any"], opportunities),
            "upsell_ratio": _ratio(kinds["upsell"], transactions),
            "cross_sell_rate": _ratio(kinds["cross_sell"], transactions),
        },
    }


def _figures(tally: _Tally) -> dict[str, Any]:
    """A figure set of one journey, without customers."""
    figures = _counts(tally)
    figures["revenue"] = {
        currency: {part: format(money[part], "f") for part in PARTS}
        for currency, money in sorted(tally.revenue.items())
    }
    figures["amounts"] = _money_kpis(tally)
    comparable = [money for money in tally.revenue.values() if money["initial"]]
    money = comparable[0] if len(comparable) == 1 else dict.fromkeys(PARTS, _ZERO)
    figures["rates"] |= {
        "upsell_revenue_ratio": _ratio(money["final"], money["initial"]),
        "upsell_revenue_share": _ratio(money["upsell"], money["initial"]),
        "order_value_lift": _lift(tally),
    }
    return figures


def _with_total(tally: _Tally) -> Mapping[str, Mapping[str, Decimal]]:
    return {currency: money for currency, money in tally.revenue.items() if money["total"]}


def _money_kpis(tally: _Tally) -> dict[str, dict[str, str] | None]:
    found = _with_total(tally)
    if len(found) != 1:
        return dict.fromkeys(_MONEY_KPIS)
    ((currency, money),) = found.items()
    step = quantum(currency) / 100
    values: dict[str, dict[str, str] | None] = {}
    for name, (parts, divisor) in _MONEY_KPIS.items():
        number = tally.counts[divisor]
        exact = Fraction(sum((money[part] for part in parts), _ZERO)) / (number or 1)
        text = format(round(exact / Fraction(step)) * step, "f")  # half even
        values[name] = {"currency": currency, "value": text} if number else None
    return values


def _lift(tally: _Tally) -> float | None:
    found = _with_total(tally)
    if len(found) != 1:
        return None
    (money,) = found.values()
    flagged = tally.kinds["any"]
    return _ratio(money["total_any"] * (tally.intents["known"] - flagged), money["total_plain"] * flagged)


class Truth:
    """Planted counts, updated while records are generated."""

    def __init__(self) -> None:
        self.events = 0
        """All records, good or bad."""
        self.rejected = 0
        """Bad records among `events`."""
        self.duplicates = 0
        """Records that are a copy of an earlier one, and not about an offer."""
        self.offer_duplicates = 0
        """Records that are a copy of an earlier one about an offer."""
        self.offers = OfferCounts()
        self.pairs = PairCounts()
        """Of the checkouts."""
        self.planted_pairs: list[dict[str, Any]] = []
        """`intent`, `cross_sell` and `factor`: how many times as often the one is added where the other is in the intent."""
        self.incident: dict[str, Any] | None = None
        self._tallies: dict[Topic, defaultdict[Labels, _Tally]] = {
            "checkout": defaultdict(_Tally),
            "subscription": defaultdict(_Tally),
        }
        self._buyers: dict[Topic, _Buyers] = {"checkout": _Buyers(), "subscription": _Buyers()}

    def opportunity(self, journey: Topic, labels: Labels) -> None:
        """Count one more opportunity."""
        self._tallies[journey][labels].counts["opportunities"] += 1

    def sold(self, journey: Topic, labels: Labels, customer: str, sale: PlantedSale) -> None:
        """Count a new transaction."""
        self._tallies[journey][labels].count(sale, 1)
        self._buyers[journey].count(customer, sale, 1)

    def restated(self, journey: Topic, labels: Labels, customer: str, before: PlantedSale, after: PlantedSale) -> None:
        """Replace a transaction of the same customer after an edit, a refund or a cancellation."""
        for sale, sign in ((before, -1), (after, 1)):
            self._tallies[journey][labels].count(sale, sign)
            self._buyers[journey].count(customer, sale, sign)

    def departed(self, journey: Topic, customer: str) -> None:
        """Keep only the counts of a customer who will not appear in any later record, so that memory is bounded."""
        buyers = self._buyers[journey]
        person = buyers.present.pop(customer, None)
        if person is not None:
            buyers.departed.update(kind for kind in CUSTOMERS if person[kind] > 0)

    def document(self) -> dict[str, Any]:
        """The summary, and what else was planted: `offers`, `pairs` and `incident` (None: none)."""
        return self.summary() | {
            "offers": self.offers.document(),
            "pairs": {"planted": self.planted_pairs, "checkout": self.pairs.document()},
            "incident": self.incident,
        }

    def summary(self) -> dict[str, Any]:
        """The counts so far, in the shape of `classify --summary --json`.

        Counts are integers, amounts decimal strings at the currency's exponent (KPIs of money: two places more), rates floats rounded to six
        decimals, or None if the denominator is 0. What is made of revenue is None if the revenue is in several currencies.
        """
        whole = {journey: _Tally.of(tallies.values()) for journey, tallies in self._tallies.items()}
        summary: dict[str, Any] = {
            "events": self.events,
            "rejected": self.rejected,
            "duplicates": self.duplicates,
            "all": _counts(_Tally.of(whole.values())),
        }
        for journey, tally in whole.items():
            figures, people = _figures(tally), self._buyers[journey].distinct()
            figures["customers"] = people
            figures["rates"] |= {
                f"customer_{kind}_rate": _ratio(people[kind], people["all"]) for kind in ("upsell", "cross_sell", "any")
            }
            summary[journey] = figures
        return summary

    def by(self) -> dict[str, Any]:
        """The counts so far by channel and by segment, in the shape of `by` of the rates document's total; categories are not planted."""
        return {journey: _breakdown(tallies) for journey, tallies in self._tallies.items()}


def _breakdown(tallies: Mapping[Labels, _Tally]) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {"channel": {}, "segment": {}}
    for place, (dimension, sets) in enumerate(found.items()):
        for value in sorted({labels[place] for labels in tallies}):
            sets[value] = _figures(_Tally.of(tally for labels, tally in tallies.items() if labels[place] == value))
            if dimension == "segment":
                sets[value]["rates"]["cross_sell_ratio"] = sets[value]["rates"]["cross_sell_rate"]
    return found
