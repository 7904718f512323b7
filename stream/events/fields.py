"""Types of the fields of input events, and the parsers that turn their texts into values.

Rules: nothing is coerced (an integer is a JSON integer, money a decimal string). A field keeps the text that was sent; the `parse_*` and `check_*`
functions, which the validators use too, turn the text into a value or say what is wrong with it.
"""

import math
import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from functools import lru_cache
from typing import Annotated, Any, LiteralString, NamedTuple

from iso4217 import Currency as Iso4217
from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema
from pydantic_core import PydanticCustomError

from stream.core.money import LARGEST, ONE, SCALE, exact, exponent

CURRENCIES = frozenset(currency.code for currency in Iso4217 if currency.exponent is not None)
"""ISO 4217 codes that have a minor unit. Precious metals, test codes and some funds have none."""

_MONEY = r"[0-9]{1,15}(\.[0-9]{1,10})?"
# RFC 3339 in two parts, each with its own cache. Most seconds repeat within a batch, and fractions of three digits have only a thousand values.
_TO_SECOND = r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt][0-9]{2}:[0-9]{2}:[0-5][0-9]"
_REST = r"(\.[0-9]+)?([Zz]|[+-]([01][0-9]|2[0-3]):[0-5][0-9])"
_SECOND = len("2026-01-05T10:00:00")
_LONGEST_CACHED_REST = len(".123456+01:00")
"""Longer texts are not cached: an event could fill the memory with them."""
_VERSION = r"0|[1-9][0-9]{0,15}"
_VERSION_END = 1 << 53
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FIRST, _LAST = datetime.min.replace(tzinfo=UTC) - _EPOCH, datetime.max.replace(tzinfo=UTC) - _EPOCH

_is_money = re.compile(_MONEY).fullmatch
_is_second = re.compile(_TO_SECOND).fullmatch
_is_rest = re.compile(_REST).fullmatch
_is_version = re.compile(_VERSION).fullmatch


@lru_cache(maxsize=16_384)  # prices repeat
def check_money(text: str) -> str:
    """Return a decimal string in major units, such as `12.50`, unchanged.

    Raises:
        ValueError: not 1 to 15 digits, optionally followed by a point and 1 to 10 digits.
    """
    if not _is_money(text):
        raise ValueError(
            'money is a plain decimal string like "12.50": at most 15 digits before the point and 10 after it, no sign, no exponent'
        )
    return text


def parse_quantity(value: float | str) -> int | str:
    """A quantity of a product line: an int where it is whole, else a decimal string without trailing zeros.

    Raises:
        ValueError: not a number from 0 to 10^9 with at most 3 decimal places, as a JSON number or as a string.
    """
    if type(value) is int:
        if 0 <= value <= MOST_UNITS:
            return value
        raise ValueError(_NO_QUANTITY)
    if not (isinstance(value, str) and _is_quantity(value)) and not (isinstance(value, float) and math.isfinite(value)):
        raise ValueError(_NO_QUANTITY)
    quantity = Decimal(value if isinstance(value, str) else repr(value))
    thousandths = quantity.scaleb(3)
    if not 0 <= quantity <= MOST_UNITS or thousandths != int(thousandths):
        raise ValueError(_NO_QUANTITY)
    return int(quantity) if quantity == int(quantity) else f"{quantity.normalize():f}"


def parse_replaces(value: str | Sequence[str]) -> str | tuple[str, ...] | None:
    """The ids of intent lines that a line replaces; None where there is none.

    Raises:
        ValueError: neither a string nor a list of at most 100 strings, or an id of more than 256 characters.
    """
    names = [value] if isinstance(value, str) else value
    if not isinstance(names, list | tuple) or len(names) > _MOST_REPLACED:
        raise ValueError(_NO_REPLACES)
    if any(not isinstance(name, str) or len(name) > _LONGEST_ID for name in names):
        raise ValueError(_NO_REPLACES)
    kept = tuple(name for name in names if name)
    return (kept[0] if len(kept) == 1 else kept) if kept else None


def check_share(text: str) -> str:
    """Return a part of a payment, a decimal string from 0 to 1, unchanged.

    Raises:
        ValueError: not a decimal string, or more than 1.
    """
    if not _is_money(text) or exact(text) > ONE:
        raise ValueError('a share is a decimal string from "0" to "1": the part of the payment that was given back')
    return text


