"""Records that cannot be applied without a gap: the shard halts, logs the reason, and applies none of them."""

import asyncio

import pytest
from support import traffic
from support.kafka_server import KafkaServer
from support.servers import started
from support.workers import LIMIT, group

from stream.app import create_app
from stream.core.shard.write_set import ShardId
from stream.tables.keys import Keys
from stream.tables.redis import RedisTables, connect
from stream.worker import watchdog


async def stored(settings):
    tables = connect(settings)
    try:
        return traffic.found(await tables.summaries())
    finally:
        await tables.close()


@pytest.mark.parametrize(
    ("while_it", "records"),
    [("runs", 60), ("runs", 39), ("is paused", 60), ("is stopped", 60), ("is stopped", 40)],
)
async def test_a_recreated_topic_halts_its_shard(kafka, redis_server, name_prefix, tmp_path, while_it, records):
    with group(kafka.bootstrap_servers, redis_server.url, name_prefix, tmp_path) as workers:
        topic = workers.settings.checkout_topic
        worker = await workers.begin(traffic.checkouts(20))
        before = list(workers.sent)
        if while_it == "is paused":
            worker.pause()
        elif while_it == "is stopped":
            assert await worker.stop() == 0
        await workers.recreate_topic(topic)
        await workers.send(list(traffic.checkouts(50, first=100))[:records])
        if while_it == "is paused":
            worker.resume()  # it has not seen the topic missing
        elif while_it == "is stopped":
            worker = workers.start()
        why = await workers.until_halted(worker, topic)
        assert "created again" in why
        assert "No record was skipped" in why
        assert await stored(workers.settings) == traffic.expected(before)
        # The shard of the other topic continues.
        workers.sent = before
        await workers.send(traffic.subscriptions(5))
        await workers.applied()
        assert await worker.stop() == 0


@pytest.mark.parametrize("running", [True, False], ids=["while it runs", "while it is stopped"])
async def test_deleted_unread_records_halt_their_shard(kafka, redis_server, name_prefix, tmp_path, running):
    with group(kafka.bootstrap_servers, redis_server.url, name_prefix, tmp_path) as workers:
        topic = workers.settings.checkout_topic
        worker = await workers.begin(traffic.checkouts(20))
        before = list(workers.sent)
        if running:
            worker.pause()
        else:
            assert await worker.stop() == 0
        await workers.send(traffic.checkouts(20, first=100))
        await workers.delete_records(topic, 50)
        if running:
            worker.resume()
            # A fetch in progress may have delivered all records before they were deleted.
            async with asyncio.timeout(LIMIT):
                while f"{topic}/0: halted: " not in worker.said:
                    if await stored(workers.settings) == traffic.expected(workers.sent):
                        return
                    await asyncio.sleep(0.05)
        else:
            worker = workers.start()
            why = await workers.until_halted(worker, topic)
            assert "records were deleted before they were read" in why
        why = await workers.until_halted(worker, topic)
        assert "No record was skipped" in why
        assert await stored(workers.settings) == traffic.expected(before)
        assert await worker.stop() == 0


async def test_another_cluster_at_the_same_address_halts_the_shard(redis_server, name_prefix, tmp_path):
    with started(KafkaServer()) as kafka:
        port = kafka.port
        with group(kafka.bootstrap_servers, redis_server.url, name_prefix, tmp_path) as workers:
            worker = await workers.begin(traffic.checkouts(20))
            assert await worker.stop() == 0
            kafka.close()
            another = KafkaServer()
            another.port = port
            with started(another):
                await workers.create_topics(1, 1)
                before = list(workers.sent)
                await workers.send(traffic.checkouts(40, first=100))
                worker = workers.start()
                assert "Kafka cluster" in await workers.until_halted(worker, workers.settings.checkout_topic)
                assert await stored(workers.settings) == traffic.expected(before)
                assert await worker.stop() == 0


@pytest.mark.embedded
async def test_a_state_of_a_newer_version_halts_the_shard(embedded_broker, embedded_valkey, name_prefix, tmp_path):
    with group(embedded_broker.bootstrap_servers, embedded_valkey.url, name_prefix, tmp_path) as workers:
        topic = workers.settings.checkout_topic
        worker = await workers.begin(traffic.checkouts(20))
        assert await worker.stop() == 0
        tables = connect(workers.settings)
        keys = Keys(workers.settings.redis_prefix, workers.settings.app_id).shard(ShardId(topic, 0))
        await tables._client.hset(keys.shard, "layout", 99)
        before = await tables._client.hgetall(keys.shard)
        await workers.send(traffic.checkouts(20, first=20))
        assert "newer upsell-stream" in await workers.until_halted(workers.start(), topic)
        assert await tables._client.hgetall(keys.shard) == before
        await tables.close()


@pytest.mark.embedded
async def test_a_worker_that_commits_nothing_while_kafka_and_redis_answer_exits(
    embedded_broker, embedded_valkey, name_prefix, tmp_path, monkeypatch, caplog
):
    monkeypatch.setattr(watchdog, "STUCK_AFTER", 0.5)
    with group(embedded_broker.bootstrap_servers, embedded_valkey.url, name_prefix, tmp_path) as workers:
        await workers.create_topics(1, 1)
        await workers.send(traffic.checkouts(20))

        async def never(*_):
            await asyncio.Event().wait()

        monkeypatch.setattr(RedisTables, "load", never)
        async with asyncio.timeout(LIMIT):
            assert await create_app(workers.settings).serve() == 1
    assert "records are waiting and nothing was committed" in caplog.text
