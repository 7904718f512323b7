"""Servers of a test's own, which it may stop, kill, freeze or fill. The fixtures start their shared servers with this too."""

import asyncio
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeVar

import pytest

from stream.embedded.server import Server, ServerUnavailableError

S = TypeVar("S", bound=Server)


class DirectoryServer(Server):
    """A server with files in `directory`: they survive `kill` and `stop`, and are deleted by `close`."""

    def __init__(self) -> None:
        super().__init__()
        self._directory = TemporaryDirectory(prefix="upsell-server-")
        self.directory = Path(self._directory.name)

    def close(self) -> None:
        super().close()
        self._directory.cleanup()


@contextmanager
def started(server: S) -> Iterator[S]:
    """Run a server for a block. If it is not installed, skip the test and say what to install."""
    with ExitStack() as stack:
        try:
            stack.enter_context(server)
        except ServerUnavailableError as error:
            pytest.skip(str(error))
        yield server


async def start(server: Server) -> None:
    """Start a server again without blocking the event loop. It ends with the calling thread, so no other thread may start it."""
    for pause in server._starting():
        await asyncio.sleep(pause)


async def stop(server: Server) -> None:
    """Stop a server gracefully without blocking the event loop."""
    for pause in server._stopping():
        await asyncio.sleep(pause)
