"""`/readyz` while Kafka does not answer, for every cause, of a worker with shards and of one without."""

import asyncio
import time
from contextlib import asynccontextmanager

import pytest
from support import traffic
from support.kafka_server import QUICKLY_BACK, KafkaServer
from support.servers import start, started
from support.tcp_proxy import TcpProxy
from support.workers import LIMIT, group

from stream.consumer.liveness import KAFKA_TIMEOUT
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
    """Wait until all workers have this status, with this text in their reasons, and check that they are alive. During a rebalance there are other reasons."""
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


async def until_metrics_unready(workers):
    """Wait until the metrics show that no worker is ready. The worker with shards must still expose their lag, which UpsellNoWorkerReady needs."""
    pages = []
    try:
        async with asyncio.timeout(LIMIT):
            while not pages or any("\nupsell_ready 0.0\n" not in text for text in pages):
                pages = await asyncio.gather(*(worker.get("/metrics") for worker in workers.workers))
                await asyncio.sleep(0.1)
    except TimeoutError:
        raise AssertionError(pages) from None
    assert sorted(text.count("\nupsell_consumer_lag_records{") for text in pages) == [0, 2]


@pytest.mark.timeout(900)
async def test_a_worker_is_unready_while_kafka_does_not_answer_and_can_be_stopped(redis_server, name_prefix, tmp_path):
    async with TcpProxy(0) as proxy:
        with (
            started(KafkaServer(QUICKLY_BACK, proxy=proxy.port)) as kafka,
            group(f"{HOST}:{proxy.port}", redis_server.url, name_prefix, tmp_path) as workers,
        ):
            proxy.server_port = kafka.proxied_port
            # One partition per topic: one worker gets both, the other none.
            await workers.create_topics(1, 1)
            for _ in range(2):
                workers.start()
            await workers.until_shared(lambda shares: shares == [2, 0])
            await until(workers, 200)
            idle_until = time.monotonic() + 1.5 * KAFKA_TIMEOUT
            while time.monotonic() < idle_until:
                assert {status for status, _ in await asyncio.gather(*(w.readiness() for w in workers.workers))} == {
                    200
                }
                await asyncio.sleep(0.5)
            for number, broken in enumerate((killed, frozen, cut, half_open)):
                async with broken(kafka, proxy):
                    await until(workers, 503, why="Kafka")
                    await until_metrics_unready(workers)
                await until(workers, 200)
                await workers.send(traffic.checkouts(20, first=20 * number))
                await workers.applied()
            kafka.kill()
            await until(workers, 503, why="Kafka")
            assert await asyncio.gather(*(worker.stop() for worker in workers.workers)) == [0, 0]
