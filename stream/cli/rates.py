"""`upsell-stream rates`: the current figures of all workers, read from Redis."""

import asyncio
import json
from collections.abc import Iterator
from typing import Any, Final

import click
from rich.console import Group, RenderableType
from rich.live import Live

from stream.cli.figures import by_label, by_window
from stream.cli.options import REDIS, with_settings
from stream.cli.screen import output
from stream.core.config import MICROSECONDS, STEP
from stream.core.counting.figures import TOTAL, Figures, ShardFigures
from stream.core.counting.summary import decode_summary
from stream.settings import Settings
from stream.tables.interface import IncompatibleStateError, ShardSummary, Tables, TablesUnavailableError
from stream.tables.redis import connect

_IDLE: Final = 30
"""Seconds without a commit of any worker after which a warning is printed."""


@click.command(
    epilog="""\b
Examples:
  upsell-stream rates --redis-url redis://redis:6379/0
  upsell-stream rates --window 1h --watch
  upsell-stream rates --json | jq '.windows["1h"].checkout.rates'
"""
)
@click.option("--window", metavar="NAME", help="Window for the tables by segment, channel and category.  [the longest]")
@click.option("--watch", is_flag=True, help="Continue, with new figures every 5 seconds.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document; with --watch one per line.")
@with_settings(("app_id", *REDIS))
def rates(settings: Settings, *, window: str | None, watch: bool, as_json: bool) -> None:
    """Show the current figures of all workers with the same --app-id."""
    try:
        asyncio.run(_rates(settings, window, watch=watch, as_json=as_json))
    except TablesUnavailableError as error:
        raise click.ClickException(f"cannot read from Redis ({error}); run `upsell-stream check`") from None
    except IncompatibleStateError as error:
        raise click.ClickException(str(error)) from None


def figures_of(summaries: list[ShardSummary]) -> Figures:
    """The figures of all shards together."""
    return Figures(ShardFigures(decode_summary(each.summary, each.recent), each.customers) for each in summaries)


async def _rates(settings: Settings, window: str | None, *, watch: bool, as_json: bool) -> None:
    tables = connect(settings)
    try:
        if watch and not as_json and output().is_terminal:
            with Live(console=output(), auto_refresh=False, screen=True) as live:
                while True:
                    live.update(Group(*await _view(tables, window, brief=True)), refresh=True)
                    await asyncio.sleep(STEP / MICROSECONDS)
        while True:
            if as_json:
                summaries = await tables.summaries()
                _warn(summaries, await tables.now())
                document = figures_of(summaries).plain()
                click.echo(json.dumps(document, indent=None if watch else 2))
            else:
                output().print(*await _view(tables, window, brief=False), sep="\n")
            if not watch:
                return
            await asyncio.sleep(STEP / MICROSECONDS)
    finally:
        await tables.close()


async def _view(tables: Tables, window: str | None, *, brief: bool) -> list[RenderableType]:
    summaries = await tables.summaries()
    if not brief:
        _warn(summaries, await tables.now())
    document = figures_of(summaries).plain()
    windows = document["windows"]
    if summaries and window is not None and window not in windows:
        raise click.BadParameter(f"{window!r} is not one of {', '.join(windows)}", param_hint="--window")
    shown = (
        window
        if window is not None and window in windows
        else next((name for name in reversed(windows) if name != TOTAL), TOTAL)
    )
    return list(_tables(document, shown, brief=brief))


def _tables(document: dict[str, Any], window: str, *, brief: bool) -> Iterator[RenderableType]:
    yield f"as of {document['as_of'] or 'never'}"
    for table in (*by_window(document["windows"], brief=brief), *by_label(window, document["windows"][window])):
        yield ""
        yield table


def _warn(summaries: list[ShardSummary], now: int) -> None:
    if not summaries:
        click.echo("no worker with this --app-id has counted anything yet; check --app-id", err=True)
        return
    idle = (now - max(each.committed_at for each in summaries)) // MICROSECONDS
    if idle > _IDLE:
        click.echo(
            f"no worker has committed for {idle:,} s: the figures are that old; check that workers run", err=True
        )
