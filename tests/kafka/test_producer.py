import asyncio

import pytest
from aiokafka.errors import (
    KafkaTimeoutError,
    MessageSizeTooLargeError,
    TopicAuthorizationFailedError,
    UnknownError,
    UnknownTopicOrPartitionError,
)
from support.workers import read_topic

from stream.kafka import producer as publish
from stream.kafka.producer import CUT, Message, Publisher, UnacknowledgedError
from stream.kafka.topics import Topic, create_topics

REPORTED = []
"""Reasons of the dead letters that publishers made."""


class Broker:
    """What the producers of a test send to."""

    def __init__(self) -> None:
        self.records = []
        self.producers = []
        self.idempotent = True
        self.largest = 100
        self.errors = {}

    def producer(self, **options):
        producer = Producer(self, options)
        self.producers.append(producer)
        return producer


class Batch:
    """A batch with one message."""

    def append(self, *, key, value, timestamp, headers):
        self.key, self.value, self.headers = key, value, headers
        return self

    def close(self):
        pass


class Producer:
    def __init__(self, broker, options) -> None:
        self.broker = broker
        self.idempotent = options["enable_idempotence"]
        self.stopped = False

    async def start(self):
        if self.idempotent and not self.broker.idempotent:
            raise UnknownError

    async def stop(self):
        self.stopped = True

    async def partitions_for(self, topic):
        return {0}

    def _partition(self, *arguments):
        return 0

    def create_batch(self):
        return Batch()

    async def send_batch(self, batch, topic, *, partition):
        return await self.send(topic, batch.value, batch.key, batch.headers)

    async def send(self, topic, value, key, headers):
        if (error := self.broker.errors.pop(("send", value), None)) is not None:
            raise error
        future = asyncio.get_running_loop().create_future()
        error = self.broker.errors.pop(value, None)
        if error is None and len(value) + len(key or b"") + sum(len(text) for _, text in headers) > self.broker.largest:
            error = MessageSizeTooLargeError()
        if error is None:
            self.broker.records.append((topic, key, value, tuple(headers)))
            future.set_result(None)
        else:
            future.set_exception(error)
        return future


@pytest.fixture
def broker(monkeypatch):
    broker = Broker()
    monkeypatch.setattr(publish, "AIOKafkaProducer", broker.producer)
    return broker


async def started():
    publisher = Publisher("localhost:9092", "dead", "test", {}, REPORTED.append)
    await publisher.start()
    return publisher


async def publish_all(publisher, messages):
    """As a shard does it; returns the number of tries."""
    for tries in range(1, 10):
        try:
            await publisher.publish(messages)
        except UnacknowledgedError as failure:
            messages = failure.messages
        else:
            return tries
    raise AssertionError(messages)


async def test_all_is_acknowledged_in_one_go(broker):
    publisher = await started()
    assert await publish_all(publisher, [Message("outcomes", b"k", b"%d" % n) for n in range(5)]) == 1
    assert await publish_all(publisher, []) == 1
    await publisher.stop()
    assert [value for _, _, value, _ in broker.records] == [b"0", b"1", b"2", b"3", b"4"]
    assert [producer.stopped for producer in broker.producers] == [True]


async def test_only_what_was_not_acknowledged_is_sent_again_by_a_new_producer(broker):
    publisher = await started()
    broker.errors = {b"1": KafkaTimeoutError(), b"3": KafkaTimeoutError()}
    assert await publish_all(publisher, [Message("outcomes", b"k", b"%d" % n) for n in range(5)]) == 2
    assert [value for _, _, value, _ in broker.records] == [b"0", b"2", b"4", b"1", b"3"]
    assert [producer.stopped for producer in broker.producers] == [True, False]


