import pytest
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import KafkaConnectionError

from stream.embedded.server import HOST, free_port
from stream.kafka.topics import Topic, TopicError, create_topics


@pytest.fixture(
    params=[pytest.param("embedded_broker", marks=pytest.mark.embedded), pytest.param("kafka", marks=pytest.mark.kafka)]
)
def bootstrap_servers(request) -> str:
    return request.getfixturevalue(request.param).bootstrap_servers


async def test_creates_what_is_missing_and_leaves_the_rest_alone(bootstrap_servers, name_prefix):
    kept, added = f"{name_prefix}kept", f"{name_prefix}added"
    assert await create_topics(bootstrap_servers, [Topic(kept, 3, {"retention.ms": "86400000"})]) == {kept}
    assert await create_topics(bootstrap_servers, [Topic(kept, 5), Topic(added, 1)]) == {added}
    assert await create_topics(bootstrap_servers, []) == set()

    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap_servers)
    await admin.start()
    try:
        topics = {t["topic"]: len(t["partitions"]) for t in await admin.describe_topics([kept, added])}
        (described,) = await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, kept)])
    finally:
        await admin.close()
    assert topics == {kept: 3, added: 1}
    (resource,) = described.resources
    assert ("retention.ms", "86400000") in [(name, value) for name, value, *_ in resource[4]]


async def test_a_refused_topic_is_named_with_kafkas_reason(kafka, name_prefix):
    fine, refused = f"{name_prefix}fine", f"{name_prefix}refused"
    with pytest.raises(TopicError, match=rf"{refused}: .*no\.such"):
        await create_topics(kafka.bootstrap_servers, [Topic(fine, 1), Topic(refused, 1, {"no.such": "1"})])


async def test_an_absent_broker_is_an_error_of_the_connection():
    with pytest.raises(KafkaConnectionError):
        await create_topics(f"{HOST}:{free_port()}", [Topic("any", 1)])
