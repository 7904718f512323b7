"""The checkout's verdict table: a case for every row and every sentence of the contract's section 2, and laws for any cart.

A case reads: what they came for, what they bought, the verdicts as `kind reason amount` in the order of the final lines that they name. The independent
oracle judges each case, too. `KEPT` is a line that is bought as intended. It is worth more than all others, so the rest of the intent is less than half.
"""

import itertools
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from oracle import carts as oracle
from support.carts import line
from support.steps import steps

from stream.core.event import Line
from stream.core.judging.cart import NOTHING, compare, judge, lines_of, net, quantity_of, thousandths
from stream.core.money import ONE, SCALE, exact, plain, rounded

EUR, JPY, KWD, EXACT = 2, 0, 3, SCALE
CURRENCIES = {EUR: "EUR", JPY: "JPY", KWD: "KWD"}
KEPT = line("K", "k", price="1000")


def judged(intent, final, places=EXACT):
    bought = lines_of(final)
    return judge(compare(lines_of(intent), bought), bought, places)


def verdicts(intent, final, places=EUR):
    return texts(judged(intent, final, places), places)


def texts(found, places=EUR):
    return [f"{each.kind} {each.reason} {plain(rounded(each.amount, places), places)}" for each in found]


def verdicts_on_left(intent, final, left, places=EUR):
    bought = lines_of(final)
    units = [thousandths(quantity) for quantity in left]
    lines = [each.left(number) for each, number in zip(bought, units, strict=True)]
    return texts(judge(compare(lines_of(intent), bought), lines, places), places)


def oracle_lines(lines):
    return oracle.lines_of(
        {
            "sku": each.sku,
            "variant_id": each.variant_id,
            "product_id": each.product_id,
            "category": each.category,
            "replaces": (each.replaces,) if isinstance(each.replaces, str) else each.replaces or (),
            "offer_id": each.offer_id,
            "quantity": Fraction(each.quantity),
            "price": Fraction(each.price),
            "discount": Fraction(each.discount),
        }
        for each in lines
    )


def oracle_verdicts(intent, final, places=EUR, left=None):
    bought = oracle_lines(final)
    remaining = None
    if left is not None:
        quantities = [Fraction(quantity) for quantity in left]
        remaining = {
            each: oracle.replace(each, quantity=quantity, discount=each.discount * quantity / each.quantity)
            for each, quantity in zip(bought, quantities, strict=True)
        }
    found = oracle.judge(oracle.compare(oracle_lines(intent), bought), bought, CURRENCIES[places], remaining)
    return [f"{each.kind} {each.reason} {plain(round(each.amount * 10**places), places)}" for each in found]


FAMILIES = {
    # each kind of id connects lines
    "the same variant_id, whatever else differs": (
        [line("P", "a", variant="v")],
        [line("Q", "b", 3, variant="v")],
        ["upsell quantity 20.00"],
    ),
    "the same sku": ([line("P", "a")], [line("Q", "a", 3)], ["upsell quantity 20.00"]),
    "the same product_id": ([line("P")], [line("P", q=3)], ["upsell quantity 20.00"]),
    "an id of one kind is no id of another": (
        [KEPT, line("X")],
        [KEPT, line(None, "X", price="25")],
        ["cross_sell addition 25.00"],
    ),
    "no common id": ([KEPT, line("P", "a")], [KEPT, line("Q", "b", price="12")], ["cross_sell addition 12.00"]),
    # and so on
    "connected through a final line": (
        [line("P", "a")],
        [line("P", "b", price="12"), line("Q", "b", price="5")],
        ["upsell variant 7.00"],
    ),
    "a final line connects two intent lines": (
        [KEPT, line("P", "a"), line("Q", "b")],
        [KEPT, line("P", "b", price="15")],
        ["downsell quantity 5.00"],
    ),
    "intent lines connect each other: nothing is removed from a family that is still there": (
        [line("P", "a"), line("P", "b")],
        [line("P", "a")],
        ["downsell quantity 10.00"],
    ),
    "an intent line connects two final lines": (
        [line("P", "a")],
        [line("P", "b", price="7"), line("Q", "a", price="8")],
        ["upsell quantity 5.00"],
    ),
    "over three lines and three kinds of ids": (
        [line("P", "a"), line("Q", "a", variant="v")],
        [line("R", "b", price="27", variant="v")],
        ["upsell variant 7.00"],
    ),
    "a gift connects nothing": (
        [KEPT, line("P", "a"), line("Q", "b")],
        [KEPT, line("P", "a"), line("P", "b", off="10")],
        [],
    ),
    "another line of a product that they came for": (
        [line("P", "a")],
        [line("P", "a"), line("P", "b", price="12")],
        ["upsell quantity 12.00"],
    ),
    "one verdict for each family, also for one that is only final": (
        [KEPT],
        [KEPT, line("Q", "b", price="5"), line("Q", "c", 2, "6")],
        ["cross_sell addition 17.00"],
    ),
    "two families, two verdicts": (
        [KEPT, line("P", q=2)],
        [KEPT, line("P", q=1), line("Q", price="5"), line("R", price="6")],
        ["downsell quantity 10.00", "cross_sell addition 5.00", "cross_sell addition 6.00"],
    ),
    "lists, nets and quantities of a family's lines add up": (
        [line("P", "a", 1, "10"), line("P", "a", 1, "12", off="1")],
        [line("P", "a", 2, "10", off="2"), line("P", "a", 2, "9", off="3")],
        ["upsell quantity 12.00"],
    ),
}

