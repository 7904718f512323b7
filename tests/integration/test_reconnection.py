"""Kafka does not answer for long, or comes back at another address: the worker connects again by itself, and its figures stay exact."""

import pytest
from support import traffic
from support.kafka_server import QUICKLY_BACK, KafkaServer
from support.servers import start, started, stop
from support.tcp_proxy import TcpProxy
from support.workers import group, until_ready

from stream.embedded.server import HOST, free_port

pytestmark = [pytest.mark.kafka, pytest.mark.redis]

SOONER = "import stream.app; stream.app.SILENCE = 8.0"


async def test_kafka_that_comes_back_at_another_address_of_the_list_is_found_in_the_same_process(
    redis_server, name_prefix, tmp_path
):
    with started(KafkaServer(QUICKLY_BACK)) as kafka:
        elsewhere = free_port()
        servers = f"{kafka.bootstrap_servers},{HOST}:{elsewhere}"
        with group(servers, redis_server.url, name_prefix, tmp_path) as workers:
            await workers.create_topics(2, 1)
            worker = workers.start(before=SOONER)
            await workers.send(traffic.checkouts(50))
            await workers.applied()
            process = worker.process.pid
            await stop(kafka)
            await until_ready(worker, 503, "Kafka")
            await workers.until_said(worker, "connecting again to UPSELL_KAFKA_BOOTSTRAP_SERVERS")
            await until_ready(worker, 503, "connecting to Kafka again: ")
            assert "upsell_consumer_lag_records{" not in await worker.get("/metrics"), "shards are released"
            assert "\nupsell_ready 0.0\n" in await worker.get("/metrics")
            kafka.port = elsewhere
            await start(kafka)
            await workers.send(traffic.checkouts(50, first=50))
            await workers.send(traffic.subscriptions(5))
            await workers.applied()
            await until_ready(worker, 200)
            assert "connected to Kafka again" in worker.said
            assert worker.process.pid == process
            assert worker.process.poll() is None
            assert await worker.stop() == 0


async def test_a_worker_connects_again_and_again_while_kafka_accepts_connections_and_never_answers(
    redis_server, name_prefix, tmp_path
):
    async with TcpProxy(0) as proxy:
        with (
            started(KafkaServer(QUICKLY_BACK, proxy=proxy.port)) as kafka,
            group(f"{HOST}:{proxy.port}", redis_server.url, name_prefix, tmp_path) as workers,
        ):
            proxy.server_port = kafka.proxied_port
            await workers.create_topics(1, 1)
            worker = workers.start(before=SOONER)
            for number in range(2):
                await workers.send(traffic.checkouts(20, first=20 * number))
                await workers.applied()
                proxy.hold(both=True)
                await workers.until(lambda: worker.said.count("connecting again to") == number + 1)  # noqa: B023 - awaited here
                await until_ready(worker, 503, "connecting to Kafka again")
                await proxy.cut()
                proxy.release()
                await until_ready(worker, 200)
            await workers.send(traffic.checkouts(20, first=40))
            await workers.applied()
            proxy.hold(both=True)
            await workers.until(lambda: worker.said.count("connecting again to") == 3)
            assert await worker.stop() == 0, "it can be stopped while it connects"
