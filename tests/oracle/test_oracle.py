"""The oracle against cases computed by hand, and the streams against what they promise."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
from collections import Counter
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

from oracle import generate, records
from oracle.drivers import drivers, strength
from oracle.offers import added_up, offers
from oracle.oracle import Memory, compute, transactions

NOON = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
HOUR = 3_600
DAY = 24 * HOUR
counter = itertools.count()


def event(kind, at=0, data=None, **attributes):
    journey = "subscription" if "subscription_id" in data else "checkout"
    return {
        "specversion": "1.0",
        "id": f"e{next(counter)}",
        "source": "/shop",
        "type": f"commerce.{kind}.v1",
        "time": (NOON + timedelta(seconds=at)).isoformat(),
        "subject": f"{journey}/{data[f'{journey}_id']}",
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


def edited(*products, at=90, **data):
    return checkout("order.updated", at, list(products), **data)


def canceled(at=120, **data):
    return checkout("order.canceled", at, **data)


def refunded(at=120, refund_id="r", currency="USD", order_id=None, **refund):
    refund = {"refund_id": refund_id, **refund}
    return checkout("order.refunded", at, currency=currency, order_id=order_id, refund=refund)


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


def judge_last(*events):
    """The newest transaction by time."""
    return max(judge(*events), key=lambda sale: sale["time"])


def figures(*events):
    return compute(generate.as_lines(events))


def verdicts(sale):
    return sorted((judged["kind"], judged["reason"], judged["amount"]) for judged in sale["lines"])


def sold(*events):
    (sale,) = judge(*events)
    return sale


def reversal(sale):
    """(transaction, kinds, the amounts that are not 0)"""
    lost = sale["reversed"]
    return (
        lost["transaction"],
        lost["kinds"],
        {part: amount for part, amount in lost["amounts"].items() if float(amount)},
    )


# --- the table of a checkout

SHOE, PHOTO, CARE = {"product_id": "shoe"}, {"category": "photo"}, {"category": "care"}
BIG = line("big", price="100")  # keeps what is left over below half of the intent
ROWS = {
    "the same": ([line("a", 2)], [line("a", 2)], []),
    "another price": ([line("a")], [line("a", price="12")], []),
    "the same units on two lines": ([line("a", 3)], [line("a", price="8"), line("a", 2, "11")], []),
    "more": ([line("a")], [line("a", 2)], [("upsell", "quantity", "10.00")]),
    "more on two lines": (
        [line("a", 2)],
        [line("a", price="8"), line("a", 2, discount="2")],
        [("upsell", "quantity", "6.00")],
    ),
    "fewer": ([line("a", 3)], [line("a")], [("downsell", "quantity", "20.00")]),
    "more units, lower total": ([line("a", 1, "24")], [line("a", 2, "10")], []),
    "more units, the same total": ([line("a", 1, "20")], [line("a", 2, "10")], []),
    "fewer units, higher total": ([line("a", 2, "10")], [line("a", 1, "24")], []),
    "more, but no money in it": ([line("a")], [line("a", 2, discount="10")], []),
    "more, at a lower net total": ([line("a")], [line("a", 2, discount="15")], []),
    "variant up": ([line("a", **SHOE)], [line("b", price="15", **SHOE)], [("upsell", "variant", "5.00")]),
    "variant down": ([line("a", **SHOE)], [line("b", price="8", **SHOE)], [("downsell", "variant", "2.00")]),
    "variant equal": ([line("a", **SHOE)], [line("b", **SHOE)], []),
    "variant by list total, amount by net total": (
        [line("a", discount="4", **SHOE)],
        [line("b", price="15", discount="6", **SHOE)],
        [("upsell", "variant", "3.00")],
    ),
    "another variant beside": (
        [line("a", **SHOE)],
        [line("a", **SHOE), line("b", price="3", **SHOE)],
        [("upsell", "quantity", "3.00")],
    ),
    "one of two variants dropped": (
        [line("a", 1, "10", **SHOE), line("b", 1, "30", **SHOE)],
        [line("a", 1, "10", **SHOE)],
        [("downsell", "quantity", "30.00")],
    ),
    "two variants, units moved to the dearer one": (
        [line("a", 2, "10", **SHOE), line("b", 1, "30", **SHOE)],
        [line("a", 1, "10", **SHOE), line("b", 2, "30", **SHOE)],
        [("upsell", "variant", "20.00")],
    ),
    "replaces a product": (
        [line("a", **SHOE)],
        [line("b", price="30", replaces="shoe")],
        [("upsell", "substitute", "20.00")],
    ),
    "replaces two lines": (
        [line("a"), line("b")],
        [line("kit", price="18", replaces=["a", "b"])],
        [("downsell", "substitute", "2.00")],
    ),
    "replaces its own key": ([line("a")], [line("a", 2, replaces="a")], [("upsell", "quantity", "10.00")]),
    "replaces what is also kept": (
        [line("a"), line("b", price="7")],
        [line("a", replaces="b")],
        [("downsell", "substitute", "7.00")],
    ),
    "replaces a gift": (
        [BIG, line("g", price="0")],
        [BIG, line("b", replaces="g")],
        [("cross_sell", "addition", "10.00")],
    ),
    "replaces nothing known": (
        [line("a")],
        [line("a"), line("b", replaces=["z", ""])],
        [("cross_sell", "addition", "10.00")],
    ),
    "empty replaces": ([line("a")], [line("a"), line("b", replaces=[])], [("cross_sell", "addition", "10.00")]),
    "connected lines are one family": (
        [line("a", product_id="p"), {"variant_id": "v", "product_id": "q", "quantity": 1, "price": "10"}],
        [{"sku": "a", "variant_id": "v", "quantity": 2, "price": "12"}],
        [("upsell", "variant", "4.00")],
    ),
    "the key is the variant_id where all have one": (
        [line("a", variant_id="v", **SHOE)],
        [line("a", variant_id="w", price="12", **SHOE)],
        [("upsell", "variant", "2.00")],
    ),
    "else the sku": (
        [line("a", variant_id="v", **SHOE)],
        [line("a", 2, **SHOE)],
        [("upsell", "quantity", "10.00")],
    ),
    "else the product_id": (
        [{"variant_id": "v", "quantity": 1, "price": "10", **SHOE}],
        [line("a", 2, **SHOE)],
        [("upsell", "quantity", "10.00")],
    ),
    "else all three together": (
        [line("a"), {"variant_id": "v", "quantity": 1, "price": "10"}],
        [line("a", price="21", variant_id="v")],
        [("upsell", "variant", "1.00")],
    ),
    "substitute up": (
        [BIG, line("a", **CARE)],
        [BIG, line("b", price="11", **CARE)],
        [("upsell", "substitute", "1.00")],
    ),
    "substitute down": (
        [BIG, line("a", **CARE)],
        [BIG, line("b", price="9", **CARE)],
        [("downsell", "substitute", "1.00")],
    ),
    "substitute equal": ([BIG, line("a", **CARE)], [BIG, line("b", 2, "5", **CARE)], []),
    "substitutes, highest list total first": (
        [BIG, line("a", 1, "10", **CARE), line("b", 1, "20", **CARE)],
        [BIG, line("c", 4, "6", **CARE), line("d", 1, "11", **CARE), line("e", 1, "3", **CARE)],
        [("cross_sell", "addition", "3.00"), ("upsell", "substitute", "1.00"), ("upsell", "substitute", "4.00")],
    ),
    "the category is that of the line with the highest unit price": (
        [BIG, line("a", **CARE)],
        [BIG, line("b", 1, "7", **SHOE, **PHOTO), line("c", 1, "8", **SHOE, **CARE)],
        [("upsell", "substitute", "5.00")],
    ),
    "no category, no substitute": (
        [BIG, line("a")],
        [BIG, line("b", price="11")],
        [("cross_sell", "addition", "11.00")],
    ),
    "less than half is left over": (
        [line("a", price="50.01"), line("b", price="50")],
        [line("a", price="50.01"), line("c", price="70")],
        [("cross_sell", "addition", "70.00")],
    ),
    "exactly half is left over": (
        [line("a", price="50"), line("b", price="50")],
        [line("a", price="50"), line("c", price="70")],
        [("cross_sell", "addition", "70.00")],
    ),
    "more than half is left over": (
        [line("a", price="49.99"), line("b", price="50")],
        [line("a", price="49.99"), line("c", price="70"), line("d", price="1", **CARE)],
        [("upsell", "substitute", "21.00")],
    ),
    "more than half by net total": (
        [line("a", price="50", discount="20"), line("b", price="50", discount="19.99")],
        [line("a", price="50"), line("c", price="20")],
        [("downsell", "substitute", "10.01")],
    ),
    "something else at the same total": ([line("a")], [line("b")], []),
    "more than half is gone, and nothing came": ([line("a", price="50"), line("b")], [line("b")], []),
    "what is paired is not left over": (
        [line("a", price="60", **CARE), line("b", price="40")],
        [line("c", price="70", **CARE), line("d", price="5")],
        [("cross_sell", "addition", "5.00"), ("upsell", "substitute", "10.00")],
    ),
    "removed": ([BIG, line("b")], [BIG], []),
    "removed, against a substitute of its category": (
        [line("cam", price="500", **PHOTO), line("lens", price="100", **PHOTO), line("bag", price="50", **CARE)],
        [line("kit", price="750", **PHOTO)],
        [("upsell", "substitute", "150.00")],
    ),
    "removed, against more than the substitute": (
        [line("cam", price="500", **PHOTO), line("lens", price="300", **PHOTO)],
        [line("kit", price="750", **PHOTO)],
        [],
    ),
    "removed, against a substitute by replaces": (
        [line("cam", price="500", **PHOTO), line("lens", price="100", **PHOTO)],
        [line("kit", price="750", replaces="cam", **PHOTO)],
        [("upsell", "substitute", "150.00")],
    ),
    "removed is no matter for a variant": (
        [line("cam", price="500", product_id="cam", **PHOTO), line("lens", price="100", **PHOTO)],
        [line("cam2", price="750", product_id="cam", **PHOTO)],
        [("upsell", "variant", "250.00")],
    ),
    "removed, largest first": (
        [BIG, line("a", **CARE), line("b", **CARE), line("d", price="9.50", **CARE)],
        [BIG, line("x", price="14", **CARE, replaces="a"), line("y", price="15", **CARE, replaces="b")],
        [],
    ),
    "removed, largest first, and some is left": (
        [BIG, line("a", **CARE), line("b", **CARE), line("d", price="7", **CARE)],
        [BIG, line("x", price="14", **CARE, replaces="a"), line("y", price="15", **CARE, replaces="b")],
        [("upsell", "substitute", "2.00")],
    ),
    "removed by its net total": (
        [BIG, line("a", **CARE), line("d", price="9", discount="7", **CARE)],
        [BIG, line("x", price="14", **CARE)],
        [("upsell", "substitute", "2.00")],
    ),
    "addition": ([line("a")], [line("a"), line("b", 2, discount="1")], [("cross_sell", "addition", "19.00")]),
    "an added family is one verdict": (
        [line("a")],
        [line("a"), line("b", **SHOE), line("c", price="4", **SHOE)],
        [("cross_sell", "addition", "14.00")],
    ),
    "gifts are left out": ([line("a")], [line("a"), line("g", price="0"), line("h", discount="99"), line("i", 0)], []),
    "a free unit of the same sku": ([line("a")], [line("a"), line("a", price="0"), line("a", discount="10")], []),
    "a gift connects nothing": (
        [line("a", **SHOE), line("b", category="care")],
        [line("a", **SHOE), line("b", price="0", **SHOE), line("b", category="care")],
        [],
    ),
    "by weight": ([line("a", "0.250", "8")], [line("a", 1.125, "8")], [("upsell", "quantity", "7.00")]),
}


@pytest.mark.parametrize(("intent", "final", "expected"), ROWS.values(), ids=ROWS.keys())
def test_each_row_of_the_table_of_a_checkout(intent, final, expected):
    # The rows hold as well for an explicit intent, and do not depend on the order of the lines.
    for wanted, bought in ((intent, final), (intent[::-1], final[::-1])):
        assert verdicts(sold(started(*wanted), completed(*bought))) == expected
        assert verdicts(sold(completed(*bought, intent={"products": wanted}))) == expected


def named(*events):
    """(sku, intent_sku, offer_id) of the only line."""
    (judged,) = sold(*events)["lines"]
    return judged["sku"], judged["intent_sku"], judged["offer_id"]


def test_a_verdict_names_the_lines_with_the_highest_unit_price():
    small, large = line("s", price="5", **SHOE), line("l", price="20", offer_id="o", **SHOE)
    middle = line("m", price="12", **SHOE)
    assert named(started(small, middle), completed(large, line("m2", price="20", **SHOE), middle)) == ("l", "s", "o")
    assert named(started(large, small), completed(large, {**small, "quantity": 3})) == ("s", "l", None)
    assert named(started(middle), completed({**middle, "quantity": 2}, small)) == ("m", "m", None)
    fewer = named(started({**small, "quantity": 3}, middle), completed(small, middle))
    assert fewer == ("m", "s", None), "no final line gained units: the dearest of all"
    added = named(started(BIG), completed(BIG, small, line("n", price="5", **SHOE)))
    assert added == ("s", None, None)
    bought_else = named(started(line("a"), line("b", price="11")), completed(line("c"), line("d", price="15")))
    assert bought_else == ("d", "b", None)


def test_removed_lines_are_set_against_the_largest_substitute_first():
    bought = [line("x", price="14", replaces="a", **CARE), line("y", price="15", replaces="b", **CARE)]
    assert named(
        started(BIG, line("a", **CARE), line("b", **CARE), line("d", price="7", **CARE)), completed(BIG, *bought)
    ) == (
        "x",
        "a",
        None,
    )


def test_lines_are_in_the_order_of_the_final_lines():
    sale = sold(started(BIG, line("a")), completed(line("z"), {**BIG, "quantity": 2}, line("a", 2), line("y")))
    assert [judged["sku"] for judged in sale["lines"]] == ["z", "big", "a", "y"]
    assert sale["kinds"] == ["cross_sell", "upsell"]


def test_amounts_are_exact_sums_of_what_has_money_rounded_once_half_even():
    free = [line("b", price="0.005"), line("c", price="0.005")]
    sale = sold(started(line("a")), completed(line("a"), *free))
    assert (sale["kinds"], sale["lines"], sale["cross_sell"], sale["final"]) == ([], [], "0.00", "10.01")
    sale = sold(started(line("a")), completed(line("a"), *free, line("d", price="0.006"), line("e", price="0.009")))
    assert ([judged["amount"] for judged in sale["lines"]], sale["cross_sell"]) == (["0.01", "0.01"], "0.02")
    sale = sold(started(line("a")), completed(line("a"), line("d", price="0.006"), line("e", price="0.006")))
    assert ([judged["amount"] for judged in sale["lines"]], sale["cross_sell"]) == (["0.01", "0.01"], "0.01")
    yen = sold(started(line("a"), currency="JPY"), completed(line("a", 2, "5.25"), currency="JPY"))
    assert (yen["initial"], yen["final"], yen["kinds"]) == ("10", "10", [])
    dinar = sold(started(line("a"), currency="KWD"), completed(line("a"), line("b", price="0.001"), currency="KWD"))
    assert (dinar["final"], dinar["cross_sell"]) == ("10.001", "0.001")


@pytest.mark.parametrize(
    ("events", "intent", "initial"),
    [
        ([completed(line("a"))], "unknown", "0.00"),
        ([started(line("a", 0)), completed(line("a"))], "unknown", "0.00"),
        ([started(), checkout("checkout.updated", 5, [line("b")]), completed(line("a"))], "known", "10.00"),
        ([started(line("a"), currency="EUR"), completed(line("a", 2))], "incomparable", "0.00"),
        ([started(line("a")), completed(line("a", 2), intent={"products": []})], "known", "0.00"),
        ([started(line("a"), intent={"products": [line("a", 5)]}), completed(line("a", 2))], "known", "50.00"),
        (
            [
                started(line("a"), intent={"products": [line("a", 5)]}),
                completed(line("a"), order_id="o"),
                completed(line("a"), at=61, order_id="p", intent={"products": [line("a", 3)]}),
                completed(line("a"), at=62, order_id="q", intent={"products": [line("a", 9)]}),
            ],
            "known",
            "30.00",
        ),
        ([completed(line("a")), edited(line("a"), currency="EUR")], "unknown", "0.00"),
        ([started(line("a")), completed(line("a")), edited(line("a"), currency="EUR")], "incomparable", "0.00"),
        ([started(line("a", price="0")), completed(line("b"))], "known", "0.00"),
    ],
)
def test_where_the_intent_comes_from(events, intent, initial):
    sale = sold(*events)
    assert (sale["intent"], sale["initial"]) == (intent, initial)
    assert intent == "known" or (sale["kinds"], sale["upsell"]) == ([], "0.00")


def test_of_an_empty_intent_everything_is_an_addition():
    sale = sold(completed(line("a"), line("b", price="3"), intent={"products": []}))
    assert verdicts(sale) == [("cross_sell", "addition", "10.00"), ("cross_sell", "addition", "3.00")]


def test_the_opportunity_is_at_the_first_started_fact_else_the_first_updated_or_completed():
    def opportunities(*events):
        windows = compute(generate.as_lines(events), as_of=NOON, windows={"1h": HOUR})["windows"]
        return windows["1h"]["checkout"]["opportunities"], windows["total"]["checkout"]["opportunities"]

    assert opportunities(completed(line("a"), at=-2 * HOUR), started(line("a"), at=-60)) == (1, 1)
    assert opportunities(checkout("checkout.updated", -60, []), completed(line("a"), at=-2 * HOUR)) == (0, 1)
    assert opportunities(edited(line("a"), at=-2 * HOUR), completed(line("a"), at=-60)) == (1, 1)
    assert opportunities(refunded(at=-60), edited(line("a"), at=-60), canceled(at=-60)) == (0, 0)


def test_any_order_of_arrival_restates_to_the_same_sale():
    facts = [
        started(line("a"), channel="web"),
        checkout("checkout.updated", 30, [line("a"), line("b")], channel="app", segment="new"),
        completed(line("a"), line("b"), at=60, customer_id="ann"),
        checkout("order.updated", 90, [line("a", 2)], attributes={"entityversion": 1}),
        checkout("order.updated", 90, [line("a", 3)], attributes={"entityversion": "2"}, segment=""),
        refunded(products=[line("a")]),
    ]
    told = [judge(*order) for order in itertools.permutations(facts)]
    assert all(sales == told[0] for sales in told)
    (sale,) = told[0]
    assert (sale["event_id"], sale["time"], sale["rules"]) == (facts[2]["id"], "2026-03-01T12:01:00Z", 2)
    assert (sale["customer"], sale["channel"], sale["segment"]) == ("ann", "app", "new")
    assert verdicts(sale) == [("upsell", "quantity", "20.00")]
    assert sale["reversed"] == {
        "transaction": False,
        "kinds": [],
        "amounts": {"final": "10.00", "upsell": "10.00", "cross_sell": "0.00", "downsell": "0.00", "restored": "0.00"},
    }


# --- several orders

A, B, C = line("a", price="100"), line("b", price="50"), line("c", price="30")


def test_two_orders_are_one_transaction():
    first, second = completed(A, order_id="o1", customer_id="ann"), completed(B, C, at=61, order_id="o2")
    for facts in ([first, second], [second, first]):
        sale = sold(started(A, B), *facts)
        assert (sale["event_id"], sale["customer"]) == (first["id"], "ann")
        assert (sale["initial"], sale["final"], verdicts(sale)) == (
            "150.00",
            "180.00",
            [("cross_sell", "addition", "30.00")],
        )
    assert figures(started(A, B), first, second)["checkout"]["transactions"] == 1


@pytest.mark.parametrize(
    ("facts", "final"),
    [
        ([completed(A, order_id="o1"), edited(B, order_id="o1")], "50.00"),
        ([completed(A, order_id="o1"), edited(B)], "50.00"),
        ([completed(A, order_id="o1"), completed(B, at=61)], "50.00"),
        ([completed(A), edited(B, order_id="o1")], "50.00"),
        ([completed(A), completed(B, at=61, order_id="o1"), edited(C, order_id="o1")], "130.00"),
        ([completed(A), completed(B, at=61, order_id="o1"), edited(C)], "80.00"),
        ([completed(A, order_id="o1"), edited(B, order_id="o2")], "100.00"),
        ([completed(A, order_id="o1"), completed(B, at=61, order_id="o2"), edited(C, order_id="o2")], "130.00"),
        ([edited(C, at=1, order_id="o1"), completed(A, order_id="o1")], "100.00"),
        ([completed(A, order_id="o1"), completed(B, at=61, order_id="o2", currency="EUR")], "100.00"),
        ([completed(A, order_id="o1", currency="EUR"), completed(B, at=61, order_id="o2")], "100.00"),
    ],
)
def test_which_order_a_fact_belongs_to(facts, final):
    assert sold(started(A, B), *facts)["final"] == final


def test_at_most_32_orders():
    orders = [completed(line("a"), at=60 + number, order_id=f"o{number}") for number in range(33)]
    summary = figures(*orders, edited(line("a", 2), at=200, order_id="o0"))
    assert (summary["rejected"], summary["checkout"]["revenue"]["USD"]["total"]) == (1, "330.00")
    again = figures(*orders, {**orders[-1], "data": {**orders[-1]["data"], "order_id": "o1"}})
    assert (again["duplicates"], again["checkout"]["revenue"]["USD"]["total"]) == (0, "320.00"), (
        "a refused one left no trace"
    )


def test_another_order_in_another_currency_is_in_no_amount():
    facts = [started(A), completed(A, C, order_id="o1"), completed(B, at=61, order_id="o2", currency="EUR")]
    sale = sold(*facts)
    assert (sale["intent"], sale["kinds"], sale["initial"], sale["final"]) == ("incomparable", [], "0.00", "130.00")
    assert reversal(sold(*facts, canceled(order_id="o2"))) == (False, [], {})
    assert reversal(sold(*facts, canceled(order_id="o1"))) == (False, [], {"final": "130.00"})
    assert reversal(sold(*facts, canceled(order_id="o1"), canceled(order_id="o2"))) == (True, [], {"final": "130.00"})
    assert reversal(sold(*facts, refunded(order_id="o2", currency="EUR", amount="9"))) == (False, [], {})


# --- the reversal of a checkout

MORE = (started(line("a")), completed(line("a", 3)))  # an upsell of 20.00


@pytest.mark.parametrize(
    ("reversals", "whole", "kinds", "final", "upsell"),
    [
        ([], False, [], "0.00", "0.00"),
        ([refunded(products=[line("a")])], False, [], "10.00", "10.00"),
        ([refunded(products=[line("a", "0.5")])], False, [], "5.00", "5.00"),
        ([refunded(products=[line("a", 2)])], False, ["upsell"], "20.00", "20.00"),
        ([refunded(products=[line("a", 9)])], True, ["upsell"], "30.00", "20.00"),
        ([refunded(products=[line("z")])], False, [], "0.00", "0.00"),
        ([refunded(products=[line("a"), line("a")])], False, ["upsell"], "20.00", "20.00"),
        ([refunded(amount="7.50")], False, [], "7.50", "5.00"),
        ([refunded(amount="7.50", products=[])], False, [], "7.50", "5.00"),
        ([refunded(products=[])], False, [], "0.00", "0.00"),
        ([refunded(products=[line("a", 0)], amount="30")], False, [], "0.00", "0.00"),
        ([refunded(amount="7.50"), refunded(at=121, amount="30")], False, [], "7.50", "5.00"),
        (
            [refunded(amount="7.50"), refunded(at=121, refund_id="r2", amount="22.50")],
            True,
            ["upsell"],
            "30.00",
            "20.00",
        ),
        ([refunded(products=[line("a")]), refunded(refund_id="r2", amount="5")], False, [], "15.00", "12.50"),
        ([refunded(amount="5", at=70), refunded(refund_id="r2", products=[line("a")])], False, [], "15.00", "12.50"),
        (
            [refunded(amount="20", at=70), refunded(refund_id="r2", products=[line("a")])],
            True,
            ["upsell"],
            "30.00",
            "20.00",
        ),
        ([refunded(products=[line("a")], amount="30")], False, [], "10.00", "10.00"),
        ([refunded(amount="30", currency="EUR")], False, [], "0.00", "0.00"),
        ([refunded(amount="0")], False, [], "0.00", "0.00"),
        ([refunded()], True, ["upsell"], "30.00", "20.00"),
        ([refunded(currency="EUR")], True, ["upsell"], "30.00", "20.00"),
        ([canceled(at=5)], True, ["upsell"], "30.00", "20.00"),
    ],
)
def test_reversals_of_an_order(reversals, whole, kinds, final, upsell):
    amounts = {part: amount for part, amount in (("final", final), ("upsell", upsell)) if float(amount)}
    assert reversal(sold(*MORE, *reversals)) == (whole, kinds, amounts)


@pytest.mark.parametrize(
    ("reversals", "expected"),
    [
        ([canceled(order_id="o1")], (False, [], {"final": "100.00"})),
        ([canceled()], (False, [], {"final": "100.00"})),
        ([canceled(order_id="o2")], (False, ["cross_sell"], {"final": "80.00", "cross_sell": "30.00"})),
        ([refunded(order_id="o2")], (False, ["cross_sell"], {"final": "80.00", "cross_sell": "30.00"})),
        ([refunded(order_id="o2", amount="80")], (False, ["cross_sell"], {"final": "80.00", "cross_sell": "30.00"})),
        ([refunded(order_id="o2", amount="79.20")], (False, [], {"final": "79.20", "cross_sell": "13.20"})),
        ([refunded(order_id="o1", products=[C])], (False, [], {})),
        ([refunded(order_id="o2", products=[C])], (False, ["cross_sell"], {"final": "30.00", "cross_sell": "30.00"})),
        (
            [canceled(order_id="o1"), canceled(order_id="o2")],
            (True, ["cross_sell"], {"final": "180.00", "cross_sell": "30.00"}),
        ),
        ([canceled(order_id="o9")], (False, [], {})),
        (
            [refunded(order_id="o1", amount="9"), refunded(order_id="o2", amount="9")],
            (False, [], {"final": "18.00", "cross_sell": "3.00"}),
        ),
        (
            [canceled(order_id="o1"), refunded(order_id="o2", amount="8")],
            (False, [], {"final": "108.00", "cross_sell": "3.00"}),
        ),
        (
            [refunded(order_id="o1", amount="150"), refunded(refund_id="s", order_id="o2", amount="8")],
            (False, [], {"final": "108.00", "cross_sell": "3.00"}),
        ),
    ],
)
def test_reversals_of_one_of_two_orders(reversals, expected):
    orders = [completed(A, order_id="o1"), completed(B, C, at=61, order_id="o2")]
    assert reversal(sold(started(A, B), *orders, *reversals)) == expected


def test_units_are_found_by_the_first_id_that_both_lines_have_and_gifts_are_the_last():
    bought = [line("a", price="0"), line("a", 2), line("b", variant_id="v", product_id="p")]
    wanted = started(line("a", 2))

    def final_lost(back):
        return sold(wanted, completed(*bought), refunded(products=[back]))["reversed"]["amounts"]["final"]

    assert final_lost(line("a", 2)) == "20.00"
    assert final_lost(line("a", 3)) == "20.00"
    assert final_lost({"variant_id": "v", "sku": "a", "quantity": 1, "price": "0"}) == "10.00"
    assert final_lost({"variant_id": "w", "sku": "b", "quantity": 1, "price": "0"}) == "0.00"
    assert final_lost({"sku": "z", "product_id": "p", "quantity": 1, "price": "0"}) == "0.00"
    assert final_lost({"product_id": "p", "quantity": 1, "price": "0"}) == "10.00"


def test_list_total_and_discount_shrink_in_proportion():
    sale = sold(started(line("a")), completed(line("a", 4, discount="8")), refunded(products=[line("a")]))
    assert (sale["upsell"], reversal(sale)) == ("22.00", (False, [], {"final": "8.00", "upsell": "8.00"}))


def test_a_refund_beside_an_edit():
    # The edited lines still hold the refunded unit. Family a was kept and stays kept: no downsell.
    facts = [
        started(line("a", 2)),
        completed(line("a", 2), C),
        refunded(products=[line("a")]),
        edited(line("a", 2), C, at=130),
    ]
    sale = sold(*facts)
    assert (verdicts(sale), reversal(sale)) == ([("cross_sell", "addition", "30.00")], (False, [], {"final": "10.00"}))


def test_what_comes_back_makes_no_new_pairs_and_is_set_against_nothing():
    # b comes back. c stays a cross-sell, although it would now be a substitute for b.
    wanted = [BIG, line("b", **CARE)]
    facts = [started(*wanted), completed(BIG, line("b", **CARE), line("c", price="12", **CARE))]
    sale = sold(*facts, refunded(products=[line("b")]))
    assert (verdicts(sale), reversal(sale)) == ([("cross_sell", "addition", "12.00")], (False, [], {"final": "10.00"}))
    # x stands for a; y, a kept line of the category, comes back: the upsell stays whole.
    facts = [
        started(BIG, line("a", **CARE), line("y", **CARE)),
        completed(BIG, line("x", price="14", **CARE), line("y", **CARE)),
    ]
    assert reversal(sold(*facts, refunded(products=[line("y")]))) == (False, [], {"final": "10.00"})


def test_removed_lines_are_set_against_what_is_left():
    wanted = [line("big", price="900"), line("a", **CARE), line("b", **CARE), line("d", price="80", **CARE)]
    bought = [wanted[0], line("x", price="110", replaces="a", **CARE), line("y", price="70", replaces="b", **CARE)]
    facts = [started(*wanted), completed(*bought)]
    assert verdicts(sold(*facts)) == [("upsell", "substitute", "20.00"), ("upsell", "substitute", "60.00")]
    gone = sold(*facts, refunded(products=[line("x")]))
    assert reversal(gone) == (False, ["upsell"], {"final": "110.00", "upsell": "80.00"})


def test_a_family_is_judged_again_with_the_units_that_are_left():
    # b, a downsell, comes back. a had more units and has fewer now, which is a downsell of what is left: 10.00 of 20.00.
    facts = [started(line("a", 2), line("b", 3)), completed(line("a", 3), line("b"))]
    sale = sold(*facts, refunded(products=[line("a", 2), line("b")]))
    assert verdicts(sale) == [("downsell", "quantity", "20.00"), ("upsell", "quantity", "10.00")]
    assert reversal(sale) == (False, ["upsell"], {"final": "30.00", "upsell": "10.00", "downsell": "10.00"})


@pytest.mark.parametrize(
    ("back", "whole"),
    [([line("z")], False), ([line("a")], False), ([line("a", 2)], False), ([line("a", 2), line("g")], True)],
)
def test_of_a_free_order_everything_is_given_back_with_the_last_unit(back, whole):
    free = completed(line("a", 2, discount="20"), line("g", price="0"))
    assert sold(started(line("a")), free, refunded(products=back))["reversed"]["transaction"] == whole
    paid = completed(line("a", 2), line("g", price="0"))
    assert sold(started(line("a")), paid, refunded(products=[line("a", 2)]))["reversed"]["transaction"]
    assert not sold(started(line("a")), completed())["reversed"]["transaction"]
    assert sold(started(line("a")), completed(), canceled())["reversed"]["transaction"]


def test_a_refunded_amount_is_shared_exactly():
    # 30.3633 of downsell x 7 / 8.005 = 26.5512; rounded figures would give 30.36 x 7 / 8.00 = 26.565.
    intent, bought = line("a", price="38.3683", **SHOE), line("b", price="8.005", **SHOE)
    lost = sold(started(intent), completed(bought), refunded(amount="7"))
    assert reversal(lost) == (False, [], {"final": "7.00", "downsell": "26.55"})
    nearly = sold(started(line("a")), completed(line("a", price="8.005")), refunded(amount="8"))
    assert (nearly["final"], nearly["reversed"]["transaction"]) == ("8.00", False)


def test_what_is_left_may_still_be_any():
    bought = [line("a", 2), line("b", price="4")]
    summary = figures(started(line("a")), completed(*bought), refunded(products=[line("b")]))
    assert summary["checkout"]["reversed_transactions"] == {
        "all": 0,
        "upsell": 0,
        "cross_sell": 1,
        "downsell": 0,
        "restored": 0,
        "any": 0,
    }


# --- the table of a subscription

SMALL, MIDDLE, LARGE = item("s", "20", product="app"), item("m", "50", product="app"), item("l", "80", product="app")
SEAT = item("seat", "5", role="addon")
FREE = item("free", "0", product="app")
UP, NONE = [("upsell", "plan", "30.00")], []


def test_mrr_is_per_month():
    of = [item("a", "120", interval="year"), item("b", "3", interval="week"), item("c", "12", interval="day")]
    sale = sold(subscription("created", 0, *of, item("d", "30", interval_count=3)))
    assert (sale["final"], sale["initial"], sale["intent"], sale["kinds"]) == ("398.00", "398.00", "known", [])


CHANGES = {
    "a dearer plan": ([[MIDDLE], [LARGE]], UP),
    "a cheaper plan": ([[MIDDLE], [SMALL]], [("downsell", "plan", "30.00")]),
    "another plan at the same MRR": ([[MIDDLE], [item("n", "50", product="app")]], NONE),
    "another interval, below a cent": (
        [[item("m", "8.33", product="p")], [item("y", "100", product="p", interval="year")]],
        NONE,
    ),
    "back to the initial plan": ([[MIDDLE], [SMALL], [MIDDLE]], [("restored", "restored", "30.00")]),
    "back and above": ([[MIDDLE], [SMALL], [LARGE]], [("restored", "restored", "30.00"), *UP]),
    "partly back": ([[LARGE], [SMALL], [MIDDLE]], [("restored", "restored", "30.00")]),
    "more units": ([[item("a", "5", 2)], [item("a", "5", 3)]], [("upsell", "quantity", "5.00")]),
    "fewer units": ([[item("a", "5", 3)], [item("a", "5", 2)]], [("downsell", "quantity", "5.00")]),
    "more units, dearer": ([[item("a", "5", 2)], [item("a", "6", 3)]], [("upsell", "quantity", "6.00")]),
    "more units, cheaper": ([[item("a", "6", 2)], [item("a", "5", 3)]], [("upsell", "quantity", "3.00")]),
    "fewer units, dearer": ([[item("a", "5", 3)], [item("a", "6", 2)]], [("downsell", "quantity", "3.00")]),
    "fewer units, cheaper": ([[item("a", "6", 3)], [item("a", "5", 2)]], [("downsell", "quantity", "5.00")]),
    "tiers: more units, lower MRR": ([[item("a", "24", 20)], [item("a", "19", 21)]], NONE),
    "tiers: more units, the same MRR": ([[item("a", "6", 2)], [item("a", "4", 3)]], NONE),
    "tiers: fewer units, higher MRR": ([[item("a", "19", 21)], [item("a", "24", 20)]], NONE),
    "units back": (
        [[item("a", "5", 3)], [item("a", "5", 1)], [item("a", "5", 3)]],
        [("restored", "restored", "10.00")],
    ),
    "units back and more, at a new price": (
        [[item("a", "5", 3)], [item("a", "5", 1)], [item("a", "6", 5)]],
        [("restored", "restored", "12.00"), ("upsell", "quantity", "12.00")],
    ),
    "an add-on": ([[item("a", "5")], [item("a", "5"), item("x", "2")]], [("cross_sell", "addon", "2.00")]),
    "a free add-on": ([[item("a", "5")], [item("a", "5"), item("x", "0")]], NONE),
    "an add-on again": (
        [[item("a", "5"), item("x", "2")], [item("a", "5")], [item("a", "5"), item("x", "2")]],
        [("restored", "restored", "2.00")],
    ),
    "an add-on again, and more of it": (
        [[item("a", "5"), item("x", "2")], [item("a", "5")], [item("a", "5"), item("x", "2", 3)]],
        [("restored", "restored", "2.00"), ("upsell", "quantity", "4.00")],
    ),
    "an add-on again, in a dearer plan": (
        [
            [item("a", "5"), item("x", "2", product="p")],
            [item("a", "5")],
            [item("a", "5"), item("z", "9", product="p")],
        ],
        [("restored", "restored", "2.00"), ("upsell", "plan", "7.00")],
    ),
    "base with base": ([[item("a", "5")], [item("b", "9")]], [("upsell", "plan", "4.00")]),
    "base by role, however cheap": (
        [[item("a", "5", role="base"), SEAT], [item("b", "9", role="base"), item("z", "50", role="addon")]],
        [("cross_sell", "addon", "49.00")],
    ),
    "the base is the dearest without a role": (
        [[item("a", "20"), item("x", "15")], [item("x", "15"), item("b", "60")]],
        [("upsell", "plan", "40.00")],
    ),
    "no base among add-ons": (
        [[item("x", "20", role="addon")], [item("y", "30", role="addon")]],
        [("cross_sell", "addon", "10.00")],
    ),
    "removed": ([[SMALL, SEAT], [SMALL]], [("downsell", "removed", "5.00")]),
    "two removed": ([[SMALL, SEAT, item("t", "7", role="addon")], [SMALL]], [("downsell", "removed", "12.00")]),
    "removed against an upsell": ([[SMALL, SEAT], [MIDDLE]], [("upsell", "plan", "25.00")]),
    "folded into the plan": ([[SMALL, item("x", "30", role="addon")], [MIDDLE]], NONE),
    "removed, more than the upsell": (
        [[SMALL, item("x", "45", role="addon")], [MIDDLE]],
        [("downsell", "removed", "15.00")],
    ),
    "removed against upsells, then cross-sells": (
        [[SMALL, item("x", "32", role="addon")], [MIDDLE, item("y", "3", role="addon"), item("z", "4", role="addon")]],
        [("cross_sell", "addon", "2.00"), ("cross_sell", "addon", "3.00")],
    ),
    "removed against what is restored": (
        [[LARGE], [SMALL, item("x", "10", role="addon")], [MIDDLE]],
        [("restored", "restored", "20.00")],
    ),
    "a removed one is no matter for a downsell": (
        [[MIDDLE, SEAT], [SMALL]],
        [("downsell", "plan", "30.00"), ("downsell", "removed", "5.00")],
    ),
    "items of a plan are merged": (
        [[item("a", "5"), item("a", "5")], [item("a", "5", 3)]],
        [("upsell", "quantity", "5.00")],
    ),
    "by plan before product": (
        [[MIDDLE, SMALL], [SMALL, item("n", "60", product="app")]],
        [("upsell", "plan", "10.00")],
    ),
    "by product, the highest MRR first": (
        [[SMALL, MIDDLE], [item("n", "60", product="app"), item("o", "15", product="app")]],
        [("downsell", "plan", "5.00"), ("upsell", "plan", "10.00")],
    ),
    "from a free plan": ([[FREE], [SMALL]], [("upsell", "plan", "20.00")]),
}


@pytest.mark.parametrize(("steps", "expected"), CHANGES.values(), ids=CHANGES.keys())
@pytest.mark.parametrize("kind", ["changed", "renewed"])
def test_each_row_of_the_table_of_a_subscription(steps, expected, kind):
    first, *later = steps
    events = [subscription("created", 0, *first)]
    events += [subscription(kind, HOUR * at, *items) for at, items in enumerate(later, 1)]
    sale = judge(*events)[-1]
    assert verdicts(sale) == expected
    every = [one for items in steps for one in items]
    if len({(one["plan_id"], one["price"]) for one in every}) == len({one["plan_id"] for one in every}):
        parts = {
            part: Decimal(sale[part]) for part in ("upsell", "cross_sell", "restored", "downsell", "initial", "final")
        }
        gained = parts["upsell"] + parts["cross_sell"] + parts["restored"]
        assert gained - parts["downsell"] == parts["final"] - parts["initial"], "no price changed"


def test_what_the_lines_of_a_subscription_name():
    def names(*steps):
        events = [subscription("created", 0, *steps[0])]
        events += [subscription("changed", at, *items) for at, items in enumerate(steps[1:], 1)]
        return [(one["reason"], one["sku"], one["intent_sku"]) for one in judge(*events)[-1]["lines"]]

    seats, tool = item("seat", "5", 2, role="addon"), item("tool", "7", role="addon")
    assert names([MIDDLE], [SMALL], [LARGE]) == [("plan", "l", "s"), ("restored", "l", "s")]
    assert names([SMALL, SEAT], [SMALL], [SMALL, seats]) == [("quantity", "seat", "seat"), ("restored", "seat", "seat")]
    assert names([SMALL], [SMALL, SEAT]) == [("addon", "seat", None)]
    assert names([SMALL, SEAT, tool], [SMALL]) == [("removed", None, "tool")]
    assert names([MIDDLE, SEAT, tool], [SMALL]) == [("plan", "s", "m"), ("removed", None, "tool")]


# --- the events of a subscription


def test_created_with_an_explicit_intent_is_judged_against_it():
    wanted = {"items": [SMALL, SEAT]}
    sale = sold(subscription("created", 0, MIDDLE, intent=wanted))
    assert (verdicts(sale), sale["initial"]) == ([("upsell", "plan", "25.00")], "25.00")
    later = judge_last(subscription("created", 0, LARGE, intent=wanted), subscription("changed", 1, FREE, SMALL))
    assert (later["initial"], verdicts(later)) == ("80.00", [("downsell", "plan", "60.00")])
    back = judge_last(
        subscription("created", 0, FREE, intent=wanted), subscription("changed", 1, MIDDLE, intent={"items": [FREE]})
    )
    assert verdicts(back) == [("restored", "restored", "20.00"), *UP], "the first explicit intent holds"
    nothing = sold(subscription("created", 0, SMALL, SEAT, intent={"items": []}))
    assert verdicts(nothing) == [("cross_sell", "addon", "20.00"), ("cross_sell", "addon", "5.00")]


def test_a_trial_counts_when_it_is_converted_against_the_items_of_created():
    events = [
        subscription("created", 0, SMALL, status="trialing"),
        subscription("changed", 1, MIDDLE),
        subscription("changed", 2, item("m", "0", product="app")),
        subscription("change_scheduled", 3, SMALL),
        subscription("trial_converted", 4, LARGE),
        subscription("trial_converted", 5, SMALL),
    ]
    sale = sold(*events)
    assert (verdicts(sale), sale["initial"]) == ([("upsell", "plan", "60.00")], "20.00")
    assert figures(*events)["subscription"]["opportunities"] == 1
    explicit = sold(
        subscription("created", 0, SMALL, status="trialing", intent={"items": [LARGE]}),
        subscription("trial_converted", 3, MIDDLE),
    )
    assert (verdicts(explicit), explicit["initial"]) == ([("downsell", "plan", "30.00")], "80.00")


def test_a_trial_that_is_converted_or_renewed_to_none_ends_without_a_transaction():
    trial = subscription("created", 0, SMALL, status="trialing")
    for end in (
        subscription("trial_converted", 9, FREE),
        subscription("trial_converted", 9, {**SMALL, "quantity": 0}),
        subscription("renewed", 9, FREE),
    ):
        assert judge(trial, end) == []
        (back,) = judge(trial, end, subscription("changed", 3 * DAY, MIDDLE))
        assert (back["initial"], back["final"], back["kinds"]) == ("50.00", "50.00", [])
    renewed = sold(trial, subscription("renewed", 9, MIDDLE))
    assert (verdicts(renewed), renewed["initial"]) == (UP, "20.00")
    assert len(judge(trial, subscription("renewed", 9), subscription("changed", 10, MIDDLE))) == 2, "no trial any more"


def test_a_conversion_without_created_is_judged_against_what_was_seen_first():
    trial = subscription("changed", 0, SMALL, status="trialing")
    sale = sold(trial, subscription("changed", 1, LARGE), subscription("trial_converted", 2, MIDDLE))
    assert (verdicts(sale), sale["initial"]) == (UP, "20.00")
    assert sold(subscription("trial_converted", 2, MIDDLE))["intent"] == "unknown"
    assert sold(subscription("trial_converted", 2, MIDDLE, previous={"items": [SMALL]}))["initial"] == "20.00"


def test_where_the_current_items_come_from():
    unknown = sold(subscription("changed", 0, SMALL))
    assert (unknown["intent"], unknown["initial"], unknown["final"], unknown["kinds"]) == (
        "unknown",
        "0.00",
        "20.00",
        [],
    )
    given_previous = sold(subscription("changed", 0, MIDDLE, previous={"items": [SMALL]}))
    assert (verdicts(given_previous), given_previous["initial"]) == (UP, "20.00")
    known = judge_last(
        subscription("created", 0, SMALL), subscription("changed", 1, MIDDLE, previous={"items": [LARGE]})
    )
    assert verdicts(known) == UP
    assert judge(subscription("changed", 0, SMALL, previous={"items": [SMALL]})) == [], "unchanged"


def test_a_renewal():
    renewal = judge(
        subscription("created", 0, SMALL),
        subscription("renewed", 9),
        subscription("renewed", 10, {**SMALL, "quantity": 0}),
        subscription("renewed", 11, {**SMALL, "price": "25"}),
        subscription("renewed", 12, MIDDLE),
        subscription("changed", 13, MIDDLE),
    )
    assert [(sale["initial"], sale["final"], sale["kinds"]) for sale in renewal] == [
        ("20.00", "20.00", []),
        ("20.00", "20.00", []),
        ("20.00", "20.00", []),
        ("20.00", "25.00", []),
        ("25.00", "50.00", ["upsell"]),
    ]


def test_unchanged_is_counted_nowhere_and_its_prices_are_taken_over():
    dearer = {**SMALL, "price": "25"}
    events = [
        subscription("created", 0, SMALL),
        subscription("changed", 1, SMALL, status="past_due"),
        subscription("changed", 2, dearer),
        subscription("changed", 3, MIDDLE),
    ]
    sale = judge(*events)[-1]
    assert (sale["initial"], verdicts(sale)) == ("25.00", [("upsell", "plan", "25.00")])
    counts = figures(*events)["subscription"]
    assert (counts["opportunities"], counts["transactions"]) == (2, 2)
    assert judge(events[0], subscription("changed", 1, SMALL, currency="EUR"))[1]["intent"] == "incomparable"


def test_a_second_created_while_active_changes_nothing():
    events = [subscription("created", 0, SMALL), subscription("created", 1, LARGE), subscription("changed", 2, MIDDLE)]
    assert [verdicts(sale) for sale in judge(*events)] == [NONE, UP]


def test_another_currency_restarts():
    sales = judge(
        subscription("created", 0, LARGE, intent={"items": [SMALL]}),
        subscription("changed", 10, SMALL, currency="EUR"),
        subscription("changed", 20, MIDDLE, currency="EUR"),
    )
    assert [sale["intent"] for sale in sales] == ["known", "incomparable", "known"]
    assert (sales[1]["initial"], sales[1]["final"]) == ("0.00", "20.00")
    assert verdicts(sales[2]) == UP


def test_late_arrivals_within_72_hours_are_put_in_order_and_older_ones_are_stale():
    created, changed = subscription("created", 0, SMALL), subscription("changed", 3 * DAY, LARGE)
    assert verdicts(judge(changed, created)[0]) == [("upsell", "plan", "60.00")]
    assert len(judge(subscription("changed", 3 * DAY + 1, LARGE), created)) == 1


def test_no_amount_is_stated_beyond_the_largest():
    assert judge(subscription("created", 0, item("a", "1000000000000")))[0]["final"] == "1000000000000.00"
    assert judge(subscription("created", 0, item("a", "1000000000000.01"))) == []
    assert judge(subscription("created", 0, item("a", "40000000000", interval="day"))) == []
    assert judge(completed(line("a", 10**9, "1000"), line("b"))) == []


# --- sold in a checkout


def test_what_a_checkout_sold_is_counted_there():
    created = subscription("created", 0, SMALL, checkout_id="c")
    changed, refund = subscription("changed", 5, MIDDLE), subscription("refunded", 3)
    (sale,) = judge(created, subscription("trial_converted", 1, LARGE), refund, changed)
    assert (verdicts(sale), sale["initial"]) == (UP, "20.00")
    assert reversal(sale) == (False, [], {})
    assert figures(created, changed)["subscription"]["opportunities"] == 1
    trial = subscription("created", 0, SMALL, checkout_id="c", status="trialing")
    (sale,) = judge(trial, subscription("trial_converted", 1, MIDDLE))
    assert (verdicts(sale), sale["initial"]) == (UP, "20.00")
    other = subscription("created", 9, item("x", "7"), sub="two")
    assert verdicts(judge_last(created, other)) == [("cross_sell", "additional_product", "7.00")]


# --- swaps


def swap(*between, at=60, new=MIDDLE, **data):
    """The transaction of a subscription that is created after another one of the customer."""
    first = subscription("created", -40 * DAY, SMALL, sub="one")
    return judge_last(first, *between, subscription("created", at, new, sub="two", **data))


def test_a_swap_is_a_change_of_what_the_customer_canceled():
    end = subscription("canceled", 0, sub="one")
    sale = swap(end)
    assert (verdicts(sale), sale["initial"], sale["intent"]) == (UP, "20.00", "known")
    assert verdicts(swap(end, at=DAY)) == UP
    assert verdicts(swap(end, at=DAY + 0.001)) == NONE
    assert verdicts(swap(subscription("changed", 0, FREE, sub="one"))) == UP
    assert verdicts(swap(subscription("changed", 0, {**SMALL, "quantity": 0}, sub="one"))) == UP
    assert swap(end, currency="EUR")["initial"] == "50.00"
    assert verdicts(swap(end, intent={"items": [LARGE]})) == [("downsell", "plan", "30.00")]
    stranger = subscription("created", 60, MIDDLE, sub="two", customer="bob")
    assert verdicts(judge_last(subscription("created", -DAY, SMALL, sub="one"), end, stranger)) == NONE


def test_what_was_canceled_later_or_in_a_trial_is_no_swap():
    later = subscription("canceled", 100, sub="one")
    assert verdicts(swap(later, at=60)) == NONE
    trial = [subscription("created", -DAY, SMALL, sub="one", status="trialing"), subscription("canceled", 0, sub="one")]
    assert verdicts(judge_last(*trial, subscription("created", 60, MIDDLE, sub="two"))) == NONE
    # Read once, at arrival: the cancellation arrives after the new subscription.
    first, end = subscription("created", -DAY, SMALL, sub="one"), subscription("canceled", 0, sub="one")
    sale = judge_last(first, subscription("created", 60, MIDDLE, sub="two"), end)
    assert (verdicts(sale), sale["initial"]) == ([("upsell", "quantity", "50.00")], "0.00")


def test_a_swap_of_several_uses_each_of_them_up_once():
    tool = item("tool", "30")
    ends = [
        subscription("created", -DAY, tool, sub="three"),
        subscription("created", -DAY, item("eur", "9"), sub="four", currency="EUR"),
        *(subscription("canceled", at, sub=sub) for at, sub in ((0, "one"), (5, "three"), (6, "four"))),
    ]
    sale = swap(*ends, new=LARGE)
    assert (verdicts(sale), sale["initial"]) == (UP, "50.00"), "60.00 of the plan, less 30.00 removed"
    first = subscription("created", -40 * DAY, SMALL, sub="one")
    again = judge(
        first, *ends, subscription("created", 60, LARGE, sub="two"), subscription("created", 70, tool, sub="five")
    )
    assert verdicts(again[-1]) == [("cross_sell", "additional_product", "30.00")]
    euro = subscription("created", 80, item("eur2", "10"), sub="six", currency="EUR")
    assert verdicts(judge(first, *ends, subscription("created", 60, LARGE, sub="two"), euro)[-1]) == [
        ("upsell", "plan", "1.00")
    ]


def test_what_the_customer_came_for_goes_over_to_the_swap():
    lower = [subscription("changed", -DAY, FREE, SEAT, sub="one"), subscription("canceled", 0, sub="one")]
    assert verdicts(swap(*lower)) == [("restored", "restored", "20.00"), ("upsell", "plan", "25.00")]
    first = subscription("created", -40 * DAY, SMALL, sub="one")
    later = judge_last(
        first,
        *lower,
        subscription("created", 60, FREE, SEAT, sub="two"),
        subscription("changed", 70, SMALL, SEAT, sub="two"),
    )
    assert verdicts(later) == [("restored", "restored", "20.00")]


def test_a_swap_by_previous():
    sale = swap(previous={"items": [LARGE]})
    assert (verdicts(sale), sale["initial"]) == ([("downsell", "plan", "30.00")], "80.00"), (
        "the old one is still active"
    )
    back = judge_last(
        subscription("created", 0, SMALL, previous={"items": [MIDDLE]}), subscription("changed", 1, MIDDLE)
    )
    assert verdicts(back) == [("restored", "restored", "30.00")]
    # One with previous uses up what was canceled.
    end = subscription("canceled", 0, sub="one")
    first = subscription("created", -DAY, SMALL, sub="one")
    second = subscription("created", 10, MIDDLE, sub="two", previous={"items": [SMALL]})
    third = judge_last(first, end, second, subscription("created", 20, item("x", "7"), sub="three"))
    assert verdicts(third) == [("cross_sell", "additional_product", "7.00")]


def test_a_trialing_swap_is_judged_at_its_conversion():
    first, end = subscription("created", -DAY, SMALL, sub="one"), subscription("canceled", 0, sub="one")
    trial = subscription("created", 60, MIDDLE, sub="two", status="trialing")
    converted = subscription("trial_converted", 2 * DAY, LARGE, sub="two")
    sale = judge_last(first, end, trial, converted)
    assert (verdicts(sale), sale["initial"]) == ([("upsell", "plan", "60.00")], "20.00")
    assert verdicts(judge(first, end, trial, subscription("created", 70, MIDDLE, sub="three"))[-1]) == NONE, "used up"
    explicit = subscription("changed", 100, MIDDLE, sub="two", intent={"items": [MIDDLE]})
    assert verdicts(judge_last(first, end, trial, explicit, converted)) == UP
    by_previous = subscription("created", 60, MIDDLE, sub="two", status="trialing", previous={"items": [LARGE]})
    assert verdicts(judge_last(by_previous, converted)) == NONE
    renewed = subscription("renewed", 2 * DAY, LARGE, sub="two")
    assert verdicts(judge_last(first, end, trial, renewed)) == UP


# --- additional products


def test_a_second_subscription_of_a_customer_is_an_additional_product():
    first = subscription("created", 0, SMALL, sub="one")
    other = subscription("created", 9, item("x", "7"), item("y", "1", 2), sub="two")
    same = subscription("created", 9, LARGE, sub="two")
    sale = judge(first, other)[1]
    assert (verdicts(sale), sale["initial"], sale["final"]) == (
        [("cross_sell", "additional_product", "9.00")],
        "0.00",
        "9.00",
    )
    assert [(one["sku"], one["intent_sku"]) for one in sale["lines"]] == [("x", None)]
    assert verdicts(judge(first, same)[1]) == [("upsell", "quantity", "80.00")]
    assert verdicts(judge(other, first)[1]) == [("cross_sell", "additional_product", "20.00")]  # as they arrived
    trial = subscription("created", 0, SMALL, sub="one", status="trialing")
    assert verdicts(judge(trial, other)[0]) == NONE
    free = subscription("created", 0, FREE, sub="one")
    assert verdicts(judge(free, other)[1]) == NONE
    gone = subscription("canceled", 5, sub="one")
    late = subscription("created", 5 + DAY + 1, item("x", "7"), sub="two")
    assert verdicts(judge(first, gone, late)[1]) == NONE
    stranger = subscription("created", 9, LARGE, sub="two", customer="bob")
    assert verdicts(judge(first, stranger)[1]) == NONE
    explicit = subscription("created", 9, LARGE, sub="two", intent={"items": [MIDDLE]})
    assert verdicts(judge(first, explicit)[1]) == UP
    euro = subscription("created", 9, LARGE, sub="two", currency="EUR")
    assert verdicts(judge(first, euro)[1]) == [("upsell", "quantity", "80.00")]
    assert verdicts(judge(first, subscription("created", 9, item("x", "0"), sub="two"))[1]) == NONE


def test_of_a_trial_the_conversion_is_the_additional_product():
    trial = subscription("created", 0, item("x", "7"), sub="two", status="trialing")
    converted = subscription("trial_converted", 9, item("x", "8"), sub="two")
    sale = judge_last(trial, subscription("created", 5, SMALL, sub="one"), converted)
    assert (verdicts(sale), sale["initial"]) == ([("cross_sell", "additional_product", "8.00")], "0.00")


# --- what follows a cancellation


def test_a_pause_is_a_cancellation_and_what_follows_a_return():
    for pause in ([{**MIDDLE, "quantity": 0}], [FREE], [{**MIDDLE, "price": "0"}]):
        for kind in ("changed", "renewed"):
            if kind == "renewed" and pause[0]["quantity"] == 0:
                continue
            events = [
                subscription("created", 0, SMALL),
                subscription("changed", 1, MIDDLE),
                subscription(kind, 2, *pause),
                subscription("changed", 9 * DAY, MIDDLE),
            ]
            sales = judge(*events)
            assert [(sale["initial"], sale["final"], verdicts(sale)) for sale in sales[1:]] == [
                ("20.00", "50.00", UP),
                ("50.00", "50.00", NONE),
            ]
            assert figures(*events)["subscription"]["opportunities"] == 3


def after_a_cancellation(at, kind, *items, then=(), **data):
    """The newest transaction, and how many there are."""
    events = [
        subscription("created", -DAY, LARGE),
        subscription("changed", -HOUR, SMALL),
        subscription("canceled", 0),
        subscription("canceled", 50),
        subscription(kind, at, *items, **data),
        *then,
    ]
    return judge_last(*events), len(judge(*events))


@pytest.mark.parametrize("kind", ["created", "changed", "renewed"])
def test_within_24_hours_of_a_cancellation_it_is_a_change(kind):
    for at in (60, DAY):
        sale, count = after_a_cancellation(at, kind, MIDDLE)
        assert (verdicts(sale), sale["initial"], count) == ([("restored", "restored", "30.00")], "20.00", 3)
    sale, count = after_a_cancellation(DAY + 1, kind, MIDDLE)
    assert (verdicts(sale), sale["initial"], sale["intent"], count) == (NONE, "50.00", "known", 3)
    euro, _ = after_a_cancellation(60, kind, MIDDLE, currency="EUR")
    assert (euro["intent"], euro["kinds"]) == ("incomparable", [])
    euro, _ = after_a_cancellation(DAY + 1, kind, MIDDLE, currency="EUR")
    assert (euro["intent"], euro["initial"], euro["final"]) == ("known", "50.00", "50.00")
    explicit, _ = after_a_cancellation(DAY + 1, kind, MIDDLE, intent={"items": [SMALL]})
    assert (verdicts(explicit), explicit["initial"]) == (UP, "20.00")


def test_a_return_restarts_what_the_customer_came_for():
    up = subscription("changed", 3 * DAY, LARGE)
    assert verdicts(after_a_cancellation(2 * DAY, "created", MIDDLE, then=[up])[0]) == UP
    assert verdicts(after_a_cancellation(60, "created", MIDDLE, then=[up])[0]) == [("restored", "restored", "30.00")]


def test_nothing_new_after_a_cancellation():
    sale, count = after_a_cancellation(60, "changed", SMALL)
    assert (count, sale["final"]) == (2, "20.00"), "active again, and unchanged"
    sale, count = after_a_cancellation(60, "changed", SMALL, then=[subscription("changed", 70, MIDDLE)])
    assert (count, verdicts(sale)) == (3, [("restored", "restored", "30.00")])
    assert after_a_cancellation(DAY + 1, "changed", SMALL)[1] == 3
    for at in (60, DAY + 1):
        sale, count = after_a_cancellation(at, "renewed")
        assert (count, sale["initial"], sale["final"], verdicts(sale)) == (3, "20.00", "20.00", NONE)
    sale, count = after_a_cancellation(60, "created", SMALL)
    assert (count, sale["initial"], sale["final"], verdicts(sale)) == (3, "20.00", "20.00", NONE)
    assert after_a_cancellation(60, "changed", FREE)[1] == 2, "a second cancellation"
    # It does not move the first one: the return is a day and a second after that.
    assert (
        verdicts(after_a_cancellation(60, "changed", FREE, then=[subscription("changed", DAY + 1, MIDDLE)])[0]) == NONE
    )


def test_a_return_goes_before_swap_and_additional_product():
    other = [subscription("created", -DAY, item("x", "7"), sub="two"), subscription("canceled", 10, sub="two")]
    events = [subscription("created", -DAY - 1, SMALL), *other, subscription("canceled", 20)]
    back = judge_last(*events, subscription("created", 30, MIDDLE, previous={"items": [LARGE]}))
    assert (verdicts(back), back["initial"]) == (UP, "20.00")
    late = judge_last(*events[:2], events[-1], subscription("created", 20 + DAY + 1, MIDDLE))
    assert (verdicts(late), late["initial"]) == (NONE, "50.00")
    # The return used nothing up.
    third = judge_last(
        *events, subscription("created", 30, MIDDLE), subscription("created", 40, item("z", "9"), sub="three")
    )
    assert (verdicts(third), third["initial"]) == ([("upsell", "plan", "2.00")], "7.00")


def test_a_trialing_return_is_judged_at_its_conversion():
    paid = subscription("trial_converted", 5 * DAY, MIDDLE)
    sale, _ = after_a_cancellation(60, "created", LARGE, status="trialing", then=[paid])
    assert (verdicts(sale), sale["initial"]) == ([("restored", "restored", "30.00")], "20.00")
    sale, _ = after_a_cancellation(2 * DAY, "created", SMALL, status="trialing", then=[paid])
    assert (verdicts(sale), sale["initial"]) == (UP, "20.00")


def test_of_an_unknown_subscription_that_was_canceled():
    end = subscription("canceled", 0)
    assert sold(end, subscription("created", 60, SMALL))["intent"] == "unknown"
    assert sold(end, subscription("changed", 60, MIDDLE, previous={"items": [SMALL]}))["initial"] == "20.00"
    assert sold(end, subscription("created", DAY + 1, SMALL))["initial"] == "20.00"


# --- refunds of a subscription


def refund(at=20, refund_id=None, share=None):
    given = {"refund_id": refund_id, "share": share}
    return subscription("refunded", at, refund={name: value for name, value in given.items() if value is not None})


@pytest.mark.parametrize(
    ("refunds", "expected"),
    [
        ([subscription("refunded", 20)], (True, ["upsell"], {"final": "80.00", "upsell": "60.00"})),
        ([refund()], (True, ["upsell"], {"final": "80.00", "upsell": "60.00"})),
        ([refund(share="1")], (True, ["upsell"], {"final": "80.00", "upsell": "60.00"})),
        ([refund(share="0.25")], (False, [], {"final": "20.00", "upsell": "15.00"})),
        ([refund(share="0")], (False, [], {})),
        ([refund(share="0.001")], (False, [], {"final": "0.08", "upsell": "0.06"})),
        ([refund(20, "r", "0.5"), refund(21, "q", "0.25")], (False, [], {"final": "60.00", "upsell": "45.00"})),
        ([refund(20, "r", "0.5"), refund(21, "r", "1")], (False, [], {"final": "40.00", "upsell": "30.00"})),
        ([refund(20, None, "0.5"), refund(21, None, "0.7")], (True, ["upsell"], {"final": "80.00", "upsell": "60.00"})),
        ([refund(5, "r", "0.5"), refund(21, "r", "1")], (False, [], {})),
        ([refund(-5, "r", "0.5"), refund(21, "r", "0.1")], (False, [], {"final": "8.00", "upsell": "6.00"})),
        ([refund(31)], (False, [], {})),
    ],
)
def test_a_refund_reverses_its_share_of_the_newest_transaction_before_it(refunds, expected):
    events = [subscription("created", 0, SMALL), subscription("changed", 10, LARGE), subscription("renewed", 30)]
    assert reversal(judge(*events, *refunds)[1]) == expected


def test_cash_is_no_share_of_mrr():
    for bad in ({"amount": "5"}, {"amount": 5}, {"share": "1.01"}, {"share": "-1"}, {"share": "half"}):
        assert records.parse(generate.as_lines([subscription("refunded", 0, refund=bad)])[0]) is None
    for good in ({}, {"amount": ""}, {"share": "0.5"}, {"refund_id": "", "share": ""}):
        assert records.parse(generate.as_lines([subscription("refunded", 0, refund=good)])[0])


# --- small versions of reported cases


def test_reported_cases():
    monthly = judge_last(
        subscription("created", 0, item("start", "30")),
        subscription("changed", HOUR, item("pro", "60", product="start", discount="")),
    )
    assert (verdicts(monthly), monthly["restored"]) == (UP, "0.00")
    volume = judge_last(
        subscription("created", 0, item("seat", "12", 10)), subscription("changed", 9, item("seat", "10", 11))
    )
    assert (volume["kinds"], volume["initial"], volume["final"]) == ([], "120.00", "110.00")
    folded = judge_last(
        subscription("created", 0, SMALL, item("ai", "30", role="addon")), subscription("changed", 9, MIDDLE)
    )
    assert (folded["kinds"], folded["initial"], folded["final"]) == ([], "50.00", "50.00")
    fewer = judge_last(
        subscription("created", 0, SMALL, item("ai", "30", role="addon"), item("sso", "45", role="addon")),
        subscription("changed", 9, MIDDLE),
    )
    assert (verdicts(fewer), fewer["final"]) == ([("downsell", "removed", "45.00")], "50.00")
    ended = judge(
        subscription("created", 0, MIDDLE),
        subscription("canceled", 9 * DAY),
        subscription("created", 9 * DAY + 60, LARGE),
        subscription("renewed", 15 * DAY),
    )
    assert [verdicts(sale) for sale in ended] == [NONE, UP, NONE]
    kit = sold(
        started(line("body", price="400", category="photo"), line("flash", price="200", category="photo")),
        completed(line("set", price="550", category="photo")),
    )
    assert (kit["lines"], kit["upsell"], kit["downsell"], kit["initial"], kit["final"]) == (
        [],
        "0.00",
        "0.00",
        "600.00",
        "550.00",
    )
    goodwill = judge(
        subscription("created", 0, SMALL),
        subscription("changed", 5, item("xl", "500", product="app")),
        refund(9, "good", "0.002"),
    )[1]
    assert reversal(goodwill) == (False, [], {"final": "1.00", "upsell": "0.96"})


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
        "restored": "0.00",
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
        "order_value_lift": None,
    }
    assert set(figures["amounts"].values()) == {None}


def test_the_kpis_of_money():
    events = [
        started(line("a")),
        completed(line("a", 2), line("b", price="5.01")),
        started(line("a"), checkout_id="c2"),
        completed(line("a"), checkout_id="c2"),
        started(line("a"), checkout_id="c3"),
        completed(line("a", price="7"), checkout_id="c4"),
    ]
    figures = compute(generate.as_lines(events))
    checkout = figures["checkout"]
    assert (checkout["opportunities"], checkout["transactions"], checkout["intents"]["known"]) == (4, 3, 2)
    assert checkout["amounts"] == {
        "revenue_per_opportunity": {"currency": "USD", "value": "10.5025"},
        "average_order_value": {"currency": "USD", "value": "14.0033"},
        "extra_revenue_per_transaction": {"currency": "USD", "value": "5.0033"},
    }
    assert checkout["rates"]["order_value_lift"] == 2.501
    assert "amounts" not in figures["all"]
    assert "order_value_lift" not in figures["all"]["rates"]
    windows = compute(generate.as_lines(events), as_of=NOON + timedelta(minutes=5), windows={"1h": HOUR})["windows"]
    for window in windows.values():
        assert window["by"]["checkout"]["channel"]["unknown"]["amounts"] == checkout["amounts"]
        assert window["by"]["subscription"] == {"channel": {}, "segment": {}, "category": {}}
        assert "amounts" not in window["channel"]["unknown"]
    assert windows["1h"]["by"]["checkout"]["segment"]["unknown"]["customers"]["all"] == 3
    assert "customers" not in windows["total"]["by"]["checkout"]["segment"]["unknown"]


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


RECORDS = [
    (started(line("a", 1.5)), True),
    (started(line("a", "0.125")), True),
    (started(line("a", "0.1250")), False),
    (started(line("a", 0.0625)), False),
    (started(line("a", "1e3")), False),
    (started(line("a", -0.5)), False),
    (started(line("a", True)), False),
    (started(line("a", 10**9 + 1)), False),
    (started(line("a", replaces="b")), True),
    (started(line("a", replaces=["b", "c"])), True),
    (started(line("a", replaces=["b", 3])), False),
    (started(line("a", replaces={"sku": "b"})), False),
    (started(line("a"), order_id=7), False),
    (subscription("created", 0, item("a", "5", 1.5)), False),
    (subscription("created", 0, item("a", "5", "1")), False),
    (subscription("created", 0, SMALL, checkout_id="c"), True),
    (subscription("created", 0, SMALL, checkout_id=5), False),
    (subscription("created", 0, SMALL, livemode="false"), True),
    (subscription("refunded", 0, refund=[]), False),
]


@pytest.mark.parametrize(("record", "valid"), RECORDS)
def test_what_is_an_event(record, valid):
    assert bool(records.parse(generate.as_lines([record])[0])) == valid


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


@given(generate.checkout_streams())
@settings(max_examples=60, deadline=None)
def test_a_cart_against_itself_gives_no_verdict(events):
    for each in events:
        products = each["data"].get("products")
        if products and each["type"] == records.COMPLETED:
            each["data"]["intent"] = {"products": products}
            sale = sold({**each, "livemode": True})
            assert (sale["kinds"], sale["initial"]) == ([], sale["final"])


@given(generate.streams())
@settings(max_examples=60, deadline=None)
def test_no_more_is_reversed_than_there_was(events):
    for sale in judge(*events):
        lost = sale["reversed"]
        assert set(lost["kinds"]) <= set(sale["kinds"])
        assert all(0 <= Decimal(amount) <= Decimal(sale[part]) for part, amount in lost["amounts"].items())
        for kind in ("upsell", "cross_sell", "downsell", "restored"):
            assert (kind in sale["kinds"]) == (Decimal(sale[kind]) != 0)
        assert sale["intent"] == "known" or not sale["kinds"]


def test_the_streams_meet_every_verdict():
    met = Counter()

    @seed(1)
    @given(generate.checkout_streams(), generate.subscription_streams())
    @settings(max_examples=200, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    def look(carts, plans):
        for sale in judge(*carts, *plans):
            met.update((sale["journey"], one["kind"], one["reason"]) for one in sale["lines"])
            met[sale["journey"], sale["intent"]] += 1
            met.update((sale["journey"], "reversed", kind) for kind in sale["reversed"]["kinds"])

    look()
    rows = [
        ("checkout", kind, reason)
        for kind in ("upsell", "downsell")
        for reason in ("variant", "quantity", "substitute")
    ]
    rows += [("subscription", kind, reason) for kind in ("upsell", "downsell") for reason in ("quantity", "plan")]
    rows += [
        ("checkout", "cross_sell", "addition"),
        ("subscription", "cross_sell", "addon"),
        ("subscription", "cross_sell", "additional_product"),
        ("subscription", "restored", "restored"),
        ("subscription", "downsell", "removed"),
    ]
    rows += [
        (journey, intent) for journey in ("checkout", "subscription") for intent in ("known", "unknown", "incomparable")
    ]
    rows += [
        (journey, "reversed", kind) for journey in ("checkout", "subscription") for kind in ("cross_sell", "upsell")
    ]
    assert [row for row in rows if not met[row]] == []


def test_what_is_forgotten_begins_anew():
    started, again = checkout("checkout.started", 0, [line("a")]), checkout("checkout.started", 1, [line("a")])
    completed = checkout("order.completed", 60, [line("a", 2)])
    newer = checkout("checkout.started", 5 * DAY, [line("a")], checkout_id="d")
    newest = checkout("checkout.started", 9 * DAY, [line("a")], checkout_id="e")

    def counts(*events, days=9):
        memory = Memory({"checkout": HOUR, "subscription": HOUR}, NOON + timedelta(days=days))
        figures = compute(generate.as_lines(events), memory=memory)["checkout"]
        return figures["opportunities"], figures["kind_transactions"]["upsell"]

    assert counts(started, completed, newer) == (2, 1)
    assert counts(started, newer, completed) == (3, 0), "the newest event is past the end of its day by three days"
    assert counts(started, newer, completed, days=1) == (2, 1), "that event is far ahead of the clock"
    assert counts(newer, started, completed) == (2, 1), "all of it came late"
    assert counts(newer, started, newest, completed) == (4, 0)
    assert counts(started, newer, started, again) == (3, 0), "a repeat that is not recognised, and what belongs with it"
    assert counts(started, checkout("order.completed", 60 + 2 * HOUR, [line("a", 2)])) == (2, 0)


# --- offers


def offer(kind, at, name="x", slot=None, entity="c", **attributes):
    journey = "subscription" if entity.startswith("s") else "checkout"
    data = {f"{journey}_id": entity, "offer_id": name} | ({} if slot is None else {"slot": slot})
    return event(f"offer.{kind}", at, data, **attributes)


def shown(at, name="x", slot=None, **more):
    return offer("shown", at, name, slot, **more)


def declined(at, name="x", slot=None, **more):
    return offer("declined", at, name, slot, **more)


def rows(*events, journey="checkout", zone=UTC):
    """(day of March, offer, slot) -> what is counted, without zeros, of the verdicts those that occur."""
    found = {}
    for day, of_day in offers(generate.as_lines(events), zone)[journey].items():
        for (name, slot), row in of_day.items():
            verdicts = {kind: number for kind, number in row.pop("by_verdict").items() if number}
            assert sum(verdicts.values()) == row["accepted"] >= row["reversed"]
            del row["accepted"]
            found[int(day[-2:]), name, slot] = {name: value for name, value in row.items() if value} | verdicts
    return found


def accepted(*events, journey="checkout"):
    """The only row, of an offer without a slot."""
    ((row),) = rows(*events, journey=journey).values()
    return row


def test_the_first_shown_and_the_first_declined_count_each_at_its_own_day():
    late, early = shown(DAY, slot="cart"), shown(60, slot="e-mail")
    no, again = declined(DAY + 60, slot="banner"), declined(2 * DAY)
    expected = {(1, "x", "e-mail"): {"shown": 1}, (2, "x", "e-mail"): {"declined": 1}}
    for order in itertools.permutations([late, early, no, again]):
        assert rows(*order) == expected
    assert rows(late, early, early, late, no) == expected, "delivered again"
    assert rows(shown(0), shown(0, entity="d"), shown(0, "y")) == {
        (1, "x", "unknown"): {"shown": 2},
        (1, "y", "unknown"): {"shown": 1},
    }


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({"entityversion": 1, "id": "z"}, {"entityversion": 2, "id": "a"}),
        ({"id": "a", "source": "/z"}, {"id": "b", "source": "/a"}),
        ({"id": "a", "source": "/a"}, {"id": "a", "source": "/b"}),
    ],
)
def test_at_the_same_time_version_id_and_source_say_which_is_the_first(first, second):
    events = [shown(0, slot="first", **first), shown(0, slot="second", **second)]
    assert rows(*events) == rows(*reversed(events)) == {(1, "x", "first"): {"shown": 1}}


def test_the_slot_is_that_of_the_first_shown():
    bought = completed(line("a", offer_id="x"), intent={"products": [line("a")]})
    money = {"nothing": 1, "gross": {"USD": "10.00"}, "kept": {"USD": "10.00"}}
    no = declined(10, slot="cart")
    assert rows(shown(0), shown(5, slot="e-mail"), no, bought) == {
        (1, "x", "unknown"): {"shown": 1, "declined": 1, **money}
    }
    # It may be shown after it was bought.
    assert rows(shown(DAY, slot="e-mail"), no, bought) == {
        (1, "x", "e-mail"): {"declined": 1, **money},
        (2, "x", "e-mail"): {"shown": 1},
    }
    assert rows(no, bought) == {(1, "x", "cart"): {"declined": 1}, (1, "x", "unknown"): money}, "not shown"
    assert rows(declined(10), declined(20, slot="cart")) == {(1, "x", "unknown"): {"declined": 1}}
    assert rows(shown(0, slot="unknown")) == rows(shown(0, slot="")) == {(1, "x", "unknown"): {"shown": 1}}


def test_test_events_about_offers_count_nothing():
    assert rows(shown(0, livemode=False), shown(5, slot="cart")) == {(1, "x", "cart"): {"shown": 1}}


def test_events_about_offers_are_in_no_other_figure_and_never_stale():
    facts = [
        subscription("created", 0, item("a", "10"), channel="web"),
        subscription("changed", DAY, item("a", "10", 2)),
    ]
    about = [shown(-9 * DAY, entity="s"), shown(9 * DAY, "y", entity="s"), declined(5)]
    plain, whole = figures(*facts), figures(facts[0], *about, facts[1])
    assert whole == plain | {"events": 5}
    found = offers(generate.as_lines([*facts, *about]))["subscription"]
    assert {day: list(of_day) for day, of_day in found.items()} == {
        "2026-02-20": [("x", "unknown")],
        "2026-03-10": [("y", "unknown")],
    }


def test_a_transaction_that_turns_out_to_be_none_is_counted_nowhere():
    change = subscription("changed", DAY, item("a", "10", 2, offer_id="x"))
    trial = subscription("created", 0, item("a", "10"), status="trialing")
    assert rows(change, journey="subscription") != {}
    assert rows(change, trial, journey="subscription") == {}
    assert drivers(generate.as_lines([change, trial]))["subscription"] == {}


def test_days_are_those_of_the_time_zone():
    zone = ZoneInfo("Asia/Kathmandu")  # 5:45 ahead of UTC: its next day begins at 18:15.
    seconds = int(6.25 * HOUR)
    assert rows(shown(seconds - 1), shown(seconds, "y"), zone=zone) == {
        (1, "x", "unknown"): {"shown": 1},
        (2, "y", "unknown"): {"shown": 1},
    }


CUPS = line("cup", 2, category="cups")
OFFERED_VERDICTS = {
    "upsell": ([line("a")], [line("a", 2, offer_id="x")], "upsell"),
    "the family's, named by another line": (
        [line("v", product_id="p")],
        [line("w", price="30", product_id="p"), line("v", price="10", product_id="p", offer_id="x")],
        "upsell",
    ),
    "cross-sell": ([line("a")], [line("a"), line("b", offer_id="x")], "cross_sell"),
    "downsell": ([CUPS], [{**CUPS, "quantity": 1, "offer_id": "x"}], "downsell"),
    "bought anyway": ([line("a")], [line("a", offer_id="x")], "nothing"),
    "a gift": ([line("a")], [line("a"), line("b", price="0", offer_id="x")], "nothing"),
    "without money": ([line("a")], [line("a"), line("b", price="0.004", offer_id="x")], "nothing"),
    "all that is left over": ([line("a"), line("b")], [line("c", price="30", offer_id="x")], "upsell"),
    "of two: upsell before cross-sell": (
        [line("a")],
        [line("b", offer_id="x"), line("a", 2, offer_id="x")],
        "upsell",
    ),
    "of two: cross-sell before downsell": (
        [CUPS],
        [{**CUPS, "quantity": 1, "offer_id": "x"}, line("b", offer_id="x")],
        "cross_sell",
    ),
    "of two: downsell before nothing": (
        [CUPS, line("a")],
        [line("a", offer_id="x"), {**CUPS, "quantity": 1, "offer_id": "x"}],
        "downsell",
    ),
}


@pytest.mark.parametrize(("intent", "final", "expected"), OFFERED_VERDICTS.values(), ids=OFFERED_VERDICTS.keys())
def test_an_acceptance_has_the_verdict_on_its_family(intent, final, expected):
    row = accepted(started(*intent), completed(*final))
    assert row[expected] == 1
    assert "unknown" not in row
    assert accepted(completed(*final))["unknown"] == 1
    assert accepted(started(*intent, currency="EUR"), completed(*final))["unknown"] == 1


def test_a_checkout_accepts_with_the_lines_of_all_its_orders_as_they_stand():
    first = completed(line("a"), line("b", offer_id="y"), order_id="1")
    other = completed(line("c", 2, "4.005", discount="1", offer_id="x"), at=2 * DAY, order_id="2")
    edit = edited(line("a"), at=3 * DAY, order_id="1")
    counted = {"cross_sell": 1, "gross": {"USD": "7.01"}, "kept": {"USD": "7.01"}}
    # On the day of the transaction, whenever the order came; what the edit took away is accepted no more.
    for order in itertools.permutations([started(line("a")), first, other, edit]):
        assert rows(*order) == {(1, "x", "unknown"): counted}


def test_gross_is_rounded_once_half_even_and_in_the_currency_of_the_transaction():
    lines = [line("b", 1, "0.005", offer_id="x"), line("c", 1, "0.02", offer_id="x")]
    assert accepted(completed(*lines))["gross"] == {"USD": "0.02"}, "0.025"
    assert accepted(completed(line("b", 1, "0.4", offer_id="x"), currency="JPY")) == {"unknown": 1}
    assert accepted(completed(line("b", 1, "600", offer_id="x"), currency="JPY"))["gross"] == {"JPY": "600"}
    other = completed(line("b", offer_id="x"), currency="EUR", order_id="2", at=70)
    assert accepted(started(line("a")), completed(line("a"), order_id="1"), other) == {"unknown": 1}, "no money"


OFFERED = [line("a"), line("b", 4, "2.50", discount="1", offer_id="x")]
LOSSES = {
    "some units": ([refunded(products=[line("b")])], 0, "6.75"),
    "all units": ([refunded(products=[line("b", 3)]), refunded(refund_id="s", products=[line("b", 9)])], 1, "0.00"),
    "canceled": ([canceled()], 1, "0.00"),
    "given back whole": ([refunded()], 1, "0.00"),
    "as much money as was paid": ([refunded(amount="19")], 1, "0.00"),
    "a share of the money": ([refunded(amount="1.90")], 0, "8.10"),
    "units and a share of what is left": (
        [refunded(products=[line("b", 3)]), refunded(refund_id="s", amount="1.225")],
        0,
        "2.02",  # 2.25 less a tenth: 2.025
    ),
    "another line": ([refunded(products=[line("a")])], 0, "9.00"),
}


@pytest.mark.parametrize(("reversals", "whole", "kept"), LOSSES.values(), ids=LOSSES.keys())
def test_kept_and_reversed(reversals, whole, kept):
    row = accepted(started(line("a")), completed(*OFFERED), *reversals)
    assert row == {
        "cross_sell": 1,
        "gross": {"USD": "9.00"},
        "kept": {"USD": kept},
        **({"reversed": 1} if whole else {}),
    }


def test_nothing_is_left_of_an_offer_when_its_order_is_canceled():
    first, second = completed(line("a"), order_id="1"), completed(line("b", offer_id="x"), order_id="2", at=70)
    assert accepted(started(line("a")), first, second, canceled(order_id="2"))["reversed"] == 1
    assert "reversed" not in accepted(started(line("a")), first, second, canceled(order_id="1"))
    both = [completed(line("b", offer_id="x"), order_id="1"), completed(line("b", offer_id="x"), order_id="2", at=70)]
    row = accepted(started(line("a")), *both, canceled(order_id="2"))
    assert (row["gross"], row["kept"], "reversed" in row) == ({"USD": "20.00"}, {"USD": "10.00"}, False)


def test_a_subscription_accepts_with_the_first_transaction_that_has_the_item():
    base, addon = item("base", "10", role="base"), item("tool", "3", 2, role="addon", offer_id="x")
    begun = subscription("created", 0, base)
    change = subscription("changed", DAY, base, addon)
    more = subscription("changed", 2 * DAY, base, {**addon, "quantity": 5})
    counted = {"cross_sell": 1, "gross": {"USD": "6.00"}, "kept": {"USD": "6.00"}}
    own = {"journey": "subscription"}
    assert rows(begun, change, more, **own) == {(2, "x", "unknown"): counted}, "once"
    assert rows(begun, more, change, **own) == {(2, "x", "unknown"): counted}
    seen = [shown(2 * DAY, slot="e-mail", entity="s"), declined(60, entity="s")]
    assert rows(begun, change, *seen, **own) == {
        (1, "x", "e-mail"): {"declined": 1},
        (2, "x", "e-mail"): counted,
        (3, "x", "e-mail"): {"shown": 1},
    }
    renewed = subscription("renewed", 2 * DAY)
    assert rows(begun, change, renewed, **own) == {(2, "x", "unknown"): counted}
    # An item of a trial is accepted when it is paid; one that a checkout sold, with the first transaction after that.
    trial = subscription("created", 0, base, addon, status="trialing")
    assert list(rows(trial, subscription("trial_converted", DAY, base, addon), **own)) == [(2, "x", "unknown")]
    assert rows(trial, **own) == {}
    bought = subscription("created", 0, base, addon, checkout_id="c")
    assert rows(bought, renewed, **own)[3, "x", "unknown"]["nothing"] == 1


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ([item("a", "10")], [item("a", "10", 2, offer_id="x")], "upsell"),
        ([item("a", "10", 2)], [item("a", "10", offer_id="x")], "downsell"),
        ([item("a", "10")], [item("a", "12", offer_id="x"), item("b", "5")], "nothing"),
        ([item("a", "10")], [item("a", "10", 2, offer_id="x"), item("b", "5", offer_id="x")], "upsell"),
    ],
)
def test_an_item_has_the_verdict_that_names_it(before, after, expected):
    events = subscription("created", 0, *before), subscription("changed", DAY, *after)
    assert accepted(*events, journey="subscription")[expected] == 1
    foreign = subscription("changed", DAY, *after, currency="EUR")
    assert accepted(events[0], foreign, journey="subscription")["unknown"] == 1


def test_an_item_that_is_new_and_restored_is_an_upsell_and_one_that_is_only_restored_is_that():
    begun, less = subscription("created", 0, item("a", "10", 2)), subscription("changed", DAY, item("a", "10"))
    for units, verdict in ((2, "restored"), (3, "upsell")):
        again = subscription("changed", 2 * DAY, item("a", "10", units, offer_id="x"))
        assert accepted(begun, less, again, journey="subscription")[verdict] == 1


def test_items_of_one_plan_have_the_first_offer():
    items = [item("a", "10"), item("a", "10", offer_id="x"), item("a", "5", offer_id="y")]
    assert accepted(subscription("created", 0, *items), journey="subscription")["gross"] == {"USD": "25.00"}


@pytest.mark.parametrize(
    ("shares", "kept", "whole"),
    [(["0.5"], "4.17", 0), (["0.5", "0.4"], "0.83", 0), (["0.5", "0.5"], "0.00", 1), ([None], "0.00", 1)],
)
def test_a_share_given_back_is_taken_from_the_exact_amount(shares, kept, whole):
    begun = subscription("created", 0, item("a", "100", interval="year", offer_id="x"))
    back = [refund(20 + step, str(step), share) for step, share in enumerate(shares)]
    row = accepted(begun, *back, journey="subscription")
    assert (row["gross"], row["kept"], row.get("reversed", 0)) == ({"USD": "8.33"}, {"USD": kept}, whole)


def test_64_offers_of_an_entity_have_a_place_in_the_order_of_the_log():
    crowd = [shown(100 + number, f"n{number}") for number in range(63)]
    begun = started(line("a"))
    bought = completed(
        line("a"),
        line("b", offer_id="own"),
        line("c", price="0.005", offer_id="of all"),
        line("d", price="0.02", offer_id="further"),
        at=DAY,
    )

    def few(*events):
        return {key: row for key, row in rows(*events).items() if not key[1].startswith("n")}

    own = {"cross_sell": 1, "gross": {"USD": "10.00"}, "kept": {"USD": "10.00"}}
    rest = {"cross_sell": 1, "gross": {"USD": "0.02"}, "kept": {"USD": "0.02"}}
    assert few(*crowd, begun, bought) == {(2, "own", "unknown"): own, (2, "other", "unknown"): rest}
    # What comes later in the log is `other`, however early it was. Of all these the first counts, once.
    late = [shown(5, "of all", "cart"), shown(3, "late", "e-mail"), declined(9, "late"), declined(8, "further")]
    expected = {
        (2, "own", "unknown"): own,
        (1, "other", "e-mail"): {"shown": 1, "declined": 1},
        (2, "other", "e-mail"): rest,
    }
    assert few(*crowd, begun, bought, *late) == expected
    # A place once taken is kept, also by an offer that an edit took away, or of which only a part of the history knew.
    edit = edited(line("a"), line("z", offer_id="of all"), at=DAY + 60)
    assert few(*crowd, begun, bought, edit) == {(2, "other", "unknown"): own}
    # An offer that is called `other` is one of these, and takes no place.
    named = [shown(50, "other", "banner"), shown(200, "one more")]
    assert few(named[0], *crowd, named[1]) == {
        (1, "one more", "unknown"): {"shown": 1},
        (1, "other", "banner"): {"shown": 1},
    }
    # Each entity has its own places, and a test event takes none.
    elsewhere = [{**each, "livemode": False} for each in crowd]
    assert (1, "own", "unknown") in few(
        *elsewhere, begun, {**bought, "time": begun["time"]}, shown(9, "own", entity="d")
    )


def test_later_transactions_name_offers_and_the_other_one_is_accepted_once():
    crowd = [shown(100 + number, f"n{number}", entity="s") for number in range(64)]
    steps = [
        subscription("created", 0, item("a", "10")),
        subscription("changed", DAY, item("a", "10"), item("b", "3", offer_id="x")),
        subscription("changed", 2 * DAY, item("a", "10"), item("b", "3", offer_id="x"), item("c", "4", offer_id="y")),
    ]
    found = rows(*crowd, *steps, journey="subscription")
    assert {key: row["gross"] for key, row in found.items() if "gross" in row} == {
        (2, "other", "unknown"): {"USD": "3.00"}
    }
    found = rows(*crowd[:63], *steps, journey="subscription")
    assert {key: row["gross"] for key, row in found.items() if "gross" in row} == {
        (2, "x", "unknown"): {"USD": "3.00"},
        (3, "other", "unknown"): {"USD": "4.00"},
    }


# --- drivers


def sells(*events, journey="checkout", day="2026-03-01"):
    return drivers(generate.as_lines(events))[journey][day]


def products(*events, **more):
    """product -> (transactions, reversed, in the intent, cross-sells, amount in USD)"""
    found = sells(*events, **more)["products"]
    for row in found.values():
        assert set(row["amounts"]) <= {"USD"}
        row["amounts"] = row["amounts"].get("USD", "0")
    return {name: tuple(row.values()) for name, row in found.items()}


def test_products_bought():
    wanted = [line("a", product_id="p"), line("b", 2), line("free", price="0")]
    final = [
        line("a", 2, "0.005", product_id="p"),
        line("x", 1, "0.015", product_id="p"),
        line("free", price="0"),
        line("c"),
        line(None, variant_id="v", price="0.001"),
    ]
    expected = {
        "p": (1, 0, 1, 0, "0.02"),  # 0.010 + 0.015
        "b": (0, 0, 1, 0, "0"),
        "c": (1, 0, 0, 0, "10.00"),
        "v": (1, 0, 0, 0, "0"),
    }
    assert products(started(*wanted), completed(*final)) == expected
    without_intent = {name: (*row[:2], 0, 0, row[4]) for name, row in expected.items() if name != "b"}
    assert products(completed(*final)) == without_intent
    assert products(started(*wanted, currency="EUR"), completed(*final)) == without_intent, "incomparable"


def test_a_transaction_is_on_its_day_and_reversed_where_it_is():
    events = [started(line("a")), completed(line("a"), at=DAY), canceled(at=2 * DAY)]
    day = sells(*events, day="2026-03-02")
    assert (day["transactions"], day["reversed"], day["known"]) == (1, 1, 1)
    unknown = sells(completed(line("a")), completed(line("a"), checkout_id="d"))
    assert (unknown["transactions"], unknown["reversed"], unknown["known"]) == (2, 0, 0)
    assert set(drivers(generate.as_lines(events))["checkout"]) == {"2026-03-02"}
    assert drivers(generate.as_lines([started(line("a"))])) == {"checkout": {}, "subscription": {}}


@pytest.mark.parametrize(
    ("back", "expected"),
    [
        (refunded(products=[line("b")]), "b"),
        (refunded(products=[line("c")]), ""),
        (refunded(amount="15"), ""),
        (refunded(amount="40"), "abc"),
        (refunded(), "abc"),
        (canceled(), "abc"),
    ],
)
def test_a_product_is_reversed_when_no_unit_is_left(back, expected):
    found = products(started(line("a")), completed(line("a"), line("b"), line("c", 2)), back)
    assert "".join(name for name, row in found.items() if row[1]) == expected


def test_names_that_are_too_long_are_other():
    longest, longer, another = "a" * 64, "b" * 65, "c" * 65
    wanted, final = [line(longer)], [line(longer), line(longest), line(another, price="0.5")]
    assert products(started(*wanted), completed(*final)) == {
        longest: (1, 0, 0, 1, "10.00"),
        "other": (1, 0, 1, 1, "10.50"),
    }
    assert sells(started(*wanted), completed(*final))["pairs"] == {
        ("other", longest): {"transactions": 1, "reversed": 0, "amounts": {"USD": "10.00"}},
        ("other", "other"): {"transactions": 1, "reversed": 0, "amounts": {"USD": "0.50"}},
    }


def paths(*events, **more):
    return {key: tuple(row.values()) for key, row in sells(*events, **more)["paths"].items()}


def test_paths_of_upsells():
    wanted = [line("a", product_id="p"), line("b", product_id="q"), line("s", category="shoes"), CUPS]
    final = [
        line("a2", price="30", product_id="p"),
        line("b", 3, product_id="q"),
        line("t", price="12.5", category="shoes"),
        {**CUPS, "quantity": 1},
        line("n"),
    ]
    expected = {
        ("p", "p", "variant"): (1, 0, {"USD": "20.00"}),
        ("q", "q", "quantity"): (1, 0, {"USD": "20.00"}),
        ("s", "t", "substitute"): (1, 0, {"USD": "2.50"}),
    }
    assert paths(started(*wanted), completed(*final)) == expected
    assert paths(completed(*final)) == {}
    # Nothing of the upsell is left where its family is gone, or is no upsell any more.
    for back in (line("b", 3), line("b", 2)):
        found = paths(started(*wanted), completed(*final), refunded(products=[back]))
        assert found == expected | {("q", "q", "quantity"): (1, 1, {"USD": "20.00"})}
    assert paths(started(*wanted), completed(*final), refunded(products=[line("b")])) == expected
    assert {row[1] for row in paths(started(*wanted), completed(*final), canceled()).values()} == {1}


def pairs(*events, **more):
    return {key: tuple(row.values()) for key, row in sells(*events, **more)["pairs"].items()}


def test_pairs():
    wanted, final = [line("a"), line("b"), line("g", price="0")], [line("a"), line("n"), line("m", price="4")]
    expected = {(name, new): (1, 0, {"USD": price}) for name in "ab" for new, price in (("n", "10.00"), ("m", "4.00"))}
    assert pairs(started(*wanted), completed(*final)) == expected
    assert pairs(completed(*final)) == {}
    found = pairs(started(*wanted), completed(*final), refunded(products=[line("m")]))
    assert {key for key, row in found.items() if row[1]} == {("a", "m"), ("b", "m")}
    assert pairs(completed(*final, intent={"products": []})) == {}
    # In an explicit, empty intent everything is a cross-sell, of no pair.
    assert products(completed(*final, intent={"products": []}))["n"] == (1, 0, 0, 1, "10.00")


def test_the_eight_largest_lines_of_a_cart_make_pairs():
    wanted = [line(f"w{step}", price=str(10 + step)) for step in range(9)]
    final = [*wanted, line("n", price="11"), line("m", price="10.5")]
    found = sells(started(*wanted), completed(*final))
    assert found["pairs"] == {}
    assert found["products"]["w0"]["intent"] == found["products"]["n"]["cross_sell"] == 1
    # Ties: the first. A product is among them with any of its lines.
    final = [*wanted[1:], line("n", price="11"), line("m", price="10.5")]
    assert {new for _, new in pairs(started(*wanted), completed(*final))} == set()
    final = [*wanted[2:], line("n", price="11"), line("m", price="11")]
    assert set(pairs(started(*wanted), completed(*final))) == {(f"w{step}", "n") for step in range(1, 9)}


def test_how_strong_a_pair_is():
    events = []
    for number, (wanted, more) in enumerate(
        [("a", "n"), ("a", "n"), ("a", None), ("b", "n"), ("b", None), ("b", None)]
    ):
        cart = {"checkout_id": f"c{number}"}
        bought = [line(wanted), *([line(more)] if more else [])]
        events += [
            started(line(wanted), **cart, at=number * DAY // 3),
            completed(*bought, **cart, at=number * DAY // 3),
        ]
    events.append(completed(line("a"), checkout_id="unknown"))
    found = drivers(generate.as_lines(events))["checkout"]
    assert len(found) == 3
    whole = added_up(found.values())
    assert (whole["transactions"], whole["known"]) == (7, 6)
    assert strength(whole, ("a", "n")) == (Fraction(2, 6), Fraction(2, 3), Fraction(2 * 6, 3 * 3))
    assert strength(whole, ("b", "n")) == (Fraction(1, 6), Fraction(1, 3), Fraction(1 * 6, 3 * 3))
    assert strength(whole, ("z", "n")) == (0, None, None)
    assert strength(sells(completed(line("a"))), ("a", "n")) == (None, None, None)
    assert whole["pairs"]["a", "n"] == {"transactions": 2, "reversed": 0, "amounts": {"USD": "20.00"}}


def test_the_drivers_of_a_subscription():
    begun = subscription("created", 0, item("base", "10"), item("old", "2", role="addon"))
    change = subscription(
        "changed", DAY, item("base", "10", 3), item("old", "2", role="addon"), item("tool", "3", role="addon")
    )
    more = {"journey": "subscription", "day": "2026-03-02"}
    first = {"journey": "subscription", "day": "2026-03-01"}
    assert products(begun, **first) == {"base": (1, 0, 1, 0, "10.00"), "old": (1, 0, 1, 0, "2.00")}
    assert products(begun, change, **more) == {
        "base": (1, 0, 1, 0, "30.00"),
        "old": (1, 0, 1, 0, "2.00"),
        "tool": (1, 0, 0, 1, "3.00"),
    }
    assert paths(begun, change, **more) == {("base", "base", "quantity"): (1, 0, {"USD": "20.00"})}
    assert pairs(begun, change, **more) == {
        ("base", "tool"): (1, 0, {"USD": "3.00"}),
        ("old", "tool"): (1, 0, {"USD": "3.00"}),
    }
    for share, whole in (("0.9", 0), ("1", 1)):
        day = sells(begun, change, refund(DAY + 60, share=share), **more)
        found = [*day["products"].values(), *day["paths"].values(), *day["pairs"].values()]
        assert {row["reversed"] for row in found} == {whole} == {day["reversed"]}
    other = subscription("created", DAY, item("desk", "5"), sub="s2")
    assert products(begun, other, **more) == {"desk": (1, 0, 0, 1, "5.00")}, "an additional product"
    assert pairs(begun, other, **more) == {}


# --- offers and drivers of streams


@given(generate.files(offers=True))
@settings(max_examples=60, deadline=None)
def test_offers_and_drivers_agree_with_the_summary(lines):
    summary = compute(lines)
    found, sold = offers(lines), drivers(lines)
    for journey in ("checkout", "subscription"):
        figures = summary[journey]
        for name, count in (
            ("transactions", figures["transactions"]),
            ("reversed", figures["reversed_transactions"]["all"]),
            ("known", figures["intents"]["known"]),
        ):
            assert sum(day[name] for day in sold[journey].values()) == count
        for day in sold[journey].values():
            assert sum(len(day[name]) for name in ("products", "paths", "pairs")) >= bool(day["pairs"])
            for row in (*day["products"].values(), *day["pairs"].values()):
                assert 0 <= row["reversed"] <= row["transactions"] <= day["transactions"]
            for (wanted, added), row in day["pairs"].items():
                assert row["transactions"] <= day["products"][wanted]["intent"] <= day["known"]
                assert row["transactions"] <= day["products"][added]["cross_sell"] <= day["known"]
        for of_day in found[journey].values():
            for row in of_day.values():
                assert row["shown"] + row["declined"] + row["accepted"] > 0
                assert row["gross"].keys() == row["kept"].keys()
                assert all(Decimal(row["kept"][name]) <= Decimal(gross) for name, gross in row["gross"].items())


@given(generate.checkout_streams(offers=True), st.randoms(use_true_random=False))
@settings(max_examples=60, deadline=None)
def test_offers_of_checkouts_do_not_depend_on_the_order_of_arrival(events, random):
    first = {(one["subject"], one["source"], one["id"]): one for one in reversed(events)}
    lines = generate.as_lines(one for one in first.values() if not one["id"].startswith("crowd"))
    shuffled = random.sample(lines, len(lines))
    assert offers(shuffled) == offers(lines)
    assert drivers(shuffled) == drivers(lines)


@pytest.mark.parametrize("journey", ["checkout", "subscription"])
def test_the_streams_with_offers_meet_every_case(journey):
    met = Counter()
    strategy = generate.checkout_streams if journey == "checkout" else generate.subscription_streams

    @seed(1)
    @given(strategy(offers=True))
    @settings(max_examples=300, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    def look(events):
        lines = generate.as_lines(events)
        assert all(records.parse(record) for record in lines)
        found, sold = offers(lines)[journey], drivers(lines)[journey]
        for (name, slot), row in added_up(found.values()).items():
            met.update(kind for kind, number in row["by_verdict"].items() if number)
            met.update(what for what in ("shown", "declined", "reversed") if row[what])
            met["partly kept"] += any(
                0 < Decimal(row["kept"][code]) < Decimal(row["gross"][code]) for code in row["gross"]
            )
            met["accepted in a slot"] += slot != "unknown" and row["accepted"]
            met["other"] += name == "other" and row["accepted"]
        met["crowd"] += any(len(day) > 60 for day in found.values())
        for day in sold.values():
            for what in ("products", "paths", "pairs"):
                met[what] += len(day[what])
                met[what, "reversed"] += sum(row["reversed"] for row in day[what].values())
            met["long"] += "other" in day["products"]

    look()
    cases = ["shown", "declined", "reversed", "partly kept", "accepted in a slot", "other", "crowd", "long"]
    cases += ["upsell", "cross_sell", "downsell", "nothing", "unknown", "products", "paths", "pairs"]
    cases += (
        ["restored"] if journey == "subscription" else [(what, "reversed") for what in ("products", "paths", "pairs")]
    )
    assert [case for case in cases if not met[case]] == []


ROOT = Path(__file__).parents[2]
SIMULATIONS = {
    "in a hurry": ["--rate", "20", "--pace", "20", "--disorder", "20", "--duplicates", "0.05", "--poison", "0.02"],
    "currencies": ["--pace", "20", "--currency", "EUR", "--currency", "JPY", "--currency", "USD", "--seed", "2"],
    "weeks": ["--rate", "0.002", "--customers", "100", "--seed", "3"],
}


@pytest.mark.parametrize("options", SIMULATIONS.values(), ids=SIMULATIONS.keys())
def test_what_the_simulator_plants_is_counted(options, tmp_path):
    # The command and not its code: this package imports nothing of the product.
    command = [
        sys.executable,
        "-m",
        "stream",
        "simulate",
        "--to-file",
        "events",
        "--truth",
        "truth",
        "--events",
        "2000",
    ]
    environment = {"PYTHONPATH": str(ROOT), "PATH": ""}
    subprocess.run([*command, *options], check=True, cwd=tmp_path, env=environment, capture_output=True, timeout=120)
    lines = (tmp_path / "events").read_bytes().splitlines()
    truth = json.loads((tmp_path / "truth").read_text())
    planted = {
        journey: {day: {(row.pop("offer_id"), row.pop("slot")): row for row in of_day} for day, of_day in days.items()}
        for journey, days in truth["offers"].items()
    }
    assert offers(lines) == planted
    assert all(any(row["accepted"] for day in planted[journey].values() for row in day.values()) for journey in planted)
    found = {
        day: {
            "transactions": counts["known"],
            "intent": {name: row["intent"] for name, row in counts["products"].items() if row["intent"]},
            "cross_sell": {name: row["cross_sell"] for name, row in counts["products"].items() if row["cross_sell"]},
            "pairs": [
                {"intent": wanted, "cross_sell": added, "transactions": row["transactions"]}
                for (wanted, added), row in sorted(counts["pairs"].items())
            ],
        }
        for day, counts in drivers(lines)["checkout"].items()
        if counts["known"]
    }
    assert found == truth["pairs"]["checkout"]
