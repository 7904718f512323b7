"""`upsell-stream check`: what to fix before a worker runs in production, and what is wrong while workers run.

Rules: nothing is changed or created. Each warning and each error says what to do. An error means lost data or a worker that cannot run; a warning may be
intended, or says what could not be looked at.
"""

import asyncio
from collections.abc import Mapping
from typing import Final

import click
from rich.markup import escape
from rich.table import Table

from stream.cli.findings import Finding, Level, about_settings
from stream.cli.kafka_findings import kafka_findings
from stream.cli.options import EVERYTHING, with_settings
from stream.cli.parameters import Number
from stream.cli.redis_findings import known_topics, redis_findings
from stream.cli.screen import output, quiet_clients
from stream.settings import Settings

_COLOURS: Final[Mapping[Level, str]] = {"ok": "green", "warning": "yellow", "error": "bold red"}


@click.command(
    epilog="""\b
Examples:
  upsell-stream check --config upsell.toml
  upsell-stream check --bootstrap-servers kafka:9092 --redis-url redis://redis:6379/0
"""
)
@click.option(
    "--timeout",
    type=Number(0.1, 600),
    default=10.0,
    show_default=True,
    help="Seconds to wait for each server.",
)
@with_settings(EVERYTHING)
@click.pass_context
def check(ctx: click.Context, settings: Settings, timeout: float) -> None:
    """Check Kafka, its topics, Redis, the stored state and the settings. Say what is wrong and what to do.

    The exit status is 1 if there is an error; with warnings only it is 0.
    """
    quiet_clients()
    console = output()
    findings = asyncio.run(_findings(settings, timeout))
    table = Table("", "about", "finding", box=None, pad_edge=False, show_header=False)
    for level, about, text in findings:
        table.add_row(f"[{_COLOURS[level]}]{level}[/]", about, escape(text))
    console.print(table)
    ctx.exit(int(any(finding.level == "error" for finding in findings)))


async def _findings(settings: Settings, limit: float) -> list[Finding]:
    known = await known_topics(settings, limit)
    kafka, logs = await kafka_findings(settings, limit, known)
    return [*kafka, *await redis_findings(settings, limit, logs), *about_settings(settings)]
