"""Days of all shards: sums, since when, and which keys are complete."""

import msgspec
import pytest

from stream.core.counting.days import Days, ShardDays, records_of
from stream.core.entities.tally import ALL, OVERFLOW, Tally

TODAY = 739_000
A, B, C = ("a",), ("b",), ("c",)


def tally(*counts, **amounts):
    return Tally([*counts], {currency: [amount] for currency, amount in amounts.items()})


def shard(journey="checkout", since=0, **days):
    """A shard with products; `today` and `before` by key."""
    ordinals = {"today": TODAY, "before": TODAY - 1}
    return ShardDays(journey, since, {("b", ordinals[day]): tallies for day, tallies in days.items()})


def test_a_sum_is_over_shards_and_days():
    days = Days(
        [
            shard(today={A: tally(1, EUR=10)}, before={A: tally(2, EUR=5), B: tally(1)}),
            shard(today={A: tally(3, USD=7)}),
            shard("subscription", today={A: tally(100)}),
        ]
    )
    assert days.tallies("checkout", "b", [TODAY, TODAY - 1]) == {A: tally(6, EUR=15, USD=7), B: tally(1)}
    assert days.tallies("checkout", "b", [TODAY]) == {A: tally(4, EUR=10, USD=7)}
    assert days.tallies("checkout", "p", [TODAY]) == {}
    assert days.tallies("subscription", "b", [TODAY, TODAY - 5]) == {A: tally(100)}


def test_a_sum_changes_no_record():
    days = Days([shard(today={A: tally(1, EUR=10)}), shard(today={A: tally(3, EUR=7)})])
    first = days.tallies("checkout", "b", [TODAY])
    assert days.tallies("checkout", "b", [TODAY]) == first == {A: tally(4, EUR=17)}


def test_the_counts_of_a_journey_are_complete_from_where_those_of_all_its_shards_are():
    days = Days([shard(since=5), shard(since=9), shard("subscription", since=2)])
    assert (days.since("checkout"), days.since("subscription")) == (9, 2)
    assert Days([]).since("checkout") == 0
    assert Days([shard()]).journeys == ("checkout",)
    assert Days([]).journeys == ("checkout", "subscription")


def test_a_key_is_complete_where_every_shard_that_counts_beyond_its_bound_has_a_place_for_it():
    days = Days(
        [
            shard(today={A: tally(1), B: tally(1), OVERFLOW: tally(4), ALL: tally(9)}, before={C: tally(1)}),
            shard(today={C: tally(1)}),
        ]
    )
    today = days.total("checkout", "b", [TODAY])
    assert [today.is_complete(key) for key in (A, B, C)] == [True, True, False]
    before = days.total("checkout", "b", [TODAY - 1])
    assert all(before.is_complete(key) for key in (A, B, C))
    assert not days.total("checkout", "b", [TODAY, TODAY - 1]).is_complete(C)


def test_a_key_keeps_its_place_where_it_counts_nothing_any_more():
    days = Days([shard(today={A: tally(0), OVERFLOW: tally(1)})])
    assert days.total("checkout", "b", [TODAY]).is_complete(A)


def test_beyond_the_bound_nothing_is_missing_where_all_of_it_was_taken_back():
    days = Days([shard(today={A: tally(1), OVERFLOW: tally(0, 0)})])
    assert days.total("checkout", "b", [TODAY]).is_complete(B)


def test_records_are_decoded_only_when_they_are_added_up():
    broken = {"b:739000": {b"1": b"nothing that can be decoded"}}
    records = records_of({"b": 10}, broken | {"d:739000": {}, "b:738999": {}}, [("b:738998", [(A, tally(2))])], 738_998)
    assert [*records] == [("b", 739_000), ("b", 738_999), ("b", 738_998)]
    days = Days([ShardDays("checkout", 0, records)])
    assert days.tallies("checkout", "b", [738_998, 738_999]) == {A: tally(2)}
    with pytest.raises(msgspec.DecodeError):
        days.tallies("checkout", "b", [TODAY])
    assert ("d", 739_000) not in records
    assert len(records_of({"b": 10}, broken, (), 739_001)) == 0
