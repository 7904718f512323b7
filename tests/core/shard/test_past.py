"""The laws of the history: batches, restarts, ticks, replays and restatements leave in each hour and day what its entities contribute to it."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo, available_timezones

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from oracle import generate
from support.carts import line
from support.shard_store import ShardStore
from support.stored_records import decode_checkout, decode_subscription
from support.stories import START, Story

from stream.core.config import DAY, STEP, CoreConfig
from stream.core.counting import history as module
from stream.core.counting.cells import SALES, Count
from stream.core.counting.delta import Delta
from stream.core.entities import basket, checkout, offers
from stream.core.entities.tally import book
from stream.core.event import SubscriptionEvent
from stream.core.labels import LabelRegistry
from stream.core.offline import Offline
from stream.core.shard.offers import is_key
from stream.core.shard.shard import Shard
from stream.core.shard.state import KEYS_A_DAY
from stream.core.shard.write_set import ShardId
from stream.events.decode import Rejected, decode_line

HOUR = DAY // 24
MINUTE = HOUR // 60
NOW = 1_772_370_000_000_000  # shortly after the first events of the generated streams
ZONES = [UTC, ZoneInfo("Europe/Berlin"), ZoneInfo("Asia/Kathmandu"), ZoneInfo("Australia/Lord_Howe")]
FIXED = {
    "channel": ["web", "store", "app"],
    "segment": ["new", "loyal"],
    "category": ["hats", "care", "shoes"],
    "currency": ["EUR", "USD", "JPY", "KWD"],
}
lawful = settings(max_examples=settings().max_examples * 3 // 5, suppress_health_check=list(HealthCheck))
streams = (
    (generate.checkout_streams(offers=True) | generate.subscription_streams(offers=True))
    .map(generate.as_lines)
    .map(lambda lines: [event for event in map(decode_line, lines) if not isinstance(event, Rejected)])
)


class Store(ShardStore):
    """A stored shard with its settings."""

    def __init__(self, events=(), **config):
        super().__init__()
        self.journey = "subscription" if any(isinstance(event, SubscriptionEvent) for event in events) else "checkout"
        self.config, self.registry = CoreConfig(**config), LabelRegistry(FIXED)
        self.shard = self.open()

    def open(self):
        self.shard = Shard(ShardId("topic", 0), self.journey, self.config, self.registry, self.stored, 100)
        return self.shard

    def run(self, events, now=NOW):
        """Apply one batch and commit it."""
        self.shard.advance(now)
        self.apply(self.shard, events, self.registry)
        return self.commit(self.shard)

    def tick(self, now):
        return self.run((), now)

    def opportunities(self, step="h"):
        """Opportunities by hour or day."""
        _, cells = self.past(step, self.config.time_zone)
        return {
            number: sum(vector[Count.OPPORTUNITIES] for key, vector in own.items() if key[0] == SALES)
            for number, own in cells.items()
        }


def entities(store):
    return [data for key, data in store.entities.items() if not is_key(key)]


def contributed_days(store):
    """Offers and products as the stored entities and offers contribute to them: record -> key -> tally."""
    found = {}

    def day(sort, time):
        moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=time)
        return found.setdefault((sort, moment.astimezone(store.config.time_zone).toordinal()), {})

    for data in entities(store):
        if store.journey == "checkout":
            record = decode_checkout(data)
            sales, accepted = [(record.sale, record, checkout.assess(record))], record.accepted
        else:
            record = decode_subscription(data)
            sales = [(each.sale, each, each.assessment) for each in record.contributions.values()]
            accepted = record.accepted
        for sale, each, assessment in sales:
            if sale is not None and each.basket_rules:
                places = [day(sort, sale.time) for sort in basket.SORTS]
                basket.count(assessment.basket, places, 1, sale.currency, lost=assessment.loss.transaction)
        for each in accepted:
            amounts = (each.carried.gross, each.carried.kept)
            book(day("o", each.time), (each.offer, each.slot), 1, each.carried.counts, each.currency, amounts)
    for key, data in store.entities.items():
        if is_key(key):
            for offer in msgspec.msgpack.decode(data, type=offers.Offers).offers:
                for order, counts in ((offer.shown, offers.SHOWN), (offer.declined, offers.DECLINED)):
                    if order is not None:
                        book(day("o", order[0]), offer.key(), 1, counts)
    return nonzero(found)


def nonzero(days):
    """What is counted, without keys that count nothing any more."""
    return {
        record: own
        for record, tallies in days.items()
        if (
            own := {
                key: (
                    tally.counts,
                    {currency: money for currency, money in tally.amounts.items() if any(money)},
                )
                for key, tally in tallies.items()
                if any(tally.counts) or any(map(any, tally.amounts.values()))
            }
        )
    }


def contributed(store, step):
    """The history as the stored entities contribute to it, each at its time, by the standard library's calendar."""
    decode = (
        (lambda data: [decode_checkout(data)])
        if store.journey == "checkout"
        else lambda data: decode_subscription(data).contributions.values()
    )
    deltas = {}
    for data in entities(store):
        for each in decode(data):
            for part, count in ((each.opportunity, Delta.opportunity), (each.sale, Delta.sale)):
                if part is not None:
                    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=part.time)
                    number = (
                        int(moment.timestamp()) // 3600
                        if step == "h"
                        else moment.astimezone(store.config.time_zone).toordinal()
                    )
                    count(deltas.setdefault(number, Delta(())), part, 1)
    found = {}
    for number, delta in deltas.items():
        cells = found[number] = {}
        for own in delta.drain()[0].values():
            for key, vector in own.items():
                if key[0] != "c":
                    cells[key] = [*map(sum, zip(cells.get(key, [0] * len(vector)), vector, strict=True))]
    return {number: {key: vector for key, vector in cells.items() if any(vector)} for number, cells in found.items()}