def parse_time(text: str) -> int:
    """An RFC 3339 time in microseconds since the epoch. Further digits are cut off.

    Raises:
        ValueError: not RFC 3339, no offset, a time that does not exist (leap seconds included), or outside the years 1 to 9999 in UTC.
    """
    rest = text[_SECOND:]
    fraction, offset = _parse_rest(rest) if len(rest) <= _LONGEST_CACHED_REST else _parse_rest.__wrapped__(rest)
    return _parse_second(text[:_SECOND], offset) + fraction


@lru_cache(maxsize=4096)
def _parse_rest(text: str) -> tuple[int, str]:
    """The fraction in microseconds, and the offset."""
    match = _is_rest(text)
    if match is None:
        raise ValueError(_NO_TIME)
    fraction, offset = match[1], match[2]
    return int(fraction[1:7].ljust(6, "0")) if fraction else 0, offset.upper()


@lru_cache(maxsize=4096)
def _parse_second(text: str, offset: str) -> int:
    if not _is_second(text):
        raise ValueError(_NO_TIME)
    since = datetime.fromisoformat(f"{text}{offset}") - _EPOCH
    if not _FIRST <= since <= _LAST:
        raise ValueError("a time lies within the years 1 to 9999 of UTC")
    return (since.days * 86_400 + since.seconds) * 1_000_000


MOST_UNITS = 1_000_000_000
_MOST_REPLACED = 100
_LONGEST_ID = 256
_QUANTITY = r"[0-9]{1,10}(\.[0-9]{1,3})?"
_is_quantity = re.compile(_QUANTITY, re.ASCII).fullmatch
_NO_QUANTITY = 'a quantity is a number from 0 to 1000000000 with at most 3 decimal places, like 2, 0.375 or "0.375"'
_NO_REPLACES = "should be an id of a line of the intent, or a list of at most 100 such ids"
_NO_TIME = 'a time is RFC 3339 with an offset, like "2026-01-05T10:00:00Z" or "2026-01-05T11:00:00.250+01:00"'


def parse_flag(value: bool | str) -> bool:  # noqa: FBT001 - the value to parse, not an option
    """A CloudEvents boolean: a JSON boolean, or its text (a Kafka header can only carry text).

    Raises:
        ValueError: neither a boolean nor `true` or `false`.
    """
    if isinstance(value, bool):
        return value
    if value == "true":
        return True
    if value == "false":
        return False
    raise ValueError("should be true or false")


def parse_version(value: int | str) -> int:
    """A CloudEvents integer: a JSON integer, or its text.

    Raises:
        ValueError: not an integer from 0 to 2^53 - 1.
    """
    if isinstance(value, str) and _is_version(value):
        value = int(value)
    if type(value) is not int or not 0 <= value < _VERSION_END:
        raise ValueError("should be an integer from 0 to 2^53 - 1")
    return value


def parse_currency(code: str) -> str:
    """An ISO 4217 code.

    Raises:
        ValueError: unknown, or without a minor unit.
    """
    if code not in CURRENCIES:
        raise ValueError('should be an ISO 4217 code with a minor unit, in capitals, like "EUR"')
    return code


def check_name(text: str) -> str:
    """Return a part of an event's identity unchanged.

    Raises:
        ValueError: it contains U+0000, which separates the parts where they are joined.
    """
    if "\0" in text:
        raise ValueError("should not contain U+0000")
    return text


_LARGEST_EXACT = {code: LARGEST * 10 ** (SCALE - exponent(code)) for code in CURRENCIES}


def check_total(total: int, currency: str, per: str = "") -> None:
    """Check the sum of one list, an exact amount (`stream.core.money`). `per` completes the message, for example " a month".

    Raises:
        ValueError: more than `LARGEST` minor units of the currency.
    """
    if total > _LARGEST_EXACT[currency]:
        major, largest = (Decimal(amount).scaleb(-SCALE).normalize() for amount in (total, _LARGEST_EXACT[currency]))
        raise ValueError(f"price x quantity adds up to {major:f} {currency}{per}; at most {largest:f} is allowed")


class Sent(NamedTuple):
    """Marks a field that accepts more types on the wire than its model has. `stream.events.structs` reads the mark."""

    type: Any


