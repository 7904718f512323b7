"""The table in docs/reference/configuration.md, from the settings class: `python -m stream.cli.reference docs/reference/configuration.md` renews it.

Rules: what stands between the two marks is generated; the rest of the page is written by hand.
"""

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from stream.cli.options import default_of
from stream.settings import Settings, variable

_OPENING: Final = "<!-- settings -->\n"
_CLOSING: Final = "<!-- /settings -->\n"


def renewed(page: str) -> str:
    """The page with its table as it must be now.

    Raises:
        ValueError: a mark is missing.
    """
    before, opened, rest = page.partition(_OPENING)
    _, closed, after = rest.partition(_CLOSING)
    if not opened or not closed:
        raise ValueError("the page has no place for the settings")
    return f"{before}{_OPENING}{''.join(_table())}{_CLOSING}{after}"


def _table() -> Iterator[str]:
    yield "| setting | variable | default | allowed | meaning |\n| --- | --- | --- | --- | --- |\n"
    for name, schema in Settings.model_json_schema()["properties"].items():
        default = default_of(name)
        cells = (
            f"`{name}`",
            f"`{variable(name)}`",
            f"`{default}`" if default else "",
            _allowed(schema),
            schema["description"],
        )
        yield f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |\n"


def _allowed(schema: Mapping[str, Any]) -> str:
    # What may be absent is `X or null`.
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
            return "a list; with commas" if "type" in schema["items"] else "a list; as JSON"
        case _, "password":
            return "a secret: variable only"
        case _, "file-path":
            return "a file"
        case _, "uri":
            return "a URL"
    return "text"


def _range(schema: Mapping[str, Any]) -> str:
    whole = "whole, " if schema["type"] == "integer" else ""
    low = f"above {schema['exclusiveMinimum']}" if "exclusiveMinimum" in schema else f"from {schema['minimum']}"
    return f"{whole}{low}" + (f" to {schema['maximum']}" if "maximum" in schema else "")


if __name__ == "__main__":
    path = Path(sys.argv[1])
    path.write_text(renewed(path.read_text(encoding="utf-8")), encoding="utf-8")
