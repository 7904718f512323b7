"""The comparison of histories finds what is wrong, on made-up ones."""

from datetime import UTC

import pytest
from chaos.history import differences, differences_of_days

from stream.core.counting.days import Days, ShardDays
from stream.core.counting.history import Table
from stream.core.counting.timeline import ShardPast, Timeline
from stream.core.entities.tally import Tally

HOUR, DAY = Table("h", 492_000), Table("d", 739_676)
SALES = ("s", "web", "vip")


def timeline(cells, since=0):
    return Timeline([ShardPast("checkout", since, cells)])


EXPECTED = timeline({HOUR: {SALES: [3, 2]}, DAY: {SALES: [3, 2]}})


def test_equal_histories_have_no_difference():
    parts = [ShardPast("checkout", 0, {HOUR: {SALES: [units, 1]}}) for units in (1, 2)]
    assert differences(Timeline(parts), EXPECTED, "1h", UTC) == []
    assert differences(timeline({DAY: {SALES: [3, 2]}}), EXPECTED, "1d", UTC) == []


@pytest.mark.parametrize(
    ("cells", "text"),
    [
        ({}, "('s', 'web', 'vip'): None instead of [3, 2]"),
        ({HOUR: {SALES: [3, 1]}}, "[3, 1] instead of [3, 2]"),
        ({HOUR: {SALES: [3, 2], ("s", "app", "vip"): [1, 0]}}, "('s', 'app', 'vip'): [1, 0] instead of None"),
        ({HOUR: {SALES: [3, 2]}, HOUR._replace(number=492_001): {SALES: [1, 0]}}, "[1, 0] instead of None"),
    ],
    ids=["lost", "miscounted", "another cell", "another hour"],
)
def test_a_difference_is_named(cells, text):
    (found,) = differences(timeline(cells), EXPECTED, "1h", UTC)
    assert text in found


def test_an_hour_that_readers_would_leave_out_is_a_difference():
    (found,) = differences(timeline({HOUR: {SALES: [3, 2]}}, since=HOUR.end(UTC)), EXPECTED, "1h", UTC)
    assert "is left out" in found


def days(*shards):
    return Days(
        [
            ShardDays("checkout", 0, {("o", 739_676): {key: Tally([units], {}) for key, units in own.items()}})
            for own in shards
        ]
    )


def test_offers_and_products_are_compared_key_by_key():
    expected = days({("x", "cart"): 3, ("gone", "cart"): 0})
    assert differences_of_days(days({("x", "cart"): 1}, {("x", "cart"): 2}), expected, [739_676]) == ([], 1)
    (found,), _ = differences_of_days(days({("x", "cart"): 2}), expected, [739_676])
    assert "([2], {}) instead of ([3], {})" in found
    beyond = days({("x", "cart"): 2, ("",): 1})
    assert differences_of_days(beyond, expected, [739_676]) == ([], 0), (
        "which keys have a place is a matter of the shards"
    )
