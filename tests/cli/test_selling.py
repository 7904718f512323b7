"""`offers` and `drivers`, and the same of `classify`: the answers of the API as tables, as JSON and as CSV."""

import asyncio
import csv
import io
import json

import pytest
from click.testing import CliRunner
from support.in_process import printed_by as run
from support.past import checkouts, commit, offered
from support.terminal import ended, terminal

from stream.cli import drivers as drivers_command
from stream.cli import offers as offers_command
from stream.cli.root import cli
from stream.settings import load
from stream.tables.redis import connect

LONG = "a-very-long-name-of-a-product-that-nobody-would-ever-type-twice"


async def fill(settings):
    """Today: of 10 customers who wanted A, 4 took X because of an offer; a name that is long, and one that would control a terminal."""
    tables = connect(settings)
    try:
        now = await tables.now()
        await commit(tables, offered(now, 10, 4, 2), now)
        await commit(tables, offered(now, 3, 1, offer=LONG, wanted=LONG, extra="\x1b[31mred"), now)
        await commit(tables, checkouts(now, 3, 2, currency="USD"), now)
    finally:
        await tables.close()


@pytest.fixture
def shop(embedded_valkey, name_prefix):
    """Options of a command that reads this shop."""
    asyncio.run(fill(load({"redis_url": embedded_valkey.url, "app_id": name_prefix})))
    return ["--redis-url", embedded_valkey.url, "--app-id", name_prefix]


@pytest.mark.embedded
def test_offers_are_a_table(shop):
    lines = run("offers", *shop).splitlines()
    assert any("checkout: live" in line for line in lines)
    head, first, second = lines[-3:]
    assert head.split() == [
        "checkout", "shown", "declined", "accepted", "acceptance_rate", "incremental_rate", "reversed", "gross", "EUR", "kept", "EUR"
    ]  # fmt: skip
    assert first.split() == ["banner,", "cart", "10", "2", "4", "40.0%", "100.0%", "0", "40.00", "40.00"]
    assert second.startswith(f"{LONG}, cart")
    assert "not complete" in lines[1]


@pytest.mark.embedded
def test_offers_by_day_and_of_one_offer(shop):
    text = run("offers", *shop, "--step", "1d", "--offer-id", "banner", "--slot", "cart", "--journey", "checkout")
    (title,) = [line.split(" ")[:2] for line in text.splitlines() if line.startswith("checkout, ")]
    assert title[1].endswith("~"), "the day is not over"
    assert LONG not in text
    assert "no such offer was counted on these days" in run("offers", *shop, "--slot", "nowhere")


@pytest.mark.embedded
def test_drivers_are_a_table_of_each_kind(shop):
    text = run("drivers", *shop)
    assert "checkout: 7 transactions, 7 with known intent, 0 reversed" in text
    rows = [line.split() for line in text.splitlines()]
    assert ["a", "→", "a", "(quantity)", "2", "0", "20.00"] in rows
    assert ["A", "+", "X", "4", "57.1%", "100.0%", "1.75", "0", "40.00"] in rows
    assert ["X", "4", "0", "40.00", "-"] in rows
    assert ["a", "2", "0", "-", "40.00"] in rows
    assert "\x1b" not in text
    assert "\\x1b[31mred" in text


@pytest.mark.embedded
def test_drivers_of_one_kind_and_what_is_left_out(shop):
    text = run("drivers", *shop, "--kind", "products", "--limit", "2")
    assert "pairs" not in text
    assert text.splitlines()[-1] == "3 more are left out; see --limit and --json"
    text = run("drivers", *shop, "--product", "nobody's", "--journey", "checkout")
    assert "pairs: intent + cross-sell: none" in text


@pytest.mark.embedded
def test_as_json_and_csv(shop):
    document = json.loads(run("offers", *shop, "--json"))
    assert [row["shown"] for row in document["rows"]] == [10, 3]
    assert document["state"]["checkout"]["state"] == "live"
    rows = [*csv.DictReader(io.StringIO(run("offers", *shop, "--csv", "--step", "1d")))]
    assert [(row["offer_id"], row["shown"], row["kept_EUR"]) for row in rows] == [("banner", "10", "40.00"), (LONG, "3", "10.00")]  # fmt: skip
    document = json.loads(run("drivers", *shop, "--json", "--limit", "1"))
    assert [len(document[kind]) for kind in ("paths", "pairs", "products")] == [1, 1, 1]
    rows = [*csv.DictReader(io.StringIO(run("drivers", *shop, "--csv", "--kind", "pairs")))]
    assert (rows[0]["intent"], rows[0]["cross_sell"], rows[0]["lift"]) == ("A", "X", "1.75")


@pytest.mark.embedded
def test_wrong_options_are_usage_errors(shop):
    for words, message in (
        (("offers", "--step", "1h"), "step: '1h' is not allowed; allowed are all, 1d"),
        (("offers", "--from", "36d"), "days are kept for 35 days"),
        (("offers", "--journey", "basket"), "allowed are checkout, subscription"),
        (("offers", "--json", "--csv"), "choose one"),
        (("drivers", "--json", "--csv"), "choose one"),
        (("drivers", "--csv"), "format: csv only with one kind"),
        (("drivers", "--kind", "triples"), "allowed are paths, pairs, products"),
        (("drivers", "--limit", "x"), "limit: 'x' is not allowed; allowed are 1 to 10000"),
        (("drivers", "--to", "later"), "to: 'later' is neither `now`"),
    ):
        result = CliRunner().invoke(cli, [*words, *shop])
        assert result.exit_code == 2, words
        assert message in result.stderr


