"""`upsell-stream simulate`: the simulated shop's records, to Kafka or to a file, and the truth about them."""

import json
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import IO, Final

import click

from stream.cli.interrupt import Stop, stopping, until_stopped
from stream.cli.number import Number
from stream.cli.options import with_settings
from stream.cli.records import SETTINGS, deliver, deliver_live, to_file_option
from stream.settings import Settings
from stream.simulate.record import Emitted
from stream.simulate.shop import FASTEST, HIGHEST_RATE, SLOWEST, Shop, ShopSettings, month_for

_DENSITY: Final = 50.0
"""Events per second by event time, where they are not sent at that rate."""
_RHYTHM: Final = 0.6
"""How far the rate swings around its mean in a day."""
_OPENING: Final = datetime(2026, 1, 1, tzinfo=UTC)
"""Of a shop whose records go to a file: the same seed makes the same file."""
_LONGEST: Final = 50 * 365 * 86_400
"""Seconds by event time."""
_SLACK: Final = timedelta(minutes=5)
"""How much before now a stream that is sent at once should end, as its length is known roughly."""


@click.command(
    epilog="""\b
Examples:
  upsell-stream simulate --to-file events.jsonl --truth truth.json --events 100000
  upsell-stream simulate --bootstrap-servers localhost:9092 --rate 200
  upsell-stream simulate --events 1000000 --rate 0 --duplicates 0.01 --disorder 30 --poison 0.001
"""
)
@click.option(
    "--events",
    type=click.IntRange(1),
    metavar="N",
    help="How many, duplicates and bad records included.  [to a file 100000; to Kafka no end]",
)
@click.option(
    "--rate",
    type=Number(0, HIGHEST_RATE),
    default=_DENSITY,
    show_default=True,
    help="Events per second, by event time and, to Kafka, by the clock; 0 sends as fast as Kafka takes them.",
)
@click.option("--seed", type=int, default=1, show_default=True, help="The same seed and start make the same events.")
@click.option(
    "--customers", type=click.IntRange(1), default=5000, show_default=True, help="Known customers, who come back."
)
@click.option(
    "--currency",
    "currencies",
    multiple=True,
    default=("EUR",),
    show_default=True,
    help="Repeatable, at most four; first the usual one.",
)
@click.option("--duplicates", type=Number(0, 1), default=0.0, show_default=True, help="Share of events sent twice.")
@click.option(
    "--disorder",
    type=Number(0, 43_200),
    default=0.0,
    show_default=True,
    help="Seconds that events arrive late, at most; a subscription's month lasts at least half as long.",
)
@click.option("--poison", type=Number(0, 1), default=0.0, show_default=True, help="Bad records for each good one.")
@click.option(
    "--pace",
    type=Number(SLOWEST, FASTEST),
    default=1.0,
    show_default=True,
    help="How much faster than in life a cart becomes an order.",
)
@click.option(
    "--start",
    type=click.DateTime(["%Y-%m-%dT%H:%M:%SZ"]),
    help="When the shop opens, UTC, in the years 1971 to 2999.  [2026-01-01T00:00:00Z; to Kafka, so that it ends now]",
)
@to_file_option
@click.option(
    "--truth",
    type=click.Path(dir_okay=False, writable=True, allow_dash=True),
    metavar="FILE",
    help="Write the counts that were planted, as JSON (- is standard output).",
)
@with_settings(SETTINGS)
@click.pass_context
def simulate(
    ctx: click.Context,
    settings: Settings,
    *,
    events: int | None,
    rate: float,
    seed: int,
    customers: int,
    currencies: tuple[str, ...],
    duplicates: float,
    disorder: float,
    poison: float,
    pace: float,
    start: datetime | None,
    to_file: str | None,
    truth: str | None,
) -> None:
    """Run a simulated shop: a seeded, realistic stream of checkouts and subscriptions.

    To Kafka it runs until Ctrl-C, or for so many --events. What was planted (--truth) is what a perfect observer of exactly these
    records counts, in the shape of `classify --summary --json`.
    """
    live = to_file is None and rate > 0
    if to_file is not None and events is None:
        events = 100_000
    if not live and to_file is None and events is None:
        raise click.UsageError("--rate 0 needs --events")
    if to_file is not None and truth is not None and _same(to_file, truth):
        raise click.UsageError("--to-file and --truth name the same file")
    try:
        wanted = ShopSettings(
            seed=seed,
            rate=rate or _DENSITY,
            customers=customers,
            currencies=currencies,
            duplicates=duplicates,
            disorder_seconds=disorder,
            poison=poison,
            pace=pace,
            month_seconds=month_for(disorder, pace),
            # A stream that is to end about now must have a length that is known.
            daily_rhythm=_RHYTHM if live or to_file is not None else 0.0,
        )
        if events is not None and events / wanted.rate > _LONGEST:
            raise click.UsageError("so many --events at such a --rate take more than 50 years")
        shop = Shop(wanted, _opening(start, wanted, events, to_file=to_file is not None, live=live))
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    with ExitStack() as stack:
        told = None if truth is None else stack.enter_context(_opened(truth))
        stop = stack.enter_context(stopping())
        if live:
            deliver_live(as_they_arrive(shop, events, stop), settings, total=events)
        else:
            deliver(exactly(shop, events, stop), settings, to_file, total=events)
        if told is not None:
            told.write(json.dumps(shop.truth.summary(), indent=2) + "\n")
    if stop.interrupted and events is not None:
        raise click.Abort
    ctx.exit()


def _same(one: str, other: str) -> bool:
    """Whether two names are of one file, or both of standard output."""
    first, second = Path(one), Path(other)
    return first.resolve() == second.resolve() or (first.exists() and second.exists() and first.samefile(second))


def _opened(name: str) -> AbstractContextManager[IO[str]]:
    """A file to write to, before anything is sent in vain."""
    try:
        return click.open_file(name, "w", encoding="utf-8")
    except OSError as error:
        raise click.FileError(name, error.strerror) from None


def _opening(start: datetime | None, shop: ShopSettings, events: int | None, *, to_file: bool, live: bool) -> datetime:
    if start is not None:
        return start.replace(tzinfo=UTC)
    if to_file:
        return _OPENING
    now = datetime.now(UTC)
    return now if live or events is None else now - timedelta(seconds=events / shop.rate) - _SLACK


def exactly(shop: Shop, events: int | None, stop: Stop) -> Iterator[Emitted]:
    """So many records, fewer if it is time to stop. What disorder holds back is among them, at the end, so the shop's truth is theirs."""
    yield from until_stopped(shop.events(events), stop)
    yield from shop.flush()


def as_they_arrive(shop: Shop, events: int | None, stop: Stop) -> Iterator[Emitted | None]:
    """As `exactly`, but each only when it arrives by the clock; None where there is nothing to hand out yet.

    Nothing that lies ahead is made, so when it is time to stop, only what disorder holds back is left to send.
    """
    while not stop.requested and (events is None or shop.truth.events < events or shop.has_pending):
        yield from until_stopped(shop.until(datetime.now(UTC), events), stop)
        yield None
    yield from shop.flush()
