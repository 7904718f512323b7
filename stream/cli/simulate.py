"""`upsell-stream simulate`: sends the records of a simulated shop to Kafka or writes them to a file, with the counts to expect."""

import dataclasses
import json
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import IO, Final

import click

from stream.cli.interrupt import Stop, stopping, until_stopped
from stream.cli.options import with_settings
from stream.cli.parameters import Cell, Duration, Number
from stream.cli.past_metrics import with_metrics
from stream.cli.records import SETTINGS, deliver, deliver_live, to_file_option
from stream.settings import Settings
from stream.simulate.incident import IncidentWish
from stream.simulate.record import Emitted
from stream.simulate.shop import (
    FASTEST,
    HIGHEST_RATE,
    LOWEST_RATE,
    SLOWEST,
    Shop,
    ShopSettings,
    expected_end,
    month_for,
)

_DEFAULT_RATE: Final = 50.0
"""Events per second of event time."""
_PAST_EVENTS: Final = 200_000
_DAILY_RHYTHM: Final = 0.6
"""Amplitude of the rate's daily rhythm, as a share of its mean."""
_START_IN_FILES: Final = datetime(2026, 1, 1, tzinfo=UTC)
"""Default start for files, so that the same seed always gives the same file."""
_LONGEST: Final = 50 * 365 * 86_400
"""Longest event time of a run, in seconds."""
_END_BEFORE_NOW: Final = timedelta(minutes=5)
"""A stream that is sent as fast as possible should end this long before now; its length is only known approximately."""


@click.command(
    epilog="""\b
Examples:
  upsell-stream simulate --to-file events.jsonl --truth truth.json --events 100000
  upsell-stream simulate --bootstrap-servers localhost:9092 --rate 200
  upsell-stream simulate --bootstrap-servers localhost:9092 --past 30d
  upsell-stream simulate --events 1000000 --rate 0 --duplicates 0.01 --disorder 30 --poison 0.001
"""
)
@click.option(
    "--events",
    type=click.IntRange(1),
    metavar="N",
    help="Number of events, with duplicates and bad records.  [file: 100000; Kafka: no limit]",
)
@click.option(
    "--rate",
    type=Number(0, HIGHEST_RATE),
    default=_DEFAULT_RATE,
    show_default=True,
    help="Events per second of event time, and of real time to Kafka; 0 sends as fast as Kafka accepts.",
)
@click.option("--seed", type=int, default=1, show_default=True, help="The same seed and start give the same events.")
@click.option(
    "--customers", type=click.IntRange(1), default=5000, show_default=True, help="Number of customers who return."
)
@click.option(
    "--currency",
    "currencies",
    multiple=True,
    default=("EUR",),
    show_default=True,
    help="Currency of the sales; repeatable, at most four. The first one is the most frequent.",
)
@click.option(
    "--duplicates", type=Number(0, 1), default=0.0, show_default=True, help="Share of events that are sent twice."
)
@click.option(
    "--disorder",
    type=Number(0, 43_200),
    default=0.0,
    show_default=True,
    help="Largest delay of an event, in seconds. A subscription's month lasts at least half as long.",
)
@click.option(
    "--poison", type=Number(0, 1), default=0.0, show_default=True, help="Number of bad records per good record."
)
@click.option(
    "--pace",
    type=Number(SLOWEST, FASTEST),
    default=1.0,
    show_default=True,
    help="How much faster than in reality a cart becomes an order.",
)
@click.option(
    "--start",
    type=click.DateTime(["%Y-%m-%dT%H:%M:%SZ"]),
    help="Time of the first event, UTC, in the years 1971 to 2999.  [file: 2026-01-01T00:00:00Z; Kafka: so that it ends now]",
)
@click.option(
    "--past",
    type=Duration(),
    metavar="DURATION",
    help="Before going live, send events with times in the last 12h, 30d, …, as fast as Kafka accepts.",
)
@click.option(
    "--past-events",
    type=click.IntRange(1),
    default=_PAST_EVENTS,
    show_default=True,
    metavar="N",
    help="About how many events --past sends; never more per second of event time than --rate.",
)
@click.option(
    "--past-metrics",
    type=(click.Path(dir_okay=False, writable=True, path_type=Path), str),
    metavar="FILE ENV",
    help="Write what Prometheus needs to compare with the last week of --past, for promtool, with the label env=ENV. "
    "If FILE exists, the past was sent before and is left out.",
)
@click.option(
    "--incident",
    type=Cell(),
    is_flag=False,
    flag_value="",
    metavar="CELL",
    help="Let the sales of one segment in one channel drop for some hours before the end: CHANNEL,SEGMENT,HOURS,FACTOR, such as "
    "web,vip,3,0.2. What is left out, the seed decides. Needs --events or --past.",
)
@to_file_option
@click.option(
    "--truth",
    type=click.Path(dir_okay=False, writable=True, allow_dash=True),
    metavar="FILE",
    help="Write the expected counts, and what was planted, to a file, as JSON (- is standard output).",
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
    past: timedelta | None,
    past_events: int,
    past_metrics: tuple[Path, str] | None,
    incident: IncidentWish | None,
    to_file: str | None,
    truth: str | None,
) -> None:
    """Run a simulated shop: a realistic stream of checkouts and subscriptions from a seed.

    To Kafka it runs until Ctrl-C or until --events are sent. --truth writes the counts that a correct worker must reach with
    exactly these records, in the format of `classify --summary --json`, and beside them what was planted of offers, pairs of products and
    a drop.
    """
    live = to_file is None and rate > 0
    if to_file is not None and events is None:
        events = 100_000
    if not live and to_file is None and events is None:
        raise click.UsageError("--rate 0 needs --events")
    if past is not None and (not live or start is not None):
        raise click.UsageError("--past needs a live stream to Kafka: use it without --to-file, --rate 0 and --start")
    if incident is not None and events is None and past is None:
        raise click.UsageError("--incident needs an end: use it with --events or --past")
    if past_metrics is not None and past is None:
        raise click.UsageError("--past-metrics needs --past")
    if past_metrics is not None and past_metrics[0].exists():
        click.echo(f"{past_metrics[0]} exists: the past was sent before, so only the live stream is sent", err=True)
        past = past_metrics = None
    past_seconds = 0.0 if past is None else past.total_seconds()
    if to_file is not None and truth is not None and _same(to_file, truth):
        raise click.UsageError("--to-file and --truth name the same file")
    try:
        wanted = ShopSettings(
            seed=seed,
            rate=rate or _DEFAULT_RATE,
            past_seconds=past_seconds,
            past_rate=min(rate, max(LOWEST_RATE, past_events / past_seconds)) if past_seconds else _DEFAULT_RATE,
            customers=customers,
            currencies=currencies,
            duplicates=duplicates,
            disorder_seconds=disorder,
            poison=poison,
            pace=pace,
            month_seconds=month_for(disorder, pace),
            # A stream that ends about now needs a known length, so a constant rate.
            daily_rhythm=_DAILY_RHYTHM if live or to_file is not None else 0.0,
        )
        if events is not None and events / wanted.rate > _LONGEST:
            raise click.UsageError("this many --events at this --rate last more than 50 years; raise --rate")
        begin = _start(start, wanted, events, to_file=to_file is not None, live=live)
        opening = begin - timedelta(seconds=past_seconds)
        if incident is not None:
            end = begin if past_seconds or events is None else expected_end(wanted, opening, events)
            planted = incident.planted(seed, wanted.channels, wanted.segments, opening, end)
            wanted = dataclasses.replace(wanted, incident=planted)
        shop = Shop(wanted, opening)
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    with ExitStack() as stack:
        truth_file = None if truth is None else stack.enter_context(_opened(truth))
        stop = stack.enter_context(stopping())
        if live:
            records = as_they_arrive(shop, events, stop)
            if past_metrics is not None:
                records = with_metrics(records, settings, begin, *past_metrics)
            deliver_live(records, settings, total=events)
        else:
            deliver(exactly(shop, events, stop), settings, to_file, total=events)
        if truth_file is not None:
            truth_file.write(json.dumps(shop.truth.document(), indent=2) + "\n")
    if stop.interrupted and events is not None:
        raise click.Abort
    ctx.exit()


