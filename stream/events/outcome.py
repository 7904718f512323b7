"""What is published: judged transactions as CloudEvents, rejected records as dead letters.

Rules: the same judged transaction gives the same bytes, so that a repeat can be told by its id. A dead letter is the original record with headers
added; nothing of the original is changed or left out.
"""

from typing import Annotated, Final, Literal

import msgspec
from pydantic import BaseModel, ConfigDict, Field

from stream.core.event import Journey
from stream.core.result import Intent, Judged, Kind, Reason, Version
from stream.events.decode import RawRecord, Rejected

OUTCOME_TYPE: Final = "commerce.sale.judged.v1"
OUTCOME_HEADERS: Final = (("content-type", b"application/cloudevents+json; charset=UTF-8"),)
"""Headers of an outcome's record."""
HEADER_PREFIX: Final = "upsell-"
"""What the names of all headers begin with that this product adds to a dead letter."""


class _Outcome(msgspec.Struct):
    specversion: str
    id: str
    source: str
    type: str
    subject: str
    time: str
    datacontenttype: str
    data: Judged


_encode = msgspec.json.Encoder(order="deterministic").encode


def outcome_event(version: Version, app_id: str) -> bytes:
    """A version of a transaction as a CloudEvent (structured JSON)."""
    judged = version.judged
    return _encode(
        _Outcome(
            specversion="1.0",
            id=version.id,
            source=f"upsell-stream/{app_id}",
            type=OUTCOME_TYPE,
            subject=judged.subject,
            time=judged.time,
            datacontenttype="application/json",
            data=judged,
        )
    )


def dead_letter(
    record: RawRecord, rejected: Rejected, partition: int, offset: int
) -> tuple[bytes, list[tuple[str, bytes]]]:
    """Value and headers of a dead letter: the record's own, then those of `rejection_headers`.

    A value or a header that is null becomes an empty one.
    """
    headers = [(name, value or b"") for name, value in record.headers]
    return record.value or b"", headers + rejection_headers(
        rejected.reason, rejected.detail, rejected.path, record.topic, str(partition), str(offset)
    )


def rejection_headers(
    reason: str, error: str, path: str | None, topic: str, partition: str, offset: str
) -> list[tuple[str, bytes]]:
    """The headers that a dead letter has besides the record's own: why it was rejected, and where it was read.

    `path` is None where the rejection is not about a field of an event.
    """
    texts = {
        "reason": reason,
        "error": error,
        "path": path,
        "source-topic": topic,
        "source-partition": partition,
        "source-offset": offset,
    }
    return [(HEADER_PREFIX + name, text.encode()) for name, text in texts.items() if text is not None]


# --- the outcome for its consumers


class _Published(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, use_attribute_docstrings=True)


Amount = Annotated[str, Field(pattern=r"^[0-9]+(\.[0-9]+)?$")]


class JudgedLine(_Published):
    """A line with a verdict."""

    kind: Kind
    reason: Reason
    product_id: str | None
    sku: str | None
    """The sku of a line, the plan_id of a subscription's item."""
    intent_product_id: str | None
    """Of the line that the customer came for, where there is one."""
    intent_sku: str | None
    offer_id: str | None
    amount: Amount


class ReversedAmounts(_Published):
    """How much of the amounts of the same names was lost."""

    final: Amount
    upsell: Amount
    cross_sell: Amount
    downsell: Amount


class Reversed(_Published):
    """What refunds and cancellations took back."""

    transaction: bool
    """Whether nothing is left."""
    kinds: list[Kind]
    """Those that what is left no longer has; sorted."""
    amounts: ReversedAmounts


class Sale(_Published):
    """A judged transaction. Amounts are decimal strings in major units of the currency: money paid, or MRR for a subscription."""

    event_id: str
    """Of the event that made the transaction."""
    subject: str
    """The checkout or the subscription."""
    time: str
    """Of the transaction; RFC 3339, UTC."""
    journey: Journey
    customer: str
    channel: str | None
    segment: str | None
    currency: str
    intent: Intent
    kinds: list[Kind]
    """Sorted; empty where nothing was up-, cross- or downsold, or no longer is."""
    lines: list[JudgedLine]
    initial: Amount
    """The value of what the customer came for."""
    final: Amount
    upsell: Amount
    cross_sell: Amount
    downsell: Amount
    reversed: Reversed
    version: Annotated[int, Field(ge=1)]
    """1, then one more for every change of what is above. The highest one is true."""


class OutcomeCloudEvent(_Published):
    """One version of a judged transaction that has or ever had kinds."""

    specversion: Literal["1.0"]
    id: str
    """`<subject>:<hash of the event's source and id>:<version>`; a message with the same id is a repeat with the same body."""
    source: str
    """`upsell-stream/<application id>`."""
    type: Literal["commerce.sale.judged.v1"]
    subject: str
    """`checkout/<checkout_id>` or `subscription/<subscription_id>`."""
    time: str
    """Of the transaction, not of this version."""
    datacontenttype: Literal["application/json"]
    data: Sale
