"""A subscription's life: trial, plans, seats, add-ons, renewals, and its end.

Rules: a subscription has one base and at most one item of each add-on product, so every item has a slot of its own and is compared
with what was in that slot before and at the start. Prices of plans do not change. An add-on that was there at the start comes back, if
at all, as it was. Whether a customer already pays for another subscription is never a matter of moments: within `World.margin` of a
subscription's start none of the customer's others starts, ends, changes its base or is refunded, and nobody starts one beside a running
trial or after a refund.
"""

from collections.abc import Callable, Generator
from decimal import Decimal
from typing import Any, Final, NamedTuple

from msgspec.structs import replace

from stream.simulate.catalogue import Interval, Plan
from stream.simulate.customers import Customer
from stream.simulate.record import Emitted, rounded
from stream.simulate.truth import Kind, Sale, with_any
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
"""By slot: `base`, or an add-on's product."""


_Trial = Generator[tuple[Emitted | None, int], None, bool]


def may_subscribe(customer: Customer, now: int, margin: int) -> bool:
    """Whether the customer can start a subscription now without leaving open what it is to their others."""
    return (
        not customer.unsure
        and not customer.trials
        and len(customer.paid) < MOST_SUBSCRIPTIONS
        and (not customer.touched or now - customer.touched > margin)
    )


