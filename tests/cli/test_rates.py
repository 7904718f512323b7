"""`rates`: committed figures as tables and as JSON."""

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
from decimal import Decimal

import pytest
from click.testing import CliRunner
from support.shard_store import ShardStore
from support.terminal import ended, terminal

from stream.cli.root import cli
from stream.core.counting.kpi import KPIS
from stream.core.event import CheckoutEvent, CheckoutType, Line
from stream.core.labels import LabelRegistry
from stream.core.shard.shard import Shard
from stream.core.shard.write_set import ShardId
from stream.settings import load
from stream.tables.interface import Commit, Halt, ShardHealth
from stream.tables.redis import connect

TEN = Decimal(10)


def purchase(entity, time, units, category="things"):
    """A purchase with an intent of one unit."""
    common = {"source": "/test", "version": 0, "entity": entity, "customer": "me", "currency": "EUR", "segment": "vip"}
    return [
        CheckoutEvent(
            type=kind, id=kind.name, time=time, products=(Line("A", None, "a", category, count, TEN),), **common
        )
        for kind, count in ((CheckoutType.STARTED, 1), (CheckoutType.COMPLETED, units))
    ]


async def committed(settings, partitions, categories=(), *, age=0, late=0, halt=()):
    """An upsell and a plain purchase in each partition, and an upsell in each of these categories.

    `age` of the commit in seconds (one of the future is never silent), `late`: age of the oldest record that is not applied, `halt`: halted partitions.
    """
    tables = connect(settings)
    try:
        for partition in range(partitions):
            shard_id, nonce = ShardId("checkout-events", partition), b"nonce"
            now = await tables.now() - age * 1_000_000
            claim = await tables.claim(shard_id, nonce)
            labels = LabelRegistry({"segment": ["vip"], "category": ["things", *categories]})
            shard = Shard(shard_id, "checkout", settings.core(), labels, claim.stored, 100)
            shard.advance(now)
            events = [*purchase("upsold", now - 10**7, 3), *purchase("plain", now - 10**7, 1)]
            for category in categories:
                events += purchase(category, now - 10**7, 3, category)
            ShardStore().apply(shard, events, labels)
            health = ShardHealth(await tables.now() - late * 1_000_000 if late else 0)
            changes = shard.drain()
            await tables.commit(Commit(shard_id, nonce, claim.epoch, b"batch", None, 4, b"", now, changes, health))
            if partition in halt:
                assert await tables.halt(shard_id, nonce, HALT)
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
    result = rates(arguments)
    assert result.exit_code == 0, result.output
    text = result.stdout.splitlines()
    assert ["upsell_ratio", *["50.0%"] * 5] in [line.split() for line in text]
    assert any("by segment, 30d" in line for line in text)
    assert any(line.startswith("subscription") for line in text)


def test_one_window_has_a_column_for_each_journey(arguments, settings):
    asyncio.run(committed(settings, 1))
    text = [line.split() for line in rates(arguments, "--window", "1h").stdout.splitlines()]
    assert ["1h", "checkout", "subscription", "all"] in text
    assert ["upsell_ratio", "50.0%", "-", "50.0%"] in text
    assert ["by", "segment,", "1h", "transactions"] in [words[:4] for words in text]


def test_one_dimension_is_shown_alone(arguments, settings):
    asyncio.run(committed(settings, 1))
    text = rates(arguments, "--dimension", "segment").stdout
    assert "by segment, 30d" in text
    assert "by category" not in text
    assert "checkout " not in text
    assert "by segment" not in rates(arguments, "--dimension", "all").stdout


def test_a_pipe_gets_one_line_for_each_row_and_no_colours(arguments, settings):
    asyncio.run(committed(settings, 1))
    text = rates(arguments).stdout
    assert "\x1b" not in text
    assert "by segment, 30d  transactions  upsell_cross_sell_rate  upsell_ratio  cross_sell_rate" in text


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


HALT = Halt("topic_recreated", "the topic was deleted and created again", 0)