def nothing_empty(cells):
    return {number: own for number, own in cells.items() if own}


@lawful
@given(streams, st.sampled_from(ZONES), st.data())
def test_any_cut_any_ticks_and_any_restarts_leave_what_the_entities_contribute(events, zone, data):
    store = Store(events, time_zone=zone, lateness=30 * DAY)  # so that no subscription drops what is settled
    rest, now = events, NOW
    while rest:
        size, later, restart, lost = data.draw(
            st.tuples(st.integers(1, 4), st.sampled_from([0, 1, STEP, MINUTE]), st.booleans(), st.booleans())
        )
        now += later
        if lost:
            store.shard.advance(now)
            store.apply(store.shard, rest[:size], store.registry)
            store.open()  # the worker was killed before its commit
        store.run(rest[:size], now)
        rest = rest[size:]
        if restart:
            store.open()
        if data.draw(st.booleans()):
            store.tick(now + STEP)
    store.tick(now)
    for step in ("h", "d"):
        assert store.past(step, zone)[1] == nothing_empty(contributed(store, step))
    assert nonzero(store.days(zone)) == contributed_days(store)
    store.run(events, now)
    store.tick(now + STEP)
    for step in ("h", "d"):
        assert store.past(step, zone)[1] == nothing_empty(contributed(store, step)), "read again from the start"
    assert nonzero(store.days(zone)) == contributed_days(store), "read again from the start"


@lawful
@given(streams, st.sampled_from(ZONES))
def test_offline_the_history_is_the_same(events, zone):
    store = Store(events, time_zone=zone, lateness=30 * DAY)
    store.run(events)
    offline = Offline(store.config, store.registry, NOW)
    for event in events:
        offline.apply(event)
    timeline = offline.timeline()
    for step in ("h", "d"):
        _, cells = store.past(step, zone)
        for number, own in cells.items():
            assert timeline.cells(store.journey, [module.Table(step, number)]) == own
        assert {table.number for journey, table in timeline.tables if table.step == step} == set(cells)


def story(scenario):
    """The events that a scenario applies to a story."""
    events = []

    class Collected(Story):
        def apply(self, event):
            events.append(event)
            return super().apply(event)

    scenario(Collected())
    return events


def started(*times):
    """Checkouts that start at these times, microseconds."""
    events = story(lambda told: [told.checkout("started", checkout=f"opened-{at}") for at in range(len(times))])
    return [msgspec.structs.replace(event, time=time) for event, time in zip(events, times, strict=True)]


