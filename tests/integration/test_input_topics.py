"""An input topic that does not exist, or that may not be read: the worker says so, and reads it as soon as it can, without a restart."""

import pytest
from aiokafka.protocol.admin import CreateAclsRequest
from support import traffic
from support.kafka_server import KafkaServer
from support.servers import started
from support.workers import group, until_ready

from stream.kafka.topic_watch import TopicWatch
from stream.kafka.topics import Topic, admin_client, create_topics

_TOPIC, _LITERAL, _ALLOW = 2, 3, 3
_READ, _WRITE, _DESCRIBE = 3, 4, 8


async def up(worker, topic):
    """The worker's gauge for a topic."""
    line = f'upsell_input_topic_up{{topic="{topic}"}} '
    return (await worker.get("/metrics")).partition(line)[2].partition("\n")[0]


async def allow(servers, topic, operation, user="User:ANONYMOUS"):
    """Grant a right. As soon as a topic has one rule, everything else is forbidden."""
    async with admin_client(servers, {}) as admin:
        answer = await admin._send_request(CreateAclsRequest(_TOPIC, topic, _LITERAL, user, "*", operation, _ALLOW))
    assert answer.creation_responses[0][0] == 0, answer


@pytest.mark.redis
async def test_a_topic_that_does_not_exist_is_named_and_read_as_soon_as_it_is_created(
    kafka, redis_server, name_prefix, tmp_path
):
    with group(kafka.bootstrap_servers, redis_server.url, name_prefix, tmp_path, kafka_create_topics=False) as workers:
        missing, there = workers.settings.checkout_topic, workers.settings.subscription_topic
        outputs = workers.settings.outcome_topic, workers.settings.dead_letter_topic
        await create_topics(kafka.bootstrap_servers, [Topic(name, 1) for name in (there, *outputs)])
        worker = workers.start()
        await workers.until(lambda: worker.shards == {f"{there}/0"})
        await until_ready(worker, 503, f"topic {missing} does not exist: create it, or correct UPSELL_CHECKOUT_TOPIC")
        assert f"topic {missing} does not exist" in worker.said
        assert (await up(worker, missing), await up(worker, there)) == ("0.0", "1.0")
        await create_topics(kafka.bootstrap_servers, [Topic(missing, 1)])
        await workers.send(traffic.checkouts(20))
        await workers.applied()
        await until_ready(worker, 200)
        assert await up(worker, missing) == "1.0"
        assert f"topic {missing} can be read now" in worker.said
        assert await worker.stop() == 0


@pytest.fixture(scope="module")
def guarded_kafka():
    authorizer = "org.apache.kafka.metadata.authorizer.StandardAuthorizer"
    rules = {"authorizer.class.name": authorizer, "allow.everyone.if.no.acl.found": "true"}
    with started(KafkaServer(rules)) as server:
        yield server


@pytest.mark.kafka
@pytest.mark.redis
@pytest.mark.parametrize(
    ("granted", "says"),
    [
        ([_WRITE, _DESCRIBE], "may not be read by this user: grant Read and Describe on it"),
        ([], "may not be seen by this user, and Kafka does not say whether it exists"),
    ],
    ids=["not Read", "nothing"],
)
async def test_a_topic_that_may_not_be_read_is_named_and_read_as_soon_as_the_right_is_granted(
    guarded_kafka, redis_server, name_prefix, tmp_path, granted, says
):
    servers = guarded_kafka.bootstrap_servers
    with group(servers, redis_server.url, name_prefix, tmp_path) as workers:
        topic = workers.settings.checkout_topic
        await workers.create_topics(1, 1)
        await workers.send(traffic.checkouts(20))
        await allow(servers, topic, _READ, "User:another")
        for operation in granted:
            await allow(servers, topic, operation)
        worker = workers.start()
        await until_ready(worker, 503, f"topic {topic} {says}")
        assert await up(worker, topic) == "0.0"
        await allow(servers, topic, _READ)
        await workers.applied()
        await until_ready(worker, 200)
        assert await up(worker, topic) == "1.0"
        assert await worker.stop() == 0


@pytest.mark.embedded
async def test_a_broker_without_newer_metadata_is_asked_for_existence_and_partitions(embedded_broker, name_prefix):
    there, missing = f"{name_prefix}there", f"{name_prefix}missing"
    await create_topics(embedded_broker.bootstrap_servers, [Topic(there, 3)])
    answers = []
    topics = {there: "checkout", missing: "subscription"}
    watch = TopicWatch(embedded_broker.bootstrap_servers, topics, "tests", {}, answers.append)
    for _ in range(2):  # the question does not create the topic
        await watch.ask()
    await watch.close()
    assert (answers[-1][there].partitions, answers[-1][there].problem) == (3, None)
    assert "does not exist: create it, or correct UPSELL_SUBSCRIPTION_TOPIC" in answers[-1][missing].problem
