"""`accept-partitions`: what it says and stores, and what it does not change."""

import asyncio

import pytest
from click.testing import CliRunner

from stream.cli.root import cli
from stream.kafka.topics import Topic, create_topics
from stream.settings import load
from stream.tables.redis import connect


@pytest.fixture
def topic(embedded_broker, name_prefix):
    """A topic with 6 partitions in Kafka."""
    asyncio.run(create_topics(embedded_broker.bootstrap_servers, [Topic(f"{name_prefix}checkout", 6)]))
    return f"{name_prefix}checkout"


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        (
            4,
            "4 partitions are accepted already; nothing was changed. {} has 6 partitions in Kafka: 2 of them stay halted.",
        ),
        (
            5,
            "5 partitions are accepted (before: 4). {} has 6 partitions in Kafka: 1 of them stays halted. Workers read them",
        ),
        (6, "6 partitions are accepted (before: 4). Workers read them"),
    ],
)
def test_it_says_what_was_changed_and_how_many_partitions_stay_halted(
    topic, asked, says, embedded_broker, embedded_valkey, name_prefix
):
    settings = load({"redis_url": embedded_valkey.url, "app_id": f"{name_prefix}app"})

    async def store_and_read(partitions):
        tables = connect(settings)
        if partitions is not None:
            await tables.register_topic(topic, "checkout", partitions)
        known = (await tables.application()).topics[topic]
        await tables.close()
        return known

    before = asyncio.run(store_and_read(4))
    options = ["--app-id", settings.app_id, "--redis-url", embedded_valkey.url]
    servers = ["--bootstrap-servers", embedded_broker.bootstrap_servers]
    result = CliRunner().invoke(cli, ["accept-partitions", topic, str(asked), *options, *servers])
    assert result.exit_code == 0, result.output
    assert says.format(topic) in " ".join(result.stderr.split())
    after = asyncio.run(store_and_read(None))
    assert after.partitions == asked
    assert (after == before) == (asked == 4)
