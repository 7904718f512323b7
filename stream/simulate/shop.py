"""A realistic shop: returning customers, carts and subscriptions, and the truth about upsells and cross-sells.

Rules: the records depend only on the settings and the start. The shop uses no clock and no Kafka: simulated time passes as records are asked
for, and all random numbers come from the seed. Memory is bounded by the sessions in progress (`rate` times their length) and by the number
of known customers.
"""

import heapq
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import islice
from random import Random
from typing import Final

from stream.simulate.behaviour import Behaviour, Shift
from stream.simulate.catalogue import catalogue
from stream.simulate.checkouts import Checkout
from stream.simulate.customers import Customer, Customers
from stream.simulate.disorder import Disorder
from stream.simulate.incident import Incident
from stream.simulate.pairs import product_of
from stream.simulate.record import Emitted, quantum
from stream.simulate.subscriptions import may_subscribe, subscribing
from stream.simulate.truth import Truth
from stream.simulate.world import Session, World

_DAY: Final = 86_400_000
_BUSIEST: Final = 20 / 24
"""The time of day (UTC) with the most visits, as a part of the day: 20:00."""
_EVENTS_A_SESSION: Final = 2.6
"""Approximate mean. The shop corrects the rate by the number of events so far."""
_MOST: Final = 4.0
_LEAST: Final = 0.1
"""Bounds of the factor on the rate of new sessions. It keeps the rate of events, since no session is in progress at the start."""
_CATCH_UP: Final = 60.0
"""Seconds (divided by `pace`) in which a lack of events is made up: about the time from a cart to its order."""
_MAX_DISORDER: Final = 12 * 3600
_MOST_CURRENCIES: Final = 4
"""The number of currencies for which an application has revenue figures."""
_MOST_CUSTOMERS: Final = 100_000_000
LOWEST_RATE: Final = 0.0001
HIGHEST_RATE: Final = 100_000.0
"""Events per second."""
SLOWEST: Final = 0.001
FASTEST: Final = 10_000.0
"""Bounds of `pace`."""
_FIRST: Final = datetime(1971, 1, 1, tzinfo=UTC)
_LAST: Final = datetime(2999, 12, 31, tzinfo=UTC)
"""Bounds of the start, so that all events happen after 1970 and long before the year 9999."""
_MONTH: Final = 600.0


@dataclass(frozen=True, slots=True)
class ShopSettings:
    """The options of the shop.

    Raises:
        ValueError: a value is out of range; the message names it and says what is allowed.
    """

    seed: int = 1
    rate: float = 10.0
    """Mean events per simulated second."""
    customers: int = 5000
    """Number of known customers, who return."""
    channels: tuple[str, ...] = ("web", "app", "store")
    """`web` numbers its events (`entityversion`), `store` states times with the offset +01:00."""
    segments: tuple[str, ...] = ("consumer", "family", "business", "vip")
    """Largest first."""
    currencies: tuple[str, ...] = ("EUR",)
    """ISO 4217, at most four; most customers have the first one. With several, some checkouts and subscriptions change their currency."""
    past_seconds: float = 0.0
    """Simulated seconds from the start in which the mean rate is `past_rate` instead of `rate`."""
    past_rate: float = 10.0
    """Mean events per simulated second of the past."""
    daily_rhythm: float = 0.6
    """Amplitude of the daily change of the rate, relative to its mean: from 0 (constant) to below 1."""
    pace: float = 1.0
    """Divides every pause within a session. The pauses of a cart are minutes: a demo needs completed sales within seconds, and a short run at
    a high rate needs completed sales at all (use about `rate` / 10)."""
    month_seconds: float = _MONTH
    """Simulated seconds of a subscription's month, which is also the unit of the delay of refunds. A short month lets short runs contain whole
    subscriptions; 2,629,800 is a real month."""
    duplicates: float = 0.0
    """Share of events that are sent twice."""
    disorder_seconds: float = 0.0
    """Most seconds from an event's time to its arrival. The core can order 64 events of a subscription, so its figures are sure to equal the
    truth only if a month has at least half of this (see `month_for`): a fifth of a month has at most five events."""
    poison: float = 0.0
    """Number of bad records for each good one."""
    behaviour: Behaviour = field(default_factory=Behaviour)
    shifts: tuple[Shift, ...] = ()
    """Changes of behaviour, in order of time. Of those that apply to a session, the last one is used."""
    incident: Incident | None = None
    """A drop of sales, planted on top of `behaviour`. `shifts` do not matter where it applies."""

    def __post_init__(self) -> None:
        rules = {
            "rate": (LOWEST_RATE <= self.rate <= HIGHEST_RATE, f"from {LOWEST_RATE} to {HIGHEST_RATE:.0f}"),
            "past_rate": (LOWEST_RATE <= self.past_rate <= HIGHEST_RATE, f"from {LOWEST_RATE} to {HIGHEST_RATE:.0f}"),
            "customers": (1 <= self.customers <= _MOST_CUSTOMERS, f"from 1 to {_MOST_CUSTOMERS}"),
            "channels": (bool(self.channels), "at least one"),
            "segments": (bool(self.segments), "at least one"),
            "currencies": (
                1 <= len(set(self.currencies)) == len(self.currencies) <= _MOST_CURRENCIES,
                f"one to {_MOST_CURRENCIES}, each once",
            ),
            "daily_rhythm": (0 <= self.daily_rhythm < 1, "from 0 to below 1"),
            "pace": (SLOWEST <= self.pace <= FASTEST, f"from {SLOWEST} to {FASTEST:.0f}"),
            # A refund may be 0.7 months late, and a pause within a checkout must be below 30 days.
            "month_seconds": (
                0 < self.month_seconds <= 31 * 86400 * max(1.0, self.pace),
                "above 0, at most 31 days (times pace)",
            ),
            "duplicates": (0 <= self.duplicates <= 1, "from 0 to 1"),
            # A new subscription waits this long after a cancellation, and must still come within 24 h to continue what was canceled.
            "disorder_seconds": (0 <= self.disorder_seconds <= _MAX_DISORDER, "from 0 to 12 hours"),
            "poison": (0 <= self.poison <= 1, "from 0 to 1"),
        }
        for name, (valid, allowed) in rules.items():
            if not valid:
                raise ValueError(f"{name} must be {allowed}")
        for currency in self.currencies:
            quantum(currency)


