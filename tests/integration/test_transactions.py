"""Transactional producers: committed records count, aborted ones do not, and markers are not records."""

import asyncio
import re
import secrets
from contextlib import asynccontextmanager

import pytest
from aiokafka import AIOKafkaProducer
from support import traffic
from support.workers import LIMIT, group

from stream.core.shard.write_set import ShardId
from stream.tables.redis import connect

pytestmark = [pytest.mark.kafka, pytest.mark.redis]


@asynccontextmanager
async def transaction(workers, events):
    """Write events in a transaction. The block must commit or abort it."""
    servers = workers.settings.kafka_bootstrap_servers
    async with AIOKafkaProducer(bootstrap_servers=servers, transactional_id=secrets.token_hex(8)) as producer:
        await producer.begin_transaction()
        for event in events:
            await producer.send(workers.settings.checkout_topic, event.value, key=event.key)
        await producer.flush()
        yield producer


async def until_lag(worker, lag):
    """Wait until the worker's metrics show this lag for the only partition of the checkout topic."""
    shown = None
    try:
        async with asyncio.timeout(LIMIT):
            while shown != lag:
                worker.check()
                pattern = r'^upsell_consumer_lag_records\{partition="0",topic="[^"]*checkout"\} (\S+)$'
                found = re.search(pattern, await worker.get("/metrics"), re.MULTILINE)
                shown = float(found[1]) if found else None
                await asyncio.sleep(0.1)
    except TimeoutError:
        raise AssertionError(f"the lag is {shown}, not {lag}") from None


async def test_committed_records_count_and_transaction_markers_add_no_lag(kafka, redis_server, name_prefix, tmp_path):
    with group(kafka.bootstrap_servers, redis_server.url, name_prefix, tmp_path) as workers:
        worker = await workers.begin(traffic.checkouts(10))
        async with transaction(workers, traffic.checkouts(10, first=10)) as producer:
            await producer.abort_transaction()
        await until_lag(worker, 0)
        committed = list(traffic.checkouts(10, first=20))
        async with transaction(workers, committed) as producer:
            await producer.commit_transaction()
        workers.sent += committed
        await workers.applied()
        await until_lag(worker, 0)

        # Another worker continues there, also if retention has deleted the whole log, with markers and aborted records.
        assert await worker.stop() == 0
        worker = workers.start()
        await workers.until_shared(lambda shares: shares == [2])
        async with transaction(workers, traffic.checkouts(5, first=30)) as producer:
            await producer.abort_transaction()
        tables = connect(workers.settings)
        shard = ShardId(workers.settings.checkout_topic, 0)
        try:
            async with asyncio.timeout(LIMIT):
                while (await tables.owners([shard]))[0].offset != 73:  # noqa: ASYNC110 - a tick has no event
                    await asyncio.sleep(0.05)
        finally:
            await tables.close()
        await workers.delete_records(workers.settings.checkout_topic, 73)
        assert await worker.stop() == 0
        worker = workers.start()
        await workers.until_shared(lambda shares: shares == [2])
        await until_lag(worker, 0)
        later = list(traffic.checkouts(10, first=30))
        async with transaction(workers, later) as producer:
            await workers.send(traffic.checkouts(10, first=40))
            await until_lag(worker, 0)  # Kafka delivers nothing after the start of an open transaction
            await producer.commit_transaction()
        workers.sent += later
        await workers.applied()
        await until_lag(worker, 0)
        assert await worker.stop() == 0