REPLACES = {
    "a sku, list total up": (
        [KEPT, line("P", "a")],
        [KEPT, line("Q", "b", price="14", replaces="a")],
        ["upsell substitute 4.00"],
    ),
    "a sku, list total down": (
        [KEPT, line("P", "a")],
        [KEPT, line("Q", "b", price="7", replaces="a")],
        ["downsell substitute 3.00"],
    ),
    "a sku, list total equal": ([KEPT, line("P", "a")], [KEPT, line("Q", "b", replaces="a")], []),
    "a product_id": (
        [KEPT, line("P", "a")],
        [KEPT, line("Q", "b", price="14", replaces="P")],
        ["upsell substitute 4.00"],
    ),
    "a variant_id": (
        [KEPT, line("P", "a", variant="v")],
        [KEPT, line("Q", "b", price="14", replaces="v")],
        ["upsell substitute 4.00"],
    ),
    "several: a kit in place of its parts": (
        [KEPT, line("camera", price="500"), line("lens", price="300"), line("bag", price="100")],
        [KEPT, line("kit", price="750", replaces=("camera", "lens", "bag"))],
        ["downsell substitute 150.00"],
    ),
    "several lines in place of one": (
        [KEPT, line("P", "a")],
        [KEPT, line("Q", "b", price="6", replaces="a"), line("R", "c", price="7", replaces="a")],
        ["upsell substitute 3.00"],
    ),
    "an id that lines of two families have": (
        [KEPT, line("X", "a"), line("Q", "X")],
        [KEPT, line("R", "c", price="25", replaces="X")],
        ["upsell substitute 5.00"],
    ),
    "nothing: ignored": (
        [KEPT, line("P", "a")],
        [KEPT, line("Q", "b", replaces="gone")],
        ["cross_sell addition 10.00"],
    ),
    "nothing, and something": (
        [KEPT, line("P", "a")],
        [KEPT, line("Q", "b", price="14", replaces=("gone", "a"))],
        ["upsell substitute 4.00"],
    ),
    "a gift of the intent: it is left out": (
        [KEPT, line("P", "a", price="0")],
        [KEPT, line("Q", "b", replaces="a")],
        ["cross_sell addition 10.00"],
    ),
    "by a gift: it is left out, and connects nothing": (
        [KEPT, line("P", "a"), line("Q", "b")],
        [KEPT, line("P", "a"), line("R", "c", price="0", replaces=("a", "b"))],
        [],
    ),
    "by an intent line: it counts for nothing": (
        [KEPT, line("P", "a", replaces="b")],
        [KEPT, line("Q", "b")],
        ["cross_sell addition 10.00"],
    ),
    "another intent line, by an intent line": (
        [KEPT, line("Q", "b"), line("P", "a", replaces="b")],
        [KEPT, line("Q", "b")],
        [],
    ),
    "a final line: it counts for nothing": (
        [KEPT],
        [KEPT, line("Q", "b"), line("R", "c", replaces="b")],
        ["cross_sell addition 10.00", "cross_sell addition 10.00"],
    ),
    "a line that is bought as well": (
        [KEPT, line("P", "a", price="10"), line("Q", "b", price="20")],
        [KEPT, line("Q", "b", price="20", replaces="a")],
        ["downsell substitute 10.00"],
    ),
    # the reason
    "another key of the family: a substitute, no variant": (
        [line("P", "a")],
        [line("P", "b", price="14", replaces="a")],
        ["upsell substitute 4.00"],
    ),
    "another key of the family, units only gained: a substitute, no quantity": (
        [line("P", "a"), line("P", "b")],
        [line("P", "a"), line("P", "b", 2, replaces="a")],
        ["upsell substitute 10.00"],
    ),
    "another key of the family, units only lost": (
        [line("P", "a", 2), line("P", "b")],
        [line("P", "a", 1), line("P", "b", replaces="a")],
        ["downsell substitute 10.00"],
    ),
    "a line of its own key: no substitute": (
        [line("P", "a")],
        [line("P", "a", 2, replaces="a")],
        ["upsell quantity 10.00"],
    ),
    "the product of its own key and of another one": (
        [line("P", "a"), line("P", "b")],
        [line("P", "a", 2, replaces="P"), line("P", "b")],
        ["upsell substitute 10.00"],
    ),
    "every key in equal quantity: kept": (
        [line("P", "a"), line("P", "b")],
        [line("P", "a", price="50"), line("P", "b", replaces="a")],
        [],
    ),
}

KEYS = {
    "variant_id where all lines have one": (
        [line("P", "a", variant="v")],
        [line("P", "b", price="15", variant="v")],
        [],
    ),
    "variant_id: an equal sku does not make them the same": (
        [line("P", "a", variant="v")],
        [line("P", "a", price="15", variant="w")],
        ["upsell variant 5.00"],
    ),
    "sku where a line has no variant_id": ([line("P", "a", variant="v")], [line("P", "a", price="15")], []),
    "sku: an equal variant_id does not make them the same": (
        [line("P", "a", variant="v"), line("P", "c")],
        [line("P", "b", price="15", variant="v"), line("P", "c")],
        ["upsell variant 5.00"],
    ),
    "product_id where a line has neither": ([line("P", "a", variant="v")], [line("P", price="15")], []),
    "product_id: another product of the family": (
        [line("P", "a", variant="v"), line("P")],
        [line("Q", "a", price="25", variant="v"), line("P")],
        ["upsell variant 15.00"],
    ),
    "one line without it decides for all lines of the family": (
        [line("P", "a", 2, variant="v")],
        [line("P", "b", 2, variant="v"), line("P", "a", 1, "1")],
        ["upsell variant 1.00"],
    ),
    "a gift is no line of the family": (
        [line("P", "a", variant="v")],
        [line("P", "b", price="15", variant="v"), line("P", "a", price="0")],
        [],
    ),
    "all three where no kind is common": (
        [line("P", "a")],
        [line("P", price="10"), line(None, "a", price="5")],
        ["upsell variant 5.00"],
    ),
    "all three: equal": (
        [line("P", "a"), line("P"), line(None, "a")],
        [line(None, "a", price="15"), line("P", "a"), line("P")],
        [],
    ),
    "all three: more of one": (
        [line("P", "a"), line("P"), line(None, "a")],
        [line("P", "a"), line("P"), line(None, "a", 2)],
        ["upsell quantity 10.00"],
    ),
    "all three: no common kind through replaces": (
        [KEPT, line("P")],
        [KEPT, line(None, "a", price="12", replaces="P")],
        ["upsell substitute 2.00"],
    ),
}

BOTH_SIDES = {
    # every key in equal quantity
    "equal": ([line("P", "a", 2)], [line("P", "a", 2)], []),
    "equal, dearer": ([line("P", "a")], [line("P", "a", price="15")], []),
    "equal, cheaper": ([line("P", "a")], [line("P", "a", price="5")], []),
    "equal, discounted": ([line("P", "a")], [line("P", "a", off="5")], []),
    "equal, two keys, one dearer and one cheaper": (
        [line("P", "a"), line("P", "b", price="20")],
        [line("P", "b", price="30"), line("P", "a", price="5")],
        [],
    ),
    "equal, in more lines": ([line("P", "a", 3)], [line("P", "a"), line("P", "a", 2, "12")], []),
    # some key gained units and another lost some
    "variant up": ([line("P", "a")], [line("P", "b", price="25")], ["upsell variant 15.00"]),
    "variant down": ([line("P", "a")], [line("P", "b", price="4")], ["downsell variant 6.00"]),
    "variant equal": ([line("P", "a")], [line("P", "b")], []),
    "variant: more of one and less of another": (
        [line("P", "a", 2), line("P", "b", 1, "15")],
        [line("P", "a", 1), line("P", "b", 2, "15")],
        ["upsell variant 5.00"],
    ),
    "variant: list totals are compared, not unit prices": (
        [line("P", "a", 3)],
        [line("P", "b", 1, "25")],
        ["downsell variant 5.00"],
    ),
    "variant: list totals are compared, the amount is of net totals": (
        [line("P", "a", off="2")],
        [line("P", "b", price="25", off="5")],
        ["upsell variant 12.00"],
    ),
    "variant down: the amount is of net totals": (
        [line("P", "a", price="25", off="5")],
        [line("P", "b", off="2")],
        ["downsell variant 12.00"],
    ),
    "variant up by list total, not by net total: the amount is not below 0, and so there is no verdict": (
        [line("P", "a")],
        [line("P", "b", price="25", off="20")],
        [],
    ),
    "variant down by list total, not by net total": (
        [line("P", "a", price="25", off="20")],
        [line("P", "b")],
        [],
    ),
    # units only gained
    "quantity up": ([line("P", "a")], [line("P", "a", 3)], ["upsell quantity 20.00"]),
    "quantity up at a volume price": ([line("P", "a")], [line("P", "a", 3, "8")], ["upsell quantity 14.00"]),
    "quantity up, list total down: moving apart": ([line("P", "a")], [line("P", "a", 2, "4")], []),
    "quantity up, list total equal": ([line("P", "a")], [line("P", "a", 2, "5")], []),
    "quantity up, and they pay no more": ([line("P", "a")], [line("P", "a", 2, off="10")], []),
    "quantity up of two keys": (
        [line("P", "a"), line("P", "b", price="20")],
        [line("P", "a", 2), line("P", "b", 2, "20")],
        ["upsell quantity 30.00"],
    ),
    # units only lost
    "quantity down": ([line("P", "a", 3)], [line("P", "a")], ["downsell quantity 20.00"]),
    "quantity down, list total up: moving apart": ([line("P", "a", 2)], [line("P", "a", 1, "30")], []),
    "quantity down, list total equal": ([line("P", "a", 2)], [line("P", "a", 1, "20")], []),
    "quantity down of one key, the other kept": (
        [line("P", "a", 3), line("P", "b")],
        [line("P", "a", 2), line("P", "b")],
        ["downsell quantity 10.00"],
    ),
    # decimals
    "sold by weight": (
        [line("P", q="0.35", price="12.40")],
        [line("P", q="0.5", price="12.40")],
        ["upsell quantity 1.86"],
    ),
    "a gram more": ([line("P", q="0.999")], [line("P", q=1)], ["upsell quantity 0.01"]),
    "sold by length, in pieces": ([line("P", q="1.5")], [line("P", q="0.625"), line("P", q="0.875")], []),
}

