"""Offers: a row for each offer and slot, and its two rates."""

from stream.core.counting.offers import SHOWN_VERDICTS, offer_rows
from stream.core.entities.offers import DECLINED, SHOWN, VERDICTS, Carried
from stream.core.entities.tally import OVERFLOW, book


def tallies(*booked):
    """Counts of (key, count, currency, amounts) or of (key, counts)."""
    found = {}
    for key, counts, *money in booked:
        book(found, key, 1, counts, *money)
    return found


def accepted(verdict, *, was_reversed=False):
    return Carried("", VERDICTS.index(verdict), 0, 0, was_reversed).counts


def rows(counted, **options):
    found, other = offer_rows(counted, **options)
    assert other is None
    return found


BANNER = ("banner", "cart")
FUNNEL = tallies(
    *[(BANNER, SHOWN)] * 8,
    *[(BANNER, DECLINED)] * 2,
    (BANNER, accepted("upsell"), "EUR", (1000, 1000)),
    (BANNER, accepted("cross_sell"), "JPY", (300, 100)),
    (BANNER, accepted("nothing", was_reversed=True), "EUR", (500, 0)),
    (BANNER, accepted("unknown")),
)


def test_a_row_is_the_funnel_of_an_offer_in_a_slot():
    (row,) = rows(FUNNEL)
    assert (row.offer_id, row.slot, row.shown, row.declined, row.accepted) == ("banner", "cart", 8, 2, 4)
    assert row.by_verdict == dict.fromkeys(SHOWN_VERDICTS, 0) | {
        "upsell": 1,
        "cross_sell": 1,
        "nothing": 1,
        "unknown": 1,
    }
    assert row.reversed == 1
    assert (row.acceptance_rate, row.incremental_rate) == (0.5, 0.5)
    assert row.gross == {"EUR": "15.00", "JPY": "300"}
    assert row.kept == {"EUR": "10.00", "JPY": "100"}


def test_a_downsell_is_nothing_gained_and_restored_is():
    (row,) = rows(tallies((BANNER, accepted("downsell")), (BANNER, accepted("restored"))))
    assert row.incremental_rate == 0.5


def test_a_rate_without_a_denominator_has_no_value():
    (row,) = rows(tallies((BANNER, DECLINED)))
    assert (row.acceptance_rate, row.incremental_rate) == (None, None)


def test_an_incomplete_offer_has_counts_and_no_rates():
    (row,) = rows(FUNNEL, is_complete=lambda key: key != BANNER)
    assert (row.shown, row.acceptance_rate, row.incremental_rate) == (8, None, None)


def test_most_shown_comes_first_and_what_counts_nothing_is_left_out():
    gone = ("gone", "cart")
    counted = tallies((("b", "x"), SHOWN), (("a", "y"), SHOWN), (("a", "x"), SHOWN), (BANNER, SHOWN), (BANNER, SHOWN), (gone, SHOWN))  # fmt: skip
    book(counted, gone, -1, SHOWN)
    assert [(row.offer_id, row.slot) for row in rows(counted)] == [BANNER, ("a", "x"), ("a", "y"), ("b", "x")]
    assert [row.offer_id for row in rows(counted, wanted=lambda key: key[1] == "y")] == ["a"]


def test_beyond_the_bound_all_offers_are_one():
    counted = tallies((BANNER, SHOWN), *[(OVERFLOW, SHOWN)] * 4, (OVERFLOW, accepted("upsell"), "EUR", (200, 100)))
    found, rest = offer_rows(counted)
    assert (rest.shown, rest.accepted, rest.acceptance_rate, rest.kept) == (4, 1, 0.25, {"EUR": "1.00"})
    assert [row.shown for row in found] == [1]


def test_an_offer_of_the_shop_may_be_called_other():
    assert [row.offer_id for row in rows(tallies((("other", "other"), SHOWN)))] == ["other"]
