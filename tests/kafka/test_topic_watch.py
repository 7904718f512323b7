"""What is said of input topics, by Kafka's answers."""

import logging

import pytest
from aiokafka.errors import KafkaConnectionError

from stream.kafka.metadata import TopicMetadata
from stream.kafka.topic_watch import InputTopic, TopicWatch, describe

ALL = 0b1111_1111_1000


@pytest.mark.parametrize(
    ("error", "operations", "partitions", "says"),
    [
        (0, ALL, 4, None),
        (0, None, 4, None),  # a broker that does not say
        (0, 0, 4, None),  # nor this one: who may see a topic may do something
        (0, 1 << 8 | 1 << 4, 4, "topic t may not be read by this user: grant Read and Describe"),
        (3, None, None, "topic t does not exist: create it, or correct UPSELL_CHECKOUT_TOPIC"),
        (29, None, None, "topic t may not be seen by this user, and Kafka does not say whether it exists"),
        (5, None, None, "Kafka does not describe topic t (LeaderNotAvailableError)"),
    ],
)
def test_an_answer_in_words(error, operations, partitions, says):
    topic = describe(TopicMetadata("t", error, partitions or 0, None, operations), "checkout")
    assert topic.partitions == partitions
    assert topic.problem == says if says is None else says in topic.problem


async def test_a_problem_is_logged_when_it_begins_and_when_it_is_over(caplog):
    caplog.set_level(logging.INFO)
    answers = []
    watch = TopicWatch("", {"t": "checkout"}, "tests", {}, answers.append)

    codes = iter((3, 3, 0, 0))

    async def answer(_):
        error = next(codes, None)
        if error is None:
            raise KafkaConnectionError
        return [TopicMetadata("t", error, 2, None, None)]

    watch._client.topics = answer
    for _ in range(4):
        await watch.ask()
    with pytest.raises(KafkaConnectionError):
        await watch.ask()
    assert [topics["t"].problem is None for topics in answers] == [False, False, True, True]
    assert answers[-1] == {"t": InputTopic("t", 2, None)}
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]
    assert "topic t does not exist" in caplog.text
    assert "topic t can be read now" in caplog.text
