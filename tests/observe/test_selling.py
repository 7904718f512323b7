"""`/api/v1/offers` and `/api/v1/drivers`: what they answer, and what they refuse with words."""

import asyncio
import csv
import io
from datetime import date, datetime

import aiohttp
import msgspec
import pytest
from support.past import CHECKOUTS, HOUR, NOW, checkouts, commit, offered

from stream.core.config import DAY
from stream.core.shard import state
from stream.core.shard.write_set import ShardId
from stream.observe import past, queries, selling
from stream.observe.counters import Counters
from stream.observe.http import HttpServer
from stream.observe.queries import DriversQuery, OffersQuery, WrongQueryError, parse
from stream.observe.view import View
from stream.settings import Settings
from stream.tables.interface import TablesUnavailableError
from stream.tables.memory import MemoryTables

SETTINGS = Settings(http_port=0)
TODAY = "2026-03-01"
FIRST = "2026-02-23T00:00:00Z"
"""Six days before."""
OTHER_SHARD = ShardId("checkout-events", 1)


class Tables(MemoryTables):
    """Fails, or waits, when a test says so. Notes which records are read."""

    def __init__(self):
        super().__init__(lambda: NOW)
        self.error = None
        self.running = 0
        self.at_most = 0
        self.names = []

    async def history(self, shards, names, room):
        if self.error is not None:
            raise self.error
        self.names.append(names)
        self.running += 1
        self.at_most = max(self.at_most, self.running)
        await asyncio.sleep(0.01)
        self.running -= 1
        return await super().history(shards, names, room)


@pytest.fixture
async def tables():
    """Today 10 shown, 4 accepted, 1 declined, in two shards; two days ago 5 shown, 1 accepted, in another slot."""
    tables = Tables()
    await commit(tables, offered(NOW - HOUR, 6, 3, 1))
    await commit(tables, offered(NOW - HOUR, 4, 1, wanted="B"), shard=OTHER_SHARD, settle=False)
    await commit(tables, offered(NOW - 2 * DAY, 5, 1, slot="mail"))
    await commit(tables, checkouts(NOW - HOUR, 1, 1, name="larger"))
    return tables


async def serve(tables, settings=SETTINGS):
    view = View(tables, settings)
    await view.refresh()
    return HttpServer(settings, Counters(), view, lambda: (True, []))


@pytest.fixture
async def server(tables):
    async with await serve(tables) as server:
        yield server


@pytest.fixture
async def ask(server):
    async with aiohttp.ClientSession(server.url, timeout=aiohttp.ClientTimeout(60)) as session:

        async def ask(path, **parameters):
            async with session.get(f"/api/v1/{path}", params=parameters) as response:
                return response.status, await response.json()

        yield ask


def short(rows):
    return [(row["offer_id"], row["slot"], row["shown"], row["declined"], row["accepted"]) for row in rows]


async def test_offers_of_the_last_seven_days(ask):
    status, document = await ask("offers")
    assert status == 200
    assert (document["from"], document["to"]) == ("2026-02-23T00:00:00Z", "2026-03-02T00:00:00Z")
    assert (document["step"], document["since"], document["partial"]) == ("all", None, True)
    assert (document["as_of"], document["time_zone"]) == ("2026-03-01T13:20:00Z", "UTC")
    assert document["state"]["checkout"]["state"] in ("live", "partial")
    assert short(document["rows"]) == [("banner", "cart", 10, 1, 4), ("banner", "mail", 5, 0, 1)]
    assert document["rows"][0] == {
        "start": "2026-02-23T00:00:00Z",
        "journey": "checkout",
        "partial": True,
        "offer_id": "banner",
        "slot": "cart",
        "shown": 10,
        "declined": 1,
        "accepted": 4,
        "by_verdict": {"upsell": 0, "cross_sell": 4, "downsell": 0, "restored": 0, "nothing": 0, "unknown": 0},
        "reversed": 0,
        "acceptance_rate": 0.4,
        "incremental_rate": 1.0,
        "gross": {"EUR": "40.00"},
        "kept": {"EUR": "40.00"},
    }
    assert document["other"] == []


