import asyncio

import pytest
from support.workers import group

from stream.kafka import topic_ids
from stream.kafka.topic_ids import FASTEST_FILL, FRESH, TopicIds
from stream.kafka.topics import Topic, create_topics


class Asked(TopicIds):
    """Answers by itself: with how often it was asked."""

    def __init__(self):
        super().__init__("", ["t"], "tests", {})
        self.questions = 0

    async def _ask(self):
        self.questions += 1
        answer = {"t": bytes([self.questions]) * 16}
        await asyncio.sleep(0)
        return answer


@pytest.fixture
def clock(monkeypatch):
    now = [1000.0]
    monkeypatch.setattr(topic_ids.time, "monotonic", lambda: now[0])
    return now


@pytest.mark.parametrize(
    ("offset", "age", "questions"),
    [
        (0, 1e-6, 2),
        (40, 30e-6, 1),
        (40, 50e-6, 2),
        (FASTEST_FILL // 10, 0.09, 1),
        (FASTEST_FILL // 10, 0.11, 2),
        (1000 * FASTEST_FILL, FRESH - 0.01, 1),
        (1000 * FASTEST_FILL, FRESH + 0.01, 2),
    ],
)
async def test_an_answer_is_good_for_as_long_as_a_log_made_anew_would_take_to_get_there(clock, offset, age, questions):
    topics = Asked()
    await topics.ids(offset)
    clock[0] += age
    await topics.ids(offset)
    assert topics.questions == questions


async def test_who_waits_for_an_answer_to_an_older_question_gets_a_newer_one_with_the_others(clock):
    topics = Asked()
    first = asyncio.create_task(topics.ids(0))
    await asyncio.sleep(0)
    clock[0] += 1e-3
    others = [asyncio.create_task(topics.ids(0)) for _ in range(9)]
    assert await first == {"t": bytes([1]) * 16}
    assert await asyncio.gather(*others) == [{"t": bytes([2]) * 16}] * 9
    assert topics.questions == 2


async def test_kafka_tells_at_once_that_a_topic_was_made_anew(kafka, name_prefix, tmp_path):
    with group(kafka.bootstrap_servers, "redis://127.0.0.1", name_prefix, tmp_path) as workers:
        topic = workers.settings.checkout_topic
        topics = TopicIds(kafka.bootstrap_servers, [topic], "tests", {})
        try:
            assert await topics.ids(0) == {}
            await create_topics(kafka.bootstrap_servers, [Topic(topic, 1)])
            before = await topics.ids(40)
            await workers.recreate_topic(topic)
            after = await topics.ids(40)
            assert set(before) == set(after) == {topic}
            assert before != after
        finally:
            await topics.close()
