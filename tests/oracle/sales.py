"""What a checkout or a subscription comes to: opportunities and judged transactions."""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction
from typing import TYPE_CHECKING

from oracle.verdicts import KINDS, Judged, minor, total

if TYPE_CHECKING:
    from oracle.records import Event

PARTS = ("final", *KINDS)


@dataclass
class Opportunity:
    journey: str
    time: int
    channel: str | None
    segment: str | None


@dataclass(frozen=True)
class Good:
    """A final line of a checkout, or an item of a subscription, as offers and drivers count it.

    `left` is what refunded units and canceled orders leave of its net total. `counts`: its currency is that of the transaction.
    `kinds` are those of the verdicts on what it was compared with.
    """

    name: str
    offer: str | None
    net: Fraction
    left: Fraction
    has_units_left: bool
    counts: bool
    kinds: frozenset[str]


@dataclass
class Sale:
    """One judged transaction. `initial` and `final` are exact; what is lost is in the currency's minor unit.

    `seq` is the position in the file of the record that made the transaction first. `wanted` has the name and the net total of each line,
    or item, that it is judged against. `keep` is the share of each amount left that money given back without products leaves. `gone` are
    the verdicts of which nothing is left.
    """

    event: Event
    seq: int
    channel: str | None
    segment: str | None
    currency: str
    intent: str
    initial: Fraction
    final: Fraction
    lines: list[Judged]
    categories: set[str]
    wanted: list[tuple[str, Fraction]]
    goods: list[Good]
    keep: Fraction = Fraction(1)
    gone: list[Judged] = field(default_factory=list)
    lost_whole: bool = False
    lost_kinds: set[str] = field(default_factory=set)
    lost_amounts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(PARTS, 0))

    @property
    def kinds(self) -> set[str]:
        return {judged.kind for judged in self.lines}

    @property
    def amounts(self) -> dict[str, int]:
        """Each part rounded once; those without known intent have no initial."""
        exact = {"initial": self.initial, **self.exact_parts()}
        return {part: minor(amount, self.currency) for part, amount in exact.items()}

    def exact_parts(self) -> dict[str, Fraction]:
        return {"final": self.final, **{kind: total(self.lines, kind) for kind in KINDS}}

    def reverse(self, left: dict[str, Fraction], left_kinds: set[str]) -> None:
        """Reversed is what is no longer there: the kinds, and of each amount max(0, gross - left), rounded once."""
        self.lost_kinds = with_any(self.kinds) - with_any(left_kinds)
        gross = self.exact_parts()
        amounts = self.amounts
        for part in PARTS:
            lost = minor(max(gross[part] - left[part], 0 * gross[part]), self.currency)
            self.lost_amounts[part] = min(lost, amounts[part])


def with_any(kinds: set[str]) -> set[str]:
    return kinds | {"any"} if kinds & {"upsell", "cross_sell"} else kinds
