"""A TCP proxy on loopback that can delay or lose what a server sends."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Self

from stream.embedded.server import HOST

_ARRIVAL = 5
"""Iterations of the event loop until the task of an accepted connection has started, and one more."""


class TcpProxy:
    """A proxy between clients and the server on `port`.

    After `hold`, data of the server waits in the proxy; with `both`, data of the clients waits too, so that connections are half open. `cut` closes
    all connections and loses the data that waits. While `refusing` is true, new connections are closed at once.
    """

    def __init__(self, port: int) -> None:
        self.server_port = port
        self.refusing = False
        self._both = False
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._held = asyncio.Event()
        self._pipes: set[asyncio.Task] = set()
        self._stack = AsyncExitStack()
        self.port = 0

    def hold(self, *, both: bool = False) -> None:
        self._both = both
        self._held.clear()
        self._flowing.clear()

    def release(self) -> None:
        self._flowing.set()

    async def held(self) -> None:
        """Wait until data waits here. The server has then executed the request."""
        await self._held.wait()

    async def cut(self) -> None:
        for pipe in list(self._pipes):
            pipe.cancel()
        await asyncio.gather(*self._pipes, return_exceptions=True)

    async def __aenter__(self) -> Self:
        listener = await asyncio.start_server(self._connect, HOST, 0)
        self.port = listener.sockets[0].getsockname()[1]
        self._stack.push_async_callback(self.cut)
        self._stack.push_async_callback(_close, listener)
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._stack.aclose()

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.refusing:
            writer.close()
            return
        try:
            async with self._cuttable():
                server_reader, server_writer = await asyncio.open_connection(HOST, self.server_port)
        except (OSError, asyncio.CancelledError):
            writer.close()
            return
        self._start(self._pipe(reader, server_writer), server_writer)
        self._start(self._pipe(server_reader, writer, replies=True), writer)

    def _start(self, pipe: Coroutine[None, None, None], writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(pipe)
        self._pipes.add(task)
        task.add_done_callback(self._pipes.discard)
        # A callback, because the task may be cancelled before it starts.
        task.add_done_callback(lambda _: writer.close())

    @asynccontextmanager
    async def _cuttable(self) -> AsyncIterator[None]:
        """Let `cut` cancel this task as well."""
        task = asyncio.current_task()
        assert task is not None
        self._pipes.add(task)
        try:
            yield
        finally:
            self._pipes.discard(task)

    async def _pipe(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, replies: bool = False) -> None:
        with suppress(OSError):
            while data := await reader.read(65_536):
                if (replies or self._both) and not self._flowing.is_set():
                    self._held.set()
                    await self._flowing.wait()
                writer.write(data)
                await writer.drain()


async def _close(listener: asyncio.Server) -> None:
    """Accept no more connections, wait until the accepted ones have their tasks, then close: asyncio (3.11) loses a connection without a task."""
    for server_socket in listener.sockets:
        asyncio.get_running_loop().remove_reader(server_socket.fileno())
    for _ in range(_ARRIVAL):
        await asyncio.sleep(0)
    listener.close()
