"""The models and fields alone; the tests of decoding and of the schemas cover the rest."""

import pytest
from support.sent_events import MICROS, event, item, line

from stream.core.entities.assessment import timestamp
from stream.core.money import SCALE, exact, exponent
from stream.events.catalogue import EVENT_TYPES
from stream.events.fields import CURRENCIES, check_money, parse_time, parse_version


def test_every_currency_has_an_exponent_that_the_core_can_round_to():
    assert {"EUR", "JPY", "KWD", "CLF"} <= CURRENCIES
    assert all(0 <= exponent(currency) <= SCALE for currency in CURRENCIES)


def test_the_core_holds_every_price_exactly():
    assert exact(check_money("999999999999999.9999999999")) == 10 ** (15 + SCALE) - 10 ** (SCALE - 10)
    assert exact(check_money("0.0000000001")) == 10 ** (SCALE - 10)


@pytest.mark.parametrize(
    ("text", "micros"),
    [
        ("2026-01-05T10:00:00Z", MICROS),
        ("2026-01-05t10:00:00z", MICROS),
        ("2026-01-05T15:30:00+05:30", MICROS),
        ("2026-01-04T23:00:00-11:00", MICROS),
        ("2026-01-05T10:00:00.5Z", MICROS + 500_000),
        ("2026-01-05T10:00:00.1234569Z", MICROS + 123_456),
        ("1969-12-31T23:59:59.999999Z", -1),
        ("0001-01-01T00:00:00Z", -62_135_596_800_000_000),
        ("9999-12-31T23:58:59.999999999-00:01", 253_402_300_799_999_999),
    ],
)
def test_times(text, micros):
    assert parse_time(text) == micros


@pytest.mark.parametrize("text", ["0001-01-01T00:00:00Z", "1969-12-31T23:59:59.999999Z", "9999-12-31T23:59:59.999999Z"])
def test_parsed_times_are_valid_datetimes(text):
    assert timestamp(parse_time(text)) == text


@pytest.mark.parametrize(
    "text",
    [
        "2026-01-05T10:00:00+10:60",
        "2026-01-05T10:00:00+24:00",
        "2026-W02-1T10:00:00Z",
        "0001-01-01T00:00:00+00:01",
        "9999-12-31T23:59:00-00:01",
        "x",
    ],
)
def test_invalid_times(text):
    with pytest.raises(ValueError, match=r".+"):
        parse_time(text)


def test_versions():
    assert (parse_version("0"), parse_version(str(2**53 - 1)), parse_version(7)) == (0, 2**53 - 1, 7)
    for wrong in ("", "01", "-0", "1.0", str(2**53), 2**53, -1, True, 1.0, None):
        with pytest.raises(ValueError, match=r"from 0 to 2\^53 - 1"):
            parse_version(wrong)


def test_empty_and_null_fields_are_absent():
    sent = event(
        "order.completed",
        customer_id="", anonymous_id=None, channel="", coupon="", intent="", refund="",
        products=[line(variant_id="", product_id=None, category="", discount="", replaces=None, offer_id="")],
    ) | {"livemode": "", "entityversion": None}  # fmt: skip
    plain = event("order.completed")
    model = EVENT_TYPES["commerce.order.completed.v1"].model
    assert model.model_validate(sent) == model.model_validate(plain)
    sent = event("subscription.changed", items=[item(role="", category=None, interval_count="")], previous="")
    model = EVENT_TYPES["commerce.subscription.changed.v1"].model
    assert model.model_validate(sent) == model.model_validate(event("subscription.changed"))


def test_money_keeps_what_was_sent():
    assert exact(check_money("007.50")) == exact("7.50")
    assert check_money("7.50") == "7.50"