def month_for(disorder_seconds: float, pace: float) -> float:
    """The default `month_seconds`, or as much longer as this disorder needs for the core's figures to equal the truth."""
    return max(_MONTH, disorder_seconds / 2 * pace)


def expected_end(settings: ShopSettings, start: datetime, events: int) -> datetime:
    """About when a shop without a past has sent so many events, duplicates and bad records included."""
    day, rhythm = _DAY / 1000, settings.daily_rhythm
    good = events / (1 + settings.duplicates + settings.poison)
    opened = start.timestamp()

    def sent(until: float) -> float:
        """Good events up to this time: the integral of the rate of `_update_target_rate`."""
        first, last = (math.sin(2 * math.pi * (moment / day - _BUSIEST)) for moment in (opened, until))
        return settings.rate * (until - opened + rhythm * day / (2 * math.pi) * (last - first))

    low, high = opened, opened + good / (settings.rate * (1 - rhythm))
    while high - low > 1:
        middle = (low + high) / 2
        low, high = (middle, high) if sent(middle) < good else (low, middle)
    return datetime.fromtimestamp(high, UTC)


class Shop:
    """The shop, which opens at `start`.

    Raises:
        ValueError: `start` has no time zone, or is not in the years 1971 to 2999.
    """

    def __init__(self, settings: ShopSettings, start: datetime) -> None:
        if start.tzinfo is None:
            raise ValueError("start must have a time zone")
        if not _FIRST <= start <= _LAST:
            raise ValueError("start must be in the years 1971 to 2999")
        self._settings = settings
        self._truth = Truth()
        rng = Random(settings.seed)
        opening = int(start.timestamp() * 1000)
        goods = catalogue(settings.currencies)
        shifts = settings.shifts
        self._truth.planted_pairs = [
            {
                "intent": product_of(companion.source, 0),
                "cross_sell": product_of(companion.family, 0),
                "factor": companion.factor,
            }
            for companion in goods.companions
        ]
        if (incident := settings.incident) is not None:
            self._truth.incident = incident.document()
            after, until = ((moment - start).total_seconds() for moment in (incident.start, incident.end))
            fewer = settings.behaviour.with_fewer_acceptances(incident.factor)
            shifts = (*shifts, Shift(after, fewer, incident.segment, incident.channel, until))
        run = f"{opening // 1000:x}"
        source = f"/shop/{settings.seed}"
        self._world = World(
            rng=rng,
            truth=self._truth,
            catalogue=goods,
            customers=Customers(rng, settings.customers, settings.segments, settings.currencies, run),
            channels=settings.channels,
            currencies=settings.currencies,
            behaviour=settings.behaviour,
            shifts=shifts,
            pace=settings.pace,
            month=settings.month_seconds * 1000,
            max_delay=int(settings.disorder_seconds * 1000) + 1000,
            source=source,
            run=run,
            start=opening,
            now=opening,
        )
        self._in_order = not (settings.duplicates or settings.disorder_seconds or settings.poison)
        self._disorder = Disorder(
            settings.seed,
            duplicates=settings.duplicates,
            seconds=settings.disorder_seconds,
            poison=settings.poison,
            truth=self._truth,
            source=source,
            run=run,
            currency=settings.currencies[0],
        )
        self._sessions: list[tuple[int, int, Session]] = []
        self._session_count = 0
        self._emitted = 0
        """Number of good records so far."""
        self._next_visit = float(opening)
        """Time of the next visit, in milliseconds."""
        self._target_rate = settings.rate
        """Events per second at this time of day."""
        self._past_until = opening + 1000 * settings.past_seconds
        self._target = 0.0
        """Number of events that there should be so far."""
        self._target_rate_until = self._next_visit
        self._catch_up_events = settings.rate * _CATCH_UP / settings.pace

    @property
    def truth(self) -> Truth:
        """The planted truth: exactly that of the records yielded so far together with those that `flush` would yield."""
        return self._truth

    @property
    def has_pending(self) -> bool:
        """Whether `flush` has records to yield."""
        return self._disorder.has_pending

    def events(self, most: int | None = None) -> Iterator[Emitted]:
        """Records in order of arrival: without end, or `most` since the shop opened. After a stop, `flush` yields the delayed ones."""
        yield from self._records(math.inf, most)

    def until(self, moment: datetime, most: int | None = None) -> Iterator[Emitted]:
        """As `events`, but only records that arrive by `moment`. Later events are not generated, so they are not in the truth."""
        yield from self._records(moment.timestamp() * 1000, most)

    def flush(self) -> Iterator[Emitted]:
        """The records that are still delayed, in order of arrival."""
        yield from self._disorder.flush()

    def take(self, count: int) -> Iterator[Emitted]:
        """The first `count` records, and then the delayed ones. Afterwards `truth` is the truth of exactly these records."""
        yield from islice(self.events(), count)
        yield from self.flush()

    def _records(self, limit: float, most: int | None) -> Iterator[Emitted]:
        """Records up to the time `limit`, in milliseconds since the epoch, and up to `most` since the shop opened."""
        truth = self._truth
        while (most is None or truth.events < most) and (record := self._next(limit)) is not None:
            if self._in_order:
                truth.events += 1
                yield record
            else:
                yield from self._disorder.push(record, most)
        yield from self._disorder.pop_until(limit / 1000)

    def _next(self, limit: float = math.inf) -> Emitted | None:
        """The next good record in order of event time; None if its time is after `limit`."""
        world, sessions = self._world, self._sessions
        while True:
            while not sessions or self._next_visit <= sessions[0][0]:
                if self._next_visit > limit:
                    return None
                self._schedule_visit()
            if sessions[0][0] > limit:
                return None
            due, number, session = heapq.heappop(sessions)
            world.now = due
            step = next(session, None)
            while world.spawned:
                delay, begin = world.spawned.pop(0)
                self._session_count += 1
                heapq.heappush(sessions, (due + delay, self._session_count, begin(self._session_count)))
            if step is None:
                continue
            record, gap = step
            heapq.heappush(sessions, (due + gap, number, session))
            if record is not None:
                self._emitted += 1
                return record

    def _schedule_visit(self) -> None:
        """Start the session of the next visitor, or pass the rest of a minute without one. Visits are a Poisson process."""
        if self._next_visit >= self._target_rate_until:
            self._update_target_rate()
        factor = 1 + (self._target - self._emitted) / self._catch_up_events
        gap = self._world.rng.expovariate(self._target_rate / _EVENTS_A_SESSION * min(_MOST, max(_LEAST, factor)))
        visit = min(self._target_rate_until, self._next_visit + 1000 * gap)
        self._target += self._target_rate * (visit - self._next_visit) / 1000
        self._next_visit = visit
        if visit < self._target_rate_until:
            self._session_count += 1
            heapq.heappush(self._sessions, (int(visit), self._session_count, self._visit(self._session_count)))

    def _update_target_rate(self) -> None:
        """Set the rate for the next minute, by the time of day."""
        settings = self._settings
        phase = 2 * math.pi * (self._next_visit / _DAY - _BUSIEST)
        rate = settings.past_rate if self._next_visit < self._past_until else settings.rate
        self._target_rate = rate * (1 + settings.daily_rhythm * math.cos(phase))
        self._target_rate_until = self._next_visit + 60_000

    def _visit(self, number: int) -> Session:
        world = self._world
        channel = world.pick(world.channels)
        customer: Customer | None = None
        if world.rng.random() < 0.9:
            customer = world.customers.known()
            subscribe = world.behaviour_of(customer.segment, channel).subscribe
            if world.chance(subscribe) and may_subscribe(customer, world):
                yield from subscribing(world, customer, channel, number)
                return
        yield from Checkout(world, number, customer, channel).run()
