"""`dead-letters`: the newest first, personal data masked, and no more read than necessary."""

import asyncio
import io
import json
import time
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import pytest
from aiokafka import AIOKafkaProducer
from click.testing import CliRunner
from rich.console import Console
from support.sent_events import MICROS, Record, encoded, event, line

from stream.cli import dead_letters as module
from stream.cli.root import cli
from stream.events.decode import Decoder
from stream.events.outcome import rejection_headers
from stream.kafka.dead_letters import dead_letter
from stream.kafka.topic_reader import TopicReader, topic_reader
from stream.kafka.topics import Topic, create_topics

BROKERS = [
    pytest.param("embedded_broker", marks=pytest.mark.embedded, id="embedded"),
    pytest.param("kafka", marks=pytest.mark.kafka, id="real"),
]
NOW = int(time.time() * 1000)
EVENT = {"specversion": "1.0", "id": "e-1", "type": "commerce.order.completed.v1", "subject": "checkout/c-1"}


@pytest.fixture(params=BROKERS)
def servers(request):
    return request.getfixturevalue(request.param).bootstrap_servers


def letter(
    value,
    reason="invalid",
    path="data.products[0].price",
    error="should be a decimal string, not '12,50'",
    *,
    ago=0,
    **more,
):
    headers = rejection_headers(reason, error, path, "checkout-events", "1", str(more.get("offset", 4711)))
    return value, [("authorization", b"Bearer secret"), *more.get("headers", ()), *headers], NOW - ago * 1000


@pytest.fixture
def run(servers, name_prefix):
    """Write dead letters into two partitions in turn, and run the command."""
    topic = f"{name_prefix}dead-letters"
    asyncio.run(create_topics(servers, [Topic(topic, 2)]))

    async def put(letters):
        async with AIOKafkaProducer(bootstrap_servers=servers) as producer:
            sent = [
                await producer.send(
                    topic, value, key=b"anna", headers=headers, timestamp_ms=stamp, partition=number % 2
                )
                for number, (value, headers, stamp) in enumerate(letters)
            ]
            await asyncio.gather(*sent)

    def run(*options, put_first=()):
        asyncio.run(put(put_first))
        result = CliRunner().invoke(
            cli, ["dead-letters", "--bootstrap-servers", servers, "--dead-letter-topic", topic, *options]
        )
        assert result.exit_code == 0, result.output
        return result.stdout

    return run


def test_an_operator_sees_what_was_refused_and_why_and_no_customer(run):
    event = EVENT | {
        "data": {"customer_id": "anna", "checkout_id": "c-1", "products": [{"sku": "A", "price": "12,50"}]}
    }
    assert "no dead letters" in run()
    printed = run(
        put_first=[
            letter(json.dumps(event).encode()),
            letter(b"Anna's order", "not_json", "", "Expecting value: line 1 column 1 (char 0)"),
            letter(b"", "empty", "", "the record has no value"),
            letter(b"", "too_large", "", "1200000 bytes", headers=[("upsell-cut-bytes", b"1200000")]),
        ]
    )
    for text in ("checkout-events partition 1 offset 4711", "invalid", "data.products[0].price: should be", "'12,50'"):
        assert text in printed
    assert '"customer_id": "***"' in printed
    assert "12 bytes that are not JSON; --show-values shows them" in printed
    assert "no value" in printed
    assert "the value (1,200,000 bytes) was removed" in printed
    assert "anna" not in printed.lower()
    assert "Bearer" not in printed
    printed = run("--show-values")
    assert "Anna's order" in printed
    assert '"customer_id": "anna"' in printed
    printed = run("--show-values", put_first=[letter(b"{}", "invalid", "data.coupon", "too long, not 'for anna'")])
    assert "data.coupon: too long, not 'for anna'" in printed
    assert "Bearer" not in printed


