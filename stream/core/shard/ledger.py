"""What entities contribute to the counts, and the versions of their transactions that are published.

Rules: an entity's record holds what it contributes now (`Opportunity`, `Sale`). A restatement takes exactly that away and adds the new contribution, so
nothing is counted twice. A version is emitted whenever something changes that is published.
"""

from typing import Protocol

from stream.core.config import CoreConfig
from stream.core.counting.aggregates import Aggregates
from stream.core.entities import basket
from stream.core.entities.assessment import COUNTED_KINDS, Assessment, Opportunity, Sale, to_sale
from stream.core.entities.basket import RULES, SORTS
from stream.core.event import CheckoutEvent, Journey, SubscriptionEvent
from stream.core.identity import identity
from stream.core.labels import LabelRegistry
from stream.core.result import APPLIED, LATE, UNCHANGED, UNMATCHED, Step, Version
from stream.core.shard.customer_index import CustomerIndex
from stream.core.shard.event_time import EventTime


class Transaction(Protocol):
    """The record of one transaction: a `Checkout`, or the `Contribution` of a subscription's event."""

    sale: Sale | None
    version: int
    digest: bytes
    published: bool
    basket_rules: int


class Emissions:
    """What one step publishes and adds to the counters."""

    __slots__ = ("counted", "versions")

    def __init__(self) -> None:
        """Start empty."""
        self.versions: list[Version] = []
        self.counted: list[tuple[str, str, str]] = []

    def count(self, old: Sale | None, new: Sale) -> None:
        """Add what is newly counted. A counter never goes down, so a restatement only adds kinds that were not there before."""
        before = old.kinds if old is not None else 0
        if old is None:
            self.counted.append(("all", new.channel, new.segment))
        for name, bit in COUNTED_KINDS:
            if new.kinds & bit and not before & bit:
                self.counted.append((name, new.channel, new.segment))

    def step(
        self,
        event: CheckoutEvent | SubscriptionEvent,
        time: EventTime,
        labels: LabelRegistry,
        *,
        unmatched: bool,
        unchanged: bool = False,
    ) -> Step:
        """The result of an event that was applied; moves event time by it."""
        time.observe(event.time)
        plain = UNMATCHED if unmatched else UNCHANGED if unchanged else LATE if time.is_late(event.time) else APPLIED
        overflow = tuple([name for name, _ in labels.without_series(event)]) if labels.may_overflow else ()
        if not (overflow or self.counted or self.versions):
            return plain
        return Step(plain.result, tuple(self.versions), tuple(self.counted), overflow)


class Ledger:
    """Contributions of one shard's entities."""

    def __init__(
        self,
        journey: Journey,
        config: CoreConfig,
        labels: LabelRegistry,
        aggregates: Aggregates,
        customers: CustomerIndex,
    ) -> None:
        """Contributions go to `aggregates` and `customers`."""
        self._journey = journey
        self._labels = labels
        self._aggregates = aggregates
        self._customers = customers
        self._emit_all = config.emit_all

    def opportunity(
        self, old: Opportunity | None, time: int | None, channel: str | None, segment: str | None
    ) -> Opportunity | None:
        """Replace an opportunity by the one at `time` (None: there is none) and return it."""
        if time is None:
            if old is not None:
                self._aggregates.opportunity(old, -1)
            return None
        label = self._labels.label
        channel, segment = label("channel", channel), label("segment", segment)
        if old is not None:
            if old.time == time and old.channel == channel and old.segment == segment and old.in_history:
                return old
            self._aggregates.opportunity(old, -1)
        new = Opportunity(time, channel, segment, in_history=True)
        self._aggregates.opportunity(new, 1)
        return new

    def transaction(
        self,
        record: Transaction,
        before: Assessment | None,
        assessment: Assessment,
        entity: str,
        emissions: Emissions,
    ) -> None:
        """Count a transaction as it is judged now, in the place of how it was counted before.

        `before` is how it was judged then; needed where its products are counted.
        """
        key, member = (
            identity(entity, assessment.source, assessment.event_id),
            self._customers.member(assessment.customer),
        )
        old, new = record.sale, to_sale(assessment, self._labels, key, member)
        digest = assessment.digest()
        if digest != record.digest:
            record.digest = digest
            record.published = record.published or bool(assessment.kinds)
            self._emit_version(record, assessment, entity, emissions, withdrawn=False)
        if old is None or record.basket_rules == RULES:
            self._count_products(old, before, new, assessment)
            record.basket_rules = RULES
        if new != old:
            emissions.count(old, new)
            self._replace(record, new)

    def withdraw(self, record: Transaction, assessment: Assessment, entity: str, emissions: Emissions) -> None:
        """Take back a transaction that a late event showed never to have been one. `assessment` is its last one; its last version is empty."""
        record.digest = b""
        self._emit_version(record, assessment.emptied(), entity, emissions, withdrawn=True)
        if record.basket_rules == RULES:
            self._count_products(record.sale, assessment, None, None)
            record.basket_rules = 0
        self._replace(record, None)

    def _count_products(
        self, old: Sale | None, before: Assessment | None, new: Sale | None, after: Assessment | None
    ) -> None:
        """Count the products of a transaction, in the place of those that were counted before."""
        if old is not None and before is not None:
            if (
                new is not None
                and after is not None
                and old.time == new.time
                and old.currency == new.currency
                and before.loss.transaction == after.loss.transaction
                and before.basket == after.basket
            ):
                return
            self._count_basket(old, before, -1)
        if new is not None and after is not None:
            self._count_basket(new, after, 1)

    def _count_basket(self, sale: Sale, assessment: Assessment, sign: int) -> None:
        places = self._aggregates.daily.days(SORTS, sale.time)
        if places is not None:
            basket.count(assessment.basket, places, sign, sale.currency, lost=assessment.loss.transaction)

    def _emit_version(
        self, record: Transaction, assessment: Assessment, entity: str, emissions: Emissions, *, withdrawn: bool
    ) -> None:
        record.version += 1
        if not (record.published or self._emit_all):
            return
        subject, event = f"{self._journey}/{entity}", assessment.event_hash.hex()
        emissions.versions.append(
            Version(
                # A checkout has one transaction, whichever event makes it.
                transaction=subject if self._journey == "checkout" else f"{subject}:{event}",
                id=f"{subject}:{event}:{record.version}",
                judged=assessment.judged(subject, self._journey, record.version),
                publish=record.published,
                withdrawn=withdrawn,
            )
        )

    def _replace(self, record: Transaction, new: Sale | None) -> None:
        old, record.sale = record.sale, new
        if old is not None:
            self._aggregates.sale(old, -1)
        if new is not None:
            self._aggregates.sale(new, 1)
        self._customers.purchase(old, new)
