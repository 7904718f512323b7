"""`redrive`: dead letters go back unchanged to their partition, and only once; outcomes go to the topic of outcomes."""

import asyncio
import json

import pytest
from aiokafka import AIOKafkaProducer
from click.testing import CliRunner
from support.workers import read_topic

from stream.cli.root import cli
from stream.events.outcome import OUTCOME_HEADERS, rejection_headers
from stream.kafka.topics import Topic, create_topics


def letter(value, reason="invalid", topic="checkout", partition=b"1", **more):
    headers = {"upsell-reason": reason.encode(), "upsell-source-topic": topic, "upsell-source-partition": partition}
    return value, [("ce_id", b"e1"), *headers.items(), *((name.replace("_", "-"), text) for name, text in more.items())]


@pytest.fixture
def redrive(embedded_broker, name_prefix):
    """Write dead letters to the topic, and run the command."""
    servers = embedded_broker.bootstrap_servers
    names = {name: f"{name_prefix}{name}" for name in ("checkout", "subscription", "outcome", "dead-letter")}
    asyncio.run(create_topics(servers, [Topic(name, 2) for name in names.values()]))

    async def put(letters):
        async with AIOKafkaProducer(bootstrap_servers=servers) as producer:
            for value, headers in letters:
                places = {"checkout", "subscription"}
                sent = [(name, names[text].encode() if text in places else text) for name, text in headers]
                await producer.send_and_wait(names["dead-letter"], value, key=b"key", headers=sent, timestamp_ms=10_000)

    def run(*options, put_first=()):
        asyncio.run(put(put_first))
        given = [word for name, topic in names.items() for word in (f"--{name}-topic", topic)]
        result = CliRunner().invoke(cli, ["redrive", "--bootstrap-servers", servers, *given, *options])
        assert result.exit_code == 0, result.output
        return result.stdout, {name: asyncio.run(read_topic(servers, names[name])) for name in names}

    return run


def test_dead_letters_go_back_unchanged_to_their_partition(redrive):
    dry, topics = redrive("--dry-run", put_first=[letter(b"one"), letter(b"two", topic="subscription", partition=b"0")])
    assert "would be sent" in dry
    assert topics["checkout"] == []
    _, topics = redrive()
    (one,), (two,) = topics["checkout"], topics["subscription"]
    assert (one.value, one.key, one.partition) == (b"one", b"key", 1)
    assert (two.value, two.key, two.partition) == (b"two", b"key", 0)
    assert [name for name, _ in one.headers] == ["ce_id", "upsell-redriven"]
    assert one.timestamp > 10_000, "the time stamp is the present one"


def test_only_selected_dead_letters_are_sent(redrive):
    letters = [letter(b"one"), letter(b"two", "future"), letter(b"three", "future", topic="subscription")]
    told, topics = redrive("--reason", "future", "--until", "1970-01-01T00:00:11Z", "--json", put_first=letters)
    assert json.loads(told) == {"dry_run": False, "reasons": {"future": {"sent": 2}}}
    assert [record.value for record in topics["checkout"]] == [b"two"]
    assert [record.value for record in topics["subscription"]] == [b"three"]
    assert "no dead letters" in redrive("--since", "1970-01-01T00:00:11Z")[0]


def test_skipped_dead_letters_are_reported(redrive):
    letters = [
        letter(b"", upsell_cut_bytes=b"9"),
        letter(b"", "outcome_too_large", upsell_cut_bytes=b"9000000"),
        (b"whence", [("upsell-reason", b"invalid")]),
        letter(b"gone", partition=b"7"),
        letter(b"elsewhere", topic=b"another-topic"),
        letter(b"again", upsell_redriven=b"then"),
    ]
    told, topics = redrive("--json", put_first=letters)
    assert json.loads(told)["reasons"] == {
        "invalid": {"cut": 1, "no source": 1, "no such partition": 2, "sent back before": 1},
        "outcome_too_large": {"cut": 1},
    }
    assert topics["checkout"] == topics["subscription"] == []


def test_outcomes_are_published_as_they_would_have_been(redrive):
    outcome = (
        b'{"type": "commerce.sale.judged.v1"}',
        rejection_headers("outcome_too_large", "too large", None, "t", "1", "2"),
    )
    dry, topics = redrive("--dry-run", put_first=[outcome])
    assert "outcome_too_large  1             would be sent" in dry
    assert topics["outcome"] == []
    for _ in range(2):
        printed, topics = redrive("--reason", "outcome_too_large", "--json")
        assert json.loads(printed)["reasons"] == {"outcome_too_large": {"sent": 1}}
    first, repeat = topics["outcome"]
    assert (first.key, first.value) == (b"key", outcome[0])
    assert (first.key, first.value, first.partition) == (repeat.key, repeat.value, repeat.partition)
    assert tuple(first.headers) == OUTCOME_HEADERS
    assert topics["checkout"] == topics["subscription"] == []
