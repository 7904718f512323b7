"""`forget` and `redrive` with a worker: what they do to the tables and the figures, and that it happens once."""

import asyncio
import json
import sys

import pytest
from aiokafka import AIOKafkaProducer
from redis.asyncio import Redis
from support import traffic
from support.workers import LIMIT, environment, group, read_topic

from stream.core.customers import member
from stream.settings import load

SERVERS = [
    pytest.param(("embedded_broker", "embedded_valkey"), marks=pytest.mark.embedded, id="embedded"),
    pytest.param(("kafka", "redis_server"), marks=[pytest.mark.kafka, pytest.mark.redis], id="real"),
]


@pytest.fixture(params=SERVERS)
def servers(request):
    broker, tables = map(request.getfixturevalue, request.param)
    return broker.bootstrap_servers, tables.url


async def command(settings, *words):
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "stream", *words, env=environment(settings), stdout=asyncio.subprocess.PIPE
    )
    output, _ = await process.communicate()
    assert process.returncode == 0
    return output


async def stored(url, prefix):
    """Every byte of the application in Redis."""
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
        marks = (b"k7007", member("k7007", key))
        held = await stored(servers[1], name_prefix)
        assert all(mark in held for mark in marks)
        await command(workers.settings, "forget", "k7007")
        async with asyncio.timeout(LIMIT):
            while any(mark in held for mark in marks):
                workers.check()
                await asyncio.sleep(0.1)
                held = await stored(servers[1], name_prefix)
        assert b"erased-" in held
        await workers.applied()
        assert 'type="commerce.customer.erased.v1"' in await worker.get("/metrics")
        assert "k7007" not in worker.said


async def test_dead_letters_sent_back_twice_count_once(servers, name_prefix, tmp_path):
    with group(*servers, name_prefix, tmp_path) as workers:
        await workers.create_topics(2, 1)
        worker = workers.start()
        await workers.until_shared(lambda shares: shares == [3])
        early = list(traffic.checkouts(20))
        # Their time stamps lie a day before what they tell.
        async with AIOKafkaProducer(bootstrap_servers=servers[0]) as producer:
            for sent in early:
                stamp = (traffic.START - 86_400) * 1000
                await producer.send(workers.settings.checkout_topic, sent.value, key=sent.key, timestamp_ms=stamp)
        await workers.send(traffic.junk(2))
        async with asyncio.timeout(LIMIT):
            while len(await read_topic(servers[0], workers.settings.dead_letter_topic)) < 42:
                workers.check()
                await asyncio.sleep(0.2)
        told = json.loads(await command(workers.settings, "redrive", "--json"))
        assert told["reasons"] == {"future": {"sent": 40}, "not_json": {"sent": 2}}
        workers.sent += early
        await workers.applied()
        await command(workers.settings, "redrive", "--reason", "future")
        await workers.send(traffic.checkouts(5, first=500))
        await workers.applied()
        assert 'result="duplicate"' in await worker.get("/metrics")
        letters = await read_topic(servers[0], workers.settings.dead_letter_topic)
        assert [dict(each.headers).get("upsell-redriven") is not None for each in letters].count(True) == 2
        told = json.loads(await command(workers.settings, "redrive", "--json", "--dry-run"))
        assert told["reasons"]["not_json"] == {"sent": 2, "sent back before": 2}
