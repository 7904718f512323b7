"""The worker's HTTP server: metrics, health, rates and the live page.

Methods: GET and HEAD; POST only for the form of `stream.observe.access`. Everything else is 405, with `Allow`.

Rules: no handler waits for Kafka or Redis, except those of `stream.observe.past_api`; all other data is prepared in advance. No framework pages, no
access log, no `Server` header (except in answers to requests that are not HTTP). Slow clients must not slow down the shards: a connection serves one
request within `PATIENCE` seconds, and when there are `MOST_CONNECTIONS`, a new one closes the oldest.
"""

import asyncio
import gzip
import logging
import re
from collections import deque
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Final, Self

import msgspec
from aiohttp import hdrs, web
from aiohttp.http_exceptions import HttpProcessingError

from stream.observe import page
from stream.observe.access import LARGEST_FORM, Access
from stream.observe.counters import Counters
from stream.observe.past_api import PastApi
from stream.observe.view import View
from stream.settings import Settings, variable

Readiness = Callable[[], tuple[bool, list[str]]]
"""Returns whether the worker is ready (partitions assigned, Kafka answers, shards claimed, commits succeed), and what is missing."""

Handler = Callable[[web.Request], Awaitable[web.Response]]

_GZIP = re.compile(r"\bgzip\b(?!\s*;\s*q=0(?:\.0*)?\s*(?:,|$))", re.IGNORECASE)
"""In `Accept-Encoding`: the client takes gzip."""
_GZIP_LEVEL: Final = 1
"""The text of metrics shrinks to a tenth; higher levels take three times as long for a few percent."""

_TEXT_FORMAT = "text/plain; version=0.0.4; charset=utf-8"
_JSON = "application/json"
_SHUTDOWN = 1.0
"""Seconds until open connections are closed at the end."""
PATIENCE: Final = 30.0
"""Seconds from the start of a connection until the client must have received the answer."""
MOST_CONNECTIONS: Final = 100
"""Largest number of open connections. Prometheus, probes and a few live pages need about ten."""


