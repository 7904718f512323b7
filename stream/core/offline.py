"""The whole application in one process's memory: the same shards as the worker's, without Kafka, Redis or a clock.

Rules: windows stand at one moment until `advance` moves them, or there are none. A file may hold partitions one after the other, or be in any order, so
nothing expires; only an event later than its entity's retention begins a new entity, as in a worker. This is the answer that every worker's figures must
equal. Where events come later than their records are remembered, that holds for one partition's log in its order, with `forget`.
"""

from collections.abc import Iterator

import msgspec

from stream.core.config import CoreConfig
from stream.core.counting.days import Days
from stream.core.counting.figures import JOURNEYS, Figures, ShardFigures
from stream.core.counting.timeline import Timeline
from stream.core.event import CheckoutEvent, ErasedEvent, Event, Journey, OfferEvent
from stream.core.labels import LabelRegistry
from stream.core.result import Step
from stream.core.shard.shard import Shard
from stream.core.shard.write_set import ShardId, Stored

_UNBOUNDED = 2**62


class Offline:
    """Both journeys, one shard each."""

    def __init__(
        self, config: CoreConfig, labels: LabelRegistry, as_of: int | None = None, *, forget: bool = False
    ) -> None:
        """Windows stand at `as_of` (microseconds since the epoch); without it there are none.

        With `forget` and `as_of`, an event that comes later than its record is remembered does not find it, as in a worker.
        """
        windows = config.windows if as_of is not None else ()
        config = msgspec.structs.replace(
            config,
            windows=windows,
            forget=forget,
            forget_customers=False,
            history="off" if as_of is None else "waiting",
            emit_all=True,
        )
        self._labels = labels
        self._shards: dict[Journey, Shard] = {
            journey: Shard(ShardId(journey, 0), journey, config, labels, Stored(None, {}), _UNBOUNDED)
            for journey in JOURNEYS
        }
        if as_of is not None:
            for shard in self._shards.values():
                shard.advance(as_of)

    def apply(self, event: Event) -> Step:
        """Apply one event; an erasure goes to both journeys, which have seen the same erasures before."""
        if isinstance(event, ErasedEvent):
            steps = [self._step(shard, event) for shard in self._shards.values()]
            return steps[0]
        if isinstance(event, OfferEvent):
            return self._step(self._shards[event.journey], event)
        return self._step(self._shards["checkout" if isinstance(event, CheckoutEvent) else "subscription"], event)

    def _step(self, shard: Shard, event: Event) -> Step:
        preload = shard.preload((event,))
        while (request := preload.request) is not None:
            self._labels.register(request.labels)
            preload.receive([None] * len(request.entities), [None] * len(request.customers))
        (step,) = shard.apply(preload.events)
        return step

    def advance(self, as_of: int) -> None:
        """Move the windows to a later moment, in microseconds since the epoch."""
        for shard in self._shards.values():
            shard.advance(as_of)

    def figures(self, *, customers: bool = True) -> Figures:
        """All figures, with every customer ever seen; without `customers` no distinct customers, which is much faster."""
        return Figures(self.shard_figures(customers=customers))

    def shard_figures(self, *, customers: bool = True) -> Iterator[ShardFigures]:
        """What each of the two shards contributes to the figures; `customers` as for `figures`."""
        for shard in self._shards.values():
            yield _figures(shard) if customers else ShardFigures(shard.summary())

    def timeline(self) -> Timeline:
        """The history up to the moment of the windows; empty without one."""
        return Timeline([shard.past() for shard in self._shards.values()])

    def days(self) -> Days:
        """Offers and products by day up to the moment of the windows; empty without one."""
        return Days([shard.days() for shard in self._shards.values()])


def _figures(shard: Shard) -> ShardFigures:
    edges = shard.edges()
    customers: dict[bytes, tuple[int, ...]] = {}
    ever: dict[bytes, int] = {}
    for name, scores in shard.scores().items():
        newest = [score for score in scores.values() if score is not None]
        customers[name] = tuple(sum(after < score <= until for score in newest) for after, until in edges)
        ever[name] = len(newest)
    return ShardFigures(shard.summary(), customers, ever)
