"""What a batch requests before it is applied, request by request."""

from hypothesis import given
from hypothesis import strategies as st
from support.carts import item, line
from support.shard_store import ShardStore
from support.stories import START, Story

from stream.core.config import CoreConfig
from stream.core.entities.customer import member
from stream.core.event import ErasedEvent
from stream.core.labels import LabelRegistry
from stream.core.shard.preload import Request
from stream.core.shard.shard import Shard
from stream.core.shard.write_set import ShardId, Stored

NEW = Stored(None, {})
FIXED = {"channel": ["web"], "segment": ["new"], "category": ["hats"], "currency": ["EUR"]}


def events_of(tell):
    events = []

    class Collect(Story):
        def apply(self, event):
            events.append(event)

    tell(Collect())
    return events


def shard(stored=NEW, journey="checkout", labels=None):
    return Shard(ShardId("t", 0), journey, CoreConfig(), labels or LabelRegistry(FIXED), stored, 1_000_000)


def key(customer):
    return member(customer, b"")


def erased(customer):
    return ErasedEvent(source="privacy", id="e", time=START, customer=customer)


def test_a_new_checkout_is_requested_once_with_its_buyer():
    (event,) = events_of(lambda story: story.checkout("completed", [line("A", "a")]))
    preload = shard().preload([event])
    assert preload.request == Request([b"c1"], [key("anna")], [])
    preload.receive([None], [None])
    assert preload.request is None


def test_a_cart_that_is_not_paid_needs_no_customer():
    (event,) = events_of(lambda story: story.checkout("started", [line("A", "a")]))
    assert shard().preload([event]).request == Request([b"c1"], [], [])


def test_nothing_is_requested_that_is_in_memory():
    events = events_of(lambda story: story.checkout("completed", [line("A", "a")]))
    one = shard()
    ShardStore().apply(one, events, LabelRegistry(FIXED))
    assert one.preload(events).request is None


def test_customers_of_loaded_entities_are_requested_next():
    first = events_of(lambda story: story.checkout("completed", [line("A", "a")], customer="anna"))
    (refund,) = events_of(lambda story: story.checkout("refunded", at=5, customer="bert", refund=("r", None, None)))
    store, labels = ShardStore(), LabelRegistry(FIXED)
    one = shard()
    store.apply(one, first, labels)
    store.commit(one)
    preload = shard(store.stored).preload([refund])
    assert preload.request == Request([b"c1"], [], [])
    preload.receive([store.entities[b"c1"]], [])
    assert preload.request == Request([], [key("anna")], [])
    preload.receive([], [store.customers[key("anna")]])
    assert preload.request is None


def test_an_erasure_requests_the_entities_that_the_customer_is_linked_to():
    first = events_of(lambda story: story.checkout("completed", [line("A", "a")], customer="anna"))
    store = ShardStore()
    one = shard()
    store.apply(one, first, LabelRegistry(FIXED))
    store.commit(one)
    preload = shard(store.stored).preload([erased("anna")])
    assert preload.request is not None
    old, _pseudonym = preload.request.customers
    assert (old, preload.request.entities) == (key("anna"), [])
    preload.receive([], [store.customers[old], None])
    assert preload.request == Request([b"c1"], [], [])
    preload.receive([store.entities[b"c1"]], [])
    assert preload.request is None


def test_labels_are_requested_in_the_order_of_the_log_and_those_of_test_events_never():
    events = events_of(
        lambda story: [
            story.checkout("started", [line("A", "a", category="hats")], channel="web", segment="new"),
            story.checkout("started", [line("A", "a")], checkout="test", channel="test", livemode=False),
            story.checkout("started", [line("A", "a", category="shoes")], checkout="c2", channel="app"),
        ]
    )
    preload = shard(labels=LabelRegistry()).preload(events)
    assert preload.request is not None
    assert list(preload.request.labels) == [
        ("channel", "web"),
        ("segment", "new"),
        ("currency", "EUR"),
        ("category", "hats"),
        ("channel", "app"),
        ("category", "shoes"),
    ]


def test_labels_of_loaded_records_are_requested_where_this_process_does_not_know_them():
    first = events_of(lambda story: story.subscription("created", [item("P1", category="hats")], channel="web"))
    (later,) = events_of(lambda story: story.subscription("canceled", at=5, id="later"))
    store = ShardStore()
    one = shard(journey="subscription", labels=LabelRegistry())
    store.apply(one, first, LabelRegistry())
    store.commit(one)
    labels = LabelRegistry()
    preload = shard(store.stored, "subscription", labels).preload([later])
    labels.register(preload.request.labels)
    preload.receive([store.entities[b"s1"]], [None])
    assert set(preload.request.labels) == {("channel", "web"), ("category", "hats")}


def test_where_only_the_first_records_are_answered_the_first_events_can_be_applied():
    events = events_of(
        lambda story: [story.checkout("started", [line("A", "a")], checkout=name) for name in ("c1", "c2", "c3", "c1")]
    )
    preload = shard().preload(events)
    preload.receive([None, None], [])
    assert preload.events == events[:2]
    assert preload.request is None


@given(st.data())
def test_answers_in_parts_give_what_whole_answers_give(data):
    events = events_of(
        lambda story: [
            story.checkout("completed", [line("A", "a")], checkout=name, customer=customer)
            for name, customer in (("c1", "anna"), ("c2", "bert"), ("c1", "cora"), ("c3", "anna"))
        ]
    )
    whole, parts = ShardStore(), ShardStore()
    one = shard()
    whole.apply(one, events, LabelRegistry(FIXED))
    whole.commit(one)
    other, left = shard(), events
    while left:
        preload = other.preload(left)
        while (request := preload.request) is not None:
            entities = data.draw(st.integers(min(1, len(request.entities)), len(request.entities)))
            least = 0 if request.entities else 1
            most = len(request.customers) if entities == len(request.entities) else 0
            customers = data.draw(st.integers(min(least, most), most))
            preload.receive([None] * entities, [None] * customers)
        other.apply(preload.events)
        left = left[len(preload.events) :]
    parts.commit(other)
    assert parts.entities == whole.entities
    assert parts.customers == whole.customers
