"""From the version before to this one and back, under load, on a real Kafka and a real Redis.

As docs/how-to/operations.md ("Upgrade and downgrade") says it: what was counted before stays, nothing is lost or counted twice on the way, events that come
after the upgrade are judged by the present rules, and the way back starts from a copy of Redis.
"""

import asyncio
import json
from collections import Counter
from collections.abc import Iterator
from decimal import Decimal

import pytest
from support import traffic, version_before
from support.tables import RedisBackend
from support.traffic import Sent
from support.workers import LIMIT, Group, group

from stream.core.shard.write_set import ShardId
from stream.tables.redis import connect

pytestmark = [pytest.mark.kafka, pytest.mark.redis]
OLD = "this one knows 1): upgrade this worker, or set another app_id"
"""How the version before explains that it does not read layout 2."""

NO_FIGURES = "the figures of all shards cannot be read"
"""What the version before says where it would show figures."""


@pytest.fixture(scope="module")
def code(tmp_path_factory):
    """The code of the version before."""
    return version_before.extract(tmp_path_factory.mktemp("version-before"))


def judged_alike(count: int, first: int) -> Iterator[Sent]:
    """Checkouts and subscriptions that both versions of the rules judge the same."""
    yield from traffic.checkouts(count, first)
    for number in range(first, first + count):
        if number % 3 == 0:
            yield from traffic.subscriptions(1, number)  # the change adds a seat


def judged_otherwise(count: int, first: int) -> Iterator[Sent]:
    """Subscriptions whose change changes nothing: a transaction by the rules of before, `unchanged` by the present ones."""
    for number in range(first, first + count):
        yield from traffic.subscriptions(1, 3 * number + 1)


def numbers(totals: object, path: str = "") -> Counter[str]:
    """Figures as a flat sum, so that they can be added."""
    flat: Counter[str] = Counter()
    if isinstance(totals, dict):
        for name, part in totals.items():
            flat += numbers(part, f"{path}/{name}")
    elif totals is not None:
        flat[path] = Decimal(totals)
    return flat


async def figures(workers: Group) -> Counter[str]:
    tables = connect(workers.settings)
    try:
        return numbers(traffic.found(await tables.summaries()))
    finally:
        await tables.close()


async def until_applied(workers: Group) -> None:
    """Wait until the offsets in Redis are as many records as were sent."""
    tables = connect(workers.settings)
    topics = (workers.settings.checkout_topic, workers.settings.subscription_topic)
    shards = [ShardId(topic, number) for topic in topics for number in range(4)]
    try:
        async with asyncio.timeout(LIMIT):
            while sum(owner.offset or 0 for owner in await tables.owners(shards)) < len(workers.sent):
                workers.check()
                await asyncio.sleep(0.05)
    finally:
        await tables.close()


async def load_until(workers: Group, replaced: asyncio.Event) -> None:
    """Send events that both versions judge alike, 60 at a time, until the workers are replaced."""
    number = 10_000
    while not replaced.is_set():
        await workers.send(judged_alike(25, number))
        number += 25
        await asyncio.sleep(0.1)


async def test_workers_are_upgraded_one_by_one_and_downgraded_from_a_copy(
    kafka, redis_server, name_prefix, tmp_path, code
):
    started, completed = list(traffic.checkouts(60, 90_000))[::2], list(traffic.checkouts(60, 90_000))[1::2]
    backend = RedisBackend(redis_server.url, name_prefix)
    with group(kafka.bootstrap_servers, redis_server.url, name_prefix, tmp_path, batch_records=50) as workers:
        await workers.create_topics(4, 4)
        old = [workers.start(code) for _ in range(2)]
        await workers.until_shared(lambda shares: shares == [4, 4])

        # The version before counts. Some checkouts are open when it is replaced.
        await workers.send([*judged_alike(100, 0), *judged_otherwise(20, 0), *started])
        await until_applied(workers)
        before, known = await figures(workers), len(workers.sent)
        unchanged = numbers(traffic.expected(judged_otherwise(20, 0)))["/subscription/transactions"]
        by_new_rules = numbers(traffic.expected(workers.sent))
        assert before["/subscription/transactions"] == by_new_rules["/subscription/transactions"] + 20
        assert unchanged == 20, "the first plans"
        kept = await backend.copy()

        # New workers join under load, and old ones leave, one by one.
        replaced = asyncio.Event()
        sending = asyncio.create_task(load_until(workers, replaced))
        new = []
        for leaving in old:
            new.append(workers.start())
            await workers.until(lambda: bool(new[-1].shards))
            await workers.until_said(leaving, NO_FIGURES)
            assert await leaving.stop() == 0
        await workers.until_shared(lambda shares: shares == [4, 4])
        replaced.set()
        await sending

        # What comes after the upgrade is judged by the present rules; the open checkouts are completed.
        await workers.send([*judged_otherwise(20, 500), *completed])
        await until_applied(workers)
        after = workers.sent[known:]
        opened = numbers(traffic.expected(started))
        wanted = before + numbers(traffic.expected([*started, *after])) - opened
        assert +(await figures(workers)) == +wanted
        assert all("Traceback" not in worker.said for worker in workers.workers)

        # The version before does not misread what is there: it halts and says why.
        for worker in new:
            assert await worker.stop() == 0
        upgraded = await backend.copy()
        back = workers.start(code)
        for topic in (workers.settings.checkout_topic, workers.settings.subscription_topic):
            assert OLD in await workers.until_halted(back, topic)
        await workers.until_said(back, NO_FIGURES)
        assert await back.stop() == 0
        assert await backend.copy() == upgraded

        # From a copy of Redis that was made before, it reads on from the offsets of then.
        await backend.restore(kept)
        workers.start(code)
        await until_applied(workers)
        lines = b"".join(sent.value + b"\n" for sent in workers.sent)
        summary = json.loads(
            version_before.run(code, ["-m", "stream", "classify", "--summary", "--json", "-"], stdin=lines)
        )
        found = await figures(workers)
        by_old_rules = numbers({journey: summary[journey] for journey in ("checkout", "subscription")})
        parts = ("/opportunities", "/transactions", "/kind_transactions", "/intents", "/revenue")
        for name, value in by_old_rules.items():
            if name.removeprefix("/checkout").removeprefix("/subscription").startswith(parts):
                assert found[name] == value, name
    await backend.flush()
    await backend.close()
