"""The global view: the figures of all shards, read from the tables every few seconds and rendered before anybody requests them.

Rules: a request never waits for the tables. If the view cannot be refreshed for `WITHDRAWN_AFTER` seconds, it is withdrawn: no series are better than
old ones that look current. An error here never affects the worker's processing. Shards without an owner stay in the view with their last figures;
their growing `upsell_shard_age_seconds` raises an alert.
"""

import asyncio
import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence

import msgspec

from stream.core.config import MICROSECONDS
from stream.core.counting.figures import ALL, Figures, ShardFigures
from stream.core.counting.summary import decode_summary
from stream.observe.exposition import Facts, render, render_down
from stream.observe.state import JourneyState, LastHour, ShardView, journey_states, last_hour, shard_views
from stream.settings import Settings, Target
from stream.tables.interface import Application, ServerMemory, Tables

INTERVAL = 2.0
"""Seconds between two reads."""
SHARE = 0.1
"""Largest share of time that reading and rendering may take. If they take long, the pause is longer, up to `LONGEST_PAUSE`."""
LONGEST_PAUSE = 10.0
MEMORY_INTERVAL = 10.0
"""Seconds between two looks at the memory of the tables' server."""
WITHDRAWN_AFTER = 30.0
"""Seconds after the last successful read until the view is withdrawn."""

_log = logging.getLogger(__name__)


class TargetState(msgspec.Struct, frozen=True):
    """A configured target, and the current values of its KPI."""

    kpi: str
    journey: str
    segment: str
    ratio: float
    values: dict[str, float | None]
    """Window -> value; None if the denominator is 0."""


class Overview(msgspec.Struct, frozen=True):
    """Further data for the live page. Times are microseconds since the epoch, by Redis' clock."""

    now: int
    as_of: int
    """Time of the figures; 0 if there are none."""
    shards: Sequence[ShardView]
    states: Mapping[str, JourneyState]
    """By journey."""
    last_hour: LastHour
    memory: ServerMemory | None
    targets: Sequence[TargetState]


class _Rendered(msgspec.Struct, frozen=True):
    exposition: bytes
    rates: bytes
    overview: Overview
    """At the time of the read."""
    withheld: tuple[str, ...]
    read_at: float
    """Seconds of the monotonic clock."""


class View:
    """The global view. `run` refreshes it; start it as a task."""

    def __init__(self, tables: Tables, settings: Settings, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        """`monotonic`: a monotonic clock in seconds, to measure the age of the last read."""
        self.tables = tables
        self._windows = settings.windows
        self._targets = settings.targets
        self._behind = settings.behind
        self._journeys = tuple(settings.input_topics.values())
        self._ratios: dict[tuple[str, str, str], float] = {
            (target.kpi, target.journey, target.segment): target.ratio for target in settings.targets
        }
        self._monotonic = monotonic
        self._rendered: _Rendered | None = None
        self._failure: Exception | None = None
        self._memory: ServerMemory | None = None
        self._memory_at = -math.inf
        """When it was read, by `monotonic`."""

    async def run(self) -> None:
        """Refresh the view forever."""
        while True:
            started = self._monotonic()
            try:
                await self.refresh()
            except Exception as error:  # noqa: BLE001 - no error here may end the worker; the view is withdrawn instead
                if self._failure is None:
                    _log.warning(
                        "cannot read the figures of all shards: %s; trying again. Metrics and rates are withdrawn after %.0f s",
                        error,
                        WITHDRAWN_AFTER,
                    )
                self._failure = error
            else:
                if self._failure is not None:
                    _log.info("reading the figures of all shards works again")
                self._failure = None
            worked = self._monotonic() - started
            await asyncio.sleep(min(max(INTERVAL, worked / SHARE), LONGEST_PAUSE))

    async def refresh(self) -> None:
        """Refresh the view once.

        Raises:
            TablesUnavailableError, IncompatibleStateError: from the tables.
            msgspec.DecodeError: a summary is corrupt, or from an incompatible version.
        """
        read_at = self._monotonic()
        application = await self.tables.application()
        now = await self.tables.now()
        if read_at - self._memory_at > MEMORY_INTERVAL:
            self._memory, self._memory_at = await self.tables.server_memory(), read_at
        before = self._rendered.withheld if self._rendered is not None else ()
        # In a thread: with the largest number of series this would block the event loop noticeably.
        self._rendered = await asyncio.to_thread(self._render, application, now, read_at)
        if self._rendered.withheld != before:
            _log.warning(
                "details withheld to limit the number of series: %s; see upsell_view_withheld in docs/reference/metrics.md",
                ", ".join(self._rendered.withheld) or "none",
            )

    def exposition(self) -> bytes:
        """The global metrics in the Prometheus text format; while there is no view only that the figures are not up."""
        if self._rendered is None or self.unavailable() is not None:
            return render_down(self._journeys)
        return self._rendered.exposition

    def rates(self) -> bytes | None:
        """The JSON document for `/api/v1/rates`; None while there is no view."""
        return self._rendered.rates if self._rendered is not None and self.unavailable() is None else None

    def overview(self) -> Overview | None:
        """Further data for the live page, with ages at this time; None while there is no view."""
        if self._rendered is None or self.unavailable() is not None:
            return None
        overview = self._rendered.overview
        elapsed = round((self._monotonic() - self._rendered.read_at) * MICROSECONDS)
        shards = [
            msgspec.structs.replace(view, age=None if view.age is None else view.age + elapsed)
            for view in overview.shards
        ]
        return msgspec.structs.replace(overview, now=overview.now + elapsed, shards=shards)

    def unavailable(self) -> str | None:
        """Why there is no view; None if there is one."""
        because = "" if self._failure is None else f": {self._failure}"
        if self._rendered is None:
            return f"the figures have not been read yet{because}"
        age = self._monotonic() - self._rendered.read_at
        if age > WITHDRAWN_AFTER:
            return f"the figures were last read {age:.0f} s ago{because}"
        return None

    def _render(self, application: Application, now: int, read_at: float) -> _Rendered:
        shards = application.shards
        summaries = [decode_summary(shard.summary, shard.recent) for shard in shards]
        figures = Figures(
            ShardFigures(summary, shard.customers) for summary, shard in zip(summaries, shards, strict=True)
        )
        views = shard_views(application, summaries, now)
        states = journey_states(views, application.topics, now, self._behind, self._journeys)
        facts = Facts(views, states, application.topics, self._memory, self._ratios)
        exposition = render(figures, self._windows, facts)
        rates = msgspec.json.encode({"state": states, **figures.plain(self._windows)})
        targets = [self._state(target, figures) for target in self._targets]
        overview = Overview(now, figures.as_of, views, states, last_hour(application, now), self._memory, targets)
        return _Rendered(exposition.text, rates, overview, exposition.withheld, read_at)

    def _state(self, target: Target, figures: Figures) -> TargetState:
        values = {
            window: figures.select(
                window, target.journey, "all" if target.segment == ALL else "segment", target.segment
            ).rates[target.kpi]
            for window in self._windows
        }
        return TargetState(target.kpi, target.journey, target.segment, target.ratio, values)
