"""The items of a subscription, and the transaction that the shop plants when they change.

Rules: every item has its own slot: the base, or the product of an add-on. So an item is compared with what was in its slot before, and at the
start. Amounts are monthly recurring revenue (MRR), exact.
"""

from collections.abc import Container, Mapping, Sequence
from fractions import Fraction
from random import Random
from typing import Any, Final, NamedTuple

from stream.simulate.catalogue import Plan
from stream.simulate.truth import Kind, PlantedSale, with_money

BASE: Final = "base"
"""The slot of the base."""


class Item(NamedTuple):
    """A number of seats of a plan."""

    plan: Plan
    quantity: int
    rises: int = 0
    """How often the customer's price rose."""
    offer: str | None = None
    """The offer that led to it."""

    def price(self, currency: str) -> Any:
        """Unit price per interval."""
        return self.plan.price(self.quantity, self.rises, currency)

    def mrr(self, currency: str) -> Fraction:
        """MRR of all seats."""
        return Fraction(self.price(currency)) * self.quantity / self.plan.months


Items = dict[str, Item]
"""Items by slot."""


def total(items: Mapping[str, Item], currency: str) -> Fraction:
    """MRR of all items."""
    return sum((item.mrr(currency) for item in items.values()), Fraction(0))


def seats(items: Mapping[str, Item]) -> dict[str, tuple[str, int]]:
    """Plans and quantities, without prices."""
    return {slot: (item.plan.labels["plan_id"], item.quantity) for slot, item in items.items()}


def without_offers(items: Items) -> Items:
    """The same items, as another subscription has them."""
    return {slot: item._replace(offer=None) for slot, item in items.items()}


def changed(currency: str, before: Items, after: Items, initial: Items) -> PlantedSale:
    """The transaction of a change; `initial` is what the customer once came for."""
    found = [(kind, amount) for _, kind, amount in _judged(currency, before, after, initial)]
    return PlantedSale.judged(currency, total(before, currency), total(after, currency), found)


def kinds_of(slot: str, currency: str, before: Items, after: Items, initial: Items) -> list[Kind]:
    """The kinds of the verdicts that a change has on the item in a slot."""
    found = [(kind, amount) for of, kind, amount in _judged(currency, before, after, initial) if of == slot]
    return [kind for kind, _ in with_money(found, currency)]


def _judged(currency: str, before: Items, after: Items, initial: Items) -> list[tuple[str | None, Kind, Fraction]]:
    """Slot, kind and amount; what was removed has no slot."""
    slots: list[str | None] = []
    found: list[tuple[Kind, Fraction]] = []
    for slot, item in after.items():
        verdicts = _verdicts(item, before.get(slot), initial.get(slot), currency)
        found += verdicts
        slots += [slot] * len(verdicts)
    gone = sum((item.mrr(currency) for slot, item in before.items() if slot not in after), Fraction(0))
    for kind in ("upsell", "cross_sell", "restored"):
        places = [place for place, verdict in enumerate(found) if verdict[0] == kind]
        for place in sorted(places, key=lambda place: found[place][1], reverse=True):
            taken = min(gone, found[place][1])
            gone -= taken
            found[place] = found[place][0], found[place][1] - taken
    found.append(("downsell", gone))
    return [(slot, kind, amount) for slot, (kind, amount) in zip((*slots, None), found, strict=True)]


def unjudged(currency: str, items: Items) -> PlantedSale:
    """A transaction without verdict, of a customer who bought what they came for."""
    return PlantedSale.judged(currency, total(items, currency), total(items, currency), ())


def kind_of_additional(items: Items, others: Container[str]) -> Kind:
    """The verdict on another subscription of a customer who has these other products."""
    return "upsell" if items[BASE].plan.product in others else "cross_sell"


def additional(currency: str, items: Items, kind: Kind) -> PlantedSale:
    """The transaction of another subscription."""
    return PlantedSale.judged(currency, Fraction(0), total(items, currency), [(kind, total(items, currency))])


def _verdicts(item: Item, before: Item | None, first: Item | None, currency: str) -> list[tuple[Kind, Fraction]]:
    """What is lost, or what is new and what is restored, in one slot."""
    mrr = item.mrr(currency)
    unit = mrr / item.quantity
    change = mrr if before is None else mrr - before.mrr(currency)
    if before is not None and before.plan is item.plan:
        more = item.quantity - before.quantity
        if more > 0 and change > 0:
            change = min(change, more * unit)
        elif more < 0 and change < 0:
            change = max(change, more * unit)
        else:
            # A moved price is no verdict, nor are seats against which the price moved.
            return []
    if change < 0:
        return [("downsell", -change)]
    came_for = Fraction(0)
    if first is not None:
        came_for = first.quantity * unit if first.plan is item.plan else first.mrr(currency)
    new = max(Fraction(0), mrr - max(mrr - change, came_for))
    return [("cross_sell" if before is None and first is None else "upsell", new), ("restored", change - new)]


def item_list(items: Items, currency: str, rng: Random) -> list[dict[str, Any]]:
    """The items as an event shows them."""
    # Without roles, the item with the highest MRR is the base.
    dearest = max((item.mrr(currency) for item in items.values()), default=0)
    with_roles = rng.random() < 0.7 or items[BASE].mrr(currency) < dearest
    listed = []
    for slot, item in items.items():
        quantity = item.quantity
        shown: dict[str, Any] = {**item.plan.labels, "quantity": quantity, "price": item.price(currency)}
        if item.offer is not None:
            shown["offer_id"] = item.offer
        if with_roles:
            shown["role"] = "base" if slot == BASE else "addon"
        # The seats of one plan may be split over two items.
        if with_roles and quantity > 1 and rng.random() < 0.03:
            listed.append({**shown, "quantity": quantity - 1})
            shown["quantity"] = 1
        listed.append(shown)
    return listed


def together(canceled: Sequence[tuple[Items, Items]], base: str) -> tuple[Items, Items] | None:
    """Several subscriptions, each with its items and what the customer once came for, as one with this base product.

    None where it would not be clear which item stands for which: they share a product, or one of them changed its base.
    """
    seen: set[str] = set()
    for current, initial in canceled:
        products = {item.plan.product for item in (*current.values(), *initial.values())}
        if seen & products or current[BASE].plan.product != initial[BASE].plan.product:
            return None
        seen |= products
    merged: tuple[Items, Items] = {}, {}
    for both in canceled:
        for items, result in zip(both, merged, strict=True):
            for slot, item in items.items():
                result[slot if slot != BASE or item.plan.product == base else item.plan.product] = item
    return merged
