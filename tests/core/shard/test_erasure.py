"""An erased customer is in no stored byte, stays in every count, and is a new customer after a return."""

import msgspec
import pytest
from core.shard.test_shard import NOW, Store, events_of, journey_of, lawful, streams
from hypothesis import given
from hypothesis import strategies as st
from oracle import generate
from support.carts import item, line
from support.stories import START, Story

from stream.core.config import DAY, CoreConfig, Window
from stream.core.entities.customer import KEPT, Customer, member
from stream.core.event import ErasedEvent, OfferEvent

CART = [line("P", "a")]
MORE = [line("P", "a", 2)]
DAYS = 24


def erasure(customer, id="e", time=NOW):
    return ErasedEvent(source="privacy", id=id, time=time, customer=customer)


def tables(store):
    """All stored bytes."""
    parts = (store.panes, store.entities, store.customers, store.scores, store.entity_expiry, store.customer_expiry)
    return msgspec.msgpack.encode([store.state, store.summary, *parts])


def members(store):
    return {name: scores for name, scores in store.scores.items() if scores}


def names_of(events):
    named = {event.customer for event in events if not isinstance(event, OfferEvent)}
    return named - {event.entity for event in events}


@lawful
@given(streams, st.integers(1, 4), st.sampled_from([1, 1000]))
def test_an_erased_customer_is_in_no_table_and_every_figure_stays(events, batch, capacity):
    plain, erased = Store(journey_of(events)), Store(journey_of(events), capacity=capacity)
    plain.run(events)
    before = plain.document()
    erased.run([*events, *map(erasure, sorted(names_of(events)))], batch=batch, restart=True)
    assert erased.document() == before
    for name in names_of(events):
        assert name.encode() not in tables(erased)
        assert member(name, b"") not in tables(erased)


@lawful
@given(streams, st.integers(1, 4), st.data())
def test_batch_sizes_and_restarts_change_nothing_of_an_erasure(events, batch, data):
    journey = journey_of(events)
    for customer in ("cust-1", "cust-2", "cust-1", "anon-1"):
        at = data.draw(st.integers(0, len(events)))
        events = [*events[:at], erasure(customer, data.draw(st.sampled_from("ab"))), *events[at:]]
    whole, cut = Store(journey), Store(journey, capacity=1)
    assert cut.run(events, batch=batch, restart=True) == whole.run(events)
    assert (cut.entities, cut.customers, members(cut)) == (whole.entities, whole.customers, members(whole))
    assert cut.document() == whole.document()
    again = whole.run(events)
    assert {step.result for step in again} <= {"duplicate", "stale", "test", "unchanged"}
    assert whole.document() == cut.document(), "a replay changes nothing"
    assert (cut.customers, members(cut)) == (whole.customers, members(whole))


@lawful
@given(generate.checkout_streams().map(generate.as_lines).map(events_of), st.data())
def test_the_order_of_arrival_changes_nothing_of_an_erasure(events, data):
    first_of_identity = list({(event.entity, event.source, event.id): event for event in reversed(events)}.values())
    one, other = Store("checkout"), Store("checkout")
    erasures = [erasure(name) for name in sorted(names_of(events))]
    one.run([*first_of_identity, *erasures])
    other.run([*data.draw(st.permutations(first_of_identity)), *reversed(erasures)])
    assert one.document() == other.document()
    assert members(one) == members(other)


def test_later_versions_name_a_pseudonym_and_an_erasure_publishes_nothing():
    story = Story()
    story.checkout("started", CART)
    story.checkout("completed", MORE, at=1, id="bought")
    assert story.apply(erasure("anna")).versions == ()
    step = story.checkout("canceled", at=2)
    (version,) = step.versions
    assert version.judged.version == 2
    assert version.judged.customer.startswith("erased-")
    assert "anna" not in version.judged.customer


def test_an_erased_customer_who_returns_is_new_and_a_repeated_erasure_changes_nothing():
    story = Story()
    story.checkout("completed", CART)
    results = [story.apply(erasure("anna")).result]
    story.checkout("completed", CART, at=1, checkout="c2")
    results.append(story.apply(erasure("anna")).result)
    assert story.counts("checkout")["customers"]["all"] == 2
    results.append(story.apply(erasure("anna", "another")).result)
    story.checkout("completed", CART, at=2, checkout="c3")
    assert story.counts("checkout")["customers"]["all"] == 3
    assert results == ["applied", "duplicate", "applied"]


