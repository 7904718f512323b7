"""The topics that a worker creates: what `check` demands of topics (tests/cli/test_check.py has both together)."""

from stream.kafka.topic_plan import planned_inputs, planned_topics
from stream.settings import Settings, load


def test_topics_keep_their_records_long_enough_and_not_for_ever():
    settings = Settings(
        kafka_partitions=6, windows=("1h", "60d"), outcome_retention_days=2, dead_letter_retention_days=9
    )
    topics = {topic.name: topic for topic in planned_topics(settings)}
    assert {name: topic.partitions for name, topic in topics.items()} == dict.fromkeys(topics, 6)
    day = 86_400_000
    assert {name: int(topic.config["retention.ms"]) / day for name, topic in topics.items()} == {
        "checkout-events": 60,
        "subscription-events": 60,
        "upsell-outcomes": 2,
        "upsell-dead-letters": 9,
    }


def test_topics_have_room_for_their_largest_messages():
    sizes = {topic.name: topic.config["max.message.bytes"] for topic in planned_topics(load())}
    assert sizes["checkout-events"] == sizes["subscription-events"] == "2097152"
    assert sizes["upsell-outcomes"] == sizes["upsell-dead-letters"] == "8388608"


def test_senders_create_the_input_topics_as_the_worker_does():
    assert planned_inputs(load()) == planned_topics(load())[:2]
