"""The subscription's verdict table: a case for every row and every sentence of the contract's section 2, and laws for any items.

A case reads: current items, new items, initial items, the verdicts as `kind reason amount` in the order of the new items. The independent oracle judges
each case, too. An item's product is the first letter of its plan, and its role is addon, if nothing else is said.
"""

import tracemalloc
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from oracle import plans as oracle
from support.carts import item
from support.steps import steps

from stream.core.judging.items import additional, base_item, judge_items, merge_items, mrr, seats
from stream.core.money import ONE, SCALE, plain, rounded

EUR, JPY, KWD, EXACT = 2, 0, 3, SCALE
CURRENCIES = {EUR: "EUR", JPY: "JPY", KWD: "KWD"}
ROLES = {True: "base", False: "addon", None: None}


def judged(current, new, initial, places=EXACT):
    return judge_items(tuple(current), tuple(new), tuple(initial), places)


def texts(found, places=EUR):
    return [f"{each.kind} {each.reason} {plain(rounded(each.amount, places), places)}" for each in found]


def verdicts(current, new, initial, places=EUR):
    return texts(judged(current, new, initial, places), places)


def oracle_items(items):
    return oracle.items_of(
        {
            "plan_id": each.plan_id,
            "product_id": each.product_id,
            "role": ROLES[each.base],
            "category": each.category,
            "quantity": each.quantity,
            "price": Fraction(each.price),
            "interval": each.interval,
            "interval_count": each.interval_count,
        }
        for each in items
    )


def oracle_texts(found, places=EUR):
    return [f"{each.kind} {each.reason} {plain(round(each.amount * 10**places), places)}" for each in found]


def oracle_judged(current, new, initial, places=EUR):
    return oracle.judge(oracle_items(current), oracle_items(initial), oracle_items(new), CURRENCIES[places])


BASE = item("Z1", base=True)

CHANGES = {
    # same plan, quantity equal
    "kept": ([BASE], [BASE], [BASE], []),
    "kept, dearer": ([item("P1", 5)], [item("P1", 5, "12")], [item("P1", 5)], []),
    "kept, cheaper": ([item("P1", 5)], [item("P1", 5, "8")], [item("P1", 5)], []),
    "kept, paid by the year": ([item("P1")], [item("P1", interval="year", price="96")], [item("P1")], []),
    # same plan, quantity up and MRR up
    "seats up": ([item("P1", 5)], [item("P1", 8)], [item("P1", 5)], ["upsell quantity 30.00"]),
    "seats up, dearer: the added units at the new unit price": (
        [item("P1", 2, "10")],
        [item("P1", 3, "12")],
        [item("P1", 2, "10")],
        ["upsell quantity 12.00"],
    ),
    "seats up, cheaper: no more than the MRR rose": (
        [item("P1", 5, "10")],
        [item("P1", 8, "9")],
        [item("P1", 5, "10")],
        ["upsell quantity 22.00"],
    ),
    # same plan, quantity down and MRR down
    "seats down": ([item("P1", 8)], [item("P1", 5)], [item("P1", 8)], ["downsell quantity 30.00"]),
    "seats down, cheaper: the units gone at the new unit price": (
        [item("P1", 3, "10")],
        [item("P1", 2, "8")],
        [item("P1", 3, "10")],
        ["downsell quantity 8.00"],
    ),
    "seats down, dearer: no more than the MRR fell": (
        [item("P1", 3, "10")],
        [item("P1", 2, "12")],
        [item("P1", 3, "10")],
        ["downsell quantity 6.00"],
    ),
    "below what they came for, or not, is the same loss": (
        [item("P1", 8)],
        [item("P1", 5)],
        [item("P1", 2)],
        ["downsell quantity 30.00"],
    ),
    # same plan, quantity and MRR moving apart
    "tiers: seats up, MRR down": ([item("P1", 20, "24")], [item("P1", 21, "19")], [item("P1", 20, "24")], []),
    "tiers: seats up, MRR equal": ([item("P1", 1, "20")], [item("P1", 2, "10")], [item("P1", 1, "20")], []),
    "tiers: seats down, MRR up": ([item("P1", 2, "10")], [item("P1", 1, "30")], [item("P1", 2, "10")], []),
    "tiers: seats down, MRR equal": ([item("P1", 2, "10")], [item("P1", 1, "20")], [item("P1", 2, "10")], []),
    # another plan
    "plan up": ([item("P1")], [item("P2", 1, "25")], [item("P1")], ["upsell plan 15.00"]),
    "plan down": ([item("P2", 1, "25")], [item("P1")], [item("P2", 1, "25")], ["downsell plan 15.00"]),
    "plan of equal MRR": ([item("P1")], [item("P2")], [item("P1")], []),
    "plan with other seats: the MRR alone decides": (
        [item("P1", 5)],
        [item("P2", 2, "30")],
        [item("P1", 5)],
        ["upsell plan 10.00"],
    ),
    "monthly to yearly": (
        [item("P1")],
        [item("P2", price="96", interval="year")],
        [item("P1")],
        ["downsell plan 2.00"],
    ),
    "down to a free plan": ([item("P1")], [item("P0", price="0")], [item("P1")], ["downsell plan 10.00"]),
    "up from a free plan": ([item("P0", price="0")], [item("P1")], [item("P0", price="0")], ["upsell plan 10.00"]),
    # unmatched
    "an add-on": ([BASE], [BASE, item("A1", 2, "3")], [BASE], ["cross_sell addon 6.00"]),
    "a free add-on": ([BASE], [BASE, item("A1", 2, "0")], [BASE], []),
    "more free seats": ([item("P1", 1, "0")], [item("P1", 5, "0")], [item("P1", 1, "0")], []),
    "everything, where there was nothing": (
        [],
        [BASE, item("A1")],
        [],
        ["cross_sell addon 10.00", "cross_sell addon 10.00"],
    ),
}

