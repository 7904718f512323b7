"""Slow clients of a web server: they send nothing, send one byte at a time, or read one answer very slowly."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from itertools import cycle, islice

_REQUEST = b"GET /metrics HTTP/1.1\r\nHost: x\r\nX-Long: " + b"x" * 4000
_PAUSE = 0.1

Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read()


async def dribbling(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    for byte in _REQUEST:
        writer.write(bytes([byte]))
        await writer.drain()
        await asyncio.sleep(_PAUSE)


async def reading_slowly(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
    while await reader.read(1):  # noqa: ASYNC110 - it waits for time to pass
        await asyncio.sleep(_PAUSE)


SORTS: tuple[Talk, ...] = (silent, dribbling, reading_slowly)


class SlowClients:
    """Connections of all kinds; `made` is their number so far. A client that reads slowly notices late that its connection was closed."""

    def __init__(self) -> None:
        self.made = 0

    async def _talk(self, host: str, port: int, talk: Talk) -> None:
        reader, writer = await asyncio.open_connection(host, port, limit=1024)
        self.made += 1
        try:
            with suppress(ConnectionError):
                await talk(reader, writer)
        finally:
            writer.close()


@asynccontextmanager
async def slow_clients(count: int, host: str, port: int, *, again: bool = False) -> AsyncIterator[SlowClients]:
    """Connect for a block. With `again`, a client whose connection was closed connects again after a second."""
    clients = SlowClients()

    async def keep_connecting(talk: Talk) -> None:
        while True:
            with suppress(ConnectionError):
                await clients._talk(host, port, talk)
            if not again:
                return
            await asyncio.sleep(1)

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(keep_connecting(talk)) for talk in islice(cycle(SORTS), count)]
        try:
            yield clients
        finally:
            for task in tasks:
                task.cancel()
