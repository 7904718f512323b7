"""`upsell-stream redrive`: dead letters back to where they were read, after a mend.

Rules: the record goes back as it was, to the topic and partition that it came from, so its event counts in the windows of its own time, and only once,
by its identity. Nothing is taken off the dead letter topic, so an interrupted run is simply made again. What goes back carries `upsell-redriven`; where
it is refused again, so does its next dead letter, which is left alone: the first one stands for it.
"""

import json
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple, get_args

import click
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord, TopicPartition
from rich.table import Table
from rich.text import Text

from stream.cli.interrupt import Stop, stopping
from stream.cli.moment import Moment
from stream.cli.options import INPUT, KAFKA, with_settings
from stream.cli.producing import partitions, producer, run
from stream.cli.screen import output, printable, progress, quiet_clients
from stream.events.decode import Reason
from stream.kafka.producer import CUT, OUTCOME_TOO_LARGE
from stream.kafka.security import client_options
from stream.settings import Settings

REDRIVEN: Final = "upsell-redriven"
"""Header of a record that came from the dead letter topic."""
_PREFIX: Final = "upsell-"
_TO_GO: Final = "sent"
_AT_ONCE: Final = 500
"""Records on their way before their acknowledgements are awaited."""


class Wanted(NamedTuple):
    """Which dead letters."""

    reasons: tuple[str, ...]
    since: int | None
    until: int | None
    topics: tuple[str, ...]


@click.command(
    epilog="""\b
Examples:
  upsell-stream redrive --dry-run
  upsell-stream redrive --reason invalid --since 2026-01-31T12:00:00Z
  upsell-stream redrive --reason future --topic checkout-events --json
"""
)
@click.option("--reason", "reasons", multiple=True, type=click.Choice(get_args(Reason)), help="Only these; repeatable.")
@click.option("--since", metavar="TIME", type=Moment(), help="Only dead letters written at this time or later.")
@click.option("--until", metavar="TIME", type=Moment(), help="Only dead letters written before this time.")
@click.option("--topic", "topics", multiple=True, metavar="NAME", help="Only those read from this topic; repeatable.")
@click.option("--dry-run", is_flag=True, help="Send nothing; tell what would be sent.")
@click.option("--json", "as_json", is_flag=True, help="The counts as JSON instead of a table.")
@with_settings((*KAFKA, *INPUT, "dead_letter_topic"))
def redrive(
    settings: Settings,
    *,
    reasons: tuple[str, ...],
    since: int | None,
    until: int | None,
    topics: tuple[str, ...],
    dry_run: bool,
    as_json: bool,
) -> None:
    """Send dead letters back to the topic and partition that they were read from, once what made them is mended.

    Each counts in the windows of its own time, and only once however often it is sent. Left alone are those that were cut, that came from nowhere, and
    that were sent back before: the first dead letter of a record stands for it.
    """
    quiet_clients()
    wanted = Wanted(reasons, since, until, topics)
    with stopping() as stop:
        counts = run(settings, _redrive(settings, wanted, stop, dry_run=dry_run))
    _tell(counts, dry_run=dry_run, as_json=as_json)
    if stop.interrupted:
        raise click.Abort


async def _redrive(settings: Settings, wanted: Wanted, stop: Stop, *, dry_run: bool) -> Counter[tuple[str, str]]:
    """What became of the dead letters: (reason, what) -> how many."""
    counts: Counter[tuple[str, str]] = Counter()
    async with producer(settings) as sender:
        topics = (settings.checkout_topic, settings.subscription_topic)
        inputs = dict(zip(topics, await partitions(settings, sender, topics), strict=True))
        sent: list[Any] = []
        with progress() as bar:
            task = bar.add_task("dead letters")
            async for letter in _letters(settings, sender, stop):
                headers = dict(letter.headers)
                reason = _text(headers, "reason")
                if not _is_wanted(letter, headers, wanted):
                    continue
                fate = _fate(headers, inputs)
                counts[reason, fate] += 1
                if fate == _TO_GO and not dry_run:
                    sent.append(await _send_back(sender, letter, headers))
                    if len(sent) >= _AT_ONCE:
                        await _acknowledged(sent)
                bar.advance(task)
        await _acknowledged(sent)
    return counts


