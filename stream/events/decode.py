"""Decodes records to events. Never raises.

Rules: there are two paths. The fast path decodes with structs made from the models; if anything is wrong or unusual, it raises and the exact path
decodes the record again. The exact path uses the pydantic models, and its result, an event or a `Rejected`, is final. Both paths build the core's
event with the same functions. A property test checks that they agree: what the fast path accepts, the exact path accepts as the same value.
"""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any, Literal, NamedTuple, NoReturn, Protocol, cast

import msgspec
from pydantic import ValidationError

from stream.core.entities.checkout import ORDERS
from stream.core.event import (
    CheckoutEvent,
    CheckoutType,
    CustomerType,
    ErasedEvent,
    Event,
    Item,
    Journey,
    Line,
    OfferEvent,
    OfferType,
    Refund,
    Share,
    SubscriptionEvent,
    SubscriptionType,
)
from stream.events import models
from stream.events.catalogue import EVENT_TYPES, TYPE_NAMES, EventType
from stream.events.fields import (
    MOST_UNITS,
    check_money,
    check_share,
    check_total,
    parse_currency,
    parse_flag,
    parse_quantity,
    parse_replaces,
    parse_time,
    parse_version,
)
from stream.events.formats import recognise
from stream.events.hints import Given, envelope_hint, field_hint, type_hint
from stream.events.models import (
    CheckoutData,
    CloudEvent,
    CreatedData,
    ErasedData,
    Identity,
    OfferData,
    PaymentRefundedData,
    ProductLine,
    RefundedData,
    SubscriptionData,
    check_items,
    list_total,
)
from stream.events.names import unknown_fields
from stream.events.structs import make_struct, struct_for

Headers = Sequence[tuple[str, bytes | None]]

LARGEST_RECORD = 1_048_576
"""Largest accepted value of a record, in bytes."""

Reason = Literal[
    "empty",
    "too_large",
    "not_json",
    "not_cloudevent",
    "unknown_type",
    "wrong_topic",
    "invalid",
    "future",
    "no_key",
    "too_many_orders",
]


class RawRecord(Protocol):
    """A Kafka record, for example aiokafka's `ConsumerRecord`."""

    @property
    def topic(self) -> str:
        """Name of the topic."""

    @property
    def key(self) -> bytes | None:
        """None or empty if the record has no key."""

    @property
    def value(self) -> bytes | None:
        """None for a tombstone."""

    @property
    def headers(self) -> Headers:
        """In the order of the record. If a name occurs twice, the last one counts."""

    @property
    def timestamp(self) -> int | None:
        """Milliseconds since the epoch; None, 0 or negative if the record has no timestamp."""


class Rejected(msgspec.Struct, frozen=True):
    """Why a record is not a valid event."""

    reason: Reason
    detail: str
    """A message for people. It may quote one short value of the record."""
    path: str = ""
    """The wrong field, such as `data.products[0].price`; empty if no single field is wrong."""
    type: str | None = None
    """The event's type; None if it is unknown or could not be read."""


class Decoder:
    """Decodes the records of the input topics."""

    def __init__(self, topics: Mapping[str, Journey], future: int, *, require_key: bool = False) -> None:
        """`topics`: topic -> journey. `future`: how far an event's time may be ahead of its record's timestamp, in microseconds.

        `require_key`: reject events of records without a key.
        """
        self._topics = topics
        self._future = future
        self._require_key = require_key

    def decode(self, record: RawRecord) -> Event | Rejected:
        """Return the event in a record of one of the topics, or why there is none."""
        journey = self._topics[record.topic]
        event = _decode(record.value, record.headers, journey)
        if self._require_key and not record.key and not isinstance(event, Rejected):
            return Rejected("no_key", _NO_KEY, "", TYPE_NAMES[journey, event.type])
        if type(event) is OfferEvent and event.journey != journey:
            return _offer_on_wrong_topic(event)
        timestamp = record.timestamp
        if timestamp is None or timestamp <= 0 or isinstance(event, Rejected):
            return event
        ahead = event.time - timestamp * 1_000
        if ahead > self._future:
            name = TYPE_NAMES[journey, event.type]
            return Rejected(
                "future", f"{ahead / 1e6:.1f} s ahead of the record's time stamp{_zone_hint(ahead)}", "time", name
            )
        return event


