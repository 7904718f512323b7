"""`upsell-stream accept-partitions`: lets workers read the new partitions of an input topic."""

import click
from aiokafka.errors import KafkaError

from stream.cli.options import INPUT, KAFKA, REDIS, with_settings
from stream.cli.records import run
from stream.kafka.metadata import MetadataClient
from stream.kafka.security import CLIENT_ID, client_options
from stream.settings import Settings
from stream.tables.interface import IncompatibleStateError, TablesUnavailableError
from stream.tables.redis import connect


@click.command(
    epilog="""\b
Examples:
  upsell-stream accept-partitions checkout-events 6
"""
)
@click.argument("topic")
@click.argument("partitions", type=click.IntRange(1))
@with_settings(("app_id", *KAFKA, *INPUT, *REDIS))
def accept_partitions(settings: Settings, *, topic: str, partitions: int) -> None:
    """Accept that TOPIC has grown to so many PARTITIONS: workers read the new ones within 10 seconds.

    Keys have moved to the new partitions. A checkout or subscription that was under way then has its events in two partitions, and counts as two; those
    that began later are right. Do it when few are under way, or move to a new topic instead.
    """
    run(settings, _accept(settings, topic, partitions))


async def _accept(settings: Settings, topic: str, partitions: int) -> None:
    tables = connect(settings)
    try:
        known = (await tables.application()).topics
        if topic not in known:
            names = ", ".join(sorted(known)) or "none yet"
            raise click.UsageError(f"application {settings.app_id} reads no topic {topic}; it reads: {names}")
        if partitions < known[topic].partitions:
            raise click.UsageError(
                f"{known[topic].partitions} partitions of {topic} are read already; a topic cannot shrink"
            )
        count = await _count(settings, topic)
        if partitions > count:
            raise click.UsageError(f"{topic} has {count} partitions in Kafka, not {partitions}")
        left = count - partitions
        halted = (
            f" {topic} has {count} partitions in Kafka: {left} of them {'stays' if left == 1 else 'stay'} halted."
            if left
            else ""
        )
        if partitions == known[topic].partitions:
            click.echo(f"{topic}: {partitions} partitions are accepted already; nothing was changed.{halted}", err=True)
            return
        await tables.register_topic(topic, known[topic].journey, partitions, replace=True)
        click.echo(
            f"{topic}: {partitions} partitions are accepted (before: {known[topic].partitions}).{halted} Workers read them within 10 s; see "
            "`upsell-stream status`",
            err=True,
        )
    except (TablesUnavailableError, IncompatibleStateError) as error:
        raise click.ClickException(str(error)) from None
    finally:
        await tables.close()


async def _count(settings: Settings, topic: str) -> int:
    client = MetadataClient(settings.kafka_bootstrap_servers, CLIENT_ID, client_options(settings))
    try:
        (answer,) = await client.topics([topic])
    finally:
        await client.close()
    if answer.error:
        raise KafkaError(f"topic {topic} cannot be described")
    return answer.partitions