def _same(one: str, other: str) -> bool:
    """Whether two names mean the same file, or both mean standard output."""
    first, second = Path(one), Path(other)
    return first.resolve() == second.resolve() or (first.exists() and second.exists() and first.samefile(second))


def _opened(name: str) -> AbstractContextManager[IO[str]]:
    """Open a file for writing. This happens first: an error must come before anything is sent."""
    try:
        return click.open_file(name, "w", encoding="utf-8")
    except OSError as error:
        raise click.FileError(name, error.strerror) from None


def _start(start: datetime | None, shop: ShopSettings, events: int | None, *, to_file: bool, live: bool) -> datetime:
    if start is not None:
        return start.replace(tzinfo=UTC)
    if to_file:
        return _START_IN_FILES
    now = datetime.now(UTC)
    return now if live or events is None else now - timedelta(seconds=events / shop.rate) - _END_BEFORE_NOW


def exactly(shop: Shop, events: int | None, stop: Stop) -> Iterator[Emitted]:
    """This number of records, or fewer if a stop is requested. They include the delayed ones, at the end, so the shop's truth is about them."""
    yield from until_stopped(shop.events(events), stop)
    yield from shop.flush()


def as_they_arrive(shop: Shop, events: int | None, stop: Stop) -> Iterator[Emitted | None]:
    """As `exactly`, but each record at its time of arrival. None if no record has arrived yet.

    Records are made when they arrive, so after a request to stop only the delayed ones are left to send.
    """
    while not stop.requested and (events is None or shop.truth.events < events or shop.has_pending):
        yield from until_stopped(shop.until(datetime.now(UTC), events), stop)
        yield None
    yield from shop.flush()
