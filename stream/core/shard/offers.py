"""The offers of a shard: their records, the step that applies an event about an offer, and the counts by day.

Rules: a record has everything about the offers of one checkout or subscription, so an offer that is shown costs neither the record of the checkout nor that
of the subscription. What a transaction accepted is kept with the transaction, as everything else that it contributes. Records of offers lie among the
entities, under keys that no entity has.
"""

from collections.abc import Iterable, Sequence
from typing import Any, Protocol

from msgspec.structs import replace

from stream.core.config import DAY
from stream.core.counting.aggregates import Aggregates
from stream.core.entities import offers
from stream.core.entities.assessment import Assessment
from stream.core.entities.offers import DECLINED, OFFERS, SHOWN, Accepted, Offer, Transaction
from stream.core.entities.offers import Offers as Record
from stream.core.entities.tally import book
from stream.core.event import OfferEvent
from stream.core.labels import OTHER, LabelRegistry
from stream.core.money import exponent
from stream.core.result import APPLIED, LATE, UNCHANGED, Step
from stream.core.shard.cache import Cache
from stream.core.shard.event_time import EventTime

RETENTION = 30 * DAY
"""Offers are forgotten this long after the newest fact about them, by event time."""
_SORTS = (OFFERS,)
_PREFIX = b"\xff"
"""No UTF-8 begins with it."""


class Accepting(Protocol):
    """The record of a checkout or a subscription, as far as offers change it."""

    accepted: list[Accepted]
    until: int | None


def key_of(entity: bytes) -> bytes:
    """Key of the record of an entity's offers."""
    return _PREFIX + entity


def is_key(key: bytes) -> bool:
    """Whether a key is that of a record of offers."""
    return key[:1] == _PREFIX


class Offers:
    """The offers of one shard."""

    def __init__(self, time: EventTime, labels: LabelRegistry, aggregates: Aggregates) -> None:
        """Start with no records in memory. Counts go to `aggregates`."""
        self.records = Cache(Record)
        self._time = time
        self._labels = labels
        self._daily = aggregates.daily

    def is_accepted(self, event: OfferEvent) -> bool:
        """Whether a transaction has, or had, the offer of an event: then the entity's record may change, too. Ask when the record of offers is in memory."""
        record = self.records.peek(key_of(event.entity.encode()))
        offer = offers.peek(record, event.offer_id) if record is not None else None
        return offer is not None and offer.accepted

    def step(self, event: OfferEvent, entities: Cache[Any]) -> Step:
        """Apply one event. `entities` are the records of the shard's checkouts or subscriptions: what was accepted of the offer may have another slot now."""
        key, record = self._record(event.entity, event.time)
        offer = offers.find(record, event.offer_id)
        before = offer.key()
        shown, declined = offer.shown, offer.declined
        first = offers.note(offer, event)
        self._time.observe(event.time)
        self._keep(key, record, event.time)
        if not first:
            return UNCHANGED
        if shown is not None:
            self._count(before, shown[0], SHOWN, -1)
        if declined is not None:
            self._count(before, declined[0], DECLINED, -1)
        if offer.shown is not None:
            self._count(offer.key(), offer.shown[0], SHOWN, 1)
        if offer.declined is not None:
            self._count(offer.key(), offer.declined[0], DECLINED, 1)
        if event.shown and offer.accepted:
            self._move(entities, event.entity.encode(), offer)
        return LATE if self._time.is_late(event.time) else APPLIED

    def accept(
        self,
        entity: str,
        before: Sequence[Accepted],
        fixed: Iterable[Accepted],
        transactions: Iterable[tuple[bytes, Assessment]],
    ) -> list[Accepted]:
        """Count what an entity has accepted, in the place of what was counted `before`, and return it. See `offers.accepted`."""
        changed = [
            Transaction(name, each.time, self._currency(each.currency), exponent(each.currency), each.offers)
            for name, each in transactions
            if each.offers
        ]
        if not changed and not before:
            return []
        newest = max([each.time for each in changed] + [each.time for each in before])
        key, record = self._record(entity, newest)
        after = offers.accepted(record, before, fixed, changed)
        if after != before:
            self._keep(key, record, newest)
            self._replace(before, after)
        return after

    def _move(self, entities: Cache[Any], key: bytes, offer: Offer) -> None:
        """Count what an entity accepted of an offer in the slot where the offer was shown first, as is known only now."""
        record: Accepting | None = entities.get(key)
        if record is None or self._time.is_expired(record.until):
            return
        before, slot = record.accepted, offer.key()[1]
        record.accepted = [replace(each, slot=slot) if each.offer == offer.id else each for each in before]
        if record.accepted != before:
            self._replace(before, record.accepted)
            entities.put(key, record)

    def _replace(self, before: Iterable[Accepted], after: Iterable[Accepted]) -> None:
        """Count accepted offers in the place of others."""
        for each, sign in (*[(each, -1) for each in before], *[(each, 1) for each in after]):
            carried = each.carried
            self._count(
                (each.offer, each.slot), each.time, carried.counts, sign, each.currency, (carried.gross, carried.kept)
            )

    def _record(self, entity: str, time: int) -> tuple[bytes, Record]:
        key = key_of(entity.encode())
        record = self.records.get(key)
        if record is None or self._time.is_expired(record.until) or time > record.newest + RETENTION:
            record = Record(time, [])
        return key, record

    def _keep(self, key: bytes, record: Record, time: int) -> None:
        record.newest = max(record.newest, time)
        until = self._time.retention_day(record.newest + RETENTION)
        if until != record.until:
            record.until = until
            self.records.expiry[key] = until * DAY
        self.records.put(key, record)

    def _currency(self, currency: str) -> str:
        label = self._labels.label("currency", currency)
        return "" if label == OTHER else label

    def _count(
        self,
        key: tuple[str, str],
        time: int,
        counts: Sequence[int],
        sign: int,
        currency: str = "",
        amounts: Sequence[int] = (),
    ) -> None:
        places = self._daily.days(_SORTS, time)
        if places is not None:
            book(places[0], key, sign, counts, currency, amounts)
