"""What all sessions share: the simulated clock, the random numbers, the catalogue and the truth.

Rules: a session is a generator. It yields a record or None, and the milliseconds after which it is resumed; what it does between two yields
happens at `World.now`. All random numbers come from `World.rng`, in the order of simulated time.
"""

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, timezone
from random import Random
from typing import Any, Final, TypeVar

from stream.simulate.behaviour import Behaviour, Shift
from stream.simulate.catalogue import Catalogue
from stream.simulate.customers import Customers
from stream.simulate.record import Emitted, Topic, cloud_event
from stream.simulate.truth import Truth

T = TypeVar("T")

Session = Generator[tuple[Emitted | None, int], None, None]

SHORTEST: Final = 5
"""Least number of milliseconds between two events of one checkout or subscription, so that no two have the same time."""

_STORE_TIME: Final = timezone(timedelta(hours=1))


@dataclass(slots=True)
class World:
    """The shop's state, as its sessions see it."""

    rng: Random
    truth: Truth
    catalogue: Catalogue
    customers: Customers
    channels: tuple[str, ...]
    currencies: tuple[str, ...]
    behaviour: Behaviour
    shifts: tuple[Shift, ...]
    pace: float
    month: float
    """Simulated milliseconds of a subscription's month, not yet divided by `pace`."""
    max_delay: int
    """Milliseconds after its event time by which every record has arrived."""
    source: str
    run: str
    """Part of every id. Runs with another start have another value."""
    start: int
    now: int
    """Milliseconds since the epoch."""
    spawned: list[tuple[int, Callable[[int], Session]]] = field(default_factory=list)
    """Sessions that the session in progress started: after how many milliseconds, and how to begin it, given its number."""
    _minute: int = -1
    """The minute that the next three fields are for. Many events share a minute, and formatting a date is slow."""
    _fields: tuple[int, int, int, int, int] = (0, 0, 0, 0, 0)
    _prefix: str = ""
    _store_prefix: str = ""

    def chance(self, probability: float) -> bool:
        """Whether something with this probability happens."""
        return self.rng.random() < probability

    def pick(self, choices: Sequence[T]) -> T:
        """One of the choices, all equally likely."""
        return choices[int(self.rng.random() * len(choices))]

    def gap(self, seconds: float) -> int:
        """Random number of milliseconds to the next step: about this many seconds, divided by `pace`."""
        return SHORTEST + int(1000 * seconds * self.rng.uniform(0.3, 1.7) / self.pace)

    def months(self, low: float, high: float) -> int:
        """Random number of milliseconds: from `low` to `high` months of a subscription."""
        return SHORTEST + int(self.month * self.rng.uniform(low, high) / self.pace)

    def spawn(self, seconds: float, begin: Callable[[int], Session]) -> None:
        """Start another session after about so many seconds, divided by `pace`. It gets a number of its own."""
        self.spawned.append((self.gap(seconds), begin))

    def behaviour_of(self, segment: str | None, channel: str) -> Behaviour:
        """The behaviour of a session that starts now: of the shifts that apply, the last one."""
        found, passed = self.behaviour, (self.now - self.start) / 1000
        for shift in self.shifts:
            if shift.after <= passed < shift.until and shift.segment in {None, segment}:
                found = shift.behaviour if shift.channel in {None, channel} else found
        return found

    def record(
        self,
        topic: Topic,
        kind: str,
        *,
        entity: str,
        number: int,
        customer: str,
        channel: str,
        data: dict[str, Any],
        about_offer: bool = False,
    ) -> Emitted:
        """The event number `number` of an entity, at the current simulated time."""
        minute, millis = divmod(self.now, 60_000)
        if minute != self._minute:
            self._minute = minute
            moment = datetime.fromtimestamp(minute * 60, UTC)
            self._fields = (moment.year, moment.month, moment.day, moment.hour, moment.minute)
            self._prefix = f"{moment:%Y-%m-%dT%H:%M:}"
            self._store_prefix = f"{moment.astimezone(_STORE_TIME):%Y-%m-%dT%H:%M:}"
        second, millis = divmod(millis, 1000)
        moment = datetime(*self._fields, second, millis * 1000, tzinfo=UTC)
        in_store = channel == "store"
        prefix, offset = (self._store_prefix, "+01:00") if in_store else (self._prefix, "Z")
        value = cloud_event(
            kind,
            source=self.source,
            event_id=f"{entity}-{number}",
            subject=f"{topic}/{entity}",
            time=f"{prefix}{second:02}.{millis:03}{offset}",
            data=data,
            version=number if channel == "web" else None,
        )
        return Emitted(topic, customer.encode(), value, moment, moment, about_offer=about_offer)
