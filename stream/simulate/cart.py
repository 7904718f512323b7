"""A shopping cart: its lines, what a customer does to it, and the transaction that the shop plants.

Rules: every line belongs to a need (`needs`), so its verdict needs no search for a partner. The contract's families and pairs must be the same
as the cart's needs, so the shop avoids carts in which they are not:

- a family of goods is used once in a cart, except for more units or another variant of what is there: they belong to the same need;
- a category in which a product was exchanged for another one without saying so loses and gains nothing else;
- nothing is added to a category that lost a line, and nothing is removed from a category to which something was added.
"""

from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import dataclass, field
from decimal import Decimal
from fractions import Fraction
from functools import cache, partial
from operator import itemgetter
from typing import Any, Final

from msgspec.structs import replace

from stream.simulate.behaviour import Behaviour
from stream.simulate.catalogue import Family
from stream.simulate.needs import Comparisons, Line, Need, Origin, Quantity
from stream.simulate.offers import NEVER_SHOWN, OfferLog, PlantedOffer, Verdict
from stream.simulate.pairs import MOST, Basket, product_of
from stream.simulate.record import quantum, rounded
from stream.simulate.truth import Intent, PlantedSale, with_any
from stream.simulate.world import World

_ZERO: Final = Decimal(0)
_DISCOUNTS: Final = (Decimal("0.05"), Decimal("0.10"), Decimal("0.20"))


@dataclass(slots=True)
class Returns:
    """What was given back of a cart's orders."""

    units: dict[int, Quantity] = field(default_factory=dict)
    """Units of each line, by `id`."""
    amounts: dict[int, Decimal] = field(default_factory=dict)
    """Money for goods that were kept, by order."""
    orders: set[int] = field(default_factory=set)
    """Orders that were given back as a whole."""

    def left(self, line: Line) -> Quantity:
        """The units of a line that were not given back one by one."""
        return line.quantity - self.units.get(id(line), 0)


Action = Callable[["Cart"], object]


