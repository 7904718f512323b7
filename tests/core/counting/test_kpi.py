from decimal import Decimal

import pytest

from stream.core.counting.cells import Count, Revenue
from stream.core.counting.figures import FigureSet
from stream.core.counting.kpi import AMOUNT_KPIS, KPIS


def vector(positions, **values):
    filled = [0] * len(positions)
    for name, value in values.items():
        filled[positions[name.upper()]] = value
    return filled


SALES = vector(
    Count, opportunities=10, transactions=8, upsell=3, cross_sell=2, downsell=1, restored=5, any=4, known=7, unknown=1
)
EUROS = vector(
    Revenue, initial=20_000, upsell=5_000, cross_sell=1_000, downsell=300, restored=900, final=30_000, total=40_000,
    total_any=22_000, total_plain=8_000,
)  # fmt: skip
CUSTOMERS = {"all": 5, "upsell": 2, "cross_sell": 1, "any": 3}

# Every KPI, and its value for the figures above.
TABLE = {
    "upsell_cross_sell_rate": 4 / 10,
    "upsell_ratio": 3 / 8,
    "upsell_revenue_ratio": 1.5,
    "upsell_revenue_share": 0.25,
    "cross_sell_rate": 2 / 8,
    "cross_sell_ratio": 2 / 8,
    "customer_upsell_rate": 2 / 5,
    "customer_cross_sell_rate": 1 / 5,
    "customer_any_rate": 3 / 5,
    "order_value_lift": (22_000 / 4) / (8_000 / 3),
}
# Every KPI of money, and its value for the figures above.
MONEY = {
    "revenue_per_opportunity": ("EUR", "40.0000"),
    "average_order_value": ("EUR", "50.0000"),
    "extra_revenue_per_transaction": ("EUR", "7.5000"),
}


def test_every_kpi_has_a_case():
    assert [kpi.name for kpi in KPIS] == list(TABLE)
    assert [kpi.name for kpi in AMOUNT_KPIS] == list(MONEY)


@pytest.mark.parametrize("name", TABLE)
def test_value(name):
    assert FigureSet("segment", SALES, {"EUR": EUROS}, CUSTOMERS).rates[name] == TABLE[name]


@pytest.mark.parametrize("name", TABLE)
def test_a_kpi_without_a_denominator_has_no_value(name):
    figures = FigureSet("segment", [0] * len(Count), {}, dict.fromkeys(CUSTOMERS, 0))
    assert figures.rates[name] is None


@pytest.mark.parametrize(
    ("figures", "absent"),
    [
        (FigureSet("all", SALES, {"EUR": EUROS}, CUSTOMERS), {"cross_sell_ratio"}),
        (FigureSet("channel", SALES, {"EUR": EUROS}, CUSTOMERS), {"cross_sell_ratio"}),
        (FigureSet("segment", SALES, {"EUR": EUROS}, CUSTOMERS), set()),
        (
            FigureSet("segment", SALES, None, CUSTOMERS),
            {"upsell_revenue_ratio", "upsell_revenue_share", "order_value_lift"},
        ),
        (FigureSet("segment", SALES, {}, None), {name for name in TABLE if name.startswith("customer_")}),
        (FigureSet("category", SALES, None, None), set(TABLE) - {"upsell_ratio", "cross_sell_rate"}),
    ],
)
def test_which_figure_sets_have_which_kpis(figures, absent):
    assert set(figures.rates) == set(TABLE) - absent


@pytest.mark.parametrize(
    ("revenue", "value"),
    [
        ({"EUR": EUROS}, 1.5),
        ({"EUR": EUROS, "USD": vector(Revenue, total=900, reversed=900)}, 1.5),  # only one has a known intent
        ({"EUR": EUROS, "USD": vector(Revenue, final=900, total=900)}, None),
        ({"EUR": vector(Revenue, final=900, total=900)}, None),  # the intent has no value
        ({"EUR": vector(Revenue, total=900)}, None),
        ({}, None),
    ],
)
def test_revenue_is_compared_in_one_currency_of_known_intent(revenue, value):
    assert FigureSet("all", SALES, revenue, CUSTOMERS).rates["upsell_revenue_ratio"] == value


def test_kpis_of_money():
    assert FigureSet("all", SALES, {"EUR": EUROS}, CUSTOMERS).amounts == MONEY


DOLLARS = vector(Revenue, total=1)
RESTATED = vector(Revenue, final=30_000, total=40_000, total_any=22_000)
"""Without the total of the transactions that an older version counted."""


