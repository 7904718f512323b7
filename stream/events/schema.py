"""JSON Schemas (2020-12) of all input events and of the outcome, made from the models and structs.

Rules: a schema accepts what a worker accepts, with nulls and empty strings for absent fields. It refuses what a worker refuses, as far as JSON Schema
can express it; docs/how-to/check-events.md lists the rest. A strict schema refuses unknown fields as well, like `classify --strict`: a worker ignores
them.
"""

import ast
from inspect import getsource
from itertools import pairwise
from typing import Any

import msgspec
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from stream.core.event import CheckoutType, CustomerType, OfferType, SubscriptionType
from stream.core.result import Judged, JudgedLine, Reversed, ReversedAmounts
from stream.events.catalogue import EVENT_TYPES, EventType
from stream.events.names import CLOUDEVENTS_ATTRIBUTES
from stream.events.outcome import OUTCOME_TYPE, OutcomeEvent


class _InputSchema(GenerateJsonSchema):
    """A null or an empty string for an absent field, and no titles of fields, which would only repeat their names."""

    def field_title_should_be_set(self, schema: object) -> bool:  # noqa: ARG002 - overrides
        return False

    def nullable_schema(self, schema: core_schema.NullableSchema) -> JsonSchemaValue:
        return self.generate_inner(schema["schema"])

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> JsonSchemaValue:
        if schema.get("default", ...) is None:
            return _or_absent(self.generate_inner(schema["schema"]))
        return super().default_schema(schema)


def _or_absent(schema: JsonSchemaValue) -> JsonSchemaValue:
    """The schema of an optional field."""
    if schema.get("enum") == _ABSENT:
        return schema
    if schema.get("type") == "string" and not {"pattern", "minLength", "enum"} & schema.keys():
        return schema | {"type": ["string", "null"]}
    if "anyOf" in schema:
        return schema | {"anyOf": [*schema["anyOf"], {"enum": _ABSENT}]}
    return {"anyOf": [schema, {"enum": _ABSENT}]}


_ABSENT = [None, ""]


def schemas() -> dict[str, dict[str, Any]]:
    """Name of an event type -> its JSON Schema."""
    return {name: _input_schema(event_type) for name, event_type in EVENT_TYPES.items()} | {
        OUTCOME_TYPE: _outcome_schema()
    }


def strict_schemas() -> dict[str, dict[str, Any]]:
    """Name of a type of input events -> the JSON Schema that also refuses unknown fields."""
    return {name: _strict(_input_schema(event_type)) for name, event_type in EVENT_TYPES.items()}


def _strict(schema: dict[str, Any]) -> dict[str, Any]:
    schema["properties"] |= {
        name: {"description": _UNUSED, "type": ["string", "null"]} for name in CLOUDEVENTS_ATTRIBUTES
    }
    for defined in (schema, *schema["$defs"].values()):
        defined["additionalProperties"] = False
    schema["description"] += " Unknown fields are refused."
    return schema


_UNUSED = "An attribute of CloudEvents that is not used."


_SUBJECTS = {
    CheckoutType: "^checkout/",
    SubscriptionType: "^subscription/",
    OfferType: "^(checkout|subscription)/",
    CustomerType: "^customer/",
}
"""How `subject` begins. That the id after it is the one in `data` cannot be expressed."""


def _input_schema(event_type: EventType) -> dict[str, Any]:
    schema = event_type.model.model_json_schema(schema_generator=_InputSchema)
    schema["properties"]["type"] = {"const": event_type.name}
    schema["properties"]["subject"]["pattern"] = _SUBJECTS[type(event_type.kind)]
    return _titled(schema, event_type.name, event_type.meaning)


def _outcome_schema() -> dict[str, Any]:
    published = (OutcomeEvent, Judged, JudgedLine, Reversed, ReversedAmounts)
    _, definitions = msgspec.json.schema_components(published, ref_template="#/$defs/{name}")
    for each in published:
        definition = definitions[each.__name__]
        definition["additionalProperties"] = False
        definition["required"] = list(definition["properties"])  # nothing is left out of an outcome, defaults neither
        for name, text in _field_docstrings(each).items():
            definition["properties"][name]["description"] = text
    schema = definitions.pop(OutcomeEvent.__name__)
    return _titled({"$defs": definitions, **schema}, OUTCOME_TYPE, schema["description"])


def _titled(schema: dict[str, Any], title: str, description: str) -> dict[str, Any]:
    return {"$schema": GenerateJsonSchema.schema_dialect} | schema | {"title": title, "description": description}


def _field_docstrings(defined: type) -> dict[str, str]:
    """The docstrings below the fields of a class, by field."""
    [definition] = ast.parse(getsource(defined)).body
    assert isinstance(definition, ast.ClassDef)
    found = {}
    for field, docstring in pairwise(definition.body):
        match field, docstring:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text))):
                found[name] = text
    return found
