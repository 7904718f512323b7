"""A subscription: a history of events in order, with a state after each."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import TYPE_CHECKING

from oracle import plans, records
from oracle.sales import Good, Opportunity, Sale
from oracle.verdicts import NOTHING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from oracle.plans import Item
    from oracle.records import Event
    from oracle.verdicts import Judged

SWAP = 24 * 3_600 * 1_000_000
"""How long after a cancellation what follows continues it, in microseconds."""


@dataclass(frozen=True)
class Cancellation:
    """A cancellation, what was canceled by it, and what the customer of that subscription came for."""

    entity: str
    time: int
    was_paid: bool
    currency: str | None
    items: list[Item]
    initial: list[Item]


@dataclass(frozen=True)
class Others:
    """What the customer's other subscriptions were when a created or trial_converted event arrived."""

    base_products: list[str | None] = field(default_factory=list)
    """Of those that were active and paid."""
    swapped: list[Cancellation] = field(default_factory=list)
    """Those that a created event continues."""


class Subscription:
    """The state of one subscription after each event. Take the events in order."""

    def __init__(self, entity: str, readings: Mapping[int, Others]) -> None:
        self.entity = entity
        self.opportunities: list[Opportunity] = []
        self.sales: list[Sale] = []
        self.looked_for_swaps: set[int] = set()
        """The created events that continue what others canceled, if there is any."""
        self.customer: str | None = None
        self.began = False
        self.cancellation: Cancellation | None = None
        self._readings = readings
        self._seen = self._created = self._trial = self._sold = False
        self._channel: str | None = None
        self._segment: str | None = None
        self._currency: str | None = None
        self._current: list[Item] | None = None
        self._initial: list[Item] | None = None
        self._explicit: list[Item] | None = None
        self._swap_at_conversion: list[Item] | None = None
        self._shares: dict[int, Fraction] = {}
        self._refund_ids: set[str] = set()

    @property
    def is_active_paid(self) -> bool:
        """MRR above 0, the first transaction made or sold in a checkout, neither canceled nor in a trial."""
        has_paid = bool(self.sales) or self._sold
        return has_paid and not self.cancellation and not self._trial and plans.total_mrr(self._current) > 0

    @property
    def base_product(self) -> str | None:
        base = plans.base_item(self._current or [])
        return base.product if base else None

    # --- one event

    def take(self, seq: int, event: Event) -> None:
        items = None if event.lines is None else plans.items_of(event.lines)
        if event.type == records.RENEWED and not items:
            items = None
        previous = None if event.previous is None else plans.items_of(event.previous)
        explicit = None if event.intent is None else plans.items_of(event.intent)
        before = previous if self._current is None else self._current
        after = before if items is None else items
        if self._changes_nothing(event, before, after):
            return
        self.customer = event.customer
        self._channel = event.channel or self._channel
        self._segment = event.segment or self._segment
        was_paid = self.is_active_paid
        if event.type == records.CREATED or not self._seen:
            self._trial = event.status == "trialing"
        self._created = self._created or event.type == records.CREATED
        self._seen = True

        if event.type == records.SCHEDULED:
            self._note_intent(explicit)
        elif event.type == records.REFUNDED:
            self._note_unknown(event, after, previous, explicit)
            self._refund(event)
        elif event.type == records.CANCELED or self._is_end(event, before, after):
            self._note_unknown(event, after if event.type == records.CANCELED else before, previous, explicit)
            self._cancel(event, was_paid=was_paid)
        else:
            if self._is_late_return(event):
                self._return(seq, event, after or [], explicit)
            elif self._current is not None and event.currency != self._currency:
                after = items
                self._restart(seq, event, items, explicit)
            elif event.type == records.CREATED:
                self._create(seq, event, before, after or [], previous, explicit)
            elif event.type == records.CONVERTED:
                self._convert(seq, event, after or [], previous, explicit)
            else:
                self._change(seq, event, before, after, previous, explicit)
            self._put_in_force(event, after)

    def _changes_nothing(self, event: Event, before: list[Item] | None, after: list[Item] | None) -> bool:
        """A second created while active, a conversion of what is paid, a second cancellation."""
        if event.type == records.CREATED:
            return self._created and not self.cancellation
        if event.type == records.CONVERTED and not self._trial and (self.sales or self._sold):
            return True
        ends = event.type == records.CANCELED or self._is_end(event, before, after)
        return ends and self.cancellation is not None

    def _is_end(self, event: Event, before: list[Item] | None, after: list[Item] | None) -> bool:
        """Changed or renewed from some MRR to none, or a trial that is converted to none."""
        if plans.total_mrr(after) > 0:
            return False
        if event.type == records.CONVERTED:
            return True
        had_some = plans.total_mrr(before) > 0
        in_trial = self._trial if self._seen else event.status == "trialing"
        return had_some and (event.type == records.RENEWED or (event.type == records.CHANGED and not in_trial))

    def _is_late_return(self, event: Event) -> bool:
        canceled = self.cancellation
        return canceled is not None and event.type != records.CONVERTED and event.time - canceled.time > SWAP

    def _note_intent(self, explicit: list[Item] | None) -> None:
        """The first explicit intent holds from its event on; in a trial it takes the place of a swap."""
        if self._explicit is None and explicit is not None:
            self._explicit = explicit
            self._swap_at_conversion = None

    def _note_initial(self, new: list[Item] | None, previous: list[Item] | None) -> None:
        if self._initial is None:
            self._initial = new if previous is None else previous

    def _note_unknown(
        self, event: Event, items: list[Item] | None, previous: list[Item] | None, explicit: list[Item] | None
    ) -> None:
        """An event that puts no items in force says what they are only where that is not known."""
        self._note_intent(explicit)
        self._note_initial(items, previous)
        if self._current is None:
            self._current, self._currency = items, event.currency

    def _came_for(self) -> list[Item] | None:
        return self._initial if self._explicit is None else self._explicit

    # --- what ends

    def _cancel(self, event: Event, *, was_paid: bool) -> None:
        """The items stay: what follows is judged against them."""
        self._trial = False
        self._swap_at_conversion = None
        self.cancellation = Cancellation(
            self.entity, event.time, was_paid, self._currency, self._current or [], self._came_for() or []
        )

    def _refund(self, event: Event) -> None:
        """Shares of the newest transaction add up. Of one refund_id the first that has a transaction counts."""
        refund_id = event.refund_id or event.id
        if not self.sales or refund_id in self._refund_ids:
            return
        self._refund_ids.add(refund_id)
        sale = self.sales[-1]
        self._shares[sale.seq] = min(self._shares.get(sale.seq, NOTHING) + event.share, Fraction(1))
        left = 1 - self._shares[sale.seq]
        sale.lost_whole = left == 0
        sale.keep = left
        if not left:
            sale.goods = [replace(good, left=NOTHING, has_units_left=False) for good in sale.goods]
            sale.gone = list(sale.lines)
        left_kinds = sale.kinds if left else set()
        sale.reverse({part: amount * left for part, amount in sale.exact_parts().items()}, left_kinds)

    # --- what puts items in force

    def _return(self, seq: int, event: Event, new: list[Item], explicit: list[Item] | None) -> None:
        """More than 24 h after a cancellation: everything restarts."""
        self._explicit, self._initial = explicit, new
        if explicit is None:
            self._count_without_verdict(seq, event, new, new)
        else:
            self._count_change(seq, event, explicit, explicit, new)

    def _restart(self, seq: int, event: Event, new: list[Item] | None, explicit: list[Item] | None) -> None:
        """Another currency than that of the current items."""
        self._explicit, self._initial, self._swap_at_conversion = explicit, new, None
        self._count(seq, event, "incomparable", [], new or [], [])

    def _create(
        self,
        seq: int,
        event: Event,
        before: list[Item] | None,
        new: list[Item],
        previous: list[Item] | None,
        explicit: list[Item] | None,
    ) -> None:
        if self.cancellation and explicit is None:
            # A return within 24 h: a change from what was canceled.
            self._note_initial(new, previous)
            if self._trial:
                self._swap_at_conversion = before
            self._count_change(seq, event, before, self._came_for(), new)
            return
        if self.cancellation:
            self._explicit = explicit
        self._note_intent(explicit)
        self._initial = new
        if self._explicit is not None:
            self._count_change(seq, event, self._explicit, self._explicit, new)
            return
        self.looked_for_swaps.add(seq)
        others = self._readings.get(seq, Others())
        swapped, came_for = previous or [], previous or []
        if not swapped:
            swapped = plans.merge(item for one in others.swapped for item in one.items)
            came_for = plans.merge(item for one in others.swapped for item in one.initial)
        if swapped:
            self._initial = came_for
            if self._trial:
                self._swap_at_conversion = swapped
            self._count_change(seq, event, swapped, came_for, new)
        elif self._is_additional(others):
            self._count_additional(seq, event, others, new)
        else:
            self._count_without_verdict(seq, event, new, new)

    def _convert(
        self,
        seq: int,
        event: Event,
        new: list[Item],
        previous: list[Item] | None,
        explicit: list[Item] | None,
    ) -> None:
        self._note_intent(explicit)
        others = self._readings.get(seq, Others())
        came_for = self._came_for()
        if came_for is None:
            came_for = previous
        self._note_initial(new, previous)
        if self._swap_at_conversion is not None:
            self._count_change(seq, event, self._swap_at_conversion, came_for, new)
        elif self._explicit is None and self._is_additional(others):
            self._count_additional(seq, event, others, new)
        else:
            self._count_change(seq, event, came_for, came_for, new)

    def _change(
        self,
        seq: int,
        event: Event,
        before: list[Item] | None,
        after: list[Item] | None,
        previous: list[Item] | None,
        explicit: list[Item] | None,
    ) -> None:
        self._note_intent(explicit)
        self._note_initial(after, previous)
        if before is None or plans.quantities(before) != plans.quantities(after or []):
            self._count_change(seq, event, before, self._came_for(), after or [])
        elif event.type == records.RENEWED:
            self._count_without_verdict(seq, event, before, after or [])

    def _put_in_force(self, event: Event, after: list[Item] | None) -> None:
        self._current, self._currency = after, event.currency
        if event.type in (records.CONVERTED, records.RENEWED):
            self._trial = False
            self._swap_at_conversion = None
        self._sold = self._sold or event.sold_in is not None
        self.began, self.cancellation = True, None

    # --- what is counted

    def _is_additional(self, others: Others) -> bool:
        """The first transaction of a customer who has another active paid subscription."""
        return not self.sales and not self._sold and bool(others.base_products)

    def _count_change(
        self,
        seq: int,
        event: Event,
        current: list[Item] | None,
        initial: list[Item] | None,
        new: list[Item],
    ) -> None:
        if current is None:
            self._count(seq, event, "unknown", [], new, [])
        else:
            judged = plans.judge(current, initial or [], new, event.currency)
            self._count(seq, event, "known", current, new, judged)

    def _count_without_verdict(self, seq: int, event: Event, before: list[Item], new: list[Item]) -> None:
        self._count(seq, event, "known", before, new, [])

    def _count_additional(self, seq: int, event: Event, others: Others, new: list[Item]) -> None:
        judged = plans.additional(new, others.base_products, event.currency)
        before = len(self.sales)
        self._count(seq, event, "known", [], new, judged)
        for sale in self.sales[before:]:
            # The one verdict is on all items together.
            kinds = frozenset(each.kind for each in judged)
            sale.goods = [replace(good, kinds=kinds) for good in sale.goods]

    def _count(
        self, seq: int, event: Event, intent: str, against: list[Item], new: list[Item], lines: list[Judged]
    ) -> None:
        """One opportunity but for a conversion, one transaction but in a trial; neither for what a checkout sold."""
        changed_in_trial = self._trial and event.type == records.CHANGED
        if event.sold_in is not None or changed_in_trial:
            return
        if event.type != records.CONVERTED:
            self.opportunities.append(Opportunity("subscription", event.time, self._channel, self._segment))
        if self._trial and event.type == records.CREATED:
            return
        self.sales.append(
            Sale(
                event=event,
                seq=seq,
                channel=self._channel,
                segment=self._segment,
                currency=event.currency,
                intent=intent,
                initial=plans.total_mrr(against),
                final=plans.total_mrr(new),
                lines=lines,
                categories={item.category for item in new if item.category},
                wanted=[(item.plan, item.mrr) for item in against],
                goods=[
                    Good(
                        name=item.plan,
                        offer=item.offer,
                        net=item.mrr,
                        left=item.mrr,
                        has_units_left=True,
                        counts=True,
                        kinds=frozenset(one.kind for one in lines if one.final is item),
                    )
                    for item in new
                ],
            )
        )
