"""The core finds in the shop's records exactly what the shop planted, after any number of records."""

from datetime import UTC, datetime
from decimal import Decimal

import pytest

from stream.core.config import CoreConfig
from stream.core.labels import LabelRegistry
from stream.core.offline import Offline
from stream.events.decode import Rejected, decode_line
from stream.simulate.behaviour import Behaviour
from stream.simulate.shop import Shop, ShopSettings, month_for
from stream.simulate.truth import PlantedSale, Truth

START = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
# Every action is frequent, and many happen to the same cart.
BUSY = Behaviour(
    abandon=0.1,
    upgrade=0.3,
    downgrade=0.2,
    substitute=0.3,
    replace=0.3,
    more=0.3,
    fewer=0.3,
    add=0.5,
    second_variant=0.2,
    remove=0.3,
    gift=0.3,
    coupon=0.3,
    edit=0.4,
    refund=0.5,
    cancel=0.1,
    explicit=0.3,
    unstated=0.05,
    foreign=0.1,
    subscribe=0.4,
    trial=0.4,
    change=0.8,
    subscription_refund=0.1,
)


def measured(values):
    offline = Offline(CoreConfig(), LabelRegistry())
    rejected = duplicates = 0
    for value in values:
        event = decode_line(value)
        if isinstance(event, Rejected):
            rejected += 1
        else:
            duplicates += offline.apply(event).result == "duplicate"
    return {"events": len(values), "rejected": rejected, "duplicates": duplicates} | offline.figures().summary()


@pytest.mark.parametrize("count", [1, 700, 4000])
@pytest.mark.parametrize(
    "settings",
    [
        pytest.param({}, id="default"),
        pytest.param({"duplicates": 0.1, "disorder_seconds": 120, "poison": 0.05}, id="noisy"),
        pytest.param(
            {"behaviour": BUSY, "customers": 50, "disorder_seconds": 600, "month_seconds": 3000}, id="few customers"
        ),
        pytest.param({"behaviour": BUSY, "rate": 200, "pace": 30, "customers": 300, "disorder_seconds": 5}, id="fast"),
        pytest.param(
            {"behaviour": BUSY, "currencies": ("EUR", "USD", "JPY"), "customers": 200, "duplicates": 0.1},
            id="currencies",
        ),
    ],
)
def test_the_core_finds_what_was_planted(settings, count):
    shop = Shop(ShopSettings(seed=count, **settings), START)
    values = [record.value for record in shop.take(count)]
    assert measured(values) == shop.truth.summary()


@pytest.mark.parametrize(("seed", "pace"), [(106, 1.0), (3, 7.0)])
def test_the_truth_holds_with_half_a_day_of_disorder_and_a_month_that_is_long_enough(seed, pace):
    month = month_for(43_200, pace)
    settings = ShopSettings(
        seed=seed, rate=0.1, pace=pace, month_seconds=month, duplicates=1, disorder_seconds=43_200, behaviour=BUSY
    )
    shop = Shop(settings, START)
    assert measured([record.value for record in shop.take(8000)]) == shop.truth.summary()


@pytest.mark.parametrize("start", [datetime(1971, 1, 1, tzinfo=UTC), datetime(2999, 12, 31, tzinfo=UTC)])
def test_the_truth_holds_in_the_first_and_the_last_year(start):
    shop = Shop(ShopSettings(disorder_seconds=600), start)
    assert measured([record.value for record in shop.take(500)]) == shop.truth.summary()


def test_an_edit_takes_a_kind_out_of_the_counts_and_a_reversal_does_not_take_the_transaction_out():
    truth = Truth()
    upsell = PlantedSale("EUR", "known", Decimal("30.00"), frozenset({"upsell"}), Decimal("20.00"), Decimal("10.00"))
    plain = PlantedSale("EUR", "known", Decimal("20.00"), initial=Decimal("20.00"))
    reversed_sale = plain.as_reversed()
    truth.opportunity("checkout")
    truth.sold("checkout", "ann", upsell)
    assert truth.summary()["checkout"]["customers"] == {"all": 1, "upsell": 1, "cross_sell": 0, "any": 1}
    truth.restated("checkout", "ann", upsell, plain)
    figures = truth.summary()["checkout"]
    assert figures["kind_transactions"]["any"] == figures["customers"]["any"] == 0
    assert figures["revenue"]["EUR"]["upsell"] == "0.00"
    truth.restated("checkout", "ann", plain, reversed_sale)
    truth.departed("checkout", "ann")
    figures = truth.summary()["checkout"]
    assert (figures["transactions"], figures["reversed_transactions"]["all"], figures["customers"]["all"]) == (1, 1, 1)
    assert figures["revenue"]["EUR"] | {"initial": "0.00"} == dict.fromkeys(
        ("initial", "upsell", "cross_sell", "downsell", "final"), "0.00"
    ) | {"final": "20.00", "total": "20.00", "reversed": "20.00"}


def test_an_empty_truth_has_a_complete_summary():
    summary = Truth().summary()
    assert summary == measured([])
    assert set(summary["all"]["rates"].values()) == {None}
    assert summary["checkout"]["revenue"] == {}
