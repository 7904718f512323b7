"""The way from the shop to the topic: records overtake each other, arrive twice, or arrive broken.

Rules: what the shop says does not change, only when it arrives and what else does: no event time is touched, no record is lost, and the dice here
are others than the shop's. At every moment all records handed in have been handed out or are still held back.
"""

import heapq
import math
from collections.abc import Iterator
from datetime import timedelta
from random import Random

import msgspec

from stream.simulate.poison import SORTS, poisoned
from stream.simulate.record import Emitted
from stream.simulate.truth import Truth


class Disorder:
    """Duplicates, displacement and poison, each by its share.

    Counts records, duplicates and rejected ones in `truth`: those handed in, so the counts are those handed out once nothing is held back.
    """

    def __init__(
        self,
        seed: int,
        *,
        duplicates: float,
        seconds: float,
        poison: float,
        truth: Truth,
        source: str,
        run: str,
        currency: str,
    ) -> None:
        self._rng = Random(f"disorder {seed}")
        self._duplicates = duplicates
        self._seconds = seconds
        self._poison = poison
        self._truth = truth
        self._source = source
        self._run = run
        self._currency = currency
        self._held: list[tuple[float, int, Emitted]] = []
        self._number = 0

    @property
    def holds(self) -> bool:
        """Whether something is held back."""
        return bool(self._held)

    def disturb(self, record: Emitted, most: int | None = None) -> Iterator[Emitted]:
        """Take the next record in order of event time; hand out what arrives by then.

        Where the count comes to `most`, neither a duplicate nor a bad record is added.
        """
        rng, truth = self._rng, self._truth
        self._hold(record, rng.uniform(0, self._seconds) if self._seconds else 0.0)
        if self._duplicates and rng.random() < self._duplicates and truth.events != most:
            truth.duplicates += 1
            self._hold(record, rng.uniform(0, self._seconds))
        if self._poison and rng.random() < self._poison and truth.events != most:
            truth.rejected += 1
            self._hold(self._poisoned(record), 0.0)
        yield from self.arrived(record.time.timestamp())

    def arrived(self, moment: float) -> Iterator[Emitted]:
        """Hand out what arrives by then, in seconds since the epoch."""
        while self._held and self._held[0][0] <= moment:
            yield heapq.heappop(self._held)[2]

    def flush(self) -> Iterator[Emitted]:
        """Hand out everything that is still held back."""
        yield from self.arrived(math.inf)

    def _hold(self, record: Emitted, delay: float) -> None:
        self._truth.events += 1
        self._number += 1
        if delay:
            record = msgspec.structs.replace(record, arrival=record.time + timedelta(seconds=delay))
        heapq.heappush(self._held, (record.arrival.timestamp(), self._number, record))

    def _poisoned(self, record: Emitted) -> Emitted:
        sort = self._rng.choice(SORTS)
        value = poisoned(
            sort,
            number=self._number,
            run=self._run,
            source=self._source,
            time=record.time.isoformat(timespec="milliseconds"),
            currency=self._currency,
        )
        return Emitted("checkout", record.key, value, record.time, record.time, sort)
