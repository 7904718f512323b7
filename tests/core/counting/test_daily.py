"""Counts by day under a bounded number of keys."""

from datetime import UTC

from hypothesis import given
from hypothesis import strategies as st

from stream.core.config import DAY, CoreConfig
from stream.core.counting import daily as module
from stream.core.counting.daily import Daily, merged
from stream.core.counting.history import History, HistoryState, day_of
from stream.core.counting.summary import decode_recent, encode_recent
from stream.core.entities.tally import ALL, OVERFLOW, Tally, book

CONFIG = CoreConfig()
BOUNDS = {"q": 3}
NOON = 20_000 * DAY + DAY // 2
NAME = f"q:{day_of(NOON, UTC)}"


class Store:
    """Records as the tables keep them."""

    def __init__(self):
        self.records = {}
        self.history = History(CONFIG, HistoryState(), {}, None)
        self.daily = Daily(CONFIG, BOUNDS, (), self.history)

    def count(self, key, count, amount=0, time=NOON):
        places = self.daily.days(("q",), time)
        if places is not None:
            book(places[0], key, 1, (count,), "EUR" if amount else "", (amount,))

    def commit(self, *, settle=True):
        """What a worker does with one commit, and then it starts again from what is stored."""
        if settle or self.daily.is_full:
            self.daily.settle(
                {
                    name: [self.records.get(name, {}).get(field) for field in own]
                    for name, own in self.daily.fields().items()
                }
            )
        writes, dropped = self.daily.drain(self.history.drain()[1])
        for name in dropped:
            self.records.pop(name, None)
        for name, fields in writes.items():
            self.records.setdefault(name, {}).update(fields)
        recent = encode_recent(0, 1, {}, 0, {}, self.daily.pending)
        self.daily = Daily(CONFIG, BOUNDS, decode_recent(recent).daily, self.history)

    def read(self, name=NAME):
        found = merged(BOUNDS["q"], self.records.get(name, {}), self.daily.pending.get(name, {}).items())
        return {key: (tally.counts, tally.amounts) for key, tally in found.items()}


def test_the_first_keys_have_a_place_and_the_rest_is_counted_together():
    store = Store()
    for key in ("a", "b", "a", "c", "d", "e", "d"):
        store.count((key,), 1, 5)
    store.count(ALL, 7)
    expected = {
        ("a",): ([2], {"EUR": [10]}),
        ("b",): ([1], {"EUR": [5]}),
        ("c",): ([1], {"EUR": [5]}),
        OVERFLOW: ([3], {"EUR": [15]}),
        ALL: ([7], {}),
    }
    assert store.read() == expected, "while it waits"
    store.commit()
    assert store.read() == expected


def test_a_key_keeps_its_place_after_everything_was_taken_away():
    store = Store()
    for key, number in (("a", 1), ("a", -1), ("b", 1), ("c", 1), ("d", 1)):
        store.count((key,), number)
    store.commit()
    assert store.read()[OVERFLOW] == ([1], {})
    assert store.read()["a",] == ([0], {})


def test_days_that_are_over_are_deleted_and_not_counted_any_more():
    store = Store()
    store.history.advance(NOON)
    store.count(("a",), 1)
    store.commit()
    assert NAME in store.records
    store.count(("a",), 1)
    for _ in range(6):  # a few days are deleted with each commit
        store.history.advance(NOON + CONFIG.days_kept + 2 * DAY)
        store.commit()
    assert store.records == {}
    assert store.daily.pending == {}
    assert store.daily.days(("q",), NOON) is None


def test_keys_of_one_record_are_in_few_fields():
    store = Store()
    for number in range(200):
        store.daily.days(("q",), NOON)[0][str(number),] = Tally([1], {})
    store.commit()
    assert len(store.records[NAME]) <= module.BUCKETS + 1


ADDED = st.lists(
    st.tuples(st.sampled_from("abcdef"), st.integers(-2, 3), st.integers(-5, 5), st.integers(0, 1)), max_size=40
)


@given(ADDED, st.lists(st.tuples(st.integers(0, 40), st.booleans()), max_size=8), st.integers(1, 5))
def test_neither_cuts_nor_restarts_nor_moves_of_the_windows_change_anything(added, cuts, most):
    whole, cut = Store(), Store()
    before, module.WAITING = module.WAITING, most
    try:
        at = dict(cuts)
        for number, (key, count, amount, day) in enumerate(added):
            if number in at:
                cut.commit(settle=at[number])
            for store in (whole, cut):
                store.count((key,), count, amount, NOON + day * DAY)
        for day in (0, 1):
            name = f"q:{day_of(NOON + day * DAY, UTC)}"
            assert nonzero(cut.read(name)) == nonzero(whole.read(name))
        for store in (whole, cut):
            store.commit()
        for day in (0, 1):
            name = f"q:{day_of(NOON + day * DAY, UTC)}"
            assert {key: nonzero({0: own}) for key, own in cut.read(name).items()} == {
                key: nonzero({0: own}) for key, own in whole.read(name).items()
            }, "the same keys have places"
    finally:
        module.WAITING = before


def nonzero(tallies):
    """What is counted, without amounts of nothing."""
    return {
        key: (counts, {currency: own for currency, own in amounts.items() if any(own)})
        for key, (counts, amounts) in tallies.items()
    }
