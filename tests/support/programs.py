"""Programs of the system that some tests need, and how to install the missing ones.

The messages end as "NAME is missing: HOW TO GET IT"; `tests/conftest.py` counts skipped tests by them.
"""

import shutil

import pytest

from stream.embedded.server import ServerUnavailableError


def program(name: str, package: str) -> str:
    """Return the path of a program.

    Raises:
        ServerUnavailableError: it is not installed; the message names the Debian package.
    """
    path = shutil.which(name)
    if path is None:
        raise ServerUnavailableError(f"{name} is missing: apt-get install {package}")
    return path


def program_or_skip(name: str, package: str) -> str:
    """Return the path of a program; skip the test if it is not installed."""
    try:
        return program(name, package)
    except ServerUnavailableError as error:
        pytest.skip(str(error))
