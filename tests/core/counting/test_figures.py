import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.core.counting.cells import CATEGORY, LENGTHS, MONEY, SALES, Count, Revenue, add, merge
from stream.core.counting.figures import TOTAL, Figures, ShardFigures
from stream.core.counting.summary import Summary

AT = 1_767_323_045_000_000  # 2026-01-02T03:04:05Z


def sale(**values):
    return [values.get(position.name.lower(), 0) for position in Count]


def money(**values):
    return [values.get(part.name.lower(), 0) for part in Revenue]


def shard(journey="checkout", cells=None, *, at=AT, windows=("5m", "1h"), customers=None, ever=None, total=None):
    """The same cells in every window and in the total."""
    entries = list((cells or {}).items())
    return ShardFigures(
        Summary(
            journey=journey,
            at=at,
            stream_time=at,
            windows=[(name, entries) for name in windows],
            total=entries if total is None else list(total.items()),
        ),
        {name.encode(): (count,) * len(windows) for name, count in (customers or {}).items()},
        {name.encode(): count for name, count in (ever or {}).items()},
    )


WEB = {
    (SALES, "web", "new"): sale(
        opportunities=10, transactions=4, upsell=2, any=2, known=3, unknown=1, reversed_all=1, reversed_upsell=1
    ),
    (SALES, "web", "old"): sale(
        opportunities=2, transactions=1, cross_sell=1, restored=1, any=1, known=1, reversed_restored=1
    ),
    (SALES, "app", "new"): sale(opportunities=1),
    (MONEY, "web", "new", "EUR"): money(
        initial=1000, upsell=250, restored=40, final=1250, total=1600, reversed=5, total_any=1000, total_plain=250
    ),
    (MONEY, "web", "old", "JPY"): money(initial=500, cross_sell=100, final=600, total=600),
    (CATEGORY, "shoes"): [3, 2, 1, 0, 2, 1],
}
WEB_CUSTOMERS = {
    "all|all|all": 4,
    "upsell|all|all": 1,
    "all|channel|web": 4,
    "all|segment|a|b": 9,
    "any|segment|new": 1,
}


