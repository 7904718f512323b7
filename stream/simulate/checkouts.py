"""A visit to the shop: a cart, its purchase, and what is returned later.

Rules: the truth hears of a transaction just before its record is yielded. What the cart allows, and why, is in `cart`.
"""

from collections.abc import Iterator, Sequence
from decimal import Decimal
from functools import partial
from typing import Any, Final

from stream.simulate.cart import Action, Cart, Returns
from stream.simulate.customers import Customer
from stream.simulate.journey import Journey
from stream.simulate.offers import AFTER_PURCHASE, BEFORE_PURCHASE, Offer, day_of
from stream.simulate.pairs import PairLog
from stream.simulate.record import Emitted, quantum, rounded
from stream.simulate.subscriptions import may_subscribe, subscribing
from stream.simulate.truth import Intent, PlantedSale
from stream.simulate.world import SHORTEST, Session, World

STARTED: Final = "commerce.checkout.started.v1"
UPDATED: Final = "commerce.checkout.updated.v1"
COMPLETED: Final = "commerce.order.completed.v1"
EDITED: Final = "commerce.order.updated.v1"
REFUNDED: Final = "commerce.order.refunded.v1"
CANCELED: Final = "commerce.order.canceled.v1"

_ZERO: Final = Decimal(0)


class Checkout(Journey):
    """One checkout, from the first cart to the last refund."""

    topic = "checkout"

    def __init__(self, world: World, number: int, customer: Customer | None, channel: str) -> None:
        super().__init__(world, number, customer, channel)
        self._order_ids = [f"order-{self._suffix}", f"order-{self._suffix}-2"]
        if channel == "store" and world.chance(0.3):
            # Nobody needs the id of the first order: the others have one.
            self._order_ids[0] = ""
        self._order = 0
        """The order that the next event is about."""
        self._cart = Cart(world, self._customer.currency, self._offers)
        self._coupon: str | None = None
        self._unreported: list[Offer] = []
        """Offers of which it will only be reported after the purchase that they were shown."""
        self._intent: Intent = "known"
        self._day = ""
        """The day of the transaction."""
        self._pairs = PairLog(world.truth.pairs)
        self._is_named = False
        """An event has named the customer's segment."""

    @property
    def currency(self) -> str:
        """Currency of the next event."""
        return self._cart.currency

    def run(self) -> Session:
        """Yield the records of this checkout."""
        world, behaviour, cart = self._world, self._behaviour, self._cart
        cart.fill()
        plan = None
        if self._customer.returns and world.chance(behaviour.plan) and may_subscribe(self._customer, world):
            plan = world.pick(world.catalogue.products)
        wanted = plan is not None and world.chance(0.5)
        if plan is not None and wanted:
            cart.put_plan(plan, wanted=True)
        intent = cart.product_lines()
        actions = cart.draw_actions(behaviour)
        if plan is not None and not wanted:
            actions.append(partial(Cart.put_plan, product=plan, wanted=False))
        unstated = world.chance(behaviour.unstated)
        explicit = not unstated and world.chance(behaviour.explicit)
        # If the platform states the intent, the first cart in the events may already contain more.
        stated_in = world.pick(("started", "completed", "completed unseen")) if explicit else None
        if explicit and actions:
            actions.pop(0)(cart)

        unseen = unstated or stated_in == "completed unseen"
        if not unseen and world.chance(behaviour.offered / 20):
            # The first that anybody hears of this checkout.
            yield from self._offer(BEFORE_PURCHASE, decides=False)
        world.truth.opportunity("checkout", self._labels)
        abandoned = False
        if unseen:
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
            yield from self._buy(known, intent if explicit and stated_in != "started" else None, plan)
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
        while world.chance(self._behaviour.offered):
            yield from self._offer(BEFORE_PURCHASE)

    def _offer(self, offers: Sequence[Offer], *, decides: bool = True) -> Session:
        """Show an offer. With `decides`, the customer accepts it, with or without need, declines it, or goes on."""
        world, behaviour = self._world, self._behaviour
        offer = self._offers.pick(world.rng, offers)
        if offer is None:
            return
        slot = self._slot_of(offer)
        if decides and world.chance(0.1):
            self._unreported.append(offer)
        else:
            yield self._show(offer, slot), world.gap(20)
            if world.chance(0.2):
                yield self._show(offer, world.pick(offer.slots)), world.gap(20)
        if not decides:
            return
        draw = world.rng.random() - behaviour.accept * offer.appeal
        if draw < 0:
            self._cart.accept(offer.id)
        elif draw < behaviour.accept_anyway:
            self._cart.accept_anyway(offer.id)
        elif draw < behaviour.accept_anyway + behaviour.decline and offer not in self._unreported:
            yield self._decline(offer, slot), world.gap(20)

    def _buy(self, known: Intent, intent: list[dict[str, Any]] | None, plan: str | None) -> Session:
        """The events from payment on; `intent` is stated in the first one. A subscription to `plan` is sold."""
        world, behaviour, cart = self._world, self._behaviour, self._cart
        truth, customer = world.truth, self._customer
        self._coupon = cart.prepare_payment(behaviour)
        stated = {} if intent is None else {"intent": {"products": intent}}
        sale = cart.sale(known)
        truth.sold("checkout", self._labels, customer.name, sale)
        self._intent, self._day = known, day_of(world.now)
        self._account()
        if plan is not None:
            world.spawn(2, partial(subscribing, world, customer, self._channel, product=plan, sold_in=self._id))
        yield self._record(COMPLETED, products=cart.product_lines(with_dropped=True), **stated), world.gap(60)

        while self._unreported:
            offer = self._unreported.pop()
            yield self._show(offer, self._slot_of(offer)), world.gap(20)
        orders = 1
        if world.chance(behaviour.one_click):
            offer = world.pick(AFTER_PURCHASE)
            if world.chance(0.8):
                yield self._show(offer, self._slot_of(offer)), world.gap(20)
            if cart.accept_after(offer.id):
                orders = 2
                before, sale = sale, cart.sale(known)
                truth.restated("checkout", self._labels, customer.name, before, sale)
                self._account()
                self._order = 1
                yield self._record(COMPLETED, products=cart.product_lines(1)), world.gap(60)
                self._order = 0
        elif world.chance(behaviour.offered / 3):
            offer = world.pick(AFTER_PURCHASE)
            slot = self._slot_of(offer)
            yield self._show(offer, slot), world.gap(20)
            if world.chance(behaviour.decline):
                yield self._decline(offer, slot), world.gap(20)
        if world.chance(behaviour.edit):
            cart.edit()
            before, sale = sale, cart.sale(known)
            truth.restated("checkout", self._labels, customer.name, before, sale)
            self._account()
            yield self._record(EDITED, products=cart.product_lines(with_dropped=True)), world.gap(60)
        yield from self._give_back(sale, orders)

    def _give_back(self, sale: PlantedSale, orders: int) -> Session:
        """The refunds and cancellations of each order."""
        world, behaviour = self._world, self._behaviour
        returns, now = Returns(), sale
        for self._order in range(orders):
            if world.chance(behaviour.refund):
                for refund in self._refunds(returns):
                    yield None, world.months(0.01, 0.3)
                    now = self._restate(sale, now, returns)
                    yield self._record(REFUNDED, refund=refund), SHORTEST
            if world.chance(behaviour.cancel):
                yield None, world.months(0.002, 0.1)
                returns.orders.add(self._order)
                now = self._restate(sale, now, returns)
                yield self._record(CANCELED), SHORTEST

    def _restate(self, sale: PlantedSale, before: PlantedSale, returns: Returns) -> PlantedSale:
        after = self._cart.sale_after(sale, returns)
        self._world.truth.restated("checkout", self._labels, self._customer.name, before, after)
        self._account(returns)
        return after

    def _account(self, returns: Returns | None = None) -> None:
        """Count the offers and the products of the transaction as it is now, in the place of what was counted of it before."""
        self._offers.restate(self._day, self._cart.accepted(self._intent, returns or Returns()))
        self._pairs.restate(self._day, self._cart.basket(self._intent))

    def _refunds(self, returns: Returns) -> Iterator[dict[str, Any]]:
        """The refunds of an order, of one sort: by products, by amount, with shipping, or of everything. Each is noted in `returns`."""
        world, cart, order = self._world, self._cart, self._order
        draw = world.rng.random()
        if draw < 0.45:
            yield from self._refunds_of_products(returns)
        elif draw < 0.7:
            yield from self._refunds_of_amounts(returns)
        elif draw < 0.8:
            # More than was paid for the goods: shipping is refunded too.
            amount = cart.total_of(order) + quantum(cart.currency) * world.pick((0, 490))
            returns.amounts[order] = amount
            yield {"refund_id": self._refund_id(1), "amount": amount}
        else:
            returns.orders.add(order)
            yield {"refund_id": self._refund_id(1)}

    def _refunds_of_products(self, returns: Returns) -> Iterator[dict[str, Any]]:
        rng, cart = self._world.rng, self._cart
        for number in range(1, 2 + (rng.random() < 0.25)):
            returnable = cart.returnable(self._order, returns)
            if not returnable:
                return
            products = []
            for line in rng.sample(returnable, rng.randint(1, len(returnable))):
                left = returns.left(line)
                units = rng.randint(1, left) if isinstance(left, int) else rng.choice((left, left / 2))
                if not isinstance(units, int):
                    units = round(units, line.family.places)
                returns.units[id(line)] = returns.units.get(id(line), 0) + units
                products.append(line.product_line(units, cart.currency))
            yield {"refund_id": self._refund_id(number), "products": products}

    def _refunds_of_amounts(self, returns: Returns) -> Iterator[dict[str, Any]]:
        rng, cart = self._world.rng, self._cart
        for number in range(1, 2 + (rng.random() < 0.25)):
            amount = rounded(cart.total_of(self._order) * rng.randint(10, 45) / 100, cart.currency)
            if not amount:
                return
            returns.amounts[self._order] = returns.amounts.get(self._order, _ZERO) + amount
            yield {"refund_id": self._refund_id(number), "amount": amount}

    def _refund_id(self, number: int) -> str:
        return f"{self._id}-r{number}"

    def _ids(self, kind: str) -> dict[str, str]:
        ids = super()._ids(kind)
        order_id = self._order_ids[self._order]
        if order_id and kind not in {STARTED, UPDATED}:
            ids["order_id"] = order_id
        return ids

    def _names_segment(self) -> bool:
        first, self._is_named = not self._is_named, True
        return first or self._world.chance(0.8)

    def _record(self, kind: str, **details: Any) -> Emitted:
        if self._coupon is not None and kind in {COMPLETED, EDITED}:
            details["coupon"] = self._coupon
        return super()._record(kind, **details)
