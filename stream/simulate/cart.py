"""A shopping cart: its lines, what a customer does to it, and the verdict on it that the shop plants.

Rules: every line knows its origin (the line of the intent that it came from, or none) and what was done with it, so its verdict needs one
comparison and no search for a partner. The contract's matching passes must find the same partner, so the shop avoids carts in which two
partners are possible:

- a family is used once in a cart;
- a substitute is the only line of its category;
- nothing is added to a category that lost a line;
- if an addition has the category of a line of the intent, only additions are returned;
- a line with a discount is returned whole, because the discount belongs to the whole line;
- an order with prices below the currency's smallest amount is returned whole.
"""

from collections.abc import Callable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from decimal import Decimal
from functools import cache
from typing import Any, Final, NamedTuple

from msgspec.structs import replace

from stream.simulate.behaviour import Behaviour
from stream.simulate.catalogue import Family
from stream.simulate.record import quantum, rounded
from stream.simulate.truth import Intent, Kind, PlantedSale, with_any
from stream.simulate.world import World

_ZERO: Final = Decimal(0)
_DISCOUNTS: Final = (Decimal("0.05"), Decimal("0.10"), Decimal("0.20"))


class Origin(NamedTuple):
    """A line of the intent."""

    labels: dict[str, str]
    category: str | None
    quantity: int
    total: Decimal
    net: Decimal


@dataclass(slots=True, eq=False)
class Line:
    """A line of the cart in its current state."""

    family: Family
    tier: int
    quantity: int
    price: Decimal
    discount_share: Decimal = _ZERO
    """Share of the list total, from 0 to 1."""
    origin: Origin | None = None
    """None: the line was added to the intent."""
    swapped: bool = False
    """The line has another variant or product than its origin."""
    fixed: bool = False
    """The product does not change any more; the quantity may."""
    sibling: bool = False
    """The line was added beside another variant of the same product."""
    split: bool = False
    """The events show it as two lines."""
    replaces: str | None = None
    offer: str | None = None

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

    def verdict(self, quantity: int, currency: str) -> tuple[Kind | None, Decimal]:
        """Kind and amount (unrounded) when `quantity` units are kept. Of a line with a discount, all units are kept or none."""
        total = self.price * quantity
        net = total - self.discount(currency)
        if not net:
            return None, _ZERO
        if self.origin is None:
            return ("upsell" if self.sibling else "cross_sell"), net
        origin = self.origin
        more, less = (
            (total > origin.total, total < origin.total)
            if self.swapped
            else (quantity > origin.quantity, quantity < origin.quantity)
        )
        if more:
            return "upsell", max(_ZERO, net - origin.net)
        if less:
            return "downsell", max(_ZERO, origin.net - net)
        return None, _ZERO

    def product_line(self, quantity: int, currency: str) -> dict[str, Any]:
        """The line as an event shows it, with this quantity."""
        line: dict[str, Any] = {**self.labels, "quantity": quantity, "price": self.price}
        if self.discount_share and quantity:
            line["discount"] = self.discount(currency)
        if self.replaces is not None:
            line["replaces"] = self.replaces
        if self.offer is not None:
            line["offer_id"] = self.offer
        return line


Action = Callable[["Cart"], None]


