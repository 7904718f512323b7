"""The planted truth: the counts that a perfect observer of the same records would reach.

Rules: the generator reports each transaction (`PlantedSale`) when it yields the record for it; nothing here reads an event. When a
transaction changes, its old values are subtracted and its new values are added, so the counts are right after every record, not only at
the end. Amounts arrive rounded to the currency's exponent; sums add rounded amounts.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from decimal import Decimal
from fractions import Fraction
from typing import Any, Final, Literal

import msgspec
from msgspec.structs import replace

from stream.simulate.record import Topic, quantum, rounded

Kind = Literal["upsell", "cross_sell", "downsell", "restored"]
Intent = Literal["known", "unknown", "incomparable"]

_KINDS: Final[tuple[Kind, ...]] = ("upsell", "cross_sell", "downsell", "restored")
KINDS: Final = (*_KINDS, "any")
PARTS: Final = ("initial", *_KINDS, "final", "total", "reversed")
INTENTS: Final = ("known", "unknown", "incomparable")
CUSTOMERS: Final = ("all", "upsell", "cross_sell", "any")

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
    """The counts of one journey."""

    opportunities: int = 0
    transactions: int = 0
    kinds: Counter[str] = field(default_factory=Counter)
    reversed: Counter[str] = field(default_factory=Counter)
    intents: Counter[str] = field(default_factory=Counter)
    revenue: dict[str, dict[str, Decimal]] = field(default_factory=dict)
    customers: dict[str, dict[str, int]] = field(default_factory=dict)
    """Transactions of each kind (`all` for every one), by customer."""
    departed: Counter[str] = field(default_factory=Counter)
    """Customers of each kind who will not come back. Only their number is kept."""

    def count(self, customer: str, sale: PlantedSale, sign: int) -> None:
        self.transactions += sign
        self.intents[sale.intent] += sign
        person = self.customers.get(customer)
        if person is None:
            person = self.customers[customer] = dict.fromkeys(CUSTOMERS, 0)
        person["all"] += sign
        money = self.revenue.get(sale.currency)
        if money is None:
            money = self.revenue[sale.currency] = dict.fromkeys(PARTS, _ZERO * quantum(sale.currency))
        money["total"] += sign * sale.final
        if sale.intent == "known":
            money["initial"] += sign * sale.initial
            money["final"] += sign * sale.final
        if sale.kinds:
            for kind in with_any(sale.kinds):
                self.kinds[kind] += sign
                if kind in person:
                    person[kind] += sign
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

    def distinct(self) -> dict[str, int]:
        people = self.customers.values()
        return {kind: self.departed[kind] + sum(1 for person in people if person[kind] > 0) for kind in CUSTOMERS}


def _ratio(part: int | Decimal, whole: int | Decimal) -> float | None:
    return round(float(Decimal(part) / Decimal(whole)), 6) if whole else None


def _counts(opportunities: int, transactions: int, tallies: list[_Tally]) -> dict[str, Any]:
    kinds, reversed_kinds, intents = Counter[str](), Counter[str](), Counter[str]()
    for tally in tallies:
        kinds.update(tally.kinds)
        reversed_kinds.update(tally.reversed)
        intents.update(tally.intents)
    return {
        "opportunities": opportunities,
        "transactions": transactions,
        "kind_transactions": {kind: kinds[kind] for kind in KINDS},
        "reversed_transactions": {kind: reversed_kinds[kind] for kind in ("all", *KINDS)},
        "intents": {intent: intents[intent] for intent in INTENTS},
        "rates": {
            "upsell_cross_sell_rate": _ratio(kinds["any"], opportunities),
            "upsell_ratio": _ratio(kinds["upsell"], transactions),
            "cross_sell_rate": _ratio(kinds["cross_sell"], transactions),
        },
    }


class Truth:
    """Planted counts, updated while records are generated."""

    def __init__(self) -> None:
        self.events = 0
        """All records, good or bad."""
        self.rejected = 0
        """Bad records among `events`."""
        self.duplicates = 0
        """Records that are a copy of an earlier one."""
        self._tallies: dict[Topic, _Tally] = {"checkout": _Tally(), "subscription": _Tally()}

    def opportunity(self, journey: Topic) -> None:
        """Count one more opportunity."""
        self._tallies[journey].opportunities += 1

    def sold(self, journey: Topic, customer: str, sale: PlantedSale) -> None:
        """Count a new transaction."""
        self._tallies[journey].count(customer, sale, 1)

    def restated(self, journey: Topic, customer: str, before: PlantedSale, after: PlantedSale) -> None:
        """Replace a transaction of the same customer after an edit, a refund or a cancellation."""
        tally = self._tallies[journey]
        tally.count(customer, before, -1)
        tally.count(customer, after, 1)

    def departed(self, journey: Topic, customer: str) -> None:
        """Keep only the counts of a customer who will not appear in any later record, so that memory is bounded."""
        tally = self._tallies[journey]
        person = tally.customers.pop(customer, None)
        if person is not None:
            tally.departed.update(kind for kind in CUSTOMERS if person[kind] > 0)

    def summary(self) -> dict[str, Any]:
        """The counts so far, in the shape of `classify --summary --json`.

        Counts are integers, amounts decimal strings at the currency's exponent, rates floats rounded to six decimals, or None
        if the denominator is 0. A revenue ratio is None if the revenue is in several currencies.
        """
        tallies = list(self._tallies.values())
        return {
            "events": self.events,
            "rejected": self.rejected,
            "duplicates": self.duplicates,
            "all": _counts(
                sum(tally.opportunities for tally in tallies), sum(tally.transactions for tally in tallies), tallies
            ),
            **{journey: self._figures(tally) for journey, tally in self._tallies.items()},
        }

    @staticmethod
    def _figures(tally: _Tally) -> dict[str, Any]:
        figures = _counts(tally.opportunities, tally.transactions, [tally])
        people = tally.distinct()
        figures["customers"] = people
        figures["revenue"] = {
            currency: {part: format(amount, "f") for part, amount in money.items()}
            for currency, money in sorted(tally.revenue.items())
        }
        comparable = [money for money in tally.revenue.values() if money["initial"]]
        money = comparable[0] if len(comparable) == 1 else dict.fromkeys(PARTS, _ZERO)
        figures["rates"] |= {
            "upsell_revenue_ratio": _ratio(money["final"], money["initial"]),
            "upsell_revenue_share": _ratio(money["upsell"], money["initial"]),
            "customer_upsell_rate": _ratio(people["upsell"], people["all"]),
            "customer_cross_sell_rate": _ratio(people["cross_sell"], people["all"]),
            "customer_any_rate": _ratio(people["any"], people["all"]),
        }
        return figures
