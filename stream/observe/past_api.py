"""`/api/v1/history` and `/api/v1/explain`.

Rules: unlike all other handlers these two read the tables, one request after the other, and what they read is bounded. A query that cannot be answered is
400, and the answer says what is allowed; 503 means that the tables cannot answer now.
"""

import asyncio
import re
from collections.abc import Callable
from typing import Any, Final, TypeVar

import msgspec
from aiohttp import hdrs, web

from stream.core.shard.state import UnreadableStateError
from stream.observe.past import Past, csv_of, explain_document, history_document, read, shards_of
from stream.observe.queries import ExplainQuery, HistoryQuery, Span, WrongQueryError, parse
from stream.observe.view import View
from stream.settings import Settings
from stream.tables.interface import IncompatibleStateError, TablesUnavailableError

_JSON: Final = "application/json"
_CSV: Final = "text/csv"
_TAKES_CSV: Final = re.compile(r"^\s*text/csv\b", re.IGNORECASE)
"""In `Accept`: the client prefers CSV."""

Q = TypeVar("Q", HistoryQuery, ExplainQuery)


class PastApi:
    """The two handlers."""

    def __init__(self, settings: Settings, view: View) -> None:
        """`view` says which shards there are."""
        self._config = settings.core()
        self._view = view
        self._one = asyncio.Lock()

    async def history(self, request: web.Request) -> web.Response:
        """Answer with the history by hour or day, as JSON or CSV."""

        def build(past: Past, query: HistoryQuery, spans: tuple[Span, ...], state: Any) -> tuple[bytes, str]:
            document = {"state": state, **history_document(past, query, spans[0])}
            if query.format == "csv" or (query.format is None and _TAKES_CSV.match(accept)):
                return csv_of(document).encode(), _CSV
            return msgspec.json.encode(document), _JSON

        accept = request.headers.get(hdrs.ACCEPT, "")
        return await self._answer(request, HistoryQuery, lambda query, now: (query.span(now, self._config),), build)

    async def explain(self, request: web.Request) -> web.Response:
        """Answer with what changed a rate."""

        def build(past: Past, query: ExplainQuery, spans: tuple[Span, ...], state: Any) -> tuple[bytes, str]:
            before, after = spans
            return msgspec.json.encode({"state": state, **explain_document(past, query, (before, after))}), _JSON

        return await self._answer(request, ExplainQuery, lambda query, now: query.spans(now, self._config), build)

    async def _answer(
        self,
        request: web.Request,
        model: type[Q],
        spans_of: Callable[[Q, int], tuple[Span, ...]],
        build: Callable[[Past, Q, tuple[Span, ...], Any], tuple[bytes, str]],
    ) -> web.Response:
        try:
            query = parse(model, request.query.items())
            overview = self._view.overview()
            if overview is None:
                return _error(503, self._view.unavailable() or "")
            async with self._one:
                now = await self._view.tables.now()
                spans = spans_of(query, now)
                past = await read(
                    self._view.tables, shards_of(overview.shards, query.journey), spans, self._config, now
                )
                body, kind = await asyncio.to_thread(build, past, query, spans, overview.states)
        except WrongQueryError as error:
            return _error(400, str(error))
        except (TablesUnavailableError, IncompatibleStateError, UnreadableStateError) as error:
            return _error(503, str(error))
        charset = "utf-8" if kind == _CSV else None
        return web.Response(body=body, content_type=kind, charset=charset, headers={hdrs.CACHE_CONTROL: "no-store"})


def _error(status: int, text: str) -> web.Response:
    body = msgspec.json.encode({"error": text})
    return web.Response(body=body, status=status, content_type=_JSON, headers={hdrs.CACHE_CONTROL: "no-store"})
