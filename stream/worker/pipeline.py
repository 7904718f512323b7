"""One batch of one shard, from fetched records to the commit.

    decode ─► preload ─► apply ─► publish ─► commit ─► count

Rules: `apply` of the shard is the only step that changes its state by events, and nothing is awaited inside it. Kafka acknowledges outcomes and dead
letters before the commit that implies them. Counters count what is committed, after it is committed.
"""

from __future__ import annotations

import time
from collections import Counter
from itertools import chain, islice
from typing import TYPE_CHECKING, Any

from stream.core.event import CheckoutEvent
from stream.core.result import TOO_MANY_ORDERS
from stream.events.catalogue import TYPE_NAMES
from stream.events.decode import Rejected, too_many_orders
from stream.events.outcome import OUTCOME_HEADERS, dead_letter, outcome_event
from stream.kafka.producer import OUTCOME_TOO_LARGE, Message, UnacknowledgedError
from stream.tables.interface import ACCEPTED, WITHOUT_KEY
from stream.worker.retry import Waiting, retry

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from stream.core.event import Event, Journey
    from stream.core.result import Step
    from stream.core.shard.write_set import ShardId
    from stream.kafka.cursor import Batch, Cursor, LogView
    from stream.worker.context import WorkerContext
    from stream.worker.session import Session


