"""A judged transaction inside the core, and its two forms: what is published, and what is counted.

Rules: an `Assessment` follows from an entity's record alone. It is published as `Judged` (labels as sent, with a version) and counted as `Sale` (bounded
labels, integers). The entity's record keeps what is counted, so that a restatement takes away exactly what was added.
"""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from functools import lru_cache
from hashlib import blake2b

import msgspec

from stream.core.config import MICROSECONDS
from stream.core.entities.basket import EMPTY, Basket, reversed_whole
from stream.core.entities.offers import Carried
from stream.core.event import Journey
from stream.core.identity import identity
from stream.core.labels import OTHER, LabelRegistry
from stream.core.money import ONE, exponent, half_even, plain, rounded
from stream.core.result import Intent, Judged, JudgedLine, Kind, Reversed

UPSELL, CROSS_SELL, DOWNSELL, ANY, RESTORED = 1, 2, 4, 8, 16
"""Bits of a mask of kinds."""
BITS: dict[Kind, int] = {"upsell": UPSELL, "cross_sell": CROSS_SELL, "downsell": DOWNSELL, "restored": RESTORED}
COUNTED_KINDS = (*BITS.items(), ("any", ANY))
"""Kinds of transactions as counters name them, with their bits."""
INTENTS: tuple[Intent, ...] = ("known", "unknown", "incomparable")
_PLACES = 5
"""Currencies have 0 to 4 decimal places."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Amounts(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Minor units, each rounded once."""

    initial: int = 0
    upsell: int = 0
    cross_sell: int = 0
    downsell: int = 0
    final: int = 0
    restored: int = 0


