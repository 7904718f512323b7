"""`upsell-stream redrive`: sends dead letters back to where they belong, after the cause is fixed.

Rules: a rejected record goes back unchanged, to its topic and partition. Its event counts in the windows of its own time, and once, however often it is
sent: it keeps its identity. An outcome that was too large goes to the topic of outcomes, as it would have been published; its consumers drop repeats by
id. The topic of dead letters is only read, so an interrupted run can be repeated. A record that is sent back has the header `upsell-redriven`. If it is
rejected again, its new dead letter has the header too and is skipped: the first dead letter represents it.
"""

import json
from collections import Counter
from collections.abc import Mapping
from contextlib import aclosing
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, NamedTuple

import click
from aiokafka import AIOKafkaProducer
from aiokafka.errors import MessageSizeTooLargeError
from rich.table import Table
from rich.text import Text

from stream.cli.interrupt import Stop, stopping
from stream.cli.options import INPUT, KAFKA, with_settings
from stream.cli.parameters import Since, Time
from stream.cli.records import producer, run
from stream.cli.screen import output, printable, progress
from stream.events.outcome import OUTCOME_HEADERS
from stream.kafka.dead_letters import REASONS, REDRIVEN, DeadLetter, dead_letter, dead_letter_reader
from stream.kafka.security import client_options
from stream.kafka.topic_lookup import TopicUnusableError, check_usable, look_up
from stream.settings import Settings

if TYPE_CHECKING:
    import asyncio

    from aiokafka.structs import RecordMetadata

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
  upsell-stream redrive --reason outcome_too_large --since 2d
"""
)
@click.option(
    "--reason",
    "reasons",
    multiple=True,
    type=click.Choice(REASONS),
    help="Only dead letters with this reason; repeatable.",
)
@click.option(
    "--since",
    metavar="TIME",
    type=Since(),
    help="Only dead letters written since then: a time like 2026-01-31T12:00:00Z, or how long ago, like 15m, 1h or 2d.",
)
@click.option("--until", metavar="TIME", type=Time(), help="Only dead letters written before this time.")
@click.option(
    "--topic", "topics", multiple=True, metavar="NAME", help="Only records that were read from this topic; repeatable."
)
@click.option("--dry-run", is_flag=True, help="Send nothing; print what would be sent.")
@click.option("--json", "as_json", is_flag=True, help="Print the counts as JSON instead of a table.")
@with_settings((*KAFKA, *INPUT, "outcome_topic", "dead_letter_topic"))
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

    An event counts in the windows of its own time, and once, however often it is sent. An outcome that was too large for its topic
    (outcome_too_large) is published to the topic of outcomes; raise max.message.bytes of the topic first. The command skips dead letters
    whose value was cut, or whose topic and partition are unknown. It also skips a further dead letter of a record that was sent back
    before: the first one represents the record.
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
    targets = await _targets(settings)
    async with dead_letter_reader(settings) as reader, producer(settings) as sender:
        sending = _Sending(sender, settings.outcome_topic)
        with progress() as bar:
            task = bar.add_task("dead letters")
            async with aclosing(reader.records(selection.since, lambda: stop.requested)) as records:
                async for record in records:
                    letter = dead_letter(record)
                    if not _is_selected(letter, selection):
                        continue
                    result = _result(letter, targets, settings.outcome_topic)
                    counts[letter.reason, result] += 1
                    if result == _SENT and not dry_run:
                        await sending.send(letter)
                    bar.advance(task)
        await sending.acknowledged()
    return counts


async def _targets(settings: Settings) -> dict[str, range]:
    """The partitions of the topics to which a dead letter can go back. The topic of outcomes may be missing."""
    wanted = (*settings.input_topics, settings.outcome_topic)
    topics = await look_up(settings.kafka_bootstrap_servers, client_options(settings), wanted)
    for topic in settings.input_topics:
        check_usable(topics[topic])
    return {name: range(topic.partitions) for name, topic in topics.items()}


class _Sending:
    """Sends dead letters back, some at a time."""

    def __init__(self, sender: AIOKafkaProducer, outcome_topic: str) -> None:
        self._sender = sender
        self._outcome_topic = outcome_topic
        self._unacknowledged: list[tuple[str, DeadLetter, asyncio.Future[RecordMetadata]]] = []

    async def send(self, letter: DeadLetter) -> None:
        """Put a dead letter into the producer's buffer; waits for acknowledgements from time to time. Raises as `acknowledged`."""
        topic = self._outcome_topic if letter.is_outcome else letter.topic
        try:
            if letter.is_outcome:
                # As the worker would have published it: a repeat has to be the same message.
                sent = await self._sender.send(
                    topic, letter.record.value, key=letter.record.key, headers=[*OUTCOME_HEADERS]
                )
            else:
                sent = await self._sender.send(
                    topic,
                    letter.record.value,
                    key=letter.record.key,
                    partition=letter.partition,
                    # With a new timestamp: an event that was rejected as `future` may be valid now.
                    headers=[*letter.own_headers, (REDRIVEN, datetime.now(UTC).isoformat().encode())],
                )
        except MessageSizeTooLargeError:
            raise _too_large(topic, letter) from None
        self._unacknowledged.append((topic, letter, sent))
        if len(self._unacknowledged) >= _IN_FLIGHT:
            await self.acknowledged()

    async def acknowledged(self) -> None:
        """Wait until Kafka has acknowledged everything.

        Raises:
            TopicUnusableError: a record is larger than its topic allows.
            KafkaError: Kafka refused a record for another reason.
        """
        while self._unacknowledged:
            topic, letter, sent = self._unacknowledged.pop()
            try:
                await sent
            except MessageSizeTooLargeError:
                raise _too_large(topic, letter) from None


def _too_large(topic: str, letter: DeadLetter) -> TopicUnusableError:
    size = len(letter.record.value or b"")
    return TopicUnusableError(
        f"topic {topic} refuses a record as too large (one of {size:,} bytes, or one that was sent with it): raise its max.message.bytes "
        f"(kafka-configs.sh --alter --topic {topic} --add-config max.message.bytes=…), then run the command again. "
        "What was sent before counts once"
    )


def _is_selected(letter: DeadLetter, selection: Selection) -> bool:
    return (
        (not selection.reasons or letter.reason in selection.reasons)
        and (selection.until is None or letter.written < selection.until)
        and (not selection.topics or letter.topic in selection.topics)
    )


def _result(letter: DeadLetter, targets: Mapping[str, range], outcome_topic: str) -> str:
    """`sent`, or why the dead letter is skipped."""
    if letter.cut is not None:
        return "cut"
    if letter.is_outcome:
        return _SENT if targets[outcome_topic] else "no such topic"
    if letter.partition is None:
        return "no source"
    if letter.topic == outcome_topic or letter.partition not in targets.get(letter.topic, ()):
        return "no such partition"
    if letter.redriven:
        return "sent back before"
    return _SENT


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
