"""How a test gets a server of its own, to stop, kill, freeze or fill; what the fixtures share starts here too."""

import asyncio
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TypeVar

import pytest

from stream.embedded.server import Server, ServerUnavailableError

S = TypeVar("S", bound=Server)


@contextmanager
def started(server: S) -> Iterator[S]:
    """Run a server for a block; one that is not installed skips the test and says what to install."""
    with ExitStack() as stack:
        try:
            stack.enter_context(server)
        except ServerUnavailableError as error:
            pytest.skip(str(error))
        yield server


async def start(server: Server) -> None:
    """Start it again, in this thread, as servers end with the one that started them; the event loop turns meanwhile."""
    for pause in server._starting():
        await asyncio.sleep(pause)


async def stop(server: Server) -> None:
    """Stop it in order; the event loop turns meanwhile."""
    for pause in server._stopping():
        await asyncio.sleep(pause)