RESTORED = {
    "seats back to what they came for": (
        [item("P1", 5)],
        [item("P1", 10)],
        [item("P1", 10)],
        ["restored restored 50.00"],
    ),
    "seats below it": ([item("P1", 5)], [item("P1", 8)], [item("P1", 10)], ["restored restored 30.00"]),
    "seats above it": (
        [item("P1", 5)],
        [item("P1", 12)],
        [item("P1", 10)],
        ["upsell quantity 20.00", "restored restored 50.00"],
    ),
    "current above it: all of the gain is new": (
        [item("P1", 11)],
        [item("P1", 12)],
        [item("P1", 10)],
        ["upsell quantity 10.00"],
    ),
    "seats above it, dearer: the initial ones at the new unit price": (
        [item("P1", 5, "10")],
        [item("P1", 12, "12")],
        [item("P1", 10, "10")],
        ["upsell quantity 24.00", "restored restored 60.00"],
    ),
    "seats above it, cheaper: the MRR less the gain is higher": (
        [item("P1", 5, "10")],
        [item("P1", 8, "9")],
        [item("P1", 5, "10")],
        ["upsell quantity 22.00"],
    ),
    "the initial plan again": (
        [item("P1")],
        [item("P2", 1, "25")],
        [item("P2", 1, "25")],
        ["restored restored 15.00"],
    ),
    "the initial plan again, dearer than then": (
        [item("P1")],
        [item("P2", 1, "30")],
        [item("P2", 1, "25")],
        ["restored restored 20.00"],
    ),
    "another plan above the initial one: that at its own MRR": (
        [item("P1")],
        [item("P3", 1, "40")],
        [item("P2", 1, "25")],
        ["upsell plan 15.00", "restored restored 15.00"],
    ),
    "another plan below the initial one": (
        [item("P1")],
        [item("P2", 1, "25")],
        [item("P3", 1, "40")],
        ["restored restored 15.00"],
    ),
    "not among the initial ones: 0": (
        [BASE, item("A1")],
        [BASE, item("A1", 3)],
        [BASE],
        ["upsell quantity 20.00"],
    ),
    "an add-on that they came for": ([BASE], [BASE, item("A1")], [BASE, item("A1")], ["restored restored 10.00"]),
    "an add-on that they came for, and more of it: an upsell, no add-on": (
        [BASE],
        [BASE, item("A1", 3)],
        [BASE, item("A1")],
        ["upsell quantity 20.00", "restored restored 10.00"],
    ),
    "an add-on in place of one that they came for": (
        [BASE],
        [BASE, item("A2", 1, "25")],
        [BASE, item("A1")],
        ["upsell plan 15.00", "restored restored 10.00"],
    ),
    "the reason is by the current item before the initial one: another plan": (
        [item("P1")],
        [item("P2", 2, "25")],
        [item("P2", 1, "25")],
        ["upsell plan 25.00", "restored restored 15.00"],
    ),
    "the reason is by the current item before the initial one: the same plan": (
        [item("P1")],
        [item("P1", 4)],
        [item("P2", 1, "25")],
        ["upsell quantity 15.00", "restored restored 15.00"],
    ),
    "an initial item of another interval": (
        [item("P1", 1, "5")],
        [item("P1", 3, "5")],
        [item("P2", price="96", interval="year")],
        ["upsell quantity 7.00", "restored restored 3.00"],
    ),
    "a loss is never restored": ([item("P1", 9)], [item("P1", 5)], [item("P1", 5)], ["downsell quantity 40.00"]),
    "kept is never restored": ([item("P1", 5)], [item("P1", 5, "12")], [item("P1", 9)], []),
}