CATEGORIES = {
    "up": (
        [KEPT, line("P", category="c")],
        [KEPT, line("Q", price="12", category="c")],
        ["upsell substitute 2.00"],
    ),
    "down": (
        [KEPT, line("P", category="c")],
        [KEPT, line("Q", price="9", category="c")],
        ["downsell substitute 1.00"],
    ),
    "equal": ([KEPT, line("P", category="c")], [KEPT, line("Q", category="c")], []),
    "quantities are not compared": (
        [KEPT, line("P", q=5, category="c")],
        [KEPT, line("Q", price="60", category="c")],
        ["upsell substitute 10.00"],
    ),
    "another category": (
        [KEPT, line("P", category="c")],
        [KEPT, line("Q", price="12", category="d")],
        ["cross_sell addition 12.00"],
    ),
    "no category is none in common": (
        [KEPT, line("P")],
        [KEPT, line("Q", price="12")],
        ["cross_sell addition 12.00"],
    ),
    "a line that they bought is no longer there to be substituted": (
        [line("P", category="c")],
        [line("P", category="c"), line("Q", category="c")],
        ["cross_sell addition 10.00"],
    ),
    "one to one: the second one is an addition": (
        [KEPT, line("P", category="c")],
        [KEPT, line("Q", price="14", category="c"), line("R", price="12", category="c")],
        ["upsell substitute 4.00", "cross_sell addition 12.00"],
    ),
    "highest list total first on both sides": (
        [KEPT, line("P", price="10", category="c"), line("Q", price="30", category="c")],
        [KEPT, line("R", price="12", category="c"), line("S", price="35", category="c")],
        ["upsell substitute 2.00", "upsell substitute 5.00"],
    ),
    "the list total, not the unit price": (
        [KEPT, line("P", price="50", category="c")],
        [KEPT, line("Q", price="20", category="c"), line("R", q=10, price="6", category="c")],
        ["cross_sell addition 20.00", "upsell substitute 10.00"],
    ),
    "the list total, not the net total": (
        [KEPT, line("P", price="50", category="c")],
        [KEPT, line("Q", price="55", category="c"), line("R", price="60", off="8", category="c")],
        ["cross_sell addition 55.00", "upsell substitute 2.00"],
    ),
    "the list total, not the net total, of the intent": (
        [KEPT, line("P", price="50", off="45", category="c"), line("Q", price="40", category="c")],
        [KEPT, line("R", price="47", category="c")],
        [],
    ),
    "the list total of the family": (
        [KEPT, line("P", price="50", category="c")],
        [
            KEPT,
            line("Q", price="52", category="c"),
            line("R", "a", price="30", category="c"),
            line("R", "b", price="31", category="c"),
        ],
        ["cross_sell addition 52.00", "upsell substitute 11.00"],
    ),
    "ties in order of appearance, final": (
        [KEPT, line("P", category="c")],
        [KEPT, line("Q", price="12", category="c"), line("R", price="12", category="c")],
        ["upsell substitute 2.00", "cross_sell addition 12.00"],
    ),
    "ties in order of appearance, intent": (
        [KEPT, line("P", category="c"), line("Q", off="4", category="c")],
        [KEPT, line("R", price="8", category="c")],
        ["downsell substitute 2.00"],
    ),
    "the category is that of the line with the highest unit price": (
        [KEPT, line("P", category="c")],
        [KEPT, line("Q", "a", price="5", category="d"), line("Q", "b", price="8", category="c")],
        ["upsell substitute 3.00"],
    ),
    "the unit price, not the list total": (
        [KEPT, line("P", category="c")],
        [KEPT, line("Q", "a", 9, price="5", category="d"), line("Q", "b", price="8", category="c")],
        ["upsell substitute 43.00"],
    ),
    "ties: the first line's category": (
        [KEPT, line("P", category="c")],
        [KEPT, line("Q", "a", price="8", category="c"), line("Q", "b", price="8", category="d")],
        ["upsell substitute 6.00"],
    ),
    "a dearest line without category: the family has none": (
        [KEPT, line("P", category="c")],
        [KEPT, line("Q", "a", price="8"), line("Q", "b", price="5", category="c")],
        ["cross_sell addition 13.00"],
    ),
    "the intent's family has the category of its dearest line": (
        [KEPT, line("P", "a", price="4", category="d"), line("P", "b", price="6", category="c")],
        [KEPT, line("Q", price="12", category="c")],
        ["upsell substitute 2.00"],
    ),
    "categories apart": (
        [KEPT, line("P", category="c"), line("Q", price="20", category="d")],
        [KEPT, line("R", price="15", category="d"), line("S", price="30", category="c")],
        ["downsell substitute 5.00", "upsell substitute 20.00"],
    ),
    "amounts by net totals": (
        [KEPT, line("P", off="3", category="c")],
        [KEPT, line("Q", price="12", off="1", category="c")],
        ["upsell substitute 4.00"],
    ),
}