def _zone_hint(ahead: int) -> str:
    """A question, where an event is ahead by the offset of a time zone, less some delay."""
    hours = round(ahead / _HOUR)
    if not 1 <= hours <= _MOST_HOURS or abs(ahead - hours * _HOUR) > _NEARLY:
        return ""
    much = "an hour" if hours == 1 else f"{hours} hours"
    return f", about {much}: is it the time zone? A local time with Z is not UTC"


def too_many_orders(event: CheckoutEvent) -> Rejected:
    """The rejection of a fact of a further order, of a checkout that has as many orders as it may have (the step's result is `rejected`)."""
    detail = f"the order {_quoted(event.order_id or '')} is one too many: a checkout has at most {ORDERS} orders"
    return Rejected("too_many_orders", detail, "data.order_id", TYPE_NAMES["checkout", event.type])


def _offer_on_wrong_topic(event: OfferEvent) -> Rejected:
    detail = f"an offer with {event.journey}_id belongs on the topic of {event.journey} events"
    return Rejected("wrong_topic", detail, f"data.{event.journey}_id", TYPE_NAMES[event.journey, event.type])


def decode_line(line: bytes, *, strict: bool = False) -> Event | Rejected:
    """Return the event in a line of JSON Lines. All types and all times are accepted. With `strict`, unknown fields are not."""
    event = _decode(line, (), None)
    if strict and not isinstance(event, Rejected):
        return _with_unknown_fields(line) or event
    return event


def _with_unknown_fields(line: bytes) -> Rejected | None:
    """The rejection of a valid event that has unknown fields: the first one, and some of the others."""
    try:
        sent = _JSON.decode(line.decode())
    except RecursionError:
        return Rejected("not_json", "nested too deeply")
    event_type = EVENT_TYPES[sent["type"]]
    unknown = list(unknown_fields(event_type.model, sent))
    if not unknown:
        return None
    first, *others = unknown
    detail = f"unknown field: did you mean {first.meant}?" if first.meant else "unknown field"
    if others:
        named = ", ".join(other.path + (f" ({other.meant}?)" if other.meant else "") for other in others[:_NAMED])
        more = f" and {len(others) - _NAMED} more" if len(others) > _NAMED else ""
        detail = f"{detail} (also unknown: {named}{more})"
    return Rejected("invalid", detail, first.path, event_type.name)


_HOUR = 3_600_000_000
_NEARLY = 120_000_000
"""Difference from a whole number of hours, microseconds."""
_MOST_HOURS = 14
"""No time zone is further ahead of UTC."""
_NAMED = 5
"""Further unknown fields that a rejection names."""
_NO_KEY = "the record has no key, and require_key is on: send the customer_id as key, else the anonymous_id, else the checkout_id"


def _decode(value: bytes | None, headers: Headers, journey: Journey | None) -> Event | Rejected:
    """`journey`: accept only its types; None accepts all."""
    if not value:
        return Rejected("empty", "the record has no value")
    if len(value) > LARGEST_RECORD:
        return Rejected("too_large", f"{len(value)} bytes; at most {LARGEST_RECORD} are allowed")
    try:
        return _decode_fast(value, headers, journey)
    except (ValueError, RecursionError):  # msgspec's errors and UnicodeDecodeError are ValueErrors
        return _decode_exactly(value, headers, journey)


# --- the fast path


class _Unsure(ValueError):  # noqa: N818 - not an error: the exact path decides
    """The fast path leaves this record to the exact path."""


class _Reader(NamedTuple):
    """How the fast path decodes the data of one type."""

    event_type: EventType
    decode: Callable[[bytes], Any]
    make: Callable[[Any, Any, Any], Event]


