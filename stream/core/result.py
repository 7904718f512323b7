"""What a step reports: the result of an event, versions of transactions, and what the counters count."""

from typing import Literal

import msgspec

Kind = Literal["upsell", "cross_sell", "downsell"]
Intent = Literal["known", "unknown", "incomparable"]
Reason = Literal["quantity", "variant", "substitute", "addition", "plan", "addon", "additional_product"]
Result = Literal["applied", "duplicate", "stale", "late", "unmatched", "test"]


class JudgedLine(msgspec.Struct, frozen=True, gc=False):
    """One line with a verdict."""

    kind: Kind
    reason: Reason
    product_id: str | None
    sku: str | None
    """The sku of a line; the plan of a subscription's item."""
    intent_product_id: str | None
    intent_sku: str | None
    offer_id: str | None
    amount: str
    """Decimal string at the currency's exponent."""


class Reversed(msgspec.Struct, frozen=True, gc=False):
    """What refunds and cancellations took back."""

    transaction: bool
    kinds: list[Kind]
    """Sorted."""
    amounts: dict[str, str]
    """What final, upsell, cross_sell and downsell lost."""


class Judged(msgspec.Struct, frozen=True, gc=False):
    """A judged transaction: the `data` of an outcome, and a line of `classify`."""

    event_id: str
    subject: str
    time: str
    """RFC 3339, UTC."""
    journey: Literal["checkout", "subscription"]
    customer: str
    channel: str | None
    segment: str | None
    currency: str
    intent: Intent
    kinds: list[Kind]
    lines: list[JudgedLine]
    initial: str
    final: str
    upsell: str
    cross_sell: str
    downsell: str
    reversed: Reversed
    version: int


class Version(msgspec.Struct, frozen=True, gc=False):
    """A new version of a transaction."""

    transaction: str
    """The same for all versions of a transaction, and for no other of the shard."""
    id: str
    """`<subject>:<hash of the event's source and id>:<version>`."""
    judged: Judged
    publish: bool
    """It has kinds, or an earlier version had some."""
    withdrawn: bool
    """A late event showed that there was no such transaction; `judged` is empty."""


class Step(msgspec.Struct, frozen=True, gc=False):
    """What one event did."""

    result: Result
    versions: tuple[Version, ...] = ()
    counted: tuple[tuple[str, str, str], ...] = ()
    """(kind or `all`, channel, segment) newly counted by this event, labels bounded."""
    overflow: tuple[str, ...] = ()
    """Names of labels whose value had to be `other`."""


APPLIED, DUPLICATE, STALE, LATE, UNMATCHED, TEST = (
    Step(result) for result in ("applied", "duplicate", "stale", "late", "unmatched", "test")
)
"""Steps that report nothing but their result."""