async def test_a_row_for_each_day(ask):
    _, document = await ask("offers", step="1d", **{"from": "3d"})
    assert [(row["start"], row["partial"], row["slot"], row["shown"]) for row in document["rows"]] == [
        ("2026-02-27T00:00:00Z", False, "mail", 5),
        ("2026-03-01T00:00:00Z", True, "cart", 10),
    ]


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        ({"slot": "mail"}, [("banner", "mail", 5, 0, 1)]),
        ({"offer_id": "banner", "slot": "cart"}, [("banner", "cart", 10, 1, 4)]),
        ({"offer_id": "nobody's"}, []),
        ({"journey": "subscription"}, []),
        ({"from": "2026-02-27T23:59:59Z", "to": "2026-03-01T00:00:00Z"}, [("banner", "mail", 5, 0, 1)]),
        ({"from": "2026-02-28T00:00:00Z", "to": "2026-03-01T00:00:00Z"}, []),
        ({"from": "1h"}, [("banner", "cart", 10, 1, 4)]),
    ],
)
async def test_only_what_is_asked_for(ask, parameters, expected):
    status, document = await ask("offers", **parameters)
    assert status == 200
    assert short(document["rows"]) == expected


async def test_drivers_of_the_last_seven_days(ask):
    status, document = await ask("drivers")
    assert status == 200
    assert (document["from"], document["to"], document["partial"]) == (
        "2026-02-23T00:00:00Z",
        "2026-03-02T00:00:00Z",
        True,
    )
    assert (document["journey"], document["transactions"], document["known"], document["reversed"]) == ("checkout", 6, 6, 0)  # fmt: skip
    assert document["paths"] == [
        {
            "intent": "a",
            "product": "a",
            "reason": "quantity",
            "transactions": 1,
            "reversed": 0,
            "amounts": {"EUR": "10.00"},
        }
    ]
    assert document["pairs"] == [
        {
            "intent": intent,
            "cross_sell": "X",
            "transactions": both,
            "reversed": 0,
            "amounts": {"EUR": f"{both}0.00"},
            "support": support,
            "confidence": 1.0,
            "lift": 1.2,
        }
        for intent, both, support in (("A", 4, 0.666667), ("B", 1, 0.166667))
    ]
    assert [(row["product"], row["transactions"]) for row in document["products"]] == [
        ("X", 5),
        ("A", 4),
        ("B", 1),
        ("a", 1),
    ]
    assert document["left_out"] == {"paths": 0, "pairs": 0, "products": 0}
    assert document["other"]["pairs"] == {"transactions": 0, "reversed": 0, "amounts": {}}


async def test_drivers_of_one_kind_product_and_limit(ask):
    _, document = await ask("drivers", kind="products", limit="1")
    assert "pairs" not in document
    assert ([row["product"] for row in document["products"]], document["left_out"]) == (["X"], {"products": 3})
    _, document = await ask("drivers", product="B")
    assert ([*document["paths"]], len(document["pairs"]), len(document["products"])) == ([], 1, 1)
    _, document = await ask("drivers", product="nobody's", journey="subscription")
    assert (document["transactions"], document["pairs"]) == (0, [])


async def test_only_the_records_that_are_needed_are_read(ask, tables):
    today = datetime.fromisoformat(TODAY).toordinal()
    for path, kind, sorts in (
        ("offers", {}, "o"),
        ("drivers", {"kind": "products"}, "b"),
        ("drivers", {"kind": "pairs"}, "bq"),
        ("drivers", {"kind": "paths"}, "bp"),
        ("drivers", {}, "bpq"),
    ):
        tables.names.clear()
        await ask(path, **kind, **{"from": "1h"})
        (names,) = tables.names
        assert sorted(names) == sorted(f"{sort}:{today}" for sort in sorts)


async def test_days_of_a_time_zone():
    settings = Settings(http_port=0, time_zone="Asia/Kathmandu")
    tables = Tables()
    for time in ("2026-02-28T18:14:50Z", "2026-02-28T18:15:00Z"):
        at = round(datetime.fromisoformat(time).timestamp()) * 1_000_000
        await commit(tables, offered(at, 1), config=settings.core())
    async with (
        await serve(tables, settings) as server,
        aiohttp.ClientSession(server.url) as session,
        session.get("/api/v1/offers", params={"step": "1d"}) as response,
    ):
        rows = (await response.json())["rows"]
    assert [(row["start"], row["shown"]) for row in rows] == [
        ("2026-02-28T00:00:00+05:45", 1),
        ("2026-03-01T00:00:00+05:45", 1),
    ]


async def text_of(server, path, headers=None, **parameters):
    async with (
        aiohttp.ClientSession(server.url) as session,
        session.get(f"/api/v1/{path}", headers=headers, params=parameters) as response,
    ):
        return response.content_type, await response.text()


