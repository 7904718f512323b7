"""`forget` and `redrive` with a worker: their effect on the tables and the figures, and that it happens once."""

import asyncio
import json
import signal

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from redis.asyncio import Redis
from support import traffic
from support.commands import output, started
from support.workers import LIMIT, group, read_topic

from stream.core.entities.customer import member
from stream.events.outcome import OUTCOME_HEADERS
from stream.kafka.topics import Topic, create_topics
from stream.settings import load

SERVERS = [
    pytest.param(("embedded_broker", "embedded_valkey"), marks=pytest.mark.embedded, id="embedded"),
    pytest.param(("kafka", "redis_server"), marks=[pytest.mark.kafka, pytest.mark.redis], id="real"),
]


@pytest.fixture(params=SERVERS)
def servers(request):
    broker, tables = map(request.getfixturevalue, request.param)
    return broker.bootstrap_servers, tables.url


async def stored(url, prefix):
    """All bytes of the application in Redis."""
    found = []
    async with Redis.from_url(url) as redis:
        async for key in redis.scan_iter(f"{prefix}*"):
            match await redis.type(key):
                case b"hash":
                    found += [part for pair in (await redis.hgetall(key)).items() for part in pair]
                case b"zset":
                    found += await redis.zrange(key, 0, -1)
    return b"\n".join(found)


async def test_a_customer_is_forgotten_and_the_totals_stay(servers, name_prefix, tmp_path):
    with group(*servers, name_prefix, tmp_path) as workers:
        worker = workers.start()
        await workers.send([*traffic.checkouts(30, first=7000), *traffic.subscriptions(30, first=7000)])
        await workers.applied()
        key = load({}).core().customer_key
        traces = (b"k7007", member("k7007", key))
        found = await stored(servers[1], name_prefix)
        assert all(trace in found for trace in traces)
        await output("forget", "k7007", settings=workers.settings)
        async with asyncio.timeout(LIMIT):
            while any(trace in found for trace in traces):
                workers.check()
                await asyncio.sleep(0.1)
                found = await stored(servers[1], name_prefix)
        assert b"erased-" in found
        await workers.applied()
        assert 'type="commerce.customer.erased.v1"' in await worker.get("/metrics")
        assert "k7007" not in worker.said


async def test_dead_letters_sent_back_twice_count_once(servers, name_prefix, tmp_path):
    with group(*servers, name_prefix, tmp_path) as workers:
        await workers.create_topics(2, 1)
        worker = workers.start()
        await workers.until_shared(lambda shares: shares == [3])
        early = list(traffic.checkouts(20))
        # Their timestamps in Kafka are a day before their event times.
        async with AIOKafkaProducer(bootstrap_servers=servers[0]) as producer:
            for sent in early:
                stamp = (traffic.START - 86_400) * 1000
                await producer.send(workers.settings.checkout_topic, sent.value, key=sent.key, timestamp_ms=stamp)
        await workers.send(traffic.junk(2))
        async with asyncio.timeout(LIMIT):
            while len(await read_topic(servers[0], workers.settings.dead_letter_topic)) < 42:
                workers.check()
                await asyncio.sleep(0.2)
        report = json.loads(await output("redrive", "--json", settings=workers.settings))
        assert report["reasons"] == {"future": {"sent": 40}, "not_json": {"sent": 2}}
        workers.sent += early
        await workers.applied()
        await output("redrive", "--reason", "future", settings=workers.settings)
        await workers.send(traffic.checkouts(5, first=500))
        await workers.applied()
        assert 'result="duplicate"' in await worker.get("/metrics")
        letters = await read_topic(servers[0], workers.settings.dead_letter_topic)
        assert [dict(each.headers).get("upsell-redriven") is not None for each in letters].count(True) == 2
        report = json.loads(await output("redrive", "--json", "--dry-run", settings=workers.settings))
        assert report["reasons"]["not_json"] == {"sent": 2, "sent back before": 2}


async def refuse_larger_than(kafka, topic, size):
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka.bootstrap_servers)
    await admin.start()
    try:
        await admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, topic, {"max.message.bytes": str(size)})])
    finally:
        await admin.close()