REST = {
    "more than half is left over: something else was bought": (
        [line("P", price="60"), line("N", price="40")],
        [line("N", price="40"), line("R", price="90")],
        ["upsell substitute 30.00"],
    ),
    "down": (
        [line("P", price="60"), line("N", price="40")],
        [line("N", price="40"), line("R", price="50")],
        ["downsell substitute 10.00"],
    ),
    "equal": (
        [line("P", price="60"), line("N", price="40")],
        [line("N", price="40"), line("R", price="60")],
        [],
    ),
    "exactly half is not more than half": (
        [line("P", price="50"), line("N", price="50")],
        [line("N", price="50"), line("R", price="90")],
        ["cross_sell addition 90.00"],
    ),
    "a cent more than half": (
        [line("P", price="50.01"), line("N", price="50")],
        [line("N", price="50"), line("R", price="90")],
        ["upsell substitute 39.99"],
    ),
    "half of the net total, not of the list total": (
        [line("P", price="100", off="60"), line("N", price="50")],
        [line("N", price="50"), line("R", price="90")],
        ["cross_sell addition 90.00"],
    ),
    "compared by list totals, the amount by net totals": (
        [line("P", price="60", off="5")],
        [line("R", price="90", off="10")],
        ["upsell substitute 25.00"],
    ),
    "half of the intent, as it was, not of what they bought of it": (
        [line("P", price="60"), line("N", price="50")],
        [line("N", q=9, price="50"), line("R", price="90")],
        ["upsell quantity 400.00", "upsell substitute 30.00"],
    ),
    "everything of both sides, one verdict": (
        [line("P", price="30"), line("Q", price="30", category="c"), line("N", price="40")],
        [line("R", price="40"), line("N", price="40"), line("S", price="50", category="d")],
        ["upsell substitute 30.00"],
    ),
    "nothing in common at all": (
        [line("P"), line("Q", q=2)],
        [line("R", price="12"), line("S", price="8")],
        ["downsell substitute 10.00"],
    ),
    "pairs of a category come first: what is left over is less than half": (
        [line("P", price="60", category="c"), line("Q", price="20"), line("N", price="20")],
        [line("N", price="20"), line("R", price="70", category="c"), line("S", price="5")],
        ["upsell substitute 10.00", "cross_sell addition 5.00"],
    ),
    "pairs of a category come first: what is left over is more than half": (
        [line("P", price="20", category="c"), line("Q", price="60"), line("N", price="20")],
        [line("N", price="20"), line("R", price="30", category="c"), line("S", price="90")],
        ["upsell substitute 10.00", "upsell substitute 30.00"],
    ),
    "nothing is left over in the final cart": (
        [line("P", price="60"), line("N", price="40")],
        [line("N", q=2, price="40")],
        ["upsell quantity 40.00"],
    ),
    "nothing is left over in the intent": (
        [line("N", price="40")],
        [line("N", price="40"), line("R", price="90")],
        ["cross_sell addition 90.00"],
    ),
    "what was compared as a whole is not removed": (
        [line("P", price="40", category="c"), line("Q", price="39", category="c"), line("O", price="39", category="c")],
        [line("R", price="50", category="c"), line("S", price="5")],
        ["upsell substitute 10.00", "downsell substitute 73.00"],
    ),
    "an upsell of the whole has no category: removed lines cannot be set against it": (
        [line("P", price="60", category="c"), line("Q", price="10", category="d")],
        [line("R", price="90", category="e")],
        ["upsell substitute 20.00"],
    ),
    "gifts are no part of it": (
        [line("P", price="60"), line("N", price="40"), line("F", price="0")],
        [line("N", price="40"), line("G", price="9", off="9")],
        [],
    ),
}

REMOVED = {
    "no verdict": ([line("P"), line("Q")], [line("P")], []),
    "set against the substitute upsell of its category": (
        [KEPT, line("P", price="50", category="c"), line("Q", price="40", category="c")],
        [KEPT, line("R", price="95", category="c")],
        ["upsell substitute 5.00"],
    ),
    "at its net total": (
        [KEPT, line("P", price="50", category="c"), line("Q", price="40", off="30", category="c")],
        [KEPT, line("R", price="95", category="c")],
        ["upsell substitute 35.00"],
    ),
    "all of the upsell": (
        [KEPT, line("P", price="50", category="c"), line("Q", price="40", category="c")],
        [KEPT, line("R", price="90", category="c")],
        [],
    ),
    "more than the upsell: that is no downsell": (
        [KEPT, line("P", price="50", category="c"), line("Q", price="40", category="c")],
        [KEPT, line("R", price="70", category="c")],
        [],
    ),
    "the largest upsell first": (
        [KEPT, *[line(name, price=price, category="c") for name, price in (("P", "50"), ("Q", "40"), ("O", "30"))]],
        [KEPT, line("S", price="100", category="c"), line("R", price="150", category="c")],
        ["upsell substitute 60.00", "upsell substitute 70.00"],
    ),
    "then the next": (
        [KEPT, *[line(name, price=price, category="c") for name, price in (("P", "50"), ("Q", "40"), ("O", "30"))]],
        [KEPT, line("S", price="60", category="c"), line("R", price="75", category="c")],
        ["upsell substitute 15.00"],
    ),
    "ties in order of appearance": (
        [KEPT, *[line(name, price=price, category="c") for name, price in (("P", "50"), ("Q", "40"), ("O", "30"))]],
        [KEPT, line("S", price="100", category="c"), line("R", price="110", category="c")],
        ["upsell substitute 30.00", "upsell substitute 60.00"],
    ),
    "only those of its category": (
        [KEPT, line("P", category="c"), line("Q", category="d"), line("O", price="8", category="d")],
        [KEPT, line("R", price="40", category="c"), line("S", price="20", category="d")],
        ["upsell substitute 30.00", "upsell substitute 2.00"],
    ),
    "what was removed of a category adds up": (
        [KEPT, *[line(name, price=price, category="c") for name, price in (("P", "50"), ("Q", "40"), ("O", "30"))]],
        [KEPT, line("R", price="130", category="c")],
        ["upsell substitute 10.00"],
    ),
    "no category is none in common": (
        [KEPT, line("camera", price="500"), line("lens", price="200")],
        [KEPT, line("kit", price="750", replaces="camera")],
        ["upsell substitute 250.00"],
    ),
    "without category: no effect": (
        [KEPT, line("P", category="c"), line("Q", price="8")],
        [KEPT, line("R", price="40", category="c")],
        ["upsell substitute 30.00"],
    ),
    "not against a cross-sell": (
        [KEPT, line("P", category="c"), line("Q", price="9", category="c")],
        [KEPT, line("R", price="10", category="c"), line("S", price="8", category="d")],
        ["cross_sell addition 8.00"],
    ),
    "not against another variant or quantity": (
        [KEPT, line("P", "a", category="c"), line("N", category="c"), line("Q", price="9", category="c")],
        [KEPT, line("P", "b", price="30", category="c"), line("N", q=2, category="c")],
        ["upsell variant 20.00", "upsell quantity 10.00"],
    ),
    "not against a downsell": (
        [KEPT, line("P", price="50", category="c"), line("Q", price="40", category="c")],
        [KEPT, line("R", price="45", category="c")],
        ["downsell substitute 5.00"],
    ),
    "against a family with the reason substitute, too": (
        [KEPT, line("camera", price="500", category="photo"), line("lens", price="200", category="photo")],
        [KEPT, line("kit", price="750", category="photo", replaces="camera")],
        ["upsell substitute 50.00"],
    ),
    "such a family has the category of its dearest line, in whatever cart": (
        [
            KEPT,
            line("P", "a", price="90", category="c"),
            line("Q", price="20", category="c"),
            line("O", price="30", category="d"),
        ],
        [KEPT, line("R", "b", 2, "80", category="d", replaces="a")],
        ["upsell substitute 50.00"],
    ),
    "a removed family is removed as a whole, in the category of its dearest line": (
        [
            KEPT,
            line("P", price="50", category="c"),
            line("Q", "a", price="10", category="d"),
            line("Q", "b", price="20", category="c"),
        ],
        [KEPT, line("R", price="95", category="c")],
        ["upsell substitute 15.00"],
    ),
    "a gift that goes is worth nothing": (
        [KEPT, line("P", price="50", category="c"), line("Q", price="40", off="40", category="c")],
        [KEPT, line("R", price="95", category="c")],
        ["upsell substitute 45.00"],
    ),
}

