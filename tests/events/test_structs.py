"""Structs have the types and bounds of the models."""

from typing import Annotated, Literal

import msgspec
import pytest
from pydantic import BaseModel, Field

from stream.events.fields import Sent
from stream.events.structs import struct_for


class Inner(BaseModel):
    name: Annotated[str, Field(min_length=1, max_length=2)]


class Outer(BaseModel):
    inner: Inner | None = None
    many: Annotated[list[Inner], Field(max_length=1)]
    number: Annotated[int, Field(ge=0, le=2)] | None = None
    flag: Annotated[bool, Sent(bool | str)]
    choice: Literal["a", "b"] = "a"


RIGHT = {"inner": {"name": "n"}, "many": [{"name": "mm"}], "number": 2, "flag": "x", "choice": "b", "unknown": 1}


def decoded(**changes):
    return msgspec.json.decode(msgspec.json.encode(RIGHT | changes), type=struct_for(Outer))


def test_fields_types_and_defaults():
    made = decoded()
    assert (made.inner.name, made.many[0].name, made.number, made.flag, made.choice) == ("n", "mm", 2, "x", "b")
    made = msgspec.json.decode(b'{"many":[],"flag":true}', type=struct_for(Outer))
    assert (made.inner, made.many, made.number, made.flag, made.choice) == (None, [], None, True, "a")


@pytest.mark.parametrize(
    "wrong",
    [
        {"inner": {"name": ""}},
        {"inner": {"name": "nnn"}},
        {"inner": {}},
        {"many": [{"name": "m"}] * 2},
        {"many": None},
        {"number": -1},
        {"number": 3},
        {"number": 1.0},
        {"flag": 1},
        {"choice": "c"},
    ],
)
def test_bounds(wrong):
    with pytest.raises(msgspec.ValidationError):
        decoded(**wrong)


def test_a_type_without_translation_is_an_error():
    class Untranslated(BaseModel):
        field: dict[str, str]

    with pytest.raises(TypeError, match="no struct field for dict"):
        struct_for(Untranslated)
