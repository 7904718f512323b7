"""A visit to the shop: a cart, its purchase, and what is returned later.

Rules: the truth hears of a transaction just before its record is yielded. What the cart allows, and why, is in `cart`.
"""

from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import Any, Final

from msgspec.structs import replace

from stream.simulate.cart import Action, Cart
from stream.simulate.customers import Customer
from stream.simulate.journey import Journey
from stream.simulate.record import Emitted, quantum, rounded
from stream.simulate.truth import Intent, PlantedSale
from stream.simulate.world import SHORTEST, Session, World

STARTED: Final = "commerce.checkout.started.v1"
UPDATED: Final = "commerce.checkout.updated.v1"
COMPLETED: Final = "commerce.order.completed.v1"
EDITED: Final = "commerce.order.updated.v1"
REFUNDED: Final = "commerce.order.refunded.v1"
CANCELED: Final = "commerce.order.canceled.v1"

_ZERO: Final = Decimal(0)

_Refunds = Iterator[tuple[dict[str, Any], PlantedSale]]
"""Each refund as an event shows it, and the transaction after it."""


class Checkout(Journey):
    """One checkout, from the first cart to the last refund."""

    topic = "checkout"

    def __init__(self, world: World, number: int, customer: Customer | None, channel: str) -> None:
        super().__init__(world, number, customer, channel)
        self._order_id = f"order-{self._suffix}"
        self._cart = Cart(world, self._customer.currency)
        self._coupon: str | None = None

    @property
    def currency(self) -> str:
        """Currency of the next event."""
        return self._cart.currency

    def run(self) -> Session:
        """Yield the records of this checkout."""
        world, behaviour, cart = self._world, self._behaviour, self._cart
        cart.fill()
        intent = cart.product_lines()
        actions = cart.draw_actions(behaviour)
        unstated = world.chance(behaviour.unstated)
        explicit = not unstated and world.chance(behaviour.explicit)
        # If the platform states the intent, the first cart in the events may already contain more.
        stated_in = world.pick(("started", "completed", "completed unseen")) if explicit else None
        if explicit and actions:
            actions.pop(0)(cart)

        world.truth.opportunity("checkout")
        abandoned = False
        if unstated or stated_in == "completed unseen":
            for action in actions:
                action(cart)
        else:
            yield from self._browse(actions, intent if stated_in == "started" else None, plain=not explicit)
            abandoned = world.chance(behaviour.abandon)
        if not abandoned:
            known: Intent = "unknown" if unstated else "known"
            if not unstated and not explicit and len(world.currencies) > 1 and world.chance(behaviour.foreign):
                cart.change_currency()
                known = "incomparable"
            yield from self._order(known, intent if explicit and stated_in != "started" else None)
        if not self._customer.returns:
            world.truth.departed("checkout", self._customer.name)

    def _browse(self, actions: Sequence[Action], intent: list[dict[str, Any]] | None, *, plain: bool) -> Session:
        """The events before payment; `intent` is stated in the first one, `plain` allows an unusual first event."""
        world, cart = self._world, self._cart
        opening = world.rng.random() if plain else 1.0
        if opening < 0.03:
            yield self._record(STARTED, products=[]), world.gap(40)
        if opening < 0.045:
            yield self._record(UPDATED, products=cart.product_lines()), world.gap(60)
        else:
            stated = {} if intent is None else {"intent": {"products": intent}}
            yield self._record(STARTED, products=cart.product_lines(), **stated), world.gap(60)
        for action in actions:
            action(cart)
            if world.chance(0.6):
                yield self._record(UPDATED, products=cart.product_lines(with_dropped=True)), world.gap(60)

    def _order(self, known: Intent, intent: list[dict[str, Any]] | None) -> Session:
        """The events from payment on; `intent` is stated in the first one."""
        world, behaviour, cart = self._world, self._behaviour, self._cart
        truth, customer = world.truth, self._customer.name
        self._coupon = cart.prepare_payment(behaviour)
        stated = {} if intent is None else {"intent": {"products": intent}}
        sale = cart.sale(known)
        truth.sold("checkout", customer, sale)
        yield self._record(COMPLETED, products=cart.product_lines(with_dropped=True), **stated), world.gap(60)

        if world.chance(behaviour.edit):
            cart.edit()
            edited = cart.sale(known)
            truth.restated("checkout", customer, sale, edited)
            sale = edited
            yield self._record(EDITED, products=cart.product_lines(with_dropped=True)), world.gap(60)
        if world.chance(behaviour.refund):
            for refund, after in self._refunds(sale):
                yield None, world.months(0.01, 0.3)
                truth.restated("checkout", customer, sale, after)
                sale = after
                yield self._record(REFUNDED, refund=refund), SHORTEST
        if world.chance(behaviour.cancel):
            yield None, world.months(0.002, 0.1)
            truth.restated("checkout", customer, sale, sale.as_reversed())
            yield self._record(CANCELED), SHORTEST

    def _refunds(self, sale: PlantedSale) -> _Refunds:
        """The refunds of an order, of one sort: by products, by amount, with shipping, or of everything."""
        world = self._world
        draw = world.rng.random()
        exact = not self._cart.fractional
        if exact and draw < 0.45:
            yield from self._refunds_of_products(sale)
        elif exact and draw < 0.7:
            yield from self._refunds_of_amounts(sale)
        elif exact and draw < 0.8:
            # More than was paid for the goods: shipping is refunded too.
            shipping = quantum(sale.currency) * world.pick((0, 490))
            yield {"refund_id": self._refund_id(1), "amount": sale.final + shipping}, sale.as_reversed()
        else:
            yield {"refund_id": self._refund_id(1)}, sale.as_reversed()

    def _refunds_of_products(self, sale: PlantedSale) -> _Refunds:
        rng, cart = self._world.rng, self._cart
        left = {id(line): line.quantity for line in cart.lines}
        for number in range(1, 2 + (rng.random() < 0.25)):
            returnable = cart.returnable(left)
            if not returnable:
                return
            returned = {}
            for line in rng.sample(returnable, rng.randint(1, len(returnable))):
                whole = line.discount_share or line.split
                returned[id(line)] = left[id(line)] if whole else rng.randint(1, left[id(line)])
            if not any(line.price and left[id(line)] > returned.get(id(line), 0) for line in cart.lines):
                # Only free gifts would be left: return them too.
                returned = dict(left)
            for key, quantity in returned.items():
                left[key] -= quantity
            products = [
                line.product_line(returned[id(line)], self.currency) for line in cart.lines if returned.get(id(line))
            ]
            yield {"refund_id": self._refund_id(number), "products": products}, cart.sale_after_returns(sale, left)

    def _refunds_of_amounts(self, sale: PlantedSale) -> _Refunds:
        rng = self._world.rng
        refunded = _ZERO
        for number in range(1, 2 + (rng.random() < 0.25)):
            amount = rounded(sale.final * rng.randint(10, 45) / 100, sale.currency)
            if not amount:
                return
            refunded += amount
            yield {"refund_id": self._refund_id(number), "amount": amount}, replace(sale, reversed_amount=refunded)

    def _refund_id(self, number: int) -> str:
        return f"{self._order_id}-r{number}"

    def _ids(self, kind: str) -> dict[str, str]:
        ids = super()._ids(kind)
        if kind not in {STARTED, UPDATED}:
            ids["order_id"] = self._order_id
        return ids

    def _names_segment(self) -> bool:
        return self._events == 1 or self._world.chance(0.8)

    def _record(self, kind: str, **details: Any) -> Emitted:
        if self._coupon is not None and kind in {COMPLETED, EDITED}:
            details["coupon"] = self._coupon
        return super()._record(kind, **details)