class Loss(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What refunds and cancellations took back."""

    transaction: bool = False
    kinds: int = 0
    """Mask, with ANY."""
    amounts: Amounts = Amounts()
    """`initial` stays 0."""


NO_LOSS = Loss()
PARTS = ("upsell", "cross_sell", "downsell", "final", "restored")
"""Amounts that can be reversed."""


class Assessment(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A transaction, judged."""

    source: str
    event_id: str
    time: int
    customer: str
    channel: str | None
    segment: str | None
    currency: str
    intent: Intent
    lines: tuple[JudgedLine, ...]
    amounts: Amounts
    categories: tuple[tuple[str, int], ...]
    """(category, mask of kinds with ANY) of every category with a final line."""
    loss: Loss = NO_LOSS
    exact: tuple[str, ...] = ()
    """The exact amounts of `PARTS`, as fractions, where one of them is no whole number of minor units: a share of them is rounded once."""
    basket: Basket = EMPTY
    offers: tuple[Carried, ...] = ()
    """Offers that its lines have, in the order of the lines."""

    @property
    def event_hash(self) -> bytes:
        """Identity of the event that made the transaction, 8 bytes."""
        return identity(self.source, self.event_id)

    @property
    def kinds(self) -> int:
        """Mask of the lines' kinds, with ANY."""
        return mask(line.kind for line in self.lines)

    def lost(self, share: int) -> "Assessment":
        """The same transaction of which a share was given back, as an exact amount of at most `ONE`: at `ONE` it is reversed."""
        if not share:
            return self
        amounts = self.amounts
        places = exponent(self.currency)
        offers = tuple([each.lost(share, places) for each in self.offers])
        if share >= ONE:
            return msgspec.structs.replace(
                self,
                loss=Loss(True, self.kinds, msgspec.structs.replace(amounts, initial=0)),
                basket=reversed_whole(self.basket),
                offers=offers,
            )
        if self.exact:
            parts = {
                part: rounded(Fraction(text) * share / ONE, places)
                for part, text in zip(PARTS, self.exact, strict=True)
            }
        else:
            parts = {part: half_even(getattr(amounts, part) * share, ONE) for part in PARTS}
        return msgspec.structs.replace(self, loss=Loss(False, 0, Amounts(**parts)), offers=offers)

    def emptied(self) -> "Assessment":
        """The last version of a transaction that turned out not to be one."""
        return msgspec.structs.replace(
            self, intent="unknown", lines=(), amounts=Amounts(), categories=(), loss=NO_LOSS, basket=EMPTY, offers=()
        )

    def renamed(self, customer: str) -> "Assessment":
        """The same transaction of another customer."""
        return msgspec.structs.replace(self, customer=customer)

    def digest(self) -> bytes:
        """8 bytes that differ where anything that is published differs."""
        public = (
            self.event_id, self.time, self.customer, self.channel, self.segment, self.currency, self.intent, self.lines,
            self.amounts, self.loss,
        )  # fmt: skip
        return blake2b(_encode(public), digest_size=8).digest()

    def judged(self, subject: str, journey: Journey, version: int) -> Judged:
        """The published form."""
        places = exponent(self.currency)
        amounts, loss = self.amounts, self.loss
        return Judged(
            self.event_id,
            subject,
            timestamp(self.time),
            journey,
            self.customer,
            self.channel,
            self.segment,
            self.currency,
            self.intent,
            sorted({line.kind for line in self.lines}),
            list(self.lines),
            plain(amounts.initial, places),
            plain(amounts.final, places),
            plain(amounts.upsell, places),
            plain(amounts.cross_sell, places),
            plain(amounts.downsell, places),
            plain(amounts.restored, places),
            NOTHING_REVERSED[places] if loss is NO_LOSS else _reversed(loss, places),
            version,
        )


def _reversed(loss: Loss, places: int) -> Reversed:
    lost = loss.amounts
    return Reversed(
        loss.transaction,
        sorted(kind for kind, bit in BITS.items() if loss.kinds & bit),
        {
            "final": plain(lost.final, places),
            "upsell": plain(lost.upsell, places),
            "cross_sell": plain(lost.cross_sell, places),
            "downsell": plain(lost.downsell, places),
            "restored": plain(lost.restored, places),
        },
    )


NOTHING_REVERSED = [_reversed(NO_LOSS, places) for places in range(_PLACES)]
"""By the currency's exponent."""


class Opportunity(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A counted opportunity. Labels bounded."""

    time: int
    channel: str
    segment: str
    in_history: bool = False
    """As of `Sale`."""


class Sale(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A counted transaction. Labels bounded; the currency is empty where it is beyond the bound: then its amounts are in no figure."""

    key: bytes
    """Identity of the transaction among its customer's purchases, 8 bytes."""
    member: bytes
    """The customer's key."""
    time: int
    channel: str
    segment: str
    currency: str
    intent: int
    """Position in `INTENTS`."""
    kinds: int
    amounts: Amounts
    categories: tuple[tuple[str, int], ...]
    loss: Loss
    in_history: bool = False
    """Whether it was counted in the history, too; versions before the history counted it in the windows only."""


def to_sale(assessment: Assessment, labels: LabelRegistry, key: bytes, member: bytes) -> Sale:
    """What is counted of a transaction."""
    label, categories = labels.label, assessment.categories
    if labels.may_overflow:
        bounded: dict[str, int] = {}
        for name, bits in categories:
            category = label("category", name)
            bounded[category] = bounded.get(category, 0) | bits
        categories = tuple(sorted(bounded.items()))
    currency = label("currency", assessment.currency)
    return Sale(
        key,
        member,
        assessment.time,
        label("channel", assessment.channel),
        label("segment", assessment.segment),
        "" if currency == OTHER else currency,
        INTENTS.index(assessment.intent),
        assessment.kinds,
        assessment.amounts,
        categories,
        assessment.loss,
        in_history=True,
    )


def mask(kinds: Iterable[Kind]) -> int:
    """Kinds as bits; ANY where one is an upsell or a cross-sell."""
    bits = 0
    for kind in kinds:
        bits |= BITS[kind]
    return bits | ANY if bits & (UPSELL | CROSS_SELL) else bits


_WITH_ANY: dict[Kind, int] = {kind: mask((kind,)) for kind in BITS}


def by_category(
    members: Iterable[str | None], judged: Iterable[tuple[str | None, Kind]]
) -> tuple[tuple[str, int], ...]:
    """(category, mask) over the final lines' categories; kinds by the judged line's own."""
    masks = {category: 0 for category in members if category}
    for category, kind in judged:
        if category:
            masks[category] |= _WITH_ANY[kind]
    return tuple(masks.items()) if len(masks) == 1 else tuple(sorted(masks.items()))


def timestamp(time: int) -> str:
    """Microseconds since the epoch in RFC 3339, UTC."""
    seconds, microseconds = divmod(time, MICROSECONDS)
    fraction = f".{microseconds:06}" if microseconds else ""
    return f"{_second(seconds)}{fraction}Z"


@lru_cache(maxsize=4096)
def _second(time: int) -> str:
    return (_EPOCH + timedelta(seconds=time)).replace(tzinfo=None).isoformat()


_encode = msgspec.msgpack.Encoder().encode
