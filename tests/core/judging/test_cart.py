"""The checkout's verdict table, a case for every row and every sentence of the contract's section 2.

A case reads: what they came for, what they bought, the verdicts as `kind reason amount` in the order of the final lines.
"""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.carts import line

from stream.core.event import Line
from stream.core.judging.cart import judge, merge
from stream.core.money import exact, plain, rounded


def verdicts(intent, final):
    return [
        f"{verdict.kind} {verdict.reason} {plain(rounded(verdict.amount, 2), 2)}"
        for verdict in judge(merge(intent), merge(final))
    ]


CASES = {
    # pass 1: the same sku, compared by quantity
    "quantity up": ([line("P", "a", 1)], [line("P", "a", 3)], ["upsell quantity 20.00"]),
    "quantity down": ([line("P", "a", 3)], [line("P", "a", 1)], ["downsell quantity 20.00"]),
    "quantity equal": ([line("P", "a", 2)], [line("P", "a", 2)], []),
    "quantity equal, dearer: a price change of the same sku is no verdict": (
        [line("P", "a", 1, "10")],
        [line("P", "a", 1, "15")],
        [],
    ),
    "quantity up but cheaper in all: the amount is not below 0": (
        [line("P", "a", 1, "10")],
        [line("P", "a", 2, "4")],
        ["upsell quantity 0.00"],
    ),
    "quantity down but dearer in all": (
        [line("P", "a", 2, "10")],
        [line("P", "a", 1, "30")],
        ["downsell quantity 0.00"],
    ),
    "else the same variant, where one has no sku": (
        [line("P", None, 1, variant="v")],
        [line("P", "a", 2, variant="v")],
        ["upsell quantity 10.00"],
    ),
    "two skus differ: an equal variant does not make them the same": (
        [line("P", "a", 1, variant="v")],
        [line("P", "b", 2, variant="v")],
        ["upsell variant 10.00"],
    ),
    "else the same product, where neither has sku or variant": (
        [line("P", None, 1)],
        [line("P", None, 2)],
        ["upsell quantity 10.00"],
    ),
    "one has a sku, the other only the product: another variant": (
        [line("P", None, 1)],
        [line("P", "a", 2)],
        ["upsell variant 10.00"],
    ),
    # pass 0: replaces
    "replaces, list total up": (
        [line("P", "a")],
        [line("Q", "b", replaces="a", price="14")],
        ["upsell substitute 4.00"],
    ),
    "replaces, list total down": (
        [line("P", "a")],
        [line("Q", "b", replaces="a", price="7")],
        ["downsell substitute 3.00"],
    ),
    "replaces, list total equal": ([line("P", "a")], [line("Q", "b", replaces="a")], []),
    "replaces by product id": (
        [line("P", "a")],
        [line("Q", "b", replaces="P", price="14")],
        ["upsell substitute 4.00"],
    ),
    "replaces by variant id": (
        [line("P", "a", variant="v")],
        [line("Q", "b", replaces="v", price="14")],
        ["upsell substitute 4.00"],
    ),
    "replaces goes before the same sku": (
        [line("P", "a", 1), line("Q", "b", 1, "20")],
        [line("Q", "b", 1, "20", replaces="a")],
        ["upsell substitute 10.00"],
    ),
    "replaces names nothing: the other passes decide": (
        [line("P", "a")],
        [line("Q", "b", replaces="gone")],
        ["cross_sell addition 10.00"],
    ),
    # pass 2: another variant of the product
    "variant up": ([line("P", "a")], [line("P", "b", price="25")], ["upsell variant 15.00"]),
    "variant down": ([line("P", "a")], [line("P", "b", price="4")], ["downsell variant 6.00"]),
    "variant equal": ([line("P", "a")], [line("P", "b")], []),
    "variant compares list totals, not unit prices": (
        [line("P", "a", 3, "10")],
        [line("P", "b", 1, "25")],
        ["downsell variant 5.00"],
    ),
    "up by list total, the amount by net totals": (
        [line("P", "a", price="10")],
        [line("P", "b", price="25", off="5")],
        ["upsell variant 10.00"],
    ),
    # pass 3: a substitute of the same category
    "substitute up": (
        [line("P", "a", category="c")],
        [line("Q", "b", category="c", price="12")],
        ["upsell substitute 2.00"],
    ),
    "substitute down": (
        [line("P", "a", category="c")],
        [line("Q", "b", category="c", price="9")],
        ["downsell substitute 1.00"],
    ),
    "substitute equal": ([line("P", "a", category="c")], [line("Q", "b", category="c")], []),
    "an intent line that was matched is no longer there to be substituted": (
        [line("P", "a", category="c")],
        [line("P", "a", category="c"), line("Q", "b", category="c")],
        ["cross_sell addition 10.00"],
    ),
    # lines without a partner
    "unmatched, its product is in the intent": (
        [line("P", "a")],
        [line("P", "a"), line("P", "b", price="12")],
        ["upsell quantity 12.00"],
    ),
    "unmatched otherwise": (
        [line("P", "a")],
        [line("P", "a"), line("Q", "b", price="12")],
        ["cross_sell addition 12.00"],
    ),
    "a cross-sell's amount is its net total": (
        [],
        [line("Q", "b", 2, "12", off="3")],
        ["cross_sell addition 21.00"],
    ),
    "intent line unmatched: removed, no verdict": ([line("P", "a"), line("Q", "b")], [line("P", "a")], []),
    # order: dearest first on both sides, ties in order of appearance
    "dearest first": (
        [line("P", "a", price="10"), line("P", "b", price="20")],
        [line("P", "c", price="12"), line("P", "d", price="30")],
        ["upsell variant 2.00", "upsell variant 10.00"],
    ),
    "ties in order of appearance": (
        [line("P", "a", 1), line("P", "b", 3)],
        [line("P", "c", 2), line("P", "d", 2)],
        ["upsell variant 10.00", "downsell variant 10.00"],
    ),
    "the unit price decides, not the list total": (
        [line("P", "a", 9, "10"), line("P", "b", 1, "20")],
        [line("P", "c", 1, "30")],
        ["upsell variant 10.00"],
    ),
    # merging
    "lines of one sku are one line whatever their price": (
        [line("P", "a", 2, "10")],
        [line("P", "a", 1, "10"), line("P", "a", 1, "12")],
        [],
    ),
    "merged lines: quantities, list totals and discounts add up": (
        [line("P", "a", 1, "10")],
        [line("P", "a", 1, "10", off="1"), line("P", "a", 2, "9", off="2")],
        ["upsell quantity 15.00"],
    ),
    "the key is the sku, else the variant, else the product": (
        [line("P", "a"), line("P", None, variant="v"), line("P")],
        [line("P", "a"), line("P", None, variant="v"), line("P")],
        [],
    ),
    "unit price of a merged line is list total / quantity": (
        [line("P", "a", 1, "10"), line("P", "a", 2, "1"), line("P", "b", 1, "5")],  # a: 12 / 3 = 4 a unit
        [line("P", "c", 1, "20")],  # matches b, which has the highest unit price
        ["upsell variant 15.00"],
    ),
    # gifts and discounts
    "a gift takes no part: price 0": ([line("P", "a")], [line("P", "a"), line("Q", "b", price="0")], []),
    "a gift takes no part: discounted to 0": ([line("P", "a")], [line("P", "a"), line("Q", "b", off="10")], []),
    "a gift in the intent is no intent line": (
        [line("Q", "b", price="0")],
        [line("Q", "b", 1, "10")],
        ["cross_sell addition 10.00"],
    ),
    "a discount beyond the list total counts as the list total": (
        [line("P", "a")],
        [line("P", "a", 2, "10", off="99")],
        [],
    ),
    "cart against itself": ([line("P", "a", 2), line("Q", "b")], [line("P", "a", 2), line("Q", "b")], []),
    "an empty intent: everything is an addition": ([], [line("P", "a")], ["cross_sell addition 10.00"]),
}


