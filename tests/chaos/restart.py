"""Measures the time from the start of a worker to its first commit, with many stored entities."""

import asyncio
import json
import secrets
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from pathlib import Path

from support.kafka_server import KafkaServer
from support.redis_server import RedisServer
from support.servers import started
from support.shard_store import ShardStore
from support.traffic import Sent
from support.workers import LIMIT, Group, group

from stream.app import cluster_id
from stream.core.event import CheckoutEvent, CheckoutType, Line
from stream.core.shard.shard import Shard
from stream.core.shard.write_set import ShardId
from stream.kafka.log_identity import LogIdentity
from stream.kafka.security import client_options
from stream.tables.interface import Commit, CommitResult
from stream.tables.redis import connect

PARTITIONS = 12
CHUNK = 5_000


async def restart(directory: Path, entities: int, times: int = 3) -> list[float]:
    """Return the seconds from a worker's start to its first commit of a record, after a graceful stop of the one before."""
    async with AsyncExitStack() as stack:
        redis = stack.enter_context(started(RedisServer(append_only=True)))
        kafka = stack.enter_context(started(KafkaServer(heap="640m")))
        workers = stack.enter_context(group(kafka.bootstrap_servers, redis.url, "restart-", directory))
        await workers.create_topics(PARTITIONS, PARTITIONS)
        began = time.monotonic()
        await _fill(workers, entities)
        _say(f"{entities:,} open checkouts stored in {time.monotonic() - began:.0f} s")
        await _until_applied(workers, 0)
        measured = []
        for number in range(1, times + 1):
            worker = workers.workers[-1]
            assert await worker.stop() == 0
            measured.append(await _until_applied(workers, number))
            _say(f"after a graceful stop, from start to first commit: {measured[-1]:.1f} s")
        return measured


async def _until_applied(workers: Group, number: int) -> float:
    """Send a record, start a worker, and wait until the record is committed."""
    before = await _offsets(workers)
    await workers.send([_record(number)])
    began = time.monotonic()
    workers.start()
    async with asyncio.timeout(LIMIT):
        while await _offsets(workers) == before:
            workers.check()
            await asyncio.sleep(0.02)
    return time.monotonic() - began


async def _offsets(workers: Group) -> int:
    tables = connect(workers.settings)
    try:
        shards = [ShardId(workers.settings.checkout_topic, partition) for partition in range(PARTITIONS)]
        return sum(owner.offset or 0 for owner in await tables.owners(shards))
    finally:
        await tables.close()


async def _fill(workers: Group, entities: int) -> None:
    """Store open carts of two lines each, as a worker would, before a worker runs."""
    settings = workers.settings
    source = LogIdentity(await cluster_id(settings, client_options(settings))).encode()
    tables = connect(settings)
    try:
        now = await tables.now()
        for partition in range(PARTITIONS):
            place = ShardId(settings.checkout_topic, partition)
            claim = await tables.claim(place, secrets.token_bytes(16))
            labels, store = settings.registry(), ShardStore()
            shard = Shard(place, "checkout", settings.core(), labels, claim.stored, CHUNK)
            shard.advance(now)
            events = _carts(partition, entities // PARTITIONS, now)
            while chunk := [event for event, _ in zip(events, range(CHUNK), strict=False)]:
                store.apply(shard, chunk, labels)
                commit = Commit(
                    place, claim.nonce, claim.epoch, secrets.token_bytes(16), None, None, source, now, shard.drain()
                )
                assert await tables.commit(commit) is CommitResult.APPLIED
    finally:
        await tables.close()


def _carts(partition: int, number: int, now: int) -> Iterator[CheckoutEvent]:
    lines = tuple(Line(f"SKU-{name}", None, f"product-{name}", "things", 1, "12.50") for name in ("first", "second"))
    for at in range(number):
        name = f"stored-{partition}-{at}"
        yield CheckoutEvent(
            CheckoutType.STARTED, "shop", f"{name}-1", now - at, 0, name, f"customer-{name}", "EUR", lines
        )


def _record(number: int):
    sent = {
        "specversion": "1.0", "id": f"new-{number}", "source": "shop", "type": "commerce.checkout.started.v1",
        "time": datetime.now(UTC).isoformat(), "subject": f"checkout/new-{number}",
        "data": {"checkout_id": f"new-{number}", "currency": "EUR", "products": [{"sku": "A", "quantity": 1, "price": "1"}]},
    }  # fmt: skip
    return Sent("checkout-events", b"new-%d" % number, json.dumps(sent).encode())


def _say(text: str) -> None:
    print(text, flush=True)  # noqa: T201 - what the command is for
