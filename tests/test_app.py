"""The composition root, as far as it goes without servers; `tests/integration` runs all of it."""

import socket

import pytest

from stream import app as module
from stream.app import Worker, make_topics
from stream.consumer.faust_app import App
from stream.kafka.topic_plan import planned_topics
from stream.settings import Settings


async def test_an_address_that_is_taken_is_an_error_and_leaves_nothing_behind():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        worker = Worker(Settings(http_port=taken.getsockname()[1]))
        with pytest.raises(OSError, match="address already in use"):
            await worker.start()
        await worker.stop()
    assert worker.status.readiness() == (False, ["the worker is stopping"])


async def test_missing_topics_are_created_as_planned(monkeypatch):
    asked = {}

    async def create_topics(servers, topics, **options):
        asked.update(topics=topics, options=options)
        return set()

    monkeypatch.setattr(module, "create_topics", create_topics)
    settings = Settings(kafka_replication_factor=3)
    await make_topics(settings, set(), {"a": 1})
    assert asked == {"topics": planned_topics(settings), "options": {"replication_factor": 3, "a": 1}}


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
