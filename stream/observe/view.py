"""The global view: what all shards together say, read from the tables every few seconds and rendered ahead of whoever asks.

Rules: a reader never waits for the tables. A view that could not be renewed for `WITHDRAWN_AFTER` seconds is withdrawn: no series are better
than old ones that look new. Whatever goes wrong here, the worker's own work goes on. Shards that nobody owns stay in the view as they
were last; their growing `upsell_shard_age_seconds` is the alarm.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Sequence

import msgspec

from stream.core.config import MICROSECONDS
from stream.core.counting.figures import ALL, Figures, ShardFigures
from stream.core.counting.summary import decode_summary
from stream.observe.exposition import ShardState, render
from stream.settings import Settings, Target
from stream.tables.interface import ShardSummary, Tables

INTERVAL = 2.0
"""Seconds between two reads, where reading is cheap."""
SHARE = 0.1
"""Part of its time that the view may work: where there is much to read and render, it pauses longer, up to `LONGEST_PAUSE`."""
LONGEST_PAUSE = 10.0
WITHDRAWN_AFTER = 30.0
"""Seconds after the last good read."""

_log = logging.getLogger(__name__)


class TargetState(msgspec.Struct, frozen=True):
    """An operator's target, and what the rate is."""

    kpi: str
    journey: str
    segment: str
    ratio: float
    values: dict[str, float | None]
    """Window -> value; None without denominator."""


class Overview(msgspec.Struct, frozen=True):
    """What the live page shows beside the rates. Moments are microseconds since the epoch, by Redis' clock."""

    now: int
    as_of: int
    """The figures' moment; 0 where there are none."""
    shards: Sequence[ShardState]
    targets: Sequence[TargetState]


class _Rendered(msgspec.Struct, frozen=True):
    exposition: bytes
    rates: bytes
    overview: Overview
    """As of the read."""
    withheld: tuple[str, ...]
    read_at: float
    """Monotonic seconds."""


class View:
    """Keeps the global view; `run` it as a task beside the worker."""

    def __init__(self, tables: Tables, settings: Settings, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        """`monotonic`: seconds; tells how old the last good read is."""
        self._tables = tables
        self._windows = settings.windows
        self._targets = settings.targets
        self._ratios: dict[tuple[str, str, str], float] = {
            (target.kpi, target.journey, target.segment): target.ratio for target in settings.targets
        }
        self._monotonic = monotonic
        self._rendered: _Rendered | None = None
        self._failure: Exception | None = None

    async def run(self) -> None:
        """Renew the view for ever."""
        while True:
            started = self._monotonic()
            try:
                await self.refresh()
            except Exception as error:  # noqa: BLE001 - the view goes stale for all to see; that must not end the worker
                if self._failure is None:
                    _log.warning("the figures of all shards cannot be read: %r", error)
                self._failure = error
            else:
                if self._failure is not None:
                    _log.info("the figures of all shards are read again")
                self._failure = None
            worked = self._monotonic() - started
            await asyncio.sleep(min(max(INTERVAL, worked / SHARE), LONGEST_PAUSE))

    async def refresh(self) -> None:
        """Renew the view once.

        Raises:
            Retry, Unusable: from the tables.
            msgspec.DecodeError: a summary is damaged, or of another version.
        """
        read_at = self._monotonic()
        shards = await self._tables.summaries()
        now = await self._tables.now()
        before = self._rendered.withheld if self._rendered is not None else ()
        # In a thread: at the largest bounds this takes long enough to be felt by the shards.
        self._rendered = await asyncio.to_thread(self._render, shards, now, read_at)
        if self._rendered.withheld != before:
            _log.warning("series withheld to stay within the bound: %s", ", ".join(self._rendered.withheld) or "none")

    def exposition(self) -> bytes:
        """The global metrics in Prometheus' text format; nothing while there is no view."""
        return self._rendered.exposition if self._rendered is not None and self.unavailable() is None else b""

    def rates(self) -> bytes | None:
        """The JSON document of `/api/v1/rates`; None while there is no view."""
        return self._rendered.rates if self._rendered is not None and self.unavailable() is None else None

    def overview(self) -> Overview | None:
        """What is shown beside the rates, aged to this moment; None while there is no view."""
        if self._rendered is None or self.unavailable() is not None:
            return None
        overview = self._rendered.overview
        passed = round((self._monotonic() - self._rendered.read_at) * MICROSECONDS)
        shards = [msgspec.structs.replace(shard, age=shard.age + passed) for shard in overview.shards]
        return msgspec.structs.replace(overview, now=overview.now + passed, shards=shards)

    def unavailable(self) -> str | None:
        """Why there is no view; None where there is one."""
        because = "" if self._failure is None else f": {self._failure!r}"
        if self._rendered is None:
            return f"the figures were not read yet{because}"
        age = self._monotonic() - self._rendered.read_at
        if age > WITHDRAWN_AFTER:
            return f"the figures were last read {age:.0f} s ago{because}"
        return None

    def _render(self, shards: Sequence[ShardSummary], now: int, read_at: float) -> _Rendered:
        summaries = [decode_summary(shard.summary, shard.recent) for shard in shards]
        figures = Figures(
            ShardFigures(summary, shard.customers) for summary, shard in zip(summaries, shards, strict=True)
        )
        states = [
            ShardState(shard.shard, summary.stream_time, max(0, now - shard.committed_at))
            for summary, shard in sorted(zip(summaries, shards, strict=True), key=lambda both: both[1].shard)
        ]
        exposition = render(figures, self._windows, states, self._ratios)
        rates = msgspec.json.encode(figures.plain(self._windows))
        overview = Overview(now, figures.as_of, states, [self._judged(target, figures) for target in self._targets])
        return _Rendered(exposition.text, rates, overview, exposition.withheld, read_at)

    def _judged(self, target: Target, figures: Figures) -> TargetState:
        values = {
            window: figures.select(
                window, target.journey, "all" if target.segment == ALL else "segment", target.segment
            ).rates[target.kpi]
            for window in self._windows
        }
        return TargetState(target.kpi, target.journey, target.segment, target.ratio, values)
