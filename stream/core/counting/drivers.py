"""Drivers: what sells, over some days. Upsell paths, pairs of what was intended and what was bought besides, products.

    support    n(A, B) / N
    confidence n(A, B) / n(A)
    lift       n(A, B) · N / (n(A) · n(B))

N are the transactions with known intent, n(A) those with A in the intent, n(B) those with B as a cross-sell. Rules: everything is a sum over shards and days.
A ratio without a denominator has no value; neither has one of a pair or a product that has no place on some day of some shard (it is counted as `OVERFLOW`
there).
"""

from collections.abc import Iterable, Sequence
from fractions import Fraction
from typing import Final, Literal, get_args

import msgspec

from stream.core.counting.days import Days, Total
from stream.core.counting.figures import DECIMALS
from stream.core.entities.basket import PAIRS, PATHS, PRODUCTS
from stream.core.entities.tally import ALL, OVERFLOW, Key, Tally
from stream.core.event import Journey
from stream.core.money import exponent, plain

Kind = Literal["paths", "pairs", "products"]
KINDS: Final[tuple[Kind, ...]] = get_args(Kind)
SORTS: Final = {"paths": PATHS, "pairs": PAIRS, "products": PRODUCTS}
"""Sort of day records of each kind."""


class Counted(msgspec.Struct, frozen=True):
    """Transactions of one row."""

    transactions: int
    reversed: int
    amounts: dict[str, str]
    """Decimal strings in major units by currency."""


class PathRow(msgspec.Struct, frozen=True):
    """From a product of the intent to the one that was bought in its place, or more of it."""

    intent: str
    product: str
    reason: str
    counted: Counted


class PairRow(msgspec.Struct, frozen=True):
    """A product of the intent, and one that was bought besides."""

    intent: str
    cross_sell: str
    counted: Counted
    support: float | None
    confidence: float | None
    lift: float | None


class ProductRow(msgspec.Struct, frozen=True):
    """A product that was bought."""

    product: str
    counted: Counted


Row = PathRow | PairRow | ProductRow


class Rows(msgspec.Struct, frozen=True):
    """The rows of one kind, most transactions first."""

    rows: Sequence[Row]
    left_out: int
    """Rows that are not given because there are too many."""
    other: Counted
    """What lies beyond the bound, each product, pair or path of a transaction counted once: there it is not known which of them are the same."""


class Drivers(msgspec.Struct, frozen=True):
    """What sells."""

    transactions: int
    reversed: int
    known: int
    """Transactions with known intent: N."""
    kinds: dict[Kind, Rows]


def drivers(
    days: Days, journey: Journey, ordinals: Sequence[int], kinds: Iterable[Kind], most: int, product: str | None = None
) -> Drivers:
    """The drivers of some days (proleptic ordinals): at most `most` rows of each kind, only those that name the `product` if one is given."""
    products = days.total(journey, PRODUCTS, ordinals)
    transactions, was_reversed, known = _counts(products.tallies.get(ALL), 3)

    def rows_of(kind: Kind) -> Rows:
        # Each sum is forgotten with its rows, so that no more than two sorts are in memory.
        total = products if kind == "products" else days.total(journey, SORTS[kind], ordinals)
        rows = [(key, tally) for key, tally in total.tallies.items() if _is_shown(key, tally, kind, product)]
        rows.sort(key=lambda row: (-row[1].counts[0], row[0]))
        return Rows(
            [_row(kind, key, tally, total, products, known) for key, tally in rows[:most]],
            max(0, len(rows) - most),
            _counted(total.tallies.get(OVERFLOW)),
        )

    return Drivers(transactions, was_reversed, known, {kind: rows_of(kind) for kind in kinds})


def _is_shown(key: Key, tally: Tally, kind: Kind, product: str | None) -> bool:
    if key in (ALL, OVERFLOW) or _counts(tally, 1)[0] <= 0:
        return False
    return product is None or product in (key[:2] if kind == "paths" else key)


def _row(kind: Kind, key: Key, tally: Tally, total: Total, products: Total, known: int) -> Row:
    counted = _counted(tally)
    if kind == "products":
        (product,) = key
        return ProductRow(product, counted)
    if kind == "paths":
        intent, product, reason = key
        return PathRow(intent, product, reason, counted)
    intent, cross_sell = key
    ratios = _ratios(key, counted.transactions, products, known) if total.is_complete(key) else (None, None, None)
    return PairRow(intent, cross_sell, counted, *ratios)


def _ratios(key: Key, both: int, products: Total, known: int) -> tuple[float | None, float | None, float | None]:
    (with_intent, is_all), (with_cross_sell, is_all_of_other) = (
        (_counts(products.tallies.get((name,)), 4)[place], products.is_complete((name,)))
        for name, place in zip(key, (2, 3), strict=True)
    )
    return (
        _ratio(both, known),
        _ratio(both, with_intent) if is_all else None,
        _ratio(both * known, with_intent * with_cross_sell) if is_all and is_all_of_other else None,
    )


def _counted(tally: Tally | None) -> Counted:
    transactions, was_reversed = _counts(tally, 2)
    money = {} if tally is None else tally.amounts
    amounts = {currency: plain(own[0], exponent(currency)) for currency, own in sorted(money.items())}
    return Counted(transactions, was_reversed, amounts)


def _counts(tally: Tally | None, length: int) -> list[int]:
    counts = [] if tally is None else tally.counts
    return [*counts, *[0] * (length - len(counts))][:length]


def _ratio(above: int, below: int) -> float | None:
    return round(float(Fraction(above, below)), DECIMALS) if below > 0 else None