@pytest.mark.parametrize(("intent", "final", "expected"), CASES.values(), ids=CASES)
def test_table(intent, final, expected):
    assert verdicts(intent, final) == expected


_names = st.sampled_from(["a", "b", "c", None])
_lines = st.lists(
    st.builds(
        Line,
        sku=_names,
        variant_id=_names,
        product_id=st.sampled_from(["P", "Q", "R"]),
        category=st.sampled_from(["x", "y", None]),
        quantity=st.integers(1, 4),
        price=st.integers(0, 500).map(lambda cents: str(Decimal(cents) / 100)),
        discount=st.integers(0, 500).map(lambda cents: str(Decimal(cents) / 100)),
        replaces=st.sampled_from(["a", "P", None, None]),
    ),
    max_size=6,
)


@given(_lines)
def test_a_cart_judged_against_itself_gives_nothing(lines):
    plain_lines = [Line(*[getattr(each, name) for name in Line.__struct_fields__[:7]]) for each in lines]
    assert judge(merge(plain_lines), merge(plain_lines)) == []


@given(_lines, _lines)
def test_renaming_ids_changes_nothing(intent, final):
    def renamed(lines):
        new = {name: None if name is None else f"{name}-{ord(name)}" for name in ("a", "b", "c", "P", "Q", "R", None)}
        return [
            Line(
                new[x.sku],
                new[x.variant_id],
                new[x.product_id],
                x.category,
                x.quantity,
                x.price,
                x.discount,
                new[x.replaces],
            )
            for x in lines
        ]

    assert verdicts(intent, final) == verdicts(renamed(intent), renamed(final))


@given(_lines, _lines, st.sampled_from([2, 3, 7, 100]))
def test_verdicts_scale_with_prices(intent, final, factor):
    def scaled(lines):
        return [
            Line(
                x.sku,
                x.variant_id,
                x.product_id,
                x.category,
                x.quantity,
                str(Decimal(x.price) * factor),
                str(Decimal(x.discount) * factor),
                x.replaces,
            )
            for x in lines
        ]

    before, after = judge(merge(intent), merge(final)), judge(merge(scaled(intent)), merge(scaled(final)))
    assert [(x.kind, x.reason, x.amount * factor) for x in before] == [(x.kind, x.reason, x.amount) for x in after]


@given(_lines, _lines, st.randoms(use_true_random=False))
def test_the_order_of_final_lines_of_different_prices_does_not_matter(intent, final, random):
    """The contract uses the order of appearance only for equal unit prices."""
    merged = merge(final)
    if len({line.unit for line in merged}) < len(merged):
        return
    shuffled = random.sample(merged, len(merged))
    ours, theirs = judge(merge(intent), merged), judge(merge(intent), shuffled)
    assert sorted(map(repr, ours)) == sorted(map(repr, theirs))


@pytest.mark.parametrize(
    ("amount", "places", "expected"),
    [
        ("0.005", 2, "0.00"),
        ("0.015", 2, "0.02"),
        ("0.0151", 2, "0.02"),
        ("2.5", 0, "2"),
        ("3.5", 0, "4"),
        ("1.0005", 3, "1.000"),
    ],
)
def test_rounding_is_half_even_at_the_currency_s_exponent(amount, places, expected):
    assert plain(rounded(exact(amount), places), places) == expected
