"""One generated record of a topic, as bytes.

Rules: a record has an event time and an arrival time; nothing here reads a clock or is random. Values are structured CloudEvents 1.0 in
JSON, on one line, except in records that are bad on purpose.
"""

from datetime import datetime
from decimal import ROUND_HALF_EVEN, Decimal
from fractions import Fraction
from functools import cache
from typing import Any, Final, Literal

import msgspec
from iso4217 import Currency

Topic = Literal["checkout", "subscription"]

_ENCODER: Final = msgspec.json.Encoder()


class Emitted(msgspec.Struct, frozen=True, gc=False):
    """One record, in order of arrival."""

    topic: Topic
    """Which of the two input topics. The settings have their names."""
    key: bytes
    """The customer's key, the same in all events of one checkout or subscription."""
    value: bytes
    """Never contains a line break."""
    time: datetime
    """Event time, UTC, milliseconds."""
    arrival: datetime
    """When the record reaches the topic, UTC: `time` or later."""
    poison: str | None = None
    """The defect, one of `POISON_KINDS`; None for a good record."""
    about_offer: bool = False
    """It says that an offer was shown or declined."""


@cache
def quantum(currency: str) -> Decimal:
    """The smallest amount of a currency in major units, by ISO 4217 (0.01 for EUR, 1 for JPY).

    Raises:
        ValueError: ISO 4217 does not have the currency, or it has no minor unit.
    """
    exponent = Currency(currency).exponent
    if exponent is None:
        raise ValueError(f"{currency} has no minor unit")
    return Decimal(1).scaleb(-int(exponent))


@cache
def _units(currency: str) -> int:
    """How many of the smallest amount make one major unit."""
    return int(1 / quantum(currency))


def rounded(amount: Decimal | Fraction, currency: str) -> Decimal:
    """The amount rounded half even to the currency's exponent."""
    if isinstance(amount, Fraction):
        unit = quantum(currency)
        units, rest = divmod(amount.numerator * _units(currency), amount.denominator)
        units += 2 * rest > amount.denominator or (2 * rest == amount.denominator and units % 2)
        return units * unit
    return amount.quantize(quantum(currency), ROUND_HALF_EVEN)


def cloud_event(
    kind: str,
    *,
    source: str,
    event_id: str,
    subject: str,
    time: str,
    data: dict[str, Any],
    version: int | None = None,
) -> bytes:
    """One event in structured mode; `time` is RFC 3339. Decimals in `data` become strings and keep trailing zeros."""
    event: dict[str, Any] = {
        "specversion": "1.0",
        "id": event_id,
        "source": source,
        "type": kind,
        "time": time,
        "subject": subject,
        "datacontenttype": "application/json",
        "data": data,
    }
    if version is not None:
        event["entityversion"] = version
    return _ENCODER.encode(event)
