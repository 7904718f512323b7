"""`check` with real servers that are restricted, wrong, or in the middle of an incident."""

import asyncio
import secrets

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.protocol.admin import CreateAclsRequest
from redis import Redis
from support import traffic
from support.commands import started as typed
from support.kafka_server import KafkaServer
from support.redis_server import RedisServer
from support.servers import started
from support.workers import LIMIT, group

from stream.kafka.topics import Topic, admin_client, create_topics

_TOPIC, _LITERAL, _ALLOW = 2, 3, 3  # of Kafka's ACLs
READ, WRITE, DESCRIBE, DESCRIBE_CONFIGS = 3, 4, 8, 10


async def check(settings, *options):
    """Exit status, and the lines of the report."""
    process = await typed("check", *options, settings=settings)
    printed, errors = await process.communicate()
    assert not errors, errors.decode()
    return process.returncode, [line.strip() for line in printed.decode().splitlines()]


def lines_of(lines, about, level=None):
    found = [line.split(maxsplit=2) for line in lines]
    return [text for its, name, text in found if name == about and level in (None, its)]


def problems(lines):
    return [line for line in lines if not line.startswith("ok ")]


@pytest.fixture(scope="module")
def strict_kafka():
    """A Kafka with rights, which would create a topic that somebody asks for carelessly."""
    authorizer = "org.apache.kafka.metadata.authorizer.StandardAuthorizer"
    rules = {"authorizer.class.name": authorizer, "allow.everyone.if.no.acl.found": "true"}
    with started(KafkaServer(rules | {"auto.create.topics.enable": "true"})) as server:
        yield server


async def allow(servers, topic, *operations, user="User:ANONYMOUS"):
    """Grant rights. As soon as a topic has one rule, everything else is forbidden."""
    async with admin_client(servers, {}) as admin:
        for operation in operations:
            request = CreateAclsRequest(_TOPIC, topic, _LITERAL, user, "*", operation, _ALLOW)
            answer = await admin._send_request(request)
            assert answer.creation_responses[0][0] == 0, answer


@pytest.mark.kafka
@pytest.mark.redis
async def test_what_a_worker_creates_on_a_fresh_cluster_has_no_fault(strict_kafka, name_prefix, tmp_path):
    key = secrets.token_hex(16)
    with (
        started(RedisServer(append_only=True)) as redis,
        group(
            strict_kafka.bootstrap_servers,
            redis.url,
            name_prefix,
            tmp_path,
            customer_hash_key=key,
            windows=("1h", "90d"),
        ) as workers,
    ):
        with Redis.from_url(redis.url) as admin:
            admin.config_set("maxmemory-policy", "noeviction")
        worker = workers.start()
        await workers.until(lambda: len(worker.shards) == 8)
        await workers.send(traffic.checkouts(20))
        await workers.applied()
        status, lines = await check(workers.settings)
        assert not problems(lines)
        assert status == 0
        (topic, lag) = lines_of(lines, workers.settings.checkout_topic)
        assert topic == "4 partitions, retention 90 days"
        assert lag.endswith("records are not applied yet")
        assert lines_of(lines, workers.settings.dead_letter_topic) == ["4 partitions, retention 30 days"]


@pytest.mark.kafka
@pytest.mark.redis
async def test_a_missing_topic_and_a_refused_one_are_different_answers(
    strict_kafka, redis_server, name_prefix, tmp_path
):
    servers = strict_kafka.bootstrap_servers
    with group(servers, redis_server.url, name_prefix, tmp_path) as workers:
        settings = workers.settings
        refused, missing = settings.checkout_topic, settings.subscription_topic
        unwritable, opaque = settings.outcome_topic, settings.dead_letter_topic
        await create_topics(servers, [Topic(name, 1) for name in (refused, unwritable, opaque)])
        await allow(servers, refused, READ, user="User:another")
        await allow(servers, unwritable, READ, DESCRIBE, DESCRIBE_CONFIGS)
        await allow(servers, opaque, WRITE, DESCRIBE)
        status, lines = await check(settings)
        assert status == 1
        [text] = lines_of(lines, refused, "error")
        assert text.startswith("may not be seen by this user, and Kafka does not say whether it exists; grant Read")
        [text] = lines_of(lines, missing, "warning")
        assert text.startswith("does not exist; the first worker will create it")
        assert lines_of(lines, unwritable, "error") == ["may not be written by this user; grant Write on it"]
        [text] = lines_of(lines, opaque, "warning")
        assert "could not be looked at: grant this user DescribeConfigs" in text
        async with admin_client(servers, {}) as admin:
            assert missing not in await admin.list_topics()
        await allow(servers, refused, DESCRIBE)
        _, lines = await check(settings)
        assert lines_of(lines, refused, "error") == ["may not be read by this user; grant Read on it"]