REMOVED = {
    "an add-on goes": ([BASE, item("A1")], [BASE], [BASE], ["downsell removed 10.00"]),
    "everything goes": ([BASE, item("A1")], [], [BASE], ["downsell removed 20.00"]),
    "what goes adds up": (
        [BASE, item("A1"), item("B1", 2, "3")],
        [BASE],
        [BASE],
        ["downsell removed 16.00"],
    ),
    "what was free is no loss": ([BASE, item("A1", price="0")], [BASE], [BASE], []),
    "set against an upsell": (
        [item("P1"), item("A1")],
        [item("P2", 1, "25")],
        [item("P1"), item("A1")],
        ["upsell plan 5.00"],
    ),
    "an add-on that is part of the plan now": (
        [item("P1", 1, "20"), item("A1", 1, "5")],
        [item("P2", 1, "25")],
        [item("P1", 1, "20"), item("A1", 1, "5")],
        [],
    ),
    "more than was gained: the rest is a downsell": (
        [item("P1"), item("A1", 1, "20")],
        [item("P2", 1, "25")],
        [item("P1"), item("A1", 1, "20")],
        ["downsell removed 5.00"],
    ),
    "set against cross-sells": ([BASE, item("A1")], [BASE, item("B1", 1, "12")], [BASE], ["cross_sell addon 2.00"]),
    "set against restored": (
        [BASE, item("A1")],
        [BASE, item("B1", 1, "12")],
        [BASE, item("B1", 1, "12")],
        ["restored restored 2.00"],
    ),
    "upsells before cross-sells, though smaller": (
        [item("P1"), item("A1")],
        [item("P2", 1, "25"), item("B1", 1, "80")],
        [item("P1")],
        ["upsell plan 5.00", "cross_sell addon 80.00"],
    ),
    "then cross-sells": (
        [item("P1"), item("A1", 1, "18")],
        [item("P2", 1, "25"), item("B1", 1, "8")],
        [item("P1")],
        ["cross_sell addon 5.00"],
    ),
    "cross-sells before restored, though smaller": (
        [item("P1"), item("A1")],
        [item("P2", 1, "25"), item("B1", 1, "8")],
        [item("P2", 1, "25")],
        ["restored restored 13.00"],
    ),
    "all three, and a rest": (
        [item("P1", 5), item("A1", 1, "99")],
        [item("P1", 12), item("B1", 1, "8")],
        [item("P1", 10)],
        ["downsell removed 21.00"],
    ),
    "the largest upsell first": (
        [item("P1"), item("Q1"), item("A1")],
        [item("P2", 1, "25"), item("Q2", 1, "26")],
        [item("P1"), item("Q1")],
        ["upsell plan 15.00", "upsell plan 6.00"],
    ),
    "the largest cross-sell first": (
        [BASE, item("A1")],
        [BASE, item("B1", 1, "8"), item("C1", 1, "12")],
        [BASE],
        ["cross_sell addon 8.00", "cross_sell addon 2.00"],
    ),
    "ties: the first": (
        [BASE, item("A1", 1, "5")],
        [BASE, item("B1", 1, "8"), item("C1", 1, "8")],
        [BASE],
        ["cross_sell addon 3.00", "cross_sell addon 8.00"],
    ),
    "not set against a downsell: `removed` comes last": (
        [item("P1"), item("A1", 1, "5")],
        [item("P2", 1, "6")],
        [item("P1")],
        ["downsell plan 4.00", "downsell removed 5.00"],
    ),
    "of exact amounts": (
        [BASE, item("A1", price="1", interval="year")],
        [BASE, item("B1", price="1.10", interval="year")],
        [BASE],
        ["cross_sell addon 0.01"],
    ),
}