class Pipeline:
    """Applies the batches of one shard, each through the session that holds then."""

    def __init__(
        self,
        id: ShardId,  # noqa: A002 - the shard's id
        journey: Journey,
        context: WorkerContext,
        waiting: Waiting,
        oldest_unapplied: Callable[[int | None], int],
    ) -> None:
        """`oldest_unapplied` returns `ShardHealth.oldest_unapplied`, given the next offset to apply, once all delivered records before it are applied."""
        self._id = id
        self._journey = journey
        self._context = context
        self._waiting = waiting
        self._oldest_unapplied = oldest_unapplied
        self._unread_since = 0
        """As of `ShardHealth`; a batch that is applied was read."""

    async def apply(self, session: Session, batch: Batch) -> int:
        """Apply the first records of a batch, and return how many: at least one, and not all if they need too many bytes at once.

        Raises:
            ClaimLostError: nothing was committed; nothing was published either, unless the claim was lost after the records were loaded.
            ShardHaltedError: the topic was deleted and created again.
        """
        context, shard = self._context, session.shard
        began = time.monotonic()
        now = context.clock.now()
        await session.check_topic()
        shard.advance(now)
        decoded = [context.decoder.decode(record) for record in batch.records]
        events: Sequence[Event] = [event for event in decoded if not isinstance(event, Rejected)]
        applicable = await session.preload(events)
        records, end, rest = batch.records, batch.end, 0
        if len(applicable) < len(events):
            events = applicable
            number = _applicable(decoded, len(events))
            rest = max(0, records[number].timestamp) * 1000
            records, end, decoded = records[:number], records[number].offset, decoded[:number]
        steps = shard.apply(events)
        if TOO_MANY_ORDERS in steps:
            decoded, events, steps = _with_refused(decoded, steps)
        messages = self._messages(records, decoded, steps)
        shard.remove(*await session.expired(len(records)))
        too_large = await self._publish(messages)
        rejected = [event for event in decoded if isinstance(event, Rejected)] if len(events) < len(decoded) else []
        reasons = Counter[str](rejection.reason for rejection in rejected)
        without_key = sum(
            not record.key for record, event in zip(records, decoded, strict=True) if not isinstance(event, Rejected)
        )
        if too_large:
            reasons[OUTCOME_TOO_LARGE] = too_large
        session.health.count({ACCEPTED: len(events), WITHOUT_KEY: without_key, **reasons}, now)
        await session.commit(end, session.identity.after(records[-1]), now, rest or self._oldest_unapplied(end))
        context.counters.commit(len(records), time.monotonic() - began)
        self._count(events, steps, rejected)
        if reasons:
            context.attention.rejected(reasons)
        if without_key:
            context.counters.without_key(self._id.topic, without_key)
            context.attention.without_key(self._id.topic, without_key)
        return len(records)

    async def tick(self, session: Session, cursor: Cursor | None, log_view: LogView) -> None:
        """Move the windows on without records, and pass over offsets that hold none.

        Retention may delete such offsets; if the stored offset stayed before them, that would look as if it had deleted records.

        Raises:
            ClaimLostError: nothing was committed.
        """
        now = self._context.clock.now()
        session.shard.advance(now)
        await session.preload(())
        session.shard.remove(*await session.expired(0))
        end = session.offset if cursor is None else cursor.pass_over(session.offset, log_view.empty)
        if log_view.unreadable is None and not log_view.unanswered:
            self._unread_since = 0
        else:
            self._unread_since = self._unread_since or now
        await session.commit(end, session.identity, now, self._oldest_unapplied(end), self._unread_since)

    def _messages(
        self, records: Sequence[Any], decoded: Sequence[Event | Rejected], steps: Sequence[Step]
    ) -> list[Message]:
        """A dead letter for each rejected record, an outcome for each version to publish; in the order of the log."""
        context = self._context
        messages: list[Message] = []
        applied = iter(steps)
        for record, event in zip(records, decoded, strict=True):
            if isinstance(event, Rejected):
                value, headers = dead_letter(record, event, self._id.partition, record.offset)
                messages.append(Message(context.dead_letter_topic, record.key, value, headers))
                continue
            for version in next(applied).versions:
                if version.publish:
                    value = outcome_event(version, context.app_id)
                    origin = (*self._id, record.offset)
                    messages.append(Message(context.outcome_topic, record.key, value, OUTCOME_HEADERS, origin))
        return messages

    async def _publish(self, messages: list[Message]) -> int:
        """Publish, until Kafka has acknowledged every message; returns how many outcomes were too large and are dead letters now."""
        too_large = 0
        if not messages:
            return too_large

        def keep(failure: UnacknowledgedError) -> str:
            nonlocal messages, too_large
            messages = failure.messages
            too_large += failure.shrunk
            return str(failure)

        await retry(lambda: self._context.publisher.publish(messages), UnacknowledgedError, self._waiting, keep)
        return too_large

    def _count(self, events: Sequence[Event], steps: Sequence[Step], rejected: Sequence[Rejected]) -> None:
        counters = self._context.counters
        topic = self._id.topic
        now = self._context.clock.now()
        for name, number in Counter(rejection.type for rejection in rejected).items():
            counters.event(topic, name, "rejected", number)
        for rejection in rejected:
            counters.dead_letter(rejection.reason)
        results = Counter((event.type, step.result) for event, step in zip(events, steps, strict=True))
        for (sort, result), number in results.items():
            counters.event(topic, TYPE_NAMES[self._journey, sort], result, number)
        for (kind, channel, segment), number in Counter(chain.from_iterable(step.counted for step in steps)).items():
            counters.transactions(kind, self._journey, channel, segment, number)
        for label in chain.from_iterable(step.overflow for step in steps):
            counters.overflow(label)
        if published := [version for step in steps for version in step.versions if version.publish]:
            counters.judged(*self._id, published)
        counters.delays([(now - event.time) / 1_000_000 for event in events])


def _with_refused(
    decoded: Sequence[Event | Rejected], steps: Sequence[Step]
) -> tuple[list[Event | Rejected], list[Event], list[Step]]:
    """Turn the events that the shard refused into rejected records; then the events that are left, and their steps."""
    results: list[Event | Rejected] = []
    applied = iter(steps)
    kept: list[Step] = []
    for event in decoded:
        if isinstance(event, Rejected):
            results.append(event)
            continue
        step = next(applied)
        if step is TOO_MANY_ORDERS and isinstance(event, CheckoutEvent):
            results.append(too_many_orders(event))
        else:
            results.append(event)
            kept.append(step)
    return results, [event for event in results if not isinstance(event, Rejected)], kept


def _applicable(decoded: Sequence[Event | Rejected], events: int) -> int:
    """How many of the decoded records precede the first event that is left out, if so many events can be applied."""
    indexes = (number for number, event in enumerate(decoded) if not isinstance(event, Rejected))
    return next(islice(indexes, events, None))
