"""The parts of a change add up to it exactly, and the main ones are the fewest that make up four fifths of it."""

from fractions import Fraction
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.core.counting.cells import MONEY, SALES, Count, Revenue
from stream.core.counting.explain import (
    MAIN,
    NotExplainableError,
    Ratio,
    currencies,
    explain,
    explainable,
    ratios,
)
from stream.core.counting.kpi import KPIS

CELLS = [(channel, segment) for channel in ("web", "app") for segment in ("new", "vip", "unknown")]
periods = st.dictionaries(
    st.sampled_from(CELLS), st.builds(Ratio, st.integers(0, 50), st.integers(0, 50)), max_size=len(CELLS)
)


@given(periods, periods)
def test_parts_add_up_exactly(before, after):
    explained = explain(before, after)
    if explained.change is None:
        assert not explained.parts
        assert explained.main is None
        assert 0 in (explained.before.denominator, explained.after.denominator)
        return
    assert explained.change == explained.after.value - explained.before.value
    assert sum((part.total for part in explained.parts), Fraction()) == explained.change
    sizes = [abs(part.total) for part in explained.parts]
    assert sizes == sorted(sizes, reverse=True)
    assert {part.cell for part in explained.parts} <= before.keys() | after.keys()


@given(periods, periods)
def test_a_part_is_what_the_formula_says(before, after):
    explained = explain(before, after)
    if explained.change is None:
        return
    mean = (explained.before.value + explained.after.value) / 2
    for part in explained.parts:
        if part.before.denominator and part.after.denominator:
            old, new = (
                Fraction(each.denominator, whole.denominator)
                for each, whole in ((part.before, explained.before), (part.after, explained.after))
            )
            change = part.after.value - part.before.value
            assert part.rate == (old + new) / 2 * change
            assert part.mix == ((part.before.value + part.after.value) / 2 - mean) * (new - old)


@given(periods, periods)
def test_main_are_the_fewest_parts_of_its_sign_that_reach_four_fifths(before, after):
    explained = explain(before, after)
    if not explained.change:
        assert explained.main is None
        return
    goal = MAIN * abs(explained.change)
    same = [part for part in explained.parts if part.total * explained.change > 0]
    assert set(explained.main) <= set(same)
    assert sum(abs(part.total) for part in explained.main) >= goal
    for fewer in combinations(same, len(explained.main) - 1):
        assert sum(abs(part.total) for part in fewer) < goal


def test_a_cell_that_fell_is_the_cause_and_a_cell_that_grew_is_the_mix():
    rate = explain(
        {("web", "new"): Ratio(20, 100), ("app", "new"): Ratio(20, 100)},
        {("web", "new"): Ratio(20, 100), ("app", "new"): Ratio(10, 100)},
    )
    assert [(part.cell, part.rate, part.mix) for part in rate.main] == [(("app", "new"), Fraction(-1, 20), 0)]
    mix = explain(
        {("web", "new"): Ratio(30, 100), ("app", "new"): Ratio(10, 100)},
        {("web", "new"): Ratio(30, 100), ("app", "new"): Ratio(30, 300)},
    )
    assert mix.change == Fraction(-1, 20)
    assert {part.cell: (part.rate, part.mix) for part in mix.parts} == {
        ("web", "new"): (0, (Fraction(3, 10) - Fraction(7, 40)) * Fraction(-1, 4)),
        ("app", "new"): (0, (Fraction(1, 10) - Fraction(7, 40)) * Fraction(1, 4)),
    }


def test_a_cell_that_was_not_there_takes_its_rate_of_the_other_period():
    explained = explain({("web", "new"): Ratio(20, 100)}, {("web", "new"): Ratio(20, 100), ("app", "vip"): Ratio(0, 100)})  # fmt: skip
    assert explained.change == Fraction(-1, 10)
    assert {part.cell: (part.rate, part.mix) for part in explained.parts} == {
        ("web", "new"): (0, (Fraction(1, 5) - Fraction(3, 20)) * Fraction(-1, 2)),
        ("app", "vip"): (0, (0 - Fraction(3, 20)) * Fraction(1, 2)),
    }


def test_sales_without_an_opportunity_in_the_same_period_belong_to_the_rate():
    explained = explain({("web", "new"): Ratio(20, 100)}, {("web", "new"): Ratio(20, 100), ("app", "vip"): Ratio(5, 0)})  # fmt: skip
    assert [(part.cell, part.rate, part.mix) for part in explained.parts] == [(("app", "vip"), Fraction(1, 20), 0)]


def test_where_nothing_changed_nothing_is_the_cause():
    explained = explain({("web", "new"): Ratio(1, 2)}, {("web", "new"): Ratio(2, 4)})
    assert (explained.change, explained.parts, explained.main) == (0, (), None)


def test_opposite_parts_can_leave_no_change():
    explained = explain({("web", "new"): Ratio(1, 2), ("app", "new"): Ratio(2, 2)}, {("web", "new"): Ratio(2, 2), ("app", "new"): Ratio(1, 2)})  # fmt: skip
    assert (explained.change, len(explained.parts), explained.main) == (0, 2, None)


def test_what_is_divided_is_a_count_or_an_amount_of_one_currency():
    sales, money = [0] * len(Count), [0] * len(Revenue)
    sales[Count.ANY], sales[Count.OPPORTUNITIES] = 2, 7
    money[Revenue.INITIAL], money[Revenue.FINAL] = 100, 150
    cells = {(SALES, "web", "new"): sales, (MONEY, "web", "new", "EUR"): money, (MONEY, "web", "vip", "USD"): money}
    kpis = {kpi.name: kpi for kpi in KPIS}
    assert ratios(kpis["upsell_cross_sell_rate"], cells, None) == {("web", "new"): Ratio(2, 7)}
    assert ratios(kpis["upsell_revenue_ratio"], cells, "EUR") == {("web", "new"): Ratio(150, 100)}
    assert currencies(cells, {}) == ["EUR", "USD"]
    for name in kpis.keys() - set(explainable()):
        with pytest.raises(NotExplainableError, match=name):
            ratios(kpis[name], cells, "EUR")
    assert set(explainable()) == {
        "upsell_cross_sell_rate", "upsell_ratio", "upsell_revenue_ratio", "upsell_revenue_share", "cross_sell_rate", "cross_sell_ratio",
    }  # fmt: skip