def _decode_fast(value: bytes, headers: Headers, journey: Journey | None) -> Event:
    """The event, if the record is in order.

    Raises:
        ValueError, RecursionError: use the exact path.
    """
    if not value.isascii():
        value.decode()  # msgspec skips unknown fields without checking that they are UTF-8
    attributes = _attributes(headers) if headers else None
    if attributes is None:
        envelope = _decode_envelope(value)
        value = envelope.data
    else:
        envelope = msgspec.convert(attributes, _Attributes)
    reader = _READERS.get(envelope.type)
    if reader is None or (journey is not None and journey not in reader.event_type.journeys):
        raise _Unsure
    if "\0" in envelope.id or "\0" in envelope.source:  # as `check_name`, without two calls
        raise _Unsure
    return reader.make(reader.event_type.kind, envelope, reader.decode(value))


# --- the exact path


def _decode_exactly(value: bytes, headers: Headers, journey: Journey | None) -> Event | Rejected:
    """The event, or the message that says what is wrong."""
    names = [name for name, _ in headers]
    try:
        attributes = _attributes(headers)
    except UnicodeDecodeError:
        wrong = next(name for name, value in headers if name.startswith("ce_") and not _is_utf8(value or b""))
        return Rejected("not_cloudevent", f"the header {_quoted(wrong)} is not UTF-8")
    try:
        event = _JSON.decode(value.decode())
    except UnicodeDecodeError as error:
        return Rejected("not_json", recognise(value, names) or f"not UTF-8: byte {error.start} is wrong")
    except RecursionError:
        return Rejected("not_json", "nested too deeply")
    except ValueError as error:
        return Rejected("not_json", recognise(value, names) or str(error))
    if attributes is not None:
        event = attributes | {"data": event}
    given = Given(event, names, binary=attributes is not None)
    try:
        name = Identity.model_validate(event).type
    except ValidationError as error:
        return _rejected("not_cloudevent", error, given, Identity)
    event_type = EVENT_TYPES.get(name)
    if event_type is None:
        return Rejected("unknown_type", f"{_quoted(name)} is no type of this version{type_hint(name)}", "type")
    if journey is not None and journey not in event_type.journeys:
        detail = f"{name} belongs on the topic of {' and '.join(event_type.journeys)} events"
        return Rejected("wrong_topic", detail, "type", name)
    try:
        envelope = event_type.model.model_validate(event)
    except ValidationError as error:
        return _rejected("invalid", error, given, event_type.model, name)
    return _MAKE[type(event_type.kind)](event_type.kind, envelope, envelope.data)


def _rejected(
    reason: Reason, error: ValidationError, given: Given, model: type[CloudEvent | Identity], name: str | None = None
) -> Rejected:
    """The first error in the order of the model's fields, what was probably meant, and the number of further errors."""
    errors = error.errors(include_url=False)
    first = errors[0]
    detail = first["msg"]
    value = first["input"]
    if value is None or isinstance(value, str | int | float):
        detail = f"{detail}, not {_quoted(value)}"
    kind = first["type"]
    if not first["loc"]:
        detail += envelope_hint(given)
    elif kind in {"missing", "object", "unidentified", "no_entity"}:
        detail += field_hint(kind, first["loc"], given, model)
    if len(errors) > 1:
        detail = f"{detail} (and {len(errors) - 1} more)"
    path = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in first["loc"])
    return Rejected(reason, detail, path.removeprefix("."), name)


def _quoted(value: str | float | None) -> str:
    text = repr(value[:_QUOTED] if isinstance(value, str) else value)
    return text if len(text) <= _QUOTED else f"{text[: _QUOTED - 1]}…"


def _is_utf8(value: bytes) -> bool:
    try:
        value.decode()
    except UnicodeDecodeError:
        return False
    return True


def _integer(digits: str) -> int | float:
    # No field allows so many digits, and Python raises if there are thousands.
    return int(digits) if len(digits) <= _LONGEST_INTEGER else math.inf


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")


_QUOTED = 80
_LONGEST_INTEGER = 40
_JSON = json.JSONDecoder(parse_int=_integer, parse_constant=_no_constant)

