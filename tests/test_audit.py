"""The audit of the locks finds what it should find, and reports what it could not check."""

import hashlib
import importlib.util
import json
import os
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

LOCKS = Path(__file__).parents[1] / "locks"


@pytest.fixture(scope="module")
def audit():
    spec = importlib.util.spec_from_file_location("audit", LOCKS / "audit.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


HASH = " \\\n    --hash=sha256:" + "0" * 64


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (f"a==1{HASH}\n    # via b\n", []),
        (f"a==1 ; sys_platform == 'linux'{HASH}{HASH}\n", []),
        ("a==1\n", ["x.txt: a==1 has no hash"]),
        (f"a>=1{HASH}\n", ["x.txt: 'a>=1' is not pinned"]),
        ("-e .\n", ["x.txt: '-e' is not pinned"]),
        ("--find-links=there\n", ["x.txt: '--find-links=there' is not pinned"]),
        (f"a @ https://host/a.whl{HASH}\n", ["x.txt: 'a' is not pinned"]),
    ],
)
def test_what_is_not_pinned_by_hash_is_found(audit, tmp_path, text, says):
    lock = tmp_path / "x.txt"
    lock.write_text(text)
    assert list(audit.unpinned(lock)) == says


def test_contradicting_locks_are_found(audit, tmp_path):
    project = tmp_path / "pyproject.toml"
    project.write_text(
        '[project]\nname="p"\ndependencies=["a>=2"]\n[project.optional-dependencies]\ndemo=["b"]\ndatasets=[]\ndev=["p[demo]","c"]\n'
    )
    for name, text in {"core": "a==1\n", "demo": "a==1\nb==1\n", "dev": "a==2\nb==1\n"}.items():
        (tmp_path / f"{name}.txt").write_text(text)
    assert list(audit.disagreeing(project, tmp_path)) == [
        "core.txt: has a 1, pyproject.toml wants a>=2",
        "dev.txt: has c None, pyproject.toml wants c",
        "dev.txt: has a 2, a smaller lock 1",
    ]


@pytest.mark.parametrize(
    ("licence", "allowed"),
    [
        ("MIT", True),
        ("Apache-2.0 AND MIT", True),
        ("GPL-3.0-only OR BSD-3-Clause", True),
        ("MIT AND GPL-3.0-only", False),
        ("AGPL-3.0", False),
        ("", False),
    ],
)
def test_licences(audit, licence, allowed):
    assert audit._is_allowed(licence) is allowed


def test_our_locks_hold_offline(audit):
    """The checks that need no index; `make audit` does all."""
    locks = sorted(LOCKS.glob("*.txt"))
    assert not [line for lock in locks for line in audit.unpinned(lock)]
    assert not list(audit.disagreeing(LOCKS.parent / "pyproject.toml", LOCKS))
    assert not list(audit.unlicensed(audit.pins(LOCKS / "dev.txt")))


@pytest.fixture
def index():
    """An index that has advisories for some packages."""
    known = {
        "/good/1/json": [],
        "/bad/1/json": [{"id": "PYSEC-1", "aliases": ["CVE-1"], "fixed_in": ["2"], "withdrawn": None}],
        "/mistaken/1/json": [{"id": "PYSEC-2", "aliases": [], "fixed_in": [], "withdrawn": "2026-01-01T00:00:00Z"}],
    }

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self):
            found = self.path in known
            self.send_response(200 if found else 404)
            self.end_headers()
            if found:
                self.wfile.write(json.dumps({"vulnerabilities": known[self.path]}).encode())

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_a_known_vulnerability_is_found(audit, index):
    found, answered = audit.advisories(index, {"good": "1", "bad": "1", "mistaken": "1", "unknown": "1"})
    assert found == ["bad==1: PYSEC-1, fixed in 2"]
    assert answered == 3


@pytest.fixture
def wheel(tmp_path):
    """A release of `a`, to put into an index."""
    file = tmp_path / "a-1-py3-none-any.whl"
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("a-1.dist-info/METADATA", "Metadata-Version: 2.1\nName: a\nVersion: 1\n")
        archive.writestr("a-1.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr("a-1.dist-info/RECORD", "")
    return file


@pytest.mark.parametrize(
    ("yanked", "digest", "says"),
    [
        ("", None, []),
        ('data-yanked="it was broken"', None, ["a==1: was withdrawn (yanked)"]),
        ("", "0" * 64, ["DO NOT MATCH"]),
    ],
)
def test_what_was_withdrawn_or_changed_is_found(audit, wheel, monkeypatch, yanked, digest, says):
    page = wheel.parent / "simple" / "a"
    page.mkdir(parents=True)
    (page / "index.html").write_text(
        f'<!DOCTYPE html><html><body><a href="{wheel.as_uri()}" {yanked}>{wheel.name}</a></body></html>'
    )
    monkeypatch.setenv("PIP_INDEX_URL", page.parent.as_uri())
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_FIND_LINKS", "")
    lock = wheel.parent / "x.txt"
    lock.write_text(f"a==1 --hash=sha256:{digest or hashlib.sha256(wheel.read_bytes()).hexdigest()}\n")
    found, unchecked = audit.withdrawn(lock)
    assert unchecked == []
    assert len(found) == len(says), found
    assert all(text in line for text, line in zip(says, found, strict=True))


def test_an_index_that_does_not_answer_is_reported_and_is_no_failure(audit, tmp_path, monkeypatch):
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_FIND_LINKS", "")
    lock = tmp_path / "x.txt"
    lock.write_text(f"a==1{HASH}\n")
    found, [unchecked] = audit.withdrawn(lock)
    assert found == []
    assert "no answer" in unchecked


def test_an_advisory_may_be_accepted_with_a_reason(audit, index, monkeypatch):
    monkeypatch.setattr(audit, "ACCEPTED", {"CVE-1": "we do not call it"})
    assert audit.advisories(index, {"bad": "1"}) == ([], 1)


def test_an_index_without_advisories_is_asked_only_a_few_times(audit, index):
    assert audit.advisories(index, {f"p{number}": "1" for number in range(100)}) == ([], 0)
    assert audit.advisories("http://127.0.0.1:9", {"bad": "1"}) == ([], 0)
