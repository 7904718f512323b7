"""A paid subscription: plans, seats, add-ons, renewals, refunds, pauses, and its end.

Rules:

- It is always clear what a customer's other subscriptions are when one starts, also when events arrive late: within `World.max_delay` of a
  subscription's start, none of the others starts, ends, comes back or changes its base. No subscription starts or comes back during a trial.
- A shop's month can be shorter than the 24 hours in which a subscription continues what was canceled. Whether they are over depends on event time
  alone; a few customers stay away longer than that, whatever the month. In a short run those do not come back.
"""

from abc import abstractmethod
from collections.abc import Generator, Sequence
from decimal import Decimal
from fractions import Fraction
from functools import partial
from typing import Any, Final

from msgspec.structs import replace

from stream.simulate.changes import Changes
from stream.simulate.customers import SWAP, Canceled, Customer
from stream.simulate.items import BASE, Items, changed, item_list, kinds_of, seats, total, unjudged
from stream.simulate.journey import Journey
from stream.simulate.offers import FOR_SUBSCRIBERS, Offer, PlantedOffer, Verdict, day_of
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

_SHARES: Final = tuple(map(Decimal, ("0.1", "0.25", "0.3333", "0.5", "0.8", "1")))
_MOST_RISES: Final = 3

Decision = Generator[tuple[Emitted | None, int], None, bool]
"""A session that ends with a yes or a no."""
_Return = Generator[tuple[Emitted | None, int], None, Emitted | None]


