"""JSON Schemas (2020-12) of everything that comes in and goes out, made from the models: `python -m stream.events.schema DIRECTORY`.

Rules: a schema may refuse what is accepted all the same (a null or an empty string for an absent field), never the other way round where JSON Schema
can say it. What it cannot say (`subject` names the entity, the list of currencies) is in the descriptions.
"""

import json
import sys
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from stream.events.catalogue import EVENT_TYPES
from stream.events.outcome import OUTCOME_TYPE, OutcomeCloudEvent


class _Outgoing(GenerateJsonSchema):
    """Without a title for each field, which only repeats its name."""

    def field_title_should_be_set(self, schema: Any) -> bool:  # noqa: ARG002 - overrides
        return False


class _Incoming(_Outgoing):
    """Also without nulls: an absent field is best left out."""

    def nullable_schema(self, schema: core_schema.NullableSchema) -> JsonSchemaValue:
        return self.generate_inner(schema["schema"])

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> JsonSchemaValue:
        if schema.get("default", ...) is None:
            return self.generate_inner(schema["schema"])
        return super().default_schema(schema)


def schemas() -> dict[str, dict[str, Any]]:
    """File name -> JSON Schema, one for each type of event."""
    made = {
        f"{event_type.name}.schema.json": _schema(event_type.name, event_type.meaning, event_type.model, _Incoming)
        for event_type in EVENT_TYPES.values()
    }
    made[f"{OUTCOME_TYPE}.schema.json"] = _schema(
        OUTCOME_TYPE, OutcomeCloudEvent.__doc__ or "", OutcomeCloudEvent, _Outgoing
    )
    return made


def _schema(
    type_name: str, description: str, model: type[BaseModel], generator: type[GenerateJsonSchema]
) -> dict[str, Any]:
    schema = model.model_json_schema(schema_generator=generator)
    schema["properties"]["type"] = {"const": type_name}
    return {"$schema": GenerateJsonSchema.schema_dialect} | schema | {"title": type_name, "description": description}


def text(schema: dict[str, Any]) -> str:
    """A schema as its file has it."""
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


def main(directory: Path) -> None:
    """Write all schemas to the directory, and remove those that are no more."""
    made = schemas()
    directory.mkdir(parents=True, exist_ok=True)
    for old in directory.glob("*.schema.json"):
        if old.name not in made:
            old.unlink()
    for name, schema in made.items():
        (directory / name).write_text(text(schema), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
