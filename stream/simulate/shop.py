"""A believable shop: customers who come back, carts and subscriptions, and the truth about what was sold on top.

Rules: a shop is a function of its settings and its start. It knows no clock and no Kafka: simulated time passes as events are asked for, and all
randomness comes from the seed. Memory is bounded by the sessions in progress (`rate` times their length) and by the known customers.
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
from stream.simulate.record import Emitted, quantum
from stream.simulate.subscriptions import Subscription, may_subscribe
from stream.simulate.truth import Truth
from stream.simulate.world import Session, World

_DAY: Final = 86_400_000
_BUSIEST: Final = 20 / 24
"""The part of the day (UTC) at which most customers come: eight in the evening."""
_EVENTS_A_SESSION: Final = 2.6
"""About; the shop corrects itself by what it counts."""
_MOST: Final = 4.0
_LEAST: Final = 0.1
"""Bounds of the factor by which more or fewer sessions than usual begin to keep to the rate: there are none in progress at the start."""
_CATCH_UP: Final = 60.0
"""Seconds, before `pace`."""
_LATEST: Final = 12 * 3600
_MOST_CURRENCIES: Final = 4
"""As many as an application has revenue figures for."""
_MOST_CUSTOMERS: Final = 100_000_000
LOWEST_RATE: Final = 0.0001
HIGHEST_RATE: Final = 100_000.0
"""Events per second."""
SLOWEST: Final = 0.001
FASTEST: Final = 10_000.0
"""Bounds of `pace`."""
_FIRST: Final = datetime(1971, 1, 1, tzinfo=UTC)
_LAST: Final = datetime(2999, 12, 31, tzinfo=UTC)
"""A shop opens within these: whatever it says happens after 1970, and long before the last year that a time can have."""
_MONTH: Final = 600.0


@dataclass(frozen=True, slots=True)
class ShopSettings:
    """What the shop is like.

    Raises:
        ValueError: a value is out of range; the message names it and says what is allowed.
    """

    seed: int = 1
    rate: float = 10.0
    """Mean events per simulated second."""
    customers: int = 5000
    """Known customers, who come back."""
    channels: tuple[str, ...] = ("web", "app", "store")
    """`web` numbers its events (`entityversion`), `store` writes times at +01:00."""
    segments: tuple[str, ...] = ("consumer", "family", "business", "vip")
    """Largest first."""
    currencies: tuple[str, ...] = ("EUR",)
    """ISO 4217, at most four; the first is that of most customers. With several, some purchases change currency on the way."""
    daily_rhythm: float = 0.6
    """How far the rate swings around its mean in a day, from 0 (not at all) to below 1."""
    pace: float = 1.0
    """Divides every gap within a session, which is minutes for a cart: a demo wants sales complete within seconds, and a
    short run at a high rate wants them complete at all (`pace` of about `rate` / 10)."""
    month_seconds: float = _MONTH
    """Simulated seconds that a subscription's month lasts (and by which refunds are late), so that short runs show whole lives;
    2,629,800 is a real month."""
    duplicates: float = 0.0
    """Share of events that arrive twice."""
    disorder_seconds: float = 0.0
    """An event arrives up to so much later than it happened. The core can put 64 events of a subscription in order, so the truth is sure
    to hold where a month takes at least half of this, as in `month_for`: there are at most four events in a fifth of a month."""
    poison: float = 0.0
    """Bad records for each good one."""
    behaviour: Behaviour = field(default_factory=Behaviour)
    shifts: tuple[Shift, ...] = ()
    """Changes of behaviour, by time; of those that apply to a session, the last one counts."""

    def __post_init__(self) -> None:
        rules = {
            "rate": (LOWEST_RATE <= self.rate <= HIGHEST_RATE, f"from {LOWEST_RATE} to {HIGHEST_RATE:.0f}"),
            "customers": (1 <= self.customers <= _MOST_CUSTOMERS, f"from 1 to {_MOST_CUSTOMERS}"),
            "channels": (bool(self.channels), "at least one"),
            "segments": (bool(self.segments), "at least one"),
            "currencies": (
                1 <= len(set(self.currencies)) == len(self.currencies) <= _MOST_CURRENCIES,
                f"one to {_MOST_CURRENCIES}, each once",
            ),
            "daily_rhythm": (0 <= self.daily_rhythm < 1, "from 0 to below 1"),
            "pace": (SLOWEST <= self.pace <= FASTEST, f"from {SLOWEST} to {FASTEST:.0f}"),
            # A refund may be 0.7 months late, and a checkout never pauses for 30 days.
            "month_seconds": (
                0 < self.month_seconds <= 31 * 86400 * max(1.0, self.pace),
                "above 0, at most 31 days (times pace)",
            ),
            "duplicates": (0 <= self.duplicates <= 1, "from 0 to 1"),
            # Twice the delay must stay below the 24 h after which a subscription's event is stale.
            "disorder_seconds": (0 <= self.disorder_seconds <= _LATEST, "from 0 to 12 hours"),
            "poison": (0 <= self.poison <= 1, "from 0 to 1"),
        }
        for name, (holds, allowed) in rules.items():
            if not holds:
                raise ValueError(f"{name} must be {allowed}")
        for currency in self.currencies:
            quantum(currency)


def month_for(disorder_seconds: float, pace: float) -> float:
    """A `month_seconds` with which the truth is sure to hold under so much disorder: the usual one, or longer."""
    return max(_MONTH, disorder_seconds / 2 * pace)


class Shop:
    """The shop, open from `start` on.

    Raises:
        ValueError: `start` has no time zone, or is not within the years 1971 to 2999.
    """

    def __init__(self, settings: ShopSettings, start: datetime) -> None:
        if start.tzinfo is None:
            raise ValueError("start needs a time zone")
        if not _FIRST <= start <= _LAST:
            raise ValueError("start must be in the years 1971 to 2999")
        self._settings = settings
        self._truth = Truth()
        rng = Random(settings.seed)
        opening = int(start.timestamp() * 1000)
        run = f"{opening // 1000:x}"
        source = f"/shop/{settings.seed}"
        self._world = World(
            rng=rng,
            truth=self._truth,
            catalogue=catalogue(settings.currencies),
            people=Customers(rng, settings.customers, settings.segments, settings.currencies, run),
            channels=settings.channels,
            currencies=settings.currencies,
            behaviour=settings.behaviour,
            shifts=settings.shifts,
            pace=settings.pace,
            month=settings.month_seconds * 1000,
            margin=int(settings.disorder_seconds * 1000) + 1000,
            source=source,
            run=run,
            start=opening,
            now=opening,
        )
        self._orderly = not (settings.duplicates or settings.disorder_seconds or settings.poison)
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
        self._begun = 0
        self._made = 0
        self._door = float(opening)
        """Milliseconds: when the next visitor may come."""
        self._asking = settings.rate
        """Events per second that the rhythm asks for now."""
        self._asked = 0.0
        """Events that it asked for so far."""
        self._rhythm_until = self._door
        self._slack = settings.rate * _CATCH_UP / settings.pace

    @property
    def truth(self) -> Truth:
        """What was planted: with what `flush` hands out, exactly the truth about the records handed out so far."""
        return self._truth

    @property
    def holds(self) -> bool:
        """Whether something is still held back."""
        return self._disorder.holds

    def events(self, most: int | None = None) -> Iterator[Emitted]:
        """Records in order of arrival, without end, or until `most` were handed out. Stop whenever you like, and take what `flush` has."""
        yield from self._records(math.inf, most)

    def until(self, moment: datetime, most: int | None = None) -> Iterator[Emitted]:
        """As `events`, but only what arrives by then. What happens later is not made yet, so that the truth knows nothing of it."""
        yield from self._records(moment.timestamp() * 1000, most)

    def flush(self) -> Iterator[Emitted]:
        """What disorder still holds back, in order of arrival."""
        yield from self._disorder.flush()

    def take(self, count: int) -> Iterator[Emitted]:
        """So many records, and then what is still held back: afterwards `truth` is the truth about all of them."""
        yield from islice(self.events(), count)
        yield from self.flush()

    def _records(self, limit: float, most: int | None) -> Iterator[Emitted]:
        """Records up to a time in milliseconds since the epoch, and up to so many since the shop opened."""
        truth = self._truth
        while (most is None or truth.events < most) and (record := self._next(limit)) is not None:
            if self._orderly:
                truth.events += 1
                yield record
            else:
                yield from self._disorder.disturb(record, most)
        yield from self._disorder.arrived(limit / 1000)

    def _next(self, limit: float = math.inf) -> Emitted | None:
        """The next good record in order of event time; None if it happens later than `limit`."""
        world, sessions = self._world, self._sessions
        while True:
            while not sessions or self._door <= sessions[0][0]:
                if self._door > limit:
                    return None
                self._wait()
            if sessions[0][0] > limit:
                return None
            due, number, session = heapq.heappop(sessions)
            world.now = due
            step = next(session, None)
            if step is None:
                continue
            record, gap = step
            heapq.heappush(sessions, (due + gap, number, session))
            if record is not None:
                self._made += 1
                return record

    def _wait(self) -> None:
        """Let the next visitor in, or a minute pass in which nobody comes: a Poisson process, its rate constant for a minute at most."""
        if self._door >= self._rhythm_until:
            self._feel()
        # What is missing is to be made up within about the time in which a cart becomes an order.
        urgency = 1 + (self._asked - self._made) / self._slack
        gap = self._world.rng.expovariate(self._asking / _EVENTS_A_SESSION * min(_MOST, max(_LEAST, urgency)))
        visit = min(self._rhythm_until, self._door + 1000 * gap)
        self._asked += self._asking * (visit - self._door) / 1000
        self._door = visit
        if visit < self._rhythm_until:
            self._begun += 1
            heapq.heappush(self._sessions, (int(visit), self._begun, self._visit(self._begun)))

    def _feel(self) -> None:
        """Set the rhythm for the next minute."""
        settings = self._settings
        phase = 2 * math.pi * (self._door / _DAY - _BUSIEST)
        self._asking = settings.rate * (1 + settings.daily_rhythm * math.cos(phase))
        self._rhythm_until = self._door + 60_000

    def _visit(self, number: int) -> Session:
        world = self._world
        channel = world.pick(world.channels)
        customer: Customer | None = None
        if world.rng.random() < 0.9:
            customer = world.people.known()
            subscribe = world.behaviour_of(customer.segment).subscribe
            if world.chance(subscribe) and may_subscribe(customer, world.now, world.margin):
                yield from Subscription(world, number, customer, channel).run()
                return
        yield from Checkout(world, number, customer, channel).run()