@pytest.mark.kafka
@pytest.mark.redis
@pytest.mark.parametrize("by", ["Ctrl-C", "kill -9", "refused by Kafka"])
async def test_an_interrupted_redrive_can_be_repeated_and_everything_counts_once(
    kafka, redis_server, name_prefix, tmp_path, by
):
    with group(kafka.bootstrap_servers, redis_server.url, name_prefix, tmp_path) as workers:
        worker = await workers.begin(traffic.subscriptions(1))
        topic = workers.settings.checkout_topic
        rejected = list(traffic.checkouts(3_000))
        if by == "refused by Kafka":
            await refuse_larger_than(kafka, topic, 100_000)
            rejected[4_000] = rejected[4_000]._replace(value=rejected[4_000].value + b" " * 100_000)
        source = [("upsell-source-topic", topic.encode()), ("upsell-source-partition", b"0")]
        headers = [("upsell-reason", b"invalid"), *source]
        async with AIOKafkaProducer(bootstrap_servers=kafka.bootstrap_servers, max_batch_size=100_000) as producer:
            for sent in rejected:
                await producer.send(workers.settings.dead_letter_topic, sent.value, key=sent.key, headers=headers)
        first = await started("redrive", "--json", settings=workers.settings)
        if by != "refused by Kafka":
            await workers.until_committed(1)
            first.send_signal(signal.SIGINT if by == "Ctrl-C" else signal.SIGKILL)
        printed, errors = await first.communicate()
        sent_back = len(await read_topic(kafka.bootstrap_servers, topic))
        assert 0 < sent_back < len(rejected)
        assert first.returncode not in (0, None)
        if by == "Ctrl-C":
            assert json.loads(printed)["reasons"] == {"invalid": {"sent": sent_back}}
        if by == "refused by Kafka":
            assert b"MessageSizeTooLarge" in errors
            assert b"Traceback" not in errors
            await refuse_larger_than(kafka, topic, 1_000_000)
        report = json.loads(await output("redrive", "--json", settings=workers.settings))
        assert report["reasons"] == {"invalid": {"sent": len(rejected)}}
        workers.sent += rejected
        await workers.applied()
        assert f'result="duplicate",topic="{topic}"' in await worker.get("/metrics")


@pytest.mark.kafka
@pytest.mark.redis
async def test_outcomes_that_were_too_large_are_published_once_the_topic_has_room(
    kafka, redis_server, name_prefix, tmp_path
):
    servers = kafka.bootstrap_servers
    with group(servers, redis_server.url, name_prefix, tmp_path) as workers:
        settings = workers.settings
        await create_topics(servers, [Topic(settings.outcome_topic, 2, {"max.message.bytes": "200"})])
        await workers.begin(traffic.checkouts(50))
        assert await read_topic(servers, settings.outcome_topic) == []
        letters = await read_topic(servers, settings.dead_letter_topic)
        assert {dict(each.headers)["upsell-reason"] for each in letters} == {b"outcome_too_large"}
        shown = await output("dead-letters", "--reason", "outcome_too_large", settings=settings)
        assert b"raise its max.message.bytes" in shown
        refused = await started("redrive", settings=settings)
        _, errors = await refused.communicate()
        assert refused.returncode == 1
        assert f"topic {settings.outcome_topic} refuses a record as too large" in errors.decode()
        assert "--add-config max.message.bytes=" in errors.decode()
        await refuse_larger_than(kafka, settings.outcome_topic, 1_000_000)
        report = json.loads(await output("redrive", "--json", "--dry-run", settings=settings))
        assert report["reasons"] == {"outcome_too_large": {"sent": len(letters)}}
        assert await read_topic(servers, settings.outcome_topic) == []
        report = json.loads(await output("redrive", "--json", settings=settings))
        assert report["reasons"] == {"outcome_too_large": {"sent": len(letters)}}
        outcomes = await read_topic(servers, settings.outcome_topic)
        assert sorted((each.key, each.value) for each in outcomes) == sorted((each.key, each.value) for each in letters)
        assert {tuple(each.headers) for each in outcomes} == {OUTCOME_HEADERS}
