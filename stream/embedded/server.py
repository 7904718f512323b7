"""Servers of other languages as child processes of this one.

Rules of the room:

- Loopback only, on a free port, without a shell and without the caller's environment.
- A server is in a session of its own, so that the terminal's Ctrl-C reaches this process first and the server is
  stopped in order. On Linux the kernel also kills it when the thread that started it ends, however it ends: start it
  from a thread that lives as long as the server is needed (the main one).
- Nothing is left behind: output goes to an unnamed file, state stays in memory.
- Waiting is for conditions: the server answers in its own protocol, or it has exited.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
from abc import ABC, abstractmethod
from contextlib import suppress
from typing import TYPE_CHECKING, ClassVar, Self

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from types import TracebackType

HOST = "127.0.0.1"
# Below the ranges that Linux and macOS give to outgoing connections: a client that reconnects to a port in them while
# the server is down can be given that very port and then talks to itself.
_PORTS = range(20_000, 32_768)
_POLL_SECONDS = 0.02
_PORT_TRIES = 5
_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None


class ServerUnavailableError(RuntimeError):
    """The server's program is not installed, or does not run on this platform."""


class ServerFailedError(RuntimeError):
    """The server was started but exited, or did not answer in time; the message ends with its last output."""


def free_port() -> int:
    """Return a loopback port that nobody listens on now.

    Somebody may take it before the caller does; `Server.start` then tries another one.
    """
    while True:
        port = secrets.choice(_PORTS)
        if _is_free(port):
            return port


class Server(ABC):
    """One server process, to be used as a context manager, in a program with or without an event loop.

    `with` blocks until the server answers; `async with` lets the event loop turn meanwhile.
    Entering raises `ServerUnavailableError` or `ServerFailedError`.
    """

    name: ClassVar[str]
    start_seconds: ClassVar[float] = 30.0
    stop_seconds: ClassVar[float] = 10.0

    def __init__(self) -> None:
        self.port = 0
        self._process: subprocess.Popen[bytes] | None = None
        self._output = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the server; `close` closes it

    @abstractmethod
    def command(self) -> Sequence[str]:
        """Return program and arguments to listen on `port`; raises `ServerUnavailableError`."""

    @abstractmethod
    def answers(self, connection: socket.socket) -> bool:
        """Tell whether the server behind a fresh connection serves requests; may raise `OSError` for no."""

    @property
    def address(self) -> str:
        """`host:port`, stable over restarts; the port is 0 before the first start."""
        return f"{HOST}:{self.port}"

    @property
    def environment(self) -> Mapping[str, str]:
        """The server's whole environment."""
        return {}

    @property
    def pid(self) -> int:
        """The process id of the running server; raises `ServerFailedError` if there is none."""
        return self._running().pid

    @property
    def output(self) -> str:
        """The last 4 KiB of what the server printed."""
        size = os.fstat(self._output.fileno()).st_size
        return os.pread(self._output.fileno(), 4096, max(0, size - 4096)).decode(errors="replace")

    def start(self) -> None:
        """Start the server and wait until it answers; the first start chooses the port."""
        try:
            for pause in self._starting():
                time.sleep(pause)
        except BaseException:
            self.kill()
            raise

    def stop(self) -> None:
        """Stop the server in order, or by force after `stop_seconds`; well if it does not run."""
        for pause in self._stopping():
            time.sleep(pause)

    def kill(self) -> None:
        """Take the server and its children away at once, as a power cut would; well if it does not run."""
        if self._process is not None:
            if self._process.poll() is None:
                # Its own session, hence its own group; not yet reaped, hence the id is still its own.
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None

    def pause(self) -> None:
        """Freeze the server: connections stay open and nothing answers."""
        self._running().send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let a frozen server go on."""
        self._running().send_signal(signal.SIGCONT)

    def close(self) -> None:
        """Stop the server for good."""
        self.stop()
        self._output.close()

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        try:
            for pause in self._starting():
                await asyncio.sleep(pause)
        except BaseException:
            self.kill()
            self.close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            for pause in self._stopping():
                await asyncio.sleep(pause)
        finally:
            self.kill()
            self.close()

    def _starting(self) -> Iterator[float]:
        """Start the server; yields how long to wait before the next look, and ends when it answers."""
        tries = 1 if self.port else _PORT_TRIES
        while True:
            tries -= 1
            if not self.port:
                self.port = free_port()
            process = self._spawn()
            deadline = time.monotonic() + self.start_seconds
            while process.poll() is None:
                if self._is_ready():
                    return
                if time.monotonic() > deadline:
                    raise ServerFailedError(f"{self.name} does not answer on {self.address}:\n{self.output}")
                yield _POLL_SECONDS
            if not tries or _is_free(self.port):
                raise ServerFailedError(f"{self.name} exited with {process.returncode}:\n{self.output}")
            self.port = 0  # somebody else was faster on that port

    def _stopping(self) -> Iterator[float]:
        """Stop the server; yields how long to wait before the next look, and ends when it is gone."""
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            self._process.send_signal(signal.SIGCONT)  # a frozen process does not see that it shall stop
            deadline = time.monotonic() + self.stop_seconds
            while self._process.poll() is None and time.monotonic() < deadline:
                yield _POLL_SECONDS
        self.kill()

    def _spawn(self) -> subprocess.Popen[bytes]:
        if self._process is not None and self._process.poll() is None:
            raise ServerFailedError(f"{self.name} runs already on {self.address}")
        command = self.command()
        try:
            self._process = subprocess.Popen(  # noqa: S603 - our own command line, no shell
                command,
                stdin=subprocess.DEVNULL,
                stdout=self._output,
                stderr=subprocess.STDOUT,
                cwd="/",
                env=dict(self.environment),
                start_new_session=True,
                preexec_fn=_die_with(os.getpid()),  # noqa: PLW1509 - takes no lock, see there
            )
        except OSError as error:
            raise ServerUnavailableError(f"{self.name} does not run on this platform: {error}") from error
        return self._process

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None or self._process.poll() is not None:
            raise ServerFailedError(f"{self.name} does not run:\n{self.output}")
        return self._process

    def _is_ready(self) -> bool:
        try:
            with socket.create_connection((HOST, self.port), timeout=1) as connection:
                return self.answers(connection)
        except OSError:
            return False


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        # As servers do: a port that only has closed connections left is free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        with suppress(OSError):
            probe.bind((HOST, port))
            return True
    return False


def _die_with(parent: int) -> Callable[[], None] | None:
    """Return what a child runs before its program to be killed when the thread that started it ends (Linux).

    It calls two functions that were looked up in the parent and takes no lock, so it is safe between fork and exec.
    """
    if _LIBC is None:
        return None
    prctl = _LIBC.prctl

    def arm() -> None:
        prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it ended before the line above
            os._exit(1)

    return arm
