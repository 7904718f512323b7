"""Print the software bill of materials of an image (CycloneDX 1.6 JSON): run `python sbom.py` with the Python whose packages it must list.

Rules: it lists what is installed: the distributions on this Python's path, and the Debian packages of the system. It uses only the standard library.
The same input gives the same bytes, so there is no time stamp and no serial number.
"""

import json
import sys
from collections.abc import Iterator
from email.parser import HeaderParser
from importlib.metadata import PackageMetadata, distributions
from pathlib import Path
from urllib.parse import quote

DPKG_STATUS = Path("/var/lib/dpkg/status")
PRODUCT = "upsell-stream"


def components(status: Path = DPKG_STATUS) -> Iterator[dict[str, object]]:
    """Every component: Python distributions first, then Debian packages, if the system has dpkg."""
    for metadata in sorted((found.metadata for found in distributions()), key=lambda one: one["Name"].lower()):
        yield _python(metadata)
    if status.exists():
        yield from _debian(status.read_text(encoding="utf-8"))


def _python(metadata: PackageMetadata) -> dict[str, object]:
    name, version = metadata["Name"], metadata["Version"]
    purl = f"pkg:pypi/{quote(name.lower().replace('_', '-'))}@{quote(version)}"
    component: dict[str, object] = {"type": "library", "bom-ref": purl, "name": name, "version": version, "purl": purl}
    if "License-Expression" in metadata:
        component["licenses"] = [{"expression": metadata["License-Expression"]}]
    elif (
        "License" in metadata and "\n" not in metadata["License"]
    ):  # some packages put the whole text of the licence there
        component["licenses"] = [{"license": {"name": metadata["License"]}}]
    return component


def _debian(status: str) -> Iterator[dict[str, object]]:
    for paragraph in status.split("\n\n"):
        package = HeaderParser().parsestr(paragraph)
        if package["Status"] != "install ok installed":
            continue
        name, version, architecture = package["Package"], package["Version"], package["Architecture"]
        purl = f"pkg:deb/debian/{quote(name)}@{quote(version, safe='')}?arch={architecture}"
        yield {"type": "library", "bom-ref": purl, "name": name, "version": version, "purl": purl}


def document(status: Path = DPKG_STATUS) -> dict[str, object]:
    """The whole document. Its subject is upsell-stream itself."""
    everything = list(components(status))
    product = next((one for one in everything if one["name"] == PRODUCT), None)
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        **({"metadata": {"component": {**product, "type": "application"}}} if product else {}),
        "components": [one for one in everything if one is not product],
    }


if __name__ == "__main__":
    json.dump(document(), sys.stdout, indent=1, ensure_ascii=False)
    sys.stdout.write("\n")
