"""What probably went wrong with a record that was rejected, as the end of its message: a misspelt name, another convention, a wrapper.

Rules: a hint is computed only for what is rejected, and changes no reason and no path. It says what to send instead.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from pydantic import BaseModel

from stream.events.models import CloudEvent, Identity
from stream.events.names import REFUND, fields_of, known_version, looks_like_data, meant_by, model_at, nearest_types

Path = Sequence[str | int]

_ONE_OF: Final = {
    "unidentified": ("sku", "variant_id", "product_id"),
    "no_entity": ("checkout_id", "subscription_id"),
}
"""Fields of which one is missing, by the kind of the error."""
_NEVER_IN_DATA: Final = ("specversion", "time", "subject")
"""Attributes; others, such as `id`, may mean something else in data."""
_ATTRIBUTES: Final = "ce_id, ce_source, ce_specversion, ce_type, ce_time and ce_subject"
_has_prefix = re.compile(r"(ce|cloudevents)[-_.:]", re.IGNORECASE).match


class Given(NamedTuple):
    """A rejected record, as far as it could be read."""

    event: Any
    """Its JSON value; with the attributes of the headers in binary mode."""
    headers: Sequence[str]
    """The names of its headers."""
    binary: bool
    """Whether the attributes were headers."""


def type_hint(name: str) -> str:
    """For a type that is not known."""
    if known := known_version(name):
        return f", which knows {known}: upgrade upsell-stream, or send that"
    meant = nearest_types(name)
    return f": did you mean {' or '.join(meant)}?" if meant else ""


def envelope_hint(given: Given) -> str:
    """For a JSON value that is no CloudEvent."""
    event = given.event
    if isinstance(event, str):
        return _twice(event)
    if isinstance(event, list):
        return ", not a list: one record holds one event"
    if not isinstance(event, dict):
        return ""
    if prefixed := [name for name in given.headers if _has_prefix(name) and not name.startswith("ce_")]:
        return f", but there is the header {_quoted(prefixed[0])}: in Kafka the headers are {_ATTRIBUTES}"
    if event.keys() == {"schema", "payload"}:
        return ": this looks like JSON of Kafka Connect with its schema; set value.converter.schemas.enable=false"
    if looks_like_data(event):
        return f": these are the fields of data without an envelope; put them into data of a CloudEvent, or send the headers {_ATTRIBUTES}"
    return ""


def field_hint(kind: str, path: Path, given: Given, model: type[BaseModel]) -> str:
    """For a field that is missing or wrong. `kind`: the kind of the error, as pydantic names it; `model`: that of the event."""
    event, _, binary = given
    holder = path[:-1] if kind == "missing" else path
    found = _at(event, holder)
    if kind == "object" and isinstance(found, str):
        return _twice(found)
    wanted = (str(path[-1]),) if kind == "missing" else _ONE_OF.get(kind, ())
    if not wanted or not isinstance(found, dict):
        return ""
    if holder == ("data",) and wanted[0] == "refund" and (loose := [name for name in REFUND if name in found]):
        these = "it" if len(loose) == 1 else "them"
        return f", but {' and '.join(loose)} {'is' if these == 'it' else 'are'} in data: put {these} into refund: {{{', '.join(loose)}}}"
    part = CloudEvent if model is Identity else model_at(model, holder)
    prefix = "" if holder or not binary else "ce_"
    if part is not None and (pair := meant_by(found, wanted, fields_of(part))):
        return f", but there is {_quoted(prefix + pair[0])}: did you mean {prefix}{pair[1]}?"
    if not holder:
        data = found.get("data")
        if wanted[0] in _NEVER_IN_DATA and isinstance(data, dict) and wanted[0] in data and not binary:
            return ", but it is in data: put it beside data"
        return envelope_hint(given)
    if holder == ("data",) and wanted[0] in event and not binary:
        return ", but it is beside data: put it into data"
    if binary and "specversion" in found:
        return ": the value is a whole event although there are ce_ headers; remove those headers, or send only data"
    return ""


def _twice(text: str) -> str:
    return ": it is JSON in a JSON string, so it was serialised twice" if text.lstrip().startswith("{") else ""


def _at(event: Any, path: Path) -> Any:
    for part in path:
        if isinstance(event, Mapping) and part in event:
            event = event[str(part)]
        elif isinstance(event, list) and isinstance(part, int):
            event = event[part]
        else:
            return None
    return event


def _quoted(name: str) -> str:
    return ascii(name[:80])
