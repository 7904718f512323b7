"""`upsell-stream classify`: events from files through the worker's own core, without Kafka, Redis or a clock."""

import json
from codecs import BOM_UTF8
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Final

import click
import msgspec

from stream.cli.figures import one_window
from stream.cli.moment import Moment
from stream.cli.options import JUDGEMENT, with_settings
from stream.cli.screen import output, progress
from stream.core.offline import Offline
from stream.core.result import Step
from stream.events.decode import LARGEST_RECORD, Rejected, decode_line
from stream.settings import Settings

_SHOWN: Final = 5
"""Rejected lines that are shown one by one."""
_OFTEN: Final = 500
"""Lines between two looks at the progress bar."""


class Transactions:
    """The newest version of every judged transaction, in order of first appearance."""

    def __init__(self, *, everything: bool) -> None:
        """`everything`: also those without kinds."""
        self._everything = everything
        self._newest: dict[str, bytes] = {}

    def take(self, step: Step) -> None:
        """Take over what one event did."""
        for version in step.versions:
            # Without kinds, or withdrawn, it keeps its place in the order: a later version may have some.
            shown = version.judged.kinds or (self._everything and not version.withdrawn)
            self._newest[version.transaction] = msgspec.json.encode(version.judged) if shown else b""

    def lines(self) -> Iterator[bytes]:
        """JSON, without line breaks."""
        return (line for line in self._newest.values() if line)


class Reader:
    """Events out of JSON Lines. What is wrong is counted, and the first of it shown."""

    def __init__(self) -> None:
        self.results: Counter[str] = Counter()
        """What became of every line read."""

    @property
    def events(self) -> int:
        """Lines read; blank ones are none."""
        return sum(self.results.values())

    def feed(self, name: str, file: IO[bytes], offline: Offline) -> Iterator[Step]:
        """Apply a file line by line."""
        for number, line in enumerate(_lines(file), start=1):
            if number == 1:
                line = line.removeprefix(BOM_UTF8)  # noqa: PLW2901 - the same line, of a program for Windows
            if not line or line.isspace():
                continue
            event = decode_line(line.rstrip(b"\r\n"))
            if isinstance(event, Rejected):
                self._reject(f"{name}:{number}", event)
                continue
            step = offline.apply(event)
            self.results[step.result] += 1
            yield step

    def conclude(self) -> None:
        """Say what was not simply applied."""
        notable = {result: count for result, count in sorted(self.results.items()) if result != "applied"}
        if notable:
            told = ", ".join(f"{count:,} {result}" for result, count in notable.items())
            click.echo(f"{self.events:,} events, of them {told}", err=True)

    def _reject(self, place: str, rejected: Rejected) -> None:
        self.results["rejected"] += 1
        count = self.results["rejected"]
        if count <= _SHOWN:
            field = f" {rejected.path}:" if rejected.path else ""
            click.echo(f"{place}: {rejected.reason}:{field} {rejected.detail}", err=True)
        elif count == _SHOWN + 1:
            click.echo("more lines are rejected; they are counted", err=True)


@click.command(
    epilog="""\b
Examples:
  upsell-stream classify events.jsonl
  upsell-stream classify --summary checkouts.jsonl subscriptions.jsonl
  upsell-stream classify --summary --json --as-of 2026-01-31T12:00:00Z events.jsonl
  zcat events.jsonl.gz | upsell-stream classify --all -
"""
)
@click.argument("files", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, allow_dash=True))
@click.option("--all", "everything", is_flag=True, help="Also transactions that are no upsell, cross-sell or downsell.")
@click.option("--summary", is_flag=True, help="Print the figures instead of the transactions.")
@click.option("--json", "as_json", is_flag=True, help="The summary as JSON instead of a table.")
@click.option("--as-of", metavar="TIME", type=Moment(), help="The summary, with the rolling windows at this time.")
@with_settings(JUDGEMENT)
def classify(
    files: tuple[str, ...], *, everything: bool, summary: bool, as_json: bool, as_of: int | None, settings: Settings
) -> None:
    """Judge events from FILES of JSON Lines (- is standard input), in the order given.

    Prints one transaction per line: its last version, in the order in which transactions first appeared. Lines that are no events
    are reported on standard error and counted as rejected.
    """
    offline = Offline(settings.core(), settings.registry(), as_of)
    reader = Reader()
    transactions = Transactions(everything=everything)
    wanted = not summary and as_of is None
    for step in _read(files, reader, offline):
        if wanted:
            transactions.take(step)
    if wanted:
        stdout = click.get_binary_stream("stdout")
        stdout.writelines(line + b"\n" for line in transactions.lines())
        stdout.flush()
    else:
        _print_summary(reader, offline, as_json=as_json, windows=as_of is not None)
    reader.conclude()


def _read(files: Iterable[str], reader: Reader, offline: Offline) -> Iterator[Step]:
    sizes = [Path(name).stat().st_size if name != "-" else 0 for name in files]
    with progress(counted=False) as bar:
        task = bar.add_task("reading", total=sum(sizes) or None)
        before = 0
        for name, size in zip(files, sizes, strict=True):
            with click.open_file(name, "rb") as file:
                for count, step in enumerate(reader.feed(name, file, offline)):
                    if size and not count % _OFTEN:
                        bar.update(task, completed=before + file.tell())
                    yield step
            before += size
            bar.update(task, completed=before)


def _lines(file: IO[bytes]) -> Iterator[bytes]:
    """Lines of a file, of which no more is held in memory than is needed to know that one is too large."""
    while line := file.readline(LARGEST_RECORD + 2):
        yield line
        while not line.endswith(b"\n") and len(line) == LARGEST_RECORD + 2:
            line = file.readline(LARGEST_RECORD + 2)


def _print_summary(reader: Reader, offline: Offline, *, as_json: bool, windows: bool) -> None:
    figures = offline.figures()
    counts = {
        "events": reader.events,
        "rejected": reader.results["rejected"],
        "duplicates": reader.results["duplicate"],
    }
    document = {**counts, **figures.summary(), **(figures.plain() if windows else {})}
    if as_json:
        click.echo(json.dumps(document, indent=2))
        return
    console = output()
    console.print(", ".join(f"{count:,} {name}" for name, count in counts.items()))
    for window, sections in {"everything": document, **document.get("windows", {})}.items():
        for table in one_window(window, sections):
            console.print("", table, sep="\n")