@pytest.mark.parametrize(
    ("path", "parameters", "head", "row"),
    [
        ("offers", {}, "start,journey,partial,offer_id,slot,shown,declined,accepted,by_verdict_upsell,", f"{FIRST},checkout,true,banner,cart,10,1,4,0,4"),
        ("drivers", {"kind": "products"}, "product,transactions,reversed,amounts_EUR", "X,5,0,50.00"),
        ("drivers", {"kind": "pairs"}, "intent,cross_sell,transactions,reversed,amounts_EUR,support,confidence,lift", "A,X,4,0,40.00,0.666667,1.0,1.2"),
        ("drivers", {"kind": "paths"}, "intent,product,reason,transactions,reversed,amounts_EUR", "a,a,quantity,1,0,10.00"),
    ],
)  # fmt: skip
async def test_csv_by_accept_or_by_name(server, path, parameters, head, row):
    kind, text = await text_of(server, path, format="csv", **parameters)
    assert kind == "text/csv"
    assert text == (await text_of(server, path, {"Accept": "text/csv"}, **parameters))[1]
    lines = text.splitlines()
    assert lines[0].startswith(head)
    assert lines[1].startswith(row)
    kind, _ = await text_of(server, path, {"Accept": "text/csv"}, format="json", **parameters)
    assert kind == "application/json"


async def test_csv_of_drivers_is_of_one_kind(server):
    kind, text = await text_of(server, "drivers", {"Accept": "text/csv"})
    assert (kind, "csv only with one kind" in text) == ("application/json", True)


async def test_csv_without_rows_has_a_header(server):
    _, text = await text_of(server, "offers", format="csv", slot="nowhere")
    assert text == "start,journey,partial,offer_id,slot\r\n"
    _, text = await text_of(server, "drivers", format="csv", kind="pairs", product="nothing")
    assert text == "intent,cross_sell\r\n"


async def test_a_name_is_no_formula_in_a_spreadsheet():
    tables = Tables()
    await commit(tables, offered(NOW, 1, 1, offer="=1+1", extra="@A1"))
    async with await serve(tables) as server:
        assert ",'=1+1," in (await text_of(server, "offers", format="csv"))[1]
        assert "\n'@A1," in (await text_of(server, "drivers", format="csv", kind="products"))[1]


@pytest.mark.parametrize(
    ("path", "parameters", "words"),
    [
        ("offers", {"journey": "basket"}, "journey: 'basket' is not allowed; allowed are checkout, subscription"),
        ("offers", {"step": "1h"}, "step: '1h' is not allowed; allowed are all, 1d"),
        ("offers", {"offer": "x"}, "offer: no such parameter; allowed are journey, from, to, offer_id, slot, step, format"),
        ("offers", {"offer_id": ""}, "offer_id: String should have at least 1 character"),
        ("offers", {"format": "xml"}, "allowed are json, csv"),
        ("offers", {"from": "yesterday"}, "from: 'yesterday' is neither `now`, nor how long ago"),
        ("offers", {"from": "36d"}, "from: days are kept for 35 days, now from 2026-01-25T00:00:00Z on"),
        ("offers", {"to": "2026-01-25T00:00:00Z"}, "days are kept for 35 days"),
        ("offers", {"from": "1d", "to": "2d"}, "is not before to"),
        ("offers", {"from": "2026-03-02T00:00:00Z"}, "nothing after the present is known"),
        ("drivers", {"kind": "triples"}, "kind: 'triples' is not allowed; allowed are paths, pairs, products"),
        ("drivers", {"limit": "0"}, "limit: '0' is not allowed; allowed are 1 to 10000"),
        ("drivers", {"limit": "10001"}, "limit: '10001' is not allowed; allowed are 1 to 10000"),
        ("drivers", {"limit": "many"}, "limit: 'many' is not allowed"),
        ("drivers", {"step": "1d"}, "step: no such parameter; allowed are journey, from, to, kind, product, limit, format"),
        ("drivers", {"format": "csv"}, "format: csv only with one kind; add kind=paths, kind=pairs or kind=products"),
        ("drivers", {"from": "36d"}, "days are kept for 35 days"),
    ],
)  # fmt: skip
async def test_what_cannot_be_answered_says_what_is_allowed(ask, path, parameters, words):
    status, document = await ask(path, **parameters)
    assert status == 400
    assert words in document["error"]


async def test_a_parameter_is_given_once(server):
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"{server.url}/api/v1/offers?slot=a&slot=b") as response,
    ):
        assert (response.status, (await response.json())["error"]) == (400, "slot: given twice")


async def test_more_rows_than_allowed_are_refused(ask, monkeypatch):
    monkeypatch.setattr(selling, "MOST_ROWS", 1)
    status, document = await ask("offers")
    assert (status, document["error"].startswith("from: more than 1 rows; ask for fewer days, step=all")) == (400, True)
    assert (await ask("offers", slot="mail"))[0] == 200
    monkeypatch.setattr(selling, "MOST_ROWS", 6)
    status, document = await ask("drivers")
    assert (status, document["error"]) == (
        400,
        "limit: more than 6 rows of all kinds together; ask for one kind, or at most limit=2",
    )
    assert (await ask("drivers", limit="2"))[0] == (await ask("drivers", kind="products"))[0] == 200
    assert queries.MOST_ROWS == 10_000


