"""The offers of one checkout or subscription: shown, declined, accepted.

Rules: of one offer the first time that it was shown counts, and the first time that it was declined, in the order of facts: (time, entityversion, type, id,
source). So it does not matter in which order events arrive. It is accepted by the first transaction whose lines have it. Its slot is that of the first time
that it was shown. An entity has at most `MOST` offers, in the order in which its log names them; all others are the one offer `OTHER`.
"""

from collections.abc import Iterable, Sequence
from fractions import Fraction
from typing import Final, Literal, NamedTuple

import msgspec

from stream.core.event import Item, Line, OfferEvent
from stream.core.labels import OTHER, UNKNOWN
from stream.core.money import ONE, Exact, from_minor, is_whole, rounded

MOST: Final = 64
"""Offers of an entity."""
OFFERS: Final = "o"
"""Sort of day records (`core.counting.daily`)."""
BOUND: Final = 256
"""(offer, slot) pairs of a day that have a place."""

Verdict = Literal["upsell", "cross_sell", "restored", "downsell", "nothing", "unknown"]
VERDICTS: Final[tuple[Verdict, ...]] = ("upsell", "cross_sell", "restored", "downsell", "nothing", "unknown")
"""What an accepted offer was judged, the first one where lines differ. `nothing`: it would have been bought anyway; `unknown`: so is the intent."""
SHOWN: Final = (1, 0, *[0] * len(VERDICTS), 0)
DECLINED: Final = (0, 1, *[0] * len(VERDICTS), 0)
"""Counts of an offer: shown, declined, accepted by verdict, reversed."""

Order = tuple[int, int, int, str, str]
"""(time, entityversion, type, id, source)."""


class Carried(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """An offer that lines of a transaction have. Amounts are minor units."""

    offer: str
    verdict: int
    """Position in `VERDICTS`."""
    gross: int
    """Net total of its lines, or MRR."""
    kept: int
    """What reversals leave of it."""
    reversed: bool = False
    """Nothing is left of its lines."""
    exact: tuple[str, str] | None = None
    """The exact amounts of `gross` and `kept`, as fractions, where they are no whole numbers of minor units: sums and shares of them are rounded once."""

    @classmethod
    def of(cls, offer: str, verdict: int, gross: Exact, kept: Exact, places: int, *, is_reversed: bool) -> "Carried":
        """With exact amounts."""
        return cls(
            offer,
            verdict,
            rounded(gross, places),
            rounded(kept, places),
            is_reversed,
            None if is_whole(gross, places) and is_whole(kept, places) else (str(gross), str(kept)),
        )

    def amounts(self, places: int) -> tuple[Exact, Exact]:
        """The exact amounts of `gross` and `kept`."""
        if self.exact is None:
            return from_minor(self.gross, places), from_minor(self.kept, places)
        gross, kept = map(Fraction, self.exact)
        return gross, kept

    def lost(self, share: int, places: int) -> "Carried":
        """The same offer in a transaction of which a share was given back, as an exact amount of at most `ONE`."""
        if not share:
            return self
        left = max(0, ONE - share)
        gross, _ = self.amounts(places)
        return self.of(self.offer, self.verdict, gross, Fraction(gross * left, ONE), places, is_reversed=not left)

    def joined(self, other: "Carried", places: int) -> "Carried":
        """Both as one offer of a transaction."""
        (gross, kept), (more, left) = self.amounts(places), other.amounts(places)
        return self.of(
            self.offer,
            min(self.verdict, other.verdict),
            gross + more,
            kept + left,
            places,
            is_reversed=self.reversed and other.reversed,
        )

    @property
    def counts(self) -> tuple[int, ...]:
        """As of `SHOWN`."""
        return (0, 0, *[int(at == self.verdict) for at in range(len(VERDICTS))], int(self.reversed))


class Accepted(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """An accepted offer as it is counted now."""

    offer: str
    """Of those that the entity may have."""
    slot: str
    transaction: bytes
    """Identity of the event that made the transaction."""
    time: int
    """Of the transaction."""
    currency: str
    """Empty where it is beyond the bound."""
    carried: Carried


class Offer(msgspec.Struct, array_like=True, gc=False):
    """What is known of one offer of an entity."""

    id: str
    shown: Order | None = None
    """The first time that it was shown."""
    slot: str | None = None
    """Where it was shown then."""
    declined: Order | None = None
    """The first time that it was declined."""
    declined_slot: str | None = None
    accepted: bool = False
    """A transaction has it, or had it."""

    def key(self) -> tuple[str, str]:
        """Under which it is counted."""
        return self.id, (self.slot if self.shown is not None else self.declined_slot) or UNKNOWN


class Offers(msgspec.Struct, array_like=True, gc=False):
    """The offers of an entity. New fields go to the end."""

    newest: int
    """Time of the newest fact about any of them."""
    offers: list[Offer]
    until: int | None = None
    """The day (since the epoch) after which the record may be forgotten, as in the index of expiries."""


def find(record: Offers, offer_id: str) -> Offer:
    """The offer with an id, which is added where the entity has no such offer yet."""
    offers, count = record.offers, 0
    for offer in offers:
        if offer.id == offer_id:
            return offer
        count += offer.id != OTHER
    if count >= MOST and offer_id != OTHER:
        return find(record, OTHER)
    offers.append(Offer(offer_id))
    return offers[-1]


def peek(record: Offers, offer_id: str) -> Offer | None:
    """The offer that `find` would return; None where it would be added."""
    offers = {offer.id: offer for offer in record.offers}
    own = offers.get(offer_id)
    if own is None and len(offers.keys() - {OTHER}) >= MOST:
        return offers.get(OTHER)
    return own


def note(offer: Offer, event: OfferEvent) -> bool:
    """Add an event; whether it is the first of its kind now."""
    order = (event.time, event.version, int(event.type), event.id, event.source)
    known = offer.shown if event.shown else offer.declined
    if known is not None and (order >= known or order[3:] == known[3:]):
        return False
    if event.shown:
        offer.shown, offer.slot = order, event.slot
    else:
        offer.declined, offer.declined_slot = order, event.slot
    return True


def has_offers(lines: Iterable[Line] | Iterable[Item]) -> bool:
    """Whether a line or an item has an offer."""
    for line in lines:  # noqa: SIM110 - `any` with a generator takes twice the time, for every line of every event
        if line.offer_id:
            return True
    return False


class Transaction(NamedTuple):
    """A transaction with the offers that its lines have."""

    name: bytes
    """Identity of the event that made it."""
    time: int
    currency: str
    """Empty where it is beyond the bound."""
    places: int
    """Decimal places of its currency."""
    offers: Sequence[Carried]


def accepted(
    record: Offers, before: Sequence[Accepted], fixed: Iterable[Accepted], transactions: Iterable[Transaction]
) -> list[Accepted]:
    """What an entity has accepted, given what was counted `before`.

    Of that, `fixed` are those of transactions that can no longer change. All others that it has are given, in their order.
    """
    found = {each.offer: each for each in fixed}
    slots = {each.offer: each.slot for each in before}
    for name, time, currency, places, offers in transactions:
        for carried in offers:
            offer = find(record, carried.offer)
            offer.accepted = True
            known = found.get(offer.id)
            if known is None:
                slot = (offer.slot or UNKNOWN) if offer.shown is not None else slots.get(offer.id, UNKNOWN)
                found[offer.id] = Accepted(offer.id, slot, name, time, currency, carried)
            elif known.transaction == name:  # beyond the bound
                found[offer.id] = msgspec.structs.replace(known, carried=known.carried.joined(carried, places))
    return list(found.values())
