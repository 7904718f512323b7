"""`upsell-stream forget`: erases customers from the state of every worker.

Rules: an erasure goes to every partition of both input topics, with the same event id: partitioners of producers differ, and a cart may have another
key than its customer. Only the ids that the user typed are printed.
"""

import asyncio
import json
import uuid
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Final

import click

from stream.cli.options import INPUT, KAFKA, with_settings
from stream.cli.records import partitions, producer, run
from stream.events.decode import Rejected, decode_line
from stream.settings import Settings

_HEADERS: Final = [("content-type", b"application/cloudevents+json; charset=UTF-8")]


@click.command(
    epilog="""\b
Examples:
  upsell-stream forget k-42
  upsell-stream forget --bootstrap-servers kafka:9092 k-42 k-43
  upsell-stream forget - < customers.txt
"""
)
@click.argument("customers", nargs=-1, required=True, metavar="CUSTOMER...")
@click.option("--source", default="upsell-stream/forget", show_default=True, help="`source` of the erasure events.")
@with_settings((*KAFKA, *INPUT))
def forget(settings: Settings, *, customers: tuple[str, ...], source: str) -> None:
    """Erase each CUSTOMER (- reads ids from standard input, one per line). Workers replace the id by a pseudonym; all counts stay.

    CUSTOMER is an id as in customer_id or anonymous_id of the events. The command ends when Kafka has acknowledged the erasures;
    workers apply them in the order of each partition. Records in Kafka stay there until their retention ends.
    """
    erasures = [
        (customer, erasure(customer, source, str(uuid.uuid4()), datetime.now(UTC))) for customer in _named(customers)
    ]
    for customer, value in erasures:
        if isinstance(made := decode_line(value), Rejected):
            raise click.UsageError(f"the customer id {customer!r} or the source {source!r} is not valid: {made.detail}")
    run(settings, _send(settings, erasures))


def _named(customers: Iterable[str]) -> list[str]:
    """The ids on the command line, with those of standard input in place of a dash.

    Raises:
        click.UsageError: there is no id, or standard input is not UTF-8.
    """
    stdin = click.get_binary_stream("stdin")
    try:
        names = [
            name
            for customer in customers
            for name in ([line.decode("utf-8-sig").strip() for line in stdin] if customer == "-" else [customer])
            if name
        ]
    except UnicodeDecodeError as error:
        raise click.UsageError(f"standard input is not UTF-8: {error.object!r}") from None
    if not names:
        raise click.UsageError("no customer id was given")
    return names


def erasure(customer: str, source: str, id: str, time: datetime) -> bytes:  # noqa: A002 - the event's id
    """The CloudEvent that erases a customer."""
    event: dict[str, object] = {
        "specversion": "1.0",
        "id": id,
        "source": source,
        "type": "commerce.customer.erased.v1",
        "time": time.isoformat(),
        "subject": f"customer/{customer}",
        "data": {"customer_id": customer},
    }
    return json.dumps(event).encode()


async def _send(settings: Settings, erasures: Iterable[tuple[str, bytes]]) -> None:
    topics = tuple(settings.input_topics)
    async with producer(settings) as sender:
        numbers = zip(topics, await partitions(settings, topics), strict=True)
        shards = [(topic, number) for topic, those in numbers for number in sorted(those)]
        for customer, value in erasures:
            sent = [
                await sender.send(topic, value, key=customer.encode(), partition=number, headers=_HEADERS)
                for topic, number in shards
            ]
            await asyncio.gather(*sent)
            click.echo(f"{customer}: erasure sent to {len(shards)} partitions of {' and '.join(topics)}", err=True)
