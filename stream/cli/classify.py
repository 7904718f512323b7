"""`upsell-stream classify`: judges events from files with the same core as a worker, without Kafka, Redis or a clock."""

import json
from codecs import BOM_UTF8
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Final

import click
import msgspec

from stream.cli.figures import one_window
from stream.cli.options import JUDGEMENT, with_settings
from stream.cli.parameters import Time
from stream.cli.screen import output, progress
from stream.core.event import CheckoutEvent
from stream.core.offline import Offline
from stream.core.result import TOO_MANY_ORDERS, Step
from stream.events.decode import LARGEST_RECORD, Rejected, decode_line, too_many_orders
from stream.settings import Settings

_PRINTED_REJECTIONS: Final = 5
"""Rejected lines that are printed; further ones are only counted."""
_PROGRESS_LINES: Final = 500
"""Lines between two updates of the progress bar."""


class Transactions:
    """The newest version of every judged transaction, in the order of the first versions."""

    def __init__(self, *, everything: bool) -> None:
        """`everything`: also transactions without kinds."""
        self._everything = everything
        self._newest: dict[str, bytes] = {}

    def add(self, step: Step) -> None:
        """Add the versions of one step."""
        for version in step.versions:
            # A version without kinds, or withdrawn, keeps its place in the order: a later version may have kinds.
            shown = version.judged.kinds or (self._everything and not version.withdrawn)
            self._newest[version.transaction] = msgspec.json.encode(version.judged) if shown else b""

    def lines(self) -> Iterator[bytes]:
        """JSON without line breaks."""
        return (line for line in self._newest.values() if line)


class Reader:
    """Applies events from JSON Lines. Counts the results, and prints the first rejected lines."""

    def __init__(self) -> None:
        self.results: Counter[str] = Counter()
        """Number of lines by result."""

    @property
    def events(self) -> int:
        """Lines read, without blank ones."""
        return sum(self.results.values())

    def apply(self, name: str, file: IO[bytes], offline: Offline) -> Iterator[Step]:
        """Apply the events of a file, one at a time."""
        for number, line in enumerate(_lines(file), start=1):
            if number == 1:
                line = line.removeprefix(BOM_UTF8)  # noqa: PLW2901 - programs on Windows write it
            if not line or line.isspace():
                continue
            event = decode_line(line.rstrip(b"\r\n"))
            if isinstance(event, Rejected):
                self._reject(f"{name}:{number}", event)
                continue
            step = offline.apply(event)
            if step is TOO_MANY_ORDERS and isinstance(event, CheckoutEvent):
                self._reject(f"{name}:{number}", too_many_orders(event))
                continue
            self.results[step.result] += 1
            yield step

    def print_results(self) -> None:
        """Print how many events were not applied, by result."""
        others = {result: count for result, count in sorted(self.results.items()) if result != "applied"}
        if others:
            counts = ", ".join(f"{count:,} {result}" for result, count in others.items())
            click.echo(f"{self.events:,} events, of which {counts}", err=True)

    def _reject(self, place: str, rejected: Rejected) -> None:
        self.results["rejected"] += 1
        count = self.results["rejected"]
        if count <= _PRINTED_REJECTIONS:
            field = f" {rejected.path}:" if rejected.path else ""
            click.echo(f"{place}: {rejected.reason}:{field} {rejected.detail}", err=True)
        elif count == _PRINTED_REJECTIONS + 1:
            click.echo("more lines are rejected; they are only counted", err=True)


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
@click.option("--all", "everything", is_flag=True, help="Also print transactions without a kind.")
@click.option("--summary", is_flag=True, help="Print the figures instead of the transactions.")
@click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON instead of tables.")
@click.option("--as-of", metavar="TIME", type=Time(), help="Print the summary with the rolling windows at this time.")
@with_settings(JUDGEMENT)
def classify(
    files: tuple[str, ...], *, everything: bool, summary: bool, as_json: bool, as_of: int | None, settings: Settings
) -> None:
    """Judge events from FILES of JSON Lines (- is standard input), in the given order.

    Prints the last version of each transaction, one per line, in the order in which the transactions started. Lines that are not
    valid events are reported on standard error and counted as rejected.
    """
    offline = Offline(settings.core(), settings.registry(), as_of)
    reader = Reader()
    transactions = Transactions(everything=everything)
    print_transactions = not summary and as_of is None
    for step in _read(files, reader, offline):
        if print_transactions:
            transactions.add(step)
    if print_transactions:
        stdout = click.get_binary_stream("stdout")
        stdout.writelines(line + b"\n" for line in transactions.lines())
        stdout.flush()
    else:
        _print_summary(reader, offline, as_json=as_json, windows=as_of is not None)
    reader.print_results()


def _read(files: Iterable[str], reader: Reader, offline: Offline) -> Iterator[Step]:
    sizes = [Path(name).stat().st_size if name != "-" else 0 for name in files]
    with progress(counted=False) as bar:
        task = bar.add_task("reading", total=sum(sizes) or None)
        before = 0
        for name, size in zip(files, sizes, strict=True):
            with click.open_file(name, "rb") as file:
                for count, step in enumerate(reader.apply(name, file, offline)):
                    if size and not count % _PROGRESS_LINES:
                        bar.update(task, completed=before + file.tell())
                    yield step
            before += size
            bar.update(task, completed=before)


def _lines(file: IO[bytes]) -> Iterator[bytes]:
    """The lines of a file. A line that is too large for a record is cut, so that it does not fill the memory."""
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
