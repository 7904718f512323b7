import asyncio
import socket
from contextlib import closing, suppress

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from redis import Redis
from support.kafka_server import QUICKLY_BACK, KafkaServer
from support.redis_server import RedisServer
from support.servers import started
from support.tcp_proxy import TcpProxy

from stream.kafka.topics import Topic, create_topics


@pytest.mark.kafka
async def test_kafka_keeps_its_records_when_it_is_killed():
    with started(KafkaServer(QUICKLY_BACK)) as kafka:
        assert await create_topics(kafka.bootstrap_servers, [Topic("facts", 3)]) == {"facts"}
        async with AIOKafkaProducer(bootstrap_servers=kafka.bootstrap_servers) as producer:
            await producer.send_and_wait("facts", b"kept", partition=2)
        kafka.kill()
        kafka.start()
        async with AIOKafkaConsumer(bootstrap_servers=kafka.bootstrap_servers) as consumer:
            partition = TopicPartition("facts", 2)
            consumer.assign([partition])
            await consumer.seek_to_beginning(partition)
            assert (await consumer.getone()).value == b"kept"


@pytest.mark.redis
@pytest.mark.parametrize("append_only", [False, True])
def test_a_killed_redis_keeps_what_its_append_only_file_has(append_only):
    with started(RedisServer("--appendfsync", "always", append_only=append_only)) as server:
        with Redis.from_url(server.url) as redis:
            redis.set("first", 1)
            before = server.append_only_file.stat().st_size if append_only else 0
            redis.set("second", 2)
        server.kill()
        if append_only:
            with server.append_only_file.open("r+b") as log:
                log.truncate(before)
        server.start()
        with Redis.from_url(server.url) as redis:
            assert redis.keys() == ([b"first"] if append_only else [])


@pytest.mark.parametrize("turns", range(6))
async def test_a_proxy_that_ends_leaves_no_connection_open(turns):
    with socket.create_server(("127.0.0.1", 0)) as server:
        async with TcpProxy(server.getsockname()[1]) as proxy:
            # The kernel accepts the connection before the proxy knows of it.
            client = socket.create_connection(("127.0.0.1", proxy.port))
            for _ in range(turns):
                await asyncio.sleep(0)
        with closing(client):
            client.setblocking(False)
            async with asyncio.timeout(60):
                with suppress(ConnectionResetError):
                    assert await asyncio.get_running_loop().sock_recv(client, 1) == b""