MERGED = {
    "items of the same plan are one": (
        [item("P1", 2)],
        [item("P1", 1), item("P1", 2)],
        [item("P1", 2)],
        ["upsell quantity 10.00"],
    ),
    "in all three lists": ([item("P1"), item("P1")], [item("P1", 2)], [item("P1"), item("P1")], []),
    "at different prices: the unit price is that of all": (
        [item("P1", 2)],
        [item("P1", 2, "10"), item("P1", 2, "4")],
        [item("P1", 2)],
        ["upsell quantity 8.00"],
    ),
    "at different intervals": (
        [item("P1")],
        [item("P1"), item("P1", price="60", interval="year")],
        [item("P1")],
        ["upsell quantity 5.00"],
    ),
}


TABLE = {
    f"{table}: {name}": case
    for table, cases in {
        "changes": CHANGES,
        "restored": RESTORED,
        "removed": REMOVED,
        "merged": MERGED,
    }.items()
    for name, case in cases.items()
}


@pytest.mark.parametrize(("current", "new", "initial", "expected"), TABLE.values(), ids=TABLE)
def test_table(current, new, initial, expected):
    assert verdicts(current, new, initial) == expected
    assert oracle_texts(oracle_judged(current, new, initial)) == expected


# Which items are matched, as `kind new item<-current item, else initial item`. Most have the same gains in all, so the names show how they were matched.
MATCHES = {
    "by plan before product": (
        [item("P1", 1, "10"), item("P2", 1, "20")],
        [item("P1", 1, "10"), item("P3", 1, "21")],
        [],
        ["upsell P3<-P2"],
    ),
    "by plan, whatever the MRR": (
        [item("P1", 1, "10"), item("P2", 1, "20")],
        [item("P1", 2, "10"), item("P2", 2, "20")],
        [],
        ["upsell P1<-P1", "upsell P2<-P2"],
    ),
    "by plan, whatever the product": ([item("P1")], [item("P1", 2, product="X")], [], ["upsell P1<-P1"]),
    "by product": ([item("P1", product="X")], [item("Q1", 2, product="X")], [], ["upsell Q1<-P1"]),
    "by product before base": (
        [item("P1", base=True), item("Q1", 1, "20")],
        [item("Q2", 1, "25", base=True)],
        [],
        ["downsell None<-P1"],
    ),
    "base with base": ([item("P1", base=True)], [item("Q1", 2, base=True)], [], ["upsell Q1<-P1"]),
    "an add-on is not matched with a base": (
        [item("P1", base=True)],
        [item("Q1", 2)],
        [],
        ["cross_sell Q1<-None"],
    ),
    "nor an add-on with an add-on": ([BASE, item("A1")], [BASE, item("B1", 2)], [], ["cross_sell B1<-None"]),
    "the base is the item with the highest MRR where none has a role": (
        [item("A1", 1, "3", base=None), item("P1", 1, "10", base=None)],
        [item("B1", 1, "4", base=None), item("Q1", 1, "25", base=None)],
        [],
        ["cross_sell B1<-None", "upsell Q1<-P1"],
    ),
    "the base without a role is matched with one that has it": (
        [item("A1", 1, "30"), item("P1", 1, "10", base=None)],
        [item("Q1", 1, "50", base=True)],
        [],
        ["upsell Q1<-P1"],
    ),
    "highest MRR first": (
        [item("P1", 1, "10"), item("P2", 1, "20")],
        [item("P3", 1, "12"), item("P4", 1, "30")],
        [],
        ["upsell P3<-P1", "upsell P4<-P2"],
    ),
    "the MRR, not the unit price": (
        [item("P1", 9, "2"), item("P2", 1, "10")],
        [item("P3", 1, "12"), item("P4", 9, "3")],
        [],
        ["upsell P3<-P2", "upsell P4<-P1"],
    ),
    "the MRR, not the price of an interval": (
        [item("P1", 1, "96", interval="year"), item("P2", 1, "10")],
        [item("P3", 1, "11"), item("P4", 1, "120", interval="year")],
        [],
        ["upsell P3<-P2", "upsell P4<-P1"],
    ),
    "fewer new items: the highest current one is matched": (
        [item("P1", 1, "10"), item("P2", 1, "20")],
        [item("P3", 1, "12")],
        [],
        ["downsell P3<-P2", "downsell None<-P1"],
    ),
    "fewer current items: the highest new one is matched": (
        [item("P1")],
        [item("P2", 1, "12"), item("P3", 1, "15")],
        [],
        ["cross_sell P2<-None", "upsell P3<-P1"],
    ),
    "ties in order of appearance, current": (
        [item("P1"), item("P2"), item("A1", 1, "3")],
        [item("P3", 1, "12")],
        [],
        ["downsell None<-P2"],
    ),
    "ties in order of appearance, new": (
        [item("P1")],
        [item("P2", 2), item("P3", 2)],
        [],
        ["upsell P2<-P1", "cross_sell P3<-None"],
    ),
    "initial items are matched for themselves": (
        [item("P1")],
        [item("P1"), item("P2", 2, "40")],
        [item("P2", 1, "40")],
        ["upsell P2<-P2", "restored P2<-P2"],
    ),
    "the current item is named before the initial one": (
        [item("P1")],
        [item("P2", 2, "25")],
        [item("P2", 1, "25")],
        ["upsell P2<-P1", "restored P2<-P1"],
    ),
    "what was removed names the item with the highest MRR": (
        [BASE, item("A1", 1, "3"), item("B1", 4, "2"), item("C1", 1, "7")],
        [BASE],
        [],
        ["downsell None<-B1"],
    ),
    "what was removed, ties: the first": ([BASE, item("A1"), item("B1")], [BASE], [], ["downsell None<-A1"]),
}


