"""Workers as separate processes, on the embedded servers and on real ones."""

import asyncio
import json
import signal
import urllib.request

import pytest
from support import traffic
from support.slow_clients import slow_clients
from support.workers import LIMIT, group, read_topic

from stream.core.shard.write_set import ShardId
from stream.tables.redis import connect

SERVERS = ["embedded", "real"]
"""Tests that depend on the servers run on both, other tests on the embedded ones, which start faster."""


@pytest.fixture
def servers(request):
    """Addresses of a broker and a Redis."""
    if getattr(request, "param", "embedded") == "real":
        broker, tables = request.getfixturevalue("kafka"), request.getfixturevalue("redis_server")
    else:
        broker, tables = request.getfixturevalue("embedded_broker"), request.getfixturevalue("embedded_valkey")
    return broker.bootstrap_servers, tables.url


real = pytest.param("real", marks=[pytest.mark.kafka, pytest.mark.redis])
embedded = pytest.param("embedded", marks=pytest.mark.embedded)
on_both = pytest.mark.parametrize("servers", [embedded, real], indirect=True)
on_real = pytest.mark.parametrize("servers", [real], indirect=True)


@on_both
async def test_totals_are_right_and_a_restart_continues_them(servers, name_prefix, tmp_path):
    with group(*servers, name_prefix, tmp_path) as workers:
        worker = workers.start()
        await workers.send([*traffic.checkouts(200), *traffic.subscriptions(50), *traffic.junk(3)])
        await workers.applied()
        assert await worker.stop() == 0
        assert "Traceback" not in worker.said

        await workers.send(traffic.checkouts(100, first=200))
        again = workers.start()
        await workers.applied()
        assert await again.stop(signal.SIGINT) == 0

        outcomes = await read_topic(servers[0], workers.settings.outcome_topic)
        letters = await read_topic(servers[0], workers.settings.dead_letter_topic)
    sold = {record.value for record in outcomes}
    kinds = traffic.expected(workers.sent)
    assert len(sold) == len({json.loads(value)["id"] for value in sold})
    assert len(sold) == sum(total["kind_transactions"]["any"] for total in kinds.values())
    assert {record.value for record in letters} == {b"no event 0", b"no event 1", b"no event 2"}
    assert all(dict(record.headers)["upsell-reason"] == b"not_json" for record in letters)


@on_both
async def test_workers_start_and_stop_and_nothing_is_lost_or_counted_twice(servers, name_prefix, tmp_path):
    with group(*servers, name_prefix, tmp_path, batch_records=50) as workers:
        await workers.create_topics(4, 4)
        first = workers.start()
        await workers.until_shared(lambda shares: shares == [8])
        sending = asyncio.create_task(workers.send(traffic.checkouts(1500), pause=0.1))
        workers.start()
        await workers.until_shared(lambda shares: shares == [4, 4])
        workers.start()
        await workers.until_shared(lambda shares: len(shares) == 3 and sum(shares) == 8 and min(shares) > 0)
        assert await first.stop() == 0
        await workers.until_shared(lambda shares: shares == [4, 4])
        await sending
        await workers.applied()


@on_real
async def test_it_reads_compressed_records(servers, name_prefix, tmp_path):
    with group(*servers, name_prefix, tmp_path) as workers:
        workers.start()
        for number, compression in enumerate(["gzip", "snappy", "lz4", "zstd"]):
            await workers.send(traffic.checkouts(50, first=50 * number), compression=compression)
        await workers.applied()


@on_real
async def test_killed_workers_lose_nothing_and_count_nothing_twice(servers, name_prefix, tmp_path):
    with group(*servers, name_prefix, tmp_path, batch_records=50) as workers:
        await workers.create_topics(4, 2)
        for _ in range(2):
            workers.start()
        await workers.until_shared(lambda shares: shares == [3, 3])
        for killed in workers.workers[:2]:
            sending = asyncio.create_task(workers.send(traffic.checkouts(1500, first=len(workers.sent)), pause=0.1))
            await workers.until_committed(300)
            killed.kill()
            workers.start()
            await sending
            await workers.until_shared(lambda shares: sum(shares) == 6)
        await workers.applied()
        outcomes = await read_topic(servers[0], workers.settings.outcome_topic)
    versions = {}
    for record in outcomes:
        versions.setdefault(json.loads(record.value)["id"], set()).add((record.key, record.value))
    assert all(len(bodies) == 1 for bodies in versions.values()), "a repeat must have the same id, key and body"
    sold = sum(total["kind_transactions"]["any"] for total in traffic.expected(workers.sent).values())
    assert len(versions) == sold