@pytest.mark.parametrize("order", [None, "o1"])
def test_a_checkout_holds_no_customer_but_that_of_its_first_completed_fact(order):
    events = []
    story = Story()
    story.apply = events.append
    story.checkout("completed", CART, at=2, customer="anna")
    story.checkout("completed", CART, at=1, customer="bert", order=order)
    store = Store("checkout")
    store.run(events, START + DAY, batch=1, restart=True)
    (record,) = store.entities.values()
    assert (b"anna" in record, b"bert" in record) == (False, True)
    store.run([erasure("anna", time=START), erasure("bert", time=START)], START + DAY)
    assert b"bert" not in tables(store)


def test_an_erased_customer_who_returns_continues_nothing_that_was_canceled_before():
    story = Story()
    story.subscription("created", [item("P1")])
    story.subscription("canceled", at=1)
    story.apply(erasure("anna"))
    story.subscription("created", [item("Q1", 1, "80", product="P")], at=2, id="new", subscription="s2")
    assert story.judgement("new") == "known |  | 80.00 -> 80.00"
    story.subscription("renewed", at=3, id="back")
    assert story.judgement("back") == "known |  | 10.00 -> 10.00"


def test_a_repeated_erasure_is_a_new_one_after_the_first_has_expired():
    events = []
    story = Story()
    story.apply = events.append
    story.checkout("completed", CART, checkout="c1")
    story.checkout("completed", CART, at=1, checkout="c2", customer="bert")
    story.checkout("completed", CART, at=2, checkout="c3")
    story.checkout("completed", CART, at=20 * DAYS * 60, checkout="c4", customer="bert")
    bought, bought_too, back, much_later = events
    config = CoreConfig(checkout_retention=DAY, lateness=0, windows=(Window.parse("90d"),))
    now = START + 20 * DAY
    for removing in (False, True):
        store = Store("checkout", config)
        store.run([bought, bought_too, erasure("anna", time=START), back], now)
        assert store.document()["windows"]["90d"]["checkout"]["customers"]["all"] == 3
        store.run([much_later], now)
        if removing:
            store.remembered(now)
        (step,) = store.run([erasure("anna", time=START)], now)
        assert step.result == "applied"
        assert store.document()["windows"]["90d"]["checkout"]["customers"]["all"] == 2
        records = [msgspec.msgpack.decode(data, type=Customer) for data in store.customers.values()]
        (of_anna,) = [record for record in records if record.erasure]
        assert [purchase.time for purchase in of_anna.purchases] == [bought.time, back.time]


def test_a_test_erasure_changes_nothing():
    story = Story()
    story.checkout("completed", CART)
    assert story.apply(msgspec.structs.replace(erasure("anna"), livemode=False)).result == "test"
    story.checkout("completed", CART, at=1, checkout="c2")
    assert story.counts("checkout")["customers"]["all"] == 1


def test_an_erasure_of_one_of_two_customers_of_a_subscription_keeps_the_other():
    events = []
    story = Story()
    story.apply = events.append
    story.subscription("created", [item("P1")], customer="anna")
    story.subscription("changed", [item("P1", 2)], at=1, customer="bert")
    story.subscription("changed", [item("P1", 3)], at=0.5, customer="anna", id="late")
    store = Store("subscription")
    store.run([*events, erasure("anna", time=START)], START + DAY, batch=1, restart=True)
    assert b"anna" not in tables(store)
    assert b"bert" in tables(store)
    refund = []
    story.apply = refund.append
    story.subscription("changed", [item("P1", 4)], at=3 * DAYS, customer="cleo")
    story.subscription("canceled", at=7 * DAYS, customer="cleo")
    store.run(refund, START + 8 * DAY, batch=1, restart=True)
    assert b"bert" not in tables(store), "his event is settled"
    store.run([erasure("bert", time=START), erasure("cleo", time=START)], START + 8 * DAY)
    assert b"cleo" not in tables(store)
    assert store.document()["windows"]["30d"]["subscription"]["customers"]["all"] == 3


def test_a_customer_is_stored_as_long_as_an_entity_with_their_id():
    events = []
    story = Story(config=CoreConfig())
    story.apply = events.append
    story.subscription("created", [item("P1")])
    story.subscription("canceled", at=1)
    store = Store("subscription")
    store.run(events, START + DAY)
    (until,) = store.customer_expiry.values()
    assert until == store.entity_expiry[b"s1"]
    assert until > START + 400 * DAY


def test_a_customer_s_record_names_a_bounded_number_of_entities():
    events = []
    story = Story()
    story.apply = events.append
    for number in range(KEPT + 10):
        story.checkout("completed", CART, at=number, checkout=f"c{number}", customer="everybody")
    store = Store("checkout")
    store.run(events, START + DAY)
    store.run([erasure("everybody", time=START)], START + DAY)
    assert sum(b"everybody" in record for record in store.entities.values()) == 10
    assert store.document()["windows"]["30d"]["checkout"]["customers"]["all"] == 1
