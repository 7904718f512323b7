"""Money without binary fractions: exact while it is computed, rounded once at the end.

Rules: an exact amount is a whole number of `10**-SCALE` major units (an int), or a Fraction of them after a division. A rounded amount is an int in the
currency's minor unit (ISO 4217), rounded half even. Amounts of different currencies are never compared or added.
"""

from decimal import Decimal
from fractions import Fraction
from functools import cache, lru_cache

from iso4217 import Currency

SCALE = 13
"""Decimal places of an exact amount: those of a price (10) and of a quantity (3)."""

LARGEST = 10**14
"""Largest amount of a transaction, in minor units of any currency: the sum of 92,000 of them fits 64 bits."""

Exact = int | Fraction

ONE = 10**SCALE
"""1 as an exact amount."""


@lru_cache(maxsize=16_384)  # prices repeat
def exact(amount: str) -> int:
    """A decimal string of major units (at most 10 decimal places) as an exact amount."""
    return int(Decimal(amount).scaleb(SCALE))


def divided(amount: Exact, by: int) -> Exact:
    """The exact quotient; an int where it is whole, which costs a tenth to compute with."""
    whole, rest = divmod(amount, by)
    return Fraction(amount, by) if rest else whole


@cache
def exponent(currency: str) -> int:
    """Decimal places of the currency's minor unit, by ISO 4217.

    Raises:
        ValueError: the code is not in ISO 4217, or has no minor unit (gold, testing codes).
    """
    places = Currency(currency).exponent
    if places is None:
        raise ValueError(f"{currency} has no minor unit in ISO 4217")
    return int(places)


_DIVISORS: list[int] = [10 ** (SCALE - places) for places in range(SCALE + 1)]


def rounded(amount: Exact, places: int) -> int:
    """An exact amount in units of `10**-places`, half even. `amount` is not negative."""
    if not amount:
        return 0
    divisor: int = _DIVISORS[places]
    if type(amount) is not int:  # `isinstance` of an abstract base class costs as much as the rest
        return half_even(amount.numerator, amount.denominator * divisor)
    # As `half_even`, without a call: most amounts are integers.
    whole, rest = divmod(amount, divisor)
    if 2 * rest > divisor or (2 * rest == divisor and whole % 2):
        whole += 1
    return whole


def is_whole(amount: Exact, places: int) -> bool:
    """Whether an exact amount is a whole number of units of `10**-places`."""
    if type(amount) is not int:
        return amount.denominator == 1 and amount.numerator % _DIVISORS[places] == 0
    return amount % _DIVISORS[places] == 0


def from_minor(minor: int, places: int) -> int:
    """Units of `10**-places` as an exact amount."""
    return minor * _DIVISORS[places]


def half_even(amount: int, divisor: int) -> int:
    """The quotient, rounded half even. Neither is negative."""
    whole, rest = divmod(amount, divisor)
    if 2 * rest > divisor or (2 * rest == divisor and whole % 2):
        whole += 1
    return whole


@lru_cache(maxsize=16_384)  # mostly zero and small amounts
def plain(minor: int, places: int) -> str:
    """Minor units as a decimal string of major units: (1250, 2) is "12.50"."""
    if places == 0:
        return str(minor)
    sign, digits = ("-", -minor) if minor < 0 else ("", minor)
    whole, part = divmod(digits, 10**places)
    return f"{sign}{whole}.{part:0{places}d}"