@on_real
async def test_a_surplus_worker_is_idle_and_takes_over(servers, name_prefix, tmp_path):
    with group(*servers, name_prefix, tmp_path) as workers:
        await workers.create_topics(2, 1)
        for _ in range(3):
            workers.start()
        await workers.until_shared(lambda shares: len(shares) == 3 and sum(shares) == 3 and shares[-1] == 0)
        await workers.send([*traffic.checkouts(100), *traffic.subscriptions(20)])
        await workers.applied()
        busiest = max(workers.workers, key=lambda worker: len(worker.shards))
        assert await busiest.stop() == 0
        await workers.until_shared(lambda shares: len(shares) == 2 and sum(shares) == 3)
        await workers.send([*traffic.checkouts(100, first=100), *traffic.subscriptions(20, first=20)])
        await workers.applied()


async def test_it_stops_while_redis_and_kafka_are_unreachable(name_prefix, tmp_path):
    with group("127.0.0.1:9", "redis://127.0.0.1:9/0", name_prefix, tmp_path) as workers:
        worker = workers.start()
        await workers.until_said(worker, "waiting for Redis")
        with pytest.raises(urllib.error.HTTPError, match="503"):
            await worker.get("/readyz")
        assert await worker.stop() == 0


@pytest.mark.embedded
async def test_it_serves_health_and_metrics(servers, name_prefix, tmp_path):
    with group(*servers, name_prefix, tmp_path) as workers:
        worker = workers.start()
        await workers.until_shared(lambda shares: shares == [8])
        await workers.send(traffic.checkouts(10))
        await workers.applied()

        async with asyncio.timeout(60):
            while "upsell_window_transactions{" not in (metrics := await worker.get("/metrics")):  # noqa: ASYNC110 - a page has no event
                await asyncio.sleep(0.1)
        assert json.loads(await worker.get("/readyz")) == {"ready": True, "reasons": []}
        assert await worker.get("/livez") == "ok\n"
        started = f'topic="{workers.settings.checkout_topic}",type="commerce.checkout.started.v1"'
        assert f'upsell_events_total{{result="late",{started}}} 10.0' in metrics  # their times are before every window
        assert await worker.stop() == 0


@pytest.mark.embedded
async def test_five_hundred_slow_clients_delay_neither_the_work_nor_a_scrape(servers, name_prefix, tmp_path):
    with group(*servers, name_prefix, tmp_path) as workers:
        worker = workers.start()
        await workers.until_shared(lambda shares: shares == [8])
        port = int(worker.url.rpartition(":")[2])
        async with slow_clients(500, "127.0.0.1", port, again=True) as clients, asyncio.timeout(LIMIT):
            while clients.made < 500:  # noqa: ASYNC110 - a connection has no event
                await asyncio.sleep(0.05)
            await workers.send([*traffic.checkouts(500), *traffic.subscriptions(100)])
            await workers.applied()
            assert "upsell_commits_total" in await worker.get("/metrics")
        assert await worker.stop() == 0
        assert "Traceback" not in worker.said


@on_real
async def test_a_log_that_lost_unread_records_halts_its_shard_and_no_other(servers, name_prefix, tmp_path):
    with group(*servers, name_prefix, tmp_path) as workers:
        worker = await workers.begin([*traffic.checkouts(20), *traffic.subscriptions(20)])
        assert await worker.stop() == 0
        tables = connect(workers.settings)
        shard = ShardId(workers.settings.checkout_topic, 0)
        try:
            before = (await tables.owners([shard]))[0].offset
        finally:
            await tables.close()
        assert before == 40

        await workers.recreate_topic(workers.settings.checkout_topic)
        again = workers.start()
        await workers.send(traffic.subscriptions(20, first=20))
        await workers.applied()
        await workers.until_halted(again, shard.topic)
        assert await again.stop() == 0
