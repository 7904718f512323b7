"""What both journeys have in common: a verdict, and the rule that a verdict has money.

Amounts are exact fractions. Nothing is rounded here, except to ask whether an amount is 0 in its currency.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from oracle import records

if TYPE_CHECKING:
    from collections.abc import Iterable

KINDS = ("upsell", "cross_sell", "downsell", "restored")
NOTHING = Fraction(0)


@dataclass(frozen=True, eq=False)
class Judged:
    """One verdict. `final` and `intent` are the lines, or items, that it names; None where it names none."""

    kind: str
    reason: str
    final: Any
    intent: Any
    amount: Fraction


def with_money(judged: Iterable[Judged], currency: str) -> list[Judged]:
    """Without the verdicts whose amount rounds to 0 in the currency: those are no verdicts."""
    return [one for one in judged if minor(one.amount, currency)]


def total(judged: Iterable[Judged], kind: str) -> Fraction:
    return sum((one.amount for one in judged if one.kind == kind), NOTHING)


def minor(amount: Fraction, currency: str) -> int:
    """Rounded half even, as Fraction does, to the currency's minor unit; no amount exceeds the largest."""
    return min(round(amount * Fraction(10) ** records.exponent(currency)), records.LARGEST)
