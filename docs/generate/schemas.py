"""The JSON Schemas of all events, from the models and structs."""

import json
from pathlib import Path
from typing import Final

from docs.generate.page import ROOT
from stream.events.schema import schemas

FOLDER: Final = ROOT / "docs/events"
_SUFFIX: Final = ".schema.json"


def files() -> dict[Path, str]:
    """One file for each type of event."""
    return {
        FOLDER / f"{name}{_SUFFIX}": json.dumps(schema, indent=2, ensure_ascii=False) + "\n"
        for name, schema in schemas().items()
    }


def obsolete() -> list[Path]:
    """Files of types that no longer exist."""
    return sorted(set(FOLDER.glob(f"*{_SUFFIX}")) - files().keys())
