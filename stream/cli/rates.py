"""`upsell-stream rates`: the current figures of all workers, read from Redis."""

import asyncio
import json
from collections.abc import Mapping
from typing import Any, Final, Literal

import click
import msgspec
from rich.live import Live
from rich.text import Text

from stream.cli.figures import (
    LABELS,
    LEGEND,
    Label,
    Section,
    by_label,
    by_window,
    columns,
    headlines,
    longest,
    on_screen,
)
from stream.cli.options import REDIS, with_settings
from stream.cli.screen import output
from stream.core.config import MICROSECONDS, STEP
from stream.core.counting.figures import ALL, JOURNEYS, Figures, ShardFigures
from stream.core.counting.summary import decode_summary
from stream.observe.state import journey_states, shard_views
from stream.settings import Settings
from stream.tables.interface import Application, IncompatibleStateError, ShardSummary, TablesUnavailableError
from stream.tables.redis import connect

_HOW: Final = "see --dimension, or omit --watch"
_HOW_OF_ONE: Final = "omit --watch to see all"
"""How to see rows for which the terminal has no room."""


@click.command(
    epilog="""\b
Examples:
  upsell-stream rates --redis-url redis://redis:6379/0
  upsell-stream rates --watch
  upsell-stream rates --watch --dimension segment --window 1h
  upsell-stream rates --json | jq '.windows["1h"].checkout.rates'
"""
)
@click.option("--window", metavar="NAME", help="Show one window, with a column for each journey.  [all]")
@click.option(
    "--dimension",
    type=click.Choice((ALL, *LABELS)),
    help="Show only the tables of this dimension, by default in the longest window; `all`: of the journeys.",
)
@click.option("--watch", is_flag=True, help="Continue, with new figures every 5 seconds; a terminal shows what fits.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document; with --watch one per line.")
@with_settings(("app_id", *REDIS, "behind_seconds"))
def rates(
    settings: Settings, *, window: str | None, dimension: Label | Literal["all"] | None, watch: bool, as_json: bool
) -> None:
    """Show the current figures of all workers with the same --app-id.

    The first line says of each journey whether its figures are complete and current. ▲ ● ▼ mark the highest, the middle and the lowest band of a KPI.
    """
    try:
        asyncio.run(_rates(settings, window, dimension, watch=watch, as_json=as_json))
    except TablesUnavailableError as error:
        raise click.ClickException(f"no figures: {error}; run `upsell-stream check`") from None
    except IncompatibleStateError as error:
        raise click.ClickException(str(error)) from None


def figures_of(summaries: list[ShardSummary]) -> Figures:
    """The figures of all shards together."""
    return Figures(ShardFigures(decode_summary(each.summary, each.recent), each.customers) for each in summaries)


async def _rates(settings: Settings, window: str | None, dimension: str | None, *, watch: bool, as_json: bool) -> None:
    tables = connect(settings)
    console = output()
    try:
        if watch and not as_json and console.is_terminal:
            how = _HOW if dimension is None else _HOW_OF_ONE
            with Live(console=console, auto_refresh=False, screen=True) as live:
                while True:
                    document = _document(await tables.application(), await tables.now(), settings)
                    shown = _sections(document["windows"], window, dimension, brief=True)
                    live.update(on_screen(console, _head(document), shown, how), refresh=True)
                    await asyncio.sleep(STEP / MICROSECONDS)
        while True:
            application, now = await tables.application(), await tables.now()
            if not application.shards:
                click.echo("no worker with this --app-id has counted anything yet; check --app-id", err=True)
            document = _document(application, now, settings)
            if as_json:
                click.echo(json.dumps(document, indent=None if watch else 2))
            else:
                shown = _sections(document["windows"], window, dimension, brief=False)
                parts = [part for section in shown for part in ("", section)]
                console.print(*_head(document), *parts, "", LEGEND, sep="\n")
            if not watch:
                return
            await asyncio.sleep(STEP / MICROSECONDS)
    finally:
        await tables.close()


def _document(application: Application, now: int, settings: Settings) -> dict[str, Any]:
    """The document of `/api/v1/rates`."""
    summaries = [decode_summary(shard.summary, shard.recent) for shard in application.shards]
    states = journey_states(shard_views(application, summaries, now), application.topics, now, settings.behind)
    return {"state": msgspec.to_builtins(states), **figures_of(application.shards).plain()}


def _head(document: Mapping[str, Any]) -> list[Text]:
    return headlines(document["as_of"], document["state"])


def _sections(
    windows: Mapping[str, Mapping[str, Any]], window: str | None, dimension: str | None, *, brief: bool
) -> list[Section]:
    """The tables to show.

    Raises:
        click.BadParameter: there are figures, and none for this window.
    """
    if window is not None and window not in windows and len(windows) > 1:
        raise click.BadParameter(f"{window!r} is not one of {', '.join(windows)}", param_hint="--window")
    one = window if window in windows else None
    sections: list[Section] = []
    if dimension in (None, ALL):
        if one is None:
            sections += by_window(windows, brief=brief)
        else:
            sections += columns(one, {name: windows[one][name] for name in (*JOURNEYS, ALL)}, brief=brief)
    if dimension != ALL:
        labelled = one or longest(windows)
        sections += by_label(labelled, windows[labelled], [name for name in LABELS if dimension in (None, name)])
    return sections
