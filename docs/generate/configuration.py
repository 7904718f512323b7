"""The table of settings, from the settings class."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from docs.generate.page import ROOT, table, with_sections
from stream.cli.options import default_of
from stream.settings import Settings, variable

PAGE: Final = ROOT / "docs/reference/configuration.md"


def files() -> dict[Path, str]:
    """The page with its current table."""
    settings = table(("setting", "variable", "default", "allowed", "meaning"), _rows())
    return {PAGE: with_sections(PAGE.read_text(encoding="utf-8"), {"settings": settings})}


def _rows() -> Iterator[tuple[str, ...]]:
    for name, schema in Settings.model_json_schema()["properties"].items():
        default = default_of(name)
        yield (
            f"`{name}`",
            f"`{variable(name)}`",
            f"`{default}`" if default else "",
            _allowed(schema),
            schema["description"],
        )


def _allowed(schema: Mapping[str, Any]) -> str:
    # An optional setting has the schema `X or null`.
    schema = next(iter(schema.get("anyOf", [schema])))
    if "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema["enum"])
    if "pattern" in schema:
        return f"`{schema['pattern']}`"
    match schema["type"], schema.get("format"):
        case "boolean", _:
            return "`true`, `false`"
        case "integer" | "number", _:
            return _range(schema)
        case "array", _:
            return "a list, separated by commas" if "type" in schema["items"] else "a list, as JSON"
        case _, "password":
            return "a secret: environment only"
        case _, "file-path":
            return "a file"
        case _, "uri":
            return "a URL"
    return "text"


def _range(schema: Mapping[str, Any]) -> str:
    kind = "integer" if schema["type"] == "integer" else "number"
    low = f"above {schema['exclusiveMinimum']}" if "exclusiveMinimum" in schema else f"from {schema['minimum']}"
    return f"{kind} {low}" + (f" to {schema['maximum']}" if "maximum" in schema else "")
