"""The way from the shop to the topic: records arrive out of order, twice, or damaged.

Rules: event times do not change and no record is lost. The random numbers are independent of the shop's. At every moment, each record that was
pushed has been yielded or is still pending.
"""

import heapq
import math
from collections.abc import Iterator
from datetime import timedelta
from random import Random

import msgspec

from stream.simulate.poison import POISON_KINDS, poisoned
from stream.simulate.record import Emitted
from stream.simulate.truth import Truth


class Disorder:
    """Adds delays, duplicates and bad records.

    Counts records, duplicates and bad records in `truth` when they are pushed. Once nothing is pending, these are the counts of the records
    that were yielded.
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
        self._pending: list[tuple[float, int, Emitted]] = []
        self._number = 0

    @property
    def has_pending(self) -> bool:
        """Whether a record has not arrived yet."""
        return bool(self._pending)

    def push(self, record: Emitted, most: int | None = None) -> Iterator[Emitted]:
        """Add the next record, in order of event time, and yield the records that have arrived by this event time.

        No duplicate or bad record is added once `most` records are counted.
        """
        rng, truth = self._rng, self._truth
        self._push(record, rng.uniform(0, self._seconds) if self._seconds else 0.0)
        if self._duplicates and rng.random() < self._duplicates and truth.events != most:
            truth.duplicates += not record.about_offer
            truth.offer_duplicates += record.about_offer
            self._push(record, rng.uniform(0, self._seconds))
        if self._poison and rng.random() < self._poison and truth.events != most:
            truth.rejected += 1
            self._push(self._poisoned(record), 0.0)
        yield from self.pop_until(record.time.timestamp())

    def pop_until(self, moment: float) -> Iterator[Emitted]:
        """Yield the records that have arrived by `moment`, in seconds since the epoch."""
        while self._pending and self._pending[0][0] <= moment:
            yield heapq.heappop(self._pending)[2]

    def flush(self) -> Iterator[Emitted]:
        """Yield all pending records."""
        yield from self.pop_until(math.inf)

    def _push(self, record: Emitted, delay: float) -> None:
        self._truth.events += 1
        self._number += 1
        if delay:
            record = msgspec.structs.replace(record, arrival=record.time + timedelta(seconds=delay))
        heapq.heappush(self._pending, (record.arrival.timestamp(), self._number, record))

    def _poisoned(self, record: Emitted) -> Emitted:
        kind = self._rng.choice(POISON_KINDS)
        value = poisoned(
            kind,
            number=self._number,
            run=self._run,
            source=self._source,
            time=record.time.isoformat(timespec="milliseconds"),
            currency=self._currency,
        )
        return Emitted("checkout", record.key, value, record.time, record.time, kind)
