import asyncio
import gzip
import socket
import threading
from contextlib import closing, suppress
from pathlib import Path

import aiohttp
import pytest
import uvloop
from aiohttp.test_utils import make_mocked_request
from prometheus_client.parser import text_string_to_metric_families
from support.slow_clients import SORTS, slow_clients
from support.summaries import SMALL, FakeTables, shard

from stream.observe import http
from stream.observe.counters import Counters
from stream.observe.http import HttpServer
from stream.observe.view import View
from stream.settings import Settings

SETTINGS = Settings(windows=("5m", "1h"), http_host="127.0.0.1", http_port=0)


class Ready:
    def __init__(self):
        self.reasons = []

    def __call__(self):
        return not self.reasons, self.reasons


@pytest.fixture
def ready():
    return Ready()


@pytest.fixture
def view():
    return View(FakeTables([shard(cells=SMALL)]), SETTINGS)


@pytest.fixture
async def server(view, ready):
    async with HttpServer(SETTINGS, Counters(), view, ready) as server:
        yield server


@pytest.fixture
async def get(server):
    async with aiohttp.ClientSession(server.url, timeout=aiohttp.ClientTimeout(30)) as session:
        yield session.get


async def test_metrics_of_the_worker_and_of_all_shards(get, view):
    async with get("/metrics") as response:
        assert response.status == 200
        assert response.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
        alone = {family.name for family in text_string_to_metric_families(await response.text())}
    await view.refresh()
    async with get("/metrics") as response:
        both = {family.name for family in text_string_to_metric_families(await response.text())}
    assert "upsell_ready" in alone
    assert "upsell_window_transactions" in both - alone
    assert alone < both


async def test_rates(get, view):
    async with get("/api/v1/rates") as response:
        assert response.status == 503
        assert await response.json() == {"error": "the figures have not been read yet"}
    await view.refresh()
    async with get("/api/v1/rates") as response:
        assert response.status == 200
        assert response.content_type == "application/json"
        assert (await response.json())["windows"]["1h"]["checkout"]["transactions"] == 4


async def test_readiness(get, ready):
    async with get("/readyz") as response:
        assert (response.status, await response.json()) == (200, {"ready": True, "reasons": []})
    ready.reasons = ["no partition is assigned"]
    async with get("/readyz") as response:
        assert (response.status, await response.json()) == (
            503,
            {"ready": False, "reasons": ["no partition is assigned"]},
        )


async def test_lives_without_anything_else(get, ready):
    ready.reasons = ["Kafka is away"]
    async with get("/livez") as response:
        assert response.status == 200


@pytest.mark.parametrize("path", ["/page", "/metrics/", "/api/v1", "/router", "/tables", "/livez/../favicon.ico"])
async def test_nothing_else_is_served(get, path):
    async with get(path) as response:
        assert response.status == 404
        assert "Server" not in response.headers


async def test_clients_are_told_that_a_connection_is_for_one_request(get):
    for _ in range(50):  # else a client sends the next request over a connection that is being closed
        async with get("/livez") as response:
            assert response.headers["Connection"] == "close"


async def test_no_banner(get):
    async with get("/livez") as response:
        assert "Server" not in response.headers


async def test_the_port_is_free_again_after_the_end(view, ready):
    server = HttpServer(SETTINGS, Counters(), view, ready)
    await server.start()
    port = server.port
    assert port > 0
    await server.stop()
    await server.stop()
    with closing(socket.socket()) as client:
        assert client.connect_ex(("127.0.0.1", port)) != 0


async def connect(server):
    """Connect, and wait for the server: for the kernel, a client is connected before the server knows about it."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port, limit=1024)
    await until(lambda: server._runner.server.connections)
    return reader, writer


async def test_an_open_connection_does_not_hold_up_the_end(view, ready):
    server = HttpServer(SETTINGS, Counters(), view, ready)
    await server.start()
    _, writer = await connect(server)
    writer.write(b"GET /livez HTTP/1.1\r\nHost: x\r\n")  # an incomplete request
    await writer.drain()
    async with asyncio.timeout(30):
        await server.stop()
    writer.close()


@pytest.mark.parametrize("turns", range(5))
def test_a_connection_during_shutdown_is_refused(view, ready, turns):
    """On uvloop: asyncio (3.11) loses the socket of a connection that was accepted but not started when its server is closed."""

    async def knock():
        server = HttpServer(SETTINGS, Counters(), view, ready)
        await server.start()
        with closing(socket.create_connection(("127.0.0.1", server.port))) as client:
            client.setblocking(False)
            for _ in range(turns):
                await asyncio.sleep(0)
            await server.stop()
            async with asyncio.timeout(http.PATIENCE - 10):
                with suppress(ConnectionResetError):
                    assert await asyncio.get_running_loop().sock_recv(client, 1) == b""

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(knock())


async def test_a_port_in_use_is_an_error(server, view, ready):
    taken = SETTINGS.model_copy(update={"http_port": server.port})
    with pytest.raises(OSError, match="address already in use"):
        await HttpServer(taken, Counters(), view, ready).start()


@pytest.mark.parametrize("host", ["999.1.1.1", "no..host"])
async def test_an_invalid_address_is_an_error_that_names_the_setting(view, ready, host):
    wrong = SETTINGS.model_copy(update={"http_host": host})
    with pytest.raises(OSError, match=f"^cannot listen on UPSELL_HTTP_HOST {host}, UPSELL_HTTP_PORT 0: "):
        await HttpServer(wrong, Counters(), view, ready).start()


class LargeView(View):
    """A text larger than the kernel's buffers for a client that does not read."""

    def exposition(self):
        return b"# " + b"x" * 16_000_000 + b"\n"


