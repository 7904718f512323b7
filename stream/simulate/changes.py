"""What a customer does to the items of a subscription.

Rules: each change does one thing to the items, or nothing if they do not allow it. Nothing here knows of verdicts.
"""

from collections.abc import Callable
from random import Random

from stream.simulate.behaviour import Behaviour
from stream.simulate.catalogue import Catalogue
from stream.simulate.items import BASE, Item, Items, seats

_TRIES = 3


class Changes:
    """Changes to the items of one subscription, in place."""

    def __init__(self, rng: Random, catalogue: Catalogue, behaviour: Behaviour) -> None:
        self._rng = rng
        self._catalogue = catalogue
        self._behaviour = behaviour
        self._items: Items = {}
        self._initial: Items = {}
        self._currency = ""

    def change(self, items: Items, initial: Items, currency: str, *, may_switch: bool) -> None:
        """One random change. `may_switch`: it may be another base product, or another interval."""
        self._items, self._initial, self._currency = items, initial, currency
        before = seats(items)
        for _ in range(_TRIES):
            self._rng.choice(self._possible(may_switch=may_switch))()
            if seats(items) != before:
                return

    def add_addon(self, items: Items, initial: Items) -> None:
        """Another add-on, or one of the start again."""
        rng, catalogue = self._rng, self._catalogue
        product = rng.choice(catalogue.addons)
        if product in items:
            return
        if product in initial and rng.random() < 0.5:
            items[product] = initial[product]
        else:
            items[product] = Item(rng.choice(catalogue.tiers(product, "month")[:2]), rng.randint(1, 3))

    def _possible(self, *, may_switch: bool) -> tuple[Callable[[], None], ...]:
        rng = self._rng
        if rng.random() < self._behaviour.grow:
            base, first = self._items[BASE], self._initial.get(BASE, self._items[BASE])
            shrunk = base.mrr(self._currency) < first.mrr(self._currency)
            if shrunk and base.plan.product == first.plan.product and rng.random() < 0.5:
                return (self._restore,)
            return (
                self._more_seats, self._more_seats, self._step_up, self._add_addon, self._grow_addon, self._trade_addon,
            )  # fmt: skip
        changes = (self._fewer_seats, self._fewer_seats, self._step_down, self._drop_addon)
        return (*changes, self._switch_product, self._pay_yearly) if may_switch else changes

    def _more_seats(self) -> None:
        base = self._items[BASE]
        self._items[BASE] = base._replace(quantity=base.quantity + self._rng.randint(1, 5))

    def _fewer_seats(self) -> None:
        base = self._items[BASE]
        if base.quantity > 1:
            fewer = self._rng.randint(max(1, base.quantity // 2), base.quantity - 1)
            self._items[BASE] = base._replace(quantity=fewer)

    def _restore(self) -> None:
        self._items[BASE] = self._initial[BASE]

    def _step_up(self) -> None:
        self._step(BASE, self._rng.choice((1, 1, 2)))

    def _step_down(self) -> None:
        self._step(BASE, self._rng.choice((-1, -1, -2)))

    def _step(self, slot: str, step: int) -> None:
        item = self._items[slot]
        tiers = self._catalogue.tiers(item.plan.product, item.plan.interval)
        tier = min(max(0, item.plan.tier + step), len(tiers) - 1)
        self._items[slot] = item._replace(plan=tiers[tier])

    def _add_addon(self) -> None:
        self.add_addon(self._items, self._initial)

    def _grow_addon(self) -> None:
        slot = self._some_addon()
        if slot is not None:
            item = self._items[slot]
            # A larger quantity of a free plan is no growth.
            if self._rng.random() < 0.5 or not item.price(self._currency):
                self._step(slot, 1)
            else:
                self._items[slot] = item._replace(quantity=item.quantity + 1)

    def _trade_addon(self) -> None:
        """An add-on goes, and something else comes."""
        slot = self._some_addon()
        if slot is not None:
            self._rng.choice((self._add_addon, self._more_seats, self._step_up))()
            del self._items[slot]

    def _drop_addon(self) -> None:
        slot = self._some_addon()
        if slot is not None:
            del self._items[slot]

    def _some_addon(self) -> str | None:
        slots = [slot for slot in self._items if slot != BASE]
        return self._rng.choice(slots) if slots else None

    def _switch_product(self) -> None:
        catalogue, base = self._catalogue, self._items[BASE]
        tiers = catalogue.tiers(self._rng.choice(catalogue.products), base.plan.interval)
        self._items[BASE] = base._replace(plan=tiers[min(base.plan.tier, len(tiers) - 1)])

    def _pay_yearly(self) -> None:
        base = self._items[BASE]
        if base.plan.interval == "month":
            self._items[BASE] = base._replace(plan=self._catalogue.tiers(base.plan.product, "year")[base.plan.tier])
