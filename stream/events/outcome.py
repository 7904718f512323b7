"""What is published: judged transactions as CloudEvents, rejected records as dead letters.

Rules: the same version of a transaction always gives the same bytes and the same id, so consumers can recognise repeats. A dead letter is the
original record with headers added; nothing of the original is changed or removed.
"""

from typing import Final, Literal

import msgspec

from stream.core.result import Judged, Version
from stream.events.decode import RawRecord, Rejected

OUTCOME_TYPE: Final = "commerce.sale.judged.v1"
OUTCOME_HEADERS: Final = (("content-type", b"application/cloudevents+json; charset=UTF-8"),)
"""Headers of the record of an outcome."""
HEADER_PREFIX: Final = "upsell-"
"""Prefix of the headers that are added to a dead letter."""


class OutcomeEvent(msgspec.Struct, frozen=True):
    """One version of a judged transaction that has kinds, or had kinds in an earlier version."""

    specversion: Literal["1.0"]
    id: str
    """`<subject>:<hash of the event's source and id>:<version>`. A message with the same id is a repeat with the same body."""
    source: str
    """`upsell-stream/<application id>`."""
    type: Literal["commerce.sale.judged.v1"]
    subject: str
    """`checkout/<checkout_id>` or `subscription/<subscription_id>`."""
    time: str
    """Time of the transaction, not of this version."""
    datacontenttype: Literal["application/json"]
    data: Judged


_encode = msgspec.json.Encoder(order="deterministic").encode


def outcome_event(version: Version, app_id: str) -> bytes:
    """A version of a transaction as a CloudEvent in structured mode (JSON)."""
    judged = version.judged
    return _encode(
        OutcomeEvent(
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
