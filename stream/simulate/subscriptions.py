"""A subscription's life: trial, plans, seats, add-ons, renewals, and its end.

Rules:

- A subscription has one base item and at most one item of each add-on product. So every item has its own slot, and is compared with the
  item that was in this slot before and at the start.
- Prices of plans do not change. An add-on of the start that was removed can only come back unchanged.
- It is always clear whether a customer already pays for another subscription, also when events arrive late: within `World.max_delay` of a
  subscription's start, none of the customer's other subscriptions starts, ends, changes its base or is refunded. No subscription starts
  during a trial or after a refund.
"""

from collections.abc import Callable, Generator
from decimal import Decimal
from typing import Any, Final, NamedTuple

from msgspec.structs import replace

from stream.simulate.catalogue import Interval, Plan
from stream.simulate.customers import Customer
from stream.simulate.journey import Journey
from stream.simulate.record import Emitted, rounded
from stream.simulate.truth import Kind, PlantedSale
from stream.simulate.world import SHORTEST, Session, World

CREATED: Final = "commerce.subscription.created.v1"
CONVERTED: Final = "commerce.subscription.trial_converted.v1"
CHANGED: Final = "commerce.subscription.changed.v1"
SCHEDULED: Final = "commerce.subscription.change_scheduled.v1"
RENEWED: Final = "commerce.subscription.renewed.v1"
CANCELED: Final = "commerce.subscription.canceled.v1"
REFUNDED: Final = "commerce.subscription.refunded.v1"

MOST_SUBSCRIPTIONS: Final = 3
"""Active paid subscriptions of one customer."""

_ZERO: Final = Decimal(0)
_BASE: Final = "base"
_INTERVALS: Final[tuple[Interval, ...]] = ("month", "year", "quarter", "week")
_SHARES: Final = (70, 15, 8, 7)
_MONTHS: Final[dict[Interval, float]] = {"week": 12 / 52, "month": 1, "quarter": 3, "year": 12}


class _Item(NamedTuple):
    plan: Plan
    quantity: int

    def mrr(self, currency: str) -> Decimal:
        return self.plan.mrr[currency] * self.quantity


_Items = dict[str, _Item]
"""Items by slot: `base`, or the product of an add-on."""

_Trial = Generator[tuple[Emitted | None, int], None, bool]


def may_subscribe(customer: Customer, now: int, max_delay: int) -> bool:
    """Whether the customer can start a subscription now, so that its relation to their other subscriptions is clear."""
    return (
        not customer.refunded
        and not customer.trials
        and len(customer.paid) < MOST_SUBSCRIPTIONS
        and (not customer.changed_at or now - customer.changed_at > max_delay)
    )


