"""`upsell-stream retire`: takes an input topic that is no longer read out of the view."""

import asyncio

import click

from stream.cli.options import REDIS, with_settings
from stream.core.config import MICROSECONDS
from stream.observe.state import SILENT_AFTER
from stream.settings import Settings
from stream.tables.interface import IncompatibleStateError, TablesUnavailableError
from stream.tables.redis import connect


@click.command(
    epilog="""\b
Examples:
  upsell-stream retire checkout-events-old
"""
)
@click.argument("topic")
@with_settings(("app_id", *REDIS))
def retire(settings: Settings, *, topic: str) -> None:
    """Take the shards of TOPIC out of the view: its figures are no longer counted, and it no longer keeps workers with other topics from starting.

    Stop the workers that read it before. Their state stays in Redis: a worker that reads the topic again continues with it.
    """
    try:
        asyncio.run(_retire(settings, topic))
    except (TablesUnavailableError, IncompatibleStateError) as error:
        raise click.ClickException(str(error)) from None


async def _retire(settings: Settings, topic: str) -> None:
    tables = connect(settings)
    try:
        application, now = await tables.application(), await tables.now()
        ages = [now - each.committed_at for each in application.shards if each.shard.topic == topic]
        halted = any(shard.topic == topic for shard in application.halts)
        if not ages and not halted and topic not in application.topics:
            known = {each.shard.topic for each in application.shards} | application.topics.keys()
            names = ", ".join(sorted(known)) or "none"
            raise click.UsageError(f"application {settings.app_id} has no topic {topic}; it has: {names}")
        if ages and min(ages) < SILENT_AFTER:
            raise click.ClickException(
                f"{topic} was committed {max(0, min(ages)) // MICROSECONDS} s ago: stop the workers that read it, then wait {SILENT_AFTER // MICROSECONDS} s"
            )
        number = await tables.retire(topic)
        click.echo(f"{topic}: {number} shards are out of the view; their state stays in Redis", err=True)
    finally:
        await tables.close()
