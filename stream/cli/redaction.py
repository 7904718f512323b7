"""Records of producers on a screen, without what may be personal.

Rules: a record that was refused may have anything anywhere, so only what is known to be harmless is shown: values of the fields in `HARMLESS`, in the
objects that an event has (`OBJECTS`). Of everything else the name is shown, and `MASK` for the value. Whatever looks like an e-mail address is masked
everywhere. Values of headers that are no attributes of the event are never shown: they may be credentials.
"""

import json
import math
import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

MASK: Final = "***"

HARMLESS: Final = frozenset(
    (
        *("specversion", "id", "source", "type", "time", "datacontenttype", "dataschema", "livemode", "entityversion"),
        *("checkout_id", "order_id", "subscription_id", "refund_id", "currency", "channel", "segment", "status"),
        *("sku", "variant_id", "product_id", "plan_id", "category", "replaces", "offer_id", "slot", "role"),
        *("quantity", "price", "discount", "amount", "share", "interval", "interval_count"),
        # of an outcome
        *("event_id", "journey", "intent", "kinds", "kind", "reason", "intent_sku", "intent_product_id", "version"),
        *("initial", "final", "upsell", "cross_sell", "downsell", "restored", "transaction", "rules"),
    )
)
"""Fields of events and outcomes that are about goods, money and orders. The other known fields are masked: `customer_id`, `anonymous_id`, `customer`,
`coupon` and `name`. `subject` is masked unless it names a checkout or a subscription."""
OBJECTS: Final = frozenset(
    ("data", "products", "items", "intent", "previous", "refund", "lines", "reversed", "amounts")
)
"""Fields of events and outcomes whose value is an object or a list of objects."""
_SUBJECT: Final = re.compile(r"(checkout|subscription)/")
_ADDRESS: Final = re.compile(r"[^\s@/\"']+@[^\s@/\"']+")
_TEXT: Final = r"""'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*\""""
_GIVEN: Final = re.compile(
    rf"""(?<=, not )(?:['"].{{78}}…|{_TEXT}|['"].*?(?=(?: \(and \d+ more\))?$)|-?[0-9][^\s:,]*|-?inf|nan|None|True|False)""",
    re.DOTALL,
)
"""A value of the record as `stream.events.decode` quotes it: a text, cut at 80 characters or complete, or a number. Our own words follow `, not ` too."""
_QUOTED: Final = re.compile(rf"(?P<said>there is |the header )?(?P<text>{_TEXT})", re.DOTALL)
_DELIMITERS: Final = ("','", "':'")
"""Quoted by the JSON parser."""
_DEEPEST: Final = 100


def loaded(value: bytes | None) -> Any:
    """The JSON in a value. Numbers that JSON cannot have (`NaN`, 1e999) become texts.

    Raises:
        ValueError: it is no JSON, or has more than 100 levels.
    """
    try:
        parsed = json.loads(value or b"", parse_constant=str, parse_float=_number)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    _check_depth(parsed, _DEEPEST)
    return parsed


def redacted(value: bytes | None) -> Any:
    """The JSON in a value, with masks. Raises as `loaded`."""
    return _masked(loaded(value), known=True, shown=False)


def redacted_error(error: str, path: str) -> str:
    """A dead letter's error text. It may quote the value of the field at `path`, which is masked unless the field is harmless.

    All else stays: it says what is wrong, and may name fields and headers.
    """
    *objects, field = re.sub(r"\[\d+\]", "", path).split(".")
    if not (field in HARMLESS and OBJECTS.issuperset(objects)):
        shown = _SUBJECT.match if path == "subject" else lambda _: None
        error = _GIVEN.sub(lambda found: found[0] if shown(found[0][1:]) else MASK, error)
        error = _QUOTED.sub(
            lambda found: (
                found[0] if found["said"] or found["text"] in _DELIMITERS or shown(found["text"][1:]) else MASK
            ),
            error,
        )
    return _ADDRESS.sub(MASK, error)


def redacted_headers(headers: Iterable[tuple[str, bytes]]) -> Mapping[str, str]:
    """A record's headers: attributes of the event (`ce_…`) as its fields, the content type, and the names of the others."""
    return {_ADDRESS.sub(MASK, name): _redacted_header(name, value) for name, value in headers}


def _redacted_header(name: str, value: bytes | None) -> str:
    text = (value or b"").decode(errors="replace")
    if name.lower() == "content-type":
        return text
    attribute = name.removeprefix("ce_")
    return str(_masked_field(attribute, text, known=True)) if attribute != name else MASK


def _number(text: str) -> float | str:
    number = float(text)
    return number if math.isfinite(number) else text


def _check_depth(value: Any, left: int) -> None:
    if not left:
        raise ValueError("nested too deeply")
    for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        _check_depth(inner, left - 1)


def _masked(value: Any, *, known: bool, shown: bool) -> Any:
    """`known`: the objects around it are those of an event. `shown`: so is its field, which is harmless."""
    if isinstance(value, dict):
        return {_ADDRESS.sub(MASK, name): _masked_field(name, inner, known=known) for name, inner in value.items()}
    if isinstance(value, list):
        return [_masked(inner, known=known, shown=shown) for inner in value]
    if value is None or isinstance(value, bool):
        return value
    if not shown:
        return MASK
    return _ADDRESS.sub(MASK, value) if isinstance(value, str) else value


def _masked_field(name: str, value: Any, *, known: bool) -> Any:
    shown = known and (
        name in HARMLESS or (name == "subject" and isinstance(value, str) and bool(_SUBJECT.match(value)))
    )
    return _masked(value, known=known and name in OBJECTS, shown=shown)
