"""`/api/v1/history`, `/api/v1/explain`, `/api/v1/offers` and `/api/v1/drivers`.

Rules: unlike all other handlers these read the tables, one request after the other, and what they read is bounded. A query that cannot be answered is
400, and the answer says what is allowed; 503 means that the tables cannot answer now.
"""

import asyncio
import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

import msgspec
from aiohttp import hdrs, web

from stream.core.shard.state import UnreadableStateError
from stream.observe.past import Build, Source, csv_of, read_explanation, read_history
from stream.observe.queries import DriversQuery, ExplainQuery, HistoryQuery, OffersQuery, Q, WrongQueryError, parse
from stream.observe.selling import drivers_csv, offers_csv, read_drivers, read_offers
from stream.observe.view import View
from stream.settings import Settings
from stream.tables.interface import IncompatibleStateError, TablesUnavailableError

_JSON: Final = "application/json"
_CSV: Final = "text/csv"
_TAKES_CSV: Final = re.compile(r"^\s*text/csv\b", re.IGNORECASE)
"""In `Accept`: the client prefers CSV."""

AsCsv = Callable[[Mapping[str, Any]], str]


class PastApi:
    """The handlers."""

    def __init__(self, settings: Settings, view: View) -> None:
        """`view` says which shards there are."""
        self._config = settings.core()
        self._view = view
        self._one = asyncio.Lock()

    async def history(self, request: web.Request) -> web.Response:
        """Answer with the history by hour or day, as JSON or CSV."""
        return await self._answer(request, HistoryQuery, read_history, csv_of)

    async def explain(self, request: web.Request) -> web.Response:
        """Answer with what changed a rate."""
        return await self._answer(request, ExplainQuery, read_explanation)

    async def offers(self, request: web.Request) -> web.Response:
        """Answer with the offers, as JSON or CSV."""
        return await self._answer(request, OffersQuery, read_offers, offers_csv)

    async def drivers(self, request: web.Request) -> web.Response:
        """Answer with the drivers, as JSON, or those of one kind as CSV."""
        return await self._answer(request, DriversQuery, read_drivers, drivers_csv)

    async def _answer(
        self,
        request: web.Request,
        model: type[Q],
        read: Callable[[Source, Q], Awaitable[Build]],
        as_csv: AsCsv | None = None,
    ) -> web.Response:
        parameters: list[tuple[str, Any]] = [*request.query.items()]
        if as_csv and "format" not in request.query and _TAKES_CSV.match(request.headers.get(hdrs.ACCEPT, "")):
            parameters.append(("format", "csv"))
        try:
            query = parse(model, parameters)
            overview = self._view.overview()
            if overview is None:
                return _error(503, self._view.unavailable() or "")
            is_csv = ("format", "csv") in parameters
            async with self._one:
                now = await self._view.tables.now()
                build = await read(Source(self._view.tables, overview.shards, self._config, now), query)
                body = await asyncio.to_thread(_encoded, build, overview.states, as_csv if is_csv else None)
        except WrongQueryError as error:
            return _error(400, str(error))
        except (TablesUnavailableError, IncompatibleStateError, UnreadableStateError) as error:
            return _error(503, str(error))
        kind, charset = (_CSV, "utf-8") if is_csv else (_JSON, None)
        return web.Response(body=body, content_type=kind, charset=charset, headers={hdrs.CACHE_CONTROL: "no-store"})


def _encoded(build: Build, state: Any, as_csv: AsCsv | None) -> bytes:
    document = {"state": state, **build()}
    return msgspec.json.encode(document) if as_csv is None else as_csv(document).encode()


def _error(status: int, text: str) -> web.Response:
    body = msgspec.json.encode({"error": text})
    return web.Response(body=body, status=status, content_type=_JSON, headers={hdrs.CACHE_CONTROL: "no-store"})
