"""What sells: rows of paths, pairs and products, and the ratios of pairs."""

from fractions import Fraction
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.carts import line

from stream.core.counting.days import Days, ShardDays
from stream.core.counting.drivers import KINDS, SORTS, drivers
from stream.core.entities.basket import BOUNDS, MOST, PAIRS, PATHS, PRODUCTS, count, of_cart, reversed_whole
from stream.core.entities.tally import OVERFLOW, book
from stream.core.judging.cart import compare, judge_parts, lines_of

TODAY = 739_000


class Places(NamedTuple):
    """Where the products of a day are counted, in the order of `count`."""

    products: dict
    paths: dict
    pairs: dict


def basket(intent, final, left=None):
    final = lines_of(final)
    wanted = None if intent is None else lines_of(intent)
    verdicts = [] if wanted is None else judge_parts(compare(wanted, final), final, 2)
    return of_cart(wanted, final, left, [(verdict, False) for _, verdict in verdicts], 2)


def places(*baskets, currency="EUR", sign=1, into=None):
    found = into or Places({}, {}, {})
    for each in baskets:
        count(each, found, sign, currency, lost=False)
    return found


def of(found, kinds=KINDS, most=100, product=None):
    records = {
        (sort, TODAY): own
        for sort, own in zip((PRODUCTS, PATHS, PAIRS), (found.products, found.paths, found.pairs), strict=True)
    }
    return drivers(Days([ShardDays("checkout", 0, records)]), "checkout", [TODAY], kinds, most, product)


def rows(result, kind):
    return result.kinds[kind].rows


SHOES, SOCKS, HAT = line("shoes", price="50"), line("socks", price="5"), line("hat")
SHOP = (
    basket([SHOES], [SHOES, SOCKS]),
    basket([SHOES], [SHOES, SOCKS]),
    basket([SHOES], [SHOES]),
    basket([HAT], [HAT, SOCKS]),
    basket(None, [SOCKS]),
)


def test_an_upsell_is_a_path_from_the_intended_to_the_bought_product():
    found = rows(
        of(places(basket([line("small", category="bag")], [line("large", price="25", category="bag")]))), "paths"
    )
    assert [(row.intent, row.product, row.reason, row.counted.transactions, row.counted.amounts) for row in found] == [
        ("small", "large", "substitute", 1, {"EUR": "15.00"})
    ]


def test_a_cross_sell_makes_pairs_with_what_was_intended_and_their_ratios():
    result = of(places(*SHOP))
    assert (result.transactions, result.reversed, result.known) == (5, 0, 4)
    pair = {(row.intent, row.cross_sell): row for row in rows(result, "pairs")}["shoes", "socks"]
    assert (pair.counted.transactions, pair.counted.amounts) == (2, {"EUR": "10.00"})
    assert (pair.support, pair.confidence, pair.lift) == (0.5, round(2 / 3, 6), round(2 * 4 / (3 * 3), 6))
    assert [(row.product, row.counted.transactions) for row in rows(result, "products")] == [
        ("socks", 4),
        ("shoes", 3),
        ("hat", 1),
    ]


def test_an_unknown_intent_makes_products_and_nothing_else():
    result = of(places(basket(None, [SHOES])))
    assert {kind: len(rows(result, kind)) for kind in KINDS} == {"paths": 0, "pairs": 0, "products": 1}


def test_a_transaction_that_was_given_back_whole_is_reversed_in_every_row():
    found = Places({}, {}, {})
    count(reversed_whole(basket([SHOES], [SHOES, SOCKS])), found, 1, "EUR", lost=True)
    result = of(found)
    assert (result.transactions, result.reversed) == (1, 1)
    assert {row.counted.reversed for kind in KINDS for row in rows(result, kind)} == {1}


def test_a_currency_beyond_the_bound_is_in_no_amount():
    found = places(*SHOP, currency="")
    assert {row.counted.transactions for row in rows(of(found), "pairs")} == {1, 2}
    assert all(row.counted.amounts == {} for kind in KINDS for row in rows(of(found), kind))


def test_only_the_lines_of_highest_net_total_make_pairs():
    many = [line(f"i{number}", price=str(100 - number)) for number in range(MOST + 3)]
    bought = [*many, *(line(f"x{number}", price=str(500 - number)) for number in range(MOST + 3))]
    result = of(places(basket(many, bought)))
    assert {(row.intent, row.cross_sell) for row in rows(result, "pairs")} == {
        (f"i{one}", f"x{other}") for one in range(MOST) for other in range(MOST)
    }
    assert len([row for row in rows(result, "products") if row.product.startswith("x")]) == MOST + 3


def test_rows_that_are_too_many_are_left_out_and_counted():
    result = of(places(*SHOP), most=1)
    assert [row.product for row in rows(result, "products")] == ["socks"]
    assert {kind: result.kinds[kind].left_out for kind in KINDS} == {"paths": 0, "pairs": 1, "products": 2}


