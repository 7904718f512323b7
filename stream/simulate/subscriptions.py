"""How a subscription starts: chosen freely, after others that were canceled, in place of another one, or in a checkout; with a trial or without.

Rules: `paid_subscription` says what is always clear about a customer's subscriptions. If several canceled subscriptions end in a new one, and it
is not clear which item stands for which (`items.together`), the new one names what it continues.
"""

from typing import Any, Final

from stream.simulate.catalogue import Interval
from stream.simulate.customers import Customer
from stream.simulate.items import BASE, Item, Items, additional, kind_of_additional, together, unjudged, without_offers
from stream.simulate.offers import FOR_SUBSCRIBERS
from stream.simulate.paid_subscription import (
    CANCELED,
    CHANGED,
    CONVERTED,
    CREATED,
    MOST_SUBSCRIPTIONS,
    Decision,
    PaidSubscription,
)
from stream.simulate.record import Emitted
from stream.simulate.world import SHORTEST, Session, World

_INTERVALS: Final[tuple[Interval, ...]] = ("month", "year", "quarter", "week")
_INTERVAL_WEIGHTS: Final = (70, 15, 8, 7)


def may_subscribe(customer: Customer, world: World) -> bool:
    """Whether the customer can start a subscription now, so that its relation to their other subscriptions is clear."""
    return (
        not customer.trials
        and len(customer.paid) < MOST_SUBSCRIPTIONS
        and (not customer.changed_at or world.now - customer.changed_at > world.max_delay)
    )


def subscribing(
    world: World,
    customer: Customer,
    channel: str,
    number: int,
    *,
    product: str | None = None,
    sold_in: str | None = None,
    previous: PaidSubscription | None = None,
) -> Session:
    """A subscription, if the customer can have another one.

    Args:
        world: The shop's state.
        customer: Who subscribes.
        channel: Where.
        number: Number of the session.
        product: The base product, if that is settled.
        sold_in: The checkout in which it was sold.
        previous: Another subscription that it continues and names, if that is still active.
    """
    while customer.changed_at and world.now - customer.changed_at <= world.max_delay:
        yield None, customer.changed_at + world.max_delay - world.now + SHORTEST
    if may_subscribe(customer, world):
        yield from Subscription(world, number, customer, channel, product, sold_in, previous).run()