@pytest.mark.parametrize(("current", "new", "initial", "expected"), MATCHES.values(), ids=MATCHES)
def test_matches(current, new, initial, expected):
    assert [
        f"{each.kind} {each.item and each.item.plan_id}<-{each.before and each.before.plan_id}"
        for each in judged(current, new, initial, EUR)
    ] == expected
    assert [
        f"{each.kind} {each.final and each.final.plan}<-{each.intent and each.intent.plan}"
        for each in oracle_judged(current, new, initial)
    ] == expected


MONEY = {
    "less than half a cent": (EUR, [item("P1", price="10")], [item("P2", price="10.004")], []),
    "half a cent is rounded to even": (EUR, [item("P1", price="10")], [item("P2", price="10.005")], []),
    "more than half a cent": (EUR, [item("P1", price="10")], [item("P2", price="10.006")], ["upsell plan 0.01"]),
    "a downsell of less than a cent": (EUR, [item("P1", price="10.004")], [item("P2", price="10")], []),
    "a cross-grade between month and year": (
        EUR,
        [item("P1", price="8.33")],
        [item("P2", price="100", interval="year")],
        [],
    ),
    "an add-on of less than a cent": (EUR, [BASE], [BASE, item("A1", price="0.05", interval="year")], []),
    "two of less than a cent are not one of a cent": (
        EUR,
        [BASE],
        [BASE, item("A1", price="0.004"), item("B1", price="0.004")],
        [],
    ),
    "what was removed, of less than a cent": (EUR, [BASE, item("A1", price="0.004")], [BASE], []),
    "what removed items leave has to have money, too": (
        EUR,
        [BASE, item("A1", price="9.997")],
        [BASE, item("B1", price="10")],
        [],
    ),
    "yen": (JPY, [item("P1", price="100")], [item("P2", price="100.5")], []),
    "a yen": (JPY, [item("P1", price="100")], [item("P2", price="100.6")], ["upsell plan 1"]),
    "a fils": (KWD, [item("P1", price="1")], [item("P2", price="1.001")], ["upsell plan 0.001"]),
}


@pytest.mark.parametrize(("places", "current", "new", "expected"), MONEY.values(), ids=MONEY)
def test_a_verdict_has_money(places, current, new, expected):
    assert verdicts(current, new, current, places) == expected
    assert oracle_texts(oracle_judged(current, new, current, places), places) == expected


