"""What Prometheus would have scraped while a simulated past happened, so that panels that look a week back show it at once.

Rules: the figures are those of the worker's core for exactly the records that are sent. Only the metrics that panels read with an offset are written:
the rate and the opportunities. The file is in the OpenMetrics format, for `promtool tsdb create-blocks-from openmetrics`; it appears when it is complete.
"""

from collections.abc import Iterable, Iterator
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import IO, Final

from stream.core.config import MICROSECONDS
from stream.core.counting.cells import Count
from stream.core.counting.figures import JOURNEYS
from stream.core.offline import Offline
from stream.events.decode import Rejected, decode_line
from stream.settings import Settings
from stream.simulate.record import Emitted

_LONGEST: Final = timedelta(days=7, hours=6)
"""A dashboard shows the last 6 hours, and beside them those of a week ago."""
_STEP: Final = timedelta(minutes=2)
"""Panels read the last value of 2 minutes."""
_RATE: Final = "upsell_cross_sell_rate"


def with_metrics(
    records: Iterable[Emitted | None], settings: Settings, live: datetime, file: Path, env: str
) -> Iterator[Emitted | None]:
    """The same records. Those before `live` are also counted, and the file is there before the first one after that.

    Raises:
        OSError: the file cannot be written.
    """
    partial = file.with_name(f"{file.name}.partial")
    remaining = iter(records)
    try:
        with partial.open("w", encoding="utf-8") as output:
            past = _Past(settings, live, output, env)
            border = None
            for record in remaining:
                if record is None or record.time >= live:
                    border = record
                    break
                past.add(record)
                yield record
            else:
                return  # stopped before the past was complete
            past.finish()
        partial.rename(file)
    finally:
        with suppress(FileNotFoundError):
            partial.unlink()
    yield border
    yield from remaining


class _Past:
    """Counts records in the order of their times, and writes the figures at every step."""

    def __init__(self, settings: Settings, live: datetime, output: IO[str], env: str) -> None:
        self._live = live
        self._at = live - _LONGEST
        self._output = output
        self._labels = f'env="{env}",instance="past",job="upsell-stream"'
        self._windows = settings.windows
        self._offline = Offline(settings.core(), settings.registry(), int(self._at.timestamp()) * MICROSECONDS)

    def add(self, record: Emitted) -> None:
        while self._at <= record.time:
            self._write()
        event = decode_line(record.value)
        if not isinstance(event, Rejected):
            self._offline.apply(event)

    def finish(self) -> None:
        while self._at < self._live:
            self._write()
        self._output.write("# EOF\n")

    def _write(self) -> None:
        seconds = int(self._at.timestamp())
        self._offline.advance(seconds * MICROSECONDS)
        figures = self._offline.figures(customers=False)
        for journey in JOURNEYS:
            for window in self._windows:
                cut = figures.slice(window, journey)
                labels = f'{self._labels},journey="{journey}",window="{window}"'
                for (dimension, value), cells in cut.sets.items():
                    rate = cells.rates.get(_RATE)
                    if dimension != "channel" and rate is not None:
                        of = f'kpi="{_RATE}",dimension="{dimension}",value="{value}"'
                        self._output.write(f"upsell_kpi_ratio{{{labels},{of}}} {rate!r} {seconds}\n")
                for (channel, segment), vector in cut.pairs.items():
                    of = f'channel="{channel}",segment="{segment}"'
                    count = vector[Count.OPPORTUNITIES]
                    self._output.write(f"upsell_window_opportunities{{{labels},{of}}} {count} {seconds}\n")
        self._at += _STEP
