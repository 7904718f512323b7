"""`/api/v1/history` and `/api/v1/explain`: what they answer, and what they refuse with words."""

import asyncio
import csv
import io
from datetime import datetime
from fractions import Fraction
from itertools import product

import aiohttp
import msgspec
import pytest
from support.past import CHECKOUTS, HOUR, NOW, checkouts, commit

from stream.core.config import DAY
from stream.observe import past, queries
from stream.observe.counters import Counters
from stream.observe.http import HttpServer
from stream.observe.view import View
from stream.settings import Settings
from stream.tables.interface import TablesUnavailableError
from stream.tables.memory import MemoryTables

SETTINGS = Settings(http_port=0)
THIS = NOW - NOW % HOUR
"""The running hour."""


class Tables(MemoryTables):
    """Fails, or waits, when a test says so."""

    def __init__(self):
        super().__init__(lambda: NOW)
        self.error = None
        self.running = 0
        self.at_most = 0

    async def history(self, shards, names, room):
        if self.error is not None:
            raise self.error
        self.running += 1
        self.at_most = max(self.at_most, self.running)
        await asyncio.sleep(0.01)
        self.running -= 1
        return await super().history(shards, names, room)


@pytest.fixture
async def tables():
    tables = Tables()
    for age in (1, 2, 25):
        events = checkouts(THIS - age * HOUR, 10, 3, 2) + checkouts(THIS - age * HOUR, 10, 5, 1, segment="vip")
        await commit(tables, events)
    await commit(tables, checkouts(THIS, 4, 1, channel="app"), settle=False)
    return tables


@pytest.fixture
async def server(tables):
    view = View(tables, SETTINGS)
    await view.refresh()
    async with HttpServer(SETTINGS, Counters(), view, lambda: (True, [])) as server:
        yield server


@pytest.fixture
async def ask(server):
    async with aiohttp.ClientSession(server.url, timeout=aiohttp.ClientTimeout(60)) as session:

        async def ask(path, **parameters):
            async with session.get(f"/api/v1/{path}", params=parameters) as response:
                return response.status, await response.json()

        yield ask


async def test_hours_of_the_last_day(ask):
    status, document = await ask("history", journey="checkout")
    assert status == 200
    assert (document["from"], document["to"]) == ("2026-02-28T13:00:00Z", "2026-03-01T14:00:00Z")
    assert document["since"] is None
    assert document["state"]["checkout"]["state"] in ("live", "partial")
    rows = {row["start"]: row for row in document["rows"]}
    assert len(rows) == 25
    full = rows["2026-03-01T12:00:00Z"]
    assert (full["journey"], full["value"], full["partial"]) == ("checkout", "all", False)
    assert (full["opportunities"], full["transactions"], full["kind_transactions"]["upsell"]) == (20, 11, 8)
    assert full["revenue"]["EUR"]["total"] == "190.00"
    assert full["rates"]["upsell_cross_sell_rate"] == 0.4
    assert full["amounts"]["average_order_value"] == {"currency": "EUR", "value": "17.2727"}
    assert "customers" not in full
    assert not any(name.startswith("customer_") for name in full["rates"])
    running = rows["2026-03-01T13:00:00Z"]
    assert (running["partial"], running["opportunities"]) == (True, 4), "what waits is counted, too"
    empty = rows["2026-03-01T05:00:00Z"]
    assert (empty["opportunities"], empty["rates"]["upsell_ratio"]) == (0, None)


async def test_values_of_a_dimension_have_a_row_each(ask):
    _, document = await ask("history", dimension="segment", **{"from": "1h"}, journey="checkout")
    found = [(row["start"][11:13], row["value"], row["opportunities"]) for row in document["rows"]]
    assert found == [("12", "new", 10), ("12", "vip", 10), ("13", "new", 4), ("13", "vip", 0)]
    _, document = await ask("history", dimension="channel", value="app", **{"from": "1h"}, journey="checkout")
    assert [row["opportunities"] for row in document["rows"]] == [0, 4]


