import pytest

from stream.core.counting.cells import Count, Revenue
from stream.core.counting.figures import FigureSet
from stream.core.counting.kpi import KPIS


def vector(positions, **values):
    filled = [0] * len(positions)
    for name, value in values.items():
        filled[positions[name.upper()]] = value
    return filled


SALES = vector(
    Count, opportunities=10, transactions=8, upsell=3, cross_sell=2, downsell=1, restored=5, any=4, known=7, unknown=1
)
EUROS = vector(
    Revenue, initial=20_000, upsell=5_000, cross_sell=1_000, downsell=300, restored=900, final=30_000, total=40_000
)
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
}


def test_every_kpi_has_a_case():
    assert [kpi.name for kpi in KPIS] == list(TABLE)


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
        (FigureSet("segment", SALES, None, CUSTOMERS), {"upsell_revenue_ratio", "upsell_revenue_share"}),
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