# --- both paths: headers


def _attributes(headers: Headers) -> dict[str, str] | None:
    """The attributes of a CloudEvent in binary mode (headers `ce_…`); None in structured mode.

    Raises:
        UnicodeDecodeError: an attribute is not UTF-8.
    """
    attributes: dict[str, str] = {}
    for name, value in headers:
        if value is None:
            continue
        if name.startswith("ce_"):
            attributes[name[3:]] = value.decode()
        elif value.startswith(_STRUCTURED) and name.lower() == "content-type":
            return None
    return attributes or None


_STRUCTURED = b"application/cloudevents"

# --- both paths: the core's event from an envelope and its data, which are models or the structs made from them. A struct may hold values that
# its model refuses; then these functions raise ValueError.


def _checkout_event(kind: CheckoutType, envelope: CloudEvent, data: CheckoutData) -> CheckoutEvent:
    entity = data.checkout_id
    if envelope.subject != f"checkout/{entity}":
        raise _Unsure
    intent = data.intent
    currency = parse_currency(data.currency)
    # Positional arguments, in the order of the struct: keyword arguments cost one microsecond more.
    return CheckoutEvent(
        kind,
        envelope.source,
        envelope.id,
        parse_time(envelope.time),
        0 if envelope.entityversion is None else parse_version(envelope.entityversion),
        entity,
        data.customer_id or data.anonymous_id or entity,
        currency,
        _lines(data.products, currency),
        None if intent is None else _lines(intent.products, currency),
        _refund(cast("RefundedData", data).refund, currency) if kind is CheckoutType.REFUNDED else None,
        data.channel or None,
        data.segment or None,
        True if envelope.livemode is None else parse_flag(envelope.livemode),
        data.order_id or None if kind >= CheckoutType.COMPLETED else None,
    )


def _subscription_event(kind: SubscriptionType, envelope: CloudEvent, data: SubscriptionData) -> SubscriptionEvent:
    entity = data.subscription_id
    if envelope.subject != f"subscription/{entity}":
        raise _Unsure
    previous, intent = data.previous, data.intent
    currency = parse_currency(data.currency)
    return SubscriptionEvent(
        type=kind,
        source=envelope.source,
        id=envelope.id,
        time=parse_time(envelope.time),
        version=0 if envelope.entityversion is None else parse_version(envelope.entityversion),
        entity=entity,
        customer=data.customer_id,
        currency=currency,
        items=None if data.items is None else _items(data.items, currency),
        previous=None if previous is None else _items(previous.items, currency),
        intent=None if intent is None else _items(intent.items, currency),
        trialing=data.status == "trialing",
        channel=data.channel or None,
        segment=data.segment or None,
        livemode=True if envelope.livemode is None else parse_flag(envelope.livemode),
        in_checkout=kind is SubscriptionType.CREATED and bool(cast("CreatedData", data).checkout_id),
        refund=_share(cast("PaymentRefundedData", data).refund) if kind is SubscriptionType.REFUNDED else None,
    )


def _offer_event(kind: OfferType, envelope: CloudEvent, data: OfferData) -> OfferEvent:
    entity = data.checkout_id or data.subscription_id
    if not entity or (data.checkout_id and data.subscription_id):
        raise _Unsure
    journey: Journey = "checkout" if data.checkout_id else "subscription"
    if envelope.subject != f"{journey}/{entity}":
        raise _Unsure
    return OfferEvent(
        journey,
        entity,
        kind is OfferType.SHOWN,
        data.offer_id,
        data.slot or None,
        parse_time(envelope.time),
        0 if envelope.entityversion is None else parse_version(envelope.entityversion),
        envelope.id,
        envelope.source,
        True if envelope.livemode is None else parse_flag(envelope.livemode),
    )


def _erased_event(_: CustomerType, envelope: CloudEvent, data: ErasedData) -> ErasedEvent:
    if envelope.subject != f"customer/{data.customer_id}":
        raise _Unsure
    if envelope.entityversion is not None:
        parse_version(envelope.entityversion)
    return ErasedEvent(
        source=envelope.source,
        id=envelope.id,
        time=parse_time(envelope.time),
        customer=data.customer_id,
        livemode=True if envelope.livemode is None else parse_flag(envelope.livemode),
    )