GIFTS = {
    "price 0": ([line("P")], [line("P"), line("Q", price="0")], []),
    "discounted to 0": ([line("P")], [line("P"), line("Q", off="10")], []),
    "a free unit of the same sku": ([line("P", "a")], [line("P", "a"), line("P", "a", price="0")], []),
    "three for two": ([line("P", "a", 2)], [line("P", "a", 2), line("P", "a", off="10")], []),
    "a gift of the intent that is paid for": (
        [KEPT, line("Q", price="0")],
        [KEPT, line("Q")],
        ["cross_sell addition 10.00"],
    ),
    "a line that becomes a gift is removed": ([KEPT, line("P")], [KEPT, line("P", price="0")], []),
    "a discount above the list total counts as the list total": (
        [KEPT, line("P")],
        [KEPT, line("P", q=2, off="99")],
        [],
    ),
    "and takes nothing off other lines": (
        [line("P", "a")],
        [line("P", "a", 2), line("P", "b", price="5", off="99")],
        ["upsell quantity 10.00"],
    ),
    "only gifts": ([line("P", price="0")], [line("Q", off="10")], []),
    "a discount of a part": ([KEPT], [KEPT, line("Q", q=2, price="12", off="3")], ["cross_sell addition 21.00"]),
}

WHOLE_CARTS = {
    "a cart against itself": ([line("P", "a", 2), line("Q", "b")], [line("P", "a", 2), line("Q", "b")], []),
    "an empty intent: everything is an addition": (
        [],
        [line("P", "a", 2), line("Q"), line("P", "b")],
        ["cross_sell addition 30.00", "cross_sell addition 10.00"],
    ),
    "an empty intent: categories and replaces find nothing": (
        [],
        [line("P", category="c"), line("Q", category="c", replaces="P")],
        ["cross_sell addition 10.00", "cross_sell addition 10.00"],
    ),
    "nothing was bought": ([line("P"), line("Q", category="c")], [], []),
    "nothing and nothing": ([], [], []),
    "all kinds, in the order of the final lines that they name": (
        [KEPT, line("P", "a", 2), line("Q", "b"), line("N", category="c")],
        [line("S", price="7"), line("M", price="13", category="c"), line("P", "a"), KEPT, line("Q", "b", 3)],
        ["cross_sell addition 7.00", "upsell substitute 3.00", "downsell quantity 10.00", "upsell quantity 20.00"],
    ),
    "the order is that of the named lines, not of a family's first lines": (
        [],
        [line("P", "a", price="1"), line("Q", price="2"), line("P", "b", price="3")],
        ["cross_sell addition 2.00", "cross_sell addition 4.00"],
    ),
}


TABLE = {
    f"{table}: {name}": case
    for table, cases in {
        "families": FAMILIES,
        "replaces": REPLACES,
        "keys": KEYS,
        "both sides": BOTH_SIDES,
        "categories": CATEGORIES,
        "the rest": REST,
        "removed": REMOVED,
        "gifts": GIFTS,
        "whole carts": WHOLE_CARTS,
    }.items()
    for name, case in cases.items()
}


@pytest.mark.parametrize(("intent", "final", "expected"), TABLE.values(), ids=TABLE)
def test_table(intent, final, expected):
    assert verdicts(intent, final) == expected
    assert oracle_verdicts(intent, final) == expected


MONEY = {
    "half a cent is rounded to even: no verdict": (
        EUR,
        [line("P", "a", price="1")],
        [line("P", "b", price="1.005")],
        [],
    ),
    "more than half a cent": (
        EUR,
        [line("P", "a", price="1")],
        [line("P", "b", price="1.006")],
        ["upsell variant 0.01"],
    ),
    "a cent and a half": (EUR, [line("P", "a", price="1")], [line("P", "b", price="1.015")], ["upsell variant 0.02"]),
    "a downsell of half a cent": (EUR, [line("P", "a", price="1.005")], [line("P", "b", price="1")], []),
    "a cross-sell of half a cent": (EUR, [KEPT], [KEPT, line("Q", price="0.005")], []),
    "two of less than a cent are not one of a cent": (
        EUR,
        [KEPT],
        [KEPT, line("Q", price="0.004"), line("R", price="0.004")],
        [],
    ),
    "what removed lines leave has to have money, too": (
        EUR,
        [KEPT, line("P", category="c"), line("Q", price="9.996", category="c")],
        [KEPT, line("R", price="20", category="c")],
        [],
    ),
    "half a yen": (JPY, [line("P", "a", price="100")], [line("P", "b", price="100.5")], []),
    "more than half a yen": (JPY, [line("P", "a", price="100")], [line("P", "b", price="100.6")], ["upsell variant 1"]),
    "a yen and a half": (JPY, [line("P", "a", price="100")], [line("P", "b", price="101.5")], ["upsell variant 2"]),
    "a cross-sell of 0.4 yen": (JPY, [KEPT], [KEPT, line("Q", q="0.004", price="100")], []),
    "half a fils": (KWD, [line("P", "a", price="1")], [line("P", "b", price="1.0005")], []),
    "a fils": (KWD, [line("P", "a", price="1")], [line("P", "b", price="1.001")], ["upsell variant 0.001"]),
    "the smallest price and the smallest quantity are exact": (
        EUR,
        [KEPT],
        [KEPT, line("Q", q="0.001", price="5.0000000001"), *[line("Q", q="0.001", price="0.0000000001")] * 2],
        ["cross_sell addition 0.01"],
    ),
}


@pytest.mark.parametrize(("places", "intent", "final", "expected"), MONEY.values(), ids=MONEY)
def test_a_verdict_has_money(places, intent, final, expected):
    assert verdicts(intent, final, places) == expected
    assert oracle_verdicts(intent, final, places) == expected


