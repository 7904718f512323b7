"""Who gets in where a token is set."""

import re
import time

import aiohttp
import pytest
from support.summaries import SMALL, FakeTables, shard

from stream.observe import access
from stream.observe.counters import Counters
from stream.observe.http import HttpServer
from stream.observe.view import View
from stream.settings import Settings

TOKEN = "a-token-of-a-test"
OPEN = ("/metrics", "/livez", "/readyz", "/page.css", "/login")
PROTECTED = (
    "/",
    "/page.js",
    "/page.json",
    "/api/v1/rates",
    "/api/v1/offers",
    "/api/v1/drivers",
    "/api/v1/series",
    "/nowhere",
    "/livez/",
    "/metrics;x",
)


@pytest.fixture(autouse=True)
def at_once(monkeypatch):
    monkeypatch.setattr(access, "WRONG_TOKEN_DELAY", 0.0)


@pytest.fixture
def file(tmp_path):
    file = tmp_path / "token"
    file.write_text(TOKEN + "\n")
    return file


@pytest.fixture
async def server(file):
    settings = Settings(windows=("5m",), http_port=0, http_token_file=file, app_id="shop.eu")
    view = View(FakeTables([shard(cells=SMALL)]), settings)
    await view.refresh()
    async with HttpServer(settings, Counters(), view, lambda: (True, [])) as server:
        yield server


@pytest.fixture
async def client(server):
    """It keeps cookies, as a browser does."""
    jar = aiohttp.CookieJar(unsafe=True)  # 127.0.0.1 is no name
    async with aiohttp.ClientSession(server.url, cookie_jar=jar, timeout=aiohttp.ClientTimeout(30)) as session:
        yield session


def bearer(token):
    return {"Authorization": f"Bearer {token}"}


async def log_in(client, token=TOKEN, **headers):
    async with client.post("/login", data={"token": token}, headers=headers, allow_redirects=False) as response:
        return response.status, response.headers, await response.text()


@pytest.mark.parametrize("path", OPEN)
async def test_probes_prometheus_and_the_form_are_open(client, path):
    async with client.get(path) as response:
        assert response.status == 200


@pytest.mark.parametrize("path", PROTECTED)
async def test_everything_else_asks_for_the_token(client, path):
    for method in ("GET", "HEAD", "OPTIONS", "POST"):
        async with client.request(method, path) as response:
            assert response.status == 401
            assert response.headers["WWW-Authenticate"] == "Bearer"
            assert "Server" not in response.headers
    async with client.get(path, headers=bearer(TOKEN)) as response:
        assert response.status in (200, 404)


@pytest.mark.parametrize("wrong", ["", "mistaken", TOKEN[:-1], TOKEN + "x", "\N{EURO SIGN}"])
async def test_a_wrong_token_is_refused_and_not_repeated(client, wrong):
    for headers in (bearer(wrong), {"Authorization": f"Basic {TOKEN}"}):
        async with client.get("/api/v1/rates", headers=headers) as response:
            assert response.status == 401
            assert TOKEN not in await response.text()
    status, headers, text = await log_in(client, wrong)
    assert (status, "Set-Cookie" in headers) == (401, False)
    assert "The token is wrong." in text
    assert wrong == "" or wrong not in text


async def test_a_wrong_token_is_answered_late(client, monkeypatch):
    slept = []

    async def sleep(seconds):
        slept.append(seconds)

    monkeypatch.setattr(access, "WRONG_TOKEN_DELAY", 7.0)
    monkeypatch.setattr(access.asyncio, "sleep", sleep)
    async with client.get("/", headers=bearer("wrong")):
        pass
    await log_in(client, "wrong")
    assert slept.count(7.0) == 2


async def test_the_form_gives_a_cookie_that_opens_everything_and_does_not_contain_the_token(client):
    async with client.get("/") as response:
        assert (response.status, response.content_type) == (401, "text/html")
        form = await response.text()
        assert re.search('<form action="login" method="post">', form)
        policy = response.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "form-action 'self'" in policy
        assert "script" not in policy
    status, headers, _ = await log_in(client, f" {TOKEN} ")
    assert (status, headers["Location"]) == (303, "./")
    cookie = headers["Set-Cookie"]
    assert cookie.startswith("upsell-shop.eu=")
    assert {part.strip() for part in cookie.split(";")[1:]} >= {"HttpOnly", "SameSite=Strict", "Path=/"}
    assert "Secure" not in cookie
    assert TOKEN not in cookie
    for path in ("/", "/page.json", "/api/v1/rates"):
        async with client.get(path) as response:
            assert response.status == 200


@pytest.mark.parametrize(("forwarded", "secure"), [("https", True), ("HTTPS, http", True), ("http", False)])
async def test_the_cookie_is_for_https_only_where_the_request_came_by_it(client, forwarded, secure):
    _, headers, _ = await log_in(client, **{"X-Forwarded-Proto": forwarded})
    assert ("Secure" in headers["Set-Cookie"]) == secure


async def test_a_new_token_is_in_force_at_once_and_ends_the_old_cookies(client, file):
    await log_in(client)
    file.write_text("another")
    async with client.get("/page.json") as response:
        assert response.status == 401
    async with client.get("/page.json", headers=bearer(TOKEN)) as response:
        assert response.status == 401
    async with client.get("/page.json", headers=bearer("another")) as response:
        assert response.status == 200


@pytest.mark.parametrize(
    "value",
    [
        "",
        "x",
        ".",
        TOKEN,
        access._proof("another", int(time.time()) + 60),
        access._proof(TOKEN, int(time.time()) - 1),
        f"{int(time.time()) + 99}." + access._proof(TOKEN, int(time.time()) - 1).partition(".")[2],
        "9" * 5000 + ".x",
        "\N{SUPERSCRIPT TWO}.x",
    ],
    ids=["empty", "text", "dot", "token", "another token", "expired", "changed time", "long", "no digit"],
)
async def test_a_made_up_or_expired_cookie_is_refused(client, value):
    async with client.get("/page.json", headers={"Cookie": f"upsell-shop.eu={value}"}) as response:
        assert response.status == 401


async def test_a_token_that_cannot_be_read_lets_nobody_in_and_names_the_setting(client, file):
    await log_in(client)
    file.unlink()
    for attempt in (client.get("/"), client.get("/page.json", headers=bearer(TOKEN)), client.post("/login", data={})):
        async with attempt as response:
            assert response.status == 503
            assert (await response.json())[
                "error"
            ] == "UPSELL_HTTP_TOKEN_FILE cannot be read: No such file or directory"
    async with client.get("/readyz") as response:
        assert response.status == 200


async def test_a_form_of_any_size_or_kind_does_no_harm(client):
    async with client.post("/login", data=b"x" * (access.LARGEST_FORM + 1)) as response:
        assert response.status == 413
    for body in (b"\xff\xfe", b"token", b"token=%FF&token=", b"\x00" * 100):
        async with client.post("/login", data=body, headers={"Content-Type": "multipart/form-data"}) as response:
            assert response.status == 401


async def test_without_a_token_there_is_no_form():
    view = View(FakeTables([]), Settings())
    async with (
        HttpServer(Settings(http_port=0), Counters(), view, lambda: (True, [])) as server,
        aiohttp.ClientSession(server.url) as session,
    ):
        for path, status in (("/", 200), ("/login", 404)):
            async with session.get(path) as response:
                assert response.status == status
