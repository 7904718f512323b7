"""Helm, built by Go from its module, because no package of Debian or Python has it.

It is kept in the user's cache and built once, in about five minutes. To build it before the tests: `PYTHONPATH=tests python -m support.helm`.
"""

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from support.downloads import cache_directory, fetched_once

VERSION = "4.3.1"
_NAME = f"helm-{VERSION}"


class HelmUnavailableError(RuntimeError):
    """Helm is not there and cannot be built. The message says why."""


def cached() -> Path | None:
    """Return Helm, or None if it is not built yet."""
    helm = cache_directory(_NAME) / "helm"
    return helm if helm.is_file() else None


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run Helm. If it is not built, skip the test and say how to build it."""
    program = cached()
    if program is None:
        pytest.skip(
            "helm is missing: PYTHONPATH=tests .venv/bin/python -m support.helm (needs Go 1.26, takes five minutes)"
        )
    return subprocess.run([program, *arguments], capture_output=True, text=True, check=False)


def build() -> Path:
    """Return Helm. The first caller builds it; other processes wait.

    Raises:
        HelmUnavailableError: Go is missing or too old, or the build failed.
    """
    return fetched_once(_NAME, _build) / "helm"


def _build(directory: Path) -> None:
    go = shutil.which("go")
    if go is None:
        raise HelmUnavailableError("Helm is built by Go 1.26 or later, which is not installed (Debian 12's is too old)")
    done = subprocess.run(
        ["nice", go, "install", f"helm.sh/helm/v4/cmd/helm@v{VERSION}"],
        env={**os.environ, "GOBIN": str(directory)},
        stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        raise HelmUnavailableError(f"Go cannot build Helm {VERSION}:\n{done.stderr[-4096:]}")


if __name__ == "__main__":
    print(build())  # noqa: T201 - what a command is for