def _validator(parse: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """The parser as a validator whose message has no prefix of pydantic."""

    def validate(value: Any) -> Any:
        try:
            return parse(value)
        except ValueError as error:
            raise PydanticCustomError("value", "{reason}", {"reason": str(error)}) from None

    return validate


def _checked(parse: Callable[[str], object]) -> AfterValidator:
    """A validator that runs the parser and keeps the text."""

    def check(text: str) -> str:
        parse(text)
        return text

    return AfterValidator(_validator(check))


_NO_NUMBER: LiteralString = (
    'send money as a string in major units like "12.50" (not 1250 for 12.50): a JSON number may lose digits'
)


def _money_is_text(value: object) -> object:
    if isinstance(value, int | float) and not isinstance(value, bool):
        raise PydanticCustomError("money_number", _NO_NUMBER)
    return value


_NO_SHARE: LiteralString = (
    'send a share as a string from "0" to "1", like "0.5" for half of the payment: a JSON number may lose digits'
)


def _share_is_text(value: object) -> object:
    if isinstance(value, int | float) and not isinstance(value, bool):
        raise PydanticCustomError("share_number", _NO_SHARE)
    return value


def _refuse(_: Any) -> None:
    raise PydanticCustomError("refused", "cash is no share of a subscription's MRR: send share instead")


Refused = Annotated[None, Sent(Any), BeforeValidator(_refuse), WithJsonSchema({"enum": [None, ""]})]
Text = Annotated[str, Field(strict=True)]
OptionalId = Annotated[str, Field(strict=True, max_length=256)] | None
OptionalLabel = Annotated[str, Field(strict=True, max_length=128)] | None
Id = Annotated[str, Field(strict=True, min_length=1, max_length=256)]
Name = Annotated[
    str,
    Field(strict=True, min_length=1, max_length=256, json_schema_extra={"pattern": r"^[^\u0000]*$"}),
    _checked(check_name),
]
Quantity = Annotated[int, Field(strict=True, ge=0, le=MOST_UNITS)]
LineQuantity = Annotated[
    int | str,
    Sent(int | float | str),
    BeforeValidator(_validator(parse_quantity)),
    WithJsonSchema(
        {
            "anyOf": [
                # No `multipleOf`: validators that divide binary floats refuse 0.029.
                {"type": "number", "minimum": 0, "maximum": MOST_UNITS},
                {"type": "string", "pattern": f"^{_QUANTITY}$"},
            ],
            "examples": [2, 0.375, "0.375"],
        }
    ),
]
Replaces = Annotated[
    str | tuple[str, ...] | None,
    Sent(str | list[str] | None),
    BeforeValidator(_validator(parse_replaces)),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string", "maxLength": _LONGEST_ID},
                {"type": "array", "items": {"type": "string", "maxLength": _LONGEST_ID}, "maxItems": _MOST_REPLACED},
                {"type": "null"},
            ]
        }
    ),
]
Money = Annotated[
    str,
    Field(strict=True),
    BeforeValidator(_money_is_text),
    _checked(check_money),
    WithJsonSchema({"type": "string", "pattern": f"^{_MONEY}$", "examples": ["12.50"]}),
]
Share = Annotated[
    str,
    Field(strict=True),
    BeforeValidator(_share_is_text),
    _checked(check_share),
    WithJsonSchema(
        {"type": "string", "pattern": r"^(0{1,15}(\.[0-9]{1,10})?|0{0,14}1(\.0{1,10})?)$", "examples": ["0.5"]}
    ),
]
Currency = Annotated[
    str,
    Field(strict=True),
    _checked(parse_currency),
    WithJsonSchema({"type": "string", "pattern": "^[A-Z]{3}$", "examples": ["EUR"]}),
]
Time = Annotated[
    str,
    Field(strict=True),
    _checked(parse_time),
    WithJsonSchema({"type": "string", "format": "date-time", "pattern": f"^{_TO_SECOND}{_REST}$"}),
]
Flag = Annotated[
    bool,
    Sent(bool | str),
    BeforeValidator(_validator(parse_flag)),
    WithJsonSchema({"enum": [True, False, "true", "false"]}),
]
Version = Annotated[
    int,
    Sent(int | str),
    BeforeValidator(_validator(parse_version)),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "integer", "minimum": 0, "maximum": _VERSION_END - 1},
                {"type": "string", "pattern": f"^({_VERSION})$"},
            ]
        }
    ),
]
