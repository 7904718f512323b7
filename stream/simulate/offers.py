"""Offers: which there are and where they are shown, what became of each in one checkout or subscription, and the counts of all.

Rules: nothing here reads an event. Of an offer within one checkout or subscription the first time that it was shown counts, and the first transaction
that has it in its lines; the slot is that of the first time, also where that comes after the transaction. Where a transaction changes, its old values
are subtracted and its new ones are added. Days are those of UTC.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from random import Random
from typing import Any, Final, Literal, NamedTuple

from stream.simulate.record import Topic, quantum

Verdict = Literal["upsell", "cross_sell", "downsell", "restored", "nothing", "unknown"]

VERDICTS: Final[tuple[Verdict, ...]] = ("upsell", "cross_sell", "downsell", "restored", "nothing", "unknown")
UNKNOWN: Final = "unknown"
"""The slot of an offer that was not shown, or of which nobody said where."""

_ZERO: Final = Decimal(0)


class Offer(NamedTuple):
    """An offer of the shop."""

    id: str
    slots: tuple[str, ...]
    appeal: float
    """Factor on the probability that it is accepted."""


BEFORE_PURCHASE: Final = (
    Offer("cart-banner", ("cart", "mini-cart"), 1.0),
    Offer("larger-model", ("product-page", "cart"), 1.4),
    Offer("goes-well-with", ("cart", "checkout-page"), 0.8),
    Offer("last-minute", ("checkout-page",), 0.4),
)
AFTER_PURCHASE: Final = (
    Offer("thank-you", ("thank-you-page",), 1.0),
    Offer("one-more", ("thank-you-page", "e-mail"), 1.0),
)
NEVER_SHOWN: Final = (Offer("sales-rep", (), 1.0), Offer("catalogue", (), 1.0))
"""Lines have these offers, but no event says that they were shown."""
FOR_SUBSCRIBERS: Final = (
    Offer("more-seats", ("account-page", "e-mail"), 1.0),
    Offer("next-tier", ("account-page",), 1.3),
    Offer("add-on-trial", ("dashboard", "e-mail"), 0.7),
    Offer("annual-plan", ("account-page", "invoice"), 0.5),
)


class PlantedOffer(NamedTuple):
    """An accepted offer in its transaction."""

    currency: str
    verdict: Verdict
    """Of what was compared together with its line."""
    gross: Decimal
    """Net total or MRR of its lines, rounded."""
    kept: Decimal
    """What reversals leave of that, rounded."""
    reversed: bool
    """Nothing is left of its lines."""


def day_of(now: int) -> str:
    """The day of a time in milliseconds since the epoch."""
    return f"{datetime.fromtimestamp(now / 1000, UTC):%Y-%m-%d}"


@dataclass(slots=True)
class _Row:
    shown: int = 0
    declined: int = 0
    verdicts: dict[Verdict, int] = field(default_factory=lambda: dict.fromkeys(VERDICTS, 0))
    reversed: int = 0
    money: dict[str, list[Decimal]] = field(default_factory=dict)
    """Gross and kept by currency."""

    def accept(self, planted: PlantedOffer, sign: int) -> None:
        self.verdicts[planted.verdict] += sign
        self.reversed += sign * planted.reversed
        zero = _ZERO * quantum(planted.currency)
        money = self.money.setdefault(planted.currency, [zero, zero])
        money[0] += sign * planted.gross
        money[1] += sign * planted.kept

    def document(self) -> dict[str, Any]:
        money = {currency: both for currency, both in sorted(self.money.items()) if any(both)}
        return {
            "shown": self.shown,
            "declined": self.declined,
            "accepted": sum(self.verdicts.values()),
            "by_verdict": dict(self.verdicts),
            "reversed": self.reversed,
            "gross": {currency: format(gross, "f") for currency, (gross, _) in money.items()},
            "kept": {currency: format(kept, "f") for currency, (_, kept) in money.items()},
        }


class OfferCounts:
    """The counts of all offers, by journey, day, offer and slot."""

    def __init__(self) -> None:
        self._rows: dict[tuple[Topic, str, str, str], _Row] = {}

    def row(self, journey: Topic, day: str, offer: str, slot: str) -> _Row:
        """The counts of an offer in a slot on a day."""
        return self._rows.setdefault((journey, day, offer, slot), _Row())

    def document(self) -> dict[str, dict[str, list[dict[str, Any]]]]:
        """Journey -> day -> rows, by offer and slot; without rows in which nothing was counted."""
        found: dict[str, dict[str, list[dict[str, Any]]]] = {"checkout": {}, "subscription": {}}
        for (journey, day, offer, slot), row in sorted(self._rows.items()):
            counts = row.document()
            if counts["shown"] or counts["declined"] or counts["accepted"]:
                found[journey].setdefault(day, []).append({"offer_id": offer, "slot": slot, **counts})
        return found


class OfferLog:
    """What became of the offers of one checkout or one subscription."""

    def __init__(self, counts: OfferCounts, journey: Topic) -> None:
        self._counts = counts
        self._journey: Topic = journey
        self._used: set[str] = set()
        self._slots: dict[str, str] = {}
        """Slot of the first time that each offer was shown."""
        self._accepted: dict[str, tuple[str, PlantedOffer]] = {}
        """Day of the transaction, and what it has of the offer."""

    def pick(self, rng: Random, offers: Sequence[Offer]) -> Offer | None:
        """One of the offers that has not been picked here before."""
        left = [offer for offer in offers if offer.id not in self._used]
        if not left:
            return None
        offer = rng.choice(left)
        self._used.add(offer.id)
        return offer

    def has_accepted(self, offer: str) -> bool:
        """Whether a transaction has this offer."""
        return offer in self._accepted

    def show(self, now: int, offer: str, slot: str | None) -> None:
        """Count that the offer is shown."""
        if offer in self._slots:
            return
        self._take_back(offer)
        self._slots[offer] = slot or UNKNOWN
        self._count(offer)
        self._row(day_of(now), offer).shown += 1

    def decline(self, now: int, offer: str) -> None:
        """Count that the offer is declined. It was shown before."""
        self._row(day_of(now), offer).declined += 1

    def accept(self, day: str, carried: Mapping[str, PlantedOffer]) -> None:
        """Count the offers that a transaction of this day has now, each in the place of what was counted before."""
        for offer, planted in carried.items():
            self._take_back(offer)
            self._accepted[offer] = day, planted
            self._count(offer)

    def restate(self, day: str, carried: Mapping[str, PlantedOffer]) -> None:
        """As `accept`, where the transaction of this day is the only one: it has no other offers any more."""
        for offer in self._accepted.keys() - carried.keys():
            self._take_back(offer)
            del self._accepted[offer]
        self.accept(day, carried)

    def _count(self, offer: str, sign: int = 1) -> None:
        if offer in self._accepted:
            day, planted = self._accepted[offer]
            self._row(day, offer).accept(planted, sign)

    def _take_back(self, offer: str) -> None:
        self._count(offer, -1)

    def _row(self, day: str, offer: str) -> _Row:
        return self._counts.row(self._journey, day, offer, self._slots.get(offer, UNKNOWN))