def test_a_restored_part_without_money_is_no_verdict():
    assert verdicts([item("P1", price="10")], [item("P2", price="20")], [item("P3", price="10.004")]) == [
        "upsell plan 10.00"
    ]
    assert verdicts([item("P1", price="10")], [item("P2", price="20")], [item("P3", price="19.996")]) == [
        "restored restored 10.00"
    ]


ADDITIONAL = {
    "a product that they did not have": ([BASE, item("A1")], ["P", "Q"], EUR, ["cross_sell additional_product 20.00"]),
    "the product of one of them": ([BASE, item("A1")], ["P", "Z"], EUR, ["upsell quantity 20.00"]),
    "the product of an add-on does not count": (
        [BASE, item("A1")],
        ["A"],
        EUR,
        ["cross_sell additional_product 20.00"],
    ),
    "the base is the item with the highest MRR where none has a role": (
        [item("A1", 1, "3", base=None), item("P1", base=None)],
        ["P"],
        EUR,
        ["upsell quantity 13.00"],
    ),
    "no base: the first item": ([item("A1", 1, "3"), item("B1")], ["A"], EUR, ["upsell quantity 13.00"]),
    "by its MRR": ([item("P1", 2, "60", interval="year")], ["Q"], EUR, ["cross_sell additional_product 10.00"]),
    "free": ([item("P1", price="0")], ["Q"], EUR, []),
    "without money": ([item("P1", price="0.05", interval="year")], ["Q"], EUR, []),
    "without money in yen": ([item("P1", price="0.5")], ["P"], JPY, []),
    "without items": ([], ["Q"], EUR, []),
}


@pytest.mark.parametrize(("items", "others", "places", "expected"), ADDITIONAL.values(), ids=ADDITIONAL)
def test_additional_product(items, others, places, expected):
    found = additional(tuple(items), others, places)
    assert texts(found, places) == expected
    assert all((each.item, each.before) == (base_item(tuple(items)), None) for each in found)
    assert oracle_texts(oracle.additional(oracle_items(items), others, CURRENCIES[places]), places) == expected


# Items of one plan, the base, MRR

BASES = {
    "the role": ([item("A1", 1, "30"), item("P1", base=True)], ["P1"]),
    "more than one": ([item("P1", base=True), item("Q1", base=True), item("R1", 1, "30", base=None)], ["P1", "Q1"]),
    "none has a role: the highest MRR": ([item("A1", 1, "3", base=None), item("P1", base=None)], ["P1"]),
    "none has a role, ties: the first": ([item("A1", base=None), item("P1", base=None)], ["A1"]),
    "the MRR, not the unit price": ([item("A1", 1, "10", base=None), item("P1", 3, "4", base=None)], ["P1"]),
    "the MRR, not the price of an interval": (
        [item("A1", 1, "100", interval="year", base=None), item("P1", base=None)],
        ["P1"],
    ),
    "an add-on is no base, whatever its MRR": (
        [item("A1", 1, "99"), item("B1", 1, "3", base=None), item("P1", base=None)],
        ["P1"],
    ),
    "the MRR of a plan's items together": (
        [item("A1", 1, "10", base=None), item("P1", 1, "6", base=None), item("P1", 1, "6", base=None)],
        ["P1"],
    ),
    "all are add-ons": ([item("A1"), item("B1")], []),
    "nothing": ([], []),
}


@pytest.mark.parametrize(("items", "expected"), BASES.values(), ids=BASES)
def test_which_items_are_the_base(items, expected):
    plans = merge_items(tuple(items))
    assert [plan.plan_id for plan in plans if plan.base] == expected
    assert [plan.base for plan in plans if not plan.base] == [False] * (len(plans) - len(expected))
    assert [each.plan for each in oracle.base_items(oracle_items(items))] == expected
    first = base_item(tuple(items))
    assert (first and first.plan_id) == (expected[0] if expected else items[0].plan_id if items else None)


def test_items_of_the_same_plan_are_added_up():
    p1, a1 = merge_items(
        (
            item("P1", 2, "10", product="X", base=True),
            item("A1", 1, "6", category="c"),
            item("P1", 3, "60", product="Y", interval="year", category="d"),
        )
    )
    assert (p1.plan_id, p1.product_id, p1.base, p1.category) == ("P1", "X", True, "d")
    assert (p1.quantity, p1.mrr) == (5, 35 * ONE)
    assert (a1.plan_id, a1.product_id, a1.base, a1.category) == ("A1", "A", False, "c")
    assert seats((item("P1", 2), item("A1"), item("P1", 3))) == {"P1": 5, "A1": 1}
    assert merge_items(()) == ()


