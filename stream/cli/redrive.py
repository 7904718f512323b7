"""`upsell-stream redrive`: sends dead letters back to the topic that they were read from, after the cause is fixed.

Rules: the record goes back unchanged, to its topic and partition. Its event counts in the windows of its own time, and once, however often it is sent:
it keeps its identity. The dead letter topic is only read, so an interrupted run can be repeated. A record that is sent back has the header
`upsell-redriven`. If it is rejected again, its new dead letter has the header too and is skipped: the first dead letter represents it.
"""

import json
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, NamedTuple, get_args

import click
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord, TopicPartition
from rich.table import Table
from rich.text import Text

from stream.cli.interrupt import Stop, stopping
from stream.cli.options import INPUT, KAFKA, with_settings
from stream.cli.parameters import Time
from stream.cli.records import partitions, producer, run
from stream.cli.screen import output, printable, progress
from stream.events.decode import Reason
from stream.events.outcome import HEADER_PREFIX
from stream.kafka.producer import CUT, OUTCOME_TOO_LARGE
from stream.kafka.security import client_options
from stream.settings import Settings

if TYPE_CHECKING:
    import asyncio

    from aiokafka.structs import RecordMetadata

REDRIVEN: Final = f"{HEADER_PREFIX}redriven"
"""Header of a record that was sent back: when."""
_SENT: Final = "sent"
_IN_FLIGHT: Final = 500
"""Records that are sent before their acknowledgements are awaited."""


class Selection(NamedTuple):
    """Which dead letters to send back. An empty tuple or None selects all."""

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
@click.option(
    "--reason",
    "reasons",
    multiple=True,
    type=click.Choice(get_args(Reason)),
    help="Only dead letters with this reason; repeatable.",
)
@click.option("--since", metavar="TIME", type=Time(), help="Only dead letters written at this time or later.")
@click.option("--until", metavar="TIME", type=Time(), help="Only dead letters written before this time.")
@click.option(
    "--topic", "topics", multiple=True, metavar="NAME", help="Only records that were read from this topic; repeatable."
)
@click.option("--dry-run", is_flag=True, help="Send nothing; print what would be sent.")
@click.option("--json", "as_json", is_flag=True, help="Print the counts as JSON instead of a table.")
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
    """Send dead letters back to the topic and partition that they were read from. Fix the cause first.

    An event counts in the windows of its own time, and once, however often it is sent. The command skips dead letters that were
    outcomes, whose value was cut, or whose topic and partition are unknown. It also skips a further dead letter of a record that was
    sent back before: the first one represents the record.
    """
    selection = Selection(reasons, since, until, topics)
    with stopping() as stop:
        counts = run(settings, _redrive(settings, selection, stop, dry_run=dry_run))
    _print_counts(counts, dry_run=dry_run, as_json=as_json)
    if stop.interrupted:
        raise click.Abort


async def _redrive(settings: Settings, selection: Selection, stop: Stop, *, dry_run: bool) -> Counter[tuple[str, str]]:
    """The number of dead letters by (reason, result)."""
    counts: Counter[tuple[str, str]] = Counter()
    async with producer(settings) as sender:
        topics = (settings.checkout_topic, settings.subscription_topic)
        inputs = dict(zip(topics, await partitions(settings, sender, topics), strict=True))
        sent: list[asyncio.Future[RecordMetadata]] = []
        with progress() as bar:
            task = bar.add_task("dead letters")
            async for letter in _letters(settings, sender, stop):
                headers = dict(letter.headers)
                reason = _text(headers, "reason")
                if not _is_selected(letter, headers, selection):
                    continue
                result = _result(headers, inputs)
                counts[reason, result] += 1
                if result == _SENT and not dry_run:
                    sent.append(await _send_back(sender, letter, headers))
                    if len(sent) >= _IN_FLIGHT:
                        await _acknowledged(sent)
                bar.advance(task)
        await _acknowledged(sent)
    return counts


async def _acknowledged(sent: "list[asyncio.Future[RecordMetadata]]") -> None:
    while sent:
        await sent.pop()


async def _letters(settings: Settings, sender: AIOKafkaProducer, stop: Stop) -> AsyncIterator[ConsumerRecord]:
    """The dead letters that are in the topic when the command starts to read it."""
    topic = settings.dead_letter_topic
    async with AIOKafkaConsumer(
        bootstrap_servers=settings.kafka_bootstrap_servers,
        auto_offset_reset="earliest",
        enable_auto_commit=False,
        max_partition_fetch_bytes=16 * 1024 * 1024,
        **client_options(settings),
    ) as consumer:
        if topic not in await consumer.topics():
            raise click.ClickException(f"topic {topic} does not exist; check the names of the topics in the settings")
        left = {TopicPartition(topic, number) for number in await sender.partitions_for(topic)}
        consumer.assign(left)
        # Some brokers return too low an end offset here and the right one with the first fetch.
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


def _is_selected(letter: ConsumerRecord, headers: Mapping[str, bytes], selection: Selection) -> bool:
    written = letter.timestamp * 1_000
    return (
        (not selection.reasons or _text(headers, "reason") in selection.reasons)
        and (selection.since is None or written >= selection.since)
        and (selection.until is None or written < selection.until)
        and (not selection.topics or _text(headers, "source-topic") in selection.topics)
    )


def _result(headers: Mapping[str, bytes], inputs: Mapping[str, set[int]]) -> str:
    """`sent`, or why the dead letter is skipped."""
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
    return _SENT


async def _send_back(
    sender: AIOKafkaProducer, letter: ConsumerRecord, headers: Mapping[str, bytes]
) -> "asyncio.Future[RecordMetadata]":
    own = [(name, value) for name, value in letter.headers if not name.startswith(HEADER_PREFIX)]
    sent: asyncio.Future[RecordMetadata] = await sender.send(
        _text(headers, "source-topic"),
        letter.value,
        key=letter.key,
        partition=int(_text(headers, "source-partition")),
        # With a new timestamp: an event that was rejected as `future` may be valid now.
        headers=[*own, (REDRIVEN, datetime.now(UTC).isoformat().encode())],
    )
    return sent


def _text(headers: Mapping[str, bytes], name: str) -> str:
    return (headers.get(HEADER_PREFIX + name) or b"").decode(errors="replace")


def _print_counts(counts: Mapping[tuple[str, str], int], *, dry_run: bool, as_json: bool) -> None:
    if as_json:
        document: dict[str, dict[str, int]] = {}
        for (reason, result), count in sorted(counts.items()):
            document.setdefault(reason, {})[result] = count
        click.echo(json.dumps({"dry_run": dry_run, "reasons": document}, indent=2))
        return
    table = Table("reason", "dead letters", "", box=None, pad_edge=False)
    for (reason, result), count in sorted(counts.items()):
        shown = ("would be sent" if dry_run else result) if result == _SENT else f"skipped: {result}"
        table.add_row(Text(printable(reason)), f"{count:,}", shown)
    output().print(table if counts else "no dead letters")
