"""What is an event and what is a rejected record.

`parse` returns None for a record that must become a dead letter. It does not say why. In a parsed event an empty
string is absent and lines of quantity 0 are dropped, so the other modules need not handle either.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any

CHECKOUT_TYPES = (
    "commerce.checkout.started.v1",
    "commerce.checkout.updated.v1",
    "commerce.order.completed.v1",
    "commerce.order.updated.v1",
    "commerce.order.refunded.v1",
    "commerce.order.canceled.v1",
)
SUBSCRIPTION_TYPES = (
    "commerce.subscription.created.v1",
    "commerce.subscription.trial_converted.v1",
    "commerce.subscription.changed.v1",
    "commerce.subscription.change_scheduled.v1",
    "commerce.subscription.renewed.v1",
    "commerce.subscription.canceled.v1",
    "commerce.subscription.refunded.v1",
)
OFFER_TYPES = ("commerce.offer.shown.v1", "commerce.offer.declined.v1")
STARTED, UPDATED, COMPLETED, ORDER_UPDATED, ORDER_REFUNDED, ORDER_CANCELED = CHECKOUT_TYPES
ERASED = "commerce.customer.erased.v1"
CREATED, CONVERTED, CHANGED, SCHEDULED, RENEWED, CANCELED, REFUNDED = SUBSCRIPTION_TYPES

MAX_RECORD_BYTES = 1 << 20
LARGEST = 10**14  # minor units of one list of lines, or of the MRR of one list of items
INTERVALS = {
    "month": Fraction(1),
    "year": Fraction(1, 12),
    "week": Fraction(52, 12),
    "day": Fraction(365, 12),
}

# ISO 4217, active codes with a minor unit; a code not named below has the exponent 2.
_ACTIVE = (
    "AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BGN BHD BIF BMD BND BOB BOV BRL BSD BTN BWP BYN BZD CAD CDF CHE CHF"
    " CHW CLF CLP CNY COP COU CRC CUP CVE CZK DJF DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GNF GTQ GYD"
    " HKD HNL HTG HUF IDR ILS INR IQD IRR ISK JMD JOD JPY KES KGS KHR KMF KPW KRW KWD KYD KZT LAK LBP LKR LRD LSL LYD"
    " MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK MXN MXV MYR MZN NAD NGN NIO NOK NPR NZD OMR PAB PEN PGK PHP PKR PLN"
    " PYG QAR RON RSD RUB RWF SAR SBD SCR SDG SEK SGD SHP SLE SOS SRD SSP STN SVC SYP SZL THB TJS TMT TND TOP TRY TTD"
    " TWD TZS UAH UGX USD USN UYI UYU UYW UZS VED VES VND VUV WST XAF XCD XCG XOF XPF YER ZAR ZMW ZWG"
)
_DIGITS = {
    0: "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF",
    3: "BHD IQD JOD KWD LYD OMR TND",
    4: "CLF UYW",
}
CURRENCIES = frozenset(_ACTIVE.split())
EXPONENTS = {code: digits for digits, codes in _DIGITS.items() for code in codes.split()}

_TIME = re.compile(r"(\d{4})-(\d\d)-(\d\d)[Tt](\d\d):(\d\d):(\d\d)(?:\.(\d+))?(?:([Zz])|([+-])(\d\d):(\d\d))", re.ASCII)
_MONEY = re.compile(r"\d{1,15}(?:\.\d{1,10})?", re.ASCII)
_QUANTITY = re.compile(r"\d{1,10}(?:\.\d{1,3})?", re.ASCII)
_WHOLE = re.compile(r"\d{1,16}", re.ASCII)
LARGEST_QUANTITY = 10**9
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class _InvalidError(Exception):
    """The record is no event."""


@dataclass(frozen=True, eq=False)
class Event:
    """One valid event. `time` is in microseconds since the epoch; `rank` is the position of its type in the reference.

    `refund_lines` is None where the refund has no `products`; `refund_empty` says that the list was given and is empty.
    `sold_in` is the `checkout_id` of a created subscription. `offer` and `slot` are those of an event about an offer.
    """

    source: str
    id: str
    type: str
    rank: int
    time: int
    version: int
    live: bool
    journey: str
    entity: str
    customer: str
    channel: str | None
    segment: str | None
    currency: str
    status: str | None
    lines: list[dict[str, Any]] | None
    previous: list[dict[str, Any]] | None
    intent: list[dict[str, Any]] | None
    order: str | None
    sold_in: str | None
    refund_id: str | None
    refund_lines: list[dict[str, Any]] | None
    refund_empty: bool
    refund_amount: Fraction | None
    share: Fraction
    offer: str | None
    slot: str | None


def exponent(currency: str) -> int:
    return EXPONENTS.get(currency, 2)


def parse(line: bytes) -> Event | None:
    if len(line) > MAX_RECORD_BYTES:
        return None
    try:
        return _event(json.loads(line.decode("utf-8"), parse_constant=_no_constant, parse_float=Decimal))
    except (_InvalidError, ValueError, RecursionError):
        return None


def _event(body: Any) -> Event:
    _demand(isinstance(body, dict))
    _demand(body.get("specversion") == "1.0")
    kind = _required(body, "type")
    data = body.get("data")
    _demand(isinstance(data, dict))
    order = sold_in = offer = slot = None
    if kind in CHECKOUT_TYPES:
        journey, rank = "checkout", CHECKOUT_TYPES.index(kind)
        entity = _required(data, "checkout_id")
        customer = _text(data, "customer_id") or _text(data, "anonymous_id") or entity
        order = _text(data, "order_id")
        _text(data, "coupon")
        lines = _lines(data, "products", _product, needed=kind not in (ORDER_REFUNDED, ORDER_CANCELED))
        intent = _nested(data, "intent", "products", _product)
        previous = None
    elif kind in SUBSCRIPTION_TYPES:
        journey, rank = "subscription", SUBSCRIPTION_TYPES.index(kind)
        entity = _required(data, "subscription_id")
        customer = _required(data, "customer_id")
        lines = _lines(data, "items", _item, needed=kind not in (RENEWED, CANCELED, REFUNDED))
        intent = _nested(data, "intent", "items", _item)
        previous = _nested(data, "previous", "items", _item)
        sold_in = _text(data, "checkout_id") if kind == CREATED else None
    elif kind in OFFER_TYPES:
        checkout, subscription = _text(data, "checkout_id"), _text(data, "subscription_id")
        _demand((checkout is None) != (subscription is None))
        journey, rank = "checkout" if checkout else "subscription", 100 + OFFER_TYPES.index(kind)
        entity = customer = _required(data, f"{journey}_id")
        offer, slot = _required(data, "offer_id"), _text(data, "slot")
        lines = intent = previous = None
    elif kind == ERASED:
        journey, rank = "customer", 0
        entity = customer = _required(data, "customer_id")
        lines = intent = previous = None
    else:
        raise _InvalidError
    _demand(_required(body, "subject") == f"{journey}/{entity}")
    sells = kind in CHECKOUT_TYPES or kind in SUBSCRIPTION_TYPES
    currency = _required(data, "currency") if sells else ""
    _demand(currency in CURRENCIES or not sells)
    refund_id, refund_lines, refund_empty, refund_amount, share = None, None, False, None, Fraction(1)
    if kind == ORDER_REFUNDED:
        refund = data.get("refund")
        _demand(isinstance(refund, dict))
        refund_id = _required(refund, "refund_id")
        refund_lines = _lines(refund, "products", _product, needed=False)
        refund_empty = refund.get("products") == []
        refund_amount = _money(refund, "amount", needed=False)
    if kind == REFUNDED and data.get("refund") is not None:
        refund = data["refund"]
        _demand(isinstance(refund, dict))
        refund_id = _text(refund, "refund_id")
        _demand(refund.get("amount") in (None, ""))
        given = _money(refund, "share", needed=False)
        share = Fraction(1) if given is None else given
        _demand(share <= 1)
    for lines_of_one_list in (lines, previous, intent, refund_lines):
        _demand(_worth(lines_of_one_list or []) * 10 ** exponent(currency) <= LARGEST)
    _demand("\0" not in _required(body, "source") + _required(body, "id"))
    live = body.get("livemode")
    _demand(live is None or isinstance(live, bool) or live in ("", "true", "false"))
    return Event(
        source=_required(body, "source"),
        id=_required(body, "id"),
        type=kind,
        rank=rank,
        time=_microseconds(_required(body, "time")),
        version=_version(body.get("entityversion")),
        live=live not in (False, "false"),
        journey=journey,
        entity=entity,
        customer=customer,
        channel=_text(data, "channel") if sells else None,
        segment=_text(data, "segment") if sells else None,
        currency=currency,
        status=_text(data, "status") if kind in SUBSCRIPTION_TYPES else None,
        lines=lines,
        previous=previous,
        intent=intent,
        order=order,
        sold_in=sold_in,
        refund_id=refund_id,
        refund_lines=refund_lines,
        refund_empty=refund_empty,
        refund_amount=refund_amount,
        share=share,
        offer=offer,
        slot=slot,
    )


def _product(line: dict[str, Any]) -> dict[str, Any]:
    product = {
        "sku": _text(line, "sku"),
        "variant_id": _text(line, "variant_id"),
        "product_id": _text(line, "product_id"),
        "category": _text(line, "category"),
        "replaces": _names(line.get("replaces")),
        "offer_id": _text(line, "offer_id"),
        "quantity": _quantity(line.get("quantity")),
        "price": _money(line, "price", needed=True),
        "discount": _money(line, "discount", needed=False) or Fraction(0),
    }
    _text(line, "name")
    _demand(product["sku"] or product["variant_id"] or product["product_id"])
    return product


def _item(line: dict[str, Any]) -> dict[str, Any]:
    interval, role = _required(line, "interval"), _text(line, "role")
    _demand(interval in INTERVALS)
    _demand(role in (None, "base", "addon"))
    return {
        "plan_id": _required(line, "plan_id"),
        "product_id": _required(line, "product_id"),
        "role": role,
        "offer_id": _text(line, "offer_id"),
        "category": _text(line, "category"),
        "quantity": _count(line, "quantity", least=0),
        "price": _money(line, "price", needed=True),
        "interval": interval,
        "interval_count": 1 if line.get("interval_count") is None else _count(line, "interval_count", least=1),
    }


def _worth(lines: list[dict[str, Any]]) -> Fraction:
    """List totals, or MRR, added up."""
    return sum(
        (
            line["price"] * line["quantity"] * INTERVALS[line.get("interval", "month")] / line.get("interval_count", 1)
            for line in lines
        ),
        Fraction(0),
    )


def _lines(holder: dict[str, Any], name: str, read: Any, *, needed: bool) -> list[dict[str, Any]] | None:
    given = holder.get(name)
    if given is None and not needed:
        return None
    if not isinstance(given, list) or not all(isinstance(line, dict) for line in given):
        raise _InvalidError
    return [line for line in map(read, given) if line["quantity"]]


def _nested(data: dict[str, Any], name: str, inner: str, read: Any) -> list[dict[str, Any]] | None:
    holder = data.get(name)
    if holder is None:
        return None
    _demand(isinstance(holder, dict))
    return _lines(holder, inner, read, needed=True)


def _text(holder: dict[str, Any], name: str) -> str | None:
    value = holder.get(name)
    _demand(value is None or isinstance(value, str))
    return value or None


def _required(holder: dict[str, Any], name: str) -> str:
    value = _text(holder, name)
    if value is None:
        raise _InvalidError
    return value


def _money(holder: dict[str, Any], name: str, *, needed: bool) -> Fraction | None:
    value = _required(holder, name) if needed else _text(holder, name)
    if value is None:
        return None
    _demand(_MONEY.fullmatch(value))
    return Fraction(value)


def _names(value: Any) -> tuple[str, ...]:
    """One id or a list of ids; empty strings are absent."""
    names = value if isinstance(value, list) else [] if value is None else [value]
    _demand(all(isinstance(name, str) for name in names))
    return tuple(name for name in names if name)


def _quantity(value: Any) -> Fraction:
    """A whole number, or a decimal of at most 3 fractional digits; a JSON number or a string."""
    if isinstance(value, str):
        _demand(_QUANTITY.fullmatch(value))
    else:
        _demand(isinstance(value, (int, Decimal)) and not isinstance(value, bool))
    quantity = Fraction(value)
    _demand((quantity * 1000).denominator == 1 and 0 <= quantity <= LARGEST_QUANTITY)
    return quantity


def _version(value: Any) -> int:
    if isinstance(value, str) and value:
        _demand(_WHOLE.fullmatch(value))
        value = int(value)
    return 0 if value in (None, "") else _count({"version": value}, "version", least=0)


def _count(holder: dict[str, Any], name: str, *, least: int) -> int:
    value = holder.get(name)
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise _InvalidError
    return value


def _microseconds(text: str) -> int:
    found = _TIME.fullmatch(text)
    if found is None:
        raise _InvalidError
    year, month, day, hour, minute, second = (int(part) for part in found.groups()[:6])
    fraction, _, sign, offset_hours, offset_minutes = found.groups()[6:]
    whole = (datetime(year, month, day, hour, minute, second, tzinfo=UTC) - EPOCH) // timedelta(microseconds=1)
    whole += int(((fraction or "") + "000000")[:6])
    if sign:
        _demand(int(offset_hours) < 24 and int(offset_minutes) < 60)
        ahead = (int(offset_hours) * 60 + int(offset_minutes)) * 60_000_000
        whole -= ahead if sign == "+" else -ahead
    first, after = datetime(1, 1, 1, tzinfo=UTC) - EPOCH, datetime(9999, 12, 31, tzinfo=UTC) - EPOCH + timedelta(days=1)
    _demand(first <= timedelta(microseconds=whole) < after)
    return whole


def _demand(condition: object) -> None:
    if not condition:
        raise _InvalidError


def _no_constant(name: str) -> None:
    raise _InvalidError(name)
