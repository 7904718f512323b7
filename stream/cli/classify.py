"""`upsell-stream classify`: judges events from files with the same core as a worker, without Kafka, Redis or a clock."""

import json
from codecs import BOM_UTF8
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO, Final, get_args

import click
import msgspec
from rich.console import Console
from rich.progress import Progress
from rich.text import Text

from stream.cli.classified_past import Question, questions
from stream.cli.figures import one_window
from stream.cli.options import HISTORY, JUDGEMENT, with_settings
from stream.cli.parameters import Limit, Time
from stream.cli.screen import output, printable, progress
from stream.cli.verdicts import verdicts
from stream.cli.whole_file import Identities, Prices, Unmatched, spread
from stream.core.counting.explain import explainable
from stream.core.counting.figures import JOURNEYS
from stream.core.event import CheckoutEvent, Journey
from stream.core.offline import Offline
from stream.core.result import TOO_MANY_ORDERS, Judged, Step
from stream.events.decode import LARGEST_RECORD, Rejected, decode_line, too_many_orders
from stream.observe.queries import HistoryStep, WrongQueryError
from stream.settings import Settings

_PROGRESS_LINES: Final = 500
"""Lines between two updates of the progress bar."""
_SAME_ID: Final = "same_id"
"""The reason of a line that a worker ignores without rejecting it."""


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

    def print_table(self) -> None:
        """Print them as a table, and how many are not in it."""
        console = output()
        shown = [_decode_judged(line) for line in self.lines()]
        for part in verdicts(shown):
            console.print(part)
        hidden = len(self._newest) - len(shown)
        others = "" if self._everything or not hidden else f", {hidden:,} without a verdict (--all shows them)"
        console.print(f"{len(shown):,} transaction{'s' * (len(shown) != 1)}{others}")


_decode_judged = msgspec.json.Decoder(Judged).decode


class Reader:
    """Applies events from JSON Lines. Counts the results, and reports the first rejected lines."""

    def __init__(self, console: Console, rejections: int, *, strict: bool) -> None:
        """`console`: where lines are reported, at most so many `rejections`. `strict`: look for more mistakes."""
        self.results: Counter[str] = Counter()
        """Number of lines by result."""
        self._reasons: Counter[str] = Counter()
        self._console = console
        self._rejections = rejections
        self._strict = strict
        self._prices = Prices()
        self._identities = Identities()
        self._unmatched = Unmatched()

    @property
    def events(self) -> int:
        """Lines read, without blank ones."""
        return sum(self.results.values())

    def apply(self, name: str, file: IO[bytes], offline: Offline) -> Iterator[Step]:
        """Apply the events of a file, one at a time. Of a file with an event over several lines only that is reported."""
        first = True
        for number, line in enumerate(_lines(file), start=1):
            if number == 1:
                line = line.removeprefix(BOM_UTF8)  # noqa: PLW2901 - programs on Windows write it
            if not line or line.isspace():
                continue
            place = f"{name}:{number}"
            if first and (hint := spread(line)):
                self._reject(place, Rejected("not_json", hint))
                return
            first = False
            event = decode_line(line.rstrip(b"\r\n"), strict=self._strict)
            if isinstance(event, Rejected):
                self._reject(place, event)
                continue
            step = offline.apply(event)
            if step is TOO_MANY_ORDERS and isinstance(event, CheckoutEvent):
                self._reject(place, too_many_orders(event))
                continue
            if self._strict:
                self._prices.add(event)
                self._unmatched.add(event, step, place)
                if problem := self._identities.add(event, step, place):
                    self._reject_as(place, _SAME_ID, f" id: {problem}")
                    continue
            self.results[step.result] += 1
            yield step

    def print_results(self) -> None:
        """Print how many events were not applied, by result, and what to check."""
        others = {result: count for result, count in sorted(self.results.items()) if result != "applied"}
        if others:
            reasons = ", ".join(f"{count:,} {reason}" for reason, count in self._reasons.most_common())
            why = {"rejected": f" ({reasons})"}
            counts = ", ".join(f"{count:,} {result}{why.get(result, '')}" for result, count in others.items())
            click.echo(f"{self.events:,} events, of which {counts}", err=True)
        if not self._strict and (others.keys() & {"duplicate", "unmatched"}):
            click.echo(
                "--strict names the lines of unmatched events, and of duplicates that are other events", err=True
            )
        if self._strict and (note := self._unmatched.note()):
            click.echo(f"unmatched: {note}", err=True)
        if self._strict and (note := self._prices.note()):
            click.echo(f"check the prices: {note}", err=True)

    def _reject(self, place: str, rejected: Rejected) -> None:
        field = f" {rejected.path}:" if rejected.path else ""
        self._reject_as(place, rejected.reason, f"{field} {rejected.detail}")

    def _reject_as(self, place: str, reason: str, text: str) -> None:
        self.results["rejected"] += 1
        self._reasons[reason] += 1
        count = self.results["rejected"]
        if count <= self._rejections:
            self._report(f"{place}: {reason}:{text}")
        elif self._rejections and count == self._rejections + 1:
            self._report("further rejected lines are only counted; --rejections all prints them")

    def _report(self, text: str) -> None:
        self._console.print(Text(printable(text)), soft_wrap=True)


