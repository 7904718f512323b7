"""One shard: everything that one partition of one topic needs, and the fold over its events.

Rules: `step` is the only thing that takes in events. Records that it needs must have been provided: ask `missing`, `missing_customers` (again
where an entity was provided that exists) and `reached` first, in this order; and right before each step `undecided`, unless `knows_labels` said of all
that there is nothing to ask. Everything that changed is handed over once, by `take`, as absolute values. A shard whose changes could not be
committed is thrown away, never repaired. Given the same events and the same times of `advance`, two shards end equal, however the events were
cut into batches. What is forgotten is decided at the step, by times of events that came before; that records are removed is cleaning up, and may
come whenever it will.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence

import msgspec

from stream.core.config import AHEAD, DAY, NEVER, STEP, CoreConfig, Window
from stream.core.counting.cells import Cells, merge, total
from stream.core.counting.delta import Bookings
from stream.core.counting.summary import Summary, decode_recent, encode_recent, encode_summary
from stream.core.counting.windows import NONE, RollingWindow
from stream.core.entities import checkout, subscription
from stream.core.entities import customer as customers
from stream.core.entities.assessment import Assessment, Opportunity, Sale, book
from stream.core.entities.checkout import Checkout
from stream.core.entities.customer import Customer
from stream.core.entities.subscription import Booked, Position, Subscription
from stream.core.event import (
    CheckoutEvent,
    CheckoutType,
    ErasedEvent,
    Event,
    Journey,
    SubscriptionEvent,
)
from stream.core.identity import identity, remembers
from stream.core.judging.items import base_item
from stream.core.labels import LabelName, Registry
from stream.core.result import Result, Step, Version
from stream.core.shard.cache import Cache, LateCache
from stream.core.shard.write_set import Changes, ShardId, Stored

LAYOUT = 1
"""Version of everything that a shard stores. A newer one is not read."""

RECENT = 512
"""Cells that are booked before they are settled between two moves of the windows: they are written with every commit, what is settled is not."""
Record = Checkout | Subscription
Label = tuple[LabelName, str]
_PLAIN: Mapping[Result, Step] = {
    result: Step(result) for result in ("applied", "duplicate", "stale", "late", "unmatched", "test")
}
_NEEDS_ORDER = (CheckoutType.ORDER_UPDATED, CheckoutType.REFUNDED, CheckoutType.CANCELED)


class _State(msgspec.Struct, array_like=True):
    """The shard's own record. New fields go to the end."""

    layout: int
    journey: Journey
    total: list[tuple[tuple[str, ...], list[int]]]
    sets: list[bytes]
    windows: list[tuple[str, int]] | None = None
    """(name, the last pane that is gone) of each window; None where an older version wrote it."""


class _Layout(msgspec.Struct, array_like=True):
    """The part of a state that every version can read."""

    layout: int