@pytest.mark.parametrize(
    ("trouble", "first", "others"),
    [
        ({}, "checkout: live", []),
        ({"late": 9000}, "checkout: behind", ["4 shards (behind): the oldest record that is not applied is 2 h old"]),
        ({"halt": (1, 3)}, "checkout: partial", [f"2 shards (topic_recreated): {HALT.text} [checkout-events/1, 3]"]),
        (
            {"halt": (0, 1, 2, 3)},
            "checkout: stopped",
            [f"4 shards (topic_recreated): {HALT.text} [checkout-events/0, "],
        ),
        ({"age": 9000}, "checkout: stopped", ["4 shards (silent): no commit for 2 h: no worker has these shards"]),
    ],
)
def test_the_first_line_says_whether_the_figures_are_live_and_the_next_ones_why_not(
    trouble, first, others, redis_server, name_prefix
):
    settings = load({"redis_url": redis_server.url, "app_id": name_prefix})
    asyncio.run(committed(settings, 4, **{"age": -3600} | trouble))
    arguments = ["rates", "--redis-url", redis_server.url, "--app-id", name_prefix]
    lines = [line.rstrip() for line in rates(arguments).stdout.partition("\n\n")[0].splitlines()]
    assert lines[0].endswith(f"   {first}")
    assert len(lines) == 1 + len(others)
    for line, other in zip(lines[1:], others, strict=True):
        assert other in line
    document = json.loads(rates(arguments, "--json").stdout)
    assert list(document) == ["state", "as_of", "windows"]
    assert document["state"]["checkout"]["state"] == first.split()[-1]
    with terminal(*arguments, "--watch") as screen:
        shown = screen.until(lambda lines: "left out" in "".join(lines[-2:]))
    assert first in shown[0]
    text = " ".join(" ".join(shown).split())
    assert all(other.strip() in text for other in others)


CATEGORIES = [f"category-{number:02}" for number in range(30)]


@pytest.mark.terminal
def test_watch_shows_whole_rows_on_80_by_24_and_says_how_many_are_left_out(arguments, settings):
    asyncio.run(committed(settings, 1, CATEGORIES))
    with terminal(*arguments, "--watch") as screen:
        lines = screen.until(lambda lines: "left out" in lines[-1])
        assert len(lines) == 24
        assert lines[0].startswith("as of 20")
        for kpi in KPIS:
            assert sum(line.split(" ")[0] == kpi.name for line in lines) == 2 * (
                kpi.has_target and "all" in kpi.dimensions
            )
        assert sum(line.startswith("transactions ") for line in lines) == 2
        assert lines[-1] == "33 rows left out: segment, channel, category; see --dimension, or omit --watch"
        coloured = "\n".join(screen.screen(colours=True))
        assert set(re.findall(r"(\x1b\[3[236]m) *([▲●▼])", coloured)) == {("\x1b[32m", "▲"), ("\x1b[33m", "▼")}
        screen.type("C-c")
        assert screen.until(ended)[-1] == "status 130"


@pytest.mark.terminal
def test_watch_of_one_dimension_shows_as_many_rows_as_fit(arguments, settings):
    asyncio.run(committed(settings, 1, CATEGORIES))
    with terminal(*arguments, "--watch", "--dimension", "category", "--window", "1h") as screen:
        lines = screen.until(lambda lines: "left out" in lines[-1])
    assert sum(line.startswith("category-") for line in lines) == 20
    assert lines[-1] == "10 rows left out: category; omit --watch to see all"


@pytest.mark.terminal
@pytest.mark.parametrize("width", [80, 200])
def test_a_terminal_breaks_no_word_and_loses_no_row(width, arguments, settings):
    asyncio.run(committed(settings, 1, CATEGORIES))
    piped = rates(arguments).stdout
    with terminal(*arguments, size=(width, 24)) as screen:
        lines = screen.until(ended, history=True)
    words = " ".join(lines).split()
    assert set(CATEGORIES) <= set(words)
    assert {word for word in piped.split() if "_" not in word} <= set(words) | {"as"}
    for kpi in KPIS:
        assert kpi.name in words or "all" not in kpi.dimensions
    if width == 200:
        rest = [line.rstrip() for line in piped.splitlines()]
        assert [line for line in lines if not line.startswith(("as of", "status"))] == rest[1:]


@pytest.mark.terminal
def test_without_colours_the_signs_still_tell_the_bands(arguments, settings):
    asyncio.run(committed(settings, 1))
    with terminal(*arguments, environment={"NO_COLOR": "1"}) as screen:
        screen.until(ended)
        text = "\n".join(screen.screen(colours=True, history=True))
    assert "▲ 50.0%" in text
    assert "▼ 0.0%" in text
    assert not re.search(r"\x1b\[[0-9;]*3[0-7]m", text)


def test_an_output_that_cannot_hold_the_signs_gets_question_marks(arguments, settings):
    asyncio.run(committed(settings, 1))
    command = [sys.executable, "-m", "stream", *arguments]
    ascii_only = {**os.environ, "PYTHONIOENCODING": "ascii"}
    text = subprocess.run(command, capture_output=True, text=True, check=True, env=ascii_only, timeout=60).stdout
    assert "? 50.0%" in text


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
