"""What the commands `history` and `explain` have in common: one read of Redis, and the same answers as the API."""

import asyncio
from collections.abc import Callable
from typing import Any, TypeVar

import click
import msgspec

from stream.core.counting.summary import decode_summary
from stream.core.shard.state import UnreadableStateError
from stream.observe.past import Past, read, shards_of
from stream.observe.queries import ExplainQuery, HistoryQuery, Span, WrongQueryError, parse
from stream.observe.state import journey_states, shard_views
from stream.settings import Settings
from stream.tables.interface import IncompatibleStateError, TablesUnavailableError
from stream.tables.redis import connect

Q = TypeVar("Q", HistoryQuery, ExplainQuery)


def query_of(model: type[Q], **parameters: Any) -> Q:
    """A query from a command's options.

    Raises:
        click.UsageError: a value is not allowed.
    """
    try:
        return parse(model, [(name, value) for name, value in parameters.items() if value is not None])
    except WrongQueryError as error:
        raise click.UsageError(str(error)) from None


def answer(
    settings: Settings,
    query: Q,
    spans_of: Callable[[int], tuple[Span, ...]],
    build: Callable[[Past, tuple[Span, ...]], dict[str, Any]],
) -> dict[str, Any]:
    """The document of the API, with the state of the figures.

    Raises:
        click.ClickException: Redis cannot answer.
        click.UsageError: the query cannot be answered.
    """
    try:
        return asyncio.run(_answer(settings, query, spans_of, build))
    except WrongQueryError as error:
        raise click.UsageError(str(error)) from None
    except TablesUnavailableError as error:
        raise click.ClickException(f"no figures: {error}; run `upsell-stream check`") from None
    except (IncompatibleStateError, UnreadableStateError) as error:
        raise click.ClickException(str(error)) from None


async def _answer(
    settings: Settings,
    query: Q,
    spans_of: Callable[[int], tuple[Span, ...]],
    build: Callable[[Past, tuple[Span, ...]], dict[str, Any]],
) -> dict[str, Any]:
    tables = connect(settings)
    try:
        application, now = await tables.application(), await tables.now()
        if not application.shards:
            click.echo("no worker with this --app-id has counted anything yet; check --app-id", err=True)
        summaries = [decode_summary(shard.summary, shard.recent) for shard in application.shards]
        views = shard_views(application, summaries, now)
        states = journey_states(views, application.topics, now, settings.behind)
        spans = spans_of(now)
        past = await read(tables, shards_of(views, query.journey), spans, settings.core(), now)
        return {"state": msgspec.to_builtins(states), **build(past, spans)}
    finally:
        await tables.close()
