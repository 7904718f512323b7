"""What the commands about the past have in common (`history`, `explain`, `offers`, `drivers`): one read of Redis, and the same answers as the API."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import click
import msgspec

from stream.core.counting.summary import decode_summary
from stream.core.shard.state import UnreadableStateError
from stream.observe.past import Build, Source
from stream.observe.queries import Q, WrongQueryError, parse
from stream.observe.state import journey_states, shard_views
from stream.settings import Settings
from stream.tables.interface import IncompatibleStateError, TablesUnavailableError
from stream.tables.redis import connect


def query_of(model: type[Q], **parameters: Any) -> Q:
    """A query from a command's options.

    Raises:
        click.UsageError: a value is not allowed.
    """
    try:
        return parse(model, [(name, value) for name, value in parameters.items() if value is not None])
    except WrongQueryError as error:
        raise click.UsageError(str(error)) from None


def answer(settings: Settings, query: Q, read: Callable[[Source, Q], Awaitable[Build]]) -> dict[str, Any]:
    """The document of the API, with the state of the figures.

    Raises:
        click.ClickException: Redis cannot answer.
        click.UsageError: the query cannot be answered.
    """
    try:
        return asyncio.run(_answer(settings, query, read))
    except WrongQueryError as error:
        raise click.UsageError(str(error)) from None
    except TablesUnavailableError as error:
        raise click.ClickException(f"no figures: {error}; run `upsell-stream check`") from None
    except (IncompatibleStateError, UnreadableStateError) as error:
        raise click.ClickException(str(error)) from None


async def _answer(settings: Settings, query: Q, read: Callable[[Source, Q], Awaitable[Build]]) -> dict[str, Any]:
    tables = connect(settings)
    try:
        application, now = await tables.application(), await tables.now()
        if not application.shards:
            click.echo("no worker with this --app-id has counted anything yet; check --app-id", err=True)
        summaries = [decode_summary(shard.summary, shard.recent) for shard in application.shards]
        views = shard_views(application, summaries, now)
        states = journey_states(views, application.topics, now, settings.behind)
        build = await read(Source(tables, views, settings.core(), now), query)
        return {"state": msgspec.to_builtins(states), **build()}
    finally:
        await tables.close()
