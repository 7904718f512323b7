"""Days of all shards for readers: what was counted under keys that come from events (`core.counting.daily`).

Rules: everything is a sum over shards and days. What has no place on a day of a shard is counted as `OVERFLOW` there, so a sum may lack it: such a key is
incomplete. A day that begins before the counts are complete is partial.
"""

from collections.abc import Callable, Collection, Iterable, Mapping

import msgspec

from stream.core.counting.daily import merged
from stream.core.counting.figures import JOURNEYS
from stream.core.entities.tally import OVERFLOW, Key, Tallies, Tally
from stream.core.event import Journey

Record = tuple[str, int]
"""Sort of record, and the proleptic ordinal of the day."""


class ShardDays(msgspec.Struct, frozen=True):
    """What one shard contributes."""

    journey: Journey
    since: int
    """The counts are complete from here on, microseconds; 0: from the first event."""
    records: Mapping[Record, Tallies]


def records_of(
    bounds: Mapping[str, int],
    stored: Mapping[str, Mapping[bytes, bytes]],
    pending: Iterable[tuple[str, Iterable[tuple[Key, Tally]]]],
    oldest: int = 0,
) -> dict[Record, Tallies]:
    """Records (by name) and what waits for them, decoded; only days from `oldest` on. `bounds` as of `Daily`."""
    waiting = dict(pending)
    found: dict[Record, Tallies] = {}
    for name in dict.fromkeys((*stored, *waiting)):
        sort, _, day = name.partition(":")
        if sort in bounds and int(day) >= oldest:
            found[sort, int(day)] = merged(bounds[sort], stored.get(name, {}), waiting.get(name, ()))
    return found


class Days:
    """The days of all shards."""

    def __init__(self, shards: Iterable[ShardDays]) -> None:
        """Take the records of shards."""
        self._records: dict[tuple[Journey, Record], list[Tallies]] = {}
        self._since: dict[Journey, int] = {}
        for shard in shards:
            self._since[shard.journey] = max(shard.since, self._since.get(shard.journey, 0))
            for record, tallies in shard.records.items():
                self._records.setdefault((shard.journey, record), []).append(tallies)

    @property
    def journeys(self) -> tuple[Journey, ...]:
        """The journeys that have a shard; both if there is none."""
        return tuple(journey for journey in JOURNEYS if journey in self._since) or JOURNEYS

    def since(self, journey: Journey) -> int:
        """From when on the counts of a journey are complete, microseconds; 0: from the first event."""
        return self._since.get(journey, 0)

    def tallies(self, journey: Journey, sort: str, days: Collection[int]) -> Tallies:
        """The sum of some days (proleptic ordinals)."""
        found: Tallies = {}
        for tallies in self._of(journey, sort, days):
            _add(found, tallies)
        return found

    def is_complete(self, journey: Journey, sort: str, days: Collection[int]) -> Callable[[Key], bool]:
        """Whether a key is complete: on each of these days, every shard has a place for it, or counts nothing under `OVERFLOW`."""
        full = [tallies for tallies in self._of(journey, sort, days) if _has_overflow(tallies)]
        return lambda key: all(key in tallies for tallies in full)

    def _of(self, journey: Journey, sort: str, days: Collection[int]) -> Iterable[Tallies]:
        for day in days:
            yield from self._records.get((journey, (sort, day)), ())


def _has_overflow(tallies: Tallies) -> bool:
    rest = tallies.get(OVERFLOW)
    return rest is not None and any(rest.counts)


def _add(total: Tallies, tallies: Tallies) -> None:
    for key, tally in tallies.items():
        known = total.get(key)
        if known is None:
            total[key] = Tally([*tally.counts], {currency: [*own] for currency, own in tally.amounts.items()})
        else:
            known.add(tally)
