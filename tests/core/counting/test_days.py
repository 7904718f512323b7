"""Days of all shards: sums, since when, and which keys are complete."""

from stream.core.counting.days import Days, ShardDays
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
    today = days.is_complete("checkout", "b", [TODAY])
    assert [today(key) for key in (A, B, C)] == [True, True, False]
    before = days.is_complete("checkout", "b", [TODAY - 1])
    assert all(before(key) for key in (A, B, C))
    assert not days.is_complete("checkout", "b", [TODAY, TODAY - 1])(C)


def test_a_key_keeps_its_place_where_it_counts_nothing_any_more():
    days = Days([shard(today={A: tally(0), OVERFLOW: tally(1)})])
    assert days.is_complete("checkout", "b", [TODAY])(A)


def test_beyond_the_bound_nothing_is_missing_where_all_of_it_was_taken_back():
    days = Days([shard(today={A: tally(1), OVERFLOW: tally(0, 0)})])
    assert days.is_complete("checkout", "b", [TODAY])(B)
