"""The core finds in the shop's records exactly what the shop planted, after any number of records."""

from datetime import UTC, datetime
from decimal import Decimal
from fractions import Fraction

import pytest
from support.shops import BUSY, SHOPS

from stream.core.config import CoreConfig
from stream.core.labels import LabelRegistry
from stream.core.offline import Offline
from stream.events.decode import Rejected, decode_line
from stream.simulate.shop import Shop, ShopSettings, month_for
from stream.simulate.truth import PlantedSale, Truth

START = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
LABELS = ("web", "vip")


def measured(values):
    offline = Offline(CoreConfig(), LabelRegistry())
    rejected = duplicates = 0
    for value in values:
        event = decode_line(value)
        if isinstance(event, Rejected):
            rejected += 1
        else:
            duplicates += offline.apply(event).result == "duplicate"
    figures = offline.figures()
    return {
        "events": len(values),
        "rejected": rejected,
        "duplicates": duplicates,
        **figures.summary(),
        "by": without_categories(figures.plain()["windows"]["total"]["by"]),
    }


def without_categories(by):
    return {journey: {name: by[journey][name] for name in ("channel", "segment")} for journey in by}


def planted(truth):
    return truth.summary() | {"by": truth.by()}


@pytest.mark.parametrize("count", [1, 700, 4000])
@pytest.mark.parametrize("settings", SHOPS.values(), ids=SHOPS)
def test_the_core_finds_what_was_planted(settings, count):
    shop = Shop(ShopSettings(seed=count, **settings), START)
    values = [record.value for record in shop.take(count)]
    assert measured(values) == planted(shop.truth)


@pytest.mark.parametrize("seed", range(12))
def test_it_does_for_any_seed(seed):
    names = list(SHOPS)
    shop = Shop(ShopSettings(seed=seed, **SHOPS[names[seed % len(names)]]), START)
    values = [record.value for record in shop.take(1500)]
    assert measured(values) == planted(shop.truth)


@pytest.mark.parametrize(("seed", "pace"), [(106, 1.0), (3, 7.0)])
def test_the_truth_holds_with_half_a_day_of_disorder_and_a_month_that_is_long_enough(seed, pace):
    month = month_for(43_200, pace)
    settings = ShopSettings(
        seed=seed, rate=0.1, pace=pace, month_seconds=month, duplicates=1, disorder_seconds=43_200, behaviour=BUSY
    )
    shop = Shop(settings, START)
    assert measured([record.value for record in shop.take(8000)]) == planted(shop.truth)


@pytest.mark.parametrize("start", [datetime(1971, 1, 1, tzinfo=UTC), datetime(2999, 12, 31, tzinfo=UTC)])
def test_the_truth_holds_in_the_first_and_the_last_year(start):
    shop = Shop(ShopSettings(disorder_seconds=600), start)
    assert measured([record.value for record in shop.take(500)]) == planted(shop.truth)


def test_an_edit_takes_a_kind_out_of_the_counts_and_a_reversal_does_not_take_the_transaction_out():
    truth = Truth()
    upsell = PlantedSale("EUR", "known", Decimal("30.00"), frozenset({"upsell"}), Decimal("20.00"), Decimal("10.00"))
    plain = PlantedSale("EUR", "known", Decimal("20.00"), initial=Decimal("20.00"))
    reversed_sale = plain.as_reversed()
    truth.opportunity("checkout", LABELS)
    truth.sold("checkout", LABELS, "ann", upsell)
    assert truth.summary()["checkout"]["customers"] == {"all": 1, "upsell": 1, "cross_sell": 0, "any": 1}
    truth.restated("checkout", LABELS, "ann", upsell, plain)
    figures = truth.summary()["checkout"]
    assert figures["kind_transactions"]["any"] == figures["customers"]["any"] == 0
    assert figures["revenue"]["EUR"]["upsell"] == "0.00"
    truth.restated("checkout", LABELS, "ann", plain, reversed_sale)
    truth.departed("checkout", "ann")
    figures = truth.summary()["checkout"]
    assert (figures["transactions"], figures["reversed_transactions"]["all"], figures["customers"]["all"]) == (1, 1, 1)
    assert figures["revenue"]["EUR"] | {"initial": "0.00"} == dict.fromkeys(
        ("initial", "upsell", "cross_sell", "downsell", "restored", "final"), "0.00"
    ) | {"final": "20.00", "total": "20.00", "reversed": "20.00"}


def test_a_verdict_without_money_is_none():
    tiny, half = (("upsell", Fraction(1, 300)), ("restored", Fraction(1, 2)))
    sale = PlantedSale.judged("EUR", Fraction(10), Fraction(11), [tiny, tiny, tiny, half])
    assert (sale.kinds, sale.upsell, sale.restored) == (frozenset({"restored"}), Decimal(0), Decimal("0.50"))
    sale = PlantedSale.judged("JPY", Fraction(10), Fraction(11), [half, ("cross_sell", Fraction(3, 2))])
    assert (sale.kinds, sale.cross_sell) == (frozenset({"cross_sell"}), Decimal(2))


def test_restored_is_counted_beside_the_other_kinds_and_is_no_upsell():
    truth = Truth()
    sale = PlantedSale.judged("EUR", Fraction(10), Fraction(40), [("upsell", Fraction(20)), ("restored", Fraction(10))])
    truth.sold("subscription", LABELS, "ann", sale)
    truth.sold(
        "subscription",
        LABELS,
        "bob",
        PlantedSale.judged("EUR", Fraction(10), Fraction(12), [("restored", Fraction(2))]),
    )
    figures = truth.summary()["subscription"]
    assert figures["kind_transactions"] == {"upsell": 1, "cross_sell": 0, "downsell": 0, "restored": 2, "any": 1}
    assert (figures["revenue"]["EUR"]["upsell"], figures["revenue"]["EUR"]["restored"]) == ("20.00", "12.00")
    assert figures["customers"] == {"all": 2, "upsell": 1, "cross_sell": 0, "any": 1}


def test_an_empty_truth_has_a_complete_summary():
    summary = planted(Truth())
    assert summary == measured([])
    assert set(summary["all"]["rates"].values()) == {None}
    assert summary["checkout"]["revenue"] == {}