@pytest.mark.embedded
def test_nothing_was_counted_yet(embedded_valkey, name_prefix):
    options = ["--redis-url", embedded_valkey.url, "--app-id", name_prefix]
    for command, message in (("offers", "no such offer"), ("drivers", "checkout: 0 transactions")):
        result = CliRunner().invoke(cli, [command, *options])
        assert result.exit_code == 0
        assert message in result.stdout
        assert "check --app-id" in result.stderr


@pytest.mark.embedded
@pytest.mark.terminal
@pytest.mark.parametrize(
    ("command", "whole"),
    [
        ("offers", ("acceptance", "incremental", "gross EUR", "40.0%")),
        ("drivers", ("transactions", "confidence", "57.1%")),
    ],
)
def test_it_fits_a_terminal_of_80_columns(shop, command, whole):
    with terminal(command, *shop, size=(80, 60)) as screen:
        lines = screen.until(ended, history=True)
    assert "status 0" in lines
    assert all(len(line) <= 80 for line in lines)
    assert all(any(word in line for line in lines) for word in whole), "a word or a number is broken"


EVENTS = [
    ("checkout.started", 0, [{"product_id": "A", "price": "10"}]),
    ("offer.shown", 1, {"offer_id": "banner", "slot": "cart"}),
    ("order.completed", 60, [{"product_id": "A", "price": "10"}, {"product_id": "X", "price": "5", "offer_id": "banner"}]),
]  # fmt: skip
AS_OF = "2026-03-01T13:20:00Z"


@pytest.fixture
def file(tmp_path):
    """A checkout in which an offer was accepted."""
    lines = []
    for number, (kind, second, what) in enumerate(EVENTS):
        own = {"products": [{"quantity": 1, "category": each["product_id"], **each} for each in what]} if isinstance(what, list) else what  # fmt: skip
        lines.append(
            {
                "specversion": "1.0",
                "id": str(number),
                "source": "shop",
                "subject": "checkout/c",
                "type": f"commerce.{kind}.v1",
                "time": f"2026-03-01T12:{second // 60:02}:{second % 60:02}Z",
                "data": {"checkout_id": "c", "currency": "EUR", **own},
            }
        )
    path = tmp_path / "events.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return str(path)


def test_classify_answers_the_same_from_files(file):
    offers = json.loads(run("classify", "--offers", "--json", "--as-of", AS_OF, file))
    assert [(row["offer_id"], row["slot"], row["shown"], row["accepted"]) for row in offers["rows"]] == [("banner", "cart", 1, 1)]  # fmt: skip
    assert (offers["from"], offers["to"]) == ("2026-01-25T00:00:00Z", "2026-03-02T00:00:00Z")
    drivers = json.loads(run("classify", "--drivers", "--json", "--as-of", AS_OF, file))
    assert [(row["intent"], row["cross_sell"], row["lift"]) for row in drivers["pairs"]] == [("A", "X", 1.0)]
    assert "banner, cart" in run("classify", "--offers", "--as-of", AS_OF, file)
    assert "A + X" in run("classify", "--drivers", "--as-of", AS_OF, file)


def test_classify_of_one_journey(file):
    for option in ("--offers", "--drivers"):
        document = json.loads(run("classify", option, "--journey", "subscription", "--json", "--as-of", AS_OF, file))
        assert not document.get("rows")
        assert not document.get("products")
    history = json.loads(run("classify", "--history", "1d", "--journey", "checkout", "--json", "--as-of", AS_OF, file))
    assert {row["journey"] for row in history["rows"]} == {"checkout"}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--offers"], "--offers needs --as-of"),
        (["--drivers"], "--drivers needs --as-of"),
        (["--offers", "--drivers", "--as-of", AS_OF], "--offers and --drivers are both given; choose one"),
        (["--history", "1d", "--offers", "--as-of", AS_OF], "--history and --offers are both given; choose one"),
        (["--journey", "checkout", "--as-of", AS_OF], "--journey belongs to --history, --explain, --offers or --drivers"),
        (["--offers", "--as-of", AS_OF, "--table"], "--table shows transactions"),
    ],
)  # fmt: skip
def test_classify_says_which_options_fit_together(file, words, message):
    result = CliRunner().invoke(cli, ["classify", *words, file])
    assert result.exit_code == 2
    assert message in result.stderr


def other(**counts):
    return {"shown": 0, "declined": 0, "accepted": 0, "journey": "checkout", **counts}


HEAD = {"as_of": AS_OF, "from": AS_OF, "to": AS_OF, "time_zone": "UTC", "partial": False, "since": None}


def test_what_lies_beyond_the_bounds_is_said(capsys):
    offers_command.show({**HEAD, "step": "all", "rows": [], "other": [other(shown=1234)]})
    text = capsys.readouterr().out
    assert text.count("checkout, beyond the bound of a day") == 1
    assert "1,234 shown, 0 declined, 0 accepted" in text
    offers_command.show({**HEAD, "step": "1d", "rows": [], "other": [other(start=AS_OF, partial=True, declined=1)]})
    assert "checkout, 2026-03-01~, beyond the bound of a day: 0 shown, 1 declined" in capsys.readouterr().out
    kinds = {"pairs": [], "left_out": {"pairs": 0}, "other": {"pairs": {"transactions": 1620}}}
    drivers_command.show({**HEAD, "journey": "checkout", "transactions": 9, "known": 8, "reversed": 1, **kinds})
    assert "beyond the bound of a day, without their names: 1,620" in capsys.readouterr().out


def test_since_when_the_counts_are_complete_is_said(capsys):
    offers_command.show({**HEAD, "since": "2026-02-01T00:00:00Z", "step": "all", "rows": [], "other": []})
    assert "the counts are complete since 2026-02-01T00:00:00Z" in capsys.readouterr().out
