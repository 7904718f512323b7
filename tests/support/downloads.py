"""Programs that tests fetch or build once, into the user's cache, outside the tree."""

import fcntl
import os
import shutil
from collections.abc import Callable
from pathlib import Path


def cache_directory(name: str) -> Path:
    """Return the directory of a fetched or built program in the user's cache. It may not exist yet."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "upsell-stream" / name


def fetched_once(name: str, fetch: Callable[[Path], None]) -> Path:
    """Return the cached directory `name`. The first caller fills it with `fetch`; other processes wait."""
    directory = cache_directory(name)
    directory.parent.mkdir(parents=True, exist_ok=True)
    with directory.with_name(f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not directory.is_dir():
            partial = directory.with_name(f"{name}.partial")
            shutil.rmtree(partial, ignore_errors=True)
            fetch(partial)
            partial.rename(directory)
    return directory
