"""A drop of sales that the shop plants: for some hours, the customers of one segment in one channel hardly accept anything.

Rules: it begins and ends at full hours, and concerns the checkouts that begin in between. Nothing here reads a clock; what is not given follows from the
seed, with random numbers of its own.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from random import Random
from typing import Any, Final

HOUR: Final = timedelta(hours=1)
_MOST_HOURS: Final = 6
_FACTORS: Final = (0.1, 0.15, 0.2, 0.25)


@dataclass(frozen=True, slots=True)
class Incident:
    """What is planted.

    Raises:
        ValueError: the factor is out of range, or it would end before it begins.
    """

    channel: str
    segment: str
    start: datetime
    end: datetime
    factor: float
    """On every probability that a customer takes more, or something else, than was intended."""

    def __post_init__(self) -> None:
        if not 0 <= self.factor <= 1:
            raise ValueError("the factor of an incident must be from 0 to 1")
        if not self.start < self.end:
            raise ValueError("an incident must begin before it ends")

    def document(self) -> dict[str, Any]:
        """The cell, and the hours: from `from`, before `to`."""
        return {
            "journey": "checkout",
            "channel": self.channel,
            "segment": self.segment,
            "factor": self.factor,
            "from": f"{self.start:%Y-%m-%dT%H:%M:%SZ}",
            "to": f"{self.end:%Y-%m-%dT%H:%M:%SZ}",
        }


@dataclass(frozen=True, slots=True)
class IncidentWish:
    """An incident as asked for; None: the seed decides."""

    channel: str | None = None
    segment: str | None = None
    hours: int | None = None
    factor: float | None = None

    def planted(
        self, seed: int, channels: Sequence[str], segments: Sequence[str], start: datetime, end: datetime
    ) -> Incident:
        """The incident in the last hours of a run from `start` to `end`, both UTC.

        Raises:
            ValueError: the run is shorter than four hours, or not at least twice as long as the incident, or has no such channel or segment.
        """
        rng = Random(f"incident {seed}")
        channel, segment = rng.choice(channels), rng.choice(segments)
        hours, factor = rng.randint(2, _MOST_HOURS), rng.choice(_FACTORS)
        length = (end - start) / HOUR
        if length < 4:
            raise ValueError("an incident needs a run of at least four hours of event time")
        hours = self.hours or min(hours, int(length / 4))
        if 2 * hours > length:
            raise ValueError("an incident must be at most half as long as the run")
        for name, allowed in ((self.channel or channel, channels), (self.segment or segment, segments)):
            if name not in allowed:
                raise ValueError(f"an incident is in one of {', '.join(allowed)}, not in {name}")
        last = end.replace(minute=0, second=0, microsecond=0)
        if last < end:
            last += HOUR
        return Incident(
            self.channel or channel,
            self.segment or segment,
            last - hours * HOUR,
            last,
            factor if self.factor is None else self.factor,
        )
