"""Drivers: what sells, over some days. Upsell paths, pairs of what was intended and what was bought besides, products.

    support    n(A, B) / N
    confidence n(A, B) / n(A)
    lift       n(A, B) · N / (n(A) · n(B))

N are the transactions with known intent, n(A) those with A in the intent, n(B) those with B as a cross-sell. Rules: everything is a sum over shards and days.
A ratio without a denominator has no value; so has one of a product that has no place on some day of some shard (it is counted as `other` there).
"""

from collections.abc import Mapping, Sequence
from fractions import Fraction

import msgspec

from stream.core.counting.figures import DECIMALS
from stream.core.entities.tally import ALL, OVERFLOW, Key, Tallies, Tally
from stream.core.money import exponent, plain


class Counted(msgspec.Struct, frozen=True):
    """Transactions of one row."""

    transactions: int
    reversed: int
    amounts: Mapping[str, str]
    """Decimal strings in major units by currency."""


class PathRow(Counted, frozen=True):
    """From a product of the intent to the one that was bought in its place, or more of it."""

    intent: str
    product: str
    reason: str


class PairRow(Counted, frozen=True):
    """A product of the intent, and one that was bought besides."""

    intent: str
    cross_sell: str
    support: float | None
    confidence: float | None
    lift: float | None


class ProductRow(Counted, frozen=True):
    """A product that was bought."""

    product: str


class Other(msgspec.Struct, frozen=True):
    """What lies beyond the bounds."""

    paths: Counted
    pairs: Counted
    products: Counted


class Rows(msgspec.Struct, frozen=True):
    """Numbers of rows."""

    paths: int
    pairs: int
    products: int


class Drivers(msgspec.Struct, frozen=True):
    """All rows, most transactions first."""

    transactions: int
    reversed: int
    known: int
    """Transactions with known intent: N."""
    paths: Sequence[PathRow]
    pairs: Sequence[PairRow]
    products: Sequence[ProductRow]
    other: Other
    rows: Rows
    """How many rows there are, with those that are left out."""


def drivers(products: Tallies, paths: Tallies, pairs: Tallies, most: int) -> Drivers:
    """The rows of some days; at most `most` rows of each kind."""
    everything = _counts(products.get(ALL), 3)
    known = everything[2]
    return Drivers(
        transactions=everything[0],
        reversed=everything[1],
        known=known,
        paths=[
            PathRow(*_counted(tally), intent, product, reason)
            for (intent, product, reason), tally in _largest(paths, most)
        ],
        pairs=[
            PairRow(
                *_counted(tally), intent, cross_sell, *_ratios(tally.counts[0], (intent, cross_sell), products, known)
            )
            for (intent, cross_sell), tally in _largest(pairs, most)
        ],
        products=[ProductRow(*_counted(tally), product) for (product,), tally in _largest(products, most)],
        other=Other(*(Counted(*_counted(own.get(OVERFLOW) or Tally([], {}))) for own in (paths, pairs, products))),
        rows=Rows(*(len(_rows(own)) for own in (paths, pairs, products))),
    )


def _rows(tallies: Tallies) -> list[tuple[Key, Tally]]:
    return [(key, tally) for key, tally in tallies.items() if key not in (ALL, OVERFLOW) and _counts(tally, 1)[0] > 0]


def _largest(tallies: Tallies, most: int) -> list[tuple[Key, Tally]]:
    return sorted(_rows(tallies), key=lambda row: (-row[1].counts[0], row[0]))[:most]


def _counted(tally: Tally) -> tuple[int, int, dict[str, str]]:
    transactions, was_reversed = _counts(tally, 2)
    amounts = {currency: plain(own[0], exponent(currency)) for currency, own in sorted(tally.amounts.items())}
    return transactions, was_reversed, amounts


def _counts(tally: Tally | None, length: int) -> list[int]:
    counts = [] if tally is None else tally.counts
    return [*counts, *[0] * (length - len(counts))][:length]


def _ratios(both: int, key: Key, products: Tallies, known: int) -> tuple[float | None, float | None, float | None]:
    intent, cross_sell = key
    with_intent = _counts(products.get((intent,)), 4)[2]
    with_cross_sell = _counts(products.get((cross_sell,)), 4)[3]
    return (
        _ratio(both, known),
        _ratio(both, with_intent) if with_intent >= both else None,
        _ratio(both * known, with_intent * with_cross_sell) if min(with_intent, with_cross_sell) >= both else None,
    )


def _ratio(above: int, below: int) -> float | None:
    return round(float(Fraction(above, below)), DECIMALS) if below > 0 else None
