"""`history` and `explain`: the answers of the API as a chart, as words, as JSON and as CSV."""

import asyncio
import csv
import io
import json

import pytest
from click.testing import CliRunner
from support.in_process import printed_by as run
from support.past import HOUR, checkouts, commit
from support.terminal import ended, terminal

from stream.cli.explain import show
from stream.cli.root import cli
from stream.settings import load
from stream.tables.redis import connect

pytestmark = pytest.mark.embedded


async def fill(settings):
    """Yesterday a rate of 40 % in both segments; now 20 % in one of them. Returns the begin of the running hour."""
    tables = connect(settings)
    try:
        now = await tables.now()
        this = now - now % HOUR
        for age, upsold in ((25, 4), (1, 2)):
            events = checkouts(this - age * HOUR, 10, 4) + checkouts(this - age * HOUR, 10, upsold, segment="vip")
            await commit(tables, events, now)
        return this
    finally:
        await tables.close()


@pytest.fixture
def shop(embedded_valkey, name_prefix):
    """Options of a command that reads this shop."""
    asyncio.run(fill(load({"redis_url": embedded_valkey.url, "app_id": name_prefix})))
    return ["--redis-url", embedded_valkey.url, "--app-id", name_prefix]


def test_history_is_a_chart_of_each_hour(shop):
    lines = run("history", *shop, "--from", "26h", "--journey", "checkout").splitlines()
    title = next(number for number, line in enumerate(lines) if line.startswith("checkout: upsell_cross_sell_rate"))
    assert lines[title + 1].split() == ["start", "rate", "opportunities", "transactions"]
    rows = [line.split() for line in lines[title + 2 :] if "%" in line]
    assert [row[-3:] for row in rows] == [["40.0%", "20", "8"], ["30.0%", "20", "6"]]
    bars = [row[2] for row in rows]
    assert len(bars[0]) > len(bars[1]) > 0
    assert lines[-1] == "times in UTC; ~ not complete"


def test_history_by_day_and_by_segment(shop):
    text = run(
        "history",
        *shop,
        "--step",
        "1d",
        "--from",
        "2d",
        "--dimension",
        "segment",
        "--value",
        "vip",
        "--kpi",
        "upsell_ratio",
    )
    assert "checkout, segment vip: upsell_ratio" in text
    assert "100.0%" in text
    assert "subscription" not in text.split("checkout, segment", 1)[1], "what counted nothing has no chart"


def test_history_as_json_and_csv(shop):
    document = json.loads(run("history", *shop, "--json", "--from", "2h", "--journey", "checkout"))
    assert [row["opportunities"] for row in document["rows"]] == [0, 20, 0]
    rows = [*csv.DictReader(io.StringIO(run("history", *shop, "--csv", "--from", "2h", "--journey", "checkout")))]
    assert [row["opportunities"] for row in rows] == ["0", "20", "0"]
    assert document["state"]["checkout"]["state"] == "live"


def test_explain_says_which_cell_and_whether_its_rate_or_the_mix(shop):
    text = run("explain", *shop)
    assert "upsell_cross_sell_rate, checkout: transactions with any / opportunities" in text
    assert "  now         30.0%  (6 of 20)" in text
    assert "  before      40.0%  (8 of 20)" in text
    assert "  change   -10.00pp  against the same hours yesterday" in text
    assert "at least four fifths of it is:" in text
    assert "  -10.00pp  web, vip" in text
    assert "      -10.00pp  its rate: 40.0% before, 20.0% now" in text
    assert "the mix:" not in text.split("four fifths")[1].split("channel, segment")[0]


def test_explain_names_the_largest_part_also_where_the_whole_moved_the_other_way(shop, capsys):
    document = json.loads(run("explain", *shop, "--json"))
    (part,) = [part for part in document["parts"] if part["segment"] == "vip"]
    show(document | {"parts": [part | {"segment": "new"}, part], "main": [{"channel": "web", "segment": "vip"}]})
    first, second = capsys.readouterr().out.split("the largest part of all, against the change of the whole:")
    assert ("web, vip" in first, "web, new" in first) == (True, False)
    assert "web, new" in second.split("channel, segment")[0]
    show(document)
    assert "the largest part of all" not in capsys.readouterr().out


def test_explain_names_the_mix(shop, embedded_valkey, name_prefix):
    async def more():
        tables = connect(load({"redis_url": embedded_valkey.url, "app_id": name_prefix}))
        try:
            now = await tables.now()
            await commit(tables, checkouts(now - now % HOUR - HOUR, 60, 6, channel="app"), now)
        finally:
            await tables.close()

    asyncio.run(more())
    text = run("explain", *shop)
    assert "the mix: 0.0% of the whole before, 75.0% now" in text
    document = json.loads(run("explain", *shop, "--json"))
    assert document["main"][0] == {"channel": "app", "segment": "new"}


def test_wrong_options_are_usage_errors(shop):
    for words, message in (
        (("history", "--step", "1w"), "step: '1w' is not allowed; allowed are 1h, 1d"),
        (("history", "--from", "9d"), "hours are kept for 8 days"),
        (("history", "--json", "--csv"), "choose one"),
        (("explain", "--against", "ever"), "allowed are yesterday, last_week, previous"),
        (("explain", "--kpi", "customer_any_rate"), "is not one of"),
    ):
        result = CliRunner().invoke(cli, [*words, *shop])
        assert result.exit_code == 2
        assert message in result.stderr


def test_nothing_was_counted_yet(embedded_valkey, name_prefix):
    options = ["--redis-url", embedded_valkey.url, "--app-id", name_prefix]
    result = CliRunner().invoke(cli, ["explain", *options])
    assert result.exit_code == 0
    assert "one of the two has no rate, so there is nothing to compare" in result.stdout
    assert "check --app-id" in result.stderr


@pytest.mark.terminal
@pytest.mark.parametrize("command", ["history", "explain"])
def test_it_fits_a_terminal_of_80_columns(shop, command):
    with terminal(command, *shop, size=(80, 60)) as screen:
        lines = screen.until(ended, history=True)
    assert "status 0" in lines
    wide = [line for line in lines if line.startswith(("20", "web,"))]
    assert wide
    assert all(len(line) <= 80 for line in lines)
    assert any("0.0%" in line for line in wide), "a row is on one line"
