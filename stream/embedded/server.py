"""Servers as child processes: a broker or a Valkey for the demo and the tests.

Rules of the room:

- A server listens on loopback only, on a free port. It gets no shell and nothing of the caller's environment.
- A server has its own session. So the terminal's Ctrl-C reaches only this process, which then stops the server gracefully. On Linux the
  kernel kills the server when the thread that started it ends: start it from a thread that lives long enough (the main one).
- Nothing is left behind: output goes to an unnamed file, state stays in memory.
- To wait is to wait for a condition: the server answers in its own protocol, or it has exited.
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
from typing import TYPE_CHECKING, ClassVar, Final, Self

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from types import TracebackType

INSTALL: Final = "pip install 'upsell-stream[demo]', or in a clone `make demo`, which installs it and runs the demo"
"""How to install the embedded servers."""
HOST = "127.0.0.1"
# Below the ranges that Linux and macOS use for outgoing connections. A client that reconnects to a port in these ranges
# while the server is down can get the same port for itself, and then talks to itself.
_PORTS = range(20_000, 32_768)
_POLL_SECONDS = 0.02
_PORT_TRIES = 5
_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None


class ServerUnavailableError(RuntimeError):
    """The server's program is not installed, or cannot run on this platform. The message says what to install."""


class ServerFailedError(RuntimeError):
    """The server exited, or did not answer in time. The message ends with its last output."""


def free_port() -> int:
    """Return a loopback port that is free now.

    Another process may take it before the caller does. `Server.start` then tries another port.
    """
    while True:
        port = secrets.choice(_PORTS)
        if _is_free(port):
            return port


class Server(ABC):
    """One server process, used as a context manager.

    `with` blocks until the server answers; `async with` does not block the event loop.
    Entering raises `ServerUnavailableError` or `ServerFailedError`.
    """

    name: ClassVar[str]
    start_seconds: ClassVar[float] = 30.0
    stop_seconds: ClassVar[float] = 10.0

    def __init__(self) -> None:
        self.port = 0
        self._process: subprocess.Popen[bytes] | None = None
        self._output = tempfile.TemporaryFile()  # noqa: SIM115 - needed as long as the server; `close` closes it

    @abstractmethod
    def command(self) -> Sequence[str]:
        """Return the program and its arguments, to listen on `port`. Raises `ServerUnavailableError`."""

    @abstractmethod
    def answers(self, connection: socket.socket) -> bool:
        """Return whether the server serves requests, asked over a new connection. An `OSError` also means no."""

    @property
    def address(self) -> str:
        """`host:port`, the same after a restart. The port is 0 before the first start."""
        return f"{HOST}:{self.port}"

    @property
    def environment(self) -> Mapping[str, str]:
        """All environment variables of the server."""
        return {}

    @property
    def pid(self) -> int:
        """The process id of the server. Raises `ServerFailedError` if it is not running."""
        return self._running().pid

    @property
    def output(self) -> str:
        """The last 4 KiB of what the server printed."""
        size = os.fstat(self._output.fileno()).st_size
        return os.pread(self._output.fileno(), 4096, max(0, size - 4096)).decode(errors="replace")

    def start(self) -> None:
        """Start the server and wait until it answers. The first start chooses the port."""
        try:
            for pause in self._starting():
                time.sleep(pause)
        except BaseException:
            self.kill()
            raise

    def stop(self) -> None:
        """Stop the server gracefully, or by SIGKILL after `stop_seconds`. Does nothing if it is not running."""
        for pause in self._stopping():
            time.sleep(pause)

    def kill(self) -> None:
        """Kill the server and its children at once. Does nothing if it is not running."""
        if self._process is not None:
            if self._process.poll() is None:
                # The server leads its own process group. It is not reaped yet, so the id cannot belong to another process.
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None

    def pause(self) -> None:
        """Freeze the server (SIGSTOP): connections stay open and get no answer."""
        self._running().send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Continue a frozen server (SIGCONT)."""
        self._running().send_signal(signal.SIGCONT)

    def close(self) -> None:
        """Stop the server; it cannot be started again."""
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
        """Start the server. Yields the seconds to wait before the next check, and ends when the server answers."""
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
                    raise ServerFailedError(
                        f"{self.name} did not answer on {self.address} within {self.start_seconds:g} s:\n{self.output}"
                    )
                yield _POLL_SECONDS
            if not tries or _is_free(self.port):
                raise ServerFailedError(f"{self.name} exited with status {process.returncode}:\n{self.output}")
            self.port = 0  # another process took the port

    def _stopping(self) -> Iterator[float]:
        """Stop the server. Yields the seconds to wait before the next check, and ends when the server has exited."""
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            self._process.send_signal(signal.SIGCONT)  # a frozen process does not handle SIGTERM
            deadline = time.monotonic() + self.stop_seconds
            while self._process.poll() is None and time.monotonic() < deadline:
                yield _POLL_SECONDS
        self.kill()

    def _spawn(self) -> subprocess.Popen[bytes]:
        if self._process is not None and self._process.poll() is None:
            raise ServerFailedError(f"{self.name} is already running on {self.address}")
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
                preexec_fn=_die_with(os.getpid()),  # noqa: PLW1509 - it takes no lock
            )
        except OSError as error:
            raise ServerUnavailableError(f"{self.name} cannot run on this platform: {error}") from error
        return self._process

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None or self._process.poll() is not None:
            raise ServerFailedError(f"{self.name} is not running:\n{self.output}")
        return self._process

    def _is_ready(self) -> bool:
        try:
            with socket.create_connection((HOST, self.port), timeout=1) as connection:
                return self.answers(connection)
        except OSError:
            return False


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        # As servers do: a port with connections in TIME_WAIT is free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        with suppress(OSError):
            probe.bind((HOST, port))
            return True
    return False


def _die_with(parent: int) -> Callable[[], None] | None:
    """Return what the child runs before its program, so that the kernel kills it when the thread that started it ends (Linux).

    It takes no lock and looks no function up, so it is safe between fork and exec.
    """
    if _LIBC is None:
        return None
    prctl = _LIBC.prctl

    def arm() -> None:
        prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # the parent ended before the call above
            os._exit(1)

    return arm