# Which lines a verdict names, as `kind final<-intent`, by their skus.
NAMES = {
    "the dearest of the final lines that gained": (
        [line("P", "a"), line("P", "b", price="20"), line("P", "c", price="30")],
        [line("P", "a", 2), line("P", "b", 2, "20"), line("P", "c", price="30")],
        ["upsell b<-c"],
    ),
    "the dearest of the intent lines that lost": (
        [line("P", "a", 2), line("P", "b", 2, "20"), line("P", "c", price="30")],
        [line("P", "a", 1), line("P", "b", 1, "20"), line("P", "c", price="30")],
        ["downsell c<-b"],
    ),
    "the dearest of all where none gained, or none lost": (
        [line("P", "a", 2), line("P", "b", price="20")],
        [line("P", "a", 3), line("P", "b", price="20")],
        ["upsell a<-b"],
    ),
    "gained and lost": (
        [line("P", "a"), line("P", "b", 2, "20"), line("P", "c", price="90")],
        [line("P", "d", 1, "5"), line("P", "c", price="90"), line("P", "e", 1, "50"), line("P", "a", 1)],
        ["upsell e<-b"],
    ),
    "ties: the first": (
        [line("P", "a"), line("P", "b"), line("P", "c")],
        [line("P", "d", price="20"), line("P", "e", price="20"), line("P", "c")],
        ["upsell d<-a"],
    ),
    "the unit price, not the list total": (
        [line("P", "a", 9, "10"), line("P", "b", 1, "20")],
        [line("P", "c", 1, "40"), line("P", "d", 9, "30")],
        ["upsell c<-b"],
    ),
    "the list price, not the net one": (
        [line("P", "a", off="9"), line("P", "b", price="9")],
        [line("P", "c", price="20", off="15"), line("P", "d", price="19")],
        ["upsell c<-a"],
    ),
    "a key gains units, whatever line of it: the dearest line of that key": (
        [line("P", "a", variant="v"), line("P", "z", 1, "50", variant="w")],
        [
            line("P", "a", 1, "10", variant="v"),
            line("P", "b", 1, "12", variant="v"),
            line("P", "z", 1, "50", variant="w"),
        ],
        ["upsell b<-z"],
    ),
    "a pair: the dearest line of each family": (
        [KEPT, line("P", "a", category="c"), line("P", "b", price="12", category="c")],
        [KEPT, line("Q", "c", price="20", category="c"), line("Q", "d", price="21", category="c")],
        ["upsell d<-b"],
    ),
    "the rest: the dearest line of all families": (
        [line("P", "a"), line("Q", "b", price="12")],
        [line("R", "c", price="20"), line("S", "d", price="20")],
        ["upsell c<-b"],
    ),
    "the rest, ties: the first line of the cart, of whatever family": (
        [line("P", "a"), line("Q", "b", price="12"), line("P", "c", price="12")],
        [line("R", "d"), line("S", "e", price="30"), line("R", "f", price="30")],
        ["upsell e<-b"],
    ),
    "an addition: its dearest line, and no intent line": (
        [KEPT],
        [KEPT, line("Q", "c", 5, "20"), line("Q", "d", price="21")],
        ["cross_sell d<-None"],
    ),
    "a gift is never named": (
        [line("P", "a")],
        [line("P", "b", price="99", off="99"), line("P", "c", price="20")],
        ["upsell c<-a"],
    ),
}


@pytest.mark.parametrize(("intent", "final", "expected"), NAMES.values(), ids=NAMES)
def test_named_lines(intent, final, expected):
    assert [
        f"{each.kind} {each.final.sku}<-{each.intent and each.intent.sku}" for each in judged(intent, final, EUR)
    ] == expected
    found = oracle.judge(oracle.compare(oracle_lines(intent), bought := oracle_lines(final)), bought, "EUR")
    assert [f"{each.kind} {each.final.sku}<-{each.intent and each.intent.sku}" for each in found] == expected


# What refunds leave: intent, final lines, what is left of each in units, the verdicts on all of it, and on what is left.
PAIR = [KEPT, line("P", category="c")], [KEPT, line("Q", price="30", category="c"), line("R", price="20", category="c")]
LEFT = {
    "everything": (
        [line("P")],
        [line("P", q=3), line("Q")],
        [3, 1],
        ["upsell quantity 20.00", "cross_sell addition 10.00"],
        ["upsell quantity 20.00", "cross_sell addition 10.00"],
    ),
    "nothing": ([line("P")], [line("P", q=3), line("Q")], [0, 0], ["upsell quantity 20.00", "cross_sell addition 10.00"], []),
    "a unit of an upsell": ([line("P")], [line("P", q=3)], [2], ["upsell quantity 20.00"], ["upsell quantity 10.00"]),
    "as much as they came for": ([line("P", q=2)], [line("P", q=3)], [2], ["upsell quantity 10.00"], []),
    "less than they came for": ([line("P", q=2)], [line("P", q=3)], [1], ["upsell quantity 10.00"], ["downsell quantity 10.00"]),
    "a unit of a downsell: a larger one": ([line("P", q=3)], [line("P", q=2)], [1], ["downsell quantity 10.00"], ["downsell quantity 20.00"]),
    "a family of which nothing is left has no verdict": ([line("P", q=3), line("Q")], [line("P", q=2), line("Q")], [0, 1], ["downsell quantity 10.00"], []),
    "kept stays kept": ([line("P", q=2)], [line("P", q=2)], [1], [], []),
    "kept because units and total moved apart stays kept": ([line("P")], [line("P", q=4, price="2")], ["0.5"], [], []),
    "a kept pair stays kept": ([KEPT, line("P", q=2, category="c")], [KEPT, line("Q", q=2, category="c")], [1, 1], [], []),
    "a rest that was kept stays kept": ([line("P", q=2)], [line("Q", q=2)], [1], [], []),
    "a rest is judged again": (
        [line("P", price="60")],
        [line("Q", price="50"), line("R", price="40")],
        [1, 0],
        ["upsell substitute 30.00"],
        ["downsell substitute 10.00"],
    ),
    "a line of an addition": ([KEPT], [KEPT, line("Q", "a"), line("Q", "b", 2, "4")], [1, 0, 1], ["cross_sell addition 18.00"], ["cross_sell addition 4.00"]),
    "a pair comes back: the addition is not paired with what they came for": (
        *PAIR,
        [1, 0, 1],
        ["upsell substitute 20.00", "cross_sell addition 20.00"],
        ["cross_sell addition 20.00"],
    ),
    "an addition comes back: the pair stays": (
        *PAIR,
        [1, 1, 0],
        ["upsell substitute 20.00", "cross_sell addition 20.00"],
        ["upsell substitute 20.00"],
    ),
    "what comes back is set against nothing": (
        [KEPT, line("P", category="c"), line("O", category="c")],
        [KEPT, line("Q", price="50", category="c"), line("R", price="40", category="c")],
        [1, 0, 1],
        ["upsell substitute 40.00", "upsell substitute 30.00"],
        ["upsell substitute 30.00"],
    ),
    "a kept family comes back: its lines are not removed, and more than half of the intent is not left over": (
        [line("N", price="90", category="c"), line("P", category="c")],
        [line("N", price="90", category="c"), line("Q", price="30", category="c"), line("R", price="5")],
        [0, 1, 1],
        ["upsell substitute 20.00", "cross_sell addition 5.00"],
        ["upsell substitute 20.00", "cross_sell addition 5.00"],
    ),
    "what was removed is set off again, from what is left": (
        [KEPT, *[line(name, price=price, category="c") for name, price in (("P", "90"), ("Q", "85"), ("O", "80"))]],
        [KEPT, line("R", price="190", category="c"), line("S", price="145", category="c")],
        [1, 0, 1],
        ["upsell substitute 20.00", "upsell substitute 60.00"],
        [],
    ),
    "what was removed is set off again, the largest that is left first": (
        [KEPT, *[line(name, price=price, category="c") for name, price in (("P", "50"), ("Q", "40"), ("O", "30"))]],
        [KEPT, line("R", q=3, price="50", category="c"), line("S", price="100", category="c")],
        [1, 2, 1],
        ["upsell substitute 70.00", "upsell substitute 60.00"],
        ["upsell substitute 50.00", "upsell substitute 30.00"],
    ),
    "an upsell that was set off entirely is judged again, so that what was removed goes nowhere else": (
        [KEPT, line("camera", price="500", category="photo"), line("lens", price="200", category="photo")],
        [KEPT, line("kit", q=2, price="350", category="photo", replaces="camera")],
        [1, 1],
        [],
        ["downsell substitute 150.00"],
    ),
    "the reason is that of the lines that are left": (
        [line("P", "a")],
        [line("P", "b", price="14", replaces="a"), line("P", "c", price="15")],
        [0, 1],
        ["upsell substitute 19.00"],
        ["upsell variant 5.00"],
    ),
    "the family's key is that of all lines": (
        [line("P", "a", variant="v")],
        [line("P", "b", 2, variant="v"), line("P", "a", 1, "5")],
        [2, 0],
        ["upsell quantity 15.00"],
        ["upsell variant 10.00"],
    ),
    "discounts shrink in proportion": ([KEPT], [KEPT, line("Q", q=4, off="8")], [1, 3], ["cross_sell addition 32.00"], ["cross_sell addition 24.00"]),
    "in proportion that is no decimal": ([KEPT], [KEPT, line("Q", q=3, off="1")], [1, 1], ["cross_sell addition 29.00"], ["cross_sell addition 9.67"]),
    "decimal quantities": ([KEPT], [KEPT, line("Q", q="1.5", off="3")], [1, "0.25"], ["cross_sell addition 12.00"], ["cross_sell addition 2.00"]),
    "less than half a cent is left": ([KEPT], [KEPT, line("Q", q=1, price="4")], [1, "0.001"], ["cross_sell addition 4.00"], []),
}  # fmt: skip


