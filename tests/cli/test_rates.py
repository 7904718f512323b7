"""`rates`: committed figures as tables and as JSON."""

import asyncio
import json
import signal
import subprocess
import sys
from decimal import Decimal

import pytest
from click.testing import CliRunner
from support.shard_store import ShardStore

from stream.cli.root import cli
from stream.core.event import CheckoutEvent, CheckoutType, Line
from stream.core.labels import LabelRegistry
from stream.core.shard.shard import Shard
from stream.core.shard.write_set import ShardId
from stream.settings import load
from stream.tables.interface import Commit
from stream.tables.redis import connect

TEN = Decimal(10)


def purchase(entity, time, units):
    """A purchase with an intent of one unit."""
    common = {"source": "/test", "version": 0, "entity": entity, "customer": "me", "currency": "EUR", "segment": "vip"}
    return [
        CheckoutEvent(
            type=kind, id=kind.name, time=time, products=(Line("A", None, "a", "things", count, TEN),), **common
        )
        for kind, count in ((CheckoutType.STARTED, 1), (CheckoutType.COMPLETED, units))
    ]


async def committed(settings, partitions):
    """An upsell and a plain purchase in each partition."""
    tables = connect(settings)
    try:
        for partition in range(partitions):
            shard_id, nonce = ShardId("checkout-events", partition), b"nonce"
            now = await tables.now()
            claim = await tables.claim(shard_id, nonce)
            labels = LabelRegistry({"segment": ["vip"]})
            shard = Shard(shard_id, "checkout", settings.core(), labels, claim.stored, 100)
            shard.advance(now)
            events = [*purchase("upsold", now - 10**7, 3), *purchase("plain", now - 10**7, 1)]
            ShardStore().apply(shard, events, labels)
            await tables.commit(Commit(shard_id, nonce, claim.epoch, b"batch", None, 4, b"", now, shard.drain()))
    finally:
        await tables.close()


@pytest.fixture
def arguments(embedded_valkey, name_prefix):
    return ["rates", "--redis-url", embedded_valkey.url, "--app-id", name_prefix]


@pytest.fixture
def settings(embedded_valkey, name_prefix):
    return load({"redis_url": embedded_valkey.url, "app_id": name_prefix})


def rates(arguments, *options):
    return CliRunner().invoke(cli, [*arguments, *options])


def test_all_partitions_as_json(arguments, settings):
    asyncio.run(committed(settings, 3))
    result = rates(arguments, "--json")
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    assert list(document["windows"]) == ["5m", "1h", "24h", "30d", "total"]
    assert document["as_of"].endswith("Z")
    checkout = document["windows"]["5m"]["checkout"]
    assert checkout["kind_transactions"]["upsell"] == 3
    assert checkout["customers"]["all"] == 3  # one key in three partitions is three
    assert checkout["rates"]["upsell_ratio"] == 0.5
    assert list(document["windows"]["1h"]["segment"]) == ["vip"]
    assert "customers" not in document["windows"]["total"]["checkout"]


def test_a_table_of_kpis_by_window_and_of_labels_in_one(arguments, settings):
    asyncio.run(committed(settings, 1))
    result = rates(arguments, "--window", "1h")
    assert result.exit_code == 0, result.output
    text = result.stdout.splitlines()
    assert ["upsell_ratio", *["50.0%"] * 5] in [line.split() for line in text]
    assert any("by segment, 1h" in line for line in text)
    assert any(line.startswith("subscription") for line in text)


def test_an_unknown_window_is_wrong_usage(arguments, settings):
    asyncio.run(committed(settings, 1))
    result = rates(arguments, "--window", "2h")
    assert result.exit_code == 2
    assert "'2h' is not one of 5m, 1h, 24h, 30d, total" in result.stderr


def test_nothing_counted_yet_is_reported(arguments):
    result = rates(arguments)
    assert result.exit_code == 0
    assert "check --app-id" in result.stderr
    result = rates(arguments, "--window", "1h")
    assert result.exit_code == 0
    assert "check --app-id" in result.stderr
    result = rates(arguments, "--json")
    assert json.loads(result.stdout)["as_of"] is None
    assert "check --app-id" in result.stderr


def test_watch_runs_until_ctrl_c(arguments, settings):
    asyncio.run(committed(settings, 1))
    command = [sys.executable, "-m", "stream", *arguments, "--watch", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        first = json.loads(process.stdout.readline())
        process.send_signal(signal.SIGINT)
        errors = process.stderr.read()
        assert process.wait(60) == 130
    assert first["windows"]["total"]["all"]["transactions"] == 2
    assert errors.strip() == b""


def test_an_unreachable_redis_is_an_error():
    result = rates(["rates", "--redis-url", "redis://127.0.0.1:1"])
    assert result.exit_code == 1
    assert "upsell-stream check" in result.stderr