@pytest.mark.kafka
@pytest.mark.redis
async def test_records_without_a_key_and_small_output_topics_are_found(kafka, redis_server, name_prefix, tmp_path):
    servers = kafka.bootstrap_servers
    with group(servers, redis_server.url, name_prefix, tmp_path) as workers:
        settings = workers.settings
        topics = [Topic(settings.checkout_topic, 2, {"retention.ms": "-1", "retention.bytes": "1000000"})]
        topics += [Topic(settings.outcome_topic, 1), Topic(settings.dead_letter_topic, 1)]
        await create_topics(servers, topics)
        async with AIOKafkaProducer(bootstrap_servers=servers) as producer:
            for number in range(400):
                # Only among the newest ones of the second partition, one in four has no key.
                partition, key = number % 2, None if number > 200 and number % 8 == 1 else b"k"
                await producer.send(settings.checkout_topic, b"{}", key=key, partition=partition)
        status, lines = await check(settings)
        assert status == 0
        [size, keys] = lines_of(lines, settings.checkout_topic, "warning")
        assert "at most 1,000,000 bytes of each partition" in size
        assert keys.startswith("25 of the newest 200 records have no key")
        assert "let the producer set the record's key" in keys
        [outcomes] = lines_of(lines, settings.outcome_topic, "warning")
        assert "accepts messages of at most 1,048,588 bytes (max.message.bytes)" in outcomes
        [letters] = lines_of(lines, settings.dead_letter_topic, "warning")
        assert "cannot be redriven" in letters


@pytest.mark.redis
@pytest.mark.embedded
async def test_a_redis_restricted_as_managed_ones_are_is_no_error(embedded_broker, name_prefix, tmp_path):
    forbidden = [word for name in ("INFO", "CONFIG", "KEYS", "DEBUG") for word in ("--rename-command", name, "")]
    with (
        started(RedisServer(*forbidden, append_only=True)) as redis,
        group(embedded_broker.bootstrap_servers, redis.url, name_prefix, tmp_path) as workers,
    ):
        status, lines = await check(workers.settings)
        assert status == 0, lines
        [text] = lines_of(lines, "Redis", "warning")
        assert text.startswith("does not say: role, eviction, persistence, memory (it refuses INFO: unknown command")
        assert "grant this user +info, or look at them yourself" in text
        assert lines_of(lines, "Redis", "ok") == ["runs the scripts of a worker, so it is 7.0 or later"]


@pytest.mark.redis
@pytest.mark.embedded
async def test_a_redis_without_a_command_that_a_worker_needs_is_an_error(embedded_broker, name_prefix, tmp_path):
    with (
        started(RedisServer("--rename-command", "SMEMBERS", "")) as redis,
        group(embedded_broker.bootstrap_servers, redis.url, name_prefix, tmp_path) as workers,
    ):
        status, lines = await check(workers.settings)
        assert status == 1
        [text] = lines_of(lines, "Redis", "error")
        assert "unknown command 'SMEMBERS'" in text
        assert "all commands under their own names" in text


@pytest.mark.redis
@pytest.mark.embedded
async def test_a_redis_that_is_nearly_full_is_a_warning(embedded_broker, name_prefix, tmp_path):
    with (
        started(RedisServer(append_only=True)) as redis,
        group(embedded_broker.bootstrap_servers, redis.url, name_prefix, tmp_path) as workers,
    ):
        with Redis.from_url(redis.url) as admin:
            admin.config_set("maxmemory", int(admin.info("memory")["used_memory"] * 1.1))
        status, lines = await check(workers.settings)
        assert status == 0
        [text] = lines_of(lines, "Redis", "warning")
        assert "(maxmemory): when it is full, nothing is applied until there is room" in text


@pytest.mark.kafka
@pytest.mark.redis
async def test_halted_shards_and_lag_are_found_also_after_the_worker_has_ended(
    kafka, redis_server, name_prefix, tmp_path
):
    with group(kafka.bootstrap_servers, redis_server.url, name_prefix, tmp_path) as workers:
        settings = workers.settings
        worker = await workers.begin(traffic.checkouts(20))
        assert await worker.stop() == 0
        await workers.send(traffic.checkouts(10, first=100))
        status, lines = await check(settings)
        assert status == 0, lines
        assert "20 records are not applied yet" in lines_of(lines, settings.checkout_topic, "ok")
        assert "0 records are not applied yet" in lines_of(lines, settings.subscription_topic, "ok")
        await workers.delete_records(settings.checkout_topic, 45)
        status, lines = await check(settings)
        assert status == 1
        [text] = lines_of(lines, settings.checkout_topic, "error")
        assert text.startswith("partition 0: 5 records from offset 40 on were deleted before they were applied")
        worker = workers.start()
        await workers.until_halted(worker, settings.checkout_topic)
        found = []
        async with asyncio.timeout(LIMIT):
            while not found:
                _, lines = await check(settings)
                found = lines_of(lines, "checkout", "error")
        assert found[0].startswith("figures are ")
        assert "the log begins at 45" in found[0]
        assert f"({settings.checkout_topic}/0)" in found[0]


@pytest.mark.kafka
async def test_dead_letters_that_may_not_be_read_are_no_empty_topic(strict_kafka, name_prefix, tmp_path):
    servers = strict_kafka.bootstrap_servers
    with group(servers, "redis://127.0.0.1:1", name_prefix, tmp_path) as workers:
        topic = workers.settings.dead_letter_topic
        await create_topics(servers, [Topic(topic, 1)])

        async def refusal():
            process = await typed("dead-letters", settings=workers.settings)
            printed, errors = await process.communicate()
            assert (process.returncode, printed) == (1, b"")
            assert topic in errors.decode()
            return errors.decode()

        await allow(servers, topic, WRITE, user="User:another")
        assert "may not be seen by this user, and Kafka does not say whether it exists" in await refusal()
        await allow(servers, topic, DESCRIBE)
        assert "refuses this user: grant it Describe, and Read or Write, on the topic" in await refusal()