class PaidSubscription(Journey):
    """One subscription from its first payment on. Subclasses start it."""

    topic = "subscription"

    def __init__(self, world: World, number: int, customer: Customer, channel: str) -> None:
        super().__init__(world, number, customer, channel)
        self._changes = Changes(world.rng, world.catalogue, self._behaviour)
        self._currency = customer.currency
        self._items: Items = {}
        self._initial: Items = {}
        """What the customer came for."""
        self._explicit = False
        """The platform stated what the customer came for."""
        self._began = self._left_at = world.now
        self._newest: PlantedSale | None = None
        """The newest transaction."""
        self._payment = Fraction(0)
        """Its MRR, exact."""
        self._returned = Decimal(0)
        """The share of it that was refunded."""
        self._offer: Offer | None = None
        """What was shown, and is not decided."""
        self._carried: tuple[str, Verdict, Fraction] | None = None
        """The offer that the newest transaction is the first to have: its id, the verdict on its item, and the MRR of that."""
        self._day = ""
        """The day of the newest transaction."""

    @property
    def currency(self) -> str:
        """Currency of the next event."""
        return self._currency

    @property
    def is_paid(self) -> bool:
        """Whether it is active and paid."""
        return self._id in self._customer.paid

    @property
    def items(self) -> Items:
        """Its items."""
        return self._items

    @abstractmethod
    def _move(self, number: int, *, from_it: bool) -> Session:
        """Another subscription of the same customer in its place; `from_it`: it says that it continues this one."""

    def _live(self, record: Emitted | None) -> Session:
        """Yield the records from the first payment on."""
        while record is not None:
            yield from self._stay(record)
            swaps = yield from self._leave()
            record = None if swaps else (yield from self._come_back())

    def _stay(self, opening: Emitted) -> Session:
        """Yield the records from a payment to the decision to leave, each with the pause after it."""
        world, behaviour = self._world, self._behaviour
        record: Emitted | None = opening
        while True:
            months = float(self._items[BASE].plan.months)
            planned: Items | None = None
            passed = 0.0
            while passed < months:
                step = min(1.0, months - passed)
                passed += step
                yield record, world.months(0.8 * step, 1.2 * step)
                record = None
                if world.chance(behaviour.offered / 3):
                    yield from self._show_offer()
                if planned is not None:
                    continue
                if world.chance(behaviour.change * step):
                    record = self._changed()
                elif world.chance(behaviour.change * step / 8):
                    planned = self._plan()
                    record = self._record(SCHEDULED, status="active", items=self._item_list(planned))
                elif step == 1 and world.chance(behaviour.noise):
                    record = self._unchanged()
            yield record, world.months(0.01, 0.05)
            if world.chance(1 - (1 - behaviour.churn) ** months):
                return
            if planned is not None and world.chance(0.5):
                yield self._changed(planned), SHORTEST
                planned = None
            record = self._renewed(planned)
            if world.chance(behaviour.subscription_refund):
                yield record, world.months(0.01, 0.1)
                record = None
                yield from self._refund()
                if world.chance(0.5):
                    return

    def _changed(self, items: Items | None = None) -> Emitted:
        """A change to these items, or a random one, which in rare cases is also a change of currency."""
        world = self._world
        before = dict(self._items)
        if items is None:
            self._change()
        else:
            self._items = items
        if items is None and len(world.currencies) > 1 and world.chance(self._behaviour.foreign):
            self._currency = world.pick([each for each in world.currencies if each != self._currency])
            self._initial, self._explicit = dict(self._items), False
            world.truth.opportunity("subscription", self._labels)
            final = rounded(total(self._items, self._currency), self._currency)
            self._sell(PlantedSale(self._currency, "incomparable", final))
            return self._record(CHANGED, status="active", items=self._item_list())
        stated: dict[str, Any] = {"previous": {"items": self._item_list(before)}} if world.chance(0.4) else {}
        sold = seats(before) != seats(self._items)
        if not self._explicit and world.chance(self._behaviour.explicit / 4):
            stated["intent"] = self._intend(before)
        if sold:
            world.truth.opportunity("subscription", self._labels)
            self._sell_change(before)
        return self._record(CHANGED, status="active", items=self._item_list(), **stated)

    def _unchanged(self) -> Emitted:
        """A changed event without a change, or one that only lifts the price."""
        if self._world.chance(0.2):
            self._raise_prices()
        return self._record(CHANGED, status="active", items=self._item_list())

    def _renewed(self, planned: Items | None) -> Emitted:
        """The renewal: with the announced items, with a change that was not announced, at a higher price, or unchanged."""
        world = self._world
        before = dict(self._items)
        if planned is not None:
            self._items = planned
        elif world.chance(self._behaviour.change / 4):
            self._change()
        elif world.chance(self._behaviour.rise):
            self._raise_prices()
        world.truth.opportunity("subscription", self._labels)
        self._sell_change(before)
        stated = {"items": self._item_list()} if self._items != before or world.chance(0.5) else {}
        return self._record(RENEWED, status="active", **stated)

    def _raise_prices(self) -> None:
        self._items = {
            slot: item._replace(rises=min(_MOST_RISES, item.rises + 1)) for slot, item in self._items.items()
        }

    def _refund(self) -> Session:
        """Refund the newest transaction, or a part of it, unless all of it is refunded already."""
        world = self._world
        for number in range(1, 2 + world.chance(0.25)):
            sale = self._newest
            if sale is None or sale.reversed:
                return
            refund: dict[str, Any] = {}
            share = Decimal(1)
            if world.chance(0.6):
                share = world.pick(_SHARES)
                refund = {"refund": {"share": share}}
                if world.chance(0.5):
                    refund["refund"]["refund_id"] = f"{self._id}-{self._events}-r{number}"
            self._returned = min(Decimal(1), self._returned + share)
            after = sale.as_reversed()
            if self._returned < 1:
                lost = rounded(self._payment * Fraction(self._returned), sale.currency)
                after = replace(sale, reversed_amount=min(sale.final, lost))
            self._newest = after
            world.truth.restated("subscription", self._labels, self._customer.name, sale, after)
            self._account()
            yield self._record(REFUNDED, **refund), world.months(0.01, 0.05)

    # -- leaving, and what follows ---------------------------------------------------------------------------------------

    def _leave(self) -> Decision:
        """Yield the records of the end. Returns whether the customer moves to another subscription."""
        world, customer, behaviour = self._world, self._customer, self._behaviour
        swaps = world.chance(behaviour.swap)
        old_first = world.chance(0.6)
        if swaps and not old_first:
            world.spawn(1, partial(self._move, from_it=True))
            yield None, world.months(0.02, 0.1)
        yield from self._wait_for_others()
        customer.paid.pop(self._id)
        customer.changed_at = self._left_at = world.now
        customer.canceled[self._id] = Canceled(world.now, self._currency, dict(self._items), dict(self._initial))
        if swaps and old_first:
            world.spawn(60, partial(self._move, from_it=False))
        if world.chance(0.7):
            yield self._record(CANCELED, status="canceled"), world.months(0.01, 0.1)
        else:
            yield self._emptied(), world.months(0.01, 0.1)
            if world.chance(0.3):
                # It has ended: this changes nothing.
                yield self._record(CANCELED, status="canceled"), world.months(0.01, 0.1)
        if world.chance(behaviour.subscription_refund):
            yield from self._refund()
        return swaps

    def _emptied(self) -> Emitted:
        """An end, or a pause, as some platforms report it: the subscription goes on without anything that costs."""
        if self._world.chance(0.3):
            return self._record(RENEWED, status="paused", items=[self._free_plan()])
        return self._record(CHANGED, status="paused", items=self._nothing())

    def _nothing(self) -> list[dict[str, Any]]:
        """Items without MRR."""
        draw = self._world.rng.random()
        if draw < 0.3:
            return []
        return [{**item, "quantity": 0} for item in self._item_list()] if draw < 0.6 else [self._free_plan()]

    def _free_plan(self) -> dict[str, Any]:
        plan = self._items[BASE].plan
        return {
            "plan_id": f"{plan.product}-paused",
            "product_id": plan.product,
            "role": "base",
            "quantity": 1,
            "price": Decimal(0),
            "interval": "month",
        }

    def _come_back(self) -> _Return:
        """Stay away for some time. Returns the record of the return; None if there is none."""
        world, customer = self._world, self._customer
        if not world.chance(self._behaviour.come_back):
            return None
        if world.chance(0.25):
            yield None, int(SWAP * world.rng.uniform(1.02, 3))
        elif world.chance(0.5):
            yield None, min(int(SWAP * world.rng.uniform(0.05, 0.9)), world.months(0.2, 1))
        else:
            yield None, world.months(0.2, 1)
        yield from self._wait_for_others()
        if customer.trials or len(customer.paid) >= MOST_SUBSCRIPTIONS:
            return None
        before = dict(self._items)
        if world.chance(0.45):
            self._change()
        record = self._return_late(before) if world.now - self._left_at > SWAP else self._return_soon(before)
        customer.canceled.pop(self._id, None)
        customer.paid[self._id] = self._items[BASE].plan.product
        customer.changed_at = world.now
        return record

    def _return_soon(self, before: Items) -> Emitted:
        """Within 24 hours: a change from what was canceled."""
        kind = self._kind_of_return()
        stated: dict[str, Any] = {}
        if kind == CREATED and self._world.chance(self._behaviour.explicit):
            stated["intent"] = self._intend(before)
        if kind != CHANGED or seats(before) != seats(self._items):
            self._world.truth.opportunity("subscription", self._labels)
            self._sell_change(before)
        if kind != RENEWED or self._items != before:
            stated["items"] = self._item_list()
        return self._record(kind, status="active", **stated)

    def _return_late(self, before: Items) -> Emitted:
        """A new beginning without verdict, also in another currency."""
        world = self._world
        kind = self._kind_of_return()
        stated: dict[str, Any] = {}
        is_foreign = len(world.currencies) > 1 and world.chance(self._behaviour.foreign)
        if is_foreign:
            self._currency = world.pick([each for each in world.currencies if each != self._currency])
        world.truth.opportunity("subscription", self._labels)
        if kind == CREATED and world.chance(self._behaviour.explicit):
            stated["intent"] = self._intend(before)
            self._sell_change(before)
        else:
            self._initial, self._explicit = dict(self._items), False
            self._sell(unjudged(self._currency, self._items))
        if kind != RENEWED or self._items != before or is_foreign:
            stated["items"] = self._item_list()
        return self._record(kind, status="active", **stated)

    def _kind_of_return(self) -> str:
        kinds = (CHANGED, RENEWED, CREATED)
        # It must be clear that another one was created before.
        return self._world.pick(kinds if self._world.now - self._began > self._world.max_delay else kinds[:2])

    def _wait_for_others(self) -> Session:
        """Wait until this event cannot change how another, young subscription of the customer is judged."""
        while self._must_wait():
            yield None, self._customer.changed_at + self._world.max_delay - self._world.now + SHORTEST

    def _must_wait(self) -> bool:
        customer, world = self._customer, self._world
        return customer.newest_subscription != self._id and world.now <= customer.changed_at + world.max_delay

    # -- bookkeeping ---------------------------------------------------------------------------------------------------

    def _intend(self, items: Items) -> dict[str, Any]:
        """State these items as what the customer came for."""
        self._initial, self._explicit = dict(items), True
        return {"items": self._item_list(items)}

    def _change(self, *, announced: bool = False) -> None:
        """Change the items at random."""
        customer = self._customer
        # With the bases of several subscriptions among the initial items, another base could stand for each of them.
        several = any(slot in self._world.catalogue.products for slot in self._initial)
        may_switch = not (announced or several or self._must_wait())
        self._changes.change(self._items, self._initial, self._currency, may_switch=may_switch)
        product = self._items[BASE].plan.product
        if customer.paid.get(self._id, product) != product:
            customer.paid[self._id] = product
            customer.changed_at = self._world.now

    def _plan(self) -> Items:
        """The items after a change that is announced now."""
        before = dict(self._items)
        self._change(announced=True)
        planned, self._items = self._items, before
        return planned

    def _sell(self, sale: PlantedSale) -> None:
        self._newest, self._payment, self._returned = sale, total(self._items, self._currency), Decimal(0)
        self._world.truth.sold("subscription", self._labels, self._customer.name, sale)
        self._carried, self._day = None, day_of(self._world.now)

    def _sell_change(self, before: Items) -> None:
        """Sell the items as a change from `before`; the customer may do so because of the offer that was shown."""
        offer, self._offer = self._offer, None
        slot = self._slot_for(offer, before) if offer is not None else None
        if offer is not None and slot is not None:
            self._items[slot] = self._items[slot]._replace(offer=offer.id)
        self._sell(changed(self._currency, before, self._items, self._initial))
        if offer is not None and slot is not None:
            self._carry(offer, slot, kinds_of(slot, self._currency, before, self._items, self._initial))

    def _slot_for(self, offer: Offer, before: Items) -> str | None:
        """The item to which an offer leads; None: to none."""
        world, behaviour, items = self._world, self._behaviour, self._items
        fresh = [slot for slot in items if slot not in before or seats(before)[slot] != seats(items)[slot]]
        likely = 3 * behaviour.accept * offer.appeal if fresh else behaviour.accept_anyway
        slots = [
            slot
            for slot in fresh or items
            if items[slot].price(self._currency)
            # Which of two verdicts on one item counts for the offer would be a matter of taste.
            and len(kinds_of(slot, self._currency, before, items, self._initial)) < 2
        ]
        return world.pick(slots) if slots and world.chance(min(1, likely)) else None

    def _carry(self, offer: Offer, slot: str, kinds: Sequence[Kind]) -> None:
        """Count that the transaction that was just sold is the first to have this offer, on the item in this slot."""
        self._carried = offer.id, kinds[0] if kinds else "nothing", self._items[slot].mrr(self._currency)
        self._account()

    def _account(self) -> None:
        """Count the offer of the newest transaction as it is now, in the place of what was counted before."""
        if self._carried is None:
            return
        offer, verdict, mrr = self._carried
        kept = rounded(mrr * (1 - Fraction(self._returned)), self._currency)
        planted = PlantedOffer(self._currency, verdict, rounded(mrr, self._currency), kept, self._returned == 1)
        self._offers.accept(self._day, {offer: planted})

    def _show_offer(self) -> Session:
        """Show an offer, which the customer may decline."""
        world = self._world
        offer = self._offers.pick(world.rng, FOR_SUBSCRIBERS)
        if offer is None:
            return
        slot = self._slot_of(offer)
        yield self._show(offer, slot), SHORTEST
        if world.chance(0.2):
            yield self._show(offer, world.pick(offer.slots)), SHORTEST
        if world.chance(self._behaviour.decline):
            yield self._decline(offer, slot), SHORTEST
        else:
            self._offer = offer

    def _item_list(self, items: Items | None = None) -> list[dict[str, Any]]:
        return item_list(self._items if items is None else items, self._currency, self._world.rng)
