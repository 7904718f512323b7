"""Vectors are summed by position, and a vector that an older version stored has its new positions filled with 0."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.core.config import Window
from stream.core.counting.cells import (
    CATEGORY,
    LENGTHS,
    MONEY,
    SALES,
    Categorized,
    Count,
    Revenue,
    add,
    decode,
    encode,
    merge,
    padded,
    subtract,
    total,
)
from stream.core.counting.windows import RollingWindow

OLD = {(SALES, "web", "new"): 14, (MONEY, "web", "new", "EUR"): 7, (CATEGORY, "shoes"): 5}
"""Lengths of the vectors of layout 1."""
RESTORED = {
    (SALES, "web", "new"): Count.RESTORED,
    (MONEY, "web", "new", "EUR"): Revenue.RESTORED,
    (CATEGORY, "shoes"): Categorized.RESTORED,
}
MINUTE = Window.parse("1m")


def old_pane():
    """A pane as layout 1 stored it."""
    return msgspec.msgpack.encode([(key, [1] * length) for key, length in sorted(OLD.items())])


def today():
    return {key: [1] * LENGTHS[key[0]] for key in OLD}


def test_new_positions_came_to_the_end():
    for key, length in OLD.items():
        assert RESTORED[key] == length
    assert LENGTHS == {SALES: 17, MONEY: 10, CATEGORY: 6}


def test_short_vectors_are_padded_when_they_are_read():
    cells = decode(old_pane())
    assert cells == {key: [1] * length + [0] * (LENGTHS[key[0]] - length) for key, length in OLD.items()}
    assert decode(encode(cells)) == cells


def test_a_vector_of_today_stays_as_it_is():
    cells = today()
    assert padded(cells.items()) == cells


@pytest.mark.parametrize("old_first", [True, False])
def test_an_old_vector_drops_no_new_position_of_a_sum(old_first):
    parts = [decode(old_pane()), today()]
    cells = total(parts if old_first else reversed(parts))
    for key, restored in RESTORED.items():
        assert cells[key][restored] == 1
        assert cells[key][restored - 1] == 2


def test_an_old_pane_of_a_window_takes_new_positions():
    window = RollingWindow(MINUTE, [(100, old_pane())])
    window.advance(100 * MINUTE.pane)
    window.add(100, today())
    (stored,) = [decode(data) for _, data in window.drain()]
    for cells in (window.sum, stored):
        assert {key: cells[key][restored] for key, restored in RESTORED.items()} == dict.fromkeys(RESTORED, 1)
    window.add(101, today())
    window.advance(101 * MINUTE.pane)
    assert window.sum[SALES, "web", "new"][Count.RESTORED] == 2
    window.advance(160 * MINUTE.pane)
    assert window.sum[SALES, "web", "new"] == [1] * len(Count), "the old pane was dropped as a whole"
    window.advance(161 * MINUTE.pane)
    assert window.sum == {}


cells_of = st.dictionaries(st.sampled_from(sorted(OLD)), st.integers(-3, 3), max_size=3).map(
    lambda given: {key: [number] * LENGTHS[key[0]] for key, number in given.items() if number}
)


@given(cells_of, cells_of)
def test_what_is_added_is_taken_away_again_and_zeros_are_no_entry(cells, other):
    before = {key: [*vector] for key, vector in cells.items()}
    merge(cells, other)
    assert all(any(vector) for vector in cells.values())
    subtract(cells, other)
    assert cells == before
    for key, vector in before.items():
        add(cells, key, [-number for number in vector])
    assert cells == {}
