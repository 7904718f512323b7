"""The JSON Schemas of all events, from the models and structs."""

import json
from pathlib import Path
from typing import Final

from docs.generate.page import ROOT
from stream.events.schema import schemas, strict_schemas

FOLDER: Final = ROOT / "docs/events"
_SUFFIX: Final = ".schema.json"


def files() -> dict[Path, str]:
    """One file for each type of event, and one in `strict` for each type of input events."""
    made = {FOLDER / f"{name}{_SUFFIX}": schema for name, schema in schemas().items()}
    made |= {FOLDER / "strict" / f"{name}{_SUFFIX}": schema for name, schema in strict_schemas().items()}
    return {path: json.dumps(schema, indent=2, ensure_ascii=False) + "\n" for path, schema in made.items()}


def obsolete() -> list[Path]:
    """Files of types that no longer exist."""
    return sorted(set(FOLDER.glob(f"**/*{_SUFFIX}")) - files().keys())