async def test_cells_add_up_to_the_whole(ask):
    for dimension in ("channel", "segment"):
        _, parts = await ask("history", dimension=dimension)
        _, whole = await ask("history")
        for row in whole["rows"]:
            own = [each for each in parts["rows"] if (each["start"], each["journey"]) == (row["start"], row["journey"])]
            assert sum(each["opportunities"] for each in own) == row["opportunities"]
            assert sum(each["transactions"] for each in own) == row["transactions"]


async def test_days_of_a_time_zone(tables):
    settings = Settings(http_port=0, time_zone="Asia/Kathmandu")
    tables = Tables()
    for time in ("2026-02-28T18:14:59Z", "2026-02-28T18:15:00Z"):
        at = round(datetime.fromisoformat(time).timestamp()) * 1_000_000
        await commit(tables, checkouts(at, 1), config=settings.core())
    view = View(tables, settings)
    await view.refresh()
    async with (
        HttpServer(settings, Counters(), view, lambda: (True, [])) as server,
        aiohttp.ClientSession(server.url) as session,
        session.get("/api/v1/history", params={"step": "1d", "from": "2d", "journey": "checkout"}) as response,
    ):
        rows = (await response.json())["rows"]
    assert [(row["start"], row["opportunities"], row["partial"]) for row in rows] == [
        ("2026-02-27T00:00:00+05:45", 0, False),
        ("2026-02-28T00:00:00+05:45", 1, False),
        ("2026-03-01T00:00:00+05:45", 1, True),
    ]


async def test_csv_by_accept_or_by_name(server):
    async with aiohttp.ClientSession(server.url) as session:
        texts = []
        for headers, parameters in (({"Accept": "text/csv"}, {}), ({}, {"format": "csv"})):
            url = "/api/v1/history"
            async with session.get(
                url, headers=headers, params={"from": "2h", "journey": "checkout", **parameters}
            ) as response:
                assert response.content_type == "text/csv"
                texts.append(await response.text())
        async with session.get(
            "/api/v1/history", headers={"Accept": "text/csv"}, params={"format": "json"}
        ) as response:
            assert response.content_type == "application/json"
    assert texts[0] == texts[1]
    rows = [*csv.DictReader(io.StringIO(texts[0]))]
    assert [row["opportunities"] for row in rows] == ["20", "20", "4"]
    row = rows[0]
    assert (row["start"], row["partial"], row["kind_transactions_upsell"]) == ("2026-03-01T11:00:00Z", "false", "8")
    assert (row["revenue_EUR_total"], row["rates_upsell_cross_sell_rate"]) == ("190.00", "0.4")
    assert (row["amounts_average_order_value"], row["amounts_average_order_value_currency"]) == ("17.2727", "EUR")


async def test_a_label_is_no_formula_in_a_spreadsheet():
    tables = Tables()
    await commit(tables, checkouts(THIS, 1, segment="=1+1"))
    view = View(tables, SETTINGS)
    await view.refresh()
    async with (
        HttpServer(SETTINGS, Counters(), view, lambda: (True, [])) as server,
        aiohttp.ClientSession(server.url) as session,
        session.get("/api/v1/history?format=csv&dimension=segment&from=1h") as response,
    ):
        assert "'=1+1" in await response.text()


