from decimal import ROUND_HALF_EVEN, Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.core.money import SCALE, divided, exact, exponent, plain, rounded

amounts = st.decimals(0, 10**9, places=SCALE)


@given(amounts)
def test_an_exact_amount_is_the_decimal_itself(amount):
    assert Fraction(exact(str(amount)), 10**SCALE) == Fraction(amount)


@given(amounts, st.integers(0, 4))
def test_rounding_is_half_even_at_the_minor_unit(amount, places):
    expected = amount.quantize(Decimal(1).scaleb(-places), ROUND_HALF_EVEN)
    assert rounded(exact(str(amount)), places) == int(expected.scaleb(places))


@pytest.mark.parametrize(("amount", "minor"), [("0.005", 0), ("0.015", 2), ("0.025", 2), ("0.0251", 3), ("0", 0)])
def test_half_a_cent(amount, minor):
    assert rounded(exact(amount), 2) == minor


@given(st.integers(0, 10**12), st.integers(1, 1000))
def test_a_quotient_is_exact_and_an_int_where_it_is_whole(amount, by):
    quotient = divided(amount, by)
    assert quotient == Fraction(amount, by)
    assert isinstance(quotient, int) == (amount % by == 0)


@given(st.fractions(0, 10**6, max_denominator=997), st.integers(0, 4))
def test_a_fraction_is_rounded_like_its_decimal(amount, places):
    assert rounded(amount * 10**SCALE, places) == round(amount * 10**places)


@pytest.mark.parametrize(("currency", "places"), [("EUR", 2), ("JPY", 0), ("KWD", 3), ("CLF", 4)])
def test_exponents_are_those_of_iso_4217(currency, places):
    assert exponent(currency) == places


@pytest.mark.parametrize("currency", ["XAU", "XTS", "QQQ", "eur", ""])
def test_a_code_without_a_minor_unit_is_refused(currency):
    with pytest.raises(ValueError, match=currency or "valid"):
        exponent(currency)


@pytest.mark.parametrize(
    ("minor", "places", "text"),
    [(1250, 2, "12.50"), (5, 2, "0.05"), (0, 2, "0.00"), (7, 0, "7"), (-1250, 2, "-12.50"), (1, 3, "0.001")],
)
def test_an_amount_in_words(minor, places, text):
    assert plain(minor, places) == text
