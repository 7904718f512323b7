"""What was planted: the counts that a perfect observer of the same records would reach.

Rules: the generator says what it did (`Sale`) at the moment it hands out the record that did it; nothing here looks at an event. A
transaction that changes is taken out as it was and put back as it is, so the tallies hold at every moment, not only at the end. Amounts
arrive rounded to the currency's exponent; sums add rounded amounts.
"""

from collections import Counter
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Final, Literal

import msgspec

from stream.simulate.record import Topic, quantum

Kind = Literal["upsell", "cross_sell", "downsell"]
Intent = Literal["known", "unknown", "incomparable"]

KINDS: Final = ("upsell", "cross_sell", "downsell", "any")
PARTS: Final = ("initial", "upsell", "cross_sell", "downsell", "final", "total", "reversed")
INTENTS: Final = ("known", "unknown", "incomparable")
CUSTOMERS: Final = ("all", "upsell", "cross_sell", "any")

_ZERO: Final = Decimal(0)


def with_any(kinds: frozenset[Kind]) -> frozenset[str]:
    """The kinds, and `any` where an upsell or a cross-sell is among them."""
    return kinds | {"any"} if "upsell" in kinds or "cross_sell" in kinds else kinds


class Sale(msgspec.Struct, frozen=True, gc=False):
    """One transaction as it stands. Amounts in major units, rounded to the currency's exponent."""

    currency: str
    intent: Intent
    final: Decimal
    """Net total of the final lines, or MRR after the event; before any reversal."""
    kinds: frozenset[Kind] = frozenset()
    initial: Decimal = _ZERO
    upsell: Decimal = _ZERO
    cross_sell: Decimal = _ZERO
    downsell: Decimal = _ZERO
    lost: Decimal = _ZERO
    """Net total lost to reversals."""
    undone: bool = False
    """The transaction itself is reversed."""
    undone_kinds: frozenset[str] = frozenset()
    """Reversed kinds, `any` included."""


@dataclass(slots=True)
class _Tally:
    """The figures of one journey."""

    opportunities: int = 0
    transactions: int = 0
    kinds: Counter[str] = field(default_factory=Counter)
    undone: Counter[str] = field(default_factory=Counter)
    intents: Counter[str] = field(default_factory=Counter)
    revenue: dict[str, dict[str, Decimal]] = field(default_factory=dict)
    customers: dict[str, dict[str, int]] = field(default_factory=dict)
    """Transactions of each kind (`all` for every one), by customer."""
    passers_by: Counter[str] = field(default_factory=Counter)
    """Customers of each kind who will not come back, counted and forgotten."""

    def count(self, customer: str, sale: Sale, sign: int) -> None:
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
        if sale.lost:
            money["reversed"] += sign * sale.lost
        if sale.undone:
            self.undone["all"] += sign
        for kind in sale.undone_kinds:
            self.undone[kind] += sign

    def distinct(self) -> dict[str, int]:
        people = self.customers.values()
        return {kind: self.passers_by[kind] + sum(1 for person in people if person[kind] > 0) for kind in CUSTOMERS}


def _ratio(part: int | Decimal, whole: int | Decimal) -> float | None:
    return round(float(Decimal(part) / Decimal(whole)), 6) if whole else None


def _counts(opportunities: int, transactions: int, tallies: list[_Tally]) -> dict[str, Any]:
    kinds, undone, intents = Counter[str](), Counter[str](), Counter[str]()
    for tally in tallies:
        kinds.update(tally.kinds)
        undone.update(tally.undone)
        intents.update(tally.intents)
    return {
        "opportunities": opportunities,
        "transactions": transactions,
        "kind_transactions": {kind: kinds[kind] for kind in KINDS},
        "reversed_transactions": {kind: undone[kind] for kind in ("all", *KINDS)},
        "intents": {intent: intents[intent] for intent in INTENTS},
        "rates": {
            "upsell_cross_sell_rate": _ratio(kinds["any"], opportunities),
            "upsell_ratio": _ratio(kinds["upsell"], transactions),
            "cross_sell_rate": _ratio(kinds["cross_sell"], transactions),
        },
    }


class Truth:
    """Planted counts, kept while records are made."""

    def __init__(self) -> None:
        self.events = 0
        """Records of any sort."""
        self.rejected = 0
        """Bad records among them."""
        self.duplicates = 0
        """Records that repeat an earlier one."""
        self._tallies: dict[Topic, _Tally] = {"checkout": _Tally(), "subscription": _Tally()}

    def opportunity(self, journey: Topic) -> None:
        """One more chance to sell more."""
        self._tallies[journey].opportunities += 1

    def sold(self, journey: Topic, customer: str, sale: Sale) -> None:
        """A transaction came to be."""
        self._tallies[journey].count(customer, sale, 1)

    def restated(self, journey: Topic, customer: str, before: Sale, after: Sale) -> None:
        """A transaction of the same customer changed: edited, refunded or canceled."""
        tally = self._tallies[journey]
        tally.count(customer, before, -1)
        tally.count(customer, after, 1)

    def departed(self, journey: Topic, customer: str) -> None:
        """The customer will never be named again: count them once and for all, so that memory is bounded."""
        tally = self._tallies[journey]
        person = tally.customers.pop(customer, None)
        if person is not None:
            tally.passers_by.update(kind for kind in CUSTOMERS if person[kind] > 0)

    def summary(self) -> dict[str, Any]:
        """The summary of everything told so far, in the shape of `classify --summary --json`.

        Counts are integers, amounts decimal strings at the currency's exponent, rates floats rounded to six decimals or None where
        there is no denominator. A revenue ratio needs all its money in one currency; with several it is None.
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
