"""A visit to the shop: a cart, what becomes of it, and whether it stays sold.

Rules: every line of a cart knows where it came from, a line that the customer brought or none, and what was done with it, so its verdict is
one comparison and needs no search for a partner. To keep that true under the contract's passes, the shop avoids carts in which another
partner would do as well: a family is used once in a cart; a substitute is alone in its category; nothing is added to a category that lost
a line; and where an addition shares its category with a line of the intent, only additions are given back. Lines with a discount are given
back whole, because a discount belongs to the whole line; orders with prices below the currency's smallest amount likewise.
"""

from collections.abc import Callable, Iterator, Sequence
from copy import copy
from dataclasses import dataclass
from decimal import Decimal
from functools import cache
from typing import Any, Final, NamedTuple

from msgspec.structs import replace

from stream.simulate.behaviour import Behaviour
from stream.simulate.catalogue import Family
from stream.simulate.customers import Customer
from stream.simulate.record import Emitted, quantum, rounded
from stream.simulate.truth import Intent, Kind, Sale, with_any
from stream.simulate.world import SHORTEST, Session, World

STARTED: Final = "commerce.checkout.started.v1"
UPDATED: Final = "commerce.checkout.updated.v1"
COMPLETED: Final = "commerce.order.completed.v1"
EDITED: Final = "commerce.order.updated.v1"
REFUNDED: Final = "commerce.order.refunded.v1"
CANCELED: Final = "commerce.order.canceled.v1"

_ZERO: Final = Decimal(0)
_REDUCTIONS: Final = (Decimal("0.05"), Decimal("0.10"), Decimal("0.20"))


class _Origin(NamedTuple):
    """A line as the customer brought it."""

    labels: dict[str, str]
    category: str | None
    quantity: int
    total: Decimal
    net: Decimal


@dataclass(slots=True, eq=False)
class _Line:
    """A line of the cart as it stands."""

    family: Family
    tier: int
    quantity: int
    price: Decimal
    off: Decimal = _ZERO
    """Share of the list total that is taken off."""
    origin: _Origin | None = None
    """None: not what the customer came for."""
    swapped: bool = False
    """Another variant or product than the origin's."""
    settled: bool = False
    """What it is does not change any more; how many may."""
    sibling: bool = False
    """Added beside another variant of the same product."""
    split: bool = False
    """Written as two lines."""
    replaces: str | None = None
    offer: str | None = None

    @property
    def labels(self) -> dict[str, str]:
        return self.family.variants[self.tier].labels

    def discount(self, currency: str) -> Decimal:
        return rounded(self.price * self.quantity * self.off, currency) if self.off else _ZERO

    def net(self, currency: str) -> Decimal:
        return self.price * self.quantity - self.discount(currency)

    def verdict(self, left: int, currency: str) -> tuple[Kind | None, Decimal]:
        """Kind and amount (unrounded) when `left` units of it stay; a line with a discount stays whole."""
        total = self.price * left
        net = total - self.discount(currency)
        if not net:
            return None, _ZERO
        if self.origin is None:
            return ("upsell" if self.sibling else "cross_sell"), net
        origin = self.origin
        more, less = (
            (total > origin.total, total < origin.total)
            if self.swapped
            else (left > origin.quantity, left < origin.quantity)
        )
        if more:
            return "upsell", max(_ZERO, net - origin.net)
        if less:
            return "downsell", max(_ZERO, origin.net - net)
        return None, _ZERO

    def written(self, quantity: int, currency: str) -> dict[str, Any]:
        line: dict[str, Any] = {**self.labels, "quantity": quantity, "price": self.price}
        if self.off and quantity:
            line["discount"] = self.discount(currency)
        if self.replaces is not None:
            line["replaces"] = self.replaces
        if self.offer is not None:
            line["offer_id"] = self.offer
        return line


_Action = Callable[["Checkout"], None]