@pytest.mark.parametrize(
    ("zone", "midnight"),
    [
        ("UTC", "2026-03-02T00:00:00+00:00"),
        ("Europe/Berlin", "2026-03-02T00:00:00+01:00"),
        ("Asia/Kathmandu", "2026-03-02T00:00:00+05:45"),
        ("Australia/Lord_Howe", "2026-03-02T00:00:00+11:00"),
        ("Australia/Lord_Howe", "2026-04-06T00:00:00+10:30"),
    ],
)
def test_an_event_on_a_boundary_belongs_to_the_later_hour_and_day(zone, midnight):
    moment = datetime.fromisoformat(midnight)
    time = round(moment.timestamp()) * 1_000_000
    store = Store(time_zone=ZoneInfo(zone))
    store.run(started(time - 1, time, time + HOUR - time % HOUR, time + HOUR - time % HOUR - 1), time + 2 * HOUR)
    hour, day = time // HOUR, moment.date().toordinal()
    before = {hour - 1: 1, hour: 2} if time % HOUR == 0 else {hour: 3}
    assert store.opportunities() == before | {hour + 1: 1}
    assert store.opportunities("d") == {day - 1: 1, day: 3}
    assert module.Table("d", day).begin(ZoneInfo(zone)) == time


def test_a_day_of_summer_time_has_as_many_hours_as_the_clock_shows():
    berlin = ZoneInfo("Europe/Berlin")
    for date, hours in (("2026-03-28", 24), ("2026-03-29", 23), ("2026-10-25", 25)):
        day = module.Table("d", datetime.fromisoformat(date).toordinal())
        assert day.end(berlin) - day.begin(berlin) == hours * HOUR


def test_in_every_time_zone_of_today_a_quarter_lies_within_one_day():
    now = datetime(2026, 7, 1, tzinfo=UTC)
    for name in sorted(available_timezones()):
        for moment in (now, now + timedelta(days=182)):
            assert moment.astimezone(ZoneInfo(name)).utcoffset() % timedelta(minutes=15) == timedelta(0), name