@pytest.mark.parametrize(
    ("sales", "revenue"),
    [
        (SALES, {}),
        (SALES, {"EUR": vector(Revenue, reversed=5)}),
        (SALES, {"EUR": EUROS, "USD": DOLLARS}),
        (vector(Count, transactions=8, known=7, any=4, opportunities=8, other_currency=1), {"EUR": EUROS}),
    ],
    ids=["no currency", "no total", "two totals", "a currency beyond the bound"],
)
def test_money_has_no_value_unless_exactly_one_currency_has_a_total(sales, revenue):
    figures = FigureSet("all", sales, revenue, CUSTOMERS)
    assert figures.amounts == dict.fromkeys(MONEY)
    assert figures.rates["order_value_lift"] is None


def test_a_second_currency_without_a_total_is_none():
    revenue = {"EUR": EUROS, "USD": vector(Revenue, reversed=5)}
    assert FigureSet("all", SALES, revenue, CUSTOMERS).amounts == MONEY


@pytest.mark.parametrize(
    ("currency", "total", "number", "value"),
    [
        ("EUR", 100, 3, "0.3333"),
        ("EUR", 1, 8, "0.0012"),  # 0.00125: to the even digit
        ("EUR", 3, 8, "0.0038"),  # 0.00375
        ("EUR", 1_000_001, 16, "625.0006"),  # 625.000625
        ("JPY", 1, 8, "0.12"),  # 0.125
        ("JPY", 3, 8, "0.38"),  # 0.375
        ("KWD", 1, 3, "0.00033"),
        ("EUR", 10**14, 3, "333333333333.3333"),
    ],
)
def test_amounts_have_two_places_more_than_the_currency_half_even(currency, total, number, value):
    figures = FigureSet("all", vector(Count, transactions=number), {currency: vector(Revenue, total=total)}, CUSTOMERS)
    assert figures.amounts["average_order_value"] == (currency, value)
    assert figures.amounts["revenue_per_opportunity"] is None, "there is none"
    assert Decimal(figures.amounts["extra_revenue_per_transaction"][1]) == 0


@pytest.mark.parametrize(
    ("sales", "money"),
    [
        (vector(Count, transactions=4, any=4, known=4), vector(Revenue, final=9, total=9, total_any=9)),
        (vector(Count, transactions=4, known=4), vector(Revenue, final=9, total=9, total_plain=9)),
        (vector(Count, transactions=4, any=1, known=4), vector(Revenue, final=9, total=9, total_any=9)),
        (SALES, RESTATED),
        (SALES, vector(Revenue, final=30_000, total=40_000, total_any=40_000, total_plain=-5_000)),
    ],
    ids=["all flagged", "none flagged", "the others were free", "some counted before", "some before, restated"],
)
def test_the_lift_needs_both_averages_of_all_transactions(sales, money):
    assert FigureSet("all", sales, {"EUR": money}, CUSTOMERS).rates["order_value_lift"] is None


def test_the_lift_compares_transactions_with_known_intent_only():
    sales = vector(Count, transactions=9, any=1, known=3, unknown=6)
    money = vector(Revenue, final=700, total=9_000, total_any=300, total_plain=400)
    assert FigureSet("all", sales, {"EUR": money}, CUSTOMERS).rates["order_value_lift"] == 1.5


def test_a_flagged_free_transaction_lifts_nothing():
    sales = vector(Count, transactions=2, any=1, known=2)
    money = vector(Revenue, final=400, total=400, total_plain=400)
    assert FigureSet("all", sales, {"EUR": money}, CUSTOMERS).rates["order_value_lift"] == 0


@pytest.mark.parametrize(
    ("name", "value", "band"),
    [
        ("upsell_cross_sell_rate", 0.31, "above typical"),
        ("upsell_cross_sell_rate", 0.30, "typical"),
        ("upsell_cross_sell_rate", 0.20, "typical"),
        ("upsell_cross_sell_rate", 0.19, "below typical"),
        ("cross_sell_rate", 0.31, "strong"),
        ("cross_sell_rate", 0.30, "typical"),
        ("cross_sell_ratio", 0.21, "strong"),
        ("cross_sell_ratio", 0.20, "moderate"),
        ("cross_sell_ratio", 0.10, "moderate"),
        ("cross_sell_ratio", 0.09, "under-performing"),
        ("upsell_revenue_ratio", 1.5, "strong"),
        ("upsell_revenue_ratio", 1.0, "typical"),
        ("upsell_revenue_ratio", 0.99, "weak"),
        ("upsell_ratio", 0.5, None),
    ],
)
def test_bands(name, value, band):
    (kpi,) = (kpi for kpi in KPIS if kpi.name == name)
    assert kpi.band(value) == band
