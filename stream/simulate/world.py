"""What all sessions share: the simulated clock, the dice, the goods and the truth.

Rules: a session is a generator that is resumed at the time it asked for. It yields a record or None, and the milliseconds until it wants to go
on; between two yields it happens at `World.now`. Everything random comes from `World.rng`, in the order of simulated time.
"""

from collections.abc import Generator, Sequence
from dataclasses import dataclass
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
"""Milliseconds between two events of one checkout or subscription, at least: their order is never a tie."""

_STORE_TIME: Final = timezone(timedelta(hours=1))


@dataclass(slots=True)
class World:
    """The state of the shop as its sessions see it."""

    rng: Random
    truth: Truth
    catalogue: Catalogue
    people: Customers
    channels: tuple[str, ...]
    currencies: tuple[str, ...]
    behaviour: Behaviour
    shifts: tuple[Shift, ...]
    pace: float
    month: float
    """Simulated milliseconds of a subscription's month, before `pace`."""
    margin: int
    """Milliseconds after which everything has surely arrived."""
    source: str
    run: str
    """Tells the ids of this run from those of runs that start at other times."""
    start: int
    now: int
    """Milliseconds since the epoch."""
    _minute: int = -1
    """The minute that the next three stand for: many events share one, and dates are dear."""
    _fields: tuple[int, int, int, int, int] = (0, 0, 0, 0, 0)
    _written: str = ""
    _written_in_store: str = ""

    def chance(self, probability: float) -> bool:
        """Whether something of this probability happens."""
        return self.rng.random() < probability

    def pick(self, choices: Sequence[T]) -> T:
        """One of the choices, each as likely."""
        return choices[int(self.rng.random() * len(choices))]

    def gap(self, seconds: float) -> int:
        """Milliseconds to the next step, about this many seconds before `pace`."""
        return SHORTEST + int(1000 * seconds * self.rng.uniform(0.3, 1.7) / self.pace)

    def months(self, low: float, high: float) -> int:
        """Milliseconds of between so many months of a subscription's time."""
        return SHORTEST + int(self.month * self.rng.uniform(low, high) / self.pace)

    def behaviour_of(self, segment: str | None) -> Behaviour:
        """How a session that begins now behaves: the newest shift that applies."""
        found = self.behaviour
        for shift in self.shifts:
            if self.now - self.start >= shift.after * 1000 and shift.segment in {None, segment}:
                found = shift.behaviour
        return found

    def record(
        self, topic: Topic, kind: str, *, entity: str, number: int, customer: str, channel: str, data: dict[str, Any]
    ) -> Emitted:
        """The event number `number` of an entity, now."""
        minute, millis = divmod(self.now, 60_000)
        if minute != self._minute:
            self._minute = minute
            moment = datetime.fromtimestamp(minute * 60, UTC)
            self._fields = (moment.year, moment.month, moment.day, moment.hour, moment.minute)
            self._written = f"{moment:%Y-%m-%dT%H:%M:}"
            self._written_in_store = f"{moment.astimezone(_STORE_TIME):%Y-%m-%dT%H:%M:}"
        second, millis = divmod(millis, 1000)
        moment = datetime(*self._fields, second, millis * 1000, tzinfo=UTC)
        in_store = channel == "store"
        written, offset = (self._written_in_store, "+01:00") if in_store else (self._written, "Z")
        value = cloud_event(
            kind,
            source=self.source,
            event_id=f"{entity}-{number}",
            subject=f"{topic}/{entity}",
            time=f"{written}{second:02}.{millis:03}{offset}",
            data=data,
            version=number if channel == "web" else None,
        )
        return Emitted(topic, customer.encode(), value, moment, moment)