def test_the_first_offer_of_a_plan_is_kept():
    without = item("P1")
    (plan,) = merge_items((without, replace(without, offer_id="o-1"), replace(without, offer_id="o-2")))
    assert plan.offer_id == "o-1"


@pytest.mark.parametrize(
    ("interval", "count", "per_month"),
    [
        ("month", 1, 12),
        ("month", 3, 4),
        ("year", 1, 1),
        ("year", 2, Fraction(1, 2)),
        ("week", 1, 52),
        ("week", 2, 26),
        ("day", 1, 365),
        ("day", 30, Fraction(365, 30)),
    ],
)
def test_mrr_is_normalised_to_a_month(interval, count, per_month):
    assert mrr((item("P1", 3, "4", interval=interval, count=count),)) == per_month * ONE


def test_mrr_of_several_items():
    assert mrr((item("P1", 2), item("A1", price="1", interval="year"), item("P1"))) == Fraction(361, 12) * ONE
    assert mrr(()) == 0


# Laws, for any items

_PLANS = ["P1", "P2", "P3", "A1", "A2", "B1", "C1"]
_ROLES = st.sampled_from([True, False, False, None, None])
_INTERVALS = st.sampled_from(["day", "week", "month", "month", "year"])
_PRICES = st.one_of(
    st.sampled_from(["5", "10", "20"]), st.integers(0, 4_000).map(lambda cents: str(Decimal(cents) / 100))
)

_items = st.lists(
    st.builds(
        item,
        st.sampled_from(_PLANS),
        st.integers(1, 4),
        _PRICES,
        base=_ROLES,
        interval=_INTERVALS,
        count=st.integers(1, 3),
    ),
    max_size=5,
)


@st.composite
def _without_price_changes(draw):
    """Three sets of items from one price list."""
    listed = [
        item(plan, 1, draw(_PRICES), base=draw(_ROLES), interval=draw(_INTERVALS), count=draw(st.integers(1, 3)))
        for plan in _PLANS
    ]
    some = st.lists(
        st.builds(lambda each, q: replace(each, quantity=q), st.sampled_from(listed), st.integers(1, 4)), max_size=5
    )
    return [draw(some) for _ in range(3)]


def signed(verdict):
    return -verdict.amount if verdict.kind == "downsell" else verdict.amount


@given(_without_price_changes(), st.sampled_from([EUR, JPY, KWD]))
def test_gains_and_losses_add_up_to_the_change_of_mrr_where_no_price_changed(lists, places):
    current, new, initial = lists
    change = mrr(tuple(new)) - mrr(tuple(current))
    every = judged(current, new, initial)
    assert sum(map(signed, every)) == change

    kept = judged(current, new, initial, places)
    sums = {
        kind: rounded(sum(each.amount for each in kept if each.kind == kind), places)
        for kind in ("upsell", "cross_sell", "restored", "downsell")
    }
    parts = sum(1 for each in sums.values() if each)
    total = sums["upsell"] + sums["cross_sell"] + sums["restored"] - sums["downsell"]
    assert abs(total - Fraction(change) / 10 ** (SCALE - places)) <= Fraction(parts + len(every) - len(kept), 2)


@given(_items, _items, _items, st.sampled_from([EUR, JPY, KWD]))
def test_the_oracle_gives_the_same_verdicts(current, new, initial, places):
    expected = oracle_texts(oracle_judged(current, new, initial, places), places)
    assert verdicts(current, new, initial, places) == expected


@given(_items, _items)
def test_items_judged_against_themselves_give_nothing(items, initial):
    assert judged(items, items, initial) == []


@given(_items, _items)
def test_a_return_to_the_initial_items_is_never_an_upsell_or_a_cross_sell(current, initial):
    assert {verdict.kind for verdict in judged(current, initial, initial)} <= {"downsell", "restored"}


@given(_items, _items, _items, st.sampled_from([EUR, JPY, KWD, EXACT]))
def test_no_verdict_without_money(current, new, initial, places):
    assert all(rounded(each.amount, places) > 0 for each in judged(current, new, initial, places))