@pytest.mark.parametrize(
    ("path", "parameters", "words"),
    [
        ("history", {"journey": "basket"}, "journey: 'basket' is not allowed; allowed are checkout, subscription"),
        ("history", {"dimension": "category"}, "allowed are all, channel, segment"),
        ("history", {"dimension": "segment", "value": "gold"}, "value: 'gold' is no segment; known are new, other, unknown, vip"),
        ("history", {"value": "vip"}, "value: only with dimension=channel or dimension=segment"),
        ("history", {"step": "1w"}, "step: '1w' is not allowed; allowed are 1h, 1d"),
        ("history", {"steps": "1h"}, "steps: no such parameter; allowed are journey, dimension, value, from, to, step, format"),
        ("history", {"format": "xml"}, "allowed are json, csv"),
        ("history", {"from": "yesterday"}, "from: 'yesterday' is neither `now`, nor how long ago"),
        ("history", {"from": "2026-02-01T00:00:00Z"}, "hours are kept for 8 days, now from 2026-02-21T13:00:00Z on; days are kept longer (step=1d)"),
        ("history", {"from": "36d", "step": "1d"}, "days are kept for 35 days, now from 2026-01-25T00:00:00Z on"),
        ("history", {"from": "2h", "to": "3h"}, "is not before to"),
        ("history", {"from": "2026-03-02T00:00:00Z"}, "nothing after the present is known"),
        ("explain", {"kpi": "customer_upsell_rate"}, "kpi: 'customer_upsell_rate' cannot be explained; allowed are upsell_cross_sell_rate"),
        ("explain", {"kpi": "average_order_value"}, "cannot be explained"),
        ("explain", {"against": "tomorrow"}, "against: 'tomorrow' is not allowed; allowed are yesterday, last_week, previous"),
        ("explain", {"from": "2d", "against": "last_week"}, "against=last_week: from: hours are kept for 8 days"),
        ("explain", {"from": "26h", "to": "now"}, "against=yesterday: the period is longer than 24 hours"),
        ("explain", {"dimension": "channel", "value": "fax"}, "known are app, other, unknown, web"),
        ("explain", {"format": "csv"}, "no such parameter; allowed are journey, dimension, value, from, to, kpi, against"),
    ],
)  # fmt: skip
async def test_what_cannot_be_answered_says_what_is_allowed(ask, path, parameters, words):
    status, document = await ask(path, **parameters)
    assert status == 400
    assert words in document["error"]


async def test_a_parameter_is_given_once(server):
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"{server.url}/api/v1/history?step=1h&step=1d") as response,
    ):
        assert (response.status, (await response.json())["error"]) == (400, "step: given twice")


async def test_more_rows_than_allowed_are_refused(ask, monkeypatch):
    monkeypatch.setattr(past, "MOST_ROWS", 20)
    status, document = await ask("history")
    assert status == 400
    assert document["error"].startswith("from: 25 rows, and 20 are allowed; ask for at most 20 hours")
    assert queries.MOST_ROWS == 10_000


async def test_more_bytes_than_allowed_are_refused(ask, monkeypatch):
    monkeypatch.setattr(past, "ROOM", 50)
    status, document = await ask("history")
    assert status == 400
    assert "ask for a shorter one, such as 6 hours" in document["error"]


async def test_one_request_reads_at_a_time(ask, tables):
    answers = await asyncio.gather(*(ask(path) for path in ("history", "explain") * 5))
    assert {status for status, _ in answers} == {200}
    assert tables.at_most == 1


async def test_without_tables_it_is_not_available(ask, tables):
    tables.error = TablesUnavailableError("timeout", "10 s")
    assert await ask("history") == (503, {"error": "Redis does not answer (10 s)"})


async def test_without_a_view_it_is_not_available(tables):
    async with (
        HttpServer(SETTINGS, Counters(), View(tables, SETTINGS), lambda: (True, [])) as server,
        aiohttp.ClientSession(server.url) as session,
        session.get("/api/v1/explain") as response,
    ):
        assert (response.status, await response.json()) == (503, {"error": "the figures have not been read yet"})


