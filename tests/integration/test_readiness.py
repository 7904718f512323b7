"""`/readyz` while Kafka is away, in each way in which it can be, of a worker with shards and of one without."""

import asyncio
import time
from contextlib import asynccontextmanager

import pytest
from support import traffic
from support.kafka_server import QUICKLY_BACK, KafkaServer
from support.servers import start, started
from support.tcp_proxy import TcpProxy
from support.workers import LIMIT, group

from stream.consumer.batch_consumer import SILENCE
from stream.embedded.server import HOST

pytestmark = [pytest.mark.kafka, pytest.mark.redis]


@asynccontextmanager
async def killed(kafka, _):
    kafka.kill()
    yield
    await start(kafka)


@asynccontextmanager
async def frozen(kafka, _):
    kafka.pause()
    yield
    kafka.resume()


@asynccontextmanager
async def cut(_, proxy):
    proxy.refusing = True
    await proxy.cut()
    yield
    proxy.refusing = False


@asynccontextmanager
async def half_open(_, proxy):
    proxy.hold(both=True)
    yield
    await proxy.cut()
    proxy.release()


async def until(workers, status, why=""):
    """Wait until all workers answer so, and show that they are alive. A group that is still sorting itself out has other reasons for a while."""
    said = []
    try:
        async with asyncio.timeout(LIMIT):
            while {code for code, _ in said} != {status} or not all(why in body for _, body in said):
                workers.check()
                said = await asyncio.gather(*(worker.readiness() for worker in workers.workers))
                await asyncio.sleep(0.1)
    except TimeoutError:
        raise AssertionError(said) from None
    assert set(await asyncio.gather(*(worker.get("/livez") for worker in workers.workers))) == {"ok\n"}


async def until_told(workers):
    """Wait until metrics say it, too, as UpsellNoWorkerReady reads them: no worker is ready, and whoever had shards still speaks of their lag."""
    told = []
    try:
        async with asyncio.timeout(LIMIT):
            while not told or any("\nupsell_ready 0.0\n" not in text for text in told):
                told = await asyncio.gather(*(worker.get("/metrics") for worker in workers.workers))
                await asyncio.sleep(0.1)
    except TimeoutError:
        raise AssertionError(told) from None
    assert sorted(text.count("\nupsell_consumer_lag_records{") for text in told) == [0, 2]


@pytest.mark.timeout(900)
async def test_a_worker_is_ready_while_kafka_answers_and_ends_well_while_it_does_not(
    redis_server, name_prefix, tmp_path
):
    async with TcpProxy(0) as proxy:
        with (
            started(KafkaServer(QUICKLY_BACK, proxy=proxy.port)) as kafka,
            group(f"{HOST}:{proxy.port}", redis_server.url, name_prefix, tmp_path) as workers,
        ):
            proxy.server_port = kafka.proxied_port
            # One partition a topic: one of the two workers has none.
            await workers.create_topics(1, 1)
            for _ in range(2):
                workers.start()
            await workers.until_shared(lambda shares: shares == [2, 0])
            await until(workers, 200)
            idle_until = time.monotonic() + 1.5 * SILENCE
            while time.monotonic() < idle_until:
                assert {status for status, _ in await asyncio.gather(*(w.readiness() for w in workers.workers))} == {
                    200
                }
                await asyncio.sleep(0.5)
            for number, broken in enumerate((killed, frozen, cut, half_open)):
                async with broken(kafka, proxy):
                    await until(workers, 503, why="Kafka")
                    await until_told(workers)
                await until(workers, 200)
                await workers.send(traffic.checkouts(20, first=20 * number))
                await workers.applied()
            kafka.kill()
            await until(workers, 503, why="Kafka")
            assert await asyncio.gather(*(worker.stop() for worker in workers.workers)) == [0, 0]