class Checkout:
    """One session, from the first cart to the last refund."""

    def __init__(self, world: World, number: int, customer: Customer | None, channel: str) -> None:
        self._world = world
        self._id = f"checkout-{world.run}-{number:07d}"
        self._order_id = f"order-{world.run}-{number:07d}"
        self._customer = customer or world.people.passer_by(self._id)
        self._channel = channel
        self._behaviour = world.behaviour_of(self._customer.segment)
        self._currency = self._customer.currency
        self._lines: list[_Line] = []
        self._dropped: list[_Line] = []
        self._origins: list[_Origin] = []
        self._used: set[int] = set()
        """Families that are or were in the cart, by identity."""
        self._lost: set[str | None] = set()
        """Categories that lost a line, to nothing or to a substitute."""
        self._gained: set[str | None] = set()
        """Categories with additions."""
        self._tangled = False
        """An addition would take the place of a line of the intent, were that given back."""
        self._coupon: str | None = None
        self._events = 0

    def run(self) -> Session:
        """The session's records."""
        world, behaviour = self._world, self._behaviour
        self._fill()
        intent = self._written()
        draw = world.rng.random
        actions = [action for probability, action in self._habits(behaviour) if draw() < probability]
        unstated = world.chance(behaviour.unstated)
        explicit = not unstated and world.chance(behaviour.explicit)
        # Where the platform states the intent, the first cart that is seen may already be more than it.
        stated_in = world.pick(("started", "completed", "completed unseen")) if explicit else None
        if explicit and actions:
            actions.pop(0)(self)

        world.truth.opportunity("checkout")
        abandoned = False
        if unstated or stated_in == "completed unseen":
            for action in actions:
                action(self)
        else:
            yield from self._browse(actions, intent if stated_in == "started" else None, plain=not explicit)
            abandoned = world.chance(behaviour.abandon)
        if not abandoned:
            known: Intent = "unknown" if unstated else "known"
            if not unstated and not explicit and len(world.currencies) > 1 and world.chance(behaviour.foreign):
                self._exchange()
                known = "incomparable"
            yield from self._order(known, intent if explicit and stated_in != "started" else None)
        if not self._customer.returns:
            world.truth.departed("checkout", self._customer.name)

    # -- before payment ------------------------------------------------------------------------------------------------

    def _browse(self, actions: Sequence[_Action], intent: list[dict[str, Any]] | None, *, plain: bool) -> Session:
        world = self._world
        opening = world.rng.random() if plain else 1.0
        if opening < 0.03:
            yield self._record(STARTED, products=[]), world.gap(40)
        if opening < 0.045:
            yield self._record(UPDATED, products=self._written()), world.gap(60)
        else:
            stated = {} if intent is None else {"intent": {"products": intent}}
            yield self._record(STARTED, products=self._written(), **stated), world.gap(60)
        for action in actions:
            action(self)
            if world.chance(0.6):
                yield self._record(UPDATED, products=self._written(dropped=True)), world.gap(60)

    def _fill(self) -> None:
        world = self._world
        draw, rng = world.rng.random, world.rng
        for _ in range(1 + int(4 * draw() ** 2.5)):
            family = world.pick(world.catalogue.goods)
            if id(family) in self._used:
                continue
            tier = int(len(family.variants) * draw() ** 1.3)
            quantity = rng.randint(2, 12) if family.fractional else 1 + int(3 * draw() ** 2)
            line = self._take(family, tier, quantity)
            if draw() < 0.08:
                line.off = world.pick(_REDUCTIONS)
            net = line.net(self._currency)
            line.origin = _Origin(line.labels, family.category, quantity, line.price * quantity, net)
            self._origins.append(line.origin)

    def _take(self, family: Family, tier: int, quantity: int) -> _Line:
        line = _Line(family, tier, quantity, family.variants[tier].prices[self._currency])
        self._lines.append(line)
        self._used.add(id(family))
        return line

    @classmethod
    @cache
    def _habits(cls, behaviour: Behaviour) -> "tuple[tuple[float, _Action], ...]":
        """What can happen to a cart, in this order, and how likely it is."""
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

    # -- actions: each does one thing to the cart, or nothing where the cart does not allow it ---------------------------

    def _upgrade(self) -> None:
        self._swap_variant(1)

    def _downgrade(self) -> None:
        self._swap_variant(-1)

    def _swap_variant(self, step: int) -> None:
        for line in self._open_lines():
            if 0 <= line.tier + step < len(line.family.variants):
                self._become(line, line.family, line.tier + step)
                return

    def _substitute(self) -> None:
        for line in self._open_lines():
            category = line.family.category
            alone = sum(origin.category == category for origin in self._origins) == 1
            if category is None or not alone or category in self._lost or category in self._gained:
                continue
            family = self._unused(self._world.catalogue.by_category[category])
            if family is not None:
                self._dropped.append(copy(line))
                self._lost.add(category)
                self._become(line, family, self._tier_for(line, family))
                return

    def _replace(self) -> None:
        family = self._unused(self._world.catalogue.goods)
        for line in self._open_lines():
            if family is not None and line.origin is not None and not (line.family.fractional or family.fractional):
                labels = line.origin.labels
                names = [labels[name] for name in ("sku", "variant_id", "product_id") if labels.get(name)]
                self._dropped.append(copy(line))
                self._become(line, family, self._tier_for(line, family))
                line.replaces = self._world.pick(names)
                return

    def _more(self) -> None:
        line = self._world.pick(self._lines)
        if line.origin is not None:
            line.quantity += self._world.rng.randint(1, 2)

    def _fewer(self) -> None:
        for line in self._lines:
            if line.origin is not None and line.quantity > 1:
                line.quantity -= self._world.rng.randint(1, line.quantity - 1)
                return

    def _remove(self) -> None:
        for line in self._open_lines():
            if len(self._lines) > 1 and line.family.category not in self._gained:
                self._lines.remove(line)
                self._dropped.append(line)
                self._lost.add(line.family.category)
                return

    def _add(self) -> None:
        world = self._world
        catalogue = world.catalogue
        family = self._unused(catalogue.services if world.chance(0.12) else catalogue.goods)
        if family is None or family.category in self._lost:
            return
        if any(origin.category == family.category for origin in self._origins):
            if not world.chance(0.3):
                return
            self._tangled = True
        line = self._take(family, 0, world.rng.randint(2, 9) if family.fractional else 1)
        line.settled = True
        self._gained.add(family.category)
        if world.chance(0.5):
            line.offer = f"offer-{world.rng.randint(1, 40):02d}"

    def _add_sibling(self) -> None:
        for line in self._open_lines():
            if len(line.family.variants) > 1 and line.family.category not in self._lost:
                line.settled = True
                self._gained.add(line.family.category)
                sibling = self._take(line.family, (line.tier + 1) % len(line.family.variants), 1)
                sibling.sibling = sibling.settled = self._tangled = True
                return

    def _add_gift(self) -> None:
        gift = self._unused(self._world.catalogue.gifts)
        if gift is not None:
            self._take(gift, 0, 1).settled = True

    def _open_lines(self) -> list[_Line]:
        """Lines as the customer brought them, but for their quantity, in random order."""
        found = [line for line in self._lines if not line.settled]
        self._world.rng.shuffle(found)
        return found

    def _unused(self, families: Sequence[Family]) -> Family | None:
        family = self._world.pick(families)
        return None if id(family) in self._used else family

    def _tier_for(self, line: _Line, family: Family) -> int:
        """Mostly the first variant that is dearer than the line, else the cheapest."""
        if self._world.chance(0.65):
            for tier, variant in enumerate(family.variants):
                if variant.prices[self._currency] > line.price:
                    return tier
        return 0

    def _become(self, line: _Line, family: Family, tier: int) -> None:
        line.family, line.tier = family, tier
        line.price = family.variants[tier].prices[self._currency]
        line.swapped = line.settled = True
        self._used.add(id(family))

    def _exchange(self) -> None:
        """From here on the cart is in another currency."""
        others = [currency for currency in self._world.currencies if currency != self._currency]
        self._currency = self._world.pick(others)
        for line in (*self._lines, *self._dropped):
            line.price = line.family.variants[line.tier].prices[self._currency]

    # -- payment and after ---------------------------------------------------------------------------------------------

    def _order(self, known: Intent, intent: list[dict[str, Any]] | None) -> Session:
        world, behaviour = self._world, self._behaviour
        truth, customer = world.truth, self._customer.name
        self._at_the_till()
        stated = {} if intent is None else {"intent": {"products": intent}}
        sale = self._sale(known)
        truth.sold("checkout", customer, sale)
        yield self._record(COMPLETED, products=self._written(dropped=True), **stated), world.gap(60)

        if world.chance(behaviour.edit):
            self._edit()
            edited = self._sale(known)
            truth.restated("checkout", customer, sale, edited)
            sale = edited
            yield self._record(EDITED, products=self._written(dropped=True)), world.gap(60)
        if world.chance(behaviour.refund):
            for refund, after in self._refunds(sale):
                yield None, world.months(0.01, 0.3)
                truth.restated("checkout", customer, sale, after)
                sale = after
                yield self._record(REFUNDED, refund=refund), SHORTEST
        if world.chance(behaviour.cancel):
            yield None, world.months(0.002, 0.1)
            truth.restated("checkout", customer, sale, self._undone(sale))
            yield self._record(CANCELED), SHORTEST

    def _at_the_till(self) -> None:
        world = self._world
        if world.chance(self._behaviour.coupon):
            off = world.pick(_REDUCTIONS)
            self._coupon = f"SAVE{int(off * 100)}"
            for line in self._lines:
                line.off = line.off or off
        for line in self._lines:
            if line.origin is not None and not line.swapped and not line.family.fractional:
                if world.chance(0.01):
                    # The list price moved while the cart was open: no verdict.
                    line.price += quantum(self._currency) * 100
                line.split = line.quantity > 1 and not line.off and world.chance(0.03)

    def _edit(self) -> None:
        added = [line for line in self._lines if line.origin is None and not line.sibling]
        if added and len(self._lines) > len(added) and self._world.chance(0.4):
            self._lines.remove(added[0])
        else:
            self._world.pick((self._add, self._add, self._more))()

    def _refunds(self, sale: Sale) -> Iterator[tuple[dict[str, Any], Sale]]:
        """What is given back, step by step, and the transaction after each step."""
        world = self._world
        how = world.rng.random()
        exact = not any(line.family.fractional for line in self._lines)
        if exact and how < 0.45:
            yield from self._refunded_products(sale)
        elif exact and how < 0.7:
            yield from self._refunded_amounts(sale)
        elif exact and how < 0.8:
            # More than was paid for the goods: shipping comes back too.
            extra = quantum(sale.currency) * world.pick((0, 490))
            yield {"refund_id": f"{self._order_id}-r1", "amount": sale.final + extra}, self._undone(sale)
        else:
            yield {"refund_id": f"{self._order_id}-r1"}, self._undone(sale)

    def _refunded_products(self, sale: Sale) -> Iterator[tuple[dict[str, Any], Sale]]:
        rng = self._world.rng
        left = {id(line): line.quantity for line in self._lines}
        for number in range(1, 2 + (rng.random() < 0.25)):
            able = [
                line
                for line in self._lines
                if left[id(line)] and line.price and (line.origin is None or not self._tangled)
            ]
            if not able:
                return
            back = {}
            for line in rng.sample(able, rng.randint(1, len(able))):
                whole = line.off or line.split
                back[id(line)] = left[id(line)] if whole else rng.randint(1, left[id(line)])
            if not any(line.price and left[id(line)] > back.get(id(line), 0) for line in self._lines):
                # Nobody keeps a gift that came with nothing.
                back = dict(left)
            for key, quantity in back.items():
                left[key] -= quantity
            products = [line.written(back[id(line)], self._currency) for line in self._lines if back.get(id(line))]
            refund = {"refund_id": f"{self._order_id}-r{number}", "products": products}
            yield refund, self._less(sale, left)

    def _refunded_amounts(self, sale: Sale) -> Iterator[tuple[dict[str, Any], Sale]]:
        rng = self._world.rng
        lost = _ZERO
        for number in range(1, 2 + (rng.random() < 0.25)):
            amount = rounded(sale.final * rng.randint(10, 45) / 100, sale.currency)
            if not amount:
                return
            lost += amount
            yield {"refund_id": f"{self._order_id}-r{number}", "amount": amount}, replace(sale, lost=lost)

    # -- bookkeeping ---------------------------------------------------------------------------------------------------

    def _sale(self, known: Intent) -> Sale:
        """The transaction as its final lines stand."""
        currency = self._currency
        final = rounded(sum((line.net(currency) for line in self._lines), _ZERO), currency)
        if known != "known":
            return Sale(currency, known, final)
        amounts: dict[Kind, Decimal] = {}
        for line in self._lines:
            kind, amount = line.verdict(line.quantity, currency)
            if kind is not None:
                amounts[kind] = amounts.get(kind, _ZERO) + amount
        return Sale(
            currency,
            known,
            final,
            frozenset(amounts),
            initial=rounded(sum((origin.net for origin in self._origins), _ZERO), currency),
            upsell=rounded(amounts.get("upsell", _ZERO), currency),
            cross_sell=rounded(amounts.get("cross_sell", _ZERO), currency),
            downsell=rounded(amounts.get("downsell", _ZERO), currency),
        )

    def _less(self, sale: Sale, left: dict[int, int]) -> Sale:
        """The transaction when only so many units of each line are left."""
        if not any(left.values()):
            return self._undone(sale)
        staying = [(line, left[id(line)]) for line in self._lines if left[id(line)]]
        net = sum((line.price * units - line.discount(sale.currency) for line, units in staying), _ZERO)
        kinds = frozenset(kind for line, units in staying if (kind := line.verdict(units, sale.currency)[0]))
        return replace(
            sale,
            lost=sale.final - rounded(net, sale.currency),
            undone_kinds=with_any(sale.kinds) - with_any(kinds),
        )

    @staticmethod
    def _undone(sale: Sale) -> Sale:
        return replace(sale, lost=sale.final, undone=True, undone_kinds=with_any(sale.kinds))

    # -- writing -------------------------------------------------------------------------------------------------------

    def _written(self, *, dropped: bool = False) -> list[dict[str, Any]]:
        """The cart as product lines; sometimes with what was dropped from it, at quantity 0."""
        currency = self._currency
        lines = []
        for line in self._lines:
            if line.split:
                lines.append(line.written(line.quantity - 1, currency))
            lines.append(line.written(1 if line.split else line.quantity, currency))
        if dropped and self._dropped and self._world.chance(0.5):
            lines.extend(line.written(0, currency) for line in self._dropped)
        return lines

    def _record(self, kind: str, **rest: Any) -> Emitted:
        self._events += 1
        customer = self._customer
        data: dict[str, Any] = {**customer.labels, "checkout_id": self._id}
        if kind not in {STARTED, UPDATED}:
            data["order_id"] = self._order_id
        data["channel"] = self._channel
        if customer.segment is not None and (self._events == 1 or self._world.chance(0.8)):
            data["segment"] = customer.segment
        data["currency"] = self._currency
        data |= rest
        if self._coupon is not None and kind in {COMPLETED, EDITED}:
            data["coupon"] = self._coupon
        return self._world.record(
            "checkout",
            kind,
            entity=self._id,
            number=self._events,
            customer=customer.name,
            channel=self._channel,
            data=data,
        )