async def test_what_a_version_without_history_stored_is_said():
    tables = Tables()
    await commit(tables, checkouts(THIS - 3 * HOUR, 5))
    state = tables.memory.shards[CHECKOUTS]
    state.state = msgspec.msgpack.encode(msgspec.msgpack.decode(state.state)[:5])
    state.recent = msgspec.msgpack.encode(msgspec.msgpack.decode(state.recent)[:4])
    state.history.clear()
    await commit(tables, checkouts(THIS - HOUR, 2))
    view = View(tables, SETTINGS)
    await view.refresh()
    async with (
        HttpServer(SETTINGS, Counters(), view, lambda: (True, [])) as server,
        aiohttp.ClientSession(server.url) as session,
        session.get("/api/v1/history?journey=checkout") as response,
    ):
        document = await response.json()
    assert document["since"] == "2026-03-01T10:00:00.000001Z"
    assert [(row["start"][11:13], row["partial"], row["opportunities"]) for row in document["rows"]] == [
        ("10", True, 0), ("11", False, 0), ("12", False, 2), ("13", True, 0),
    ]  # fmt: skip


async def test_explain_compares_the_last_full_hour_with_yesterday(ask, tables):
    await commit(tables, checkouts(THIS - 25 * HOUR, 20, 12, segment="vip", name="more-"))
    status, document = await ask("explain")
    assert status == 200
    assert (document["after"]["from"], document["after"]["to"]) == ("2026-03-01T12:00:00Z", "2026-03-01T13:00:00Z")
    assert document["before"]["from"] == "2026-02-28T12:00:00Z"
    assert (document["after"]["numerator"], document["after"]["denominator"]) == (8, 20)
    assert (document["before"]["numerator"], document["before"]["denominator"]) == (20, 40)
    assert (document["change"], document["exact"]) == (-0.1, "-1/10")
    assert sum(Fraction(part["exact"]) for part in document["parts"]) == Fraction(document["exact"])
    assert [(each["channel"], each["segment"]) for each in document["main"]] == [("web", "vip"), ("web", "new")]
    assert not document["after"]["partial"]
    assert document["since"] is None


async def test_explain_takes_the_running_hour_when_asked(ask):
    _, document = await ask("explain", to="now", against="previous", dimension="segment", value="new")
    assert document["after"]["partial"]
    assert (document["after"]["numerator"], document["after"]["denominator"]) == (1, 4)
    assert (document["before"]["numerator"], document["before"]["denominator"]) == (3, 10)
    assert {(part["channel"], part["segment"]) for part in document["parts"]} == {("web", "new"), ("app", "new")}


async def test_explain_a_ratio_of_amounts_of_one_currency_only(ask, tables):
    _, document = await ask("explain", kpi="upsell_revenue_ratio", against="previous")
    assert (document["after"]["numerator"], document["after"]["denominator"]) == (19000, 11000)
    await commit(tables, checkouts(THIS - HOUR, 1, 1, currency="USD", segment="vip"))
    assert await ask("explain", kpi="upsell_revenue_ratio", against="previous") == (
        400,
        {
            "error": "kpi: upsell_revenue_ratio has no value where there are several currencies (EUR, USD); name a channel or a segment that has one"
        },
    )
    status, _ = await ask("explain", kpi="upsell_revenue_ratio", against="previous", dimension="segment", value="new")
    assert status == 200


async def test_an_hour_without_opportunities_has_no_rate(ask):
    status, document = await ask("explain", journey="subscription")
    assert status == 200
    assert (document["change"], document["main"], document["parts"]) == (None, None, [])


def test_times_at_the_ends_of_the_calendar_are_refused_with_words():
    for zone, moment in product(
        ("Pacific/Kiritimati", "Pacific/Pago_Pago"),
        ("0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "9999-12-31T23:59:59Z", "99999d"),
    ):
        with pytest.raises(queries.WrongQueryError, match="from: "):
            queries.parse(queries.HistoryQuery, [("from", moment)]).span(NOW, Settings(time_zone=zone).core())


def test_the_answer_is_kept_for_the_days_that_the_settings_say():
    core = Settings(history_hours_days=2, history_days=3).core()
    with pytest.raises(queries.WrongQueryError, match="kept for 2 days"):
        queries.parse(queries.HistoryQuery, [("from", "3d")]).span(NOW, core)
    span = queries.parse(queries.HistoryQuery, [("from", "2d")]).span(NOW, core)
    assert len(span.tables) == 49
    assert DAY == 24 * HOUR
