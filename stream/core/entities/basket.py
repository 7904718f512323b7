"""What a transaction says about products: what was intended, what was bought, and what led to what.

Rules: a product is a product_id, else a sku, else a variant_id; of a subscription's item it is the plan. An id of more than `LONGEST_ID` characters counts as
`OTHER`. Of a cart the lines of highest net total on either side make pairs. Amounts are minor units, rounded for each product, path and pair.
"""

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from stream.core.entities.tally import ALL, Tallies, Tally, book
from stream.core.judging.cart import LONGEST_ID, CartLine, LineVerdict, product_of
from stream.core.judging.items import ItemVerdict, PlanTotal
from stream.core.labels import OTHER
from stream.core.money import Exact, rounded

MOST: Final = 8
"""Lines on either side of a cart that make pairs."""
RULES: Final = 1
"""Version of these rules. What an older version has counted of a transaction stays as it is."""
PATHS, PAIRS, PRODUCTS = "p", "q", "b"
"""Sorts of day records (`core.counting.daily`)."""
SORTS: Final = (PRODUCTS, PATHS, PAIRS)
BOUNDS: Final = {PATHS: 1024, PAIRS: 1024, PRODUCTS: 1024}
"""Keys of a day that have a place, by sort."""


class Path(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """An upsell: from a product of the intent to the one that was bought."""

    source: str
    target: str
    reason: str
    amount: int
    reversed: bool = False


class Cross(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A product that is a cross-sell."""

    product: str
    amount: int
    pairs: bool
    """It is among the `MOST` lines that make pairs."""
    reversed: bool = False


class Basket(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """The products of one transaction."""

    known: bool
    """The intent is known; else `intent`, `paths` and `crosses` are empty."""
    bought: tuple[tuple[str, int], ...] = ()
    """Distinct products with their net total, or MRR."""
    reversed: tuple[str, ...] = ()
    """Those of `bought` of which nothing is left."""
    intent: tuple[str, ...] = ()
    """Distinct products of the intent."""
    paired: int = 0
    """So many of them, the first ones, make pairs; 0 without a cross-sell."""
    paths: tuple[Path, ...] = ()
    crosses: tuple[Cross, ...] = ()


EMPTY: Final = Basket(known=False)


def of_cart(
    intent: Sequence[CartLine] | None,
    final: Sequence[CartLine],
    left: Sequence[CartLine] | None,
    verdicts: Sequence[tuple[LineVerdict, bool]],
    places: int,
) -> Basket:
    """The basket of a cart.

    `intent` is None where it is not known. `left`: the final lines with the units that refunds leave, in the same order; None: all of them. Each verdict
    comes with whether it was reversed.
    """
    nets: dict[str, Exact] = {}
    for line in final:
        if net := line.net:
            name = line.product
            nets[name] = nets[name] + net if name in nets else net
    bought = tuple([(name, rounded(net, places)) for name, net in nets.items()])
    gone: tuple[str, ...] = ()
    if left is not None:
        kept = {line.product for line in left if line.net}
        gone = tuple([name for name in nets if name not in kept])
    if intent is None:
        return Basket(False, bought, gone)
    if intent is final:
        return Basket(True, bought, gone, tuple(nets))
    paths: dict[tuple[str, str, str], tuple[Exact, bool]] = {}
    crosses: dict[str, tuple[Exact, bool]] = {}
    for verdict, reversed_ in verdicts:
        target = product_of(verdict.final)
        if verdict.kind == "cross_sell":
            amount, was_reversed = crosses.get(target, (0, True))
            crosses[target] = amount + verdict.amount, was_reversed and reversed_
        elif verdict.kind == "upsell" and verdict.intent is not None:
            path = product_of(verdict.intent), target, verdict.reason
            amount, was_reversed = paths.get(path, (0, True))
            paths[path] = amount + verdict.amount, was_reversed and reversed_
    if not crosses:
        wanted = dict.fromkeys([line.product for line in intent if line.net])
        return Basket(True, bought, gone, tuple(wanted), 0, _paths(paths, places))
    names, paired = _highest(intent)
    others, most = _highest(final)
    pairing = set(others[:most])
    return Basket(
        True,
        bought,
        gone,
        tuple(names),
        paired,
        _paths(paths, places),
        tuple(
            [
                Cross(name, rounded(amount, places), name in pairing, reversed_)
                for name, (amount, reversed_) in crosses.items()
            ]
        ),
    )


def _paths(paths: Mapping[tuple[str, str, str], tuple[Exact, bool]], places: int) -> tuple[Path, ...]:
    return tuple([Path(*path, rounded(amount, places), reversed_) for path, (amount, reversed_) in paths.items()])


def _highest(lines: Sequence[CartLine]) -> tuple[list[str], int]:
    """The distinct products of a cart, and how many of them the `MOST` lines of highest net total have: the first ones."""
    own = [line for line in lines if line.net]
    if len(own) <= MOST:
        distinct = list(dict.fromkeys([line.product for line in own]))
        return distinct, len(distinct)
    own.sort(key=_net, reverse=True)
    names: dict[str, None] = {}
    most = 0
    for at, line in enumerate(own):
        names[line.product] = None
        if at < MOST:
            most = len(names)
    return list(names), most


def _net(line: CartLine) -> Exact:
    return line.net


def of_items(
    intent: Sequence[PlanTotal] | None, items: Sequence[PlanTotal], verdicts: Sequence[ItemVerdict], places: int
) -> Basket:
    """The basket of a subscription's items; `intent` as of `of_cart`."""
    bought: dict[str, Exact] = {}
    for item in items:
        if item.mrr:
            bought[_plan(item)] = bought.get(_plan(item), 0) + item.mrr
    amounts = tuple([(name, rounded(mrr, places)) for name, mrr in bought.items()])
    if intent is None:
        return Basket(False, amounts)
    if not verdicts:
        return Basket(True, amounts, (), tuple(dict.fromkeys([_plan(item) for item in intent if item.mrr])))
    wanted = [_plan(item) for item in sorted(intent, key=_mrr, reverse=True) if item.mrr]
    crosses: dict[str, Exact] = {}
    paths: dict[tuple[str, str, str], tuple[Exact, bool]] = {}
    for verdict in verdicts:
        if verdict.item is None:
            continue
        target = _plan(verdict.item)
        if verdict.kind == "cross_sell":
            crosses[target] = crosses.get(target, 0) + verdict.amount
        elif verdict.kind == "upsell" and verdict.before is not None:
            path = _plan(verdict.before), target, verdict.reason
            paths[path] = paths.get(path, (0, False))[0] + verdict.amount, False
    highest = {_plan(item) for item in sorted(items, key=_mrr, reverse=True)[:MOST]}
    return Basket(
        True,
        amounts,
        (),
        tuple(dict.fromkeys(wanted)),
        len(set(wanted[:MOST])) if crosses else 0,
        _paths(paths, places),
        tuple([Cross(name, rounded(amount, places), name in highest) for name, amount in crosses.items()]),
    )


def _plan(item: PlanTotal) -> str:
    return item.plan_id if len(item.plan_id) <= LONGEST_ID else OTHER


def _mrr(item: PlanTotal) -> Exact:
    return item.mrr


def reversed_whole(basket: Basket) -> Basket:
    """The same basket after everything was given back."""
    return Basket(
        basket.known,
        basket.bought,
        tuple([name for name, _ in basket.bought]),
        basket.intent,
        basket.paired,
        tuple([msgspec.structs.replace(path, reversed=True) for path in basket.paths]),
        tuple([msgspec.structs.replace(cross, reversed=True) for cross in basket.crosses]),
    )


def count(basket: Basket, places: Sequence[Tallies], sign: int, currency: str, *, lost: bool) -> None:
    """Count the products of a transaction (sign 1), or take them away (-1), in the places of `SORTS`.

    Counts of PRODUCTS: bought, reversed, in the intent, a cross-sell; under `ALL` transactions, reversed, with known intent. Counts of PATHS and PAIRS:
    transactions, reversed. `currency` is empty where amounts are in no figure; `lost`: the whole transaction was reversed.
    """
    products, paths, pairs = places
    # As `book`, in place: every line of every sale comes by here.
    tally = products.get(ALL)
    if tally is None:
        tally = products[ALL] = Tally([0, 0, 0], {})
    counts = tally.counts
    counts[0] += sign
    if lost:
        counts[1] += sign
    if basket.known:
        counts[2] += sign
    for name, amount in basket.bought:
        tally = products.get((name,))
        if tally is None:
            tally = products[name,] = Tally([0, 0, 0, 0], {})
        tally.counts[0] += sign
        if currency:
            money = tally.amounts.get(currency)
            if money is None:
                tally.amounts[currency] = [sign * amount]
            else:
                money[0] += sign * amount
    for name in basket.intent:
        tally = products.get((name,))
        if tally is None:
            tally = products[name,] = Tally([0, 0, 0, 0], {})
        tally.counts[2] += sign
    for name in basket.reversed:
        book(products, (name,), sign, (0, 1, 0, 0))
    for path in basket.paths:
        book(paths, (path.source, path.target, path.reason), sign, (1, path.reversed), currency, (path.amount,))
    for cross in basket.crosses:
        target = cross.product
        book(products, (target,), sign, (0, 0, 0, 1))
        if cross.pairs:
            counted, amounts = (1, cross.reversed), (cross.amount,)
            for source in basket.intent[: basket.paired]:
                book(pairs, (source, target), sign, counted, currency, amounts)
