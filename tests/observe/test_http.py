import asyncio
import socket
from contextlib import closing

import aiohttp
import pytest
from prometheus_client.parser import text_string_to_metric_families
from support.summaries import SMALL, FakeTables, shard

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
        assert await response.json() == {"error": "the figures were not read yet"}
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


async def test_an_open_connection_does_not_hold_up_the_end(view, ready):
    server = HttpServer(SETTINGS, Counters(), view, ready)
    await server.start()
    _, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(b"GET /livez HTTP/1.1\r\nHost: x\r\n")  # and never the rest
    await writer.drain()
    async with asyncio.timeout(30):
        await server.stop()
    writer.close()


async def test_a_port_in_use_is_an_error(server, view, ready):
    taken = SETTINGS.model_copy(update={"http_port": server.port})
    with pytest.raises(OSError, match="address already in use"):
        await HttpServer(taken, Counters(), view, ready).start()