class Shard:
    """The fold over the events of one partition."""

    def __init__(
        self,
        id: ShardId,  # noqa: A002 - it is the shard's id
        journey: Journey,
        config: CoreConfig,
        registry: Registry,
        stored: Stored,
        capacity: int,
    ) -> None:
        """`registry` is shared by all shards of a process.

        Raises:
            ValueError: the stored state is of a newer version of the product, or of another journey.
        """
        self.id = id
        self.watermark = NEVER
        """Newest event time seen, microseconds."""
        self._forgotten = NEVER
        """Entities whose expiry lies before this time are forgotten: the newest event time that the clock allows, less the lateness."""
        self._allowed = NEVER
        """The newest event time that the clock allows; without a clock none."""
        self._journey: Journey = journey
        self._config = config
        self._registry = registry
        self.capacity = capacity
        """Bytes of entities, and as many of customers, that stay in memory between batches."""
        self._entities: Cache[Checkout] | Cache[Subscription]
        self._checkouts = Cache(Checkout)
        self._subscriptions = Cache(Subscription)
        self._entities = self._checkouts if journey == "checkout" else self._subscriptions
        self._customers = LateCache(Customer)
        self._total: Cells = {}
        self._recent: dict[int, Cells] = {}
        """Booked, by slice, and neither in the total nor in the windows yet."""
        self._at = 0
        self._sets: set[bytes] = set()
        self._scores: dict[bytes, dict[bytes, int | None]] = {}
        self._bought: dict[tuple[bytes, ...], dict[bytes, int]] = {}
        """Newest purchases that are not in `_scores` yet, by the sets that they are to go to."""
        self._buyers: set[bytes] = set()
        """Whose they are: nobody has two."""
        self._horizon = config.horizon
        self._counted_after = NEVER if not config.forget_customers else -self._horizon
        """Purchases up to this time are in no window."""
        self._moved = False
        self._stored = False
        """State and summary are in the tables as they are."""
        self._loaded_labels: dict[Label, None] = {}
        """Of records that were provided since the registry was last asked."""
        self._bookings = Bookings(config.windows)
        gone = self._restore(stored.state) if stored.state is not None else None
        if stored.recent is not None:
            recent = decode_recent(stored.recent)
            self.watermark, self._forgotten = recent.watermark, recent.forgotten
            self._recent = recent.cells(self._bookings.slice)
        panes: dict[str, list[tuple[int, bytes]]] = {window.name: [] for window in config.windows}
        self._orphans: list[bytes] = []
        for key, data in stored.panes.items():
            name, _, index = key.decode().partition("|")
            if name in panes:
                panes[name].append((int(index), data))
            else:
                self._orphans.append(key)
        self._windows = [
            RollingWindow(window, panes[window.name], self._gone(window, gone)) for window in config.windows
        ]
        self._by_pane = sorted(self._windows, key=lambda rolling: rolling.window.length)
        self._late_until = 2**63 if self._windows else -(2**63)
        """Events at or before this time lie in no window."""

    def _restore(self, data: bytes) -> Mapping[str, int] | None:
        """Take in the state; the last pane that is gone, by window, if it is told."""
        layout = msgspec.msgpack.decode(data, type=_Layout).layout
        if layout > LAYOUT:
            raise ValueError(
                f"shard {self.id.topic}:{self.id.partition} was written by a newer version of upsell-stream (layout {layout}, "
                f"this one reads up to {LAYOUT}); run that version, or give this one another UPSELL_APP_ID"
            )
        state = msgspec.msgpack.decode(data, type=_State)
        if state.journey != self._journey:
            raise ValueError(
                f"shard {self.id.topic}:{self.id.partition} holds {state.journey} events, but the settings name its topic for "
                f"{self._journey} events; mend the topic names, or use another UPSELL_APP_ID"
            )
        self._total = dict(state.total)
        self._sets = set(state.sets)
        return None if state.windows is None else dict(state.windows)

    def _gone(self, window: Window, told: Mapping[str, int] | None) -> int:
        """The last pane of which a window may lack something: dropped, or from before there was the window. What is newer than all events is whole."""
        if told is None:
            return NONE
        if window.name in told:
            return min(told[window.name], window.pane_of(self.watermark))
        # One event of a clock that is far ahead must not keep a new window empty until that time comes.
        allowed = self.watermark if self._forgotten == NEVER else self._forgotten + self._config.lateness
        return window.pane_of(min(self.watermark, allowed))

    # What a batch needs before it can be stepped

    def missing(self, events: Iterable[Event]) -> list[bytes]:
        """Keys of the entities that must be provided."""
        named = (event.entity.encode() for event in events if not isinstance(event, ErasedEvent))
        return self._entities.missing(dict.fromkeys(named))

    def provide(self, entities: Mapping[bytes, bytes | None]) -> None:
        """Take in entities as stored."""
        self._entities.provide(entities)
        for key, data in entities.items():
            if data is not None and (record := self._entities.look(key)) is not None:
                self._loaded_labels.update(dict.fromkeys(_labels_of_record(record)))
                self._entities.concern(key, self._buyers_of(record))

    def missing_customers(self, events: Iterable[Event]) -> list[bytes]:
        """Keys of the customers that must be provided, as far as the events and the entities that are there tell."""
        wanted: dict[bytes, None] = {}
        for event in events:
            if isinstance(event, ErasedEvent):
                wanted.update(dict.fromkeys(self._members_of_erased(event)))
                continue
            if isinstance(event, SubscriptionEvent) or event.type is CheckoutType.COMPLETED:
                wanted[self._member(event.customer)] = None
            if others := self._entities.concerned(event.entity.encode()):
                wanted.update(dict.fromkeys(others))
        return self._customers.missing(wanted)

    def provide_customers(self, customers: Mapping[bytes, bytes | None]) -> None:
        """Take in customers as stored."""
        self._customers.provide(customers)

    def reached(self, events: Iterable[Event]) -> list[bytes]:
        """Keys of further entities that must be provided, since an erasure reaches them; ask when the customers are there."""
        wanted: dict[bytes, None] = {}
        for event in events:
            if isinstance(event, ErasedEvent):
                record = self._customers.look(self._member(event.customer))
                wanted.update({name.encode(): None for name in (record.held_by if record is not None else ())})
        return self._entities.missing(wanted)

    def knows_labels(self, events: Iterable[Event]) -> bool:
        """Whether no event can need a decision of the application's registry; ask when the entities are there."""
        registry = self._registry
        self._loaded_labels = {label: None for label in self._loaded_labels if registry.undecided(*label)}
        return not self._loaded_labels and registry.knows_all(
            [event for event in events if event.livemode and not isinstance(event, ErasedEvent)]
        )

    def undecided(self, event: Event) -> list[Label]:
        """Label values that the application's registry must decide on before this event is stepped, in order of appearance.

        What changes nothing is not asked for, and that depends on everything that was stepped before: so ask right before the step.
        """
        registry = self._registry
        labels, self._loaded_labels = self._loaded_labels, {}
        if not isinstance(event, ErasedEvent):
            own = [label for label in registry.unknown(event) if registry.undecided(*label)]
            if own and self._is_taken_in(event):
                labels.update(dict.fromkeys(own))
        return [label for label in labels if registry.undecided(*label)]

    def _is_taken_in(self, event: CheckoutEvent | SubscriptionEvent) -> bool:
        """Whether an event is neither a test, nor a duplicate, nor stale."""
        if not event.livemode:
            return False
        key = event.entity.encode()
        if isinstance(event, CheckoutEvent):
            fact = self._checkouts.use(key)
            return (
                fact is None
                or self._forgets_checkout(fact, event)
                or not remembers(fact.seen, identity(event.source, event.id))
            )
        history = self._subscriptions.use(key)
        return (
            history is None
            or self._forgets_subscription(history, event)
            or not (subscription.knows(history, event) or subscription.is_stale(history, event, self._config.lateness))
        )

    # Time

    def advance(self, now: int) -> None:
        """Move the windows to `now` (microseconds, floored to 5 s); earlier than before changes nothing."""
        at = now - now % STEP
        if at <= self._at:
            return
        self._at, self._moved, self._stored = at, True, False
        if self._config.forget:
            self._allowed = at + AHEAD
        if self._config.forget_customers:
            self._counted_after = at - self._horizon
        for window in self._windows:
            window.advance(at)
        self._settle()
        if self._windows:
            self._late_until = min(after for after, _ in self.edges())

    def due(self, now: int) -> bool:
        """Whether windows would move: a tick is due."""
        return now - now % STEP > self._at

    # The fold

    def step(self, event: Event) -> Step:
        """Take in one event. Everything it needs has been provided."""
        if not event.livemode:
            return _PLAIN["test"]
        if isinstance(event, CheckoutEvent):
            return self._step_checkout(event)
        if isinstance(event, SubscriptionEvent):
            return self._step_subscription(event)
        return self._erase(event)

    def _step_checkout(self, event: CheckoutEvent) -> Step:
        key, mark = event.entity.encode(), identity(event.source, event.id)
        record = self._checkouts.use(key)
        if record is None or self._forgets_checkout(record, event):
            record = Checkout(newest=event.time, first=event.time)
        elif remembers(record.seen, mark):
            return _PLAIN["duplicate"]
        unmatched = record.made < 0 and event.type in _NEEDS_ORDER
        buyer = record.sale.member if record.sale is not None else None
        checkout.take_in(record, event, mark)
        telling = _Telling()
        record.opportunity = self._restate_opportunity(
            record.opportunity,
            checkout.opportunity_time(record),
            checkout.channel(record),
            checkout.segment(record),
        )
        assessment = checkout.assess(record)
        if assessment is not None:
            self._restate_transaction(record, assessment, event.entity, telling)
        before, record.until = record.until, self._until(record.newest + self._config.checkout_retention)
        if record.until != before:
            self._checkouts.expiry[key] = record.until * DAY
        if record.sale is not None and (record.until != before or record.sale.member != buyer):
            if buyer is not None and buyer != record.sale.member:
                self._release(buyer, event.entity)
            self._hold(record.sale.member, event.entity, record.until)
        self._checkouts.put(key, record)
        if record.sale is not None:
            self._checkouts.concern(key, self._buyers_of(record))
        return self._step(event, telling, unmatched=unmatched)

    def _step_subscription(self, event: SubscriptionEvent) -> Step:
        key = event.entity.encode()
        record = known = self._subscriptions.use(key)
        if record is None or self._forgets_subscription(record, event):
            record = Subscription(event.time, Position(), Position(), [], {})
        elif subscription.knows(record, event):
            return _PLAIN["duplicate"]
        elif subscription.is_stale(record, event, self._config.lateness):
            return _PLAIN["stale"]
        # A new subscription with the id of one that is over has an expiry in the index, and none in its record.
        before = record.until if known is None or known is record else known.until
        if known is not None and before is None and not known.position.active:
            before = _day(known.newest + self._config.subscription_retention)  # a record from before it held its day
        held = subscription.customers(record)
        customer = self._customers.use(self._member(event.customer))
        listed = customer.active if customer is not None else {}
        others = tuple(sorted({product for other, product in listed.items() if other != event.entity}))
        turns, unmatched = subscription.take_in(record, event, others, self._config.lateness)
        telling = _Telling()
        for mark, (turn, lost) in turns.items():
            booked = record.booked.setdefault(mark, Booked(turn))
            before_sale = booked.turn.sale
            booked.turn, booked.reversed = turn, lost
            time = turn.time if turn.opportunity else None
            booked.opportunity = self._restate_opportunity(booked.opportunity, time, turn.channel, turn.segment)
            sale = booked.assessment
            if sale is not None:
                self._restate_transaction(booked, sale, event.entity, telling)
            elif before_sale is not None:
                self._withdraw(booked, before_sale, event.entity, telling)
        kept = {identity(entry.event.source, entry.event.id) for entry in record.entries} | {record.settled.newest}
        record.booked = {mark: booked for mark, booked in record.booked.items() if mark in kept}
        self._list_active(record, event.entity)
        retention = self._config.subscription_retention
        until = record.until = None if record.position.active else self._until(record.newest + retention)
        if until != before:
            self._subscriptions.expiry[key] = None if until is None else until * DAY
        holds = subscription.customers(record)
        if until != before or holds != held:
            for name in holds:
                self._hold(self._member(name), event.entity, until)
            for name in held - holds:
                self._release(self._member(name), event.entity)
        self._subscriptions.put(key, record)
        self._subscriptions.concern(key, self._buyers_of(record))
        return self._step(event, telling, unmatched=unmatched)

    def _erase(self, event: ErasedEvent) -> Step:
        """Put a pseudonym in the place of a customer wherever they are named. Nothing is counted or told anew."""
        old, new = self._members_of_erased(event)
        made = self._customers.use(new)
        if made is not None and made.erasure * DAY >= self._forgotten:
            return _PLAIN["duplicate"]
        known = self._customers.use(old)
        record = known if known is not None else Customer()
        name = self._pseudonym(event)
        for entity in record.held_by:
            key = entity.encode()
            holder = self._entities.use(key)
            if isinstance(holder, Checkout):
                assessment = checkout.assess(holder)
                checkout.rename(holder, event.customer, name)
                _rebook(holder, assessment, checkout.assess(holder), old, new)
                self._checkouts.put(key, holder)
                self._checkouts.concern(key, self._buyers_of(holder))
            elif isinstance(holder, Subscription):
                assessments = {mark: booked.assessment for mark, booked in holder.booked.items()}
                subscription.rename(holder, event.customer, name)
                for mark, booked in holder.booked.items():
                    _rebook(booked, assessments[mark], booked.assessment, old, new)
                holder.member = new if holder.member == old else holder.member
                self._subscriptions.put(key, holder)
                self._subscriptions.concern(key, self._buyers_of(holder))
        if made is not None:
            customers.join(record, made)
        if known is not None:
            self._settle_scores()
            for each in self._sets:
                self._scores.setdefault(each, {})[old] = None
            for each, score in customers.newest(record, self._counted_after).items():
                self._scores.setdefault(each, {})[new] = score
            self._put_customer(old, Customer())
        # The watermark stays where it is, so that an erasure makes nothing be forgotten that would be found without it.
        remembered = max(event.time, self.watermark) + self._config.retention(self._journey)
        record.erasure = _day(remembered)
        self._put_customer(new, record)
        return _PLAIN["applied"]

    def _buyers_of(self, record: Record) -> tuple[bytes, ...]:
        """The customers whose records an event of the entity may change, besides the one that the event names."""
        if isinstance(record, Checkout):
            return (record.sale.member,) if record.sale is not None else ()
        members = {booked.sale.member for booked in record.booked.values() if booked.sale}
        members.update(map(self._member, subscription.customers(record)))
        return tuple(sorted({*members, record.member} - {b""}))

    def _members_of_erased(self, event: ErasedEvent) -> tuple[bytes, bytes]:
        return self._member(event.customer), self._member(self._pseudonym(event))

    def _pseudonym(self, event: ErasedEvent) -> str:
        return customers.pseudonym(event.source, event.id, event.customer, self._config.customer_key)

    def _step(self, event: CheckoutEvent | SubscriptionEvent, telling: "_Telling", *, unmatched: bool) -> Step:
        time = event.time
        self.watermark = max(self.watermark, time)
        if self._forgotten + self._config.lateness < time <= self._allowed:
            self._forgotten = time - self._config.lateness
        result: Result = "unmatched" if unmatched else "late" if event.time <= self._late_until else "applied"
        overflow = tuple([name for name, _ in self._registry.unknown(event)]) if self._registry.refuses else ()
        if not (overflow or telling.counted or telling.versions):
            return _PLAIN[result]
        return Step(result, tuple(telling.versions), tuple(telling.counted), overflow)

    def _restate_opportunity(
        self, old: Opportunity | None, time: int | None, channel: str | None, segment: str | None
    ) -> Opportunity | None:
        if time is None:
            if old is not None:
                self._bookings.opportunity(old, -1)
            return None
        label = self._registry.label
        channel, segment = label("channel", channel), label("segment", segment)
        if old is not None:
            if old.time == time and old.channel == channel and old.segment == segment:
                return old
            self._bookings.opportunity(old, -1)
        new = Opportunity(time, channel, segment)
        self._bookings.opportunity(new, 1)
        return new

    def _restate_transaction(
        self, record: "Checkout | Booked", assessment: Assessment, entity: str, telling: "_Telling"
    ) -> None:
        key, member = identity(entity, assessment.source, assessment.event_id), self._member(assessment.customer)
        old, new = record.sale, book(assessment, self._registry, key, member)
        digest = assessment.digest()
        if digest != record.digest:
            record.digest = digest
            record.published = record.published or bool(assessment.kinds)
            self._tell(record, assessment, entity, telling)
        if new != old:
            telling.count(old, new)
            self._replace(record, new)

    def _withdraw(self, record: Booked, assessment: Assessment, entity: str, telling: "_Telling") -> None:
        """An event that came late showed that there was no such transaction: its last version says so, and nothing of it is counted."""
        record.digest = b""
        self._tell(record, assessment.emptied(), entity, telling, withdrawn=True)
        self._replace(record, None)

    def _tell(
        self,
        record: "Checkout | Booked",
        assessment: Assessment,
        entity: str,
        telling: "_Telling",
        *,
        withdrawn: bool = False,
    ) -> None:
        record.version += 1
        if not (record.published or self._config.tell_all):
            return
        subject, mark = f"{self._journey}/{entity}", assessment.mark.hex()
        telling.versions.append(
            Version(
                # A checkout has one transaction, whichever event makes it.
                transaction=subject if self._journey == "checkout" else f"{subject}:{mark}",
                id=f"{subject}:{mark}:{record.version}",
                judged=assessment.judged(subject, self._journey, record.version),
                publish=record.published,
                withdrawn=withdrawn,
            )
        )

    def _replace(self, record: "Checkout | Booked", new: Sale | None) -> None:
        old, record.sale = record.sale, new
        if old is not None:
            self._bookings.sale(old, -1)
        if new is not None:
            self._bookings.sale(new, 1)
        if old is not None and (new is None or old.member != new.member):
            self._restate_purchase(old.member, old, None)
            old = None
        if new is not None:
            self._restate_purchase(new.member, old, new)

    def _gather(self) -> None:
        """Bring what was booked into the recent cells."""
        for index, cells in self._bookings.take().items():
            known = self._recent.get(index)
            if known is None:
                self._recent[index] = cells
            else:
                merge(known, cells)

    def _settle(self) -> None:
        """Bring what was booked into total and panes."""
        self._gather()
        if not self._recent:
            return
        booked = slices = self._recent
        self._recent, self._stored = {}, False
        length = self._bookings.slice
        for window in self._by_pane:
            pane = window.window.pane
            if pane % length:
                slices, length = booked, self._bookings.slice
            slices, length = _gathered(slices, pane // length), pane
            for index, cells in slices.items():
                window.book(index, cells)
        for cells in slices.values():
            merge(self._total, cells)

    def _restate_purchase(self, member: bytes, old: Sale | None, new: Sale | None) -> None:
        record = self._customers.use(member) or Customer()
        if member in self._buyers:
            self._settle_scores()
        names = customers.buy(record, new, self._counted_after) if old is None and new is not None else None
        if names is not None and new is not None:
            self._bought.setdefault(names, {})[member] = new.time
            self._buyers.add(member)
        else:
            for name, score in customers.restate(record, old, new, self._counted_after).items():
                self._scores.setdefault(name, {})[member] = score
                self._name((name,))
        self._put_customer(member, record)

    def _settle_scores(self) -> None:
        """Bring the newest purchases into the scores."""
        for names, members in self._bought.items():
            for name in names:
                self._scores.setdefault(name, {}).update(members)
            self._name(names)
        self._bought, self._buyers = {}, set()

    def _name(self, sets: Iterable[bytes]) -> None:
        """Remember that there are such sets."""
        if not self._sets.issuperset(sets):
            self._sets.update(sets)
            self._stored = False

    def _hold(self, member: bytes, entity: str, until: int | None) -> None:
        """Let a customer's record name an entity that holds their id until it may be forgotten."""
        record = self._customers.use(member) or Customer()
        if record.hold(entity, 0 if until is None else until or 1, self._forgotten // DAY):
            self._put_customer(member, record)

    def _release(self, member: bytes, entity: str) -> None:
        record = self._customers.use(member)
        if record is not None and record.held_by.pop(entity, None) is not None:
            self._put_customer(member, record)

    def _list_active(self, record: Subscription, entity: str) -> None:
        position = record.position
        active = position.active and position.paid and not position.trial
        member = self._member(position.customer) if active else b""
        if record.member and record.member != member:
            listed = self._customers.use(record.member)
            if listed is not None and listed.active.pop(entity, None) is not None:
                self._put_customer(record.member, listed)
        record.member = member
        if active:
            base = base_item(position.items or ())
            product = base.product_id if base is not None else ""
            listed = self._customers.use(member) or Customer()
            if listed.active.get(entity) != product:
                listed.active[entity] = product
                self._put_customer(member, listed)

    def _put_customer(self, member: bytes, record: Customer) -> None:
        self._customers.put(member, None if record.empty else record)

    def _member(self, customer: str) -> bytes:
        return customers.member(customer, self._config.customer_key)

    @property
    def _newest(self) -> int:
        """The watermark as it is told."""
        return 0 if self.watermark == NEVER else self.watermark

    # Forgetting

    def _forgets_checkout(self, record: Checkout, event: CheckoutEvent) -> bool:
        """Whether an event begins a new checkout with the id of one that is over."""
        if record.until is not None and record.until * DAY < self._forgotten:
            return True
        return event.time > record.newest + self._config.checkout_retention

    def _forgets_subscription(self, record: Subscription, event: SubscriptionEvent) -> bool:
        """Likewise."""
        if record.until is not None and record.until * DAY < self._forgotten:
            return True
        return not record.position.active and event.time > record.newest + self._config.subscription_retention

    def _until(self, time: int) -> int:
        """The day after which an entity that an event has just come for may be forgotten: of `time`, or of now by event time, if that is later.

        So what comes late as a whole, one event after the other, is still one checkout.
        """
        return _day(max(time, self._forgotten + self._config.lateness))

    def expiry(self) -> tuple[int, int]:
        """Entities and customers whose expiry lies before these times may be removed.

        An entity's is counted in event time, with the allowed lateness on top, so that a fact that is a little late still finds it: from then on
        no event does. A customer stays while an entity may hold their id, and while their purchases may be in a window.
        """
        return self._forgotten, min(self._forgotten, self._at)

    def forget(self, entities: Sequence[bytes], customers: Sequence[bytes]) -> None:
        """Remove records whose expiry has passed, unless this batch has touched them."""
        for cache, keys in ((self._entities, entities), (self._customers, customers)):
            for key in keys:
                if not cache.has_changed(key):
                    cache.put(key, None)
                    cache.expiry[key] = None

    # Handing over

    def take(self) -> Changes:
        """Everything that changed since the last call, and the summary at the present head of the windows."""
        self._gather()
        if sum(map(len, self._recent.values())) > RECENT:
            self._settle()
        self._settle_scores()
        panes: dict[bytes, bytes | None] = dict.fromkeys(self._orphans)
        self._orphans = []
        for window in self._windows:
            panes.update({f"{window.window.name}|{index}".encode(): data for index, data in window.take()})
        entities, entity_expiry = self._entities.take(self.capacity)
        for member, record in self._customers.late.items():
            self._customers.expiry[member] = None if record is None else record.expiry(self._horizon)
        records, customer_expiry = self._customers.take(self.capacity)
        moved, self._moved = self._moved, False
        scores, self._scores = self._scores, {}
        stored, self._stored = self._stored, True
        return Changes(
            state=None if stored else self._state(),
            summary=None if stored else encode_summary(self._summary()),
            recent=encode_recent(self.watermark, self._bookings.slice, self._recent, self._forgotten),
            panes=panes,
            entities=entities,
            customers=records,
            entity_expiry=entity_expiry,
            customer_expiry=customer_expiry,
            scores=scores,
            counted=sorted(self._sets if moved else scores),
            bounds=self.edges(),
            trim=self._counted_after if moved and self._config.forget_customers else None,
        )

    def _state(self) -> bytes:
        gone = [(window.window.name, window.gone) for window in self._windows]
        return msgspec.msgpack.encode(
            _State(LAYOUT, self._journey, sorted(self._total.items()), sorted(self._sets), gone)
        )

    def edges(self) -> list[tuple[int, int]]:
        """(after, until] of each window, microseconds."""
        return [window.edges() for window in self._windows]

    def scores(self) -> Mapping[bytes, Mapping[bytes, int | None]]:
        """Changes of the sorted sets since the last `take`."""
        self._settle_scores()
        return self._scores

    def summary(self) -> Summary:
        """The shard's figures at the present head of the windows."""
        self._settle()
        return self._summary()

    def _summary(self) -> Summary:
        return Summary(
            journey=self._journey,
            at=self._at,
            watermark=self._newest,
            windows=[(window.window.name, sorted(window.sum.items())) for window in self._windows],
            total=sorted(self._total.items()),
            gone=[window.gone for window in self._windows],
        )


class _Telling:
    """Collects what a step tells."""

    def __init__(self) -> None:
        self.versions: list[Version] = []
        self.counted: list[tuple[str, str, str]] = []

    def count(self, old: Sale | None, new: Sale) -> None:
        """What is newly counted; a counter cannot take back, so restatements only ever add to it."""
        before = old.kinds if old is not None else 0
        if old is None:
            self.counted.append(("all", new.channel, new.segment))
        for name, bit in (("upsell", 1), ("cross_sell", 2), ("downsell", 4), ("any", 8)):
            if new.kinds & bit and not before & bit:
                self.counted.append((name, new.channel, new.segment))


def _rebook(
    record: Checkout | Booked, before: Assessment | None, after: Assessment | None, old: bytes, new: bytes
) -> None:
    """Let a transaction whose customer got another name be the one that was published and booked."""
    if before is not None and after is not None and record.digest == before.digest():
        record.digest = after.digest()
    if record.sale is not None and record.sale.member == old:
        record.sale = msgspec.structs.replace(record.sale, member=new)


def _gathered(slices: dict[int, Cells], length: int) -> dict[int, Cells]:
    """Slices `length` times as long."""
    if length == 1:
        return slices
    groups: dict[int, list[Cells]] = {}
    for index, cells in slices.items():
        groups.setdefault(-(-index // length), []).append(cells)
    # Mostly a batch lies in one slice, which need not be copied: nobody changes it.
    return {index: group[0] if len(group) == 1 else total(group) for index, group in groups.items()}


def _day(time: int) -> int:
    """The day (since the epoch) at whose end a time is over: expiries move once a day at most, so most commits need not touch the index."""
    return -(-time // DAY)


def _labels_of_event(event: SubscriptionEvent) -> Iterator[Label]:
    if event.channel:
        yield "channel", event.channel
    if event.segment:
        yield "segment", event.segment
    yield "currency", event.currency
    for category in dict.fromkeys(item.category for item in event.items or () if item.category):
        yield "category", category


def _labels_of_record(record: Record) -> Iterator[Label]:
    """Values that were decided when they came, by some worker, perhaps not by this one."""
    if isinstance(record, Checkout):
        if channel := checkout.channel(record):
            yield "channel", channel
        if segment := checkout.segment(record):
            yield "segment", segment
        if final := checkout.final(record):
            yield "currency", final.currency
            for line in final.lines:
                if line.category:
                    yield "category", line.category
        return
    if record.position.channel:
        yield "channel", record.position.channel
    if record.position.segment:
        yield "segment", record.position.segment
    for entry in record.entries:
        yield from _labels_of_event(entry.event)
    for item in record.position.items or ():
        if item.category:
            yield "category", item.category
