"""`simulate`: the same seed makes the same file, and the truth is what classify and Kafka see."""

import asyncio
import json
import signal
import subprocess
import sys
import time

from aiokafka import AIOKafkaConsumer
from click.testing import CliRunner

from stream.cli.root import cli

KNOBS = ("--events", "3000", "--duplicates", "0.05", "--disorder", "20", "--poison", "0.02", "--pace", "20")


def simulate(*options):
    result = CliRunner().invoke(cli, ["simulate", *options])
    assert result.exit_code == 0, result.output
    return result


async def records(bootstrap_servers, topics):
    """Everything in the topics."""
    consumer = AIOKafkaConsumer(*topics, bootstrap_servers=bootstrap_servers, auto_offset_reset="earliest")
    async with consumer:
        found = []
        while batch := await consumer.getmany(timeout_ms=1000):
            found += [record for part in batch.values() for record in part]
        return found


async def first_record(bootstrap_servers, topic):
    consumer = AIOKafkaConsumer(topic, bootstrap_servers=bootstrap_servers, auto_offset_reset="earliest")
    async with consumer:
        return await consumer.getone()


def test_classify_finds_what_was_planted(tmp_path):
    file, truth = tmp_path / "events.jsonl", tmp_path / "truth.json"
    result = simulate("--to-file", str(file), "--truth", str(truth), *KNOBS)
    planted = json.loads(truth.read_text(encoding="utf-8"))
    found = CliRunner().invoke(cli, ["classify", "--summary", "--json", str(file)])
    assert json.loads(found.stdout) == planted
    assert 3000 <= planted["events"] <= 3002
    assert planted["rejected"] > 0
    assert planted["duplicates"] > 0
    assert f"{planted['events']:,} events written" in result.stderr
    assert result.stdout == ""


def test_the_same_seed_makes_the_same_file():
    first = simulate("--to-file", "-", "--events", "200").stdout
    assert first == simulate("--to-file", "-", "--events", "200", "--seed", "1").stdout
    assert first != simulate("--to-file", "-", "--events", "200", "--seed", "2").stdout
    assert first.count("\n") == 200


def test_a_shop_opens_when_it_is_told():
    first = simulate("--to-file", "-", "--events", "1", "--start", "2020-02-29T23:59:59Z").stdout
    assert json.loads(first)["time"].startswith(("2020-02-29T23:59:59", "2020-03-01T0"))


def everything_arrives(bootstrap_servers, name_prefix, directory):
    truth = directory / "truth.json"
    names = {kind: f"{name_prefix}{kind}" for kind in ("checkout", "subscription")}
    topics = [f"--{kind}-topic={name}" for kind, name in names.items()]
    simulate("--bootstrap-servers", bootstrap_servers, *topics, "--rate", "0", "--truth", str(truth), *KNOBS)
    found = asyncio.run(records(bootstrap_servers, names.values()))
    assert len(found) == json.loads(truth.read_text(encoding="utf-8"))["events"]
    assert {record.topic for record in found} == set(names.values())
    return found


def test_everything_reaches_the_broker_and_none_of_it_lies_ahead(embedded_broker, name_prefix, tmp_path):
    found = everything_arrives(embedded_broker.bootstrap_servers, name_prefix, tmp_path)
    events = tmp_path / "events.jsonl"
    events.write_bytes(b"\n".join(record.value for record in found))
    result = CliRunner().invoke(cli, ["classify", "--all", str(events)])
    times = [json.loads(line)["time"] for line in result.stdout.splitlines()]
    assert max(times) < time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def test_everything_reaches_kafka(kafka, name_prefix, tmp_path):
    everything_arrives(kafka.bootstrap_servers, name_prefix, tmp_path)


def test_without_an_end_it_runs_until_ctrl_c(embedded_broker, name_prefix, tmp_path):
    truth = tmp_path / "truth.json"
    command = [sys.executable, "-m", "stream", "simulate", "--rate", "200", "--pace", "20", "--truth", str(truth)]
    options = [f"--{kind}-topic={name_prefix}{kind}" for kind in ("checkout", "subscription")]
    servers = embedded_broker.bootstrap_servers
    with subprocess.Popen([*command, *options, "--bootstrap-servers", servers], stderr=subprocess.PIPE) as process:
        try:
            asyncio.run(first_record(servers, f"{name_prefix}checkout"))
        finally:
            process.send_signal(signal.SIGINT)
        errors = process.stderr.read().decode()
        assert process.wait(60) == 0
    assert "events sent" in errors
    assert "Traceback" not in errors
    found = asyncio.run(records(servers, [f"{name_prefix}checkout", f"{name_prefix}subscription"]))
    assert len(found) == json.loads(truth.read_text(encoding="utf-8"))["events"]


def test_a_broker_that_is_away_is_an_error():
    result = CliRunner().invoke(cli, ["simulate", "--bootstrap-servers", "127.0.0.1:1", "--rate", "0", "--events", "1"])
    assert result.exit_code == 1
    assert "cannot send to 127.0.0.1:1" in result.stderr