@pytest.mark.parametrize(
    ("product", "pairs", "products"),
    [
        ("socks", [("shoes", "socks"), ("hat", "socks")], ["socks"]),
        ("hat", [("hat", "socks")], ["hat"]),
        ("gloves", [], []),
    ],
)
def test_only_rows_that_name_a_product(product, pairs, products):
    result = of(places(*SHOP), product=product)
    assert [(row.intent, row.cross_sell) for row in rows(result, "pairs")] == pairs
    assert [row.product for row in rows(result, "products")] == products
    assert result.known == 4, "N is that of all"


def test_a_reason_is_no_product():
    found = places(basket([line("small", category="bag")], [line("large", price="25", category="bag")]))
    assert not rows(of(found, product="substitute"), "paths")
    assert len(rows(of(found, product="large"), "paths")) == len(rows(of(found, product="small"), "paths")) == 1


def test_only_the_kinds_that_are_asked_for():
    result = of(places(*SHOP), kinds=["pairs"])
    assert [*result.kinds] == ["pairs"]
    assert rows(result, "pairs")[0].lift is not None


def beyond(found, sort):
    """The same, where something lies beyond the bound."""
    own = {PRODUCTS: found.products, PATHS: found.paths, PAIRS: found.pairs}[sort]
    book(own, OVERFLOW, 1, (3, 1), "EUR", (700,))
    return found


def test_what_lies_beyond_the_bound_is_no_row():
    for kind in KINDS:
        result = of(beyond(places(*SHOP), SORTS[kind]))
        other = result.kinds[kind].other
        assert (other.transactions, other.reversed, other.amounts) == (3, 1, {"EUR": "7.00"})
        assert len(rows(result, kind)) == len(rows(of(places(*SHOP)), kind))


def test_a_ratio_has_no_value_where_one_of_its_counts_may_lie_beyond_the_bound():
    def ratios(found):
        pair = {(row.intent, row.cross_sell): row for row in rows(of(found), "pairs")}["shoes", "socks"]
        return [value is not None for value in (pair.support, pair.confidence, pair.lift)]

    assert ratios(beyond(places(*SHOP), PRODUCTS)) == [True, True, True], "all of its products have a place"
    for missing, expected in (("shoes", [True, False, False]), ("socks", [True, True, False])):
        found = beyond(places(*SHOP), PRODUCTS)
        del found.products[missing,]
        assert ratios(found) == expected
    # Another shard has the pair among what lies beyond its bound, so all three may be wrong.
    found, other = places(*SHOP), beyond(places(SHOP[2]), PAIRS)
    shards = [
        ShardDays("checkout", 0, {(PRODUCTS, TODAY): each.products, (PAIRS, TODAY): each.pairs})
        for each in (found, other)
    ]
    result = drivers(Days(shards), "checkout", [TODAY], ["pairs"], 10)
    assert {(row.support, row.confidence, row.lift) for row in rows(result, "pairs")} == {(None, None, None)}


CARTS = st.lists(st.sampled_from("abcdef"), min_size=1, max_size=4, unique=True)


@given(st.lists(st.tuples(CARTS, CARTS), max_size=12))
def test_the_ratios_are_those_of_counting_by_hand(carts):
    baskets, sides = [], []
    for intent, extra in carts:
        wanted = [line(name) for name in intent]
        bought = [*wanted, *(line(name.upper(), price="3") for name in extra)]
        baskets.append(basket(wanted, bought))
        sides.append((set(intent), {name.upper() for name in extra}))
    for row in rows(of(places(*baskets)), "pairs"):
        both = sum(row.intent in wanted and row.cross_sell in crossed for wanted, crossed in sides)
        with_intent = sum(row.intent in wanted for wanted, _ in sides)
        with_cross = sum(row.cross_sell in crossed for _, crossed in sides)
        assert row.counted.transactions == both
        assert row.support == round(float(Fraction(both, len(sides))), 6)
        assert row.confidence == round(float(Fraction(both, with_intent)), 6)
        assert row.lift == round(float(Fraction(both * len(sides), with_intent * with_cross)), 6)


@given(st.lists(st.tuples(CARTS, CARTS), max_size=8))
def test_what_is_counted_can_be_taken_away_again(carts):
    baskets = [basket([line(name) for name in intent], [line(name, q=2) for name in extra]) for intent, extra in carts]
    result = of(places(*baskets, sign=-1, into=places(*baskets)))
    assert (result.transactions, result.known) == (0, 0)
    assert not any(rows(result, kind) for kind in KINDS)


def test_every_kind_has_a_sort_of_records_with_a_bound():
    assert set(SORTS) == set(KINDS)
    assert set(SORTS.values()) == set(BOUNDS)
