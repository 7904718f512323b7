"""`simulate`: the same seed gives the same file, and the expected counts equal those of `classify`."""

import asyncio
import json
import re
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta

import pytest
from aiokafka import AIOKafkaConsumer
from click.testing import CliRunner

from stream.cli.interrupt import Stop
from stream.cli.root import cli
from stream.cli.simulate import as_they_arrive
from stream.core.config import CoreConfig
from stream.core.labels import LabelRegistry
from stream.core.offline import Offline
from stream.events.decode import decode_line
from stream.simulate.shop import Shop, ShopSettings

KNOBS = ("--events", "3000", "--duplicates", "0.05", "--disorder", "20", "--poison", "0.02", "--pace", "20")


def simulate(*options):
    result = CliRunner().invoke(cli, ["simulate", *options])
    assert result.exit_code == 0, result.output
    return result


async def records(bootstrap_servers, topics):
    """All records in the topics."""
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


def counts_in(planted):
    """The part of the truth that has the format of a summary."""
    return {name: counts for name, counts in planted.items() if name not in {"offers", "pairs", "incident"}}


def test_classify_finds_what_was_planted(tmp_path):
    file, truth = tmp_path / "events.jsonl", tmp_path / "truth.json"
    result = simulate("--to-file", str(file), "--truth", str(truth), *KNOBS)
    planted = json.loads(truth.read_text(encoding="utf-8"))
    found = CliRunner().invoke(cli, ["classify", "--summary", "--json", "--allow-rejected", str(file)])
    assert planted["offers"]["checkout"]
    assert planted["pairs"]["planted"]
    assert planted["incident"] is None
    assert json.loads(found.stdout) == counts_in(planted)
    assert planted["events"] == 3000
    assert planted["rejected"] > 0
    assert planted["duplicates"] > 0
    assert f"{planted['events']:,} events written" in result.stderr
    assert result.stdout == ""


@pytest.mark.parametrize(
    ("asked", "planted"), [((), {}), (("store,vip,2,0.3",), {"channel": "store", "segment": "vip", "factor": 0.3})]
)
def test_an_incident_is_planted_before_the_end_and_told(tmp_path, asked, planted):
    file, truth = tmp_path / "events.jsonl", tmp_path / "truth.json"
    knobs = ("--events", "2000", "--rate", "0.05", "--truth", str(truth))
    simulate("--to-file", str(file), *knobs, "--incident", *asked)
    incident = json.loads(truth.read_text(encoding="utf-8"))["incident"]
    assert incident | planted == incident
    begin, end = (datetime.fromisoformat(incident[name]) for name in ("from", "to"))
    last = max(
        datetime.fromisoformat(json.loads(line)["time"]) for line in file.read_text(encoding="utf-8").splitlines()
    )
    assert begin < last
    assert abs(end - last) < timedelta(hours=1)
    if asked:
        assert end - begin == timedelta(hours=2)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--to-file", "-", "--incident"), "at least four hours"),
        (("--incident",), "--events or --past"),
        (("--to-file", "-", "--incident", "web,vip,3,0.2,5"), "CHANNEL,SEGMENT,HOURS,FACTOR"),
        (("--to-file", "-", "--incident", "web,vip,no"), "CHANNEL,SEGMENT,HOURS,FACTOR"),
        (("--to-file", "-", "--incident", "web,vip,3,2"), "0<=x<=1"),
        (("--to-file", "-", "--rate", "0.1", "--incident", "fax"), "web, app, store"),
        (("--to-file", "-", "--rate", "0.1", "--incident", "web,poor"), "consumer, family, business, vip"),
    ],
)
def test_an_incident_that_cannot_be_is_refused(options, says):
    result = CliRunner().invoke(cli, ["simulate", *options])
    assert result.exit_code == 2
    assert says in result.stderr


def test_the_same_seed_makes_the_same_file():
    first = simulate("--to-file", "-", "--events", "200").stdout
    assert first == simulate("--to-file", "-", "--events", "200", "--seed", "1").stdout
    assert first != simulate("--to-file", "-", "--events", "200", "--seed", "2").stdout
    assert first.count("\n") == 200


def test_as_many_events_are_written_as_were_asked_for():
    noise = ("--disorder", "43200", "--duplicates", "0.5", "--poison", "0.5")
    assert simulate("--to-file", "-", "--events", "200", *noise).stdout.count("\n") == 200


@pytest.mark.parametrize("rate", [0.001, 20])
def test_a_stopped_stream_and_its_truth_have_no_future_events(rate):
    stop = Stop()
    here = Shop(ShopSettings(rate=rate, disorder_seconds=3), datetime.now(UTC) - timedelta(seconds=100))
    sent = []
    for record in as_they_arrive(here, None, stop):
        if record is None:
            stop.request()
        else:
            sent.append(record)
    assert all(record.time <= datetime.now(UTC) for record in sent)
    assert len(sent) == here.truth.events
    found = Offline(CoreConfig(), LabelRegistry())
    for record in sent:
        found.apply(decode_line(record.value))
    assert here.truth.summary() == {"events": len(sent), "rejected": 0, "duplicates": 0} | found.figures().summary()


def test_a_live_stream_of_so_many_events_ends():
    here = Shop(ShopSettings(rate=1000, disorder_seconds=0.2), datetime.now(UTC))
    sent = [record for record in as_they_arrive(here, 50, Stop()) if record is not None]
    assert len(sent) == here.truth.events == 50
    assert max(record.arrival for record in sent) <= datetime.now(UTC)


