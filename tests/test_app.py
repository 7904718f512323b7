"""The composition root, as far as it goes without servers; `tests/integration` runs all of it."""

import socket

import pytest

from stream import app as module
from stream.app import Worker, make_topics
from stream.consumer.faust_app import App
from stream.settings import Settings


async def test_an_address_that_is_taken_is_an_error_and_leaves_nothing_behind():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        worker = Worker(Settings(http_port=taken.getsockname()[1]))
        with pytest.raises(OSError, match="address already in use"):
            await worker.start()
        await worker.stop()
    assert worker.status.readiness() == (False, ["the worker is stopping"])


async def test_topics_are_made_with_room_for_their_messages(monkeypatch):
    asked = {}

    async def create_topics(servers, topics, **options):
        asked.update({topic.name: topic for topic in topics}, options=options)
        return set()

    monkeypatch.setattr(module, "create_topics", create_topics)
    await make_topics(Settings(kafka_partitions=6, outcome_retention_days=2, kafka_replication_factor=3), {"a": 1})
    assert asked.pop("options") == {"replication_factor": 3, "a": 1}
    assert {name: topic.partitions for name, topic in asked.items()} == dict.fromkeys(asked, 6)
    assert asked["checkout-events"].config == asked["subscription-events"].config == {}
    assert asked["upsell-outcomes"].config == {"max.message.bytes": "8388608", "retention.ms": "172800000"}
    assert asked["upsell-dead-letters"].config == {"max.message.bytes": "8388608"}


async def test_faust_does_what_the_worker_counts_on(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    app = App(Settings(kafka_session_timeout=6, kafka_bootstrap_servers="one:9092, two:9093"), shards=None)
    conf = app.conf
    assert [f"{url.host}:{url.port}" for url in conf.broker_consumer] == ["one:9092", "two:9093"]
    assert conf.consumer_auto_offset_reset == "none"
    assert (conf.broker_session_timeout, conf.broker_heartbeat_interval) == (6, 2)
    assert conf.table_standby_replicas > 0  # else round robin is used in silence
    assert app.assignor.replicas == 0
    app._create_directories()
    assert list(tmp_path.iterdir()) == []