async def _acknowledged(sent: list[Any]) -> None:
    while sent:
        await sent.pop()


async def _letters(settings: Settings, sender: AIOKafkaProducer, stop: Stop) -> AsyncIterator[ConsumerRecord]:
    """What the dead letter topic holds when the reading of a partition begins."""
    topic = settings.dead_letter_topic
    async with AIOKafkaConsumer(
        bootstrap_servers=settings.kafka_bootstrap_servers,
        auto_offset_reset="earliest",
        enable_auto_commit=False,
        max_partition_fetch_bytes=16 * 1024 * 1024,
        **client_options(settings),
    ) as consumer:
        if topic not in await consumer.topics():
            raise click.ClickException(f"there is no topic {topic}")
        left = {TopicPartition(topic, number) for number in await sender.partitions_for(topic)}
        consumer.assign(left)
        # Some brokers tell too early an end here and the true one with a fetch, so the later of the two is taken.
        ends: dict[TopicPartition, int] = await consumer.end_offsets(list(left))
        fetched_from: set[TopicPartition] = set()
        while left and not stop.requested:
            fetched = await consumer.getmany(*left, timeout_ms=200)
            for partition in list(left):
                if partition not in fetched_from and (end := consumer.highwater(partition)) is not None:
                    ends[partition] = max(ends[partition], end)
                    fetched_from.add(partition)
                for letter in fetched.get(partition, ()):
                    if letter.offset < ends[partition] and not stop.requested:
                        yield letter
                if partition in fetched_from and await consumer.position(partition) >= ends[partition]:
                    left.remove(partition)


def _is_wanted(letter: ConsumerRecord, headers: Mapping[str, bytes], wanted: Wanted) -> bool:
    written = letter.timestamp * 1_000
    return (
        (not wanted.reasons or _text(headers, "reason") in wanted.reasons)
        and (wanted.since is None or written >= wanted.since)
        and (wanted.until is None or written < wanted.until)
        and (not wanted.topics or _text(headers, "source-topic") in wanted.topics)
    )


def _fate(headers: Mapping[str, bytes], inputs: Mapping[str, set[int]]) -> str:
    if CUT in headers:
        return "cut"
    if _text(headers, "reason") == OUTCOME_TOO_LARGE:
        return "no event"
    if _text(headers, "source-partition") == "":
        return "no source"
    if int(_text(headers, "source-partition")) not in inputs.get(_text(headers, "source-topic"), ()):
        return "no such partition"
    if REDRIVEN in headers:
        return "sent back before"
    return _TO_GO


async def _send_back(sender: AIOKafkaProducer, letter: ConsumerRecord, headers: Mapping[str, bytes]) -> Any:
    own = [(name, value) for name, value in letter.headers if not name.startswith(_PREFIX)]
    return await sender.send(
        _text(headers, "source-topic"),
        letter.value,
        key=letter.key,
        partition=int(_text(headers, "source-partition")),
        # Without the old time stamp: an event from the future is one no longer.
        headers=[*own, (REDRIVEN, datetime.now(UTC).isoformat().encode())],
    )


def _text(headers: Mapping[str, bytes], name: str) -> str:
    return (headers.get(_PREFIX + name) or b"").decode(errors="replace")


def _tell(counts: Mapping[tuple[str, str], int], *, dry_run: bool, as_json: bool) -> None:
    if as_json:
        document: dict[str, dict[str, int]] = {}
        for (reason, fate), count in sorted(counts.items()):
            document.setdefault(reason, {})[fate] = count
        click.echo(json.dumps({"dry_run": dry_run, "reasons": document}, indent=2))
        return
    table = Table("reason", "dead letters", "", box=None, pad_edge=False)
    for (reason, fate), count in sorted(counts.items()):
        told = ("to be sent" if dry_run else fate) if fate == _TO_GO else f"left alone: {fate}"
        table.add_row(Text(printable(reason)), f"{count:,}", told)
    output().print(table if counts else "no dead letters")