class Cart:
    """The lines of one checkout, from the intent to the order."""

    def __init__(self, world: World, currency: str) -> None:
        self.currency = currency
        self.lines: list[Line] = []
        self._world = world
        self._dropped: list[Line] = []
        self._origins: list[Origin] = []
        self._used: set[int] = set()
        """`id` of every family that is or was in the cart."""
        self._reduced: set[str | None] = set()
        """Categories that lost a line: it was removed or replaced by a substitute."""
        self._extended: set[str | None] = set()
        """Categories with additions."""
        self._only_additions_return = False
        """A line of the intent must not be returned: an addition would take its place."""

    # -- the intent and what the customer does to it -------------------------------------------------------------------

    def fill(self) -> None:
        """Put in what the customer came for."""
        world = self._world
        draw, rng = world.rng.random, world.rng
        for _ in range(1 + int(4 * draw() ** 2.5)):
            family = world.pick(world.catalogue.goods)
            if id(family) in self._used:
                continue
            tier = int(len(family.variants) * draw() ** 1.3)
            quantity = rng.randint(2, 12) if family.fractional else 1 + int(3 * draw() ** 2)
            line = self._put(family, tier, quantity)
            if draw() < 0.08:
                line.discount_share = world.pick(_DISCOUNTS)
            net = line.net(self.currency)
            line.origin = Origin(line.labels, family.category, quantity, line.price * quantity, net)
            self._origins.append(line.origin)

    def draw_actions(self, behaviour: Behaviour) -> list[Action]:
        """What happens to this cart, in order."""
        draw = self._world.rng.random
        return [action for probability, action in self._actions(behaviour) if draw() < probability]

    def change_currency(self) -> None:
        """Continue in another currency."""
        others = [currency for currency in self._world.currencies if currency != self.currency]
        self.currency = self._world.pick(others)
        for line in (*self.lines, *self._dropped):
            line.price = line.family.variants[line.tier].prices[self.currency]

    def prepare_payment(self, behaviour: Behaviour) -> str | None:
        """Apply what changes at payment: a coupon, a moved list price, split lines. Returns the coupon's code, or None."""
        world = self._world
        coupon = None
        if world.chance(behaviour.coupon):
            share = world.pick(_DISCOUNTS)
            coupon = f"SAVE{int(share * 100)}"
            for line in self.lines:
                line.discount_share = line.discount_share or share
        for line in self.lines:
            if line.origin is not None and not line.swapped and not line.family.fractional:
                if world.chance(0.01):
                    # The list price changed while the cart was open: no verdict.
                    line.price += quantum(self.currency) * 100
                line.split = line.quantity > 1 and not line.discount_share and world.chance(0.03)
        return coupon

    def edit(self) -> None:
        """Change the order after the purchase."""
        added = [line for line in self.lines if line.origin is None and not line.sibling]
        if added and len(self.lines) > len(added) and self._world.chance(0.4):
            self.lines.remove(added[0])
        else:
            self._world.pick((self._add, self._add, self._more))()

    # -- what the events and the truth say of it -----------------------------------------------------------------------

    def product_lines(self, *, with_dropped: bool = False) -> list[dict[str, Any]]:
        """The cart as an event shows it; `with_dropped`: in half of the calls with removed lines at quantity 0."""
        currency = self.currency
        lines = []
        for line in self.lines:
            if line.split:
                lines.append(line.product_line(line.quantity - 1, currency))
            lines.append(line.product_line(1 if line.split else line.quantity, currency))
        if with_dropped and self._dropped and self._world.chance(0.5):
            lines.extend(line.product_line(0, currency) for line in self._dropped)
        return lines

    @property
    def fractional(self) -> bool:
        """Whether a price is below the currency's smallest amount."""
        return any(line.family.fractional for line in self.lines)

    def returnable(self, left: Mapping[int, int]) -> list[Line]:
        """Lines of which units can be returned; `left` has the units that are left of each line, by `id`."""
        return [
            line
            for line in self.lines
            if left[id(line)] and line.price and (line.origin is None or not self._only_additions_return)
        ]

    def sale(self, intent: Intent) -> PlantedSale:
        """The transaction of the current lines."""
        currency = self.currency
        final = rounded(sum((line.net(currency) for line in self.lines), _ZERO), currency)
        if intent != "known":
            return PlantedSale(currency, intent, final)
        amounts: dict[Kind, Decimal] = {}
        for line in self.lines:
            kind, amount = line.verdict(line.quantity, currency)
            if kind is not None:
                amounts[kind] = amounts.get(kind, _ZERO) + amount
        return PlantedSale(
            currency,
            intent,
            final,
            frozenset(amounts),
            initial=rounded(sum((origin.net for origin in self._origins), _ZERO), currency),
            upsell=rounded(amounts.get("upsell", _ZERO), currency),
            cross_sell=rounded(amounts.get("cross_sell", _ZERO), currency),
            downsell=rounded(amounts.get("downsell", _ZERO), currency),
        )

    def sale_after_returns(self, sale: PlantedSale, left: Mapping[int, int]) -> PlantedSale:
        """The transaction after returns; `left` has the units that are left of each line, by `id`."""
        if not any(left.values()):
            return sale.as_reversed()
        kept = [(line, left[id(line)]) for line in self.lines if left[id(line)]]
        net = sum((line.price * units - line.discount(sale.currency) for line, units in kept), _ZERO)
        kinds = frozenset(kind for line, units in kept if (kind := line.verdict(units, sale.currency)[0]))
        return replace(
            sale,
            reversed_amount=sale.final - rounded(net, sale.currency),
            reversed_kinds=with_any(sale.kinds) - with_any(kinds),
        )

    # -- actions: each does one thing to the cart, or nothing if the cart does not allow it ------------------------------

    @classmethod
    @cache
    def _actions(cls, behaviour: Behaviour) -> tuple[tuple[float, Action], ...]:
        """What can happen to a cart, in this order, with its probability."""
        return (
            (behaviour.upgrade, cls._upgrade),
            (behaviour.downgrade, cls._downgrade),
            (behaviour.substitute, cls._substitute),
            (behaviour.replace, cls._replace),
            (behaviour.more, cls._more),
            (behaviour.fewer, cls._fewer),
            (behaviour.remove, cls._remove),
            (behaviour.add, cls._add),
            (behaviour.second_variant, cls._add_sibling),
            (behaviour.gift, cls._add_gift),
        )

    def _upgrade(self) -> None:
        self._swap_variant(1)

    def _downgrade(self) -> None:
        self._swap_variant(-1)

    def _swap_variant(self, step: int) -> None:
        for line in self._open_lines():
            if 0 <= line.tier + step < len(line.family.variants):
                self._swap(line, line.family, line.tier + step)
                return

    def _substitute(self) -> None:
        for line in self._open_lines():
            category = line.family.category
            alone = sum(origin.category == category for origin in self._origins) == 1
            if category is None or not alone or category in self._reduced or category in self._extended:
                continue
            family = self._unused(self._world.catalogue.by_category[category])
            if family is not None:
                self._dropped.append(copy(line))
                self._reduced.add(category)
                self._swap(line, family, self._tier_for(line, family))
                return

    def _replace(self) -> None:
        family = self._unused(self._world.catalogue.goods)
        for line in self._open_lines():
            if family is not None and line.origin is not None and not (line.family.fractional or family.fractional):
                labels = line.origin.labels
                names = [labels[name] for name in ("sku", "variant_id", "product_id") if labels.get(name)]
                self._dropped.append(copy(line))
                self._swap(line, family, self._tier_for(line, family))
                line.replaces = self._world.pick(names)
                return

    def _more(self) -> None:
        line = self._world.pick(self.lines)
        if line.origin is not None:
            line.quantity += self._world.rng.randint(1, 2)

    def _fewer(self) -> None:
        for line in self.lines:
            if line.origin is not None and line.quantity > 1:
                line.quantity -= self._world.rng.randint(1, line.quantity - 1)
                return

    def _remove(self) -> None:
        for line in self._open_lines():
            if len(self.lines) > 1 and line.family.category not in self._extended:
                self.lines.remove(line)
                self._dropped.append(line)
                self._reduced.add(line.family.category)
                return

    def _add(self) -> None:
        world = self._world
        catalogue = world.catalogue
        family = self._unused(catalogue.services if world.chance(0.12) else catalogue.goods)
        if family is None or family.category in self._reduced:
            return
        if any(origin.category == family.category for origin in self._origins):
            if not world.chance(0.3):
                return
            self._only_additions_return = True
        line = self._put(family, 0, world.rng.randint(2, 9) if family.fractional else 1)
        line.fixed = True
        self._extended.add(family.category)
        if world.chance(0.5):
            line.offer = f"offer-{world.rng.randint(1, 40):02d}"

    def _add_sibling(self) -> None:
        for line in self._open_lines():
            if len(line.family.variants) > 1 and line.family.category not in self._reduced:
                line.fixed = True
                self._extended.add(line.family.category)
                sibling = self._put(line.family, (line.tier + 1) % len(line.family.variants), 1)
                sibling.sibling = sibling.fixed = self._only_additions_return = True
                return

    def _add_gift(self) -> None:
        gift = self._unused(self._world.catalogue.gifts)
        if gift is not None:
            self._put(gift, 0, 1).fixed = True

    def _open_lines(self) -> list[Line]:
        """Lines whose product may still change, in random order."""
        found = [line for line in self.lines if not line.fixed]
        self._world.rng.shuffle(found)
        return found

    def _unused(self, families: Sequence[Family]) -> Family | None:
        family = self._world.pick(families)
        return None if id(family) in self._used else family

    def _tier_for(self, line: Line, family: Family) -> int:
        """The first variant that is dearer than the line in 65 % of the calls, else the cheapest."""
        if self._world.chance(0.65):
            for tier, variant in enumerate(family.variants):
                if variant.prices[self.currency] > line.price:
                    return tier
        return 0

    def _put(self, family: Family, tier: int, quantity: int) -> Line:
        line = Line(family, tier, quantity, family.variants[tier].prices[self.currency])
        self.lines.append(line)
        self._used.add(id(family))
        return line

    def _swap(self, line: Line, family: Family, tier: int) -> None:
        line.family, line.tier = family, tier
        line.price = family.variants[tier].prices[self.currency]
        line.swapped = line.fixed = True
        self._used.add(id(family))