def test_the_newest_come_first_and_older_ones_are_left_out(run):
    letters = [
        letter(b"{}", "future" if number % 10 else "invalid", ago=3600 - number, offset=number)
        for number in range(1000)
    ]

    def offsets(*options):
        return [json.loads(line)["offset"] for line in run("--json", *options).splitlines()]

    run(put_first=letters)
    assert offsets("--limit", "5") == [999, 998, 997, 996, 995]
    assert offsets("--limit", "3", "--reason", "invalid") == [990, 980, 970]
    assert offsets("--limit", "3", "--reason", "invalid", "--reason", "future") == [999, 998, 997]
    assert offsets("--reason", "invalid", "--limit", "1000") == list(range(990, -1, -10))
    assert offsets("--topic", "another") == []
    assert len(offsets("--since", "1d", "--limit", "1000")) == 1000
    assert offsets("--since", "10m") == []
    since = offsets(
        "--since", time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime((NOW // 1000) - 2700)), "--limit", "1000"
    )
    assert since[-1] in (899, 900)
    assert all(newer == older + 1 for newer, older in pairwise(since))


def refused(sent, partition, offset, written, ahead=0):
    record = Record(encoded(sent), timestamp=MICROS // 1_000 - ahead)
    made = Decoder({"checkout-events": "checkout"}, 600_000_000).decode(record)
    headers = rejection_headers(made.reason, made.detail, made.path, "checkout-events", str(partition), str(offset))
    stamp = int(datetime.fromisoformat(written).timestamp() * 1_000)
    return dead_letter(SimpleNamespace(value=record.value, headers=headers, timestamp=stamp))


def test_the_page_shows_what_the_command_prints():
    started = event("checkout.started") | {"id": "k7-2"}
    wrong = event("checkout.started", products=[line(price="12,50")]) | {"id": "k6-1"}
    letters = [
        refused(started, 0, 4711, "2026-01-31T11:58:03Z", ahead=7_195_200),
        refused(wrong, 2, 998, "2026-01-31T11:57:40Z"),
    ]
    console = Console(file=io.StringIO(), width=80)
    console.print(module._table(letters, show_values=False))
    printed = "".join(f"{text.rstrip()}\n" for text in console.file.getvalue().splitlines())
    page = Path(__file__).parents[2] / "docs" / "how-to" / "dead-letters.md"
    assert f"```text\n{printed}```\n" in page.read_text(encoding="utf-8")


def test_json_has_everything(run):
    printed = run(
        "--json", "--show-values", put_first=[letter(b"\xff\x00", "not_json", "", "not UTF-8: byte 0 is wrong")]
    )
    document = json.loads(printed)
    assert document.pop("time").endswith("+00:00")
    assert document.pop("dead_letter")["topic"].endswith("dead-letters")
    assert document == {
        "reason": "not_json",
        "path": "",
        "error": "not UTF-8: byte 0 is wrong",
        "topic": "checkout-events",
        "partition": 1,
        "offset": 4711,
        "redriven": False,
        "headers": {"authorization": "***"},
        "value": None,
        "value_bytes": 2,
        "removed_bytes": None,
        "key_base64": "YW5uYQ==",
        "value_base64": "/wA=",
    }
    assert not {"key_base64", "value_base64"} & json.loads(run("--json")).keys()


def test_control_characters_and_long_values_fit_an_80_column_terminal(run, monkeypatch):
    long = EVENT | {"data": {"checkout_id": "c" * 500, "\x1b[31mred": 1}}
    run(
        put_first=[
            letter(json.dumps(long).encode(), path="data." + "x" * 100),
            letter(b"\x1b]0;title\x07", "not_json", "", "\x1b[2J"),
        ]
    )
    console = Console(width=80, force_terminal=False)
    monkeypatch.setattr(module, "output", lambda: console)
    printed = run("--show-values")
    assert "\x1b" not in printed
    assert max(map(len, printed.splitlines())) <= 80
    assert "\\x1b]0;title\\x07" in printed


def test_a_missing_topic_is_named_and_not_created(servers, name_prefix):
    for _ in range(2):
        result = CliRunner().invoke(
            cli, ["dead-letters", "--bootstrap-servers", servers, "--dead-letter-topic", f"{name_prefix}typo"]
        )
        assert result.exit_code == 1
        assert f"topic {name_prefix}typo does not exist; check the names of the topics" in result.stderr


@pytest.mark.parametrize("since", ["yesterday", "1y", "0h", "2026-01-31"])
def test_a_wrong_time_says_what_is_allowed(since):
    result = CliRunner().invoke(cli, ["dead-letters", "--since", since])
    assert result.exit_code == 2
    assert "is not a" in result.stderr


@pytest.mark.parametrize("since", ["15s", "1.5h", "15 min", "30"])
def test_a_length_of_time_that_cannot_be_read_names_some_that_can(since):
    result = CliRunner().invoke(cli, ["dead-letters", "--since", since])
    assert result.exit_code == 2
    assert "such as 15m, 1h or 2d" in " ".join(result.stderr.split())


async def test_only_the_newest_records_are_read_of_a_long_topic(kafka, name_prefix, monkeypatch):
    topic = f"{name_prefix}long"
    servers = kafka.bootstrap_servers
    await create_topics(servers, [Topic(topic, 2)])
    async with AIOKafkaProducer(bootstrap_servers=servers) as producer:
        for number in range(20_000):
            await producer.send(topic, b"%d" % number, partition=number % 2, timestamp_ms=NOW - 20_000 + number)
    read = []
    everything = TopicReader._read

    async def counted(self, *arguments):
        async for record in everything(self, *arguments):
            read.append(record)
            yield record

    monkeypatch.setattr(TopicReader, "_read", counted)
    async with topic_reader(servers, {}, [topic]) as reader:
        newest = await reader.newest(10)
        assert [int(records[0].value) for records in newest.values()] == [19_998, 19_999]
        assert len(read) == 20
        read.clear()
        late = [record async for record in reader.records((NOW - 100) * 1000, lambda: False)]
        assert sorted(int(record.value) for record in late) == list(range(19_900, 20_000))
        assert len(read) == 100
