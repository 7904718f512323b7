"""What a customer came for, what they took in its place, and the verdict that follows from it.

Rules: nothing here searches for a partner. A cart knows what it did: each of its lines belongs to a `Need`, which has the lines of the intent
for which the customer took it, or none. Amounts are exact. How a cart keeps this in step with the contract's families and pairs is in `cart`.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from operator import itemgetter
from typing import Any, Final, NamedTuple

from stream.simulate.catalogue import Family
from stream.simulate.record import rounded
from stream.simulate.truth import Kind, with_money

Quantity = int | Decimal

_ZERO: Final = Decimal(0)


class Origin(NamedTuple):
    """A line of the intent."""

    family: Family
    tier: int
    quantity: Quantity
    price: Decimal
    net: Decimal


@dataclass(slots=True, eq=False)
class Need:
    """What the customer wanted: lines of the intent that are bought, or replaced, together; none for what was added."""

    origins: list[Origin]
    paired: bool = False
    """Its line is another product of the same category, and does not say which line it replaces."""


@dataclass(slots=True, eq=False)
class Line:
    """A line of the cart in its current state."""

    family: Family
    tier: int
    quantity: Quantity
    price: Decimal
    need: Need
    discount_share: Decimal = _ZERO
    """Share of the list total, from 0 to 1."""
    fixed: bool = False
    """The product does not change any more; the quantity may."""
    split: bool = False
    """The events show it as two lines."""
    replaces: tuple[str, ...] = ()
    offer: str | None = None
    order: int = 0
    """Number of the order in the checkout."""

    @property
    def labels(self) -> dict[str, str]:
        """Identifiers, name and category."""
        return self.family.variants[self.tier].labels

    def discount(self, currency: str) -> Decimal:
        """The discount on the whole line."""
        if not self.discount_share:
            return _ZERO
        return rounded(self.price * self.quantity * self.discount_share, currency)

    def net(self, currency: str) -> Decimal:
        """The line's total after its discount."""
        return self.price * self.quantity - self.discount(currency)

    def net_of(self, units: Quantity, currency: str) -> Fraction:
        """The net total of so many of its units."""
        net = Fraction(self.net(currency))
        return net if units == self.quantity else net * Fraction(units) / Fraction(self.quantity)

    def product_line(self, quantity: Quantity, currency: str) -> dict[str, Any]:
        """The line as an event shows it, with this quantity."""
        # Decimals become strings: both ways to write a quantity occur.
        shown = float(quantity) if self.family.places == 1 and quantity % 1 else quantity
        line: dict[str, Any] = {**self.labels, "quantity": shown, "price": self.price}
        if self.discount_share and quantity:
            line["discount"] = self.discount(currency)
        if self.replaces:
            line["replaces"] = self.replaces[0] if len(self.replaces) == 1 else self.replaces
        if self.offer is not None:
            line["offer_id"] = self.offer
        return line


Left = Mapping[int, Quantity]
"""Units that are left of each line, by `id`."""


class _Comparison(NamedTuple):
    """Lines that are judged together."""

    origins: Sequence[Origin]
    lines: Sequence[Line]
    paired: bool
    category: str | None

    def verdict(self, left: Left, currency: str) -> tuple[Kind, Fraction, bool] | None:
        """Kind and amount of what is left, and whether it is a substitute; None: no verdict."""
        lines = [(line, left[id(line)]) for line in self.lines if left[id(line)]]
        if not lines:
            return None
        net = sum((line.net_of(units, currency) for line, units in lines), Fraction(0))
        if not self.origins:
            return "cross_sell", net, False
        listed = sum(line.price * units for line, units in lines)
        more = listed - sum(origin.price * origin.quantity for origin in self.origins)
        units_of: defaultdict[tuple[int, int], Decimal] = defaultdict(Decimal)
        for line, units in lines:
            units_of[id(line.family), line.tier] += units
        for origin in self.origins:
            units_of[id(origin.family), origin.tier] -= origin.quantity
        gained, lost = any(units > 0 for units in units_of.values()), any(units < 0 for units in units_of.values())
        # A moved price is no verdict, nor is a quantity against which the price moved.
        if not more or not (gained or lost) or gained not in {lost, more > 0}:
            return None
        worth = net - Fraction(sum(origin.net for origin in self.origins))
        substitute = self.paired or any(line.replaces for line, _ in lines)
        return (
            ("upsell", max(Fraction(0), worth), substitute)
            if more > 0
            else ("downsell", max(Fraction(0), -worth), False)
        )


class Comparisons:
    """All that has a verdict when a cart is paid, and what the customer no longer wanted."""

    def __init__(self, needs: Sequence[Need], lines: Sequence[Line], currency: str) -> None:
        self._currency = currency
        self._removed: dict[str, Decimal] = {}
        compared: list[_Comparison] = []
        added: list[_Comparison] = []
        removed: list[Need] = []
        for need in needs:
            taken = [line for line in lines if line.need is need and line.price]
            if taken and need.origins:
                priced = [(origin.price, origin.family.category) for origin in need.origins]
                priced += [(line.price, line.family.category) for line in taken]
                category = max(priced, key=itemgetter(0))[1]
                compared.append(_Comparison(need.origins, taken, need.paired, category))
            elif taken:
                added.append(_Comparison((), taken, paired=False, category=None))
            elif need.origins:
                removed.append(need)
        gone = [origin for need in removed for origin in need.origins]
        wanted = [origin for need in needs for origin in need.origins]
        if added and 2 * _net(gone) > _net(wanted):
            # They bought something else.
            everything = [line for each in added for line in each.lines]
            added = [_Comparison(gone, everything, paired=True, category=None)]
            gone = []
        for origin in gone:
            if origin.family.category is not None:
                self._removed[origin.family.category] = self._removed.get(origin.family.category, _ZERO) + origin.net
        paid = {id(line): line.quantity for line in lines}
        self._parts = [each for each in (*compared, *added) if each.verdict(paid, currency) is not None]

    def verdicts(self, left: Left) -> list[tuple[Kind, Fraction]]:
        """Kinds and amounts of what is left; those without money are left out."""
        return [(kind, amount) for kind, amount, _ in self.verdicts_with_lines(left)]

    def verdicts_with_lines(self, left: Left) -> list[tuple[Kind, Fraction, Sequence[Line]]]:
        """As `verdicts`, with the lines that were judged together."""
        found: list[tuple[Kind, Fraction]] = []
        parts: list[_Comparison] = []
        substitutes: dict[str, list[int]] = {}
        for part in self._parts:
            verdict = part.verdict(left, self._currency)
            if verdict is not None:
                kind, amount, substitute = verdict
                if substitute and kind == "upsell" and part.category in self._removed:
                    substitutes.setdefault(part.category, []).append(len(found))
                found.append((kind, amount))
                parts.append(part)
        for category, places in substitutes.items():
            gone = Fraction(self._removed[category])
            for place in sorted(places, key=lambda place: found[place][1], reverse=True):
                kind, amount = found[place]
                taken = min(gone, amount)
                gone -= taken
                found[place] = kind, amount - taken
        return [
            (kind, amount, part.lines)
            for (kind, amount), part in zip(found, parts, strict=True)
            if with_money([(kind, amount)], self._currency)
        ]


def _net(origins: Sequence[Origin]) -> Decimal:
    return sum((origin.net for origin in origins), _ZERO)