def _refund(refund: models.Refund, currency: str) -> Refund:
    products = None if refund.products is None else _lines(refund.products, currency)
    # Where products are named the amount is not used, also where all of them have quantity 0.
    amount = check_money(refund.amount) if refund.amount else None
    return Refund(refund.refund_id, products, None if refund.products else amount)


def _share(refund: models.PaymentRefund | None) -> Share | None:
    if refund is None:
        return None
    if refund.amount not in (None, ""):
        raise _Unsure
    return Share(refund.refund_id or None, check_share(refund.share) if refund.share else "1")


def _lines(lines: list[ProductLine] | list[msgspec.Raw] | None, currency: str) -> tuple[Line, ...]:
    if not lines:
        return ()
    # A line with quantity 0 is dropped, but must be valid.
    if isinstance(lines[0], ProductLine):
        made = [_line(line) for line in lines]
    else:
        made = [
            _cached_line(data) if len(data) <= _LONGEST_CACHED_LINE else _line(_decode_line(data))
            for data in map(bytes, lines)
        ]
    kept, total = [], 0
    for line, listed in made:
        total += listed
        if line.quantity:
            kept.append(line)
    check_total(total, currency)
    return tuple(kept)


@lru_cache(maxsize=16_384)  # about the products of a shop; each event of a checkout repeats the lines of its cart
def _cached_line(data: bytes) -> tuple[Line, int]:
    return _line(_decode_line(data))


_LONGEST_CACHED_LINE = 1024
"""Bytes. Longer lines are not cached: an event could fill the memory with them."""


def _line(line: ProductLine) -> tuple[Line, int]:
    """The line, and price x quantity as an exact amount."""
    if not (line.sku or line.variant_id or line.product_id):
        raise _Unsure
    price, quantity = check_money(line.price), line.quantity
    made = Line(
        line.sku or None,
        line.variant_id or None,
        line.product_id or None,
        line.category or None,
        quantity if type(quantity) is int and 0 <= quantity <= MOST_UNITS else parse_quantity(quantity),
        price,
        check_money(line.discount) if line.discount else "0",
        parse_replaces(line.replaces) if line.replaces else None,
        line.offer_id or None,
    )
    return made, list_total(price, made.quantity)


def _items(items: list[models.Item], currency: str) -> tuple[Item, ...]:
    made = [_item(item) for item in items]
    check_items(items, currency)
    return tuple([item for item in made if item.quantity])


def _item(item: models.Item) -> Item:
    return Item(
        plan_id=item.plan_id,
        product_id=item.product_id,
        base=None if item.role is None else item.role == "base",
        category=item.category or None,
        quantity=item.quantity,
        price=check_money(item.price),
        interval=item.interval,
        interval_count=item.interval_count or 1,
        offer_id=item.offer_id or None,
    )


_MAKE: Mapping[type, Callable[[Any, Any, Any], Event]] = {
    CheckoutType: _checkout_event,
    SubscriptionType: _subscription_event,
    OfferType: _offer_event,
    CustomerType: _erased_event,
}

# --- decoders of the fast path

_ENVELOPE = {name: field for name, field in CloudEvent.model_fields.items() if name != "data"}
_Attributes = make_struct("Attributes", _ENVELOPE)
_decode_envelope = msgspec.json.Decoder(make_struct("Envelope", _ENVELOPE, data=msgspec.Raw)).decode
_decode_line: Callable[[bytes], ProductLine] = msgspec.json.Decoder(struct_for(ProductLine)).decode
_READERS = {
    name: _Reader(
        event_type,
        msgspec.json.Decoder(struct_for(cast("Any", event_type.model.model_fields["data"].annotation))).decode,
        _MAKE[type(event_type.kind)],
    )
    for name, event_type in EVENT_TYPES.items()
}
