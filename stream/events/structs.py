"""msgspec structs made from the pydantic models: the same fields, types and bounds, decoded many times faster.

Rules: a struct has the types and bounds of a model's fields, but not the validators, so it may accept more. The caller must apply the functions
of `stream.events.fields`. Product lines stay bytes: they repeat, and `stream.events.decode` caches them. A field type without a translation is an
error at import.
"""

from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import annotated_types
import msgspec
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from stream.events.fields import Sent
from stream.events.models import ProductLine

_BOUNDS = {
    annotated_types.MinLen: "min_length",
    annotated_types.MaxLen: "max_length",
    annotated_types.Ge: "ge",
    annotated_types.Le: "le",
}


@cache
def struct_for(model: Any) -> Any:
    """A struct class with the fields of the model.

    Raises:
        TypeError: a field's type has no translation.
    """
    return make_struct(model.__name__, model.model_fields)


def make_struct(name: str, fields: Mapping[str, FieldInfo], **more: Any) -> Any:
    """A struct class with these fields of a model, and with `more` required fields by name and type.

    Raises:
        TypeError: a field's type has no translation.
    """
    defined: list[tuple[str, Any] | tuple[str, Any, Any]] = list(more.items())
    for field_name, field in fields.items():
        field_type = _translate(field.annotation, field.metadata)
        defined.append((field_name, field_type) if field.is_required() else (field_name, field_type, field.default))
    return msgspec.defstruct(name, defined, kw_only=True, gc=False)


def _translate(annotation: Any, metadata: Iterable[Any]) -> Any:
    metadata = tuple(_flat(metadata))
    for mark in metadata:
        if isinstance(mark, Sent):
            return mark.type
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _translate(arguments[0], (*arguments[1:], *metadata))
    if origin in (Union, UnionType):
        return Union[tuple(_translate(argument, ()) for argument in arguments)]  # noqa: UP007 - a tuple of types
    if origin is list:
        annotation = list[msgspec.Raw if arguments[0] is ProductLine else _translate(arguments[0], ())]  # type: ignore[misc]  # at run time
    elif isinstance(annotation, type) and issubclass(annotation, BaseModel):
        annotation = struct_for(annotation)
    elif origin is not Literal and annotation not in (str, int, NoneType):
        raise TypeError(f"no struct field for {annotation!r}")
    bounds = {_BOUNDS[type(mark)]: getattr(mark, _BOUNDS[type(mark)]) for mark in metadata if type(mark) in _BOUNDS}
    return Annotated[annotation, msgspec.Meta(**bounds)] if bounds else annotation


def _flat(metadata: Iterable[Any]) -> Iterator[Any]:
    for mark in metadata:
        if isinstance(mark, FieldInfo):
            yield from _flat(mark.metadata)
        else:
            yield mark
