"""`upsell-stream dead-letters`: the newest dead letters.

Rules: nothing is changed. Only the newest records are read, not the whole topic. What may be personal is shown on request only
(`stream.cli.redaction` has the rules).
"""

import base64
import json
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any, Final

import click
from rich.console import Group
from rich.table import Table
from rich.text import Text

from stream.cli.options import KAFKA, with_settings
from stream.cli.parameters import Since
from stream.cli.records import run
from stream.cli.redaction import loaded, redacted, redacted_error, redacted_headers
from stream.cli.screen import output, printable
from stream.kafka.dead_letters import REASONS, DeadLetter, dead_letter, dead_letter_reader
from stream.settings import Settings

_LONGEST_VALUE: Final = 240
"""Characters of a value in a table, at most; fewer where the terminal is narrower."""
_LONGEST_ERROR: Final = 400
"""Characters of a path and an error text in a table, at most."""


@click.command(
    "dead-letters",
    epilog="""\b
Examples:
  upsell-stream dead-letters --since 1h
  upsell-stream dead-letters --reason invalid --reason future --limit 5
  upsell-stream dead-letters --since 2026-01-31T12:00:00Z --limit 10000 --json
""",
)
@click.option(
    "--reason",
    "reasons",
    multiple=True,
    type=click.Choice(REASONS),
    help="Only dead letters with this reason; repeatable.",
)
@click.option(
    "--topic", "topics", multiple=True, metavar="NAME", help="Only records that were read from this topic; repeatable."
)
@click.option(
    "--since",
    metavar="TIME",
    type=Since(),
    help="Only dead letters written since then: a time like 2026-01-31T12:00:00Z, or how long ago, like 15m, 1h or 2d.",
)
@click.option(
    "--limit",
    type=click.IntRange(1, 100_000),
    default=20,
    show_default=True,
    help="Show at most this many, the newest ones.",
)
@click.option(
    "--show-values",
    is_flag=True,
    help="Show values as they are, with personal data, and values that are not JSON.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per line, with nothing cut off.")
@with_settings((*KAFKA, "dead_letter_topic"))
def dead_letters(
    settings: Settings,
    *,
    reasons: tuple[str, ...],
    topics: tuple[str, ...],
    since: int | None,
    limit: int,
    show_values: bool,
    as_json: bool,
) -> None:
    """Show the newest dead letters first: when it was written, the reason, the record that was refused, what is wrong, and the value.

    Customers, names, coupons and everything that is not a known field are masked with ***, unless --show-values is given. Correct the
    cause, then send the records back with `upsell-stream redrive`.
    """
    letters = run(settings, _newest(settings, reasons, topics, since, limit))
    if as_json:
        for letter in letters:
            click.echo(json.dumps(_document(letter, show_values=show_values)))
        return
    if not letters:
        output().print("no dead letters")
        return
    output().print(_table(letters, show_values=show_values))
    if len(letters) == limit:
        click.echo(f"the newest {limit}; --limit shows more", err=True)


async def _newest(
    settings: Settings, reasons: tuple[str, ...], topics: tuple[str, ...], since: int | None, limit: int
) -> list[DeadLetter]:
    def wanted(letter: DeadLetter) -> bool:
        return (not reasons or letter.reason in reasons) and (not topics or letter.topic in topics)

    async with dead_letter_reader(settings) as reader:
        found = await reader.newest(limit, since, lambda record: wanted(dead_letter(record)))
    newest = sorted(
        (record for records in found.values() for record in records),
        key=lambda record: (record.timestamp, record.partition, record.offset),
        reverse=True,
    )
    return [dead_letter(record) for record in newest[:limit]]


def _table(letters: Iterable[DeadLetter], *, show_values: bool) -> Table:
    table = Table("written (UTC)", "refused record, what is wrong, and its value", box=None, pad_edge=False)
    for letter in letters:
        written = datetime.fromtimestamp(letter.written // 1_000_000, UTC)
        table.add_row(
            Text(f"{written:%Y-%m-%d %H:%M:%S}\n{printable(letter.reason) or 'no reason'}"),
            Group(
                Text(printable(_place(letter))),
                Text(_cut(_complaint(letter, show_values=show_values), _LONGEST_ERROR)),
                Text(_cut(_value(letter, show_values=show_values), _LONGEST_VALUE), no_wrap=True, overflow="ellipsis"),
            ),
        )
    return table


def _cut(text: str, longest: int) -> str:
    text = printable(text)
    return text if len(text) <= longest else f"{text[: longest - 1]}…"


def _place(letter: DeadLetter) -> str:
    if not letter.topic:
        return f"of unknown origin ({letter.record.topic} partition {letter.record.partition} offset {letter.record.offset})"
    place = f"{letter.topic} partition {letter.partition} offset {letter.offset}"
    return f"{place}, sent back before" if letter.redriven else place


def _complaint(letter: DeadLetter, *, show_values: bool) -> str:
    error = letter.error if show_values else redacted_error(letter.error, letter.path)
    return f"{letter.path}: {error}" if letter.path else error or "no error text"


def _value(letter: DeadLetter, *, show_values: bool) -> str:
    value = letter.record.value
    if letter.cut is not None:
        return f"the value ({letter.cut:,} bytes) was removed: too large for the topic of dead letters"
    if not value:
        return "no value"
    if show_values:
        return str(value.decode(errors="backslashreplace"))
    try:
        return json.dumps(redacted(value), ensure_ascii=False)
    except ValueError:
        return f"{len(value):,} bytes that are not JSON; --show-values shows them"


def _document(letter: DeadLetter, *, show_values: bool) -> dict[str, Any]:
    record = letter.record
    document: dict[str, Any] = {
        "time": datetime.fromtimestamp(letter.written / 1_000_000, UTC).isoformat(timespec="milliseconds"),
        "reason": letter.reason,
        "path": letter.path,
        "error": letter.error if show_values else redacted_error(letter.error, letter.path),
        "topic": letter.topic,
        "partition": letter.partition,
        "offset": letter.offset,
        "dead_letter": {"topic": record.topic, "partition": record.partition, "offset": record.offset},
        "redriven": letter.redriven,
        "headers": redacted_headers(letter.own_headers),
        "value": _parsed(record.value, show_values=show_values),
        "value_bytes": len(record.value or b""),
        "removed_bytes": letter.cut,
    }
    if show_values:
        document["key_base64"] = None if record.key is None else base64.b64encode(record.key).decode()
        document["value_base64"] = base64.b64encode(record.value or b"").decode()
    return document


def _parsed(value: bytes | None, *, show_values: bool) -> Any:
    """The JSON in a value; None if it is none."""
    try:
        return loaded(value) if show_values else redacted(value)
    except ValueError:
        return None
