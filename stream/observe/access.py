"""Who may read what a worker serves: everybody, or those who know the token in `http_token_file`.

Rules: what is not in `OPEN` needs the token, also paths that do not exist. A program sends it with each request. A person sends it once, in a form, and
gets a cookie that proves it without containing it. Nothing is stored: each worker with the same token accepts the same cookies. If the file cannot be
read, nobody gets in.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qs

import msgspec
from aiohttp import hdrs, web

from stream.observe import page
from stream.settings import secret_in, variable

if TYPE_CHECKING:
    from pathlib import Path

OPEN: Final = frozenset({"/livez", "/readyz", "/metrics", "/login", "/page.css"})
"""Paths for probes, for Prometheus, and for the form."""
WRONG_TOKEN_DELAY: Final = 1.0
"""Seconds until a wrong token is answered."""
COOKIE_AGE: Final = 30 * 86_400
"""Seconds for which a cookie is valid, unless the token changes before."""
LARGEST_FORM: Final = 8192
"""Bytes."""

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Access:
    """Checks requests against the token in a file, which is read for each of them: so a new token is in force at once, and the old one no longer."""

    def __init__(self, file: Path, app_id: str) -> None:
        """`app_id` is part of the cookie's name: browsers keep one set of cookies for all ports of a host."""
        self._file = file
        self._cookie = f"upsell-{app_id}"

    @web.middleware
    async def middleware(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Answer 401, or 503 if the token cannot be read, instead of what is not open to this request."""
        if request.path in OPEN:
            return await handler(request)
        try:
            token = secret_in(self._file)
        except OSError as error:
            return _unreadable(error)
        given = _bearer(request)
        if given is not None and not _equal(given, token):
            await asyncio.sleep(WRONG_TOKEN_DELAY)
            return _refusal("the token is wrong")
        if given is None and not _is_valid(request.cookies.get(self._cookie, ""), token):
            if request.path == "/":
                return _form(401)
            return _refusal("a token is required: send the header Authorization: Bearer TOKEN, or log in at /")
        return await handler(request)

    async def show_form(self, _: web.Request) -> web.Response:
        """`GET /login`."""
        return _form(200)

    async def log_in(self, request: web.Request) -> web.Response:
        """`POST /login`: the form's `token`. Answers with the cookie and leads to the page, or with the form again."""
        try:
            token = secret_in(self._file)
        except OSError as error:
            return _unreadable(error)
        given = parse_qs((await request.read()).decode(errors="replace")).get("token", [""])[0]
        if not _equal(given.strip(), token):
            await asyncio.sleep(WRONG_TOKEN_DELAY)
            return _form(401, "The token is wrong.")
        answer = web.Response(status=303, headers={hdrs.LOCATION: "./", hdrs.CACHE_CONTROL: "no-store"})
        forwarded = request.headers.get(hdrs.X_FORWARDED_PROTO, "").partition(",")[0].strip().lower()
        answer.set_cookie(
            self._cookie,
            _proof(token, int(time.time()) + COOKIE_AGE),
            max_age=COOKIE_AGE,
            httponly=True,
            samesite="Strict",
            secure=request.secure or forwarded == "https",
        )
        return answer


def _bearer(request: web.Request) -> str | None:
    """The token in the header; None without such a header."""
    scheme, _, given = request.headers.get(hdrs.AUTHORIZATION, "").partition(" ")
    return given.strip() if scheme.lower() == "bearer" else None


def _equal(given: str, right: str) -> bool:
    return hmac.compare_digest(given.encode(errors="surrogateescape"), right.encode())


def _proof(token: str, until: int) -> str:
    """A cookie's value: until when it is valid, in seconds since 1970, and a proof that its maker knows the token."""
    return f"{until}.{hmac.new(token.encode(), f'upsell-stream page {until}'.encode(), hashlib.sha256).hexdigest()}"


def _is_valid(cookie: str, token: str) -> bool:
    until = cookie.partition(".")[0]
    if not (until.isascii() and until.isdecimal()) or len(until) > 12:
        return False
    return _equal(cookie, _proof(token, int(until))) and int(until) > time.time()


def _form(status: int, trouble: str = "") -> web.Response:
    body = (
        page.read("login.html")
        .decode()
        .replace("<!--trouble-->", f'<p class="trouble" role="alert">{trouble}</p>' * bool(trouble))
    )
    answer = web.Response(
        text=body, status=status, content_type="text/html", charset="utf-8", headers=page.LOGIN_HEADERS
    )
    if status == 401:
        answer.headers[hdrs.WWW_AUTHENTICATE] = "Bearer"
    return answer


def _refusal(reason: str) -> web.Response:
    answer = _error(reason, 401)
    answer.headers[hdrs.WWW_AUTHENTICATE] = "Bearer"
    return answer


def _unreadable(error: OSError) -> web.Response:
    return _error(f"{variable('http_token_file')} cannot be read: {error.strerror or error}", 503)


def _error(reason: str, status: int) -> web.Response:
    return web.Response(
        body=msgspec.json.encode({"error": reason}),
        status=status,
        content_type="application/json",
        headers={hdrs.CACHE_CONTROL: "no-store"},
    )
