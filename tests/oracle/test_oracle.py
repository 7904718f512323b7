"""The oracle against cases computed by hand, and the streams against what they promise."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oracle import generate, records
from oracle.oracle import Memory, compute, transactions

NOON = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
HOUR = 3_600
counter = itertools.count()


def event(kind, at=0, data=None, **attributes):
    subject = f"subscription/{data['subscription_id']}" if "subscription" in kind else f"checkout/{data['checkout_id']}"
    return {
        "specversion": "1.0",
        "id": f"e{next(counter)}",
        "source": "/shop",
        "type": f"commerce.{kind}.v1",
        "time": (NOON + timedelta(seconds=at)).isoformat(),
        "subject": subject,
        "data": data,
        **attributes,
    }


def line(sku=None, quantity=1, price="10", **more):
    return {"sku": sku, "quantity": quantity, "price": price, **more}


def checkout(kind, at=0, products=None, attributes=None, **data):
    data = {"checkout_id": "c", "currency": "USD", "products": products, **data}
    return event(kind, at, {name: value for name, value in data.items() if value is not None}, **(attributes or {}))


def started(*products, at=0, **data):
    return checkout("checkout.started", at, list(products), **data)


def completed(*products, at=60, **data):
    return checkout("order.completed", at, list(products), **data)


def refunded(at=120, refund_id="r", currency="USD", **refund):
    return checkout("order.refunded", at, currency=currency, refund={"refund_id": refund_id, **refund})


def item(plan, price, quantity=1, product=None, interval="month", **more):
    product = product or plan
    return {"plan_id": plan, "product_id": product, "price": price, "quantity": quantity, "interval": interval, **more}


def subscription(kind, at, *items, sub="s", customer="ann", currency="USD", **data):
    data = {"subscription_id": sub, "customer_id": customer, "currency": currency, **data}
    if items:
        data["items"] = list(items)
    return event(f"subscription.{kind}", at, data)


def judge(*events):
    return transactions(generate.as_lines(events))


def verdicts(sale):
    return sorted((judged["kind"], judged["reason"], judged["amount"]) for judged in sale["lines"])


def sold(*events):
    (sale,) = judge(*events)
    return sale


# --- checkout

SHOE, SHOE_XL, CREAM = {"product_id": "shoe"}, {"product_id": "shoe", "category": "shoes"}, {"category": "care"}
ROWS = {
    "more": ([line("a")], [line("a", 2)], [("upsell", "quantity", "10.00")]),
    "fewer": ([line("a", 3)], [line("a")], [("downsell", "quantity", "20.00")]),
    "more, but cheaper": ([line("a")], [line("a", 2, "4")], [("upsell", "quantity", "0.00")]),
    "another price": ([line("a")], [line("a", price="12")], []),
    "removed": ([line("a"), line("b")], [line("a")], []),
    "variant up": ([line("a", **SHOE)], [line("b", price="15", **SHOE)], [("upsell", "variant", "5.00")]),
    "variant down": ([line("a", **SHOE)], [line("b", price="8", **SHOE)], [("downsell", "variant", "2.00")]),
    "variant equal": ([line("a", **SHOE)], [line("b", **SHOE)], []),
    "variant by list": (
        [line("a", **SHOE)],
        [line("b", price="15", discount="6", **SHOE)],
        [("upsell", "variant", "0.00")],
    ),
    "substitute up": ([line("a", **CREAM)], [line("b", price="11", **CREAM)], [("upsell", "substitute", "1.00")]),
    "substitute down": ([line("a", **CREAM)], [line("b", price="9", **CREAM)], [("downsell", "substitute", "1.00")]),
    "replaces a product": (
        [line("a", **SHOE)],
        [line("b", price="30", replaces="shoe")],
        [("upsell", "substitute", "20.00")],
    ),
    "replaces before same sku": (
        [line("a"), line("b", price="7")],
        [line("a", replaces="b")],
        [("upsell", "substitute", "3.00")],
    ),
    "another variant beside": (
        [line("a", **SHOE)],
        [line("a", **SHOE), line("b", price="3", **SHOE)],
        [("upsell", "quantity", "3.00")],
    ),
    "addition": ([line("a")], [line("a"), line("b", 2, discount="1")], [("cross_sell", "addition", "19.00")]),
    "gifts take no part": (
        [line("a")],
        [line("a"), line("g", price="0"), line("h", discount="99"), line("i", 0)],
        [],
    ),
    "merged whatever the price": (
        [line("a", 2)],
        [line("a", price="8"), line("a", 2, "11", discount="2")],
        [("upsell", "quantity", "8.00")],
    ),
    "dearest first": (
        [line("a", **CREAM)],
        [line("b", price="5", **CREAM), line("c", price="20", **CREAM)],
        [("cross_sell", "addition", "5.00"), ("upsell", "substitute", "10.00")],
    ),
    "variants without sku": (
        [{"variant_id": "v", "quantity": 1, "price": "10"}],
        [{"variant_id": "v", "product_id": "p", "quantity": 2, "price": "10"}],
        [("upsell", "quantity", "10.00")],
    ),
    "one product, one with a sku": (
        [{"product_id": "shoe", "quantity": 1, "price": "10"}],
        [line("a", 2, **SHOE)],
        [("upsell", "variant", "10.00")],
    ),
}


@pytest.mark.parametrize(("intent", "final", "expected"), ROWS.values(), ids=ROWS.keys())
def test_each_row_of_the_verdict_table(intent, final, expected):
    assert verdicts(sold(started(*intent), completed(*final))) == expected


def test_amounts_are_rounded_once_half_even_to_the_currency():
    sale = sold(started(line("a")), completed(line("a"), line("b", price="0.005"), line("c", price="0.01")))
    assert (sale["cross_sell"], sale["final"]) == ("0.02", "10.02")
    assert [judged["amount"] for judged in sale["lines"]] == ["0.00", "0.01"]
    yen = sold(started(line("a"), currency="JPY"), completed(line("a", 2, "1.25"), currency="JPY"))
    assert (yen["initial"], yen["final"], yen["upsell"]) == ("10", "2", "0")
    dinar = sold(started(line("a"), currency="KWD"), completed(line("a"), currency="KWD"))
    assert dinar["final"] == "10.000"


@pytest.mark.parametrize(
    ("events", "intent", "initial"),
    [
        ([completed(line("a"))], "unknown", "0.00"),
        ([started(line("a", 0)), completed(line("a"))], "unknown", "0.00"),
        ([started(), checkout("checkout.updated", 5, [line("b")]), completed(line("a"))], "known", "10.00"),
        ([started(line("a"), currency="EUR"), completed(line("a", 2))], "incomparable", "0.00"),
        ([started(line("a")), completed(line("a", 2), intent={"products": []})], "known", "0.00"),
        ([started(line("a"), intent={"products": [line("a", 5)]}), completed(line("a", 2))], "known", "50.00"),
    ],
)
def test_where_the_intent_comes_from(events, intent, initial):
    sale = sold(*events)
    assert (sale["intent"], sale["initial"]) == (intent, initial)
    assert intent == "known" or (sale["kinds"], sale["upsell"]) == ([], "0.00")


def test_any_order_of_arrival_restates_to_the_same_sale():
    facts = [
        started(line("a"), channel="web"),
        checkout("checkout.updated", 30, [line("a"), line("b")], channel="app", segment="new"),
        completed(line("a"), line("b"), at=60, customer_id="ann"),
        checkout("order.updated", 90, [line("a", 2)], attributes={"entityversion": 1}),
        checkout("order.updated", 90, [line("a", 3)], attributes={"entityversion": 2}, segment=""),
        refunded(products=[line("a")]),
    ]
    told = [judge(*order) for order in itertools.permutations(facts)]
    assert all(sales == told[0] for sales in told)
    (sale,) = told[0]
    assert (sale["event_id"], sale["time"]) == (facts[2]["id"], "2026-03-01T12:01:00Z")
    assert (sale["customer"], sale["channel"], sale["segment"]) == ("ann", "app", "new")
    assert verdicts(sale) == [("upsell", "quantity", "20.00")]
    assert sale["reversed"]["amounts"] == {
        "final": "10.00",
        "upsell": "10.00",
        "cross_sell": "0.00",
        "downsell": "0.00",
    }


@pytest.mark.parametrize(
    ("reversals", "whole", "kinds", "final", "upsell"),
    [
        ([], False, [], "0.00", "0.00"),
        ([refunded(products=[line("a")])], False, [], "10.00", "10.00"),
        ([refunded(products=[line("a", 2)])], False, ["upsell"], "20.00", "20.00"),
        ([refunded(products=[line("a", 9)])], True, ["upsell"], "30.00", "20.00"),
        ([refunded(products=[line("z")])], False, [], "0.00", "0.00"),
        ([refunded(amount="7.50")], False, [], "7.50", "5.00"),
        ([refunded(amount="7.50"), refunded(at=121, amount="30")], False, [], "7.50", "5.00"),
        (
            [refunded(amount="7.50"), refunded(at=121, refund_id="r2", amount="22.50")],
            True,
            ["upsell"],
            "30.00",
            "20.00",
        ),
        ([refunded(products=[line("a")]), refunded(refund_id="r2", amount="5")], False, [], "15.00", "12.50"),
        ([refunded(products=[line("a")], amount="30")], False, [], "10.00", "10.00"),
        ([refunded(amount="30", currency="EUR")], False, [], "0.00", "0.00"),
        ([refunded()], True, ["upsell"], "30.00", "20.00"),
        ([checkout("order.canceled", 5)], True, ["upsell"], "30.00", "20.00"),
    ],
)
def test_reversals_of_an_order(reversals, whole, kinds, final, upsell):
    lost = sold(started(line("a")), completed(line("a", 3)), *reversals)["reversed"]
    assert lost == {
        "transaction": whole,
        "kinds": kinds,
        "amounts": {"final": final, "upsell": upsell, "cross_sell": "0.00", "downsell": "0.00"},
    }


@pytest.mark.parametrize(
    ("back", "whole"),
    [([line("z")], False), ([line("a")], False), ([line("a", 2)], False), ([line("a", 2), line("g")], True)],
)
def test_of_a_free_order_everything_is_given_back_with_the_last_unit(back, whole):
    free = completed(line("a", 2, discount="20"), line("g", price="0"))
    assert sold(started(line("a")), free, refunded(products=back))["reversed"]["transaction"] == whole
    paid = completed(line("a", 2), line("g", price="0"))
    assert sold(started(line("a")), paid, refunded(products=[line("a", 2)]))["reversed"]["transaction"]


def test_a_refunded_amount_is_shared_exactly():
    # 30.3633 of downsell x 7 / 8.005 = 26.5512; rounded figures would give 30.36 x 7 / 8.00 = 26.565.
    intent, bought = line("a", price="38.3683", **SHOE), line("b", price="8.005", **SHOE)
    lost = sold(started(intent), completed(bought), refunded(amount="7"))["reversed"]
    assert lost["amounts"] == {"final": "7.00", "upsell": "0.00", "cross_sell": "0.00", "downsell": "26.55"}
    nearly = sold(started(line("a")), completed(line("a", price="8.005")), refunded(amount="8"))
    assert (nearly["final"], nearly["reversed"]["transaction"]) == ("8.00", False)


def test_what_is_left_may_still_be_any():
    bought = [line("a", 2), line("b", price="4")]
    reversal = refunded(products=[line("b")])
    summary = compute(generate.as_lines([started(line("a")), completed(*bought), reversal]))
    assert summary["checkout"]["reversed_transactions"] == {
        "all": 0,
        "upsell": 0,
        "cross_sell": 1,
        "downsell": 0,
        "any": 0,
    }


# --- subscription

SMALL, MIDDLE, LARGE = item("s", "20", product="app"), item("m", "50", product="app"), item("l", "80", product="app")


def test_mrr_is_per_month():
    of = [item("a", "120", interval="year"), item("b", "3", interval="week"), item("c", "12", interval="day")]
    sale = sold(subscription("created", 0, *of, item("d", "30", interval_count=3)))
    assert (sale["final"], sale["initial"], sale["intent"], sale["kinds"]) == ("398.00", "398.00", "known", [])


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        ([[MIDDLE], [LARGE]], [("upsell", "plan", "30.00")]),
        ([[MIDDLE], [SMALL]], [("downsell", "plan", "30.00")]),
        ([[MIDDLE], [SMALL], [MIDDLE]], []),
        ([[MIDDLE], [SMALL], [LARGE]], [("upsell", "plan", "30.00")]),
        ([[item("a", "5", 2)], [item("a", "6", 2)]], []),
        ([[item("a", "5", 2)], [item("a", "6", 3)]], [("upsell", "quantity", "6.00")]),
        ([[item("a", "5", 3)], [item("a", "6", 2)]], [("downsell", "quantity", "6.00")]),
        ([[item("a", "5", 3)], [item("a", "5", 1)], [item("a", "5", 3)]], []),
        ([[item("a", "5", 3)], [item("a", "5", 1)], [item("a", "5", 4)]], [("upsell", "quantity", "5.00")]),
        ([[item("a", "5")], [item("a", "5"), item("x", "2")]], [("cross_sell", "addon", "2.00")]),
        ([[item("a", "5")], [item("a", "5"), item("x", "0")]], []),
        ([[item("a", "5"), item("x", "2")], [item("a", "5")], [item("a", "5"), item("x", "2")]], []),
        ([[item("a", "5")], [item("b", "9")]], [("upsell", "plan", "4.00")]),
    ],
)
@pytest.mark.parametrize("kind", ["changed", "renewed"])
def test_a_change_of_items(steps, expected, kind):
    first, *later = steps
    events = [subscription("created", 0, *first)]
    events += [subscription(kind, HOUR * at, *items) for at, items in enumerate(later, 1)]
    assert verdicts(judge(*events)[-1]) == expected


def test_a_trial_counts_when_it_is_converted_against_the_items_of_created():
    sale = sold(
        subscription("created", 0, SMALL, status="trialing"),
        subscription("changed", 1, MIDDLE),
        subscription("change_scheduled", 2, SMALL),
        subscription("trial_converted", 3, LARGE),
        subscription("trial_converted", 4, SMALL),
    )
    assert (verdicts(sale), sale["initial"]) == ([("upsell", "plan", "60.00")], "20.00")
    explicit = sold(
        subscription("created", 0, SMALL, status="trialing", intent={"items": [LARGE]}),
        subscription("trial_converted", 3, MIDDLE),
    )
    assert verdicts(explicit) == [("downsell", "plan", "30.00")]


def test_a_conversion_without_created_is_judged_against_what_was_seen_first():
    trial = subscription("changed", 0, SMALL, status="trialing")
    sale = sold(trial, subscription("changed", 1, LARGE), subscription("trial_converted", 2, MIDDLE))
    assert (verdicts(sale), sale["initial"]) == ([("upsell", "plan", "30.00")], "20.00")
    assert sold(subscription("trial_converted", 2, MIDDLE))["intent"] == "unknown"
    assert sold(subscription("trial_converted", 2, MIDDLE, previous={"items": [SMALL]}))["initial"] == "20.00"


def test_no_amount_is_stated_beyond_the_largest():
    many, dear = item("a", "0.01", 10**9), item("a", "1000000000000")
    assert verdicts(judge(subscription("created", 0, many), subscription("changed", 1, dear))[1]) == [
        ("downsell", "quantity", "1000000000000.00")
    ]
    assert judge(subscription("created", 0, item("a", "1000000000000.01"))) == []
    assert judge(subscription("created", 0, item("a", "40000000000", interval="day"))) == []
    assert judge(completed(line("a", 10**9, "1000"), line("b"))) == []


def test_a_renewal_without_items_keeps_them():
    renewal = judge(subscription("created", 0, SMALL), subscription("renewed", 9), subscription("changed", 10, MIDDLE))
    assert [(sale["initial"], sale["final"]) for sale in renewal] == [
        ("20.00", "20.00"),
        ("20.00", "20.00"),
        ("20.00", "50.00"),
    ]


def test_a_second_subscription_of_a_customer_is_an_additional_product():
    first = subscription("created", 0, SMALL, sub="one")
    other = subscription("created", 9, item("x", "7"), item("y", "1", 2), sub="two")
    same = subscription("created", 9, LARGE, sub="two")
    assert verdicts(judge(first, other)[1]) == [("cross_sell", "additional_product", "9.00")]
    assert verdicts(judge(first, same)[1]) == [("upsell", "quantity", "80.00")]
    assert verdicts(judge(first, other, subscription("canceled", 5, sub="one"))[1]) != []  # known too late: kept
    assert verdicts(judge(first, subscription("canceled", 5, sub="one"), other)[1]) == []
    assert verdicts(judge(other, first)[1]) == [("cross_sell", "additional_product", "20.00")]  # as they arrived
    trial = subscription("created", 0, SMALL, sub="one", status="trialing")
    assert verdicts(judge(trial, other)[0]) == []
    stranger = subscription("created", 9, LARGE, sub="two", customer="bob")
    assert verdicts(judge(first, stranger)[1]) == []


def test_a_refund_reverses_the_newest_transaction_once():
    sales = judge(
        subscription("created", 0, SMALL),
        subscription("changed", 10, LARGE),
        subscription("refunded", 20),
        subscription("refunded", 30),
        subscription("renewed", 40),
    )
    assert [sale["reversed"]["transaction"] for sale in sales] == [False, True, False]
    assert sales[1]["reversed"]["kinds"] == ["upsell"]
    assert sales[1]["reversed"]["amounts"]["final"] == "80.00"


def test_another_currency_starts_anew():
    sales = judge(
        subscription("created", 0, LARGE),
        subscription("changed", 10, SMALL, currency="EUR"),
        subscription("changed", 20, MIDDLE, currency="EUR"),
    )
    assert [sale["intent"] for sale in sales] == ["known", "incomparable", "known"]
    assert verdicts(sales[2]) == [("upsell", "plan", "30.00")]


def test_late_arrivals_within_a_day_are_put_in_order_and_older_ones_are_stale():
    created, changed = subscription("created", 0, SMALL), subscription("changed", 24 * HOUR, LARGE)
    assert verdicts(judge(changed, created)[0]) == [("upsell", "plan", "60.00")]
    assert len(judge(subscription("changed", 24 * HOUR + 1, LARGE), created)) == 1


# --- figures


def test_the_summary_counts_records_of_every_sort():
    bought = completed(line("a"))
    lines = generate.as_lines(
        [started(line("a")), bought, bought, completed(line("b"), attributes={"livemode": False})]
    )
    lines += [b"", b"  \n", b"{", b'{"specversion": "1.0"}']
    summary = compute(lines)
    assert [summary[name] for name in ("events", "rejected", "duplicates")] == [6, 2, 1]
    assert summary["checkout"]["opportunities"] == summary["checkout"]["transactions"] == 1
    assert summary["subscription"]["revenue"] == {}
    assert summary["subscription"]["rates"]["upsell_ratio"] is None
    assert "revenue" not in summary["all"]


def test_revenue_and_its_rates():
    events = [
        started(line("a")),
        completed(line("a", 2), line("b", price="5")),
        completed(line("a"), checkout_id="c2", currency="EUR"),
    ]
    figures = compute(generate.as_lines(events))["checkout"]
    assert figures["revenue"]["USD"] == {
        "initial": "10.00",
        "upsell": "10.00",
        "cross_sell": "5.00",
        "downsell": "0.00",
        "final": "25.00",
        "total": "25.00",
        "reversed": "0.00",
    }
    assert (figures["revenue"]["EUR"]["total"], figures["revenue"]["EUR"]["final"]) == ("10.00", "0.00")
    assert figures["rates"] == {
        "upsell_cross_sell_rate": 0.5,
        "upsell_ratio": 0.5,
        "cross_sell_rate": 0.5,
        "upsell_revenue_ratio": 2.5,
        "upsell_revenue_share": 1.0,
        "customer_upsell_rate": 0.5,
        "customer_cross_sell_rate": 0.5,
        "customer_any_rate": 0.5,
    }


def test_a_window_begins_after_its_edge_and_ends_on_it():
    def sale(at, name, quantity=1):
        wanted = {"intent": {"products": [line("a", category="shoes")]}}
        bought = line("a", quantity, category="shoes")
        return completed(bought, at=at, checkout_id=name, customer_id="ann", segment="new", **wanted)

    lines = generate.as_lines([sale(-HOUR, "edge", 2), sale(-HOUR + 1, "first", 2), sale(0, "last"), sale(1, "next")])
    windows = compute(lines, as_of=NOON, windows={"1h": HOUR, "2h": 2 * HOUR})["windows"]
    assert list(windows) == ["1h", "2h", "total"]
    assert [windows[name]["checkout"]["transactions"] for name in windows] == [2, 3, 4]
    # The customer's newest transaction lies after the window, their newest upsell in it.
    assert windows["1h"]["checkout"]["customers"] == {"all": 0, "upsell": 1, "cross_sell": 0, "any": 1}
    assert windows["1h"]["segment"]["new"]["rates"]["cross_sell_ratio"] == 0.0
    assert windows["1h"]["channel"]["unknown"]["kind_transactions"]["upsell"] == 1
    assert windows["1h"]["category"]["shoes"]["rates"] == {"upsell_ratio": 0.5, "cross_sell_rate": 0.0}
    assert "customers" not in windows["total"]["checkout"]


# --- the streams


@given(generate.streams())
@settings(max_examples=60, deadline=None)
def test_every_event_of_a_stream_is_valid(events):
    assert all(records.parse(record) for record in generate.as_lines(events))


@given(generate.rejected_lines())
@settings(max_examples=60, deadline=None)
def test_a_rejected_record_is_none(record):
    assert records.parse(record) is None


@given(generate.files(), generate.moments())
@settings(max_examples=60, deadline=None)
def test_all_is_the_sum_of_the_journeys(lines, moment):
    summary = compute(lines, as_of=moment)
    for figures in (summary, *summary["windows"].values()):
        for name in ("opportunities", "transactions"):
            assert figures["all"][name] == figures["checkout"][name] + figures["subscription"][name]
    assert len(transactions(lines)) == summary["all"]["transactions"]


@given(generate.checkout_streams(), st.randoms(use_true_random=False))
@settings(max_examples=60, deadline=None)
def test_checkouts_do_not_depend_on_the_order_of_arrival(events, random):
    first = {(one["subject"], one["source"], one["id"]): one for one in reversed(events)}
    lines = generate.as_lines(first.values())
    shuffled = random.sample(lines, len(lines))
    assert compute(shuffled) == compute(lines)


def test_what_is_forgotten_begins_anew():
    day = 24 * HOUR
    started, again = checkout("checkout.started", 0, [line("a")]), checkout("checkout.started", 1, [line("a")])
    completed = checkout("order.completed", 60, [line("a", 2)])
    newer = checkout("checkout.started", 3 * day, [line("a")], checkout_id="d")
    newest = checkout("checkout.started", 6 * day, [line("a")], checkout_id="e")

    def counts(*events, days=6):
        memory = Memory({"checkout": HOUR, "subscription": HOUR}, NOON + timedelta(days=days))
        figures = compute(generate.as_lines(events), memory=memory)["checkout"]
        return figures["opportunities"], figures["kind_transactions"]["upsell"]

    assert counts(started, completed, newer) == (2, 1)
    assert counts(started, newer, completed) == (3, 0), "the newest event is past the end of its day by a day"
    assert counts(started, newer, completed, days=1) == (2, 1), "that event is far ahead of the clock"
    assert counts(newer, started, completed) == (2, 1), "all of it came late"
    assert counts(newer, started, newest, completed) == (4, 0)
    assert counts(started, newer, started, again) == (3, 0), "a repeat that is not recognised, and what belongs with it"
    assert counts(started, checkout("order.completed", 60 + 2 * HOUR, [line("a", 2)])) == (2, 0)