@pytest.mark.parametrize(("intent", "final", "left", "gross", "rest"), LEFT.values(), ids=LEFT)
def test_what_is_left_is_judged_by_the_same_comparisons(intent, final, left, gross, rest):
    assert verdicts(intent, final) == oracle_verdicts(intent, final) == gross
    assert verdicts_on_left(intent, final, left) == rest
    assert oracle_verdicts(intent, final, left=left) == rest


def test_nothing_is_compared_where_the_intent_is_not_known():
    assert judge(NOTHING, lines_of([line("P")]), EUR) == []


# Lines, ready to be judged


def test_lines_have_exact_amounts():
    (found,) = lines_of([line("P", "a", "1.5", "0.10", off="0.05", variant="v", replaces="b")])
    assert (found.ids, found.replaces, found.units) == (("v", "a", "P"), ("b",), 1500)
    assert (found.price, found.listed, found.net) == (exact("0.10"), exact("0.15"), exact("0.10"))
    assert lines_of([line(replaces=("b", "c"))])[0].replaces == ("b", "c")
    assert lines_of([line()])[0].replaces == ()


def test_gifts():
    free, given_away, paid = lines_of([line(price="0"), line(off="10"), line(off="9.99")])
    assert (free.is_gift, given_away.is_gift, paid.is_gift) == (True, True, False)
    assert net([free, given_away, paid]) == exact("0.01")


def test_what_is_left_of_a_line():
    (found,) = lines_of([line("P", "a", 3, "10", off="1")])
    left = found.left(1000)
    assert (left.line, left.ids, left.price) == (found.line, found.ids, found.price)
    assert (left.units, left.listed, left.net) == (1000, exact("10"), Fraction(29 * ONE, 3))
    assert found.left(3000) == found
    assert (found.left(0).units, found.left(0).listed, found.left(0).net) == (0, 0, 0)


@given(st.integers(1, 10**12))
def test_quantities_in_thousandths_and_back(units):
    quantity = quantity_of(units)
    assert thousandths(quantity) == units
    assert Decimal(quantity) == Decimal(units) / 1000
    assert isinstance(quantity, int) == (units % 1000 == 0)


@pytest.mark.parametrize(
    ("quantity", "units"), [(2, 2000), ("0.5", 500), ("0.001", 1), ("1.25", 1250), ("12.340", 12340), ("2.0", 2000)]
)
def test_thousandths(quantity, units):
    assert thousandths(quantity) == units


@pytest.mark.parametrize(
    ("amount", "places", "expected"),
    [
        ("0.005", EUR, "0.00"),
        ("0.015", EUR, "0.02"),
        ("0.0151", EUR, "0.02"),
        ("2.5", JPY, "2"),
        ("3.5", JPY, "4"),
        ("1.0005", KWD, "1.000"),
    ],
)
def test_rounding_is_half_even_at_the_currency_s_exponent(amount, places, expected):
    assert plain(rounded(exact(amount), places), places) == expected


# Laws, for any cart

_QUANTITIES = st.sampled_from([1, 1, 1, 2, 3, "0.5", "1.25", "0.001"])
_CENTS = st.integers(0, 5_000).map(lambda cents: str(Decimal(cents) / 100))


_PRICES = st.one_of(st.sampled_from(["5", "10", "20"]), _CENTS)
_DISCOUNTS = st.one_of(st.just("0"), _CENTS)
_NO_DISCOUNT = st.just("0")


def _carts(*, discounts=_DISCOUNTS, most=6):
    """Few ids, of all kinds, so that families have several lines, and prices that are often equal."""
    return st.lists(
        st.builds(
            Line,
            sku=st.sampled_from(["a", "b", "c", "d", "e", None, None, "P"]),
            variant_id=st.sampled_from([None, None, None, "v", "w", "a"]),
            product_id=st.sampled_from(["P", "Q", "R", "S", "T", "U", "V", "W"]),
            category=st.sampled_from(["x", "x", "y", None]),
            quantity=_QUANTITIES,
            price=_PRICES,
            discount=discounts,
            replaces=st.sampled_from([None, None, None, None, "a", "P", ("b", "Q"), ("v", "gone")]),
        ),
        max_size=most,
    )


@given(_carts(), _carts(), st.sampled_from([EUR, JPY, KWD]), st.data())
def test_the_oracle_gives_the_same_verdicts(intent, final, places, data):
    assert verdicts(intent, final, places) == oracle_verdicts(intent, final, places)
    left = [quantity_of(data.draw(st.integers(0, thousandths(each.quantity)))) for each in final]
    assert verdicts_on_left(intent, final, left, places) == oracle_verdicts(intent, final, places, left)