def test_simulated_events_have_no_unknown_field(tmp_path):
    file = tmp_path / "events.jsonl"
    simulate("--to-file", str(file), "--events", "2000")
    found = CliRunner().invoke(cli, ["classify", "--strict", "--summary", str(file)])
    # Offers that are shown again are unchanged.
    assert (found.exit_code, re.sub(r"\d+ unchanged", "n unchanged", found.stderr)) == (
        0,
        "2,000 events, of which n unchanged\n",
    )


def test_the_truth_holds_under_half_a_day_of_disorder(tmp_path):
    file, truth = tmp_path / "events.jsonl", tmp_path / "truth.json"
    knobs = ("--seed", "106", "--rate", "0.1", "--disorder", "43200", "--duplicates", "1", "--events", "5000")
    simulate("--to-file", str(file), "--truth", str(truth), *knobs)
    found = CliRunner().invoke(cli, ["classify", "--summary", "--json", "--allow-rejected", str(file)])
    assert json.loads(found.stdout) == counts_in(json.loads(truth.read_text(encoding="utf-8")))


def test_a_month_of_past_comes_before_the_live_stream(embedded_broker, name_prefix, tmp_path):
    truth = tmp_path / "truth.json"
    names = [f"{name_prefix}{kind}" for kind in ("checkout", "subscription")]
    topics = [f"--{kind}-topic={name}" for kind, name in zip(("checkout", "subscription"), names, strict=True)]
    began = datetime.now(UTC)
    knobs = ("--past", "30d", "--past-events", "3000", "--rate", "200", "--pace", "20", "--events", "4000")
    simulate("--bootstrap-servers", embedded_broker.bootstrap_servers, *topics, *knobs, "--truth", str(truth))
    found = asyncio.run(records(embedded_broker.bootstrap_servers, names))
    planted = json.loads(truth.read_text(encoding="utf-8"))
    assert len(found) == planted["events"] == 4000
    times = [datetime.fromisoformat(json.loads(record.value)["time"]) for record in found]
    past = [time for time in times if time < began]
    assert 2000 < len(past) < 3900
    assert {(began - time).days for time in past} == set(range(30))
    # Kafka's own times are now, so that no retention deletes them.
    assert min(record.timestamp for record in found) >= int(began.timestamp() * 1000)
    offline = Offline(CoreConfig(), LabelRegistry())
    for record in found:
        offline.apply(decode_line(record.value))
    assert counts_in(planted) == {"events": 4000, "rejected": 0, "duplicates": 0} | offline.figures().summary()


@pytest.mark.parametrize(
    "options", [("--to-file", "-"), ("--rate", "0", "--events", "1"), ("--start", "2026-01-01T00:00:00Z")]
)
def test_a_past_needs_a_live_stream(options):
    result = CliRunner().invoke(cli, ["simulate", "--past", "30d", *options])
    assert result.exit_code == 2
    assert "--past needs a live stream" in result.stderr


@pytest.mark.parametrize(
    ("option", "values"),
    [
        ("--rate", ("nan", "inf", "1e-9", "1e-320", "1e300")),
        ("--pace", ("nan", "inf", "1e-9", "1e300")),
        ("--duplicates", ("nan",)),
        ("--disorder", ("nan", "43201")),
        ("--poison", ("nan",)),
        ("--past", ("30", "0d", "1w", "401d", "999999999d")),
        ("--customers", ("1" + 400 * "0",)),
        ("--start", ("0001-01-01T00:00:00Z", "1969-12-31T23:59:00Z", "9999-12-31T23:59:59Z")),
        ("--events", ("1" + 300 * "0",)),
    ],
)
def test_wrong_options_of_the_shop_are_wrong_usage(option, values):
    for value in values:
        result = CliRunner().invoke(cli, ["simulate", "--to-file", "-", option, value])
        assert result.exit_code == 2, value
        assert option.removeprefix("--") in result.stderr
        assert result.stdout == ""


@pytest.mark.parametrize("currencies", [["EUR", "EUR"], ["EUR", "USD", "JPY", "GBP", "CHF"]])
def test_currencies_are_at_most_four_each_once(currencies):
    options = [word for currency in currencies for word in ("--currency", currency)]
    result = CliRunner().invoke(cli, ["simulate", "--to-file", "-", *options])
    assert result.exit_code == 2
    assert "currencies must be one to 4, each once" in result.stderr


def test_an_unwritable_truth_file_is_an_error_before_anything_is_written(tmp_path):
    file = tmp_path / "events.jsonl"
    result = CliRunner().invoke(
        cli, ["simulate", "--to-file", str(file), "--truth", str(tmp_path / "nowhere" / "truth.json")]
    )
    assert result.exit_code == 1
    assert "truth.json" in result.stderr
    assert not file.exists()


def test_events_and_truth_need_different_files(tmp_path):
    file = tmp_path / "events.jsonl"
    file.write_bytes(b"mine\n")
    link, twin = tmp_path / "link", tmp_path / "twin"
    link.symlink_to(file)
    twin.hardlink_to(file)
    for events, truth in (("-", "-"), (file, file), (file, link), (file, twin), (tmp_path / "new", tmp_path / "new")):
        result = CliRunner().invoke(cli, ["simulate", "--to-file", str(events), "--truth", str(truth)])
        assert result.exit_code == 2
        assert "the same file" in result.stderr
        assert result.stdout == ""
    assert file.read_bytes() == b"mine\n"
    assert not (tmp_path / "new").exists()


def test_a_shop_starts_at_the_given_time():
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


def test_everything_reaches_the_broker_and_no_event_is_in_the_future(embedded_broker, name_prefix, tmp_path):
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


def test_an_unreachable_broker_is_an_error():
    result = CliRunner().invoke(cli, ["simulate", "--bootstrap-servers", "127.0.0.1:1", "--rate", "0", "--events", "1"])
    assert result.exit_code == 1
    assert "cannot connect to Kafka at 127.0.0.1:1" in result.stderr