class Subscription(PaidSubscription):
    """One subscription. Start it only if `may_subscribe`."""

    def __init__(  # noqa: PLR0917 - only `subscribing` makes one
        self,
        world: World,
        number: int,
        customer: Customer,
        channel: str,
        product: str | None,
        sold_in: str | None,
        previous: PaidSubscription | None,
    ) -> None:
        super().__init__(world, number, customer, channel)
        self._product = product
        self._sold_in = sold_in
        self._previous = previous
        self._basis: Items | None = None
        """What the first transaction is a change from; None: the initial items, or nothing."""

    def run(self) -> Session:
        """Yield the records of this subscription."""
        world, customer = self._world, self._customer
        others = set(customer.paid.values())
        stated = self._start(others)
        customer.changed_at = world.now
        customer.newest_subscription = self._id
        if self._sold_in is None:
            world.truth.opportunity("subscription", self._labels)
        else:
            stated["checkout_id"] = self._sold_in
        if not others and self._sold_in is None and world.chance(self._behaviour.trial):
            customer.trials += 1
            converted = yield from self._run_trial(stated)
            customer.trials -= 1
            customer.changed_at = world.now
            if not converted:
                yield self._end_of_trial(), SHORTEST
                return
            record = self._convert()
        else:
            record = self._create(others, stated)
        yield from self._live(record)

    def _move(self, number: int, *, from_it: bool) -> Session:
        return subscribing(self._world, self._customer, self._channel, number, previous=self if from_it else None)

    # -- the start -----------------------------------------------------------------------------------------------------

    def _start(self, others: set[str]) -> dict[str, Any]:
        """Choose the items, and what they are judged against. Returns what the created event says of that."""
        world, customer = self._world, self._customer
        pending = customer.pending(world.now, self._currency)
        continued = [customer.canceled[name] for name in pending]
        old = self._previous
        stated: dict[str, Any] = {}
        if old is not None and old.is_paid and old.currency == self._currency:
            stated["previous"] = self._continue_one(old.items)
        elif world.chance(self._behaviour.explicit):
            self._choose_items(others)
            stated["intent"] = self._intend(self._items)
            self._change()
            return stated
        elif continued:
            parts = [(each.items, each.initial) for each in continued]
            base = world.pick(parts)[0][BASE]
            merged = parts[0] if len(parts) == 1 else together(parts, base.plan.product)
            if merged is None:
                stated["previous"] = self._continue_one(continued[-1].items)
            else:
                self._basis, self._initial = without_offers(merged[0]), without_offers(merged[1])
                self._items = {slot: item for slot, item in self._basis.items() if slot not in world.catalogue.products}
        else:
            self._choose_items(others)
            self._initial = dict(self._items)
            return stated
        for name in pending:
            del customer.canceled[name]
        if world.chance(0.8):
            self._change()
        return stated

    def _continue_one(self, items: Items) -> dict[str, Any]:
        """Continue these items, and say so."""
        items = without_offers(items)
        self._items, self._basis, self._initial = dict(items), dict(items), dict(items)
        return {"items": self._item_list(items)}

    def _choose_items(self, others: set[str]) -> None:
        rng, catalogue = self._world.rng, self._world.catalogue
        products = catalogue.products
        if self._product is not None:
            products = (self._product,)
        elif others and rng.random() < 0.6:
            products = tuple(product for product in products if product not in others)
        interval = rng.choices(_INTERVALS, _INTERVAL_WEIGHTS)[0]
        tiers = catalogue.tiers(rng.choice(products), interval)
        quantity = 1 + int(12 * rng.random() ** 2)
        self._items[BASE] = Item(tiers[int(len(tiers) * rng.random() ** 2)], quantity)
        if rng.random() < 0.3:
            self._changes.add_addon(self._items, {})

    def _run_trial(self, stated: dict[str, Any]) -> Decision:
        """Yield the records of the trial. Returns whether the trial becomes paid."""
        world = self._world
        record = self._record(CREATED, status="trialing", items=self._item_list(), **stated)
        yield record, world.months(0.05, 0.2)
        if world.chance(self._behaviour.offered):
            yield from self._show_offer()
        if world.chance(self._behaviour.change):
            self._change()
            record = self._record(CHANGED, status="trialing", items=self._item_list())
            yield record, world.months(0.1, 0.3)
        return world.chance(self._behaviour.convert)

    def _end_of_trial(self) -> Emitted:
        """The trial is canceled, or it becomes a free plan."""
        if self._world.chance(0.2):
            return self._record(CONVERTED, status="active", items=self._nothing())
        return self._record(CANCELED, status="canceled")

    def _convert(self) -> Emitted:
        world = self._world
        stated = {}
        if not self._explicit and world.chance(self._behaviour.explicit):
            stated["intent"], self._basis = self._intend(self._items), None
        if world.chance(self._behaviour.change):
            self._change()
        self._sell_change(self._initial if self._basis is None else self._basis)
        self._customer.paid[self._id] = self._items[BASE].plan.product
        return self._record(CONVERTED, status="active", items=self._item_list(), **stated)

    def _create(self, others: set[str], stated: dict[str, Any]) -> Emitted:
        """The first payment, without a trial. `others`: base products of the customer's other paid subscriptions."""
        self._customer.paid[self._id] = self._items[BASE].plan.product
        if self._sold_in is None:
            # Nobody says that it was shown: there was no subscription yet.
            self._offer = self._offers.pick(self._world.rng, FOR_SUBSCRIBERS) if self._world.chance(0.05) else None
            if self._explicit or self._basis is not None:
                self._sell_change(self._initial if self._basis is None else self._basis)
            else:
                self._sell_first(others)
        return self._record(CREATED, status="active", items=self._item_list(), **stated)

    def _sell_first(self, others: set[str]) -> None:
        """Sell the items as they are, to a customer with these other products."""
        offer, self._offer, items = self._offer, None, self._items
        if offer is not None:
            items[BASE] = items[BASE]._replace(offer=offer.id)
        kinds = [kind_of_additional(items, others)] if others else []
        self._sell(additional(self._currency, items, kinds[0]) if kinds else unjudged(self._currency, items))
        if offer is not None:
            self._carry(offer, BASE, kinds)