@given(_carts())
def test_a_cart_against_itself_gives_nothing(lines):
    assert judged(lines, lines) == []


@given(_carts(), _carts(), st.sampled_from([EUR, JPY, KWD, EXACT]))
def test_no_verdict_without_money(intent, final, places):
    assert all(rounded(each.amount, places) > 0 for each in judged(intent, final, places))


@given(_carts(), _carts(discounts=_NO_DISCOUNT))
def test_upsells_and_cross_sells_of_a_cart_without_discounts_are_a_part_of_its_total(intent, final):
    gains = [each.amount for each in judged(intent, final) if each.kind in ("upsell", "cross_sell")]
    assert sum(gains) <= net(lines_of(final))


@given(_carts(), _carts())
def test_a_line_is_compared_at_most_once(intent, final):
    parts = compare(lines_of(intent), lines_of(final)).parts
    for side in ("intent", "final"):
        places = list(itertools.chain.from_iterable(getattr(part, side) for part in parts))
        assert len(places) == len(set(places))


@given(_carts(), _carts())
def test_renaming_ids_changes_nothing(intent, final):
    def renamed(name):
        if isinstance(name, tuple):
            return tuple(map(renamed, name))
        return None if name is None else f"{255 - ord(name[0])}{name}"  # in the reverse order

    def rename(lines):
        ids = ("sku", "variant_id", "product_id", "category", "replaces")
        return [replace(each, **{field: renamed(getattr(each, field)) for field in ids}) for each in lines]

    renamed_verdicts = judged(rename(intent), rename(final))
    assert [
        replace(each, final=rename([each.final])[0], intent=rename([each.intent])[0] if each.intent else None)
        for each in judged(intent, final)
    ] == renamed_verdicts


@given(_carts(), _carts(), st.sampled_from([2, 3, 7, 100]))
def test_verdicts_scale_with_prices(intent, final, factor):
    def scaled(lines):
        return [
            replace(each, price=str(Decimal(each.price) * factor), discount=str(Decimal(each.discount) * factor))
            for each in lines
        ]

    before, after = judged(intent, final), judged(scaled(intent), scaled(final))
    assert [(x.kind, x.reason, x.amount * factor) for x in before] == [(x.kind, x.reason, x.amount) for x in after]


@st.composite
def _split(draw, lines):
    """The same lines, some of them in two parts of the same key, one after the other; each discount in proportion."""
    found = []
    for each in lines:
        units = thousandths(each.quantity)
        first = draw(st.one_of(st.just(0), st.integers(0, units)))
        for part in (first, units - first):
            if part:
                discount = str(Decimal(each.discount) * part / units)
                found.append(replace(each, quantity=quantity_of(part), discount=discount))
    return found


# Discounts that can be divided by any part of a quantity: so much off each thousandth of a unit.
_DIVISIBLE = st.builds(
    lambda each, off: replace(each, discount=str(Decimal(off) * thousandths(each.quantity) / 1000)),
    st.builds(
        line,
        st.sampled_from(["P", "Q", "R", "S"]),
        st.sampled_from(["a", "b", "c", None]),
        _QUANTITIES,
        st.sampled_from(["5", "10", "20"]),
        category=st.sampled_from(["x", None]),
        replaces=st.sampled_from([None, None, "a", "P"]),
    ),
    st.sampled_from([0, 0, 1, 2, 5, 50]),
)


@given(st.lists(_DIVISIBLE, max_size=5), st.lists(_DIVISIBLE, max_size=5), st.data())
def test_a_family_split_into_lines_of_the_same_key_is_judged_the_same(intent, final, data):
    def shown(found):
        return [
            (each.kind, each.reason, each.amount, each.final.sku, each.intent and each.intent.sku) for each in found
        ]

    assert shown(judged(intent, final)) == shown(judged(data.draw(_split(intent)), data.draw(_split(final))))


@given(
    _carts(discounts=_NO_DISCOUNT, most=4), _carts(discounts=_NO_DISCOUNT, most=4), st.randoms(use_true_random=False)
)
def test_reordering_lines_of_different_prices_changes_nothing_but_the_order_of_verdicts(intent, final, random):
    """The order of appearance decides only ties. A part of each price is a power of 5, so that no totals or amounts are equal."""
    different = [
        replace(each, quantity=random.choice([1, 2]), price=str(Decimal(each.price) + Decimal(5**at).scaleb(-9)))
        for at, each in enumerate([*intent, *final])
    ]
    intent, final = different[: len(intent)], different[len(intent) :]
    shuffled = random.sample(final, len(final))
    before, after = judged(intent, final), judged(random.sample(intent, len(intent)), shuffled)
    assert sorted(before, key=lambda each: shuffled.index(each.final)) == after
    assert [final.index(each.final) for each in before] == sorted(final.index(each.final) for each in before)


# Linear work

LARGE = {
    "one category": lambda n: (
        [line(f"P{at}", price=str(at + 1), category="c") for at in range(n)],
        [line(f"Q{at}", price=str(at + 2), category="c") for at in range(n)],
    ),
    "one family": lambda n: (
        [line("P", f"a{at}", price=str(at + 1)) for at in range(n)],
        [line("P", f"b{at}", price=str(at + 2)) for at in range(n)],
    ),
    "one family, connected line by line from its end": lambda n: (
        [line(f"P{at}", f"a{at}") for at in range(n)],
        [line(f"P{at}", f"a{at - 1}", 2) for at in range(n - 1, 0, -1)],
    ),
    "one family, in which all lines replace all": lambda n: (
        [line("P", f"a{at}") for at in range(n)],
        [line("Q", f"b{at}", 2, replaces="P") for at in range(n)],
    ),
    "one family, in which each line replaces its own key": lambda n: (
        [line("P", f"a{at}") for at in range(n)],
        [line("P", f"a{at}", 2, replaces=f"a{at}") for at in range(n)],
    ),
    "a family for each line": lambda n: (
        [line(f"P{at}") for at in range(n)],
        [line(f"P{at}", q=2) for at in range(n)],
    ),
    "the rest": lambda n: ([line(f"P{at}") for at in range(n)], [line(f"Q{at}", q=2) for at in range(n)]),
    "a category removed for each line": lambda n: (
        [line(f"P{at}") for at in range(n)] + [line(f"Q{at}", price="0.50", category=f"{at}") for at in range(n)],
        [line(f"P{at}", q=2, category=f"{at}", replaces=f"P{at}") for at in range(n)],
    ),
}


@pytest.mark.parametrize("carts", LARGE.values(), ids=LARGE)
def test_the_work_is_linear_in_the_number_of_lines(carts):
    def work(lines):
        intent, final = map(lines_of, carts(lines))
        left = [each.left(each.units - 1) for each in final]

        def both():
            comparisons = compare(intent, final)
            judge(comparisons, final, EUR)
            judge(comparisons, left, EUR)

        return steps(both)

    assert work(2_000) < 4.5 * work(500)
