"""Bounded label values: which channels, segments, categories and currencies have a series of their own.

Rules: a value is admitted once and for good, first come first served; what does not fit is `other`; what is absent is `unknown` and takes no
place. Events that say `other` or `unknown` themselves count there, and take none either. A list in the settings is admitted before anything is
seen and closes the name.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Literal

from stream.core.event import CheckoutEvent, Item, Line, SubscriptionEvent

LabelName = Literal["channel", "segment", "category", "currency"]

BOUNDS: Mapping[LabelName, int] = {"channel": 8, "segment": 16, "category": 32, "currency": 4}
OTHER = "other"
UNKNOWN = "unknown"
_PLACELESS = frozenset({None, "", OTHER, UNKNOWN})
"""Need no decision."""


class Registry:
    """The admitted values, as far as this process knows them."""

    refuses: bool
    """Whether some value may not be admitted: while this is false, every label of a stepped event has its own series."""

    def __init__(self, fixed: Mapping[LabelName, Iterable[str]] | None = None) -> None:
        """`fixed` values are all that is ever admitted for their name; at most the name's bound of them are taken.

        Raises:
            ValueError: more values than the bound.
        """
        self._closed = {name for name, values in (fixed or {}).items() if values}
        self._values: dict[LabelName, dict[str, None]] = {name: {} for name in BOUNDS}
        for name, values in (fixed or {}).items():
            self._values[name] = {value: None for value in values if value not in _PLACELESS}
            if len(self._values[name]) > BOUNDS[name]:
                raise ValueError(f"{len(self._values[name])} values for {name}, at most {BOUNDS[name]} are allowed")
        self._note_refusals()

    def bounds(self) -> dict[str, int]:
        """Names that are open to values seen in events, with how many fit."""
        return {name: bound for name, bound in BOUNDS.items() if name not in self._closed}

    def undecided(self, name: LabelName, value: str | None) -> bool:
        """Whether `value` must be brought before the application's registry before it can be counted."""
        if value in _PLACELESS or name in self._closed:
            return False
        values = self._values[name]
        return value not in values and len(values) < BOUNDS[name]

    def unknown(self, event: CheckoutEvent | SubscriptionEvent) -> list[tuple[LabelName, str]]:
        """The labels of an event that are not admitted, or not yet."""
        values = self._values
        labels: list[tuple[LabelName, str]] = []
        if event.channel and event.channel not in values["channel"] and event.channel not in _PLACELESS:
            labels.append(("channel", event.channel))
        if event.segment and event.segment not in values["segment"] and event.segment not in _PLACELESS:
            labels.append(("segment", event.segment))
        if event.currency not in values["currency"]:
            labels.append(("currency", event.currency))
        categories = values["category"]
        for part in _parts(event):
            category = part.category
            if not category or category in categories or category in _PLACELESS:
                continue
            if ("category", category) not in labels:
                labels.append(("category", category))
        return labels

    def knows_all(self, events: Sequence[CheckoutEvent | SubscriptionEvent]) -> bool:
        """Whether every label of these events is admitted."""
        values = self._values
        return (
            {event.channel for event in events} - _PLACELESS <= values["channel"].keys()
            and {event.segment for event in events} - _PLACELESS <= values["segment"].keys()
            and {event.currency for event in events} <= values["currency"].keys()
            and {part.category for event in events for part in _parts(event)} - _PLACELESS <= values["category"].keys()
        )

    def update(self, registry: Mapping[str, Iterable[str]]) -> None:
        """Take over the application's registry."""
        for name in BOUNDS:
            if name not in self._closed and name in registry:
                self._values[name] = dict.fromkeys(registry[name])
        self._note_refusals()

    def lost(self, registry: Mapping[str, Collection[str]]) -> list[tuple[LabelName, str]]:
        """Values that are admitted here and are not in the application's registry, which went back in time: records in memory count under them."""
        return [
            (name, value)
            for name in BOUNDS
            if name not in self._closed
            for value in self._values[name]
            if value not in registry.get(name, ())
        ]

    def admit(self, labels: Iterable[tuple[LabelName, str]]) -> None:
        """Decide here, for a process that is the whole application."""
        for name, value in labels:
            if self.undecided(name, value):
                self._values[name][value] = None
        self._note_refusals()

    def _note_refusals(self) -> None:
        self.refuses = any(name in self._closed or len(self._values[name]) >= bound for name, bound in BOUNDS.items())

    def label(self, name: LabelName, value: str | None) -> str:
        """The bounded value."""
        if value is None or value == UNKNOWN:
            return UNKNOWN
        return value if value in self._values[name] else OTHER


def _parts(event: CheckoutEvent | SubscriptionEvent) -> Sequence[Line | Item]:
    """What is counted by category: of a subscription that does not tell its items, those it had before."""
    if isinstance(event, CheckoutEvent):
        return event.products
    return (event.items if event.items is not None else event.previous) or ()
