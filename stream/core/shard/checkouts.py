"""The checkouts of a shard: their records, and the step that applies one event.

The facts, the intent and the judgement of one checkout are in `core.entities.checkout`.
"""

from collections.abc import Iterator

import msgspec

from stream.core.config import DAY, CoreConfig
from stream.core.entities import checkout
from stream.core.entities.checkout import Checkout
from stream.core.entities.offers import has_offers
from stream.core.event import CheckoutEvent, CheckoutType
from stream.core.identity import identity, remembers
from stream.core.labels import Label, LabelRegistry
from stream.core.result import DUPLICATE, TOO_MANY_ORDERS, Step
from stream.core.shard.cache import Cache
from stream.core.shard.customer_index import CustomerIndex
from stream.core.shard.event_time import EventTime
from stream.core.shard.ledger import Emissions, Ledger
from stream.core.shard.offers import Offers
from stream.core.shard.upgrade import upgrade_checkout


class Checkouts:
    """The entities of a shard of checkout events."""

    def __init__(
        self,
        config: CoreConfig,
        time: EventTime,
        labels: LabelRegistry,
        ledger: Ledger,
        customers: CustomerIndex,
        offers: Offers,
    ) -> None:
        """Start with no records in memory."""
        self.records = Cache(Checkout, upgrade_checkout)
        self._retention = config.checkout_retention
        self._time = time
        self._labels = labels
        self._ledger = ledger
        self._customers = customers
        self._offers = offers

    def step(self, event: CheckoutEvent) -> Step:
        """Apply one event. Everything that it needs was loaded."""
        records, time, customers, entity = self.records, self._time, self._customers, event.entity
        key, event_hash = entity.encode(), identity(event.source, event.id)
        record = records.get(key)
        if (
            record is None
            or time.is_expired(record.until)
            # A new checkout with the id of one that is over.
            or event.time > record.newest + self._retention
        ):
            record = Checkout(seen=b"", newest=event.time)
        elif remembers(record.seen, event_hash):
            return DUPLICATE
        elif event.order_id and not checkout.has_room(record, event.order_id):
            return TOO_MANY_ORDERS
        buyer = record.sale.member if record.sale is not None else None
        before = checkout.assess(record) if record.sale is not None and record.basket_rules else None
        checkout.apply(record, event, event_hash)
        emissions = Emissions()
        record.opportunity = self._ledger.opportunity(
            record.opportunity,
            checkout.opportunity_time(record),
            checkout.channel(record),
            checkout.segment(record),
        )
        assessment = checkout.assess(record)
        if assessment is not None:
            self._ledger.transaction(record, before, assessment, entity, emissions)
            if record.has_offers:
                transactions = [(assessment.event_hash, assessment)]
                record.accepted = self._offers.accept(entity, record.accepted, (), transactions)
        until, record.until = record.until, time.retention_day(record.newest + self._retention)
        if record.until != until:
            records.expiry[key] = record.until * DAY
        if record.sale is not None and (record.until != until or record.sale.member != buyer):
            if buyer is not None and buyer != record.sale.member:
                customers.unlink(buyer, entity)
            customers.link(record.sale.member, entity, record.until)
        records.put(key, record)
        if record.sale is not None:
            records.link(key, (record.sale.member,))
        if record.has_offers:
            records.marked.add(key)
        return emissions.step(event, time, self._labels, unmatched=not checkout.is_matched(record, event))

    def load(self, key: bytes, data: bytes | None) -> list[Label]:
        """Add a record as stored, and return its labels: some worker registered them, perhaps not this one."""
        self.records.load(key, data)
        if data is None:
            return []
        record = self.records.peek(key)
        assert record is not None
        if record.sale is not None:
            self.records.link(key, (record.sale.member,))
        if record.has_offers:
            self.records.marked.add(key)
        return list(_labels(record))

    def needs_offers(self, event: CheckoutEvent) -> bool:
        """Whether the record of the entity's offers is needed: lines have offers, of the event or of the record, which is in memory or not yet loaded."""
        return event.entity.encode() in self.records.marked or (
            CheckoutType.COMPLETED <= event.type <= CheckoutType.ORDER_UPDATED and has_offers(event.products)
        )

    def rename(self, key: bytes, customer: str, name: str, member: bytes) -> None:
        """Put `name` in the place of a customer's id; `member` is the key of the customer who has that name."""
        record = self.records.get(key)
        if record is None:
            return
        before = checkout.assess(record)
        checkout.rename(record, customer, name)
        after = checkout.assess(record)
        if before is not None and after is not None and record.digest == before.digest():
            record.digest = after.digest()  # only the name differs: not a new version
        if record.sale is not None and record.sale.member == self._customers.member(customer):
            record.sale = msgspec.structs.replace(record.sale, member=member)
        self.records.put(key, record)
        self.records.link(key, (record.sale.member,) if record.sale is not None else ())


def _labels(record: Checkout) -> Iterator[Label]:
    if channel := checkout.channel(record):
        yield "channel", channel
    if segment := checkout.segment(record):
        yield "segment", segment
    for final in checkout.final_facts(record):
        yield "currency", final.currency
        for line in final.lines:
            if line.category:
                yield "category", line.category
