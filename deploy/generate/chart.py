"""Write the product's settings into the schema of the chart's values: `python -m deploy.generate.chart`. The rest of that file is written by hand.

Rules: a setting needs no change of the chart. Its name, type, limits and description come from `stream.settings`; the chart passes each value on as
an environment variable. Left out: secrets, which come only from files, and the settings that the chart sets itself.
"""

import json
from pathlib import Path
from typing import Any, Final

from stream.settings import Settings, is_secret

SCHEMA: Final = Path(__file__).parents[1] / "kubernetes" / "upsell-stream" / "values.schema.json"
SET_BY_THE_CHART: Final = frozenset({"http_host", "http_port", "kafka_partitions"})
NOT_FOR_A_DEPLOYMENT: Final = frozenset({"kafka_group_instance_id"})
"""Pods of a Deployment have no stable names, so there is no static membership."""
_WITHOUT_PASSWORD: Final = {
    "description": "Without a password: set files.redis_password_file.",
    "pattern": "^rediss?://([^:@/]*@)?[^@/]+(/.*)?$",
}
_UNUSED: Final = frozenset({"title", "default", "format"})


def files() -> list[str]:
    """Names of the settings that name a file."""
    return [name for name in Settings.model_fields if name.endswith("_file")]


def render(schema: dict[str, Any]) -> str:
    """The text of the file, with the current settings in this schema."""
    product = Settings.model_json_schema()
    settings = schema["properties"]["settings"]
    settings["properties"] = {
        name: _plain(field, product["$defs"])
        for name, field in product["properties"].items()
        if not is_secret(name) and name not in SET_BY_THE_CHART | NOT_FOR_A_DEPLOYMENT
    }
    settings["properties"]["redis_url"] |= _WITHOUT_PASSWORD
    for name in files():
        settings["properties"][name]["pattern"] = "^/"
    schema["properties"]["files"]["propertyNames"]["enum"] = files()
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


def _plain(field: Any, definitions: dict[str, Any]) -> Any:
    """A part of pydantic's schema, without its references and without null: Helm removes a value that is null."""
    if isinstance(field, list):
        return [_plain(part, definitions) for part in field]
    if not isinstance(field, dict):
        return field
    if "$ref" in field:
        return _plain(definitions[field["$ref"].rpartition("/")[2]], definitions)
    kinds = [kind for kind in field.get("anyOf", ()) if kind != {"type": "null"}]
    if len(kinds) == 1:
        field = {key: value for key, value in field.items() if key != "anyOf"} | kinds[0]
    properties = field.get("properties")
    return {
        key: {name: _plain(part, definitions) for name, part in properties.items()}
        if key == "properties" and properties
        else _plain(value, definitions)
        for key, value in field.items()
        if key not in _UNUSED
    }


def main() -> None:
    """Write the file."""
    schema = json.loads(SCHEMA.read_text(encoding="utf-8"))
    SCHEMA.write_text(render(schema), encoding="utf-8")


if __name__ == "__main__":
    main()
