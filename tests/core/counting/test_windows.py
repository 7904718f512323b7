"""Rolling windows on a time line: a character is a pane, `5` is five events, `.` is none, `|` is before the head pane."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.core.config import PANES, Window
from stream.core.counting.cells import merge, subtract
from stream.core.counting.windows import RollingWindow

MINUTE = Window.parse("1m")  # panes of one second
KEY = ("s", "web", "new")


def book(window, pane, count=1, sign=1):
    window.add(pane, {KEY: [sign * count]})


def counted(window):
    return window.sum.get(KEY, [0])[0]


def reach(line):
    """The window's sum at the head of a time line whose first character is pane 1000."""
    window = RollingWindow(MINUTE)
    head = line.index("|")
    panes = [character for character in line if character != "|"]
    window.advance((1000 + head) * MINUTE.pane)
    for offset, character in enumerate(panes):
        if character != ".":
            book(window, 1000 + offset, int(character))
    return counted(window)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("5|", 5),
        ("." * 59 + "|3", 3),  # the head pane counts
        ("." * 59 + "|.7", 0),  # panes after the head do not count yet
        ("1" + "." * 58 + "|.", 1),  # 60 panes, with the head pane
        ("1" + "." * 59 + "|.", 0),  # not 61
        ("1" * 61 + "|1", 60),
    ],
)
def test_a_window_covers_60_panes_up_to_the_head(line, expected):
    assert reach(line) == expected


def test_a_pane_is_open_at_its_beginning_and_closed_at_its_end():
    window = RollingWindow(MINUTE)
    assert MINUTE.pane_of(5_000_000) == 5
    assert MINUTE.pane_of(5_000_001) == 6
    window.advance(64_000_000)
    assert window.edges() == (4_000_000, 64_000_000)


def test_a_window_moves_on_when_nothing_arrives():
    window = RollingWindow(MINUTE)
    window.advance(100 * MINUTE.pane)
    book(window, 100)
    window.advance(159 * MINUTE.pane)
    assert counted(window) == 1
    window.advance(160 * MINUTE.pane)
    assert counted(window) == 0
    assert dict(window.drain()) == {100: None}


def test_a_pane_after_the_head_counts_when_the_head_reaches_it():
    window = RollingWindow(MINUTE)
    window.advance(100 * MINUTE.pane)
    book(window, 103)
    assert counted(window) == 0
    window.advance(103 * MINUTE.pane)
    assert counted(window) == 1


def test_the_head_does_not_move_back():
    window = RollingWindow(MINUTE)
    window.advance(200 * MINUTE.pane)
    window.advance(100 * MINUTE.pane)
    assert window.edges()[1] == 200 * MINUTE.pane


def test_nothing_is_subtracted_from_a_dropped_pane():
    window = RollingWindow(MINUTE)
    window.advance(100 * MINUTE.pane)
    book(window, 100)
    window.advance(200 * MINUTE.pane)
    book(window, 100, sign=-1)
    assert counted(window) == 0


def test_a_dropped_pane_stays_dropped_if_the_clock_is_earlier_after_a_restart():
    window = RollingWindow(MINUTE)
    window.advance(100 * MINUTE.pane)
    book(window, 100)
    window.advance(162 * MINUTE.pane)
    restarted = RollingWindow(MINUTE, [], window.dropped_through)
    restarted.advance(120 * MINUTE.pane)
    assert restarted.edges() == (102 * MINUTE.pane, 120 * MINUTE.pane)
    for pane in (100, 102, 103):
        book(restarted, pane, sign=-1 if pane == 100 else 1)
    assert counted(restarted) == 1
    assert [index for index, data in restarted.drain()] == [103]


def test_only_changed_panes_are_drained_and_an_empty_one_as_none():
    window = RollingWindow(MINUTE)
    window.advance(100 * MINUTE.pane)
    book(window, 100)
    book(window, 99)
    assert [index for index, data in window.drain() if data] == [99, 100]
    assert list(window.drain()) == []
    book(window, 99, sign=-1)
    assert list(window.drain()) == [(99, None)]


_steps = st.lists(
    st.tuples(st.just("book"), st.integers(1, 260), st.integers(1, 3))
    | st.tuples(st.just("advance"), st.integers(1, 260), st.just(0)),
    max_size=60,
)


@given(_steps, st.integers(0, 60))
def test_the_running_sum_is_the_sum_of_the_panes_also_after_a_restart(steps, cut):
    window, panes, head, stored = RollingWindow(MINUTE), {}, None, {}
    window.advance(MINUTE.pane)
    head = 1
    for number, (what, index, count) in enumerate(steps):
        if number == cut:
            stored |= dict(window.drain())
            window = RollingWindow(MINUTE, [(at, data) for at, data in stored.items() if data])
            window.advance(head * MINUTE.pane)
        if what == "advance":
            head = max(head, index)
            window.advance(index * MINUTE.pane)
        else:
            book(window, index, count)
            if index > head - PANES:
                panes[index] = panes.get(index, 0) + count
    assert counted(window) == sum(count for index, count in panes.items() if head - PANES < index <= head)


@pytest.mark.parametrize("name", ["5", "0m", "1s", "401d", "", "-5m", "1h30m"])
def test_a_wrong_window_says_what_is_allowed(name):
    with pytest.raises(ValueError, match=r"like 5m, 1h, 30d|between 1m and 400d"):
        Window.parse(name)


def test_subtracting_cells_takes_away_what_was_added():
    cells, other = {KEY: [1, 2]}, {KEY: [1, 2], ("c", "x"): [3]}
    merge(cells, other)
    subtract(cells, other)
    assert cells == {KEY: [1, 2]}
