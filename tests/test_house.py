"""Rules of the repository that no linter checks."""

import re
import subprocess
import tomllib
from importlib.metadata import version
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

# Written so that they do not match this file.
RULES = {
    "a path of one machine": r"(?<![\w.~/$}])/(?:work|root)/|/tmp/bash[_]jobs",
    "the address of a package index": (
        r"--(?:extra-)?index[-]url|^(?:GOPROXY|PIP_INDEX_URL|UV_INDEX_URL)[=]"
        r"|registry = [\"']http|\"resolved\": [\"]http"
        r"|(?:pypi\.org/simple|files\.pythonhosted[.]org|registry\.npmjs[.]org|repo1?\.maven[.]|deb\.debian[.]org|proxy\.golang[.]org)"
    ),
    "an ignored rule without its reason": r"# (?:no[q]a: [A-Z]+[0-9]+(?:, [A-Z]+[0-9]+)*|type: ign[o]re\[[a-z, -]+\])$",
    "unfinished work": r"\b(?:TO[D]O|FIX[M]E|XX[X])\b|NotImplemented[E]rror|assert[ ]True$",
}


def tracked_files() -> list[Path]:
    listing = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True)
    return [ROOT / name for name in listing.stdout.split("\0") if name and (ROOT / name).is_file()]


@pytest.mark.parametrize(
    ("rule", "violation"),
    [
        ("a path of one machine", "see /wo" + "rk/main"),
        ("a path of one machine", "HOME=/ro" + "ot/"),
        ("the address of a package index", "# comment\n--index" + "-url elsewhere"),
        ("the address of a package index", "https://pypi." + "org/simple"),
        ("an ignored rule without its reason", "import there  # no" + "qa: E402, PLC0415"),
        ("an ignored rule without its reason", "call()  # type: ig" + "nore[no-untyped-call]"),
        ("unfinished work", "# TO" + "DO: later"),
        ("unfinished work", "raise NotImplemented" + "Error"),
    ],
)
def test_a_rule_finds_a_violation(rule, violation):
    assert re.search(RULES[rule], violation, re.MULTILINE)


@pytest.mark.parametrize("rule", RULES)
def test_no_tracked_file_has(rule):
    needle = re.compile(RULES[rule], re.MULTILINE)
    files = tracked_files()
    assert Path(__file__) in files
    found = []
    for path in files:
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue  # pictures and the like
        found += [
            f"{path.relative_to(ROOT)}:{text[: m.start()].count(chr(10)) + 1}: {m[0]}" for m in needle.finditer(text)
        ]
    assert not found, "\n".join(found)


DEFECT = "cannot be applied: {error!r}. This is a defect"
"""The one message that shows an exception as code: it is for those who correct the code."""


def test_no_message_for_people_shows_an_exception_as_code():
    """Such as `Retry('timeout: …')` or `UnknownError()`: `stream.kafka.errors.in_words` has the words of Kafka's."""
    shown = re.compile(r"log\.(?:info|warning|error|critical)\([^)]*%r|\{(?:error|reason|exc)!r\}")
    found = [
        f"{path.relative_to(ROOT)}: {match[0]}"
        for path in tracked_files()
        if path.is_relative_to(ROOT / "stream") and path.suffix == ".py"
        for match in shown.finditer(path.read_text(encoding="utf-8").replace(DEFECT, ""))
    ]
    assert not found, "\n".join(found)


VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]


@pytest.mark.parametrize(
    ("file", "pattern"),
    [
        ("Dockerfile", r"^ARG VERSION=(.+)$"),
        ("docker-compose.yml", r"^  image: upsell-stream:(.+)$"),
        ("deploy/kubernetes/upsell-stream/Chart.yaml", r"^appVersion: (.+)$"),
        ("CHANGELOG.md", r"^## \[(\d.+)\]"),  # the newest comes first
    ],
)
def test_the_version_is_that_of_pyproject(file, pattern):
    """These files cannot read it from there; the code asks `importlib.metadata`."""
    assert re.findall(pattern, (ROOT / file).read_text(encoding="utf-8"), re.MULTILINE)[0] == VERSION
    assert version("upsell-stream") == VERSION


def test_make_help_lists_every_target():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    listed = subprocess.run(["make"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    (phony,) = re.findall(r"^\.PHONY: (.+)$", makefile, re.MULTILINE)
    assert re.findall(r"^  make ([a-z]+) +\S", listed, re.MULTILINE) == phony.split()
