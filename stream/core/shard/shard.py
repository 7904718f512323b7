"""One shard: everything that one partition of one topic needs, and the fold over its events.

    preload ─► apply ─► drain

Rules: `apply` is the only thing that changes a shard by events, and it never waits: `preload` says first what must be loaded. `drain` hands over
everything that changed, once, as absolute values. A shard whose changes could not be committed is thrown away, never repaired. Given the same events
and the same times of `advance`, two shards end equal, however the events were cut into batches, and whenever expired records were removed.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from stream.core.config import NEVER, CoreConfig
from stream.core.counting.aggregates import Aggregates
from stream.core.counting.days import ShardDays, records_of
from stream.core.counting.delta import slice_length
from stream.core.counting.summary import Summary, encode_recent, encode_summary
from stream.core.counting.timeline import ShardPast
from stream.core.event import ErasedEvent, Event, Journey, OfferEvent
from stream.core.labels import LabelRegistry
from stream.core.result import TEST, Step
from stream.core.shard import state
from stream.core.shard.cache import Cache
from stream.core.shard.checkouts import Checkouts
from stream.core.shard.customer_index import CustomerIndex
from stream.core.shard.erasure import Erasure
from stream.core.shard.event_time import EventTime
from stream.core.shard.ledger import Ledger
from stream.core.shard.offers import Offers, is_key
from stream.core.shard.preload import Preload
from stream.core.shard.subscriptions import Subscriptions
from stream.core.shard.write_set import ShardId, Stored, WriteSet


class Shard:
    """The fold over the events of one partition."""

    def __init__(
        self,
        id: ShardId,  # noqa: A002 - it is the shard's id
        journey: Journey,
        config: CoreConfig,
        labels: LabelRegistry,
        stored: Stored,
        capacity: int,
    ) -> None:
        """`labels` is shared by all shards of a process; `capacity` as below.

        Raises:
            ValueError: the stored state was written by a newer version of the product, or for the other journey.
        """
        self.id = id
        self.capacity = capacity
        """Bytes of entities, and as many of customers, that stay in memory between batches."""
        self._journey: Journey = journey
        self._config = config
        self._labels = labels
        restored = state.restore(id, journey, config, stored, slice_length(config.windows))
        self._time = EventTime(config, restored.stream_time, restored.watermark)
        self._aggregates = Aggregates(
            config,
            restored.windows,
            restored.total,
            restored.recent,
            history=restored.history,
            daily=restored.daily,
            orphans=restored.orphans,
        )
        self._customers = CustomerIndex(config, self._time, restored.sets)
        ledger = Ledger(journey, config, labels, self._aggregates, self._customers)
        self._offers = Offers(self._time, labels, self._aggregates)
        entities = Checkouts if journey == "checkout" else Subscriptions
        self._entities = entities(config, self._time, labels, ledger, self._customers, self._offers)
        self._erasure = Erasure(journey, config, self._time, self._entities, self._customers)

    def preload(self, events: Sequence[Event]) -> Preload:
        """Begin with a batch: what must be loaded before it is applied. Apply it before the next one is begun."""
        return Preload(
            events,
            self._entities,
            self._offers,
            self._customers,
            labels=self._labels,
            erasure=self._erasure,
            aggregates=self._aggregates,
        )

    def apply(self, events: Sequence[Event]) -> list[Step]:
        """Apply events that were preloaded, in order, and return what each one did."""
        return [self._apply(event) if event.livemode else TEST for event in events]

    def _apply(self, event: Event) -> Step:
        if isinstance(event, OfferEvent):
            return self._offers.step(event, self._entities.records)
        if isinstance(event, ErasedEvent):
            return self._erasure.apply(event)
        return self._entities.step(event)  # type: ignore[arg-type]  # of the shard's journey

    def advance(self, now: int) -> None:
        """Move the windows to `now` (microseconds, floored to 5 s). A time that is not later changes nothing."""
        aggregates = self._aggregates
        if aggregates.advance(now):
            self._time.advance(aggregates.at)
            self._customers.advance(aggregates.at)
            if aggregates.windows:
                self._time.late_until = min(after for after, _ in aggregates.edges())

    def is_due(self, now: int) -> bool:
        """Whether `advance` would move the windows: a tick is due."""
        return self._aggregates.is_due(now)

    def expired_before(self) -> tuple[int, int]:
        """Entities and customers whose expiry lies before these times (microseconds) may be removed.

        No event finds such an entity any more. A customer stays while an entity may hold their id, and while their purchases may be in a window.
        """
        return self._time.watermark, min(self._time.watermark, self._aggregates.at)

    def remove(self, entities: Sequence[bytes], customers: Sequence[bytes]) -> None:
        """Remove records that have expired, unless this batch has touched them."""
        for key in entities:
            _remove(self._offers.records if is_key(key) else self._entities.records, key)
        for key in customers:
            _remove(self._customers.records, key)

    def drain(self) -> WriteSet:
        """Everything that changed since the last call, and the figures at the present moment of the windows."""
        aggregates, customers = self._aggregates, self._customers
        panes, length, recent = aggregates.drain()
        customer_writes = customers.drain(self.capacity)
        entities, entity_expiry = self._entities.records.drain(self.capacity)
        offers, offer_expiry = self._offers.records.drain(self.capacity)
        history = aggregates.history
        moved, aggregates.moved = aggregates.moved, False
        unsettled, aggregates.unsettled, customers.sets_changed = (
            aggregates.unsettled or customers.sets_changed,
            False,
            False,
        )
        records, dropped = history.drain()
        of_days, other_dropped = aggregates.daily.drain(dropped)
        return WriteSet(
            state=state.encode(self._journey, aggregates.total, customers.sets, aggregates.windows, history)
            if unsettled
            else None,
            summary=encode_summary(aggregates.settled_summary(self._journey, self._newest)) if unsettled else None,
            recent=encode_recent(
                self._time.stream_time,
                length,
                recent,
                self._time.watermark,
                history.pending,
                aggregates.daily.pending,
            ),
            history=records | of_days,
            dropped=dropped + other_dropped,
            panes=panes,
            entities=entities | offers if offers else entities,
            customers=customer_writes.customers,
            entity_expiry=entity_expiry | offer_expiry if offer_expiry else entity_expiry,
            customer_expiry=customer_writes.customer_expiry,
            scores=customer_writes.scores,
            counted=sorted(customers.sets if moved else customer_writes.scores),
            bounds=aggregates.edges(),
            trim=customers.counted_after if moved and self._config.forget_customers else None,
        )

    def edges(self) -> list[tuple[int, int]]:
        """(after, until] of each window, microseconds."""
        return self._aggregates.edges()

    def scores(self) -> Mapping[bytes, Mapping[bytes, int | None]]:
        """Changes of the sorted sets since the last `drain`."""
        return self._customers.scores()

    def summary(self) -> Summary:
        """The shard's figures at the present moment of the windows."""
        return self._aggregates.summary(self._journey, self._newest)

    def past(self) -> ShardPast:
        """What waits for the history: without records, that is all of it."""
        return ShardPast(self._journey, 0, self._aggregates.past())

    def days(self) -> ShardDays:
        """What waits for the other records of days, in the same way."""
        pending = self._aggregates.daily.pending
        records = records_of(state.KEYS_A_DAY, {}, [(name, own.items()) for name, own in pending.items()])
        return ShardDays(self._journey, 0, records)

    @property
    def _newest(self) -> int:
        """Stream time as readers get it: 0 where no event was."""
        return 0 if self._time.stream_time == NEVER else self._time.stream_time


def _remove(cache: Cache[Any], key: bytes) -> None:
    if not cache.has_changed(key):
        cache.put(key, None)
        cache.expiry[key] = None