async def test_more_bytes_than_allowed_are_refused(ask, monkeypatch):
    monkeypatch.setattr(past, "ROOM", 50)
    for path in ("offers", "drivers"):
        status, document = await ask(path, **{"from": "11d"})
        assert status == 400
        assert "ask for a shorter one, such as 3 days" in document["error"]


async def test_one_request_reads_at_a_time(ask, tables):
    answers = await asyncio.gather(*(ask(path) for path in ("history", "offers", "drivers") * 4))
    assert {status for status, _ in answers} == {200}
    assert tables.at_most == 1


async def test_without_tables_it_is_not_available(ask, tables):
    tables.error = TablesUnavailableError("timeout", "10 s")
    for path in ("offers", "drivers"):
        assert await ask(path) == (503, {"error": "Redis does not answer (10 s)"})


async def test_beyond_the_bound_of_a_day_all_offers_are_one(monkeypatch):
    monkeypatch.setitem(state.KEYS_A_DAY, "o", 1)
    tables = Tables()
    await commit(tables, offered(NOW, 2, 1, offer="first"))
    await commit(tables, offered(NOW, 3, offer="second") + offered(NOW, 4, 1, offer="third"))
    await commit(tables, offered(NOW - DAY, 1, offer="third"))
    async with await serve(tables) as server, aiohttp.ClientSession(server.url) as session:
        async with session.get("/api/v1/offers") as response:
            document = await response.json()
        async with session.get("/api/v1/offers?offer_id=second") as response:
            unknown = await response.json()
        _, text = await text_of(server, "offers", format="csv")
    assert [(row["offer_id"], row["shown"], row["acceptance_rate"]) for row in document["rows"]] == [
        ("first", 2, 0.5),
        ("third", 1, None),
    ], "a part of the third may lie beyond the bound of today"
    (rest,) = document["other"]
    assert (rest["shown"], rest["accepted"], rest["acceptance_rate"]) == (7, 1, 0.142857)
    assert (unknown["rows"], unknown["other"]) == ([], document["other"]), "it may be there"
    (beyond,) = [row for row in csv.DictReader(io.StringIO(text)) if row["offer_id"] == ""]
    assert (beyond["slot"], beyond["journey"], beyond["shown"]) == ("", "checkout", "7")


async def test_what_a_version_without_history_stored_is_said():
    tables = Tables()
    await commit(tables, checkouts(NOW - 3 * DAY, 5))
    stored = tables.memory.shards[CHECKOUTS]
    stored.state = msgspec.msgpack.encode(msgspec.msgpack.decode(stored.state)[:5])
    stored.recent = msgspec.msgpack.encode(msgspec.msgpack.decode(stored.recent)[:4])
    stored.history.clear()
    await commit(tables, offered(NOW - DAY, 3, 1))
    async with await serve(tables) as server, aiohttp.ClientSession(server.url) as session:
        async with session.get("/api/v1/offers?step=1d&journey=checkout") as response:
            document = await response.json()
        async with session.get("/api/v1/drivers?to=2026-03-01T00:00:00Z") as response:
            products = await response.json()
    since = "2026-02-26T13:20:00.000001Z"
    assert (document["since"], document["partial"]) == (since, True)
    assert [(row["start"][:10], row["partial"], row["shown"]) for row in document["rows"]] == [("2026-02-28", False, 3)]
    assert (products["since"], products["partial"]) == (since, True), "it is over, and begins before the counts do"


@pytest.mark.parametrize("model", [OffersQuery, DriversQuery])
def test_times_at_the_ends_of_the_calendar_are_refused_with_words(model):
    for zone in ("Pacific/Kiritimati", "Pacific/Pago_Pago"):
        core = Settings(time_zone=zone).core()
        for moment in ("0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "9999-12-31T23:59:59Z", "99999d"):
            with pytest.raises(WrongQueryError, match=r"^(from|to): "):
                parse(model, [("from", moment)]).span(NOW, core)
        with pytest.raises(WrongQueryError, match=r"^(from|to): "):
            parse(model, [("to", "0001-01-01T00:00:00+14:00")]).span(NOW, core)


def test_days_that_are_asked_for_without_from():
    core = Settings(history_hours_days=2, history_days=3).core()
    assert len(parse(OffersQuery, []).span(NOW, core).tables) == 4, "all that are kept"
    days = parse(DriversQuery, [("to", "2026-02-20T00:00:00Z")]).span(NOW, Settings().core())
    assert [days.first, days.after] == [date(2026, 2, day).toordinal() for day in (13, 20)]
