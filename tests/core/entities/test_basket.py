"""What a transaction says about products, and how that is counted."""

import pytest
from support.carts import item, line

from stream.core.entities.basket import (
    BOUNDS,
    EMPTY,
    MOST,
    PAIRS,
    PATHS,
    PRODUCTS,
    SORTS,
    count,
    of_cart,
    of_items,
    reversed_whole,
)
from stream.core.entities.tally import ALL
from stream.core.judging.cart import LONGEST_ID, compare, judge, lines_of, product_of
from stream.core.judging.items import judge_items, merge_items

EUR = 2


def cart(intent, final, *, left=None, known=True):
    bought, wanted = lines_of(final), lines_of(intent)
    verdicts = judge(compare(wanted, bought), bought, EUR) if known else []
    kept = None if left is None else [each.left(units) for each, units in zip(bought, left, strict=True)]
    return of_cart(wanted if known else None, bought, kept, [(verdict, False) for verdict in verdicts], EUR)


def counted(basket, *, sign=1, currency="EUR", lost=False, places=None):
    places = places or [{} for _ in SORTS]
    count(basket, places, sign, currency, lost=lost)
    return dict(zip(SORTS, places, strict=True))


def rows(tallies):
    return {key: (tally.counts, tally.amounts.get("EUR", [0])[0]) for key, tally in tallies.items()}


def test_a_product_is_named_by_product_id_else_sku_else_variant_id():
    assert product_of(line("P", "a", variant="v")) == "P"
    assert product_of(line(None, "a", variant="v")) == "a"
    assert product_of(line(None, None, variant="v")) == "v"
    assert product_of(line("x" * LONGEST_ID)) == "x" * LONGEST_ID
    assert product_of(line("x" * (LONGEST_ID + 1))) == "other"


def test_what_was_bought_intended_and_added():
    found = counted(cart([line("P", "a")], [line("P", "a"), line("Q", "b", price="5")]))
    assert rows(found[PRODUCTS]) == {
        ALL: ([1, 0, 1], 0),
        ("P",): ([1, 0, 1, 0], 1000),
        ("Q",): ([1, 0, 0, 1], 500),
    }
    assert rows(found[PAIRS]) == {("P", "Q"): ([1, 0], 500)}
    assert not found[PATHS]


def test_an_upsell_is_a_path():
    found = counted(cart([line("P", "a", price="10")], [line("Q", "b", price="30", replaces="a")]))
    assert rows(found[PATHS]) == {("P", "Q", "substitute"): ([1, 0], 2000)}
    assert not found[PAIRS]


def test_without_known_intent_only_what_was_bought_counts():
    found = counted(cart([], [line("P", "a")], known=False))
    assert rows(found[PRODUCTS]) == {ALL: ([1, 0, 0], 0), ("P",): ([1, 0, 0, 0], 1000)}


def test_gifts_are_no_products():
    assert cart([line("P", "a")], [line("P", "a"), line("G", "g", price="0")]).bought == (("P", 1000),)


def test_a_product_of_which_no_unit_is_left_is_reversed():
    basket = cart([line("P", "a"), line("Q", "b")], [line("P", "a"), line("Q", "b")], left=[0, 1000])
    assert basket.reversed == ("P",)
    assert rows(counted(basket)[PRODUCTS])["P",] == ([1, 1, 1, 0], 1000)


def test_only_the_lines_of_highest_net_total_make_pairs():
    intent = [line(f"I{number}", f"i{number}", price=str(20 + number)) for number in range(MOST + 1)]
    extra = [line(f"X{number}", f"x{number}", price=str(100 + number)) for number in range(MOST + 1)]
    pairs = counted(cart(intent, [*intent, *extra]))[PAIRS]
    assert len(pairs) == MOST * MOST
    assert ("I0", "X8") not in pairs
    assert ("I1", "X0") not in pairs
    assert ("I1", "X1") in pairs


@pytest.mark.parametrize("currency", ["EUR", ""])
def test_taking_away_leaves_nothing(currency):
    basket = cart([line("P", "a")], [line("P", "a", 2), line("Q", "b")])
    places = [{} for _ in SORTS]
    for sign in (1, -1):
        found = counted(basket, sign=sign, currency=currency, places=places)
    for tallies in found.values():
        assert all(not any(tally.counts) and not any(map(any, tally.amounts.values())) for tally in tallies.values())


def items(before, after):
    verdicts = judge_items(tuple(before), tuple(after), tuple(before), EUR)
    return of_items(merge_items(tuple(before)), merge_items(tuple(after)), verdicts, EUR)


def test_items_go_by_plan_and_mrr():
    basket = items([item("a", base=True)], [item("a", 2, base=True), item("x", price="5")])
    found = counted(basket)
    assert rows(found[PRODUCTS]) == {ALL: ([1, 0, 1], 0), ("a",): ([1, 0, 1, 0], 2000), ("x",): ([1, 0, 0, 1], 500)}
    assert rows(found[PATHS]) == {("a", "a", "quantity"): ([1, 0], 1000)}
    assert rows(found[PAIRS]) == {("a", "x"): ([1, 0], 500)}
    assert of_items(None, merge_items((item("a"),)), [], EUR).intent == ()


def test_everything_is_reversed_with_the_transaction():
    basket = reversed_whole(items([item("a", base=True)], [item("b", base=True, product="a", price="30"), item("x")]))
    found = counted(basket, lost=True)
    assert found[PRODUCTS][ALL].counts == [1, 1, 1]
    assert all(tally.counts[1] == tally.counts[0] for sort in SORTS for tally in found[sort].values())
    assert reversed_whole(EMPTY) == EMPTY


def test_every_sort_has_a_bound():
    assert set(SORTS) == set(BOUNDS)
