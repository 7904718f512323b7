"""Clients of a web server that take their time: they say nothing, or one byte at a time, or read one answer for ever."""

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
    while await reader.read(1):  # noqa: ASYNC110 - what is waited for is time
        await asyncio.sleep(_PAUSE)


SORTS: tuple[Talk, ...] = (silent, dribbling, reading_slowly)


class SlowClients:
    """So many connections of every sort; `made` until now. One that reads slowly notices late that it was turned away."""

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
    """Connect for a block; with `again` whoever is turned away comes back, a second later."""
    clients = SlowClients()

    async def insist(talk: Talk) -> None:
        while True:
            with suppress(ConnectionError):
                await clients._talk(host, port, talk)
            if not again:
                return
            await asyncio.sleep(1)

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(insist(talk)) for talk in islice(cycle(SORTS), count)]
        try:
            yield clients
        finally:
            for task in tasks:
                task.cancel()