def test_document():
    subscription = shard(
        "subscription", {(SALES, "web", "new"): sale(opportunities=1, transactions=1, cross_sell=1, any=1, unknown=1)}
    )
    document = Figures([shard(cells=WEB, customers=WEB_CUSTOMERS), subscription]).plain()

    assert document["as_of"] == "2026-01-02T03:04:05Z"
    assert list(document["windows"]) == ["5m", "1h", "total"]
    window = document["windows"]["1h"]
    assert list(window) == ["all", "checkout", "subscription", "channel", "segment", "category", "by"]
    assert window["checkout"] == {
        "opportunities": 13,
        "transactions": 5,
        "kind_transactions": {"upsell": 2, "cross_sell": 1, "downsell": 0, "restored": 1, "any": 3},
        "reversed_transactions": {"all": 1, "upsell": 1, "cross_sell": 0, "downsell": 0, "restored": 1, "any": 0},
        "intents": {"known": 4, "unknown": 1, "incomparable": 0},
        "customers": {"all": 4, "upsell": 1, "cross_sell": 0, "any": 0},
        "revenue": {
            "EUR": {
                "initial": "10.00",
                "upsell": "2.50",
                "cross_sell": "0.00",
                "downsell": "0.00",
                "restored": "0.40",
                "final": "12.50",
                "total": "16.00",
                "reversed": "0.05",
            },
            "JPY": {
                "initial": "500",
                "upsell": "0",
                "cross_sell": "100",
                "downsell": "0",
                "restored": "0",
                "final": "600",
                "total": "600",
                "reversed": "0",
            },
        },
        "amounts": {
            "revenue_per_opportunity": None,
            "average_order_value": None,
            "extra_revenue_per_transaction": None,
        },
        "rates": {
            "upsell_cross_sell_rate": 0.230769,
            "upsell_ratio": 0.4,
            "upsell_revenue_ratio": None,  # two currencies
            "upsell_revenue_share": None,
            "cross_sell_rate": 0.2,
            "customer_upsell_rate": 0.25,
            "customer_cross_sell_rate": 0.0,
            "customer_any_rate": 0.0,
            "order_value_lift": None,
        },
    }
    # Both journeys together have no customers, no revenue, and nothing that is made of these.
    assert window["all"] == {
        "opportunities": 14,
        "transactions": 6,
        "kind_transactions": {"upsell": 2, "cross_sell": 2, "downsell": 0, "restored": 1, "any": 4},
        "reversed_transactions": {"all": 1, "upsell": 1, "cross_sell": 0, "downsell": 0, "restored": 1, "any": 0},
        "intents": {"known": 4, "unknown": 2, "incomparable": 0},
        "rates": {"upsell_cross_sell_rate": 0.285714, "upsell_ratio": 0.333333, "cross_sell_rate": 0.333333},
    }
    assert list(window["channel"]) == ["app", "web"]
    assert window["channel"]["app"]["rates"] == {
        "upsell_cross_sell_rate": 0.0,
        "upsell_ratio": None,
        "cross_sell_rate": None,
    }
    assert window["segment"]["new"]["transactions"] == 5
    assert window["segment"]["new"]["rates"]["cross_sell_ratio"] == 0.2
    assert window["category"] == {
        "shoes": {
            "transactions": 3,
            "kind_transactions": {"upsell": 2, "cross_sell": 1, "downsell": 0, "restored": 1, "any": 2},
            "rates": {"upsell_ratio": 0.666667, "cross_sell_rate": 0.333333},
        }
    }
    by = window["by"]
    assert [(journey, list(by[journey])) for journey in by] == [
        ("checkout", ["channel", "segment", "category"]),
        ("subscription", ["channel", "segment", "category"]),
    ]
    assert {name: list(sets) for name, sets in by["checkout"].items()} == {
        "channel": ["app", "web"],
        "segment": ["new", "old"],
        "category": ["shoes"],
    }
    new = by["checkout"]["segment"]["new"]
    assert (new["transactions"], by["subscription"]["segment"]["new"]["transactions"]) == (4, 1)
    assert new["customers"] == {"all": 0, "upsell": 0, "cross_sell": 0, "any": 1}
    assert list(new["revenue"]) == ["EUR"]
    assert new["amounts"] == {
        "revenue_per_opportunity": {"currency": "EUR", "value": "1.4545"},
        "average_order_value": {"currency": "EUR", "value": "4.0000"},
        "extra_revenue_per_transaction": {"currency": "EUR", "value": "0.6250"},
    }
    assert (new["rates"]["order_value_lift"], new["rates"]["cross_sell_ratio"]) == (2.0, 0.0)
    assert by["checkout"]["category"] == window["category"]
    assert by["subscription"]["category"] == {}
    total = document["windows"][TOTAL]["checkout"]
    assert "customers" not in document["windows"][TOTAL]["by"]["checkout"]["segment"]["new"]
    assert "customers" not in total
    assert not {name for name in total["rates"] if name.startswith("customer_")}
    assert total["revenue"] == window["checkout"]["revenue"]


def test_the_document_of_no_shards_is_complete():
    document = Figures([]).plain()
    assert document["as_of"] is None
    assert document["windows"].keys() == {TOTAL}
    assert document["windows"][TOTAL]["subscription"]["revenue"] == {}
    assert set(Figures([]).summary()) == {"all", "checkout", "subscription"}
    assert Figures([]).summary()["checkout"]["customers"] == {"all": 0, "upsell": 0, "cross_sell": 0, "any": 0}


def test_summary_has_the_customers_ever_seen():
    summary = Figures([shard(cells=WEB, windows=(), ever={"all|all|all": 3, "upsell|all|all": 2})]).summary()
    assert summary["checkout"]["customers"] == {"all": 3, "upsell": 2, "cross_sell": 0, "any": 0}
    assert summary["checkout"]["rates"]["customer_upsell_rate"] == 0.666667
    assert "customers" not in summary["all"]
    assert "revenue" not in summary["all"]