async def test_what_follows_a_refusal_waits_with_it(broker):
    publisher = await started()
    broker.errors = {("send", b"2"): KafkaTimeoutError()}
    with pytest.raises(UnacknowledgedError) as failure:
        await publisher.publish([Message("outcomes", b"k", b"%d" % n) for n in range(5)])
    assert [message.value for message in failure.value.messages] == [b"2", b"3", b"4"]
    assert len(broker.records) == 2


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (UnknownTopicOrPartitionError(), "topic outcomes does not exist: create it"),
        (
            TopicAuthorizationFailedError("outcomes"),
            "this user may not write to topic outcomes: grant Write and Describe",
        ),
    ],
)
async def test_a_topic_that_cannot_be_written_to_is_named(broker, error, says):
    publisher = await started()
    broker.errors = {b"1": error}
    with pytest.raises(UnacknowledgedError, match=says):
        await publisher.publish([Message("outcomes", b"k", b"1")])


async def test_a_dead_letter_shrinks_until_it_fits(broker):
    publisher = await started()
    headers = (("theirs", b"x" * 40), ("upsell-reason", b"too_large"))
    await publish_all(publisher, [Message("dead", b"k", b"v" * 200, headers)])
    await publish_all(publisher, [Message("dead", b"k" * 90, b"v" * 200, headers)])
    assert broker.records == [
        ("dead", b"k", b"", (*headers, (CUT, b"200"))),
        ("dead", None, b"", (("upsell-reason", b"too_large"), (CUT, b"200"))),
    ]


async def test_an_outcome_that_is_too_large_becomes_a_dead_letter(broker):
    publisher = await started()
    REPORTED.clear()
    broker.largest = 500
    outcome = Message("outcomes", b"k", b"v" * 2000, (("content-type", b"json"),), ("checkout", 3, 17))
    await publish_all(publisher, [outcome])
    ((topic, key, value, headers),) = broker.records
    assert (topic, key, value) == ("dead", b"k", b"")
    assert dict(headers) == {
        "upsell-reason": b"outcome_too_large",
        "upsell-error": b"an outcome of 2000 bytes is too large for topic outcomes: raise its max.message.bytes",
        "upsell-source-topic": b"checkout",
        "upsell-source-partition": b"3",
        "upsell-source-offset": b"17",
        CUT: b"2000",
    }
    assert REPORTED == ["outcome_too_large"]


async def test_an_outcome_that_was_too_large_only_together_with_others_is_published_alone(broker):
    publisher = await started()
    broker.errors[b"small"] = MessageSizeTooLargeError()  # for its batch
    await publish_all(publisher, [Message("outcomes", b"k", b"small"), Message("outcomes", b"k", b"other")])
    assert [(topic, value) for topic, _, value, _ in broker.records] == [("outcomes", b"other"), ("outcomes", b"small")]


async def test_a_broker_without_producer_ids_will_do(broker):
    broker.idempotent = False
    publisher = await started()
    await publish_all(publisher, [Message("outcomes", b"k", b"v")])
    assert [producer.idempotent for producer in broker.producers] == [True, False]
    assert broker.producers[0].stopped


@pytest.mark.kafka
async def test_kafka_takes_the_rest_after_it_refused_a_message(kafka, name_prefix):
    topic, dead = f"{name_prefix}outcomes", f"{name_prefix}dead"
    small = {"max.message.bytes": "2000"}
    await create_topics(kafka.bootstrap_servers, [Topic(topic, 1, small), Topic(dead, 1, small)])
    publisher = Publisher(kafka.bootstrap_servers, dead, "test", {}, REPORTED.append)
    await publisher.start()
    try:
        large = Message(dead, b"k", b"v" * 5000, (("upsell-reason", b"too_large"),))
        await publish_all(publisher, [Message(topic, b"k", b"1"), large, Message(topic, b"k", b"2")])
        await publish_all(publisher, [Message(topic, b"k", b"3")])
    finally:
        await publisher.stop()
    assert [record.value for record in await read_topic(kafka.bootstrap_servers, topic)] == [b"1", b"2", b"3"]
    (letter,) = await read_topic(kafka.bootstrap_servers, dead)
    assert (letter.value, dict(letter.headers)[CUT]) == (b"", b"5000")