async def until(condition):
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110 - a socket that is closed tells nobody else
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("talk", SORTS)
async def test_a_slow_client_is_disconnected(ready, monkeypatch, talk):
    monkeypatch.setattr(http, "PATIENCE", 0.5)
    async with HttpServer(SETTINGS, Counters(), LargeView(FakeTables([]), SETTINGS), ready) as server:
        reader, writer = await connect(server)
        talking = asyncio.create_task(talk(reader, writer))
        await until(lambda: all(each.transport is None for each in server._connections))
        talking.cancel()
        await asyncio.wait([talking])
        writer.close()


def descriptors():
    return len([*Path("/proc/self/fd").iterdir()])


async def test_five_hundred_slow_clients_do_not_block_others(ready):
    before = descriptors()
    async with (
        HttpServer(SETTINGS, Counters(), LargeView(FakeTables([]), SETTINGS), ready) as server,
        slow_clients(500, "127.0.0.1", server.port) as clients,
    ):
        await until(lambda: clients.made == 500 and len(server._runner.server.connections) <= http.MOST_CONNECTIONS)
        async with aiohttp.ClientSession(server.url, timeout=aiohttp.ClientTimeout(60)) as session:
            for path in ("/livez", "/metrics"):
                async with session.get(path) as response:
                    assert response.status == 200
                    await response.read()
    await until(lambda: descriptors() <= before)


async def test_a_connection_is_for_one_request(server):
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n" * 2)
    assert (await reader.read()).count(b"HTTP/1.1") == 1
    writer.close()


async def test_simultaneous_scrapes_share_one_rendering(view, ready):
    class BlockingCounters(Counters):
        """Blocks until `go` is set."""

        made = 0
        asked = threading.Event()
        go = threading.Event()

        def exposition(self):
            self.made += 1
            self.asked.set()
            self.go.wait(60)
            return super().exposition()

    counters = BlockingCounters()
    server = HttpServer(SETTINGS, counters, view, ready)
    plain, zipped = (make_mocked_request("GET", "/metrics", headers) for headers in ({}, {"Accept-Encoding": "gzip"}))
    together = [asyncio.create_task(server._metrics(request)) for request in [plain, zipped] * 10]
    await asyncio.to_thread(counters.asked.wait, 60)
    together.append(asyncio.create_task(server._metrics(zipped)))
    counters.go.set()
    bodies = {id(answer.body): answer.body for answer in await asyncio.gather(*together)}
    assert (counters.made, len(bodies)) == (1, 2), "one of each kind"
    short, long = sorted(bodies.values(), key=len)
    assert gzip.decompress(short) == long
    await server._metrics(plain)
    assert counters.made == 2


@pytest.mark.parametrize(
    ("asked", "zipped"),
    [
        ("gzip", True),
        ("gzip;q=0.5, deflate", True),
        ("br, GZIP", True),
        ("gzip;q=0", False),
        ("deflate", False),
        ("", False),
    ],
)
async def test_metrics_are_compressed_for_those_who_ask(server, asked, zipped):
    async with (
        aiohttp.ClientSession(server.url, auto_decompress=False) as session,
        session.get("/metrics", headers={"Accept-Encoding": asked}) as response,
    ):
        body = await response.read()
        assert response.headers.get("Content-Encoding") == ("gzip" if zipped else None)
        assert response.headers["Vary"] == "Accept-Encoding"
        assert response.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert b"upsell_ready" in (gzip.decompress(body) if zipped else body)


PATHS = ("/metrics", "/livez", "/readyz", "/api/v1/rates", "/page.json", "/", "/page.css", "/page.js")


@pytest.mark.parametrize("path", PATHS)
async def test_head_is_get_without_a_body_and_other_methods_are_refused(server, view, path):
    await view.refresh()
    async with aiohttp.ClientSession(server.url) as session:
        async with session.get(path) as got, session.head(path) as response:
            assert (response.status, await response.read()) == (200, b"")
            assert got.headers["Content-Type"] == response.headers["Content-Type"]
            assert int(response.headers["Content-Length"]) > 0
        for method in ("OPTIONS", "POST", "PUT", "DELETE"):
            async with session.request(method, path) as response:
                assert (response.status, response.headers["Allow"]) == (405, "GET,HEAD")


@pytest.mark.parametrize(
    "junk", [b"\x16\x03\x01 secret", b"GET / HTTP/1.1\r\nno header, secret\r\n\r\n", b"secret\r\n\r\n"]
)
async def test_requests_that_are_not_http_are_refused_and_not_logged(server, caplog, junk):
    caplog.set_level("DEBUG")
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(junk)
    assert (await reader.read()).startswith(b"HTTP/1.0 400")
    writer.close()
    assert "secret" not in caplog.text
