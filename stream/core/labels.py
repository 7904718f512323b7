"""Bounded label values: which channels, segments, categories and currencies have a series of their own.

Rules: a value is registered once and for good, first come first served. A value that does not fit counts as `other`, an absent one as `unknown`; neither
takes a place, also where events say `other` or `unknown` themselves. A list in the settings is registered before any event and closes the name.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Literal

from stream.core.event import CheckoutEvent, Item, Line, SubscriptionEvent

LabelName = Literal["channel", "segment", "category", "currency"]
Label = tuple[LabelName, str]

BOUNDS: Mapping[LabelName, int] = {"channel": 8, "segment": 16, "category": 32, "currency": 4}
OTHER = "other"
UNKNOWN = "unknown"
_WITHOUT_PLACE = frozenset({None, "", OTHER, UNKNOWN})


class LabelRegistry:
    """The registered values, as far as this process knows them. The application's registry is in the tables."""

    may_overflow: bool
    """Whether some value may not fit. While this is False, every label of an applied event has its own series."""

    def __init__(self, fixed: Mapping[LabelName, Iterable[str]] | None = None) -> None:
        """`fixed` values are all that is ever registered for their name.

        Raises:
            ValueError: more values than the bound.
        """
        self._closed = {name for name, values in (fixed or {}).items() if values}
        self._values: dict[LabelName, dict[str, None]] = {name: {} for name in BOUNDS}
        for name, values in (fixed or {}).items():
            self._values[name] = {value: None for value in values if value not in _WITHOUT_PLACE}
            if len(self._values[name]) > BOUNDS[name]:
                raise ValueError(f"{len(self._values[name])} values for {name}, at most {BOUNDS[name]} are allowed")
        self._note_overflow()

    def bounds(self) -> dict[str, int]:
        """Names that are open to values from events, with how many values fit."""
        return {name: bound for name, bound in BOUNDS.items() if name not in self._closed}

    def label(self, name: LabelName, value: str | None) -> str:
        """The bounded value."""
        if value is None or value == UNKNOWN:
            return UNKNOWN
        return value if value in self._values[name] else OTHER

    def is_unregistered(self, name: LabelName, value: str | None) -> bool:
        """Whether the application's registry must decide on `value` before it can be counted."""
        if value in _WITHOUT_PLACE or name in self._closed:
            return False
        values = self._values[name]
        return value not in values and len(values) < BOUNDS[name]

    def unregistered(self, events: Sequence[CheckoutEvent | SubscriptionEvent]) -> list[Label]:
        """Labels of these events that the application's registry must decide on, in order of appearance."""
        if self._all_registered(events):
            return []
        labels: dict[Label, None] = {}
        for event in events:
            labels.update(dict.fromkeys(label for label in self.without_series(event) if self.is_unregistered(*label)))
        return list(labels)

    def without_series(self, event: CheckoutEvent | SubscriptionEvent) -> list[Label]:
        """The labels of an event that are not registered, each once."""
        values = self._values
        labels: list[Label] = []
        if event.channel and event.channel not in values["channel"] and event.channel not in _WITHOUT_PLACE:
            labels.append(("channel", event.channel))
        if event.segment and event.segment not in values["segment"] and event.segment not in _WITHOUT_PLACE:
            labels.append(("segment", event.segment))
        if event.currency not in values["currency"]:
            labels.append(("currency", event.currency))
        categories = values["category"]
        for part in _parts(event):
            category = part.category
            if not category or category in categories or category in _WITHOUT_PLACE:
                continue
            if ("category", category) not in labels:
                labels.append(("category", category))
        return labels

    def register(self, labels: Iterable[Label]) -> None:
        """Decide here, in a process that is the whole application."""
        for name, value in labels:
            if self.is_unregistered(name, value):
                self._values[name][value] = None
        self._note_overflow()

    def update(self, registry: Mapping[str, Iterable[str]]) -> None:
        """Take over the application's registry."""
        for name in BOUNDS:
            if name not in self._closed and name in registry:
                self._values[name] = dict.fromkeys(registry[name])
        self._note_overflow()

    def missing_from(self, registry: Mapping[str, Collection[str]]) -> list[Label]:
        """Values that are registered here and not in the application's registry: Redis was rolled back, and records in memory count under them."""
        return [
            (name, value)
            for name in BOUNDS
            if name not in self._closed
            for value in self._values[name]
            if value not in registry.get(name, ())
        ]

    def _all_registered(self, events: Sequence[CheckoutEvent | SubscriptionEvent]) -> bool:
        # By sets, because this is asked for every batch and the answer is nearly always yes.
        values = self._values
        return (
            {event.channel for event in events} - _WITHOUT_PLACE <= values["channel"].keys()
            and {event.segment for event in events} - _WITHOUT_PLACE <= values["segment"].keys()
            and {event.currency for event in events} <= values["currency"].keys()
            and {part.category for event in events for part in _parts(event)} - _WITHOUT_PLACE
            <= values["category"].keys()
        )

    def _note_overflow(self) -> None:
        self.may_overflow = any(
            name in self._closed or len(self._values[name]) >= bound for name, bound in BOUNDS.items()
        )


def _parts(event: CheckoutEvent | SubscriptionEvent) -> Sequence[Line | Item]:
    """What is counted by category: of a subscription event without items, its previous ones."""
    if isinstance(event, CheckoutEvent):
        return event.products
    return (event.items if event.items is not None else event.previous) or ()