class Subscription:
    """One subscription; begin it only where `may_subscribe`."""

    def __init__(self, world: World, number: int, customer: Customer, channel: str) -> None:
        self._world = world
        self._id = f"subscription-{world.run}-{number:07d}"
        self._customer = customer
        self._channel = channel
        self._behaviour = world.behaviour_of(customer.segment)
        self._currency = customer.currency
        self._items: _Items = {}
        self._initial: _Items = {}
        self._grows = True
        self._events = 0
        self._newest: Sale | None = None

    def run(self) -> Session:
        """The subscription's records."""
        world, customer = self._world, self._customer
        others = set(customer.paid.values())
        self._choose(others)
        customer.touched = world.now
        customer.newest = self._id
        world.truth.opportunity("subscription")
        if not others and world.chance(self._behaviour.trial):
            customer.trials += 1
            converted = yield from self._try()
            customer.trials -= 1
            customer.touched = world.now
            if not converted:
                yield self._record(CANCELED, status="canceled"), SHORTEST
                return
            opening = self._convert()
        else:
            opening = self._create(others)
        yield from self._live(opening)

    # -- phases --------------------------------------------------------------------------------------------------------

    def _try(self) -> _Trial:
        """The trial up to the moment at which it becomes paid (True) or ends."""
        world = self._world
        self._initial = dict(self._items)
        yield self._record(CREATED, status="trialing", items=self._written()), world.months(0.05, 0.2)
        if world.chance(self._behaviour.change):
            self._change()
            record = self._record(CHANGED, status="trialing", items=self._written())
            yield record, world.months(0.1, 0.3)
        return world.chance(self._behaviour.convert)

    def _convert(self) -> Emitted:
        stated = {}
        if self._world.chance(self._behaviour.explicit):
            self._initial = dict(self._items)
            stated = {"intent": {"items": self._written()}}
            # Two starting points, as created and as stated, may be read either way by what grows later: nothing does.
            self._grows = False
        if self._world.chance(self._behaviour.change):
            self._change()
        self._sell(self._judged(self._initial))
        self._customer.paid[self._id] = self._items[_BASE].plan.product
        return self._record(CONVERTED, status="active", items=self._written(), **stated)

    def _create(self, others: set[str]) -> Emitted:
        """The first payment without a trial; `others` are the base products that the customer already pays for."""
        stated = {}
        explicit = self._world.chance(self._behaviour.explicit)
        self._initial = dict(self._items)
        if explicit:
            stated = {"intent": {"items": self._written()}}
            self._change()
        sale = self._judged(self._initial)
        product = self._items[_BASE].plan.product
        if others and not explicit:
            further: Kind = "upsell" if product in others else "cross_sell"
            sale = replace(sale, kinds=frozenset((further,)), **{further: sale.final})
        self._sell(sale)
        self._customer.paid[self._id] = product
        return self._record(CREATED, status="active", items=self._written(), **stated)

    def _live(self, opening: Emitted) -> Session:
        """From the first payment to the end. A record is yielded together with the wait for what comes after it."""
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
                    record = self._record(SCHEDULED, status="active", items=self._written(planned))
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
        yield from self._calm()
        self._customer.paid.pop(self._id)
        self._customer.touched = world.now
        yield self._record(CANCELED, status="canceled"), world.months(0.01, 0.1)
        if world.chance(behaviour.subscription_refund):
            yield from self._refund()

    def _changed(self, items: _Items | None = None) -> Emitted:
        """A change of items, to the given ones or as it comes, and in rare cases of currency."""
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
            self._sell(Sale(self._currency, "incomparable", rounded(self._mrr(self._items), self._currency)))
            return self._record(CHANGED, status="active", items=self._written())
        self._sell(self._judged(before))
        stated = {"previous": {"items": self._written(before)}} if world.chance(0.4) else {}
        return self._record(CHANGED, status="active", items=self._written(), **stated)

    def _renewed(self, planned: _Items | None) -> Emitted:
        """The next interval begins, with what was announced, with a change that was not, or as it was."""
        world = self._world
        before = dict(self._items)
        if planned is not None:
            self._items = planned
        elif world.chance(self._behaviour.change / 4):
            self._change()
        world.truth.opportunity("subscription")
        self._sell(self._judged(before))
        stated = {"items": self._written()} if self._items != before or world.chance(0.5) else {}
        return self._record(RENEWED, status="active", **stated)

    def _refund(self) -> Session:
        """The newest transaction is given back, unless it was already."""
        yield from self._calm()
        self._customer.unsure = True
        sale = self._newest
        if sale is not None and not sale.undone:
            self._newest = replace(sale, lost=sale.final, undone=True, undone_kinds=with_any(sale.kinds))
            self._world.truth.restated("subscription", self._customer.name, sale, self._newest)
            yield self._record(REFUNDED), SHORTEST

    def _calm(self) -> Session:
        """Wait while another subscription of the customer is so young that what this one does could be read into it."""
        while self._must_wait():
            yield None, self._customer.touched + self._world.margin - self._world.now + SHORTEST

    def _must_wait(self) -> bool:
        customer, world = self._customer, self._world
        return customer.newest != self._id and world.now <= customer.touched + world.margin

    # -- changes: each does one thing to the items, or nothing where they do not allow it --------------------------------

    def _choose(self, others: set[str]) -> None:
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
        """What the items will be after a change that is announced now."""
        before = dict(self._items)
        self._change(announced=True)
        planned, self._items = self._items, before
        return planned

    def _change(self, *, announced: bool = False) -> None:
        rng = self._world.rng
        ways: tuple[Callable[[], None], ...]
        if self._grows and rng.random() < self._behaviour.grow:
            ways = (self._more_seats, self._more_seats, self._step_up, self._add_addon, self._grow_addon)
            base, first = self._items[_BASE], self._initial.get(_BASE, self._items[_BASE])
            shrunk = base.mrr(self._currency) < first.mrr(self._currency)
            if shrunk and base.plan.product == first.plan.product and rng.random() < 0.5:
                ways = (self._restore,)
        else:
            ways = (self._fewer_seats, self._fewer_seats, self._step_down, self._drop_addon)
            if not announced:
                ways = (*ways, self._switch_product, self._pay_yearly)
        rng.choice(ways)()

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
        # More of what is free is no more.
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
            self._customer.touched = self._world.now

    def _pay_yearly(self) -> None:
        plan, seats = self._items[_BASE]
        if plan.interval == "month":
            self._items[_BASE] = _Item(self._world.catalogue.tiers(plan.product, "year")[plan.tier], seats)

    # -- bookkeeping ---------------------------------------------------------------------------------------------------

    def _sell(self, sale: Sale) -> None:
        self._newest = sale
        self._world.truth.sold("subscription", self._customer.name, sale)

    def _judged(self, before: _Items) -> Sale:
        """The transaction that leads from the items before it to those now."""
        currency = self._currency
        amounts: dict[Kind, Decimal] = {}
        for slot, item in self._items.items():
            kind, amount = self._verdict(item, before.get(slot), self._initial.get(slot))
            if kind is not None:
                amounts[kind] = amounts.get(kind, _ZERO) + amount
        return Sale(
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
        """Kind and amount (MRR, unrounded) of what became of a slot; prices being fixed, MRR grows with quantity."""
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

    def _written(self, items: _Items | None = None) -> list[dict[str, Any]]:
        rng = self._world.rng
        named = rng.random() < 0.7
        written = []
        for slot, (plan, quantity) in (self._items if items is None else items).items():
            item: dict[str, Any] = {**plan.labels, "quantity": quantity, "price": plan.prices[self._currency]}
            if named:
                item["role"] = "base" if slot == _BASE else "addon"
            # Seats of one plan may come in two items.
            if named and quantity > 1 and rng.random() < 0.03:
                written.append({**item, "quantity": quantity - 1})
                item["quantity"] = 1
            written.append(item)
        return written

    def _record(self, kind: str, **rest: Any) -> Emitted:
        self._events += 1
        customer = self._customer
        data: dict[str, Any] = {**customer.labels, "subscription_id": self._id, "channel": self._channel}
        if customer.segment is not None:
            data["segment"] = customer.segment
        data["currency"] = self._currency
        data |= rest
        return self._world.record(
            "subscription",
            kind,
            entity=self._id,
            number=self._events,
            customer=customer.name,
            channel=self._channel,
            data=data,
        )