def test_select_any_combination():
    figures = Figures([shard(cells=WEB, customers=WEB_CUSTOMERS), shard("subscription", WEB)])
    web = figures.select("1h", "checkout", "channel", "web")
    assert (web.sales[Count.TRANSACTIONS], web.customers["all"], web.revenue["EUR"][Revenue.FINAL]) == (5, 4, 1250)
    new = figures.select("1h", "checkout", "segment", "new")
    assert new.rates["upsell_revenue_ratio"] == 1.25  # only one currency
    assert new.customers["any"] == 1
    both = figures.select("1h", None, "channel", "web")
    assert (both.sales[Count.TRANSACTIONS], both.customers, both.revenue) == (10, None, None)
    assert figures.select("1h", "checkout", "category", "shoes").sales[Count.UPSELL] == 2
    assert figures.slice("1h", "checkout").pairs["web", "old"][Count.OPPORTUNITIES] == 2


@pytest.mark.parametrize("journey", [None, "checkout"])
@pytest.mark.parametrize("dimension", ["channel", "segment", "category"])
def test_an_unknown_label_value_has_an_empty_figure_set(journey, dimension):
    figures = Figures([shard(cells=WEB)])
    unseen = figures.select("1h", journey, dimension, "nobody")
    assert unseen.plain().keys() == figures.select("1h", journey, dimension, "web").plain().keys()
    assert not any(unseen.sales)


def test_the_separator_may_be_part_of_a_label():
    figures = Figures([shard(cells={(SALES, "web", "a|b"): sale(transactions=9)}, customers=WEB_CUSTOMERS)])
    assert figures.select("1h", "checkout", "segment", "a|b").customers["all"] == 9


def test_shards_with_other_windows_or_times_count_in_the_windows_that_they_have():
    old = shard(cells={(SALES, "web", "new"): sale(transactions=1)}, windows=("1h", "30d"), at=AT - 3_600_000_000)
    new = shard(cells={(SALES, "web", "new"): sale(transactions=2)}, windows=("5m", "1h"))
    figures = Figures([old, new])
    assert figures.as_of == AT
    assert figures.windows == ("5m", "1h", "30d")
    counts = [figures.select(name, "checkout").sales[Count.TRANSACTIONS] for name in ("5m", "1h", "30d", TOTAL)]
    assert counts == [2, 3, 1, 3]


LABELS = st.sampled_from(["web", "app", "other"])
KEYS = st.one_of(
    st.tuples(st.just(SALES), LABELS, LABELS),
    st.tuples(st.just(MONEY), LABELS, LABELS, st.sampled_from(["EUR", "JPY"])),
    st.tuples(st.just(CATEGORY), LABELS),
)


@st.composite
def contributions(draw):
    key = draw(KEYS)
    size = LENGTHS[key[0]]
    cells = {key: draw(st.lists(st.integers(1, 2**60), min_size=size, max_size=size))}
    customers = draw(st.dictionaries(st.sampled_from(["all|all|all", "any|channel|web"]), st.integers(0, 9)))
    windows = draw(st.sampled_from([("5m", "1h"), ("1h",), ("1h", "24h")]))
    return draw(st.sampled_from(["checkout", "subscription"])), windows, cells, customers


def gathered(parts):
    """The figures of one shard that counted all of `parts`, which have the same journey and windows."""
    cells, customers = {}, {}
    for _, _, own_cells, own_customers in parts:
        merge(cells, own_cells)
        for name, count in own_customers.items():
            customers[name] = customers.get(name, 0) + count
    return shard(parts[0][0], cells, windows=parts[0][1], customers=customers)


@given(st.lists(contributions(), max_size=12), st.randoms(use_true_random=False))
def test_figures_do_not_depend_on_the_number_or_order_of_shards(parts, random):
    one_each = [gathered([part]) for part in parts]
    random.shuffle(one_each)
    grouped = [
        gathered(list(same))
        for _, same in itertools.groupby(sorted(parts, key=lambda part: part[:2]), key=lambda part: part[:2])
    ]
    assert Figures(one_each).plain() == Figures(grouped).plain()


@given(st.lists(contributions(), min_size=1, max_size=8))
def test_dimensions_add_up_to_all(parts):
    cells = {}
    for _, _, own, _ in parts:
        merge(cells, {key: vector for key, vector in own.items() if key[0] == SALES})
    sets = Figures([shard(cells=cells)]).slice("1h", "checkout").sets
    for dimension in ("channel", "segment"):
        whole = {}
        for (own, _), figures in sets.items():
            if own == dimension:
                add(whole, (), figures.sales)
        assert whole.get((), [0] * len(Count)) == sets["all", "all"].sales