class Cart:
    """The lines of one checkout, from the intent to the orders."""

    def __init__(self, world: World, currency: str, offers: OfferLog) -> None:
        self.currency = currency
        self._offers = offers
        self.lines: list[Line] = []
        self._world = world
        self._needs: list[Need] = []
        self._dropped: list[Line] = []
        self._used: set[int] = set()
        """`id` of every family that is or was in the cart."""
        self._reduced: set[str | None] = set()
        """Categories that lost a line: it was removed or exchanged."""
        self._exchanged: set[str | None] = set()
        """Categories in which a product was exchanged for another one without saying so."""
        self._extended: set[str | None] = set()
        """Categories with additions."""

    # -- the intent and what the customer does to it -------------------------------------------------------------------

    def fill(self) -> None:
        """Put in what the customer came for."""
        world = self._world
        draw = world.rng.random
        for _ in range(1 + int(4 * draw() ** 2.5)):
            family = world.pick(world.catalogue.goods)
            if id(family) not in self._used:
                tier = int(len(family.variants) * draw() ** 1.3)
                self._want(self._put(family, tier, self._some_of(family, 1 + int(3 * draw() ** 2))))

    def put_plan(self, product: str, *, wanted: bool) -> None:
        """Put in the plan of a subscription; `wanted`: the customer came for it."""
        line = self._put(self._world.catalogue.starters[product], 0, 1)
        line.fixed = True
        if wanted:
            self._want(line)

    def _want(self, line: Line) -> None:
        if self._world.chance(0.08):
            line.discount_share = self._world.pick(_DISCOUNTS)
        line.need.origins.append(Origin(line.family, line.tier, line.quantity, line.price, line.net(self.currency)))

    def draw_actions(self, behaviour: Behaviour) -> list[Action]:
        """What happens to this cart, in order."""
        draw = self._world.rng.random
        actions = [action for probability, action in self._actions(behaviour) if draw() < probability]
        wanted = {id(origin.family) for need in self._needs for origin in need.origins}
        actions += [
            partial(Cart._accompany, family=companion.family)
            for companion in self._world.catalogue.companions
            if draw() < behaviour.companion * (companion.factor if id(companion.source) in wanted else 1)
        ]
        return actions

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
            if line.need.origins and not line.family.places:
                if world.chance(0.01):
                    # The list price changed while the cart was open: no verdict.
                    line.price += quantum(self.currency) * 100
                line.split = line.quantity > 1 and not line.discount_share and world.chance(0.03)
        return coupon

    def edit(self) -> None:
        """Change the first order after the purchase."""
        lines = [line for line in self.lines if not line.order]
        added = [line for line in lines if not line.need.origins]
        if added and len(lines) > len(added) and self._world.chance(0.4):
            self.lines.remove(added[0])
        else:
            self._world.pick((self._add, self._add, self._more))()

    def accept(self, offer: str) -> None:
        """Take more than was intended because of an offer, if the cart allows it."""
        line = self._add() if self._world.chance(0.6) else self._swap_variant(1)
        if line is not None:
            line.offer = offer

    def accept_anyway(self, offer: str) -> None:
        """Take what is in the cart already because of an offer, if anything is left as it was intended."""
        line = next(iter(self._open_lines()), None)
        if line is not None:
            line.offer, line.fixed = offer, True

    def accept_after(self, offer: str) -> bool:
        """Buy something right after the purchase, as an order of its own. Returns whether the cart allowed it."""
        world, before = self._world, len(self.lines)
        if world.chance(0.25):
            line = world.pick(self.lines)
            if line.price:
                more = copy(line)
                more.quantity, more.discount_share, more.split, more.replaces = (
                    self._some_of(line.family, 1),
                    _ZERO,
                    False,
                    (),
                )
                self.lines.append(more)
        else:
            self._add()
        if len(self.lines) == before:
            return False
        self.lines[-1].order = 1
        self.lines[-1].offer = offer
        return True

    # -- what the events and the truth say of it -----------------------------------------------------------------------

    def product_lines(self, order: int = 0, *, with_dropped: bool = False) -> list[dict[str, Any]]:
        """The cart, or an order, as an event shows it; `with_dropped`: in half of the calls with removed lines at quantity 0."""
        currency = self.currency
        lines = []
        for line in self.lines:
            if line.order != order:
                continue
            if line.split:
                lines.append(line.product_line(line.quantity - 1, currency))
            lines.append(line.product_line(1 if line.split else line.quantity, currency))
        if with_dropped and self._dropped and self._world.chance(0.5):
            lines.extend(line.product_line(0, currency) for line in self._dropped)
        return lines

    def returnable(self, order: int, returns: Returns) -> list[Line]:
        """Lines of an order of which units can be returned."""
        return [line for line in self.lines if line.order == order and returns.left(line)]

    def total_of(self, order: int) -> Decimal:
        """The net total of an order, rounded."""
        return rounded(
            sum((line.net(self.currency) for line in self.lines if line.order == order), _ZERO), self.currency
        )

    def sale(self, intent: Intent) -> PlantedSale:
        """The transaction of the current lines."""
        currency = self.currency
        final = sum((line.net(currency) for line in self.lines), _ZERO)
        if intent != "known":
            return PlantedSale(currency, intent, rounded(final, currency))
        initial = sum((origin.net for need in self._needs for origin in need.origins), _ZERO)
        verdicts = self._compared().verdicts(self._paid())
        return PlantedSale.judged(currency, Fraction(initial), Fraction(final), verdicts)

    def sale_after(self, sale: PlantedSale, returns: Returns) -> PlantedSale:
        """The transaction `sale` after all returns so far."""
        left, gross, kept, refunded = self._after(returns)
        if not kept:
            return sale.as_reversed()
        kinds = frozenset(kind for kind, _ in self._compared().verdicts(left)) if sale.kinds else sale.kinds
        return replace(
            sale,
            reversed_amount=min(sale.final, rounded(gross - kept + refunded, self.currency)),
            reversed_kinds=with_any(sale.kinds) - with_any(kinds),
        )

    def accepted(self, intent: Intent, returns: Returns) -> dict[str, PlantedOffer]:
        """The offers of the current lines, after all returns so far."""
        offered = [line for line in self.lines if line.offer is not None]
        if not offered:
            return {}
        currency = self.currency
        left, _, kept, refunded = self._after(returns)
        share = 1 - refunded / kept if kept else Fraction(0)
        verdicts: dict[int, Verdict] = {}
        if intent == "known":
            for kind, _, judged in self._compared().verdicts_with_lines(self._paid()):
                verdicts |= {id(line): kind for line in judged}
        found = {}
        for line in offered:
            assert line.offer is not None
            lines = [each for each in offered if each.offer == line.offer]
            found[line.offer] = PlantedOffer(
                currency,
                verdicts.get(id(line), "nothing") if intent == "known" else "unknown",
                rounded(sum((each.net(currency) for each in lines), _ZERO), currency),
                rounded(share * sum(each.net_of(left[id(each)], currency) for each in lines), currency),
                reversed=not any(left[id(each)] for each in lines),
            )
        return found

    def basket(self, intent: Intent) -> Basket | None:
        """The products of the current transaction; None where the intent is not known."""
        if intent != "known":
            return None
        wanted = [product_of(origin.family, origin.tier) for need in self._needs for origin in need.origins]
        crosses = {
            product_of(line.family, line.tier)
            for kind, _, lines in self._compared().verdicts_with_lines(self._paid())
            if kind == "cross_sell"
            for line in lines
        }
        nets: list[tuple[Decimal, str]] = []
        for order in sorted({line.order for line in self.lines}):
            for line in self.lines:
                if line.order == order:
                    name = product_of(line.family, line.tier)
                    # Of a line that the events show as two.
                    parts = (line.price * (line.quantity - 1), line.price) if line.split else (line.net(self.currency),)
                    nets += [(net, name) for net in parts]
        nets.sort(key=itemgetter(0), reverse=True)
        return Basket(frozenset(wanted), frozenset(crosses), frozenset(crosses & {name for _, name in nets[:MOST]}))

    def _paid(self) -> dict[int, Quantity]:
        return {id(line): line.quantity for line in self.lines}

    def _after(self, returns: Returns) -> tuple[dict[int, Quantity], Fraction, Fraction, Fraction]:
        """What is left after all returns so far: units of each line by `id`, net total before and after, and money that was given back for the rest."""
        currency = self.currency
        left: dict[int, Quantity] = {}
        gross = kept = refunded = Fraction(0)
        for order in {line.order for line in self.lines}:
            lines = [line for line in self.lines if line.order == order]
            gross += Fraction(sum(line.net(currency) for line in lines))
            rest = sum((line.net_of(returns.left(line), currency) for line in lines), Fraction(0))
            amount = returns.amounts.get(order, _ZERO)
            if order in returns.orders or (amount and amount >= rest):
                left |= {id(line): 0 for line in lines}
            else:
                left |= {id(line): returns.left(line) for line in lines}
                kept += rest
                refunded += Fraction(amount)
        return left, gross, kept, refunded

    def _compared(self) -> Comparisons:
        return Comparisons(self._needs, self.lines, self.currency)

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
            (behaviour.bundle, cls._bundle),
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

    def _swap_variant(self, step: int) -> Line | None:
        for line in self._open_lines():
            if 0 <= line.tier + step < len(line.family.variants):
                self._swap(line, line.family, line.tier + step)
                return line
        return None

    def _substitute(self) -> None:
        for line in self._open_lines():
            category = line.family.category
            if category is None or category in self._reduced or category in self._extended:
                continue
            family = self._unused(self._world.catalogue.by_category[category])
            if family is not None:
                self._reduced.add(category)
                self._exchanged.add(category)
                line.need.paired = True
                self._swap(line, family, self._tier_for(line.price, family))
                return

    def _replace(self) -> None:
        family = self._unused(self._world.catalogue.goods)
        lines = [line for line in self._open_lines() if line.need.origins]
        if family is not None and lines:
            line = lines[0]
            self._swap(line, family, self._tier_for(line.price, family))
            line.replaces = (self._name_of(line.need.origins[0]),)

    def _bundle(self) -> None:
        """A kit takes the place of two or three lines. In some cases it does not name all of them."""
        world, kit = self._world, self._world.catalogue.kit
        lines = [line for line in self._open_lines() if line.need.origins][: world.rng.randint(2, 3)]
        if len(lines) < 2 or id(kit) in self._used:
            return
        first, *others = lines
        worth = sum((line.price * line.quantity for line in lines), _ZERO)
        names = [self._name_of(first.need.origins[0])]
        for line in others:
            if self._may_lose(line) and world.chance(0.2):
                self._drop(line)
            else:
                names.append(self._name_of(line.need.origins[0]))
                first.need.origins += line.need.origins
                self._needs.remove(line.need)
                self.lines.remove(line)
                self._dropped.append(line)
        self._swap(first, kit, self._tier_for(worth, kit))
        first.quantity = 1
        first.replaces = tuple(names)

    def _name_of(self, origin: Origin) -> str:
        """One of the ids of a line of the intent."""
        labels = origin.family.variants[origin.tier].labels
        return self._world.pick([labels[name] for name in ("sku", "variant_id", "product_id") if labels.get(name)])

    def _more(self) -> None:
        lines = [line for line in self.lines if line.need.origins and not line.order]
        if lines:
            line = self._world.pick(lines)
            line.quantity += self._some_of(line.family, self._world.rng.randint(1, 2))

    def _fewer(self) -> None:
        rng = self._world.rng
        for line in self.lines:
            if line.need.origins and line.quantity > 1:
                if line.family.places:
                    line.quantity = round(Decimal(line.quantity) * rng.randint(20, 80) / 100, line.family.places)
                else:
                    line.quantity -= rng.randint(1, int(line.quantity) - 1)
                return

    def _remove(self) -> None:
        for line in self._open_lines():
            if len(self.lines) > 1 and self._may_lose(line):
                self._drop(line)
                return

    def _may_lose(self, line: Line) -> bool:
        return line.family.category not in self._extended and line.family.category not in self._exchanged

    def _drop(self, line: Line) -> None:
        self.lines.remove(line)
        self._dropped.append(line)
        self._reduced.add(line.family.category)

    def _add(self) -> Line | None:
        world = self._world
        catalogue = world.catalogue
        family = self._unused(catalogue.services if world.chance(0.12) else catalogue.goods)
        if family is None or family.category in self._reduced:
            return None
        line = self._put(family, 0, self._some_of(family, 1))
        line.fixed = True
        self._extended.add(family.category)
        if world.chance(0.1):
            offer = self._offers.pick(world.rng, NEVER_SHOWN)
            line.offer = offer.id if offer is not None else None
        return line

    def _accompany(self, family: Family) -> None:
        """Add a companion product."""
        if id(family) not in self._used:
            self._put(family, 0, 1).fixed = True

    def _add_sibling(self) -> None:
        for line in self._open_lines():
            if len(line.family.variants) > 1:
                line.fixed = True
                sibling = self._put(line.family, (line.tier + 1) % len(line.family.variants), 1, line.need)
                sibling.fixed = True
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

    def _some_of(self, family: Family, pieces: int) -> Quantity:
        """A quantity of about so many pieces, or of a length or weight."""
        rng = self._world.rng
        if family.places == 1:
            return Decimal(rng.randint(10, 120)) / 10
        return Decimal(rng.randint(200, 1500)).scaleb(-3) if family.places else pieces

    def _tier_for(self, price: Decimal, family: Family) -> int:
        """The first variant that is dearer than this in 65 % of the calls, else the dearest that is not, else the cheapest."""
        cheaper = [tier for tier, variant in enumerate(family.variants) if variant.prices[self.currency] <= price]
        tier = cheaper[-1] if cheaper else 0
        return tier + 1 if cheaper and tier + 1 < len(family.variants) and self._world.chance(0.65) else tier

    def _put(self, family: Family, tier: int, quantity: Quantity, need: Need | None = None) -> Line:
        if need is None:
            need = Need([])
            self._needs.append(need)
        line = Line(family, tier, quantity, family.variants[tier].prices[self.currency], need)
        self.lines.append(line)
        self._used.add(id(family))
        return line

    def _swap(self, line: Line, family: Family, tier: int) -> None:
        """Take another variant or product instead."""
        if family is not line.family:
            self._dropped.append(copy(line))
            if family.places or line.family.places:
                line.quantity = self._some_of(family, 1)
        line.family, line.tier = family, tier
        line.price = family.variants[tier].prices[self.currency]
        line.fixed = True
        self._used.add(id(family))
