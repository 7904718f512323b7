"""What a step reports: the result of an event, versions of transactions, and what the counters count."""

from typing import Annotated, Literal, TypedDict

import msgspec

from stream.core.event import Journey

Amount = Annotated[str, msgspec.Meta(pattern=r"^[0-9]+(\.[0-9]+)?$")]
"""Decimal string in major units, with the decimals of the currency."""

Kind = Literal["upsell", "cross_sell", "downsell", "restored"]
Intent = Literal["known", "unknown", "incomparable"]
Reason = Literal[
    "quantity",
    "variant",
    "substitute",
    "addition",
    "plan",
    "addon",
    "additional_product",
    "restored",
    "removed",
]
Result = Literal["applied", "duplicate", "stale", "late", "unmatched", "unchanged", "test", "rejected"]

RULES = 2
"""Version of the rules of the verdict: 1 compared lines, 2 compares families of lines and gains and losses of items."""


# The docstrings of the next four, and of their fields, are published in the JSON Schema of outcomes.


class JudgedLine(msgspec.Struct, frozen=True, gc=False):
    """A line with a verdict."""

    kind: Kind
    reason: Reason
    product_id: str | None
    """Null where something was removed."""
    sku: str | None
    """The sku of a line; the plan_id of a subscription's item; null where something was removed."""
    intent_product_id: str | None
    """The product_id of the matching line of the intent; null if there is none."""
    intent_sku: str | None
    offer_id: str | None
    amount: Amount


class ReversedAmounts(TypedDict):
    """How much of the amount with the same name was reversed."""

    final: Amount
    upsell: Amount
    cross_sell: Amount
    downsell: Amount
    restored: Amount


class Reversed(msgspec.Struct, frozen=True, gc=False):
    """What refunds and cancellations reversed."""

    transaction: bool
    """True if nothing is left of the transaction."""
    kinds: list[Kind]
    """The kinds that the transaction no longer has; sorted."""
    amounts: ReversedAmounts


class Judged(msgspec.Struct, frozen=True, gc=False):
    """A judged transaction. Amounts are decimal strings in major units of the currency: money paid, or MRR for a subscription."""

    event_id: str
    """Id of the event that started the transaction."""
    subject: str
    """The checkout or the subscription."""
    time: str
    """Time of the transaction; RFC 3339, UTC."""
    journey: Journey
    customer: str
    channel: str | None
    segment: str | None
    currency: str
    intent: Intent
    kinds: list[Kind]
    """Sorted; empty if there is no verdict, or no longer one."""
    lines: list[JudgedLine]
    initial: Amount
    """Value of what the customer came for."""
    final: Amount
    upsell: Amount
    cross_sell: Amount
    downsell: Amount
    restored: Amount
    """What brings the customer back to what they once came for; neither an upsell nor a cross-sell. Always 0 for a checkout."""
    reversed: Reversed
    version: Annotated[int, msgspec.Meta(ge=1)]
    """1 for the first version; one more for every change of the fields above. The highest version is valid."""
    rules: int = RULES
    """Version of the rules that judged the transaction."""


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


APPLIED, DUPLICATE, STALE, LATE, UNMATCHED, UNCHANGED, TEST, TOO_MANY_ORDERS = (
    Step(result) for result in ("applied", "duplicate", "stale", "late", "unmatched", "unchanged", "test", "rejected")
)
"""Steps that report nothing but their result. The last one is a fact of a further order of a checkout that has as many as it may have: a dead letter."""
