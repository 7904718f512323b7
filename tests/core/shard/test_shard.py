"""The laws of a shard: batches, restarts, replays, more shards and expiry change no figure."""

from operator import add

import msgspec
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from oracle import generate
from support.carts import item, line
from support.shard_store import ShardStore
from support.stories import START, Story

from stream.core.config import AHEAD, DAY, PANES, STEP, CoreConfig, Window
from stream.core.counting import aggregates as module
from stream.core.counting.cells import decode, total
from stream.core.counting.figures import Figures, ShardFigures
from stream.core.counting.summary import decode_recent, decode_summary
from stream.core.entities.customer import Customer, member
from stream.core.entities.subscription import Subscription
from stream.core.event import CheckoutEvent, ErasedEvent, OfferEvent
from stream.core.labels import LabelRegistry
from stream.core.shard.shard import Shard
from stream.core.shard.state import LAYOUT
from stream.core.shard.write_set import ShardId
from stream.events.decode import Rejected, decode_line

HOUR = DAY // 24
MINUTE = HOUR // 60
SECOND = MINUTE // 60
NOW = 1_772_370_000_000_000  # shortly after the first events of the generated streams
FIXED = {
    "channel": ["web", "store", "app"],
    "segment": ["new", "loyal"],
    "category": ["hats", "care", "shoes"],
    "currency": ["EUR", "USD", "JPY", "KWD"],
}
lawful = settings(max_examples=settings().max_examples * 3 // 5, suppress_health_check=list(HealthCheck))


class Store(ShardStore):
    """A stored shard with its settings."""

    def __init__(self, journey, config=None, registry=None, capacity=100):
        super().__init__()
        self.journey, self.config = journey, config or CoreConfig()
        self.registry, self.capacity = registry or LabelRegistry(FIXED), capacity

    def open(self):
        return Shard(ShardId("topic", 0), self.journey, self.config, self.registry, self.stored, self.capacity)

    def run(self, events, now=NOW, batch=1000, *, restart=False):
        """Apply events in batches, commit each batch, and return the results of all steps."""
        shard, results = self.open(), []
        for start in range(0, max(1, len(events)), batch):
            chunk = events[start : start + batch]
            shard.advance(now)
            results += self.apply(shard, chunk, self.registry)
            self.commit(shard)
            if restart:
                shard = self.open()
        return results

    def remembered(self, now):
        """The stored entities and customers, without those that have expired."""
        shard = self.open()
        shard.advance(now)
        shard.remove(*self.expired(shard))
        self.commit(shard)
        forgotten, purchased = decode_recent(self.recent).watermark, now - self.config.horizon
        customers = {}
        for key, data in self.customers.items():
            record = msgspec.msgpack.decode(data, type=Customer)
            record.purchases = [each for each in record.purchases if each.time > purchased]
            record.entities = {name: day for name, day in record.entities.items() if not day or day * DAY >= forgotten}
            record.canceled = {name: each for name, each in record.canceled.items() if record.entities.get(name)}
            record.erasure = record.erasure if record.erasure * DAY >= forgotten else 0
            customers[key] = None if record.empty else record
        return self.entities, self.entity_expiry, {key: record for key, record in customers.items() if record}

    def figures(self):
        counts = {
            name: tuple(sum(after < score <= until for score in scores.values()) for after, until in self.bounds)
            for name, scores in self.scores.items()
        }
        return ShardFigures(decode_summary(self.summary, self.recent), counts)

    def document(self):
        return Figures([self.figures()]).plain()


def events_of(lines):
    decoded = [decode_line(line) for line in lines]
    return [event for event in decoded if not isinstance(event, Rejected)]


def journey_of(events):
    return "checkout" if any(isinstance(event, CheckoutEvent) for event in events) else "subscription"


FORGETFUL = CoreConfig(checkout_retention=HOUR, subscription_retention=HOUR, lateness=HOUR)
streams = (
    (generate.checkout_streams(offers=True) | generate.subscription_streams(offers=True))
    .map(generate.as_lines)
    .map(events_of)
)


@lawful
@given(streams, st.integers(1, 5), st.sampled_from([1, 3, 1000]))
def test_restoring_at_any_cut_equals_an_uninterrupted_run(events, batch, capacity):
    whole, cut = Store(journey_of(events)), Store(journey_of(events), capacity=capacity)
    expected = whole.run(events)
    assert cut.run(events, batch=batch, restart=True) == expected, "with their versions"
    assert cut.document() == whole.document()
    for store in (whole, cut):
        store.run([], NOW + STEP)  # the recent part is settled when windows move
    assert cut.document() == whole.document()
    assert (cut.entities, cut.panes, cut.state) == (whole.entities, whole.panes, whole.state)


@lawful
@given(streams, st.data())
def test_expiry_depends_only_on_the_events(events, data):
    """The size of batches, the removals so far and restarts do not matter, also for events that arrive after the retention."""
    now = NOW + 40 * DAY
    for _ in range(3):
        at, name = data.draw(st.integers(0, len(events))), data.draw(st.sampled_from("ab"))
        time = data.draw(st.sampled_from([NOW, NOW + 20 * DAY]))
        customer = data.draw(st.sampled_from(["cust-1", "cust-2"]))
        events = [*events[:at], ErasedEvent(source="privacy", id=name, time=time, customer=customer), *events[at:]]
    journey = journey_of([event for event in events if not isinstance(event, ErasedEvent)])
    whole, cut = Store(journey, FORGETFUL), Store(journey, FORGETFUL, capacity=1)
    expected = whole.run(events, now)
    results, rest, shard = [], events, cut.open()
    while rest:
        size, removed, again, lost = data.draw(
            st.tuples(st.integers(1, 4), st.integers(0, 3), st.booleans(), st.booleans())
        )
        batch, left = rest[:size], rest[size:]
        shard.advance(now)
        steps = cut.apply(shard, batch, cut.registry)
        if lost:
            shard = cut.open()  # the worker is killed before its commit
            continue
        results, rest = results + steps, left
        shard.remove(*(keys[:removed] for keys in cut.expired(shard)))
        cut.commit(shard)
        if again:
            shard = cut.open()
    assert results == expected, "with their versions"
    assert cut.document() == whole.document()
    assert cut.remembered(now) == whole.remembered(now)
    assert cut.document() == whole.document()


@lawful
@given(streams)
def test_a_replay_changes_nothing(events):
    store = Store(journey_of(events))
    store.run(events)
    before = store.document()
    results = store.run(events)
    assert store.document() == before
    # An offer that was shown before is unchanged, whichever event says so.
    assert {step.result for step in results} <= {"duplicate", "stale", "test", "unchanged"}


@lawful
@given(streams, st.sampled_from([0, 1, 2, 24, 240, 700]))
def test_accepted_is_counted_or_late(events, hours):
    """Every transaction of the total is in the longest window, or in the window before it."""
    newest = max((event.time for event in events), default=NOW) + hours * HOUR + STEP
    now, before = Store(journey_of(events)), Store(journey_of(events))
    now.run(events, newest)
    before.run(events, now.bounds[-1][0])
    counted, late = (Figures([store.figures()]).select("30d", now.journey) for store in (now, before))
    total = Figures([now.figures()]).select("total", now.journey)
    assert [*map(add, counted.sales, late.sales)] == total.sales
    far = Store(journey_of(events))
    results = far.run(events, now=NOW + 400 * DAY)
    assert {step.result for step in results} <= {"late", "duplicate", "stale", "test", "unmatched", "unchanged"}
    assert far.document()["windows"]["30d"]["all"]["opportunities"] == 0
    assert far.document()["windows"]["total"] == now.document()["windows"]["total"]


@lawful
@given(generate.checkout_streams().map(generate.as_lines).map(events_of), st.randoms(use_true_random=False))
def test_any_order_of_arrival_gives_the_same_figures(events, random):
    first_of_identity = list({(event.entity, event.source, event.id): event for event in reversed(events)}.values())
    shuffled = random.sample(first_of_identity, len(first_of_identity))
    store, other = Store("checkout"), Store("checkout")
    store.run(first_of_identity)
    other.run(shuffled)
    assert store.document() == other.document()


@lawful
@given(generate.subscription_streams().map(generate.as_lines).map(events_of), st.randoms(use_true_random=False))
def test_any_order_of_arrival_of_a_subscription_within_the_lateness_gives_the_same_figures(events, random):
    assume(events)
    own = [event for event in events if event.entity == events[0].entity]
    assume(max(event.time for event in own) - min(event.time for event in own) <= CoreConfig().lateness)
    first_of_identity = list({(event.source, event.id): event for event in reversed(own)}.values())
    store, other = Store("subscription"), Store("subscription")
    store.run(first_of_identity)
    other.run(random.sample(first_of_identity, len(first_of_identity)))
    assert store.document() == other.document()


@lawful
@given(generate.checkout_streams(20).map(generate.as_lines).map(events_of))
def test_figures_do_not_depend_on_how_entities_are_split_over_shards(events):
    def of(*parts):
        stores = []
        for part in parts:
            stores.append(Store("checkout"))
            stores[-1].run([event for event in events if int(event.entity[-1]) in part])
        return Figures([store.figures() for store in stores])

    one, two = of((1, 2, 3)), of((3,), (1, 2))
    for window in ("5m", "30d", "total"):
        ours, theirs = (figures.slice(window, "checkout").sets for figures in (one, two))
        assert {at: (each.sales, each.revenue) for at, each in ours.items()} == {
            at: (each.sales, each.revenue) for at, each in theirs.items()
        }


def events_in(scenario):
    """Return the events that a scenario applies to a story."""
    events = []

    class Collected(Story):
        def apply(self, event):
            events.append(event)
            return super().apply(event)

    scenario(Collected())
    return events


def test_expired_entities_and_customers_are_forgotten_and_figures_stay():
    def scenario(story):
        story.checkout("started", [line("P", "a")], checkout="old")
        story.checkout("completed", [line("P", "a", 2)], at=1, checkout="old")
        story.checkout("started", [line("P", "a")], at=60 * 24 * 60, checkout="new", customer="bert")

    store = Store("checkout")
    now = START + 61 * DAY
    store.run(events_in(scenario), now)
    before = store.document()
    shard = store.open()
    shard.advance(now)
    entities_before, customers_before = shard.expired_before()
    entities = [key for key, at in store.entity_expiry.items() if at < entities_before]
    customers = [key for key, at in store.customer_expiry.items() if at < customers_before]
    assert entities == [b"old"]
    assert customers == [
        member("anna", b"")
    ]  # the purchase is before every window, and no checkout has the id any more
    shard.remove(entities, customers)
    store.commit(shard)
    assert set(store.entities) == {b"new"}
    assert store.document() == before


def test_an_event_far_ahead_of_the_clock_expires_nothing():
    def scenario(story):
        story.checkout("started", [line("P", "a")], checkout="open")
        story.checkout("started", [line("P", "a")], at=366 * 24 * 60, checkout="ahead")
        story.checkout("completed", [line("P", "a", 2)], at=60, checkout="open")

    store = Store("checkout")
    store.run(events_in(scenario), START + DAY // 12, batch=1, restart=True)
    shard = store.open()
    assert shard.summary().stream_time == START + 366 * DAY, "the stream time includes it"
    assert store.expired(shard) == ([], [])
    assert store.document()["windows"]["total"]["checkout"]["kind_transactions"]["upsell"] == 1
    later = events_in(lambda story: story.checkout("started", at=35 * 24 * 60, checkout="later"))
    store.run(later, START + 35 * DAY)
    shard = store.open()
    assert store.expired(shard)[0] == [b"open"], "the watermark advances with other events"


def test_all_events_of_a_late_checkout_form_one_checkout():
    def scenario(story):
        story.checkout("started", [line("P", "a")], at=60 * 24 * 60, checkout="new")
        story.checkout("started", [line("P", "a")], checkout="old")
        story.checkout("started", [line("P", "a")], at=60 * 24 * 60 + 1, checkout="newer")
        story.checkout("completed", [line("P", "a", 2)], at=1, checkout="old")
        story.checkout("started", [line("P", "a")], at=65 * 24 * 60, checkout="newest")
        story.checkout("canceled", at=2, checkout="old")

    store = Store("checkout")
    results = store.run(events_in(scenario), START + 65 * DAY, batch=1, restart=True)
    total = store.document()["windows"]["total"]["checkout"]
    assert (total["opportunities"], total["kind_transactions"]["upsell"], total["intents"]["known"]) == (4, 1, 1)
    assert results[-1].result == "unmatched", "days later the checkout is expired"


def test_events_before_1970_are_stored_like_others():
    def scenario(story):
        story.checkout("started", [line("P", "a")])
        story.checkout("started", [line("P", "a")], checkout="c2")
        story.checkout("completed", [line("P", "a", 2)], at=1)

    old = [msgspec.structs.replace(event, time=event.time - 60 * 365 * DAY) for event in events_in(scenario)]
    store = Store("checkout")
    store.run([], START)
    assert (store.open().expired_before()[0] < old[0].time, store.figures().summary.stream_time) == (True, 0)
    store.run(old, START, batch=1, restart=True)
    assert store.figures().summary.stream_time == old[-1].time
    assert store.expired(store.open()) == ([], [])
    assert store.document()["windows"]["total"]["checkout"]["opportunities"] == 2
    assert store.document()["windows"]["total"]["checkout"]["kind_transactions"]["upsell"] == 1


@pytest.mark.parametrize(("before", "after"), [(30, 90), (90, 30)])
def test_a_changed_retention_applies_from_the_next_event_of_a_checkout(before, after):
    def scenario(story):
        story.checkout("started", [line("P", "a")])
        story.checkout("completed", [line("P", "a")], at=1)

    first, second = events_in(scenario)
    store = Store("checkout", CoreConfig(checkout_retention=before * DAY))
    store.run([first], START)
    until = store.entity_expiry[b"c1"]
    store.config = CoreConfig(checkout_retention=after * DAY)
    store.run([second], START)
    assert store.entity_expiry[b"c1"] == until + (after - before) * DAY
    assert [*store.customer_expiry.values()] == [store.entity_expiry[b"c1"]]


def test_a_subscription_that_starts_again_keeps_no_expiry_of_its_first_life():
    def scenario(story):
        story.subscription("created", [item("P1")])
        story.subscription("canceled", at=1)
        story.subscription("created", [item("P1")], at=401 * 24 + 12)
        story.subscription("created", [item("P1")], at=500 * 24, subscription="other")

    store = Store("subscription")
    store.run(events_in(scenario), START + 500 * DAY, batch=1)
    assert store.entity_expiry == {}


def test_a_record_without_a_day_loses_its_expiry_when_its_subscription_is_active_again():
    def scenario(story):
        story.subscription("created", [item("P1")])
        story.subscription("canceled", at=1)

    store = Store("subscription")
    store.run(events_in(scenario))
    (key,) = store.entities
    record = msgspec.msgpack.decode(store.entities[key], type=Subscription)
    assert record.until is not None
    record.until = None  # as records were stored by older versions
    store.entities[key] = msgspec.msgpack.encode(record)
    store.run(events_in(lambda story: story.subscription("renewed", at=2, id="later")))
    assert store.entity_expiry == {}


def test_a_customer_leaves_the_store_when_their_purchases_leave_the_longest_window():
    def scenario(story):
        story.checkout("started", [line("P", "a")])
        story.checkout("completed", [line("P", "a", 2)], at=1)

    store = Store("checkout")
    store.run(events_in(scenario), START + DAY)
    assert store.document()["windows"]["30d"]["checkout"]["customers"] == {
        "all": 1,
        "upsell": 1,
        "cross_sell": 0,
        "any": 1,
    }
    shard = store.open()
    shard.advance(START + 40 * DAY)
    assert not [at for at in store.customer_expiry.values() if at < shard.expired_before()[1]], (
        "a checkout has the customer's id"
    )
    later = events_in(lambda story: story.checkout("started", at=40 * 24 * 60, checkout="later"))
    store.apply(shard, later, store.registry)
    customers = [key for key, at in store.customer_expiry.items() if at < shard.expired_before()[1]]
    assert len(customers) == 1
    shard.remove([], customers)
    changes = store.commit(shard)
    assert store.customers == {}
    assert changes.trim == START + 10 * DAY
    assert store.document()["windows"]["30d"]["checkout"]["customers"]["all"] == 0


def test_an_active_subscription_never_expires_and_an_ended_one_expires_after_400_days():
    def scenario(story):
        story.subscription("created", [item("P1")], subscription="kept")
        story.subscription("created", [item("P1")], subscription="ended", customer="bert")
        story.subscription("canceled", at=1, subscription="ended", customer="bert")

    store = Store("subscription")
    store.run(events_in(scenario), START + DAY)
    assert set(store.entity_expiry) == {b"ended"}
    assert START + 400 * DAY <= store.entity_expiry[b"ended"] <= START + 402 * DAY


def test_a_subscription_with_the_id_of_one_that_is_over_is_not_canceled_any_more():
    def scenario(story):
        story.subscription("created", [item("P1")])
        story.subscription("canceled", at=1)
        story.subscription("created", [item("P1")], at=3)
        story.subscription("created", [item("Z1")], at=4, subscription="s2")

    store = Store("subscription", msgspec.structs.replace(FORGETFUL, lateness=0))
    *_, step = store.run(events_in(scenario), START + DAY, batch=1, restart=True)
    (version,) = step.versions
    assert [line.reason for line in version.judged.lines] == ["additional_product"], "no swap"


@pytest.mark.parametrize("removing", [True, False])
@pytest.mark.parametrize("customer", ["anna", "bert"])
def test_a_cancellation_of_an_earlier_life_of_an_id_is_continued_by_no_other(removing, customer):
    """The new life is a trial that ends, so nothing takes the place of the cancellation in the customer's list."""

    def scenario(story):
        story.subscription("created", [item("P1")])
        story.subscription("canceled", at=1)
        story.subscription("created", [item("X1")], at=60, subscription="other", customer="cleo")
        story.subscription("created", [item("P1")], at=60, trialing=True, customer=customer)
        story.subscription("canceled", at=61)
        story.subscription("created", [item("Q1", 1, "80", product="P")], at=62, subscription="s2")

    store = Store("subscription", CoreConfig(subscription_retention=HOUR, lateness=0, swap_window=4 * DAY))
    events = events_in(scenario)
    for event in events:
        store.run([event], START + 3 * DAY)
        if removing and event.entity == "other":
            store.remembered(START + 3 * DAY)
    assert store.document()["windows"]["total"]["subscription"]["kind_transactions"]["any"] == 0


def test_a_subscription_that_is_forgotten_is_continued_by_no_other():
    def scenario(story):
        story.subscription("created", [item("P1")])
        story.subscription("canceled", at=1)
        story.subscription("created", [item("X1")], at=60, subscription="other", customer="bert")
        story.subscription("created", [item("Q1", 1, "80", product="P")], at=60, subscription="s2")

    for retention, upsells in ((HOUR, 0), (100 * DAY, 1)):
        config = CoreConfig(subscription_retention=retention, lateness=0, swap_window=4 * DAY)
        for removing in (False, True):
            store = Store("subscription", config)
            *before, last = events_in(scenario)
            store.run(before, START + 3 * DAY)
            if removing:
                store.remembered(START + 3 * DAY)
            store.run([last], START + 3 * DAY)
            counts = store.document()["windows"]["total"]["subscription"]["kind_transactions"]
            assert counts["upsell"] == upsells


@pytest.mark.parametrize("batch", [1, 7, 1000])
def test_a_fact_of_a_33rd_order_leaves_no_trace_also_after_restarts(batch):
    def scenario(story):
        story.checkout("started", [line("P", "a")])
        for number in range(32):
            story.checkout("completed", [line("P", "a")], at=number, order=f"o{number}")
        for _ in range(2):
            story.checkout("completed", [line("Q", "b")], at=40, order="one more", id="refused", channel="web")
        story.checkout("canceled", at=41, order="o31")

    store, without = Store("checkout"), Store("checkout")
    events = events_in(scenario)
    results = store.run(events, START + DAY, batch=batch, restart=True)
    assert [step.result for step in results] == [*["applied"] * 33, "rejected", "rejected", "applied"]
    without.run([event for event in events if event.order_id != "one more"], START + DAY)
    for each in (store, without):
        each.run([], START + DAY + STEP)
    assert (store.entities, store.document()) == (without.entities, without.document())


def test_a_change_that_changes_nothing_is_unchanged_also_where_it_is_late():
    def scenario(story):
        story.subscription("created", [item("P1")])
        story.subscription("changed", [item("P1", 1, "12")], at=1)

    for now in (START + 2 * HOUR, START + 100 * DAY):
        store = Store("subscription")
        _, step = store.run(events_in(scenario), now)
        assert (step.result, step.versions, step.counted) == ("unchanged", (), ())
        total = store.document()["windows"]["total"]["subscription"]
        assert (total["opportunities"], total["transactions"]) == (1, 1)


def test_an_entity_of_the_current_batch_is_not_removed():
    def scenario(story):
        story.checkout("started", [line("P", "a")])

    store = Store("checkout")
    shard = store.open()
    events = events_in(scenario)
    store.apply(shard, events, store.registry)
    shard.remove([b"c1"], [])
    store.commit(shard)
    assert set(store.entities) == {b"c1"}


def test_label_values_are_bounded_first_come_first_served():
    registry = LabelRegistry()
    store = Store("checkout", registry=registry)

    def scenario(story):
        for number in range(10):
            story.checkout("started", [line("P", "a")], channel=f"channel-{number}", checkout=f"c{number}")

    results = store.run(events_in(scenario), START)
    assert [step.overflow for step in results] == [()] * 8 + [("channel",)] * 2
    sections = Figures([store.figures()]).slice("total", "checkout").sets
    counted = {value: each.sales[0] for (dimension, value), each in sections.items() if dimension == "channel"}
    assert counted == {f"channel-{number}": 1 for number in range(8)} | {"other": 2}


def test_labels_of_test_events_are_not_registered():
    def scenario(story):
        for number, code in enumerate(["USD", "GBP", "CHF", "SEK"] * 2):
            story.checkout(
                "started",
                [line("P", "a", category=f"qa-{number}")],
                channel=f"qa-{number}",
                currency=code,
                livemode=False,
                checkout=f"q{number}",
            )
        story.checkout("completed", [line("P", "a", category="hats")], checkout="c1", channel="web")

    for batch in (1, 4, 1000):
        store = Store("checkout", registry=LabelRegistry())
        store.run(events_in(scenario), START, batch=batch)
        total = store.document()["windows"]["total"]
        assert total["channel"].keys() == {"web"}
        assert total["category"].keys() == {"hats"}
        assert total["checkout"]["revenue"].keys() == {"EUR"}


def test_labels_of_duplicate_and_stale_events_are_registered_in_the_order_of_the_log():
    def scenario(story):
        story.subscription("created", [item("P1")], at=73, id="first")
        story.subscription("changed", [item("P1")], channel="stale")
        story.subscription("changed", [item("P1")], at=73, id="first", channel="duplicate")
        for number in range(7):
            story.subscription("changed", [item("P1", number + 2)], at=74 + number, channel=f"channel-{number}")

    for batch in (1, 3, 1000):
        store = Store("subscription", registry=LabelRegistry())
        results = store.run(events_in(scenario), START, batch=batch)
        assert [step.result for step in results] == ["applied", "stale", "duplicate", *["applied"] * 7]
        assert [step.overflow for step in results[3:]] == [()] * 6 + [("channel",)]


@lawful
@given(streams, st.integers(1, 5))
def test_batch_sizes_and_restarts_do_not_change_which_labels_are_registered(events, batch):
    events = [
        msgspec.structs.replace(event, segment=f"segment-{number}")
        for number, event in enumerate(events)
        if not isinstance(event, OfferEvent)
    ]
    whole, cut = (Store(journey_of(events), registry=LabelRegistry()) for _ in range(2))
    assert cut.run(events, batch=batch, restart=True) == whole.run(events)
    assert cut.document() == whole.document()


def test_categories_of_previous_items_are_registered():
    """They are counted for an event without items. A restart must not change whether they are registered."""
    registries = []
    for restart in (False, True):
        registry = LabelRegistry({"channel": ["web"], "segment": ["new"], "currency": ["EUR"]})
        store = Store("subscription", registry=registry)
        events = events_in(lambda story: story.subscription("renewed", previous=[item("P1", category="before")]))
        store.run(
            [
                *events,
                *events_in(
                    lambda story: story.subscription("changed", [item("P2", category="after")], at=1, id="later")
                ),
            ],
            batch=1,
            restart=restart,
        )
        registries.append(
            [
                name
                for name, value in (("before", "before"), ("after", "after"))
                if not registry.is_unregistered("category", value)
            ]
        )
    assert registries == [["before", "after"]] * 2


def test_labels_named_other_or_unknown_are_not_registered():
    names = ["unknown", "other", *(f"channel-{number}" for number in range(8)), None]

    def scenario(story):
        for number, name in enumerate(names):
            story.checkout("completed", [line("P", "a", category=name)], channel=name, checkout=f"c{number}")

    for registry, expected in (
        (LabelRegistry(), {f"channel-{number}": 1 for number in range(8)} | {"other": 1, "unknown": 2}),
        (LabelRegistry({"channel": ["other", "channel-1", "unknown"]}), {"channel-1": 1, "other": 8, "unknown": 2}),
    ):
        store = Store("checkout", registry=registry)
        results = store.run(events_in(scenario), START)
        assert all("channel" not in step.overflow for step in results[:2])
        windows = store.document()["windows"]["total"]
        assert {value: counted["transactions"] for value, counted in windows["channel"].items()} == expected
        assert {"other", "unknown"} <= windows["category"].keys()


def test_a_currency_beyond_the_bound_has_transactions_but_no_amounts():
    def scenario(story):
        for number, code in enumerate(["EUR", "USD", "GBP", "CHF", "SEK"]):
            story.checkout("completed", [line("P", "a")], currency=code, checkout=f"c{number}")

    store = Store("checkout", registry=LabelRegistry())
    store.run(events_in(scenario), START)
    figures = store.document()["windows"]["total"]["checkout"]
    assert figures["transactions"] == 5
    assert set(figures["revenue"]) == {"EUR", "USD", "GBP", "CHF"}


def test_a_window_that_is_no_longer_in_the_settings_is_deleted():
    def scenario(story):
        story.checkout("completed", [line("P", "a")])

    store = Store("checkout")
    store.run(events_in(scenario), START)
    store.config = CoreConfig(windows=CoreConfig().windows[1:])
    shard = store.open()
    shard.advance(START)
    store.commit(shard)
    assert not any(key.startswith(b"5m|") for key in store.panes)
    assert store.document()["windows"]["1h"]["all"]["transactions"] == 1


def windows_of(store):
    """By window: opportunities, transactions, upsells and customers of checkouts."""
    windows = store.document()["windows"]
    sets = {name: windows[name]["checkout"] for name in windows}
    return {
        name: (
            each["opportunities"],
            each["transactions"],
            each["kind_transactions"]["upsell"],
            each.get("customers", {}).get("all"),
        )
        for name, each in sets.items()
    }


def test_a_new_window_counts_only_events_newer_than_all_before_it():
    def scenario(story):
        cart = [line("P", "a")]
        story.checkout("completed", [line("P", "a", 3)], intent=cart)
        story.checkout("order_updated", cart, at=2, channel="app")
        story.checkout("completed", cart, at=3, checkout="c2", customer="bert")
        story.checkout("completed", [line("P", "a", 3)], at=30, checkout="c3", customer="cora", intent=cart)

    completed, updated, same_pane, newer = events_in(scenario)
    store = Store("checkout", config=CoreConfig(windows=(Window.parse("1h"),)))
    store.run([completed], START + MINUTE)
    assert windows_of(store) == {"1h": (1, 1, 1, 1), "total": (1, 1, 1, None)}
    store.config = CoreConfig(windows=(Window.parse("24h"),))
    assert store.run([updated], START + 2 * MINUTE)[0].result == "late", "it is in no window"
    assert windows_of(store) == {"24h": (0, 0, 0, 0), "total": (1, 1, 0, None)}
    store.run([same_pane], START + 3 * MINUTE)
    assert windows_of(store) == {"24h": (0, 0, 0, 0), "total": (2, 2, 0, None)}
    store.run([newer], START + 31 * MINUTE)
    assert windows_of(store) == {"24h": (1, 1, 1, 1), "total": (3, 3, 1, None)}


def test_a_clock_far_ahead_does_not_keep_a_new_window_empty():
    def scenario(story):
        story.checkout("completed", [line("P", "a")])
        story.checkout("completed", [line("P", "a")], at=365 * 24 * 60, checkout="ahead")

    store = Store("checkout", config=CoreConfig(windows=(Window.parse("1h"),)))
    store.run(events_in(scenario), START + STEP)
    store.config = CoreConfig(windows=(Window.parse("24h"),))
    events = events_in(lambda story: story.checkout("completed", [line("P", "a")], at=24 * 60, checkout="now"))
    (step,) = store.run(events, START + DAY + STEP)
    assert step.result == "applied"
    assert store.document()["windows"]["24h"]["checkout"]["transactions"] == 1
    assert all(after <= until for after, until in store.bounds)


def test_nothing_is_subtracted_from_a_pane_that_was_dropped_while_the_clock_was_ahead():
    def scenario(story):
        cart = [line("P", "a")]
        story.checkout("completed", [line("P", "a", 3)], intent=cart)
        story.checkout("order_updated", cart, at=1, channel="app")
        story.checkout("completed", [line("P", "a", 3)], at=1.5, checkout="c2", customer="bert", intent=cart)

    completed, updated, newer = events_in(scenario)
    store = Store("checkout", config=CoreConfig(windows=(Window.parse("5m"), Window.parse("1h"))))
    store.run([completed], START)
    store.run([], START + 9 * MINUTE)
    for _ in range(2):
        store.run([updated], START + 2 * MINUTE)
        assert windows_of(store) == {"5m": (0, 0, 0, 0), "1h": (1, 1, 0, 1), "total": (1, 1, 0, None)}
    store.run([newer], START + 2 * MINUTE)
    assert windows_of(store) == {"5m": (1, 1, 1, 1), "1h": (2, 2, 1, 2), "total": (2, 2, 1, None)}


_lives = st.lists(
    st.tuples(
        st.sets(st.sampled_from(["1m", "5m", "7m", "1h", "24h", "30d"])).map(sorted),
        st.lists(
            st.tuples(
                st.sampled_from([0, 1, 5, 60, 300, 3_600, 86_400, 100_000, 2_500_000, 5_000_000]), st.integers(0, 3)
            ),
            min_size=1,
            max_size=3,
        ),
    ),
    min_size=1,
    max_size=6,
)


@lawful
@given(streams, _lives)
def test_a_window_is_the_sum_of_its_panes_after_changed_windows_and_jumps_of_the_clock(events, lives):
    """So no count is below zero."""
    store, whole = Store(journey_of(events)), Store(journey_of(events))
    opening = min((event.time for event in events), default=NOW) - HOUR
    whole.config = CoreConfig(windows=tuple(map(Window.parse, ("1m", "5m", "7m", "1h", "24h", "30d"))))
    for names, moves in lives:
        store.config = CoreConfig(windows=tuple(map(Window.parse, names)))
        shard = store.open()
        for seconds, count in moves:
            part, events = events[:count], events[count:]
            now = NOW - HOUR + seconds * SECOND
            part = [event for event in part if event.time <= now + AHEAD]  # later ones have wrong clocks
            shard.advance(now)
            store.apply(shard, part, store.registry)
            store.commit(shard)
            for each in (part, []):
                opening += STEP
                whole.run(each, opening)
            summary = store.figures().summary
            assert summary.total == whole.figures().summary.total
            for (name, counted), gone in zip(summary.windows, summary.dropped_through, strict=True):
                window = Window.parse(name)
                head = window.pane_of(summary.at)
                assert gone <= max(head - PANES, window.pane_of(summary.stream_time)), "no newer pane is left out"
                panes = {
                    int(key.partition(b"|")[2]): data
                    for key, data in whole.panes.items()
                    if key.startswith(f"{name}|".encode())
                }
                assert dict(counted) == total(decode(data) for index, data in panes.items() if gone < index <= head)
                assert min((min(vector) for _, vector in counted), default=0) >= 0


def test_between_two_moves_of_the_windows_only_the_recent_part_is_written():
    def scenario(story):
        story.checkout("completed", [line("P", "a")])
        story.checkout("completed", [line("P", "a")], checkout="c2")

    first, second = events_in(scenario)
    store = Store("checkout")
    shard = store.open()
    shard.advance(START)
    written = []
    for event in (first, second):
        store.apply(shard, [event], store.registry)
        written.append(store.commit(shard))
    assert [(changes.state is None, changes.summary is None) for changes in written] == [(False, False), (True, True)]
    assert store.panes == {}
    for moment in (START, START + STEP):
        windows = store.document()["windows"]
        assert [windows[name]["all"]["transactions"] for name in ("5m", "1h", "total")] == [2, 2, 2]
        shard = store.open()
        shard.advance(moment)
        store.commit(shard)
    assert {key.partition(b"|")[0] for key in store.panes} == {b"5m", b"1h", b"24h", b"30d"}
    assert decode_recent(store.recent).slices == []


def test_a_large_recent_part_is_settled_at_once(monkeypatch):
    def scenario(story):
        for number in range(3):
            story.checkout("completed", [line("P", "a")], checkout=f"c{number}", channel=f"channel-{number}")

    for bound, settled in ((6, False), (5, True)):  # each checkout has two cells: sales and money
        monkeypatch.setattr(module, "RECENT", bound)
        store = Store("checkout", registry=LabelRegistry())
        store.run(events_in(scenario), START)
        assert (store.panes != {}, decode_recent(store.recent).slices == []) == (settled, settled)
        assert store.document()["windows"]["1h"]["all"]["transactions"] == 3


def test_the_recent_part_counts_in_windows_that_still_exist_and_in_the_total():
    def scenario(story):
        story.checkout("completed", [line("P", "a")])

    for names in (("1m",), ("7m", "1h"), ("1h",), ()):
        store = Store("checkout")
        store.run(events_in(scenario), START)
        store.config = CoreConfig(windows=tuple(Window.parse(name) for name in names))
        store.run([], START + STEP)
        windows = store.document()["windows"]
        counted = {name: windows[name]["all"]["transactions"] for name in windows}
        assert counted == {name: int(name in ("1h", "total")) for name in (*names, "total")}, (
            "only windows that existed before have the transaction"
        )


def test_a_state_of_a_newer_version_or_of_another_journey_is_refused():
    store = Store("checkout")
    store.run([], START)
    store.journey = "subscription"
    with pytest.raises(ValueError, match="holds checkout events"):
        store.open()
    store.state = msgspec.msgpack.encode([LAYOUT + 1, *msgspec.msgpack.decode(store.state)[1:]])
    with pytest.raises(ValueError, match="newer version"):
        store.open()


def test_a_state_without_windows_of_an_older_version_is_read():
    def scenario(story):
        story.checkout("completed", [line("P", "a")])

    store = Store("checkout")
    store.run(events_in(scenario), START)
    store.run([], START + STEP)
    store.state = msgspec.msgpack.encode(msgspec.msgpack.decode(store.state)[:4])
    store.summary = msgspec.msgpack.encode(msgspec.msgpack.decode(store.summary)[:5])
    before = store.document()
    store.run([], START + STEP)
    assert store.document() == before
    assert before["windows"]["5m"]["all"]["transactions"] == 1


def test_a_tick_moves_windows_without_events():
    def scenario(story):
        story.checkout("completed", [line("P", "a")])

    store = Store("checkout")
    store.run(events_in(scenario), START)
    shard = store.open()
    shard.advance(START)
    assert not shard.is_due(START)
    assert shard.is_due(START + 5_000_000)
    shard.advance(START + 3600 * 1_000_000)
    store.commit(shard)
    windows = store.document()["windows"]
    assert [windows[name]["all"]["transactions"] for name in ("5m", "1h", "24h", "total")] == [0, 0, 1, 1]


@pytest.mark.parametrize("journey", ["checkout", "subscription"])
def test_an_offer_is_applied_and_moves_no_figure(journey):
    store = Store(journey)
    shown = OfferEvent(journey, "1", True, "offer", "cart", NOW, 0, "e1", "shop")
    test = msgspec.structs.replace(shown, id="e2", livemode=False)
    shard = store.open()
    shard.advance(NOW)
    before = shard.summary()
    assert [step.result for step in store.apply(shard, [shown, test], store.registry)] == ["applied", "test"]
    assert msgspec.structs.replace(shard.summary(), stream_time=before.stream_time) == before
    written = shard.drain()
    assert list(written.entities) == [b"\xff1"], "no entity, but a record of its own"
