"""The subscription's verdict table, a case for every row and every sentence of the contract's section 2.

A case reads: current items, new items, initial items, the verdicts as `kind reason amount` in the order of the new items.
"""

import tracemalloc
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.carts import item

from stream.core.judging.items import judge_items, merge_items, mrr
from stream.core.money import SCALE, plain, rounded


def verdicts(current, new, initial):
    return [
        f"{verdict.kind} {verdict.reason} {plain(rounded(verdict.amount, 2), 2)}"
        for verdict in judge_items(tuple(current), tuple(new), tuple(initial))
    ]


BASE = item("P1", base=True)
CASES = {
    "kept": ([BASE], [BASE], [BASE], []),
    # the same plan compares quantity only
    "seats up": ([item("P1", 5)], [item("P1", 8)], [item("P1", 5)], ["upsell quantity 30.00"]),
    "seats down": ([item("P1", 8)], [item("P1", 5)], [item("P1", 5)], ["downsell quantity 30.00"]),
    "a dearer price of the same plan is no verdict": ([item("P1", 5)], [item("P1", 5, "12")], [item("P1", 5)], []),
    "seats up at a new price: valued at the new price": (
        [item("P1", 2, "10")],
        [item("P1", 3, "12")],
        [item("P1", 2, "10")],
        ["upsell quantity 12.00"],
    ),
    "seats down at a new price": (
        [item("P1", 3, "10")],
        [item("P1", 2, "12")],
        [item("P1", 2, "10")],
        ["downsell quantity 12.00"],
    ),
    # another plan compares MRR
    "plan up": ([item("P1")], [item("P2", 1, "25")], [item("P1")], ["upsell plan 15.00"]),
    "plan down": ([item("P2", 1, "25")], [item("P1")], [item("P1")], ["downsell plan 15.00"]),
    "another plan of equal MRR": ([item("P1")], [item("P2")], [item("P1")], []),
    "monthly to yearly": (
        [item("P1", 1, "10")],
        [item("P2", 1, "96", interval="year")],
        [item("P1", 1, "10")],
        ["downsell plan 2.00"],
    ),
    # restored: an upsell only above the initial item, by the amount above the higher of initial and current
    "seats restored": ([item("P1", 5)], [item("P1", 10)], [item("P1", 10)], []),
    "seats above initial": ([item("P1", 5)], [item("P1", 12)], [item("P1", 10)], ["upsell quantity 20.00"]),
    "current above initial": ([item("P1", 11)], [item("P1", 12)], [item("P1", 10)], ["upsell quantity 10.00"]),
    "plan restored": ([item("P1")], [item("P2", 1, "25")], [item("P2", 1, "25")], []),
    "plan restored at a new price": ([item("P1")], [item("P2", 1, "30")], [item("P2", 1, "25")], []),
    "plan above initial": (
        [item("P1")],
        [item("P3", 1, "40")],
        [item("P2", 1, "25")],
        ["upsell plan 15.00"],
    ),
    "nothing of it among the initial: compared with current": (
        [BASE, item("A1", 1)],
        [BASE, item("A1", 3)],
        [BASE],
        ["upsell quantity 20.00"],
    ),
    # unmatched
    "add-on": ([BASE], [BASE, item("A1", 2, "3")], [BASE], ["cross_sell addon 6.00"]),
    "free add-on": ([BASE], [BASE, item("A1", 2, "0")], [BASE], []),
    "add-on restored": ([BASE], [BASE, item("A1")], [BASE, item("A1")], []),
    "old item unmatched: removed": ([BASE, item("A1")], [BASE], [BASE], []),
    # matching: plan, then product, then base with base; dearest first
    "by product": (
        [item("P1", product="X")],
        [item("Q1", 1, "12", product="X")],
        [item("P1", product="X")],
        ["upsell plan 2.00"],
    ),
    "base with base": (
        [item("P1", base=True)],
        [item("Q1", 1, "12", base=True)],
        [item("P1", base=True)],
        ["upsell plan 2.00"],
    ),
    "an add-on is not matched with a base": (
        [item("P1", base=True)],
        [item("Q1", 1, "12")],
        [item("P1", base=True)],
        ["cross_sell addon 12.00"],
    ),
    "plan goes before product": (
        [item("P1", 1, "10"), item("P2", 1, "20")],
        [item("P1", 1, "10"), item("P3", 1, "21")],
        [item("P1", 1, "10"), item("P2", 1, "20")],
        ["upsell plan 1.00"],
    ),
    "dearest first": (
        [item("P1", 1, "10"), item("P2", 1, "20")],
        [item("P3", 1, "12"), item("P4", 1, "30")],
        [item("P1", 1, "10"), item("P2", 1, "20")],
        ["upsell plan 2.00", "upsell plan 10.00"],
    ),
    "items of the same plan are merged": (
        [item("P1", 2)],
        [item("P1", 1), item("P1", 2)],
        [item("P1", 2)],
        ["upsell quantity 10.00"],
    ),
    "down to a free plan": ([item("P1")], [item("P0", 1, "0")], [item("P1")], ["downsell plan 10.00"]),
    "more free seats": ([item("P0", 1, "0")], [item("P0", 5, "0")], [item("P0", 1, "0")], []),
}


@pytest.mark.parametrize(("current", "new", "initial", "expected"), CASES.values(), ids=CASES)
def test_table(current, new, initial, expected):
    assert verdicts(current, new, initial) == expected


@pytest.mark.parametrize(
    ("interval", "count", "per_month"),
    [
        ("month", 1, Fraction(12)),
        ("month", 3, Fraction(4)),
        ("year", 1, Fraction(1)),
        ("week", 1, Fraction(52)),
        ("week", 2, Fraction(26)),
        ("day", 1, Fraction(365)),
    ],
)
def test_mrr_is_normalised_to_a_month(interval, count, per_month):
    assert mrr((item("P1", 1, "12", interval=interval, count=count),)) / 10**10 == per_month


_items = st.lists(
    st.builds(
        item,
        st.sampled_from(["P1", "P2", "A1", "A2", "B1"]),
        st.integers(1, 4),
        st.integers(0, 40).map(str),
        base=st.booleans(),
        interval=st.sampled_from(["day", "week", "month", "year"]),
        count=st.integers(1, 3),
    ),
    max_size=5,
)


@given(_items, _items)
def test_items_judged_against_themselves_give_nothing(items, initial):
    assert judge_items(tuple(items), tuple(items), tuple(initial)) == []


@given(_items, _items)
def test_a_return_to_the_initial_items_is_never_an_upsell_or_a_cross_sell(current, initial):
    assert {verdict.kind for verdict in judge_items(tuple(current), tuple(initial), tuple(initial))} <= {"downsell"}


def test_the_memory_for_judged_items_is_bounded():
    def ask(number):
        items = tuple(item(f"P{number}-{each}", category="c" * 100) for each in range(500))
        assert mrr(items) == 5_000 * 10**SCALE
        assert len(merge_items(items)) == 500

    ask(0)
    tracemalloc.start()
    try:
        for number in range(1, 6):
            ask(number)
        before, _ = tracemalloc.get_traced_memory()
        for number in range(6, 30):
            ask(number)
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert after < 2 * before
