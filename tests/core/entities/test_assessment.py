from fractions import Fraction

import msgspec
import pytest
from support.sales import LINES

from stream.core.entities.assessment import (
    ANY,
    CROSS_SELL,
    DOWNSELL,
    NO_LOSS,
    RESTORED,
    UPSELL,
    Amounts,
    Assessment,
    Loss,
    by_category,
    mask,
    timestamp,
    to_sale,
)
from stream.core.labels import LabelRegistry
from stream.core.money import ONE, exact

SALE = Assessment(
    "shop", "e1", 1_767_323_045_000_000, "anna", "web", None, "EUR", "known", tuple(LINES),
    Amounts(1000, 250, 0, 5, 1245, 30), (("hats", UPSELL | ANY), ("shoes", 0)),
)  # fmt: skip


@pytest.mark.parametrize(
    ("kinds", "bits"),
    [
        ([], 0),
        (["upsell"], UPSELL | ANY),
        (["cross_sell"], CROSS_SELL | ANY),
        (["downsell"], DOWNSELL),
        (["restored"], RESTORED),
        (["restored", "upsell"], RESTORED | UPSELL | ANY),
    ],
)
def test_any_is_an_upsell_or_a_cross_sell(kinds, bits):
    assert mask(kinds) == bits


def test_categories_of_all_lines_with_the_kinds_of_judged_ones():
    judged = [("hats", "upsell"), (None, "cross_sell"), ("hats", "downsell"), ("care", "restored")]
    assert by_category(["shoes", "hats", None, "care", "shoes"], judged) == (
        ("care", RESTORED),
        ("hats", UPSELL | ANY | DOWNSELL),
        ("shoes", 0),
    )


def test_what_is_published():
    judged = SALE.judged("checkout/c1", "checkout", 3)
    assert (judged.event_id, judged.subject, judged.time, judged.version) == (
        "e1", "checkout/c1", "2026-01-02T03:04:05Z", 3,
    )  # fmt: skip
    assert judged.kinds == ["cross_sell", "downsell", "upsell"]
    assert (judged.initial, judged.final, judged.upsell, judged.cross_sell, judged.downsell, judged.restored) == (
        "10.00", "12.45", "2.50", "0.00", "0.05", "0.30",
    )  # fmt: skip
    assert judged.rules == 2
    assert msgspec.to_builtins(judged.reversed) == {
        "transaction": False,
        "kinds": [],
        "amounts": {"final": "0.00", "upsell": "0.00", "cross_sell": "0.00", "downsell": "0.00", "restored": "0.00"},
    }


def test_what_is_reversed_is_published_by_kind_and_amount():
    loss = Loss(False, UPSELL | RESTORED | ANY, Amounts(upsell=250, final=300, restored=30))
    reversed_ = msgspec.structs.replace(SALE, loss=loss).judged("s", "checkout", 1).reversed
    assert (reversed_.transaction, reversed_.kinds) == (False, ["restored", "upsell"])
    amounts = reversed_.amounts
    assert (amounts["upsell"], amounts["final"], amounts["restored"]) == ("2.50", "3.00", "0.30")


@pytest.mark.parametrize(
    ("share", "loss"),
    [
        ("0", NO_LOSS),
        ("0.5", Loss(False, 0, Amounts(0, 125, 0, 2, 622, 15))),  # 2.5 and 622.5 are rounded half even
        ("1", Loss(True, SALE.kinds, Amounts(0, 250, 0, 5, 1245, 30))),
        ("1.7", Loss(True, SALE.kinds, Amounts(0, 250, 0, 5, 1245, 30))),
    ],
)
def test_a_share_that_was_given_back_takes_its_part_of_every_amount_and_all_of_them_the_kinds(share, loss):
    assert SALE.lost(exact(share)).loss == loss


def test_a_share_is_of_the_exact_amounts_where_they_are_no_whole_number_of_minor_units():
    third = str(Fraction(ONE, 3) * 10)  # 3.333…
    sale = msgspec.structs.replace(SALE, amounts=Amounts(upsell=333, final=333), exact=(third, "0", "0", third, "0"))
    assert sale.lost(exact("0.5")).loss == Loss(False, 0, Amounts(upsell=167, final=167)), "half of 333 is 166"
    assert sale.lost(ONE).loss.amounts == Amounts(upsell=333, final=333)


def test_the_digest_differs_where_something_published_differs():
    assert msgspec.structs.replace(SALE).digest() == SALE.digest()
    changes = {
        "event_id": "e2", "time": 5, "customer": "bert", "channel": None, "segment": "new", "currency": "USD",
        "intent": "unknown", "lines": (), "amounts": Amounts(), "loss": Loss(True),
    }  # fmt: skip
    digests = {msgspec.structs.replace(SALE, **{name: value}).digest() for name, value in changes.items()}
    assert len(digests | {SALE.digest()}) == len(changes) + 1
    assert msgspec.structs.replace(SALE, categories=()).digest() == SALE.digest(), "categories are not published"


def test_an_emptied_transaction_has_nothing_left():
    empty = SALE.emptied()
    assert (empty.lines, empty.amounts, empty.categories, empty.loss, empty.intent) == (
        (), Amounts(), (), NO_LOSS, "unknown",
    )  # fmt: skip


def test_what_is_counted_has_bounded_labels():
    fixed = {"channel": ["app"], "segment": ["new"], "category": ["hats"], "currency": ["EUR"]}
    sale = to_sale(SALE, LabelRegistry(fixed), b"key", b"member")
    assert (sale.channel, sale.segment, sale.currency) == ("other", "unknown", "EUR")
    assert sale.categories == (("hats", UPSELL | ANY), ("other", 0))
    assert (sale.intent, sale.kinds, sale.amounts) == (0, SALE.kinds, SALE.amounts)


def test_a_currency_beyond_the_bound_is_in_no_figure():
    assert to_sale(SALE, LabelRegistry({"currency": ["USD"]}), b"", b"").currency == ""


def test_categories_beyond_the_bound_are_one():
    sale = msgspec.structs.replace(SALE, categories=(("a", UPSELL | ANY), ("b", DOWNSELL)))
    assert to_sale(sale, LabelRegistry({"category": ["c"]}), b"", b"").categories == (
        ("other", UPSELL | ANY | DOWNSELL),
    )


@pytest.mark.parametrize(
    ("time", "text"),
    [(0, "1970-01-01T00:00:00Z"), (1_500_000, "1970-01-01T00:00:01.500000Z"), (-1, "1969-12-31T23:59:59.999999Z")],
)
def test_a_time_in_rfc_3339(time, text):
    assert timestamp(time) == text
