"""The version before the rules were revised, which stores layout 1: its code, as git has it."""

import os
import subprocess
import sys
import tarfile
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

import pytest

COMMIT = "dbbe7fcc631df643c69ce6d567baa9b48cb363a1"
_ROOT = Path(__file__).parents[2]


def extract(directory: Path) -> Path:
    """Write the code of that version into a directory, and return the directory: the `PYTHONPATH` under which it runs."""
    archive = subprocess.run(["git", "archive", COMMIT, "stream"], cwd=_ROOT, capture_output=True, check=False)
    if archive.returncode:
        pytest.skip(f"the history of {COMMIT[:7]} is missing: git fetch --unshallow")
    with tarfile.open(fileobj=BytesIO(archive.stdout)) as files:
        files.extractall(directory, filter="data")
    return directory


def run(code: Path, arguments: Sequence[str], *, stdin: bytes = b"") -> str:
    """Run Python with that version's code, and return what it prints. Its standard error is shown where it fails."""
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(code)}
    ended = subprocess.run(
        [sys.executable, *arguments], cwd=code, env=environment, input=stdin, capture_output=True, check=False
    )
    assert ended.returncode == 0, ended.stderr.decode()
    return ended.stdout.decode()