class Subscription(Journey):
    """One subscription. Start it only if `may_subscribe`."""

    topic = "subscription"

    def __init__(self, world: World, number: int, customer: Customer, channel: str) -> None:
        super().__init__(world, number, customer, channel)
        self._currency = customer.currency
        self._items: _Items = {}
        self._initial: _Items = {}
        self._may_grow = True
        self._newest: PlantedSale | None = None

    @property
    def currency(self) -> str:
        """Currency of the next event."""
        return self._currency

    def run(self) -> Session:
        """Yield the records of this subscription."""
        world, customer = self._world, self._customer
        others = set(customer.paid.values())
        self._choose_items(others)
        customer.changed_at = world.now
        customer.newest_subscription = self._id
        world.truth.opportunity("subscription")
        if not others and world.chance(self._behaviour.trial):
            customer.trials += 1
            converted = yield from self._run_trial()
            customer.trials -= 1
            customer.changed_at = world.now
            if not converted:
                yield self._record(CANCELED, status="canceled"), SHORTEST
                return
            opening = self._convert()
        else:
            opening = self._create(others)
        yield from self._run_paid(opening)

    # -- phases --------------------------------------------------------------------------------------------------------

    def _run_trial(self) -> _Trial:
        """Yield the records of the trial. Returns whether the trial becomes paid."""
        world = self._world
        self._initial = dict(self._items)
        yield self._record(CREATED, status="trialing", items=self._item_list()), world.months(0.05, 0.2)
        if world.chance(self._behaviour.change):
            self._change()
            record = self._record(CHANGED, status="trialing", items=self._item_list())
            yield record, world.months(0.1, 0.3)
        return world.chance(self._behaviour.convert)

    def _convert(self) -> Emitted:
        stated = {}
        if self._world.chance(self._behaviour.explicit):
            self._initial = dict(self._items)
            stated = {"intent": {"items": self._item_list()}}
            # The intent stated here can differ from the one at creation, and later growth could be compared with either: so there is none.
            self._may_grow = False
        if self._world.chance(self._behaviour.change):
            self._change()
        self._sell(self._judged(self._initial))
        self._customer.paid[self._id] = self._items[_BASE].plan.product
        return self._record(CONVERTED, status="active", items=self._item_list(), **stated)

    def _create(self, others: set[str]) -> Emitted:
        """The first payment, without a trial. `others`: base products of the customer's other paid subscriptions."""
        stated = {}
        explicit = self._world.chance(self._behaviour.explicit)
        self._initial = dict(self._items)
        if explicit:
            stated = {"intent": {"items": self._item_list()}}
            self._change()
        sale = self._judged(self._initial)
        product = self._items[_BASE].plan.product
        if others and not explicit:
            further: Kind = "upsell" if product in others else "cross_sell"
            sale = replace(sale, kinds=frozenset((further,)), **{further: sale.final})
        self._sell(sale)
        self._customer.paid[self._id] = product
        return self._record(CREATED, status="active", items=self._item_list(), **stated)

    def _run_paid(self, opening: Emitted) -> Session:
        """Yield the records from the first payment to the end, each with the pause after it."""
        world, behaviour = self._world, self._behaviour
        record: Emitted | None = opening
        while True:
            months = _MONTHS[self._items[_BASE].plan.interval]
            planned: _Items | None = None
            passed = 0.0
            while passed < months:
                step = min(1.0, months - passed)
                passed += step
                yield record, world.months(0.8 * step, 1.2 * step)
                record = None
                if planned is not None:
                    continue
                if world.chance(behaviour.change * step):
                    record = self._changed()
                elif world.chance(behaviour.change * step / 8):
                    planned = self._plan()
                    record = self._record(SCHEDULED, status="active", items=self._item_list(planned))
            yield record, world.months(0.01, 0.05)
            if world.chance(1 - (1 - behaviour.churn) ** months):
                break
            if planned is not None and world.chance(0.5):
                yield self._changed(planned), SHORTEST
                planned = None
            record = self._renewed(planned)
            if world.chance(behaviour.subscription_refund):
                yield record, world.months(0.01, 0.1)
                record = None
                yield from self._refund()
                if world.chance(0.5):
                    break
        yield from self._wait_for_others()
        self._customer.paid.pop(self._id)
        self._customer.changed_at = world.now
        yield self._record(CANCELED, status="canceled"), world.months(0.01, 0.1)
        if world.chance(behaviour.subscription_refund):
            yield from self._refund()

    def _changed(self, items: _Items | None = None) -> Emitted:
        """A change to these items, or a random one, which in rare cases is also a change of currency."""
        world = self._world
        before = dict(self._items)
        if items is None:
            self._change()
        else:
            self._items = items
        world.truth.opportunity("subscription")
        if items is None and len(world.currencies) > 1 and world.chance(self._behaviour.foreign):
            self._currency = world.pick([each for each in world.currencies if each != self._currency])
            self._initial = dict(self._items)
            self._sell(PlantedSale(self._currency, "incomparable", rounded(self._mrr(self._items), self._currency)))
            return self._record(CHANGED, status="active", items=self._item_list())
        self._sell(self._judged(before))
        stated = {"previous": {"items": self._item_list(before)}} if world.chance(0.4) else {}
        return self._record(CHANGED, status="active", items=self._item_list(), **stated)

    def _renewed(self, planned: _Items | None) -> Emitted:
        """The renewal: with the announced items, with a change that was not announced, or unchanged."""
        world = self._world
        before = dict(self._items)
        if planned is not None:
            self._items = planned
        elif world.chance(self._behaviour.change / 4):
            self._change()
        world.truth.opportunity("subscription")
        self._sell(self._judged(before))
        stated = {"items": self._item_list()} if self._items != before or world.chance(0.5) else {}
        return self._record(RENEWED, status="active", **stated)

    def _refund(self) -> Session:
        """Refund the newest transaction, unless it is refunded already."""
        yield from self._wait_for_others()
        self._customer.refunded = True
        sale = self._newest
        if sale is not None and not sale.reversed:
            self._newest = sale.as_reversed()
            self._world.truth.restated("subscription", self._customer.name, sale, self._newest)
            yield self._record(REFUNDED), SHORTEST

    def _wait_for_others(self) -> Session:
        """Wait until this event cannot change how another, young subscription of the customer is judged."""
        while self._must_wait():
            yield None, self._customer.changed_at + self._world.max_delay - self._world.now + SHORTEST

    def _must_wait(self) -> bool:
        customer, world = self._customer, self._world
        return customer.newest_subscription != self._id and world.now <= customer.changed_at + world.max_delay

    # -- changes: each does one thing to the items, or nothing if they do not allow it -----------------------------------

    def _choose_items(self, others: set[str]) -> None:
        rng, catalogue = self._world.rng, self._world.catalogue
        products = catalogue.products
        if others and rng.random() < 0.6:
            products = tuple(product for product in products if product not in others)
        interval = rng.choices(_INTERVALS, _SHARES)[0]
        tiers = catalogue.tiers(rng.choice(products), interval)
        seats = 1 + int(12 * rng.random() ** 2)
        self._items[_BASE] = _Item(tiers[int(len(tiers) * rng.random() ** 2)], seats)
        if rng.random() < 0.3:
            self._add_addon()

    def _plan(self) -> _Items:
        """The items after a change that is announced now."""
        before = dict(self._items)
        self._change(announced=True)
        planned, self._items = self._items, before
        return planned

    def _change(self, *, announced: bool = False) -> None:
        rng = self._world.rng
        changes: tuple[Callable[[], None], ...]
        if self._may_grow and rng.random() < self._behaviour.grow:
            changes = (self._more_seats, self._more_seats, self._step_up, self._add_addon, self._grow_addon)
            base, first = self._items[_BASE], self._initial.get(_BASE, self._items[_BASE])
            shrunk = base.mrr(self._currency) < first.mrr(self._currency)
            if shrunk and base.plan.product == first.plan.product and rng.random() < 0.5:
                changes = (self._restore,)
        else:
            changes = (self._fewer_seats, self._fewer_seats, self._step_down, self._drop_addon)
            if not announced:
                changes = (*changes, self._switch_product, self._pay_yearly)
        rng.choice(changes)()

    def _more_seats(self) -> None:
        plan, seats = self._items[_BASE]
        self._items[_BASE] = _Item(plan, seats + self._world.rng.randint(1, 5))

    def _fewer_seats(self) -> None:
        plan, seats = self._items[_BASE]
        if seats > 1:
            self._items[_BASE] = _Item(plan, self._world.rng.randint(max(1, seats // 2), seats - 1))

    def _restore(self) -> None:
        self._items[_BASE] = self._initial[_BASE]

    def _step_up(self) -> None:
        self._step(_BASE, 1)

    def _step_down(self) -> None:
        self._step(_BASE, -1)

    def _step(self, slot: str, step: int) -> None:
        plan, quantity = self._items[slot]
        tiers = self._world.catalogue.tiers(plan.product, plan.interval)
        if 0 <= plan.tier + step < len(tiers):
            self._items[slot] = _Item(tiers[plan.tier + step], quantity)

    def _add_addon(self) -> None:
        rng, catalogue = self._world.rng, self._world.catalogue
        product = rng.choice(catalogue.addons)
        if product in self._initial:
            self._items.setdefault(product, self._initial[product])
        elif product not in self._items:
            tiers = catalogue.tiers(product, "month")
            self._items[product] = _Item(rng.choice(tiers[:2]), rng.randint(1, 3))

    def _grow_addon(self) -> None:
        rng = self._world.rng
        slots = [slot for slot in self._items if slot != _BASE]
        if not slots:
            return
        slot = rng.choice(slots)
        plan, quantity = self._items[slot]
        # A larger quantity of a free plan is no growth.
        if rng.random() < 0.5 or not plan.prices[self._currency]:
            self._step(slot, 1)
        else:
            self._items[slot] = _Item(plan, quantity + 1)

    def _drop_addon(self) -> None:
        slots = [slot for slot in self._items if slot != _BASE]
        if slots:
            del self._items[self._world.pick(slots)]

    def _switch_product(self) -> None:
        if self._must_wait():
            return
        rng, catalogue = self._world.rng, self._world.catalogue
        plan, seats = self._items[_BASE]
        tiers = catalogue.tiers(rng.choice(catalogue.products), plan.interval)
        self._items[_BASE] = _Item(tiers[min(plan.tier, len(tiers) - 1)], seats)
        if self._id in self._customer.paid:
            self._customer.paid[self._id] = self._items[_BASE].plan.product
            self._customer.changed_at = self._world.now

    def _pay_yearly(self) -> None:
        plan, seats = self._items[_BASE]
        if plan.interval == "month":
            self._items[_BASE] = _Item(self._world.catalogue.tiers(plan.product, "year")[plan.tier], seats)

    # -- bookkeeping ---------------------------------------------------------------------------------------------------

    def _sell(self, sale: PlantedSale) -> None:
        self._newest = sale
        self._world.truth.sold("subscription", self._customer.name, sale)

    def _judged(self, before: _Items) -> PlantedSale:
        """The transaction that changes the items from `before` to the current ones."""
        currency = self._currency
        amounts: dict[Kind, Decimal] = {}
        for slot, item in self._items.items():
            kind, amount = self._verdict(item, before.get(slot), self._initial.get(slot))
            if kind is not None:
                amounts[kind] = amounts.get(kind, _ZERO) + amount
        return PlantedSale(
            currency,
            "known",
            rounded(self._mrr(self._items), currency),
            frozenset(amounts),
            initial=rounded(self._mrr(before), currency),
            upsell=rounded(amounts.get("upsell", _ZERO), currency),
            cross_sell=rounded(amounts.get("cross_sell", _ZERO), currency),
            downsell=rounded(amounts.get("downsell", _ZERO), currency),
        )

    def _verdict(self, item: _Item, before: _Item | None, first: _Item | None) -> tuple[Kind | None, Decimal]:
        """Kind and amount (MRR, unrounded) of one slot. Prices are fixed, so MRR grows with the quantity."""
        mrr = item.mrr(self._currency)
        if before is None:
            return ("cross_sell", mrr) if first is None and mrr else (None, _ZERO)
        had = before.mrr(self._currency)
        if mrr < had:
            return "downsell", had - mrr
        most = had if first is None else max(had, first.mrr(self._currency))
        return ("upsell", mrr - most) if mrr > most else (None, _ZERO)

    def _mrr(self, items: _Items) -> Decimal:
        return sum((item.mrr(self._currency) for item in items.values()), _ZERO)

    # -- writing -------------------------------------------------------------------------------------------------------

    def _item_list(self, items: _Items | None = None) -> list[dict[str, Any]]:
        rng = self._world.rng
        with_roles = rng.random() < 0.7
        listed = []
        for slot, (plan, quantity) in (self._items if items is None else items).items():
            item: dict[str, Any] = {**plan.labels, "quantity": quantity, "price": plan.prices[self._currency]}
            if with_roles:
                item["role"] = "base" if slot == _BASE else "addon"
            # The seats of one plan may be split over two items.
            if with_roles and quantity > 1 and rng.random() < 0.03:
                listed.append({**item, "quantity": quantity - 1})
                item["quantity"] = 1
            listed.append(item)
        return listed