@given(_items, _items, _items)
def test_gains_are_a_part_of_the_new_mrr_and_losses_of_the_current_one(current, new, initial):
    found = judged(current, new, initial)
    assert sum(each.amount for each in found if each.kind != "downsell") <= mrr(tuple(new))
    assert sum(each.amount for each in found if each.kind == "downsell") <= mrr(tuple(current))


@given(_items, _items, _items)
def test_renaming_plans_and_products_changes_nothing(current, new, initial):
    def rename(items):
        return [
            replace(each, plan_id=_renamed(each.plan_id), product_id=_renamed(each.product_id), category="new")
            for each in items
        ]

    def shown(found, name):
        return [
            (x.kind, x.reason, x.amount, x.item and name(x.item.plan_id), x.before and name(x.before.plan_id))
            for x in found
        ]

    assert shown(judged(current, new, initial), _renamed) == shown(
        judged(rename(current), rename(new), rename(initial)), str
    )


def _renamed(name):
    return f"{255 - ord(name[0])}{name}"  # in the reverse order


@given(_items, _items, _items, st.sampled_from([2, 3, 7, 100]))
def test_verdicts_scale_with_prices(current, new, initial, factor):
    def scaled(items):
        return [replace(each, price=str(Decimal(each.price) * factor)) for each in items]

    before, after = judged(current, new, initial), judged(scaled(current), scaled(new), scaled(initial))
    assert [(x.kind, x.reason, x.amount * factor) for x in before] == [(x.kind, x.reason, x.amount) for x in after]


@given(_items, _items, _items, st.data())
def test_a_plan_split_into_items_is_judged_the_same(current, new, initial, data):
    def split(items):
        found = []
        for each in items:
            first = data.draw(st.integers(0, each.quantity))
            found.extend(replace(each, quantity=part) for part in (first, each.quantity - first) if part)
        return found

    assert judged(current, new, initial) == judged(split(current), split(new), split(initial))


_different_plans = st.lists(
    st.builds(item, st.sampled_from(_PLANS), st.integers(1, 2), _PRICES, base=_ROLES),
    unique_by=lambda each: each.plan_id,
    max_size=4,
)


@given(_different_plans, _different_plans, _different_plans, st.randoms(use_true_random=False))
def test_reordering_items_of_different_mrr_changes_nothing_but_the_order_of_verdicts(current, new, initial, random):
    """The order of appearance decides only ties. A part of each price is a power of 5, so that no MRRs or amounts are equal."""
    powers = (Decimal(5**at).scaleb(-10) for at in range(12))
    current, new, initial = (
        [replace(each, price=str(Decimal(each.price) + next(powers))) for each in items]
        for items in (current, new, initial)
    )
    shuffled = random.sample(new, len(new))
    before = judged(current, new, initial)
    after = judged(random.sample(current, len(current)), shuffled, random.sample(initial, len(initial)))
    places = [each.plan_id for each in shuffled]
    assert sorted(before, key=lambda x: places.index(x.item.plan_id) if x.item else len(places)) == after


# Work and memory

LARGE = {
    "the same plans": lambda n: ([item(f"P{at}") for at in range(n)], [item(f"P{at}", 2) for at in range(n)]),
    "other plans of one product": lambda n: (
        [item(f"P{at}", price=str(at)) for at in range(n)],
        [item(f"P{n + at}", price=str(at + 1)) for at in range(n)],
    ),
    "base with base": lambda n: (
        [item(f"P{at}", price=str(at), product=f"P{at}", base=True) for at in range(n)],
        [item(f"Q{at}", price=str(at + 1), product=f"Q{at}", base=True) for at in range(n)],
    ),
    "removed and added": lambda n: (
        [item(f"P{at}", product=f"P{at}") for at in range(n)],
        [item(f"Q{at}", product=f"Q{at}") for at in range(n)],
    ),
}


@pytest.mark.parametrize("items", LARGE.values(), ids=LARGE)
def test_the_work_is_linear_in_the_number_of_items(items):
    def work(number):
        current, new = map(tuple, items(number))
        return steps(lambda: judge_items(current, new, current, EUR))

    assert work(2_000) < 4.5 * work(500)


def test_the_memory_for_judged_items_is_bounded():
    def ask(number):
        items = tuple(item(f"P{number}-{each}", category="c" * 100) for each in range(500))
        assert mrr(items) == 5_000 * ONE
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