@click.command(
    epilog="""\b
Examples:
  upsell-stream classify events.jsonl
  upsell-stream classify --strict --table --all events.jsonl
  upsell-stream classify --summary checkouts.jsonl subscriptions.jsonl
  upsell-stream classify --summary --json --as-of 2026-01-31T12:00:00Z events.jsonl
  upsell-stream classify --history 1h --as-of 2026-01-31T12:00:00Z events.jsonl
  upsell-stream classify --offers --as-of 2026-01-31T12:00:00Z events.jsonl
  zcat events.jsonl.gz | upsell-stream classify --all -
"""
)
@click.argument("files", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, allow_dash=True))
@click.option("--all", "everything", is_flag=True, help="Also print transactions without a kind.")
@click.option("--summary", is_flag=True, help="Print the figures instead of the transactions.")
@click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON instead of tables.")
@click.option("--as-of", metavar="TIME", type=Time(), help="Print the summary with the rolling windows at this time.")
@click.option(
    "--history",
    "step",
    type=click.Choice(get_args(HistoryStep)),
    help="Print the figures of each hour (1h) or day (1d) that is kept at --as-of, instead of the summary.",
)
@click.option(
    "--explain",
    "kpi",
    type=click.Choice(explainable()),
    help="Say what changed this rate in the last full hour before --as-of, compared with the day before.",
)
@click.option("--offers", is_flag=True, help="Show what became of offers on the days that are kept at --as-of.")
@click.option("--drivers", is_flag=True, help="Show what sold on the days that are kept at --as-of.")
@click.option(
    "--journey",
    type=click.Choice(JOURNEYS),
    help="Of which journey --history, --explain, --offers or --drivers is.  [both; --explain and --drivers: checkout]",
)
@click.option("--table", "as_table", is_flag=True, help="Print the transactions as a table for people instead of JSON.")
@click.option(
    "--strict",
    is_flag=True,
    help="Reject unknown fields too, and other events with the id of an event before, which a worker ignores, and a file without events.",
)
@click.option(
    "--rejections",
    metavar="NUMBER|all",
    type=Limit(min=0),
    default=5,
    show_default=True,
    help="Rejected lines to report; further ones are only counted.",
)
@click.option("--allow-rejected", is_flag=True, help="Exit with status 0 although lines were rejected.")
@with_settings((*JUDGEMENT, *HISTORY))
@click.pass_context
def classify(
    ctx: click.Context,
    files: tuple[str, ...],
    *,
    everything: bool,
    summary: bool,
    as_json: bool,
    as_of: int | None,
    step: HistoryStep | None,
    kpi: str | None,
    offers: bool,
    drivers: bool,
    journey: Journey | None,
    as_table: bool,
    strict: bool,
    rejections: int,
    allow_rejected: bool,
    settings: Settings,
) -> None:
    """Judge events from FILES of JSON Lines (- is standard input), in the given order.

    Prints the last version of each transaction, one per line, in the order in which the transactions started. Lines that are not
    valid events are reported on standard error and counted as rejected; then the exit status is 1.
    """
    print_transactions = not summary and as_of is None
    if as_table and (as_json or not print_transactions):
        raise click.UsageError("--table shows transactions: leave out --json, --summary and --as-of")
    question = _question(questions(step, kpi, journey, offers=offers, drivers=drivers), as_of, journey)
    offline = Offline(settings.core(), settings.registry(), as_of)
    bar = progress(counted=False)
    # Through the bar's console, so that a message and the bar never share a line.
    reader = Reader(bar.console, rejections, strict=strict)
    transactions = Transactions(everything=everything)
    for applied in _read(files, reader, offline, bar):
        if print_transactions:
            transactions.add(applied)
    if as_table:
        transactions.print_table()
    elif print_transactions:
        stdout = click.get_binary_stream("stdout")
        stdout.writelines(line + b"\n" for line in transactions.lines())
        stdout.flush()
    elif question is not None and as_of is not None:
        _print_past(question, offline, settings, as_of, as_json=as_json)
    else:
        _print_summary(reader, offline, as_json=as_json, windows=as_of is not None)
    reader.print_results()
    if strict and not reader.events:
        click.echo("exit status 1, since there is no event to check", err=True)
        ctx.exit(1)
    if reader.results["rejected"] and not allow_rejected:
        click.echo("exit status 1, since lines were rejected; with --allow-rejected it is 0", err=True)
        ctx.exit(1)


def _read(files: Iterable[str], reader: Reader, offline: Offline, bar: Progress) -> Iterator[Step]:
    sizes = [Path(name).stat().st_size if name != "-" else 0 for name in files]
    with bar:
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


def _question(asked: Sequence[Question], as_of: int | None, journey: Journey | None) -> Question | None:
    if len(asked) > 1:
        raise click.UsageError(f"{asked[0].option} and {asked[1].option} are both given; choose one")
    if asked and as_of is None:
        raise click.UsageError(f"{asked[0].option} needs --as-of: the moment up to which it looks at the past")
    if journey is not None and not asked:
        raise click.UsageError("--journey belongs to --history, --explain, --offers or --drivers; add one of them")
    return asked[0] if asked else None


def _print_past(question: Question, offline: Offline, settings: Settings, as_of: int, *, as_json: bool) -> None:
    try:
        document = question.document(offline, settings.core(), as_of)
    except WrongQueryError as error:
        raise click.UsageError(str(error)) from None
    if as_json:
        click.echo(json.dumps(document, indent=2))
    else:
        question.show(document)


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