def test_a_restatement_and_a_reversal_move_what_they_concern():
    def scenario(told):
        told.checkout("started", [line("P", "a", 1)], at=0)
        told.checkout("completed", [line("P", "a", 2)], at=200, order="o")
        told.checkout("completed", [line("P", "a", 3)], at=100, order="o")
        told.checkout("refunded", at=300, order="o", refund=("r", None, None))

    events, store = story(scenario), Store()
    hour = START // HOUR
    for number, event in enumerate(events):
        store.run([event], START + DAY + number * STEP)
    _, cells = store.past("h")
    sales = {number: own[SALES, "unknown", "unknown"] for number, own in cells.items()}
    first, later = (START + at * MINUTE for at in (0, 100))
    assert sales[first // HOUR][Count.OPPORTUNITIES] == 1
    assert sales[later // HOUR][Count.TRANSACTIONS] == 1, "the first completed fact of all"
    assert sales[later // HOUR][Count.REVERSED_ALL] == 1, "in the hour of the sale, not of the refund"
    assert set(sales) == {first // HOUR, later // HOUR}, (
        "the hour of the fact that was first to arrive has nothing left"
    )
    assert hour == first // HOUR


def test_records_that_are_no_longer_kept_are_deleted_a_few_a_commit():
    times = [NOW + number * HOUR for number in range(30)]
    store = Store()
    store.run(started(*times), times[-1])
    store.tick(times[-1] + STEP)
    assert len([name for name in store.history if name.startswith("h")]) == 30
    later = times[0] + 8 * DAY + 20 * HOUR
    counts = []
    for tick in range(30):
        written = store.tick(later + tick * STEP)
        assert len(written.dropped) <= (2 + len(KEYS_A_DAY)) * module.DELETED
        counts.append(len(store.opportunities()))
        store.open()
    assert set(counts) == {10}, "readers see none of them from the first commit on"
    assert not written.dropped, "each only once"
    assert len([name for name in store.history if name.startswith("h")]) == 10
    assert sum(store.opportunities("d").values()) == 30, "days are kept longer"
    store.tick(times[-1] + 36 * DAY)
    assert store.opportunities("d") == {}


def test_what_comes_after_its_record_was_dropped_is_ignored():
    def scenario(told):
        told.checkout("started", [line("P", "a", 1)], at=0)
        told.checkout("completed", [line("P", "a", 2)], at=1)

    first, second = story(scenario)
    store = Store()
    store.run([first], START)
    store.run([second], START + 9 * DAY)
    store.tick(START + 9 * DAY + STEP)
    assert store.opportunities() == {}
    assert not [name for name, fields in store.history.items() if name.startswith("h") and fields]
    (cells,) = store.past("d")[1].values()
    assert cells[SALES, "unknown", "unknown"][Count.TRANSACTIONS] == 1, "the day is still kept"
    store.run(started(START + 1), START + 40 * DAY)
    assert store.opportunities("d") == {}


def test_nothing_is_taken_from_a_record_that_was_dropped_while_the_clock_was_ahead():
    def scenario(told):
        told.checkout("started", [line("P", "a", 1)], at=0)
        told.checkout("started", [line("P", "a", 1)], at=-90)

    first, moved = story(scenario)
    store = Store()
    store.run([first], START)
    store.tick(START + STEP)
    store.tick(START + 365 * DAY)
    store.open()
    store.run([moved], START + MINUTE)
    store.tick(START + MINUTE + STEP)
    assert store.opportunities() == store.opportunities("d") == {}
    after = started(START + 2 * HOUR, START + 2 * DAY)
    store.run(after, START + 2 * DAY)
    assert sum(store.opportunities().values()) == 2, "hours after all events are complete"
    since, _ = store.past("h")
    assert START < since <= START + HOUR


def test_much_that_waits_goes_to_the_records_before_windows_move(monkeypatch):
    monkeypatch.setattr(module, "PENDING", 3)
    store = Store()
    store.run(started(*(NOW - number * HOUR for number in range(4))))
    assert not store.history
    store.run([])
    assert len(store.history) == 4 + 1
    assert sum(store.opportunities().values()) == 4


def test_what_was_counted_and_taken_back_before_it_was_settled_loads_nothing():
    def scenario(told):
        told.checkout("started", at=0)
        told.checkout("started", at=-90)

    first, moved = story(scenario)
    store = Store()
    store.run([first], START)
    store.run([moved], START)
    store.shard.advance(START + STEP)
    assert set(store.shard.preload(()).request.history) == {
        f"h:{(START - 90 * MINUTE) // HOUR}",
        f"d:{datetime.fromtimestamp(START // 1_000_000, UTC).toordinal()}",
    }


def test_settling_twice_before_a_commit_adds_up():
    store = Store()
    store.run(started(NOW))
    for number in (1, 2):
        store.shard.advance(NOW + number * STEP)
        store.apply(store.shard, started(NOW + number), store.registry)
        store.preload(store.shard, (), store.registry)
    store.commit(store.shard)
    assert sum(store.opportunities().values()) == 1
    store.tick(NOW + 3 * STEP)
    assert sum(store.opportunities().values()) == 1 + 0


def test_a_shard_of_a_version_without_history_begins_one_after_its_newest_event():
    def scenario(told):
        told.checkout("started", [line("P", "a", 1)], at=0)
        told.checkout("completed", [line("P", "a", 2)], at=120)

    first, second = story(scenario)
    store = Store()
    store.run([first], START)
    layout, journey, total, sets, windows, _ = msgspec.msgpack.decode(store.state)
    store.state = msgspec.msgpack.encode([layout, journey, total, sets, windows])
    stream_time, length, slices, watermark, *_ = msgspec.msgpack.decode(store.recent)
    store.recent = msgspec.msgpack.encode([stream_time, length, slices, watermark])
    assert store.past("h", now=START + DAY) == (START + DAY, {}), "readers see none before a worker of this version ran"
    store.open()
    store.run([second], START + 3 * HOUR)
    since, cells = store.past("h")
    assert since == START + 1
    assert cells[(START + 2 * HOUR) // HOUR][SALES, "unknown", "unknown"][Count.TRANSACTIONS] == 1
    store.open()
    store.tick(START + 4 * HOUR)
    assert store.past("h")[0] == START + 1, "it stays"


def test_days_begin_again_where_the_time_zone_changes():
    store = Store(time_zone=ZoneInfo("Pacific/Kiritimati"))
    time = NOW - NOW % DAY + 20 * HOUR
    store.run(started(time), time)
    store.config = CoreConfig(time_zone=ZoneInfo("America/New_York"))
    newyork = store.config.time_zone
    assert store.past("d", newyork, time)[1] == {}, "days of another time zone are no days of this one"
    assert store.past("d", newyork, time)[0] > time
    store.open()
    store.run(started(time, time + DAY, time + 2 * DAY)[1:], time + 2 * DAY)
    since, cells = store.past("d", newyork)
    assert list(cells) == [datetime.fromtimestamp((time + 2 * DAY) // 1_000_000, newyork).date().toordinal()]
    assert since == module.Table("d", next(iter(cells))).begin(newyork)
    assert sum(store.opportunities().values()) == 3, "hours are those of UTC, and stay"
