"""The subscriptions of a shard: their records, and the step that applies one event.

The history and the judgement of one subscription are in `core.entities.subscription`.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence

import msgspec

from stream.core.config import DAY, CoreConfig
from stream.core.entities import subscription
from stream.core.entities.customer import Canceled
from stream.core.entities.history import Effect, SubscriptionState, Swap
from stream.core.entities.offers import has_offers
from stream.core.entities.subscription import Contribution, Subscription
from stream.core.event import SubscriptionEvent, SubscriptionType
from stream.core.judging.items import base_item, mrr
from stream.core.labels import Label, LabelRegistry
from stream.core.result import DUPLICATE, STALE, Step
from stream.core.shard.cache import Cache
from stream.core.shard.customer_index import CustomerIndex
from stream.core.shard.event_time import EventTime, end_of_day
from stream.core.shard.ledger import Emissions, Ledger
from stream.core.shard.offers import Offers
from stream.core.shard.upgrade import upgrade_subscription


class Subscriptions:
    """The entities of a shard of subscription events."""

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
        self.records = Cache(Subscription, upgrade_subscription)
        self._config = config
        self._time = time
        self._labels = labels
        self._ledger = ledger
        self._customers = customers
        self._offers = offers

    def step(self, event: SubscriptionEvent) -> Step:
        """Apply one event. Everything that it needs was loaded."""
        customers, config, entity = self._customers, self._config, event.entity
        key, member = entity.encode(), customers.member(event.customer)
        record = stored = self.records.get(key)
        if record is None or self._is_over(record, event):
            record = Subscription(b"", event.time, SubscriptionState(), SubscriptionState(), [], {})
        elif subscription.knows(record, event):
            return DUPLICATE
        elif subscription.is_stale(record, event, config.lateness):
            return STALE
        before = self._expiry_day(stored, record)
        held = subscription.customers(record)
        # A subscription that is over may still be listed as canceled; so may one that was removed, see below.
        earlier = record.state if stored is None else stored.state
        canceled, owner = _canceled(earlier), customers.member(earlier.customer)
        others = customers.active_products(member, entity)
        continued = customers.canceled_before(member, event) if event.type is SubscriptionType.CREATED else {}
        applied = subscription.apply(record, event, others, _together(continued), config.lateness, config.swap_window)
        if applied.swaps:
            for other in continued:
                customers.set_canceled(other, member, member, None)
        emissions = Emissions()
        for event_hash, (effect, refunded) in applied.effects.items():
            self._contribute(record, event_hash, effect, refunded, entity, emissions)
        if record.has_offers:
            self._accept(record, applied.order, entity)
        subscription.drop_settled_contributions(record)
        self._list_active(record, entity)
        holds = subscription.customers(record)
        for new in map(customers.member, holds - held):
            customers.set_canceled(entity, new, new, None)  # of an earlier life of the id
        now, new_owner = _canceled(record.state), customers.member(record.state.customer)
        if now != canceled or (now is not None and new_owner != owner):
            # One that another subscription has continued is not listed again, unless it was canceled again.
            again = now is not None and (canceled is None or canceled.time != now.time)
            customers.set_canceled(entity, owner, new_owner, now, again=again)
        until = record.until = (
            None if record.state.active else self._time.retention_day(record.newest + config.subscription_retention)
        )
        if until != before:
            self.records.expiry[key] = None if until is None else until * DAY
        if until != before or holds != held:
            for name in holds:
                customers.link(customers.member(name), entity, until)
            for name in held - holds:
                customers.unlink(customers.member(name), entity)
        self.records.put(key, record)
        self.records.link(key, self._members(record, holds))
        if record.has_offers:
            self.records.marked.add(key)
        return emissions.step(event, self._time, self._labels, unmatched=applied.unmatched, unchanged=applied.unchanged)

    def load(self, key: bytes, data: bytes | None) -> list[Label]:
        """Add a record as stored, and return its labels: some worker registered them, perhaps not this one."""
        self.records.load(key, data)
        if data is None:
            return []
        record = self.records.peek(key)
        assert record is not None
        self.records.link(key, self._members(record, subscription.customers(record)))
        if record.has_offers:
            self.records.marked.add(key)
        return list(_labels(record))

    def needs_offers(self, event: SubscriptionEvent) -> bool:
        """As of `Checkouts`, for items."""
        return (
            event.entity.encode() in self.records.marked
            or has_offers(event.items or ())
            or has_offers(event.previous or ())
        )

    def rename(self, key: bytes, customer: str, name: str, member: bytes) -> None:
        """Put `name` in the place of a customer's id; `member` is the key of the customer who has that name."""
        record = self.records.get(key)
        if record is None:
            return
        old = self._customers.member(customer)
        before = {event_hash: each.assessment for event_hash, each in record.contributions.items()}
        subscription.rename(record, customer, name)
        for event_hash, each in record.contributions.items():
            earlier, later = before[event_hash], each.assessment
            if earlier is not None and later is not None and each.digest == earlier.digest():
                each.digest = later.digest()  # only the name differs: not a new version
            if each.sale is not None and each.sale.member == old:
                each.sale = msgspec.structs.replace(each.sale, member=member)
        if record.member == old:
            record.member = member
        self.records.put(key, record)
        self.records.link(key, self._members(record, subscription.customers(record)))

    def _contribute(
        self,
        record: Subscription,
        event_hash: bytes,
        effect: Effect,
        refunded: int,
        entity: str,
        emissions: Emissions,
    ) -> None:
        """Count what one event of the history amounts to now."""
        contribution = record.contributions.get(event_hash)
        if contribution is None:
            contribution = record.contributions[event_hash] = Contribution(effect)
        elif contribution.refunded == refunded and contribution.effect == effect:
            return  # it is counted and published as it is, perhaps by an older version
        before = contribution.assessment
        contribution.effect, contribution.refunded = effect, refunded
        time = effect.time if effect.opportunity else None
        contribution.opportunity = self._ledger.opportunity(
            contribution.opportunity, time, effect.channel, effect.segment
        )
        assessment = contribution.assessment
        if assessment is not None:
            self._ledger.transaction(contribution, before, assessment, entity, emissions)
        elif before is not None:
            self._ledger.withdraw(contribution, before, entity, emissions)

    def _accept(self, record: Subscription, order: Sequence[bytes], entity: str) -> None:
        """Count what the transactions accepted that may still change, `order` being that of the events."""
        contributions = record.contributions
        transactions = [
            (event_hash, assessment)
            for event_hash in order
            if event_hash in contributions and (assessment := contributions[event_hash].assessment) is not None
        ]
        fixed = [each for each in record.accepted if each.transaction not in contributions]
        record.accepted = self._offers.accept(entity, record.accepted, fixed, transactions)

    def _is_over(self, record: Subscription, event: SubscriptionEvent) -> bool:
        """Whether an event begins a new subscription with the id of one that is over."""
        return self._time.is_expired(record.until) or (
            not record.state.active and event.time > record.newest + self._config.subscription_retention
        )

    def _expiry_day(self, stored: Subscription | None, record: Subscription) -> int | None:
        """The day that the index of expiries has; None where it has none."""
        # A new subscription with the id of one that is over still has the old one's expiry in the index.
        before = record.until if stored is None or stored is record else stored.until
        if stored is not None and before is None and not stored.state.active:
            return end_of_day(
                stored.newest + self._config.subscription_retention
            )  # stored before records held their day
        return before

    def _list_active(self, record: Subscription, entity: str) -> None:
        """Keep the list of the customer's active paid subscriptions in step."""
        state, before, product = record.state, record.member, ""
        record.member = b""
        if state.active and state.paid and not state.trial and mrr(state.items or ()):
            record.member = self._customers.member(state.customer)
            base = base_item(state.items or ())
            product = base.product_id if base is not None else ""
        self._customers.set_active(entity, before, record.member, product)

    def _members(self, record: Subscription, customers: Iterable[str]) -> tuple[bytes, ...]:
        """The customers whose records an event of the subscription may change; `customers` are those whose id it holds."""
        members = {each.sale.member for each in record.contributions.values() if each.sale}
        members.update(map(self._customers.member, customers))
        return tuple(sorted({*members, record.member} - {b""}))


def _labels(record: Subscription) -> Iterator[Label]:
    if record.state.channel:
        yield "channel", record.state.channel
    if record.state.segment:
        yield "segment", record.state.segment
    for entry in record.entries:
        event = entry.event
        if event.channel:
            yield "channel", event.channel
        if event.segment:
            yield "segment", event.segment
        yield "currency", event.currency
        for category in dict.fromkeys(item.category for item in event.items or () if item.category):
            yield "category", category
    for item in record.state.items or ():
        if item.category:
            yield "category", item.category


def _canceled(state: SubscriptionState) -> Canceled | None:
    """What another subscription may continue; None while the subscription is not canceled, or was not paid."""
    if state.canceled is None or not state.was_paid:
        return None
    return Canceled(state.canceled, state.currency, state.items or (), state.initial or ())


def _together(canceled: Mapping[str, Canceled]) -> Swap | None:
    """All canceled subscriptions as one."""
    if not canceled:
        return None
    parts = canceled.values()
    return Swap(
        tuple(item for part in parts for item in part.items), tuple(item for part in parts for item in part.initial)
    )
