"""Helm, built by Go from its module: no package of Debian or Python has its binary.

It is kept outside the tree, in the user's cache, and built once, in some five minutes: run this file to have it before the tests.
"""

import fcntl
import os
import shutil
import subprocess
from pathlib import Path

VERSION = "4.3.1"


class HelmUnavailableError(RuntimeError):
    """There is no Helm, and why it could not be built."""


def cached() -> Path | None:
    """Helm, if it has been built."""
    helm = _directory() / "helm"
    return helm if helm.is_file() else None


def build() -> Path:
    """Return Helm; built by whoever comes first, while the others wait.

    Raises:
        HelmUnavailableError: Go is missing or too old, or cannot build it.
    """
    directory = _directory()
    directory.parent.mkdir(parents=True, exist_ok=True)
    with directory.with_name(f"{directory.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if helm := cached():
            return helm
        go = shutil.which("go")
        if go is None:
            raise HelmUnavailableError(
                "Helm is built by Go 1.26 or later, which is not installed (Debian 12's is too old)"
            )
        partial = directory.with_name(f"{directory.name}.partial")
        shutil.rmtree(partial, ignore_errors=True)
        done = subprocess.run(
            ["nice", go, "install", f"helm.sh/helm/v4/cmd/helm@v{VERSION}"],
            env={**os.environ, "GOBIN": str(partial)},
            stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode:
            raise HelmUnavailableError(f"Go cannot build Helm {VERSION}:\n{done.stderr[-4096:]}")
        shutil.rmtree(directory, ignore_errors=True)
        partial.rename(directory)
    return directory / "helm"


def _directory() -> Path:
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "upsell-stream" / f"helm-{VERSION}"


if __name__ == "__main__":
    print(build())  # noqa: T201 - what a command is for
