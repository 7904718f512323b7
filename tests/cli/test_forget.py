"""`forget`: the same erasure in every partition of both topics; nothing is sent after wrong usage."""

import asyncio

import pytest
from click.testing import CliRunner
from support.workers import read_topic

from stream.cli import forget as module
from stream.cli.forget import erasure
from stream.cli.root import cli
from stream.core.event import ErasedEvent
from stream.embedded.server import free_port
from stream.events.decode import Decoder
from stream.kafka.topics import Topic, create_topics


def test_every_partition_of_both_topics_gets_the_same_erasure(embedded_broker, name_prefix):
    servers = embedded_broker.bootstrap_servers
    topics = {f"{name_prefix}c": "checkout", f"{name_prefix}s": "subscription"}
    asyncio.run(create_topics(servers, [Topic(f"{name_prefix}c", 3), Topic(f"{name_prefix}s", 2)]))
    options = ["--bootstrap-servers", servers, "--checkout-topic", f"{name_prefix}c"]
    result = CliRunner().invoke(
        cli, ["forget", *options, "--subscription-topic", f"{name_prefix}s", "anna", "-"], input="bert\n\n"
    )
    assert result.exit_code == 0, result.output
    assert "anna: erasure sent to 5 partitions" in result.stderr
    decoder = Decoder(topics, future=600_000_000)
    found = {}
    for topic in topics:
        for record in asyncio.run(read_topic(servers, topic)):
            event = decoder.decode(record)
            assert isinstance(event, ErasedEvent)
            assert record.key == event.customer.encode()
            found.setdefault((event.customer, event.id), set()).add((topic, record.partition))
    assert sorted(customer for customer, _ in found) == ["anna", "bert"]
    assert [len(places) for places in found.values()] == [5, 5]


def test_an_invalid_id_is_wrong_usage_and_nothing_is_sent():
    result = CliRunner().invoke(cli, ["forget", "anna", "x" * 257])
    assert result.exit_code == 2
    assert "the customer id" in result.stderr


@pytest.mark.parametrize(
    ("names", "given", "says"),
    [
        (["-"], b"", "no customer id was given"),
        ([""], b"", "no customer id was given"),
        (["-"], b"anna\n\xff\n", "standard input is not UTF-8: b'\\xff\\n'"),
    ],
)
def test_no_customer_is_wrong_usage(names, given, says):
    result = CliRunner().invoke(cli, ["forget", *names], input=given)
    assert result.exit_code == 2
    assert says in result.stderr


def test_a_byte_order_mark_is_no_part_of_an_id(monkeypatch):
    sent = []
    monkeypatch.setattr(module, "run", lambda _, work: work.close())
    monkeypatch.setattr(module, "erasure", lambda customer, *_: sent.append(customer) or erasure(customer, *_))
    result = CliRunner().invoke(cli, ["forget", "-"], input=b"\xef\xbb\xbfanna\r\nbert\n")
    assert result.exit_code == 0, result.output
    assert sent == ["anna", "bert"]


def test_a_missing_topic_is_reported_and_not_created(embedded_broker, name_prefix):
    servers = embedded_broker.bootstrap_servers
    asyncio.run(create_topics(servers, [Topic(f"{name_prefix}s", 1)]))
    options = ["--bootstrap-servers", servers, "--checkout-topic", f"{name_prefix}typo"]
    for command in (["forget", "anna"], ["redrive", "--dry-run"]):
        result = CliRunner().invoke(cli, [*command, *options, "--subscription-topic", f"{name_prefix}s"])
        assert result.exit_code == 1
        assert f"topic {name_prefix}typo does not exist" in result.stderr
    assert asyncio.run(create_topics(servers, [Topic(f"{name_prefix}typo", 1)])) == {f"{name_prefix}typo"}


def test_an_unreachable_kafka_is_reported():
    result = CliRunner().invoke(cli, ["forget", "--bootstrap-servers", f"127.0.0.1:{free_port()}", "anna"])
    assert result.exit_code == 1
    assert "cannot connect to Kafka at 127.0.0.1" in result.stderr