class HttpServer:
    """Serves on the running event loop. Use it as an asynchronous context manager, or call `start` and `stop`."""

    def __init__(self, settings: Settings, counters: Counters, view: View, readiness: Readiness) -> None:
        """Without listening yet."""
        self._host = settings.http_host
        self._port = settings.http_port
        self._counters = counters
        self._view = view
        self._readiness = readiness
        self._runner: web.AppRunner | None = None
        self._listener: asyncio.Server | None = None
        self._connections: deque[web.RequestHandler] = deque()
        """Oldest first; some may be closed."""
        token = settings.http_token_file
        self._access = None if token is None else Access(token, settings.app_id)
        self._past = PastApi(settings, view)
        self._running_scrapes: dict[bool, asyncio.Task[bytes]] = {}
        """At most one without and one with gzip."""

    @property
    def port(self) -> int:
        """The port. If the settings say 0, it is known after `start`."""
        return self._port

    @property
    def url(self) -> str:
        """The server's URL, without a slash at the end."""
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"http://{host}:{self._port}"

    async def start(self) -> None:
        """Listen.

        Raises:
            OSError: the address is not available; the message names the settings.
        """
        application = web.Application(client_max_size=LARGEST_FORM)
        application.on_response_prepare.append(_finish_headers)
        for path, handler in self._routes().items():
            application.router.add_get(path, handler)
        if self._access is not None:
            application.middlewares.append(self._access.middleware)
            application.router.add_get("/login", self._access.show_form)
            application.router.add_post("/login", self._access.log_in)
        logging.getLogger("aiohttp.server").addFilter(_is_not_bad_http)
        runner = web.AppRunner(application, access_log=None, shutdown_timeout=_SHUTDOWN)
        await runner.setup()
        self._runner = runner
        try:
            self._listener = await asyncio.get_running_loop().create_server(self._accept, self._host, self._port)
        except BaseException as error:
            await self.stop()
            if isinstance(error, OSError | UnicodeError):  # UnicodeError: not a valid host name
                raise OSError(
                    f"cannot listen on {variable('http_host')} {self._host}, {variable('http_port')} {self._port}: {error}"
                ) from error
            raise
        self._port = self._listener.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Stop listening and close all connections. A second call has no effect."""
        listener, self._listener = self._listener, None
        if listener is not None:
            listener.close()
        runner, self._runner = self._runner, None
        if runner is not None:
            await runner.cleanup()

    def _accept(self) -> web.RequestHandler:
        assert self._runner is not None
        assert self._runner.server is not None
        if len(self._connections) == MOST_CONNECTIONS:
            _abort(self._connections.popleft())
        connection = self._runner.server()
        self._connections.append(connection)
        asyncio.get_running_loop().call_later(PATIENCE, _abort, connection)
        return connection

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.stop()

    def _routes(self) -> dict[str, Handler]:
        return {
            "/metrics": self._metrics,
            "/livez": self._livez,
            "/readyz": self._readyz,
            "/api/v1/rates": self._rates,
            "/api/v1/history": self._past.history,
            "/api/v1/explain": self._past.explain,
            "/api/v1/offers": self._past.offers,
            "/api/v1/drivers": self._past.drivers,
            "/page.json": self._page_state,
            **{path: _file(*asset) for path, asset in page.ASSETS.items()},
        }

    async def _metrics(self, request: web.Request) -> web.Response:
        zipped = _GZIP.search(request.headers.get(hdrs.ACCEPT_ENCODING, "")) is not None
        body = await self._scrape(zipped=zipped)
        encoding = {hdrs.CONTENT_ENCODING: "gzip"} if zipped else {}
        return web.Response(
            body=body, headers={hdrs.CONTENT_TYPE: _TEXT_FORMAT, hdrs.VARY: hdrs.ACCEPT_ENCODING} | encoding
        )

    async def _scrape(self, *, zipped: bool) -> bytes:
        """The metrics. Requests that arrive while they are being rendered or compressed share the result, so many at once cost the same as one."""
        if zipped not in self._running_scrapes:
            self._running_scrapes[zipped] = asyncio.create_task(self._compressed() if zipped else self._exposition())
            self._running_scrapes[zipped].add_done_callback(lambda _: self._running_scrapes.pop(zipped))
        return await asyncio.shield(self._running_scrapes[zipped])

    # In threads: with many channels and segments both would block the event loop noticeably.

    async def _exposition(self) -> bytes:
        return await asyncio.to_thread(self._counters.exposition) + self._view.exposition()

    async def _compressed(self) -> bytes:
        return await asyncio.to_thread(gzip.compress, await self._scrape(zipped=False), _GZIP_LEVEL)

    async def _livez(self, _: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def _readyz(self, _: web.Request) -> web.Response:
        ready, reasons = self._readiness()
        return _json(msgspec.json.encode({"ready": ready, "reasons": reasons}), 200 if ready else 503)

    async def _rates(self, _: web.Request) -> web.Response:
        rates = self._view.rates()
        if rates is None:
            return _json(msgspec.json.encode({"error": self._view.unavailable()}), 503)
        return _json(rates, 200)

    async def _page_state(self, _: web.Request) -> web.Response:
        ready, reasons = self._readiness()
        view = self._view
        counters = self._counters
        body = page.state(
            ready, reasons, counters.total_lag(), counters.sales.newest(), view.unavailable(), view.overview()
        )
        return _json(body, 200)


def _file(name: str, content_type: str) -> Handler:
    body = page.read(name)

    async def answer(_: web.Request) -> web.Response:
        return web.Response(body=body, content_type=content_type, charset="utf-8", headers=page.HEADERS)

    return answer


def _json(body: bytes, status: int) -> web.Response:
    return web.Response(body=body, status=status, headers={hdrs.CONTENT_TYPE: _JSON, hdrs.CACHE_CONTROL: "no-store"})


async def _finish_headers(_: web.Request, response: web.StreamResponse) -> None:
    response.headers.popall(hdrs.SERVER, None)
    response.force_close()
    response.headers[hdrs.CONNECTION] = (
        "close"  # aiohttp has decided about this header before: without it clients use the connection again
    )


def _is_not_bad_http(record: logging.LogRecord) -> bool:
    """A log filter: aiohttp logs each request that is not HTTP as an error, with what the client sent."""
    return not (record.exc_info and isinstance(record.exc_info[1], HttpProcessingError))


def _abort(connection: web.RequestHandler) -> None:
    if connection.transport is not None:
        connection.transport.abort()
