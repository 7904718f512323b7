"""The table of alerts: severity, team and scope from the rules, the meaning from each alert's page."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from deploy.generate.rules import ALERTS
from docs.generate.page import ROOT, table, with_sections

FOLDER: Final = ROOT / "docs/runbooks"
PAGE: Final = FOLDER / "README.md"


def files() -> dict[Path, str]:
    """The page with its current table."""
    alerts = table(("alert", "severity", "about", "team", "means"), _rows())
    return {PAGE: with_sections(PAGE.read_text(encoding="utf-8"), {"alerts": alerts})}


def _rows() -> Iterator[tuple[str, ...]]:
    for name in dict.fromkeys(alert.name for alert in ALERTS):
        rules = [alert for alert in ALERTS if alert.name == name]
        severities = ", ".join(dict.fromkeys(rule.severity for rule in rules))
        yield f"[{name}]({name}.md)", severities, rules[0].scope, rules[0].team, _meaning(name)


def _meaning(name: str) -> str:
    """The first sentence of the page."""
    text = (FOLDER / f"{name}.md").read_text(encoding="utf-8")
    _, _, section = text.partition("## Meaning\n\n")
    return re.split(r"(?<=[.)])\s+(?=[A-Z])", " ".join(section.partition("\n\n")[0].split()))[0].rstrip(".")
