"""`upsell-stream status`: the whole application at one look. The first command of every runbook."""

import asyncio
from collections import Counter
from collections.abc import Iterator

import click
import msgspec
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from stream.cli.inspection import Inspection, inspect
from stream.cli.options import INPUT, KAFKA, REDIS, with_settings
from stream.cli.parameters import Number
from stream.cli.screen import output, printable, quiet_clients
from stream.core.config import MICROSECONDS, STEP
from stream.settings import Settings

_STYLES = {"live": "green", "empty": "dim", "behind": "yellow", "partial": "yellow", "stopped": "bold red"}
_MIB = 1024 * 1024


@click.command(
    epilog="""\b
Examples:
  upsell-stream status --config upsell.toml
  upsell-stream status --watch
  upsell-stream status --json | jq .to_do
"""
)
@click.option("--watch", is_flag=True, help="Continue, with a new look every 5 seconds, until Ctrl-C.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document; with --watch one per line.")
@click.option(
    "--timeout", type=Number(0.1, 600), default=10.0, show_default=True, help="Seconds to wait for each server."
)
@with_settings(("app_id", *KAFKA, *INPUT, *REDIS, "behind_seconds"))
@click.pass_context
def status(ctx: click.Context, settings: Settings, *, watch: bool, as_json: bool, timeout: float) -> None:
    """Show the whole application at one look: journeys, workers, shards, lag, dead letters, memory of Redis.

    The exit status is 1 if somebody should act; the lines under "to do" say what. So the command can be a probe of the whole application.
    """
    quiet_clients()
    found = asyncio.run(_status(settings, timeout, watch=watch, as_json=as_json))
    ctx.exit(int(bool(found.to_do)))


async def _status(settings: Settings, limit: float, *, watch: bool, as_json: bool) -> Inspection:
    console = output()
    if watch and not as_json and console.is_terminal:
        with Live(console=console, auto_refresh=False, screen=True) as live:
            while True:
                live.update(_on_screen(console, [*_report(await inspect(settings, limit))]), refresh=True)
                await asyncio.sleep(STEP / MICROSECONDS)
    while True:
        found = await inspect(settings, limit)
        if as_json:
            click.echo(msgspec.json.format(msgspec.json.encode(found), indent=-1 if watch else 2))
        else:
            console.print(*_report(found), sep="\n")
        if not watch:
            return found
        await asyncio.sleep(STEP / MICROSECONDS)


def _on_screen(console: Console, report: list[RenderableType]) -> RenderableType:
    """As much as fits on the terminal; the last line says if something is left out."""
    if len(console.render_lines(Group(*report), pad=False)) <= console.height:
        return Group(*report)
    note = Text("… there is more; run it without --watch", style="bold")
    while report and len(console.render_lines(Group(*report, note), pad=False)) > console.height:
        report = report[:-1]
    return Group(*report, note)


def _report(found: Inspection) -> Iterator[RenderableType]:
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    if found.journeys is None:
        table.add_row("journeys", _unknown(found.redis_problem))
    for journey, state in (found.journeys or {}).items():
        table.add_row(journey, Text(state.state, style=_STYLES[state.state]))
    table.add_row("workers", _workers(found))
    table.add_row("shards", _shards(found))
    lag = _unknown(found.redis_problem or found.kafka_problem) if found.lag is None else f"{found.lag:,} records"
    table.add_row("lag", lag)
    table.add_row("dead letters", _dead_letters(found))
    table.add_row("without a key", _without_key(found))
    table.add_row("Redis memory", _memory(found))
    yield table
    yield ""
    if not found.to_do:
        yield Text("Nothing to do.", style="green")
        return
    yield Text("To do:", style="bold red")
    yield from (Text(f"- {printable(line)}") for line in found.to_do)


def _workers(found: Inspection) -> str:
    if found.workers is None:
        return _unknown(found.kafka_problem or "Kafka does not describe the consumer group")
    hosts = Counter(host for host in found.workers if host)
    if found.workers and not hosts:
        return str(len(found.workers))
    listed = ", ".join(host if count == 1 else f"{host} ({count})" for host, count in sorted(hosts.items()))
    return f"{len(found.workers)} at {escape(listed)}" if hosts else "none"


def _unknown(cause: str | None) -> str:
    return f"unknown: {cause}" if cause else "unknown"


def _dead_letters(found: Inspection) -> str:
    if found.dead_letters is None:
        return _unknown(found.redis_problem)
    letters = sum(found.dead_letters.values())
    reasons = ", ".join(f"{printable(reason)} {count:,}" for reason, count in found.dead_letters.items())
    return escape(f"{letters:,} in the last hour: {reasons}") if letters else "none in the last hour"


def _without_key(found: Inspection) -> str:
    if found.without_key is None:
        return _unknown(found.redis_problem)
    return f"{found.without_key:,} in the last hour" if found.without_key else "none in the last hour"


def _shards(found: Inspection) -> str:
    shards = found.shards
    if shards is None:
        return _unknown(found.redis_problem)
    states = Counter(f"halted ({shard.reason})" if shard.state == "halted" else shard.state for shard in shards)
    if not shards:
        return "none yet"
    oldest = max(shard.oldest_unapplied for shard in shards)
    waiting = f"; oldest record not applied: {oldest:,.0f} s" if oldest else ""
    return f"{len(shards)}: {', '.join(f'{count} {state}' for state, count in states.items())}{waiting}"


def _memory(found: Inspection) -> str:
    if found.redis is None:
        return _unknown(found.redis_problem or "Redis does not say (INFO)")
    used = f"{found.redis.used / _MIB:,.0f} MiB"
    if found.redis.limit is None:
        return f"{used}, no limit"
    return f"{used} of {found.redis.limit / _MIB:,.0f} MiB ({found.redis.used / found.redis.limit:.0%})"
