"""Days of all shards for readers: what was counted under keys that come from events (`core.counting.daily`).

Rules: records are decoded when they are added up, one after the other, because decoded they take ten times the memory. Everything is a sum over shards and
days. What has no place on a day of a shard is counted as `OVERFLOW` there, so a sum may lack it: such a key is incomplete. A day that begins before the counts
are complete is partial.
"""

from collections.abc import Iterable, Iterator, Mapping

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


class _Stored(Mapping[Record, Tallies]):
    """Records as they are stored, with what waits for them. Each is decoded whenever it is asked for."""

    def __init__(
        self,
        bounds: Mapping[str, int],
        stored: Mapping[str, Mapping[bytes, bytes]],
        waiting: Mapping[str, Iterable[tuple[Key, Tally]]],
        records: Iterable[Record],
    ) -> None:
        self._bounds = bounds
        self._stored = stored
        self._waiting = waiting
        self._records = dict.fromkeys(records)

    def __getitem__(self, record: Record) -> Tallies:
        if record not in self._records:
            raise KeyError(record)
        sort, day = record
        name = f"{sort}:{day}"
        return merged(self._bounds[sort], self._stored.get(name, {}), self._waiting.get(name, ()))

    def __iter__(self) -> Iterator[Record]:
        return iter(self._records)

    def __len__(self) -> int:
        return len(self._records)


def records_of(
    bounds: Mapping[str, int],
    stored: Mapping[str, Mapping[bytes, bytes]],
    pending: Iterable[tuple[str, Iterable[tuple[Key, Tally]]]],
    oldest: int = 0,
) -> Mapping[Record, Tallies]:
    """Records (by name) with what waits for them; only days from `oldest` on. `bounds` as of `Daily`."""
    waiting = dict(pending)
    records: list[Record] = []
    for name in dict.fromkeys((*stored, *waiting)):
        sort, _, day = name.partition(":")
        if sort in bounds and int(day) >= oldest:
            records.append((sort, int(day)))
    return _Stored(bounds, stored, waiting, records)


class Total:
    """The sum of some records."""

    def __init__(self, records: Iterable[Tallies]) -> None:
        """Add up records."""
        self.tallies: Tallies = {}
        self._full = 0
        """Records that count something under `OVERFLOW`."""
        self._places: dict[Key, int] = {}
        """In how many of these a key has a place."""
        names: dict[str, str] = {}
        for tallies in records:
            rest = tallies.get(OVERFLOW)
            is_full = rest is not None and any(rest.counts)
            self._full += is_full
            for key, tally in tallies.items():
                known = self.tallies.get(key)
                if known is None:
                    # The same names are in many keys.
                    key = tuple([names.setdefault(name, name) for name in key])  # noqa: PLW2901 - an equal one
                    self.tallies[key] = _copy(tally)
                else:
                    known.add(tally)
                if is_full:
                    self._places[key] = self._places.get(key, 0) + 1

    def is_complete(self, key: Key) -> bool:
        """Whether nothing of a key can be under `OVERFLOW`: it has a place wherever something is."""
        return self._places.get(key, 0) == self._full


class Days:
    """The days of all shards."""

    def __init__(self, shards: Iterable[ShardDays]) -> None:
        """Take the records of shards."""
        self._shards: list[ShardDays] = []
        self._since: dict[Journey, int] = {}
        for shard in shards:
            self._since[shard.journey] = max(shard.since, self._since.get(shard.journey, 0))
            self._shards.append(shard)

    @property
    def journeys(self) -> tuple[Journey, ...]:
        """The journeys that have a shard; both if there is none."""
        return tuple(journey for journey in JOURNEYS if journey in self._since) or JOURNEYS

    def since(self, journey: Journey) -> int:
        """From when on the counts of a journey are complete, microseconds; 0: from the first event."""
        return self._since.get(journey, 0)

    def total(self, journey: Journey, sort: str, days: Iterable[int]) -> Total:
        """The sum of some days (proleptic ordinals)."""
        places = [(sort, day) for day in days]
        own = [shard.records for shard in self._shards if shard.journey == journey]
        return Total(records[place] for place in places for records in own if place in records)

    def tallies(self, journey: Journey, sort: str, days: Iterable[int]) -> Tallies:
        """The counts of that sum."""
        return self.total(journey, sort, days).tallies


def _copy(tally: Tally) -> Tally:
    return Tally([*tally.counts], {currency: [*own] for currency, own in tally.amounts.items()})
